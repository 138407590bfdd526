"""Search whose answers are a pair scorer's, on a budget of its calls.

An index is a folder (:mod:`~shoestring.search.store`). Building it costs vectors for every text
and, where a budget is given, anchor scores; a query costs the calls it is given. Every score that
was paid for is kept and never paid for twice, and every later build learns from all of them.

Not covered: several scorers in one query, sharding.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import CONFIG
from shoestring.checks import (
    checked_bool,
    checked_choice,
    checked_int,
    checked_number,
    checked_path,
    checked_seed,
    checked_text,
    checked_texts,
)
from shoestring.encoders import AUTO, checked_encoder
from shoestring.errors import IntegrityError, ParameterError, ShoestringError, ShoestringWarning
from shoestring.jobs import Clock
from shoestring.match.scorer import load_scorer, scorer_name
from shoestring.models.model_files import model_path
from shoestring.progress import Progress
from shoestring.search.arrays import REBUILD
from shoestring.search.build import choose_anchors, fit_index_model, noting_unread, score_anchors
from shoestring.search.cur import top_rows
from shoestring.search.models import Models
from shoestring.search.query import (
    MAX_CHARACTERS,
    N_ROUNDS,
    FirstLook,
    IndexModel,
    first_look,
    pair_features,
    search_rounds,
)
from shoestring.search.schema import named
from shoestring.search.score_cache import CachedScorer, ScoreCache
from shoestring.search.snapshot import Snapshot
from shoestring.search.store import AddReport, OnDuplicate, RecordStore, checked_ids
from shoestring.search.where import condition
from shoestring.text import tokenize
from shoestring.text.records import Reading, read_records
from shoestring.types import Hit, Hits, PairScorer, Record

COLUMNS: tuple[Literal["text", "id", "label"], ...] = ("text", "id", "label")
DEFAULT_CALLS = 50
CANDIDATES, READ_BATCH = 10_000, 1_000
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
        self.last_add = AddReport()  # of a build too

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its path, and the scorer where one was passed: opened again."""
        reopen = partial(SearchIndex.open, scorer=self.models.given)
        return reopen, (str(self.path.absolute()),)

    @classmethod
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
            Also where the vectors are lexical and no text at all has a letter or digit, or the
            texts are too few or short to learn word codes from.
        FormatError, ScorerError, BusyError, StorageError
            Of a new index nothing stays before the first vectors are stored; afterwards what was
            finished stays: run again with ``resume``.

        Warns
        -----
        ShoestringWarning
            If texts have no letter or digit where the vectors are lexical, or no word that the
            codes know; if ``calls`` pay for nothing, because there is no scorer or no text that an
            anchor query can be taken from.
        """
        owner = "SearchIndex.build"
        path, encoder = checked_path("path", path, owner), checked_encoder(encoder, owner)
        _ = _budget(calls, minutes, owner)
        seed = checked_seed("seed", seed, owner)
        queries = None if queries is None else checked_texts("queries", queries, owner)
        checked_choice("on_duplicate", on_duplicate, get_args(OnDuplicate), owner)
        checked_bool("resume", resume, owner)
        checked_bool("progress", progress, owner)
        # Wrong names of files and models stop here, before anything is read or written.
        name = _scorer_name(scorer)
        loaded = None if scorer is None or name in ("", AUTO) else load_scorer(scorer)
        given = loaded if name is None else None
        is_new = not (resume and os.path.lexists(path / CONFIG))
        if is_new and records is None:
            raise ParameterError.of("records", owner, "a file, frame or list", None)
        index = None if is_new else cls(RecordStore.open(path), given)
        if index is not None:
            reading = index._reading(reading)
        source = None
        if records is not None:
            source = read_records(records, default_id="content", **reading)
        had_folder = os.path.lexists(path)
        if index is None:
            columns = {c: names for c in COLUMNS if (names := reading.get(c)) is not None}
            settings = {"encoder": encoder, "scorer": name or "", "columns": columns}
            if given is not None:
                settings["scorer_name"] = scorer_name(given)
            index = cls(RecordStore.create(path, settings), given)
            index.models.hold(loaded)
        try:
            with index._store.writing():
                if not is_new:
                    index.models.discard_damaged()
                    index.models.change(encoder, AUTO if name is None else name)
                    on_duplicate = "skip" if on_duplicate == "error" else on_duplicate
                with noting_unread(index._store, index.models):
                    if source is not None:
                        index.last_add = index._store.add(
                            source, on_duplicate=on_duplicate, progress=progress
                        )
                    index._finish(seed, progress)
        except Exception:
            with suppress(OSError, ShoestringError):  # why it failed matters more
                if is_new and not index._store.n_rows:  # nothing of value: free the folder
                    index._store.remove()
                    if not had_folder:
                        path.rmdir()
            raise
        if len(index):
            index.calibrate(calls, minutes=minutes, queries=queries, seed=seed, progress=progress)
        return index

    @classmethod
    def open(cls, path: str | Path, *, scorer: Any = None) -> SearchIndex:
        """Open an index; one built with an object as its scorer wants it again to pay calls."""
        path = checked_path("path", path, "SearchIndex.open")
        given = None if scorer is None else load_scorer(scorer)
        return cls(RecordStore.open(path), given)

    def _reading(self, reading: Reading) -> Reading:
        """How to read more records: the columns of the first ones, unless others are named."""
        return {**self._store.settings.get("columns", {}), **reading}

    def _finish(self, seed: int, progress: bool) -> None:
        """Do what a build does before it pays: choose and fit the models, make the arrays."""
        if len(self):
            self.models.prepare(seed)
            self._store.fill(self.models.arrays_of, progress)

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
        owner = "SearchIndex.calibrate"
        calls, clock = _budget(calls, minutes, owner)
        seed, spent = checked_seed("seed", seed, owner), 0
        queries = None if queries is None else checked_texts("queries", queries, owner)
        checked_bool("progress", progress, owner)
        _warn(notes := self._why_estimates() if calls else [])
        if calls and not notes:
            chosen = choose_anchors(self._store, self.models, queries, seed)
            spent = score_anchors(self._store, self.models, chosen, calls, clock, progress=progress)
        fit_index_model(self._store, self.models)
        return spent

    def set_mix(self, mix: float) -> None:
        """Rank from now on by that share of the first guess, and the rest of the scorer's scores.

        0 is the scorer alone, 1 the first guess alone; see ``search eval --keep``.
        """
        want = "a number in [0, 1]"
        mix = checked_number("mix", mix, "SearchIndex.set_mix", want, 0.0, 1.0)
        self._store.update_settings(mix=mix)

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._store.path

    def __len__(self) -> int:
        with self._store.snapshot() as snapshot:
            return len(snapshot)

    def query(
        self,
        text: str,
        k: int = 10,
        calls: int | None = None,
        *,
        where: str | Mapping[str, Any] | None = None,
        candidates: int = CANDIDATES,
        max_rounds: int = N_ROUNDS,
    ) -> Hits:
        """Find what the scorer would rank first.

        Parameters
        ----------
        text : str
        k : int
            How many hits at most.
        calls : int, optional
            Pairs that the scorer may be asked for; no pair is asked for twice. Asking again costs
            nothing, or what ``calls`` are more than before; after texts were added it is ``calls``
            again, and the new texts are looked at first. 0 answers from the scores that were paid
            for and from estimates. Default: 50, or k.
        where : str or mapping, optional
            Condition on the fields of the records, such as ``"lang = 'de' and year >= 2020"`` or
            ``{"lang": "de"}`` (:mod:`shoestring.search.where`); no call is spent on others.
        candidates : int
            Of how many texts, the most promising by the first guess, the rounds choose: what a
            query of a large index costs.
        max_rounds : int
            Into how many rounds the calls are divided at most. Each round learns from those before;
            fewer are quicker where a call has a fixed cost or the scorer has several threads.

        Returns
        -------
        Hits
            Best first. ``exact`` says whether the scorer itself gave a hit's score. ``error`` says
            why the scorer failed, where it had answered some of the calls before.

        Raises
        ------
        ParameterError
            If the text is empty, or k or calls are out of range.
        ScorerError
            If the scorer fails and has answered nothing.

        Warns
        -----
        ShoestringWarning
            If the answer is partial, as the scorer failed; if there is no scorer to pay; if a text
            is searched for by its beginning, or has no word that is known; if scores that were paid
            for cannot be kept.
        """
        began = time.perf_counter()
        owner = "SearchIndex.query"
        text = checked_text("text", text, owner)
        k = checked_int("k", k, 1, None, owner)
        calls = max(k, DEFAULT_CALLS) if calls is None else calls
        budget = checked_int("calls", calls, 0, None, owner)
        max_rounds = checked_int("max_rounds", max_rounds, 1, None, owner)
        candidates = max(k, checked_int("candidates", candidates, 1, None, owner))
        chosen = None if where is None else condition(where, owner)

        with self.snapshot() as snapshot:
            notes = []
            if n_pending := len(snapshot.pending_keys):
                notes.append(
                    f"{n_pending:,} texts have no vectors yet and are not found, as a build of "
                    f"{self.path} has not ended: wait for it, or go on with it (build --resume)."
                )
            if not len(snapshot.keys):
                _warn(notes)
                return Hits((), 0, time.perf_counter() - began, notes=tuple(notes))
            if budget:
                notes += self._why_estimates()
            is_unread = budget > 0 and not self.models.readable([text])
            can_pay = budget > 0 and self.models.scorer is not None and not is_unread
            look = self.first_look(snapshot, text)
            name, newest = self.models.scorer_name, int(look.view.row_keys[-1])
            uid = str(self._store.settings.get("id", ""))
            with ScoreCache(self.path, read_only=not can_pay) as cache:
                known = look.view.known_scores(*cache.row(name, text))  # what was paid for teaches
                if chosen:
                    look = look._replace(view=look.view.limited(snapshot.matching(chosen)))
                if len(look.guess) > candidates:
                    near = top_rows(np.where(look.view.deleted, -np.inf, look.guess), candidates)
                    some = np.union1d(near, known[0])
                    look, known = look.narrowed(some), (np.searchsorted(some, known[0]), known[1])
                view, is_open = look.view, ~look.view.deleted
                answered, spent = cache.last_answer(name, text, uid)
                if answered < newest:  # calls are for texts that were added since
                    spent = 0
                if chosen:  # or for what meets this condition
                    spent = int(np.count_nonzero(is_open[known[0]]))
                score = self.models.cached_scorer(snapshot, view, text, cache, partial=True)
                rounds = search_rounds(
                    look,
                    known,
                    max(0, budget - spent),
                    score if can_pay else None,
                    first=view.row_keys > answered if 0 <= answered < newest else None,
                    max_rounds=max_rounds,
                )
                if not chosen and score.calls and (answered < 0 or not score.error):
                    cache.set_answered(name, text, uid, newest, spent + score.calls)
            n_open = int(np.count_nonzero(is_open))
            notes += _notes(look.features, text, score, budget, n_open)
            if is_unread:
                notes.append(
                    "The scorer does not know the writing of the query, so no call was spent: the "
                    "answer goes by words alone. Name a scorer that reads it: scorer=..."
                )
            mix = float(self._store.settings.get("mix", 0.0))
            found, scores, exact = rounds.ranking(min(k, n_open), mix)
            if not look.features.any() and not exact.any():
                found = found[:0]  # any text would do as well
            records = snapshot.records(view.row_keys[found])
        words = dict.fromkeys(tokenize(text[:MAX_CHARACTERS]))
        hits = tuple(
            Hit(r.id, r.text, float(score), bool(is_exact), r.fields, _shared(words, r.text))
            for r, score, is_exact in zip(records, scores, exact, strict=False)
        )
        _warn(notes)
        error = str(score.error) if score.error else None
        return Hits(hits, score.calls, time.perf_counter() - began, error, tuple(notes))

    def query_many(
        self, texts: Iterable[str], k: int = 10, calls: int | None = None, *,
        progress: bool = False, **settings: Any,
    ) -> Iterator[Hits]:  # fmt: skip
        """Answer one query after the other, each as :meth:`query`, with its other settings."""
        texts = checked_texts("texts", texts, "SearchIndex.query_many")
        for text in Progress(texts, desc="queries", unit="query", disable=not progress):
            yield self.query(text, k, calls, **settings)

    def get(self, ids: Iterable[str | int]) -> list[Record]:
        """The records of some ids; ParameterError names those that are not in the index."""
        with self.snapshot() as snapshot:
            wanted = list(checked_ids(ids, "SearchIndex.get"))
            keys = snapshot.keys_of(wanted)
            if absent := named([id for id in wanted if id not in keys]):
                raise ParameterError.of("ids", "SearchIndex.get", "ids of the index", absent)
            return snapshot.records([keys[id] for id in wanted])

    def records(self, where: str | Mapping[str, Any] | None = None) -> Iterator[Record]:
        """All records, or those that meet a condition, in the order in which they were added."""
        chosen = None if where is None else condition(where, "SearchIndex.records")
        with self.snapshot() as snapshot:
            keys = snapshot.all_keys if chosen is None else snapshot.matching(chosen)
            for start in range(0, len(keys), READ_BATCH):
                yield from snapshot.records(keys[start : start + READ_BATCH])

    def snapshot(self) -> Snapshot:
        """A whole, consistent view of the records and arrays; close it soon."""
        return self.models.snapshot()

    def first_look(self, snapshot: Snapshot, text: str) -> FirstLook:
        """What is known of a query before the scorer is asked."""
        view, model = snapshot.view, IndexModel.from_attrs(snapshot.view.attrs)
        vector: NDArray[Any] = np.zeros(0, np.float32)
        if len(view):  # else the build was interrupted: there may be no encoder yet
            vector = self.models.encode([text[:MAX_CHARACTERS]], snapshot.encoder)[0]
            if vector.shape != view.arrays["vectors"].shape[1:]:
                raise IntegrityError(
                    f"The encoder of {self.path} makes other vectors than when the index was built."
                    f" {REBUILD}"
                )
        features = pair_features(snapshot, text, vector)
        lexical = self.models.is_lexical or not vector.any()
        return first_look(view, model, features, lexical=lexical)

    def _why_estimates(self) -> list[str]:
        """A note where there is no scorer to pay."""
        if self.models.scorer is not None:
            return []
        name = self._store.settings.get("scorer_name")
        what = f"was built with the scorer {name!r}" if name else "has no scorer"
        hint = "Open it with scorer=... to pay for exact scores."
        return [f"{self.path} {what}, so the answers are estimates. {hint}"]

    def add(
        self,
        records: Any,
        *,
        on_duplicate: OnDuplicate = "error",
        progress: bool = False,
        **reading: Unpack[Reading],
    ) -> AddReport:
        """Add records, as :meth:`build` takes them: they are found from now on.

        They are ranked by their vectors and words until :meth:`calibrate` scores them with the
        anchor queries. The columns are those of the build unless others are named.
        """
        checked_choice("on_duplicate", on_duplicate, get_args(OnDuplicate), "SearchIndex.add")
        checked_bool("progress", progress, "SearchIndex.add")
        source = read_records(records, default_id="content", **self._reading(reading))
        with self._store.writing(), noting_unread(self._store, self.models):
            self._finish(0, progress)  # what an interrupted build left
            arrays_of = self.models.arrays_of if self.models.are_chosen else None
            self.last_add = self._store.add(
                source, on_duplicate=on_duplicate, arrays_of=arrays_of, progress=progress
            )
            self._finish(0, progress)  # of an index that had no text to choose models by
        return self.last_add

    def delete(self, ids: Iterable[str | int]) -> int:
        """Delete records by the user's ids, all or none; returns how many there were.

        Their rows stay in the files of the arrays until :meth:`compact`.
        """
        return self._store.delete(ids)

    def copy(self, to: str | Path) -> SearchIndex:
        """Copy the index as it is now to a new or empty folder, and open the copy.

        Others may query it meanwhile; writers wait.
        """
        path = checked_path("to", to, "SearchIndex.copy")
        self._store.copy(path)
        return SearchIndex.open(path, scorer=self.models.given)

    def compact(self) -> int:
        """Write the arrays anew without the rows of deleted records; returns how many went."""
        return self._store.compact()

    def check(self) -> None:
        """Check that records, words, arrays and scores are sound and agree; reads all of them.

        IntegrityError says which file is damaged, and how to repair it.
        """
        self._store.verify()
        with ScoreCache(self.path, read_only=True) as cache:
            cache.verify()
        if len(self):
            _ = self.models.encoder

    def info(self) -> dict[str, Any]:
        """What the index holds, what was paid for it, and how large it is."""
        settings = self._store.settings
        with self._store.snapshot() as snapshot, ScoreCache(self.path, read_only=True) as cache:
            model = IndexModel.from_attrs(snapshot.view.attrs)
            return {
                "path": str(self.path),
                "records": len(snapshot),
                "records_without_vectors": len(snapshot.pending_keys),
                "deleted_rows": int(np.count_nonzero(snapshot.view.deleted)),
                "encoder": settings["encoder"],
                "scorer": settings["scorer"] or settings.get("scorer_name") or None,
                "mix": settings.get("mix", 0.0),
                "anchor_queries": len(model.anchors),
                "scores_paid": cache.count(),
                "bytes": _size(self.path),
            }


def _warn(notes: Iterable[str]) -> None:
    for note in notes:
        warnings.warn(note, ShoestringWarning, stacklevel=3)


def _shared(words: Iterable[str], text: str) -> tuple[str, ...]:
    """The words that a text has, without those that are within others."""
    there = {*tokenize(text)}
    found = [word for word in words if word in there]
    return tuple(w for w in found if not any(w != other and w in other for other in found))


def _notes(
    features: NDArray[np.float32], text: str, score: CachedScorer, calls: int, n_open: int
) -> Iterator[str]:
    """What the user should know of an answer."""
    if not n_open:
        yield "No record meets the condition (where): see what fields they have in search list."
    if len(text) > MAX_CHARACTERS:
        yield (
            f"The query has {len(text):,} characters; it is searched for by the first "
            f"{MAX_CHARACTERS:,} of them, and the scorer gets all."
        )
    if not features.any():
        found = "only the scorer can tell its texts apart" if score.calls else "nothing is found"
        yield f"No word of the query is in the index; {found}."
    if score.error:
        yield (
            f"{score.error} The answer rests on the {score.calls} of {calls} calls that were "
            "answered before; ask again for the rest."
        )
    if score.n_lost:
        yield (
            f"{score.n_lost} scores could not be kept: scores.sqlite cannot be written. Free some "
            "space or check its permissions, or they are paid for again."
        )


def _budget(calls: int, minutes: float | None, owner: str) -> tuple[int, Clock]:
    """Calls to spend at most, and until when."""
    calls = checked_int("calls", calls, 0, None, owner)
    if minutes is not None:
        minutes = checked_number("minutes", minutes, owner, "a number above 0, or None", above=0.0)
    return calls if calls or minutes is None else _UNBOUNDED, Clock(minutes)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; another process may take some away meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def _scorer_name(scorer: Any) -> str | None:
    """What the settings name a scorer, a folder by its whole path; None for an object."""
    if not isinstance(scorer, str | Path):
        return None
    folder = model_path(scorer)
    return str(scorer if folder is None else folder.resolve())
