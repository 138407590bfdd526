"""What the server answers, without HTTP: for requests, the page and tools of MCP alike.

The types of the parameters say the limits of requests. The deadline is that of
:data:`~shoestring.serve.scorer_queue.asked`.
"""

from __future__ import annotations

import threading
import time
import warnings
from dataclasses import asdict
from functools import wraps
from typing import Any

import numpy as np

from shoestring.classify.texts import TextClassifier
from shoestring.errors import ParameterError, ShoestringError, ShoestringWarning
from shoestring.lazy import require
from shoestring.match.scorer import load_scorer
from shoestring.search.index import SearchIndex
from shoestring.search.reranking import Ranking, Reranker
from shoestring.serve.bodies import Calls, Ids, Number, OnDuplicate, Query, Records, Texts, Where
from shoestring.serve.scorer_queue import Asked, QueuedScorer, asked
from shoestring.text.records import content_id
from shoestring.types import Hits
from shoestring.words.table import CodeTable

Answer = dict[str, Any]
DEADLINE_S = 60.0  # of a tool's answer


class AbsentError(ParameterError):
    """The server was started without what a request needs."""


class Service:
    """An index, a scorer (by default the index's own) and a classifier, for many threads.

    Examples
    --------
    >>> from shoestring import score_with
    >>> service = Service(scorer=score_with(lambda q, t: len(t), name="length", single=True))
    >>> service.rerank("red shoes", ["a hat", "red shoes"], calls=2)["results"][0]
    {'corpus_id': 1, 'score': 9.0, 'exact': True}
    """

    def __init__(
        self, index: SearchIndex | None = None, scorer: Any = None,
        classifier: TextClassifier | None = None,
    ) -> None:  # fmt: skip
        self._index, self._classifier, self._classifying = index, classifier, threading.Lock()
        models = None if index is None else index.models
        own = models.scorer if models and scorer is None else scorer
        self.scorer = None if own is None else QueuedScorer(load_scorer(own))
        self._reranker = None if self.scorer is None else Reranker(self.scorer)
        if models and scorer is None and models.given is None:
            models.hold(self.scorer)  # what the index knows of its own scorer stays
        elif models:
            models.given = self.scorer
        if index is not None:
            with index.snapshot() as snapshot:
                if len(snapshot.keys):  # what the first request would wait for
                    index.first_look(snapshot, "warm")

    @property
    def index(self) -> SearchIndex:
        """The index; AbsentError where there is none."""
        if self._index is None:
            raise AbsentError("This server has no index: start it with the folder of one.")
        return self._index

    def ready(self) -> Answer:
        """What there is; an error if the index cannot be read."""
        n = None if self._index is None else len(self._index)
        return {"records": n, "scorer": self.scorer and self.scorer.name}

    def search(
        self, query: Query, k: Number = 10, calls: Calls | None = None, where: Where = None
    ) -> Answer:
        """Search the index: the texts that an expensive scorer would rank first.

        `calls` is how often the scorer is asked at most; `where` is a condition on the fields, such
        as: lang = 'de' and year >= 2020
        """
        hits = self.index.query(query, k, calls if self.scorer else 0, where=where)
        n, seconds = len(self.index), self.scorer.seconds_a_pair if self.scorer else 0.0
        everything = {"calls": n, "milliseconds": round(1000 * n * seconds)}
        cost = {"milliseconds": round(1000 * hits.seconds, 1), "everything": everything}
        return {"hits": [asdict(hit) for hit in hits], **cost, **_told(hits)}

    def rerank(
        self, query: Query, documents: Texts, calls: Calls = 60, top_n: Number | None = None
    ) -> Answer:
        """Rank texts by how well they answer a query; `corpus_id` is a text's position."""
        if self._reranker is None:
            raise AbsentError("This server has no scorer: start it with --scorer.")
        results = self._reranker.rank(query, documents, calls, top_n)
        return {"results": results, **_told(results)}

    def classify(self, texts: Texts, top: Number = 5) -> Answer:
        """The most probable labels of each text."""
        if self._classifier is None:
            raise AbsentError("This server has no classifier: start it with --classifier.")
        with self._classifying:
            probabilities = self._classifier.predict_proba(texts)
            labels = self._classifier.classes_.tolist()
        results = []
        for row in probabilities:
            best = np.argsort(-row, kind="stable")[:top]
            results.append([{"label": labels[i], "probability": float(row[i])} for i in best])
        return {"results": results}

    def similar_words(self, word: Query, k: Number = 10) -> Answer:
        """The words most like one, in an index with the encoder words."""
        encoder = self.index.models.encoder
        if not isinstance(encoder, CodeTable):
            raise AbsentError("This index has no word vectors: build it with --encoder words.")
        row = encoder.known_row(word)
        near = encoder.nearest(encoder.codes[[row]], k, [row])
        return {"words": [{"word": other, "similarity": alike} for other, alike in near]}

    def add(self, records: Records, on_duplicate: OnDuplicate = "error") -> Answer:
        """Add records: `text`, maybe `id`, and any fields."""
        given = [dict(record) for record in records]
        rows = [{**row, "id": row.get("id") or content_id(row["text"])} for row in given]
        return asdict(self.index.add(rows, on_duplicate=on_duplicate, id="id", text="text"))

    def delete(self, ids: Ids) -> Answer:
        """Delete records; those that are not there are no error."""
        with self.index.snapshot() as snapshot:
            there = snapshot.keys_of(ids)
        return {"deleted": self.index.delete(there)}


def _told(found: Hits | Ranking) -> Answer:
    return {"calls": found.calls, "complete": found.error is None, "notes": list(found.notes)}


def serve_tools(service: Service) -> None:
    """Serve search and rerank as tools of MCP, over standard input and output until they close."""
    require("The server", "serve", "mcp")
    warnings.simplefilter("ignore", ShoestringWarning)  # answers have the notes
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server: Any = MCPServer("shoestring", log_level="WARNING")
    for call in (service.search, service.rerank):

        @server.tool()
        @wraps(call)
        def answer(*given: Any, call: Any = call, **named: Any) -> Any:
            asked.set(Asked(time.monotonic() + DEADLINE_S))
            try:
                return call(*given, **named)
            except ShoestringError as error:
                raise ToolError(str(error)) from error

    server.run("stdio")
