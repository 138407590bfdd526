"""What a pair scorer would rank first of a retriever's candidates, for a few of its calls.

The rounds of :mod:`~shoestring.search.cur` without an index: the candidates' vectors, the query's
and the retriever's scores are what an index would have known, and what is missing is made of the
candidates' words (BM25, and vectors by an SVD). A memory keeps every score that was paid for, with
what was known of the pair, and the scorer's taste is learnt from them
(:func:`~shoestring.search.first_guess.fit_lines`).

Letters: N candidates, D width of the vectors.

Not covered: the bias of a text, which needs the same texts again and again: build an index.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring import checks
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.match.scorer import load_scorer, score_with, scorer_name
from shoestring.models.lsa import LsaEncoder
from shoestring.search.features import cheap_features
from shoestring.search.first_guess import ScoreModel, fit_lines
from shoestring.search.query import (
    DEFAULT_WEIGHTS,
    FirstLook,
    IndexModel,
    default_guess,
    first_look,
    search_rounds,
)
from shoestring.search.score_cache import CachedScorer, ScoreCache
from shoestring.search.snapshot import View, bm25
from shoestring.text import tokenize
from shoestring.text.records import text_digests
from shoestring.types import FloatArray, PairScorer

OWNER = "rerank"
LSA_WIDTH = 64
LEAST_QUERIES = 10  # of which a taste is learnt


class Ranking(list[dict[str, Any]]):
    """Hits, best first; the attributes are those of :class:`~shoestring.types.Hits`."""

    calls: int = 0
    error: str | None = None
    notes: tuple[str, ...] = ()


class Reranker:
    """Reranks the candidates of any retriever within a budget of a pair scorer's calls.

    Parameters
    ----------
    scorer : PairScorer, CrossEncoder, function or str
        As :func:`~shoestring.match.load_scorer`.
    memory : str or Path, optional
        SQLite file (.sqlite), made where there is none: scores that were paid for are free from
        then on, and what this scorer likes is learnt over the queries.

    Examples
    --------
    >>> from shoestring import score_with
    >>> def shared(query, text):
    ...     return len(set(query.split()) & set(text.split()))
    >>> texts = ["a blue hat", "red socks", "red shoes"]
    >>> reranker = Reranker(score_with(shared, single=True))
    >>> reranker.rank("red shoes please", texts, calls=2, top_k=1)
    [{'corpus_id': 2, 'score': 2.0, 'exact': True}]
    """

    def __init__(self, scorer: Any, memory: str | Path | None = None) -> None:
        if memory is None and callable(scorer) and not hasattr(scorer, "predict"):
            scorer = score_with(scorer, name="function")  # nothing is kept under its name
        self.scorer: PairScorer = load_scorer(scorer)
        self.scorer_name = scorer_name(self.scorer)
        self.memory = None if memory is None else checks.checked_path("memory", memory, "Reranker")
        if self.memory is not None and self.memory.suffix != ".sqlite":
            raise ParameterError.of("memory", "Reranker", "a file that ends in .sqlite", memory)
        self._lock = threading.Lock()

    def rank(
        self, query: str, documents: Sequence[str], calls: int = 60, top_k: int | None = None, *,
        vectors: Any = None, query_vector: Any = None, first_scores: Any = None,
        return_documents: bool = False,
    ) -> Ranking:  # fmt: skip
        """Rank; see :func:`rerank`."""
        query = checks.checked_text("query", query, OWNER)
        documents = checks.checked_texts("documents", documents, OWNER)
        calls = checks.checked_int("calls", calls, 0, None, OWNER)
        if top_k is not None:
            top_k = checks.checked_int("top_k", top_k, 1, None, OWNER)
        checks.checked_bool("return_documents", return_documents, OWNER)
        if not documents:
            return Ranking()
        look = _looked(query, documents, vectors, query_vector, first_scores)
        digests = text_digests(documents)
        with ScoreCache(self.memory) as memory:
            if taste := _taste(memory.features(self.scorer_name)):
                model = replace(look.model, score_model=taste)
                look = first_look(look.view, model, look.features, lexical=False)
            scores = memory.get(self.scorer_name, query, digests)
            at = np.flatnonzero(~np.isnan(scores))
            own = self.scorer, self.scorer_name, self._lock
            score = CachedScorer(*own, lambda at: [documents[i] for i in at], query, memory, True)
            rounds = search_rounds(look, (at, scores[at]), calls, score)
            if self.memory is not None:
                at = rounds.scored
                memory.put_features(self.scorer_name, query, digests[at], look.features[at])
        ranking = rounds.ranking(min(top_k or len(documents), len(documents)))
        hits = zip(*(part.tolist() for part in ranking), strict=True)
        answer = Ranking({"corpus_id": i, "score": s, "exact": e} for i, s, e in hits)
        if return_documents:
            for one in answer:
                one["text"] = documents[one["corpus_id"]]
        answer.calls = score.calls
        if score.error:
            note = f"{score.error} The answer rests on the {score.calls} calls answered before."
            answer.error, answer.notes = str(score.error), (note,)
            warnings.warn(note, ShoestringWarning, stacklevel=2)
        return answer


def rerank(
    query: str, documents: Sequence[str], scorer: Any, calls: int = 60, top_k: int | None = None, *,
    vectors: Any = None, query_vector: Any = None, first_scores: Any = None,
    return_documents: bool = False,
) -> Ranking:  # fmt: skip
    """Rank a retriever's candidates as an expensive scorer would, for a few of its calls.

    Parameters
    ----------
    query : str
    documents : sequence of str
        The N candidates, in any order.
    scorer : PairScorer, CrossEncoder, function or str
        As :func:`~shoestring.match.load_scorer`.
    calls : int
        Pairs that the scorer is asked for at most; equal texts are one.
    top_k : int, optional
        How many are returned; all by default.
    vectors : array (N, D), optional
        Of the candidates, by any model. Without it, they are made of the candidates' words.
    query_vector : array (D,), optional
        Of the query, by the same model.
    first_scores : array (N,), optional
        The retriever's, of any scale, higher is better; without these two BM25 over the candidates.
    return_documents : bool
        Whether the answer has the texts.

    Returns
    -------
    list of dict
        Best first, as of sentence-transformers' ``CrossEncoder.rank``: ``corpus_id`` (position
        among the candidates), ``score``, ``exact`` (whether the scorer gave the score, or it is an
        estimate), and ``text`` where it was asked for. The list has ``calls``, and ``error`` where
        the scorer failed half-way.

    Raises
    ------
    ParameterError
    ScorerError
        If the scorer fails and has answered nothing; else the answer is partial, with a warning.
    """
    return Reranker(scorer).rank(
        query, documents, calls, top_k, vectors=vectors, query_vector=query_vector,
        first_scores=first_scores, return_documents=return_documents,
    )  # fmt: skip


def _checked(name: str, value: Any, shape: tuple[int | None, ...]) -> FloatArray | None:
    """Finite numbers of a shape, float32; None of it is any size."""
    want = f"finite numbers of shape {shape}".replace("None", "D")
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise ParameterError.of(name, OWNER, want, value) from None
    sizes = zip(shape, array.shape, strict=False)
    is_of_shape = array.ndim == len(shape) and all(n in (None, size) for n, size in sizes)
    if not is_of_shape or not np.isfinite(array).all():
        got = "NaN or infinity" if is_of_shape else array.shape
        raise ParameterError.of(name, OWNER, want, got)
    return array


def _looked(
    query: str, documents: list[str], vectors: Any, query_vector: Any, first_scores: Any
) -> FirstLook:
    """What an index would have known."""
    n, keys = len(documents), np.arange(len(documents))
    rows = _checked("vectors", vectors, (n, None))
    if rows is None and query_vector is not None:
        raise ParameterError.of("query_vector", OWNER, "left out without vectors", "an array")
    own = _checked("query_vector", query_vector, (None if rows is None else rows.shape[1],))
    first = _checked("first_scores", first_scores, (n,))
    weights = DEFAULT_WEIGHTS[own is None]
    if rows is None:
        rows = np.zeros((n, 1), np.float32)
        if any(map(tokenize, documents)):
            encoder = LsaEncoder(min(LSA_WIDTH, n)).fit(documents)
            rows, own = encoder.encode(documents), encoder.encode([query])[0]
    rows = _of_unit_length(rows)
    near = np.zeros(n, np.float32) if own is None else rows @ _of_unit_length(own[None])[0]
    words = bm25(query, documents) if first is None else first - first.min()
    features = cheap_features(near, words)
    if first is not None:  # by it alone, or by both alike: neither is known to be better
        spread = np.maximum(features.std(axis=0), 1e-9)
        weights = np.array([query_vector is not None, True, False, False]) / spread
    view = View("", {}, keys, np.zeros(n, bool), {"vectors": rows}, keys[:0])
    mean = rows.mean(axis=0, dtype=np.float64)
    power = float(np.square(rows - mean, dtype=np.float64).sum() / n)
    model = IndexModel(None, (), mean, max(power, 1e-12))
    return FirstLook(view, model, features, default_guess(features, weights))


def _of_unit_length(rows: FloatArray) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)


def _taste(queries: Sequence[tuple[FloatArray, FloatArray]]) -> ScoreModel | None:
    """What the scores that were paid for say of the scorer; None from few queries."""
    queries = [(z, y) for z, y in queries if len(y) > 1]
    if len(queries) < LEAST_QUERIES:
        return None
    features, scores = zip(*queries, strict=True)
    return fit_lines(scores, features, DEFAULT_WEIGHTS[False])
