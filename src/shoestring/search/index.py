"""Search whose answers are a pair scorer's, on a budget of its calls.

An index is a folder (:mod:`~shoestring.search.store`). Building it costs vectors for every text
and, where a budget is given, anchor scores; a query costs the calls it is given. Every score that
was paid for is kept and never paid for twice, and every later build learns from all of them.

Not covered: filters on labels, several scorers in one query, sharding.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from shoestring.artifacts import CONFIG
from shoestring.checks import checked_int, checked_text
from shoestring.encoders import AUTO
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.jobs import Clock
from shoestring.match.scorer import load_scorer, scorer_name
from shoestring.models.cut_texts import one_cut_note
from shoestring.search.build import (
    choose_anchors,
    encode_pending,
    fit_index_model,
    score_anchors,
)
from shoestring.search.features import IndexRows
from shoestring.search.ingest import AddReport, OnDuplicate
from shoestring.search.models import Models
from shoestring.search.query import IndexModel, first_guess, pair_features, search_rounds
from shoestring.search.score_cache import CachedScorer, ScoreCache
from shoestring.search.snapshot import Snapshot, View
from shoestring.search.store import RecordStore
from shoestring.text.records import Reading, read_records
from shoestring.types import Hit, Hits, PairScorer, Record

COLUMNS: tuple[Literal["text", "id", "label"], ...] = ("text", "id", "label")
DEFAULT_CALLS = 50
_UNBOUNDED = 1 << 62


class SearchIndex:
    """An index that answers with what an expensive pair scorer would rank first.

    Made by :meth:`build` or :meth:`open`. Any number of threads and processes may query one while
    one writes.

    Examples
    --------
    >>> import tempfile
    >>> from shoestring import SearchIndex, score_with
    >>> def shared(query, text):
    ...     return len(set(query.split()) & set(text.split()))
    >>> index = SearchIndex.build(
    ...     tempfile.mkdtemp(),
    ...     ["red shoes", "blue shoes", "a red hat"],
    ...     scorer=score_with(shared, name="shared words", single=True),
    ...     encoder="lsa",
    ...     progress=False,
    ... )
    >>> hits = index.query("red shoes please", k=2, calls=3)
    >>> [(hit.text, hit.score, hit.exact) for hit in hits], hits.calls
    ([('red shoes', 2.0, True), ('blue shoes', 1.0, True)], 3)
    """

    def __init__(self, store: RecordStore, scorer: PairScorer | None) -> None:
        self._store, self.models = store, Models(store, scorer)
        self._held: tuple[View, IndexRows] | None = None
        self.last_add = AddReport()  # of a build too

    @classmethod
    @one_cut_note()
    def build(
        cls,
        path: str | Path,
        records: Any = None,
        *,
        scorer: Any = AUTO,
        encoder: str = AUTO,
        queries: Sequence[str] | None = None,
        calls: int = 0,
        minutes: float | None = None,
        on_duplicate: OnDuplicate = "error",
        token_table: bool = False,
        resume: bool = False,
        seed: int = 0,
        progress: bool = True,
        **reading: Unpack[Reading],
    ) -> SearchIndex:
        """Build an index, or continue an interrupted build.

        Parameters
        ----------
        path : str or Path
            A new or empty folder; with ``resume`` an index.
        records : file name, data frame, list of dicts, of records or of strings
            As :func:`~shoestring.read_records`; the id of a text that has none is made of its
            content, so that the same text is stored once. May be left out with ``resume``, where
            records whose ids are there already are skipped.
        scorer : PairScorer, CrossEncoder, function or str
            As :func:`~shoestring.match.load_scorer`; by default "minilm-weighted" where MiniLM
            knows the language, else none.
        encoder : str
            "minilm", "lsa" (lexical vectors, any language), "words" (packed codes of 50 bytes, any
            language, trained on these texts), a model folder, or a folder of saved
            :class:`~shoestring.BinaryVectors`, which is copied into the index; see ``scorer``.
        queries, calls, minutes
            As :meth:`calibrate`, which is the last stage.
        on_duplicate : {"error", "replace", "skip"}
        token_table : bool
            Keep every text's token vectors (int8, some 27 kB a text; the size is told before), so
            that MiniLM's token interaction needs no model run for a text. For small indexes.
        resume : bool
            Continue an interrupted build; also with other models, more records or more calls.
        seed : int
            Of the choice of anchor queries.
        progress : bool
            Show a progress bar for each stage on standard error.
        **reading
            Settings of :func:`~shoestring.read_records`, such as ``text`` and ``id``. The columns
            are kept for :meth:`add`.

        Raises
        ------
        ParameterError
            Nothing of a new index stays. Also where the vectors are lexical and no text at all has
            a letter or digit, or the texts are too few or short to learn word codes from.
        FormatError, ScorerError, BusyError, StorageError
            What was finished stays: run again with ``resume``.

        Warns
        -----
        ShoestringWarning
            If texts have no letter or digit where the vectors are lexical, or no word that the
            codes know; if ``calls`` pay for nothing, because there is no scorer or no text that an
            anchor query can be taken from.
        """
        budget = _budget(calls, minutes)
        name = scorer if isinstance(scorer, str) else None
        given = None if scorer is None or name is not None else load_scorer(scorer)
        index = None
        if resume and (Path(path) / CONFIG).is_file():
            index = cls.open(path, scorer=given)
            reading = index._reading(reading)
        # A wrong file name stops here, before anything is written.
        source = None
        if records is not None:
            source = read_records(records, default_id="content", **reading)
        if index is not None:
            index.models.discard_damaged()
            index.models.change(encoder, AUTO if name is None else name)
            if source is not None:
                known = "skip" if on_duplicate == "error" else on_duplicate
                index._ingest(source, known, progress)
        elif source is None:
            want = "a file, frame or list"
            raise ParameterError.of("records", "SearchIndex.build", want, None)
        else:
            settings = {"encoder": encoder, "scorer": name or "", "token_table": token_table}
            columns = {name: reading.get(name) for name in COLUMNS}
            settings["columns"] = {
                name: column if isinstance(column, str) else list(column)
                for name, column in columns.items()
                if column is not None
            }
            if given is not None:
                settings["scorer_name"] = scorer_name(given)
            is_new = not Path(path).exists()
            index = cls(RecordStore.create(path, settings), given)
            try:
                index._ingest(source, on_duplicate, progress)
                index.models.prepare(seed)
            except Exception as error:
                # Records that are refused leave no trace of the index.
                if isinstance(error, ParameterError) or not len(index):
                    with suppress(OSError):  # why they are refused matters more
                        index._store.remove()
                        if is_new:
                            index.path.rmdir()
                raise
        # Whatever is missing: models, vectors, token vectors, anchor scores, the score model.
        if len(index):
            index.models.prepare(seed)
            encode_pending(index._store, index.models, progress=progress)
            index.models.build_token_table(progress=progress)
            index._calibrate(budget, queries, seed, progress)
        return index

    @classmethod
    def open(cls, path: str | Path, *, scorer: Any = None) -> SearchIndex:
        """Open an index; one built with an object as its scorer wants it again to pay calls."""
        given = None if scorer is None else load_scorer(scorer)
        return cls(RecordStore.open(path), given)

    def _ingest(
        self, records: Iterable[Record], on_duplicate: OnDuplicate, progress: bool
    ) -> AddReport:
        with tqdm(desc="records", unit="text", disable=not progress) as bar:
            report = self._store.add(records, on_duplicate=on_duplicate, progress=bar.update)
        self.last_add = report
        return report

    def _reading(self, reading: Reading) -> Reading:
        """How to read more records: the columns of the first ones, unless others are named."""
        return {**self._store.settings.get("columns", {}), **reading}

    def calibrate(
        self,
        calls: int = 0,
        *,
        minutes: float | None = None,
        queries: Sequence[str] | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> int:
        """Spend calls on anchor scores, and fit the score model to all scores paid so far.

        Parameters
        ----------
        calls : int
            Calls of the scorer to spend at most; 0 spends none, or what ``minutes`` allow.
        minutes : float, optional
            Time limit for the calls.
        queries : sequence of str, optional
            What users ask, to choose anchor queries from; by default first sentences of the texts.
        seed : int
            Of the choice of anchor queries.

        Returns
        -------
        int
            The calls spent.

        Raises
        ------
        ParameterError, ScorerError
            What the scorer had answered before stays paid for.
        """
        return self._calibrate(_budget(calls, minutes), queries, seed, progress)

    def _calibrate(
        self, budget: tuple[int, Clock], queries: Sequence[str] | None, seed: int, progress: bool
    ) -> int:
        spent, (calls, clock) = 0, budget
        if calls and self._can_pay():
            chosen = choose_anchors(self._store, self.models, queries, seed)
            spent = score_anchors(self._store, self.models, chosen, calls, clock, progress=progress)
        fit_index_model(self._store, self.models)
        return spent

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._store.path

    def __len__(self) -> int:
        with self._store.snapshot() as snapshot:
            return len(snapshot)

    def query(self, text: str, k: int = 10, calls: int | None = None) -> Hits:
        """Find what the scorer would rank first.

        Parameters
        ----------
        text : str
        k : int
            How many hits at most.
        calls : int, optional
            Pairs that the scorer may be asked for; scores of this query that were paid for before
            count as spent and cost nothing. 0 answers from estimates alone. Default: 50, or k.

        Returns
        -------
        Hits
            Best first. ``exact`` says whether the scorer itself gave a hit's score.

        Raises
        ------
        ParameterError
            If the text is empty, or k or calls are out of range.
        ScorerError
            If the scorer fails; what it had answered before is kept.
        """
        began = time.perf_counter()
        owner = "SearchIndex.query"
        text = checked_text("text", text, owner)
        k = checked_int("k", k, 1, None, owner)
        budget = checked_int(
            "calls", max(k, DEFAULT_CALLS) if calls is None else calls, 0, None, owner
        )
        with self._store.snapshot() as snapshot:
            if not len(snapshot):
                return Hits((), 0, time.perf_counter() - began)
            can_pay = budget > 0 and self._can_pay()
            rows, model, features, guess = self.first_look(snapshot, text)
            with ScoreCache(self.path) as cache:
                known = rows.known_scores(*cache.row(self.models.scorer_name, text))
                score = CachedScorer(self.models, snapshot, rows.keys, text, cache)
                rounds = search_rounds(
                    rows, model, features, guess, known, budget, score if can_pay else None
                )
            found, scores, exact = rounds.ranking(min(k, rows.n_live))
            texts, ids = snapshot.texts(rows.keys[found]), snapshot.ids(rows.keys[found])
        hits = zip(ids, texts, scores.tolist(), exact.tolist(), strict=True)
        return Hits(tuple(Hit(*hit) for hit in hits), score.calls, time.perf_counter() - began)

    def snapshot(self) -> Snapshot:
        """A whole, consistent view of the records and arrays; close it soon."""
        return self._store.snapshot()

    def first_look(
        self, snapshot: Snapshot, text: str
    ) -> tuple[IndexRows, IndexModel, NDArray[np.float32], NDArray[np.float32]]:
        """What is known of a query before the scorer is asked.

        Returns
        -------
        rows, model
            Of the snapshot.
        features : float32 array (N, 4)
            See :func:`~shoestring.search.features.cheap_features`.
        guess : float32 array (N,)
        """
        rows, model = self._rows(snapshot), IndexModel.from_attrs(snapshot.view.attrs)
        vector: NDArray[Any] = np.zeros(0, np.float32)
        if rows.n_stored:  # else the build was interrupted: there may be no encoder yet
            vector = self.models.encode([text])[0]
        features = pair_features(snapshot, rows, text, vector)
        guess = first_guess(rows, model, features, lexical=self.models.is_lexical)
        return rows, model, features, guess

    def _rows(self, snapshot: Snapshot) -> IndexRows:
        """The rows of a view, kept until the index changes."""
        held = self._held
        if held is None or held[0] is not snapshot.view:
            held = self._held = (snapshot.view, IndexRows(snapshot.view))
        return held[1]

    def _can_pay(self) -> bool:
        """Whether there is a scorer; a warning says so where there is none."""
        if self.models.scorer is not None:
            return True
        name = self._store.settings.get("scorer_name")
        what = f"was built with the scorer {name!r}" if name else "has no scorer"
        warnings.warn(
            f"{self.path} {what}, so the answers are estimates. "
            "Open it with scorer=... to pay for exact scores.",
            ShoestringWarning,
            stacklevel=3,
        )
        return False

    @one_cut_note()
    def add(
        self,
        records: Any,
        *,
        on_duplicate: OnDuplicate = "error",
        progress: bool = False,
        **reading: Unpack[Reading],
    ) -> AddReport:
        """Add records: they are found from now on.

        They are ranked by their vectors and words until :meth:`calibrate` scores them with the
        anchor queries.

        Parameters
        ----------
        records, on_duplicate
            As :meth:`build`.
        **reading
            As :meth:`build`; its columns are the default.

        Returns
        -------
        AddReport
            How many were added, replaced, skipped.
        """
        source = read_records(records, default_id="content", **self._reading(reading))
        report = self._ingest(source, on_duplicate, progress)
        self.models.prepare(seed=0)  # where the build was interrupted before
        encode_pending(self._store, self.models, progress=progress)
        return report

    def delete(self, ids: Iterable[str], *, missing: Literal["error", "skip"] = "error") -> int:
        """Delete records by the user's ids; returns how many there were.

        Their rows stay in the files of the arrays until :meth:`compact`.
        """
        return self._store.delete(ids, missing=missing)

    def compact(self) -> int:
        """Write the arrays anew without the rows of deleted records; returns how many went."""
        return self._store.compact()

    def check(self) -> None:
        """Check that records, words, arrays and scores are sound and agree; reads all of them.

        Raises
        ------
        IntegrityError
            If they do not: which file, and how to repair it.
        """
        self._store.verify()
        with ScoreCache(self.path) as cache:
            cache.verify()
        if len(self):
            _ = self.models.encoder

    def info(self) -> dict[str, Any]:
        """What the index holds, what was paid for it, and how large it is."""
        settings = self._store.settings
        with self._store.snapshot() as snapshot, ScoreCache(self.path) as cache:
            model = IndexModel.from_attrs(snapshot.view.attrs)
            return {
                "path": str(self.path),
                "records": len(snapshot),
                "records_without_vectors": len(snapshot.pending_keys),
                "deleted_rows": int(np.count_nonzero(snapshot.view.deleted)),
                "encoder": settings["encoder"],
                "scorer": settings["scorer"] or settings.get("scorer_name") or None,
                "anchor_queries": len(model.anchors),
                "scores_paid": cache.count(),
                "bytes": sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file()),
            }


def _budget(calls: int, minutes: float | None) -> tuple[int, Clock]:
    """Calls to spend at most, and until when."""
    if calls < 0:
        raise ParameterError.of("calls", "SearchIndex.build", "at least 0; 0 pays for none", calls)
    return calls if calls or minutes is None else _UNBOUNDED, Clock(minutes)
