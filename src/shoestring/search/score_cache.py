"""Every score that was paid for, so that none is paid for twice.

A score belongs to a scorer, a query and a text. The text is known by a 64-bit digest and not by its
record, so that a text that is deleted and added again is not paid for again; two different texts
among a million share one with a chance of 3e-8. The cache is a database of its own: a query that
pays for scores never waits for a long build.

Letters: n texts.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring.checks import checked_path
from shoestring.errors import DeadlineError, ParameterError, ScorerError, ShapeError, StorageError
from shoestring.match.scorer import answers_of, batch_size_of
from shoestring.search.database import (
    connect,
    connect_for_writing,
    explained,
    has_no_room,
    in_chunks,
    transaction,
)
from shoestring.text.records import text_digests
from shoestring.types import FloatArray, IntArray, PairScorer

_TABLES = (
    """CREATE TABLE IF NOT EXISTS asked (
        number INTEGER PRIMARY KEY, scorer TEXT NOT NULL, query TEXT NOT NULL,
        UNIQUE (scorer, query))""",
    """CREATE TABLE IF NOT EXISTS scores (
        asked INTEGER NOT NULL, digest INTEGER NOT NULL, score REAL NOT NULL,
        PRIMARY KEY (asked, digest)) WITHOUT ROWID""",
    # the newest record of an index (its uid) when a query was last answered, and for how many calls
    """CREATE TABLE IF NOT EXISTS answered (
        asked INTEGER PRIMARY KEY, uid TEXT NOT NULL, last_key INTEGER NOT NULL,
        calls INTEGER NOT NULL)""",
    # what was known of a pair before its score: of a reranker, which has no records to look at
    """CREATE TABLE IF NOT EXISTS features (
        asked INTEGER NOT NULL, digest INTEGER NOT NULL, numbers BLOB NOT NULL,
        PRIMARY KEY (asked, digest)) WITHOUT ROWID""",
)
_NUMBER = "SELECT number FROM asked WHERE scorer = ? AND query = ?"
_SCORES = f"SELECT digest, score FROM scores WHERE asked = ({_NUMBER})"
_FEATURES = """SELECT asked, numbers, score FROM features JOIN scores USING (asked, digest)
    JOIN asked ON number = asked WHERE scorer = ? ORDER BY asked, digest"""
_REPAIR = "Move it elsewhere: a new one is begun, and scores are paid for again."
KEEP_S = 0.05  # quick answers of a scorer are kept together, so many seconds of them


class ScoreCache(AbstractContextManager["ScoreCache"]):
    """Scores that were paid for, for any number of threads and processes.

    Parameters
    ----------
    place : str or Path, optional
        The folder of an index, or a file that ends in .sqlite; none: in memory. Where it cannot be
        written the cache is read-only: what is known is answered, and :meth:`put` says False.
    read_only : bool
        Do not even try to write.

    Examples
    --------
    >>> import tempfile
    >>> from shoestring.text.records import text_digests
    >>> with ScoreCache(tempfile.mkdtemp()) as cache:
    ...     digests = text_digests(["a text", "another"])
    ...     cache.put("minilm", "a query", digests[:1], [0.5])
    ...     cache.get("minilm", "a query", digests)
    True
    array([0.5, nan])
    """

    def __init__(self, place: str | Path | None, *, read_only: bool = False) -> None:
        self.path: Path | None = None
        if place is not None:
            path = checked_path("place", place, "ScoreCache")
            self.path = path if path.suffix == ".sqlite" else path / "scores.sqlite"
            if not os.path.isdir(self.path.parent):  # noqa: PTH112  False for too long a name
                want = "the folder of an index, or a file .sqlite in a folder"
                raise ParameterError.of("place", "ScoreCache", want, str(place))
        self.read_only = read_only
        self._explained = partial(explained, self.path or Path(":memory:"), _REPAIR)
        self._lock = threading.Lock()
        self._opened: dict[int, sqlite3.Connection] = {}  # by process: SQLite shares none
        with self._explained():
            _ = self._connection

    @property
    def _connection(self) -> sqlite3.Connection:
        if os.getpid() not in self._opened:
            self._opened[os.getpid()] = self._open()
        return self._opened[os.getpid()]

    def __reduce__(self) -> tuple[Any, ...]:
        return ScoreCache, (self.path and self.path.absolute(),)

    def _open(self) -> sqlite3.Connection:
        if self.path and not self.read_only:
            try:
                return _with_tables(connect_for_writing(self.path, create=True))
            except sqlite3.OperationalError as error:
                if not has_no_room(error):
                    raise
            self.read_only = True
        if self.path and self.path.exists():
            found = connect(self.path, "ro")
            if found.execute("SELECT 1 FROM sqlite_master WHERE name = 'answered'").fetchone():
                return found
            found.close()  # another process is just making it
        empty = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        return _with_tables(empty)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the cache; closing twice does no harm."""
        with self._lock:
            self._connection.close()

    def get(self, scorer: str, query: str, digests: ArrayLike) -> NDArray[np.float64]:
        """The scores (n,) of n texts by their :func:`text_digests`, NaN where none is known."""
        wanted = np.asarray(digests, dtype=np.int64).tolist()
        with self._lock, self._explained():
            sql = f"{_SCORES} AND digest IN ({{}})"
            found = dict(in_chunks(self._connection, sql, wanted, scorer, query))
        return np.array([found.get(digest, np.nan) for digest in wanted], dtype=np.float64)

    def put(self, scorer: str, query: str, digests: ArrayLike, scores: ArrayLike) -> bool:
        """Keep scores, in one short transaction that is on the disk when this returns.

        False if the cache is read-only and they were not kept. ParameterError if one is not finite.
        """
        keys, values = np.asarray(digests, np.int64), np.asarray(scores, np.float64)
        if keys.shape != values.shape or keys.ndim != 1:
            raise ShapeError(f"{keys.shape} digests and {values.shape} scores must be as many.")
        if not np.isfinite(values).all():
            bad = float(values[~np.isfinite(values)][0])
            raise ParameterError.of("scores", "ScoreCache.put", "finite numbers", bad)
        return self._keep("scores", scorer, query, zip(keys.tolist(), values.tolist(), strict=True))

    def _keep(self, table: str, scorer: str, query: str, rows: Iterable[tuple[Any, ...]]) -> bool:
        """Put rows of a query into a table, where the cache can be written."""
        if self.read_only:
            return False
        with self._lock, self._explained(), transaction(self._connection) as connection:
            asked = scorer, query
            connection.execute("INSERT OR IGNORE INTO asked (scorer, query) VALUES (?, ?)", asked)
            ((number,),) = connection.execute(_NUMBER, asked)
            if rows := list(rows):
                sql = f"INSERT OR REPLACE INTO {table} VALUES ({number}{', ?' * len(rows[0])})"
                connection.executemany(sql, rows)
        return True

    def _read(self, sql: str, *parameters: object) -> list[Any]:
        with self._lock, self._explained():
            return self._connection.execute(sql, parameters).fetchall()

    def last_answer(self, scorer: str, query: str, uid: str) -> tuple[int, int]:
        """Of a query to the index ``uid``: its newest record then, and the calls spent until then.

        (-1, 0) if the query was never answered.
        """
        sql = f"SELECT last_key, calls FROM answered WHERE asked = ({_NUMBER}) AND uid = ?"
        return next(iter(self._read(sql, scorer, query, uid)), (-1, 0))

    def set_answered(self, scorer: str, query: str, uid: str, last_key: int, calls: int) -> None:
        """Remember what :meth:`last_answer` says, where the cache can be written."""
        with suppress(StorageError):
            self._keep("answered", scorer, query, [(uid, last_key, calls)])

    def rows(self, scorer: str) -> Iterator[tuple[str, IntArray, NDArray[np.float64]]]:
        """Everything known of a scorer: each query, as first paid for, and its :meth:`row`."""
        sql = "SELECT query FROM asked WHERE scorer = ? ORDER BY number"
        for (query,) in self._read(sql, scorer):
            yield query, *self.row(scorer, query)

    def row(self, scorer: str, query: str) -> tuple[IntArray, NDArray[np.float64]]:
        """Everything known of one query: digests (n,), ascending, and scores (n,)."""
        found = self._read(f"{_SCORES} ORDER BY digest", scorer, query)
        pairs = np.array(found, dtype=[("digest", np.int64), ("score", np.float64)])
        return pairs["digest"].copy(), pairs["score"].copy()

    def put_features(
        self, scorer: str, query: str, digests: IntArray, features: NDArray[np.float32]
    ) -> None:
        """Keep what was known of pairs (n, c) before their scores, where it can be written."""
        with suppress(StorageError):
            rows = zip(digests.tolist(), map(np.ndarray.tobytes, features), strict=True)
            self._keep("features", scorer, query, rows)

    def features(self, scorer: str) -> list[tuple[NDArray[np.float32], NDArray[np.float64]]]:
        """Of each query what :meth:`put_features` kept (n, c), and the scores (n,)."""
        found = []
        for _, group in groupby(self._read(_FEATURES, scorer), key=itemgetter(0)):
            _, numbers, scores = zip(*group, strict=True)
            table = np.frombuffer(b"".join(numbers), np.float32).reshape(len(scores), -1)
            found.append((table, np.array(scores)))
        return found

    def verify(self) -> None:
        """Read everything; IntegrityError if the database is damaged."""
        with self._explained():
            ((found,),) = self._read("PRAGMA quick_check(1)")
            if found != "ok":
                raise sqlite3.DatabaseError(found)

    def count(self) -> int:
        """How many scores are kept."""
        ((n,),) = self._read("SELECT count(*) FROM scores")
        return int(n)


@dataclass
class CachedScorer:
    """Exact scores of rows with a query; what was paid for before is free.

    Where ``partial`` it goes on with what there is: NaN for what the scorer has failed on after it
    had answered some, its ``error``, a count of what a full disk cannot keep. Else both are raised.
    """

    scorer: PairScorer | None  # None where nothing will be asked
    name: str  # under which its scores are kept
    lock: AbstractContextManager[Any]  # held while the scorer is asked, as answers_of says
    texts: Callable[[IntArray], list[str]]  # of rows (n,)
    query: str
    cache: ScoreCache  # where every answer is kept as it comes
    partial: bool = False
    calls: int = 0  # pairs that the scorer has answered so far
    seconds: float = 0.0  # how long it took
    n_lost: int = 0  # answers that the cache could not keep
    error: ScorerError | None = None

    def __call__(self, rows: IntArray) -> FloatArray:
        """The scores (n,) of n rows; ScorerError if the scorer fails, unless ``partial``."""
        texts = self.texts(rows)
        digests = text_digests(texts).tolist()
        known = self.cache.get(self.name, self.query, digests).tolist()
        scores = dict(zip(digests, known, strict=True))
        each = zip(digests, texts, strict=True)
        unpaid = {digest: text for digest, text in each if math.isnan(scores[digest])}
        try:
            if unpaid:
                self._pay(unpaid, scores)
        except ScorerError as error:
            has_some = self.calls or isinstance(error, DeadlineError)
            if not (self.partial and has_some):
                raise
            self.error = error
        return np.array([scores[digest] for digest in digests])

    def _pay(self, unpaid: dict[int, str], scores: dict[int, float]) -> None:
        """Fill in the scores of texts, and keep them as they come, also of a scorer that fails."""
        assert self.scorer is not None
        digests, unkept = np.array([*unpaid]), list[int]()
        pairs, size = [(self.query, text) for text in unpaid.values()], batch_size_of(self.scorer)
        began = kept_at = time.perf_counter()
        try:
            for part, answer in answers_of(self.scorer, pairs, self.lock):
                now = time.perf_counter()
                self.seconds += now - began
                new = digests[part].tolist()
                scores.update(zip(new, answer.tolist(), strict=True))
                unkept += new
                self.calls += len(new)
                if now - kept_at > KEEP_S or len(unkept) >= size:
                    self._keep(unkept, scores)
                    kept_at = time.perf_counter()
                began = time.perf_counter()
        finally:
            self._keep(unkept, scores)

    def _keep(self, unkept: list[int], scores: dict[int, float]) -> None:
        digests, is_kept = unkept.copy(), not unkept
        unkept.clear()
        try:
            if digests:
                answers = [scores[digest] for digest in digests]
                is_kept = self.cache.put(self.name, self.query, digests, answers)
        except StorageError:
            if not self.partial:
                raise
        self.n_lost += 0 if is_kept else len(digests)


def _with_tables(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        with transaction(connection):
            for table in _TABLES:
                connection.execute(table)
    except BaseException:
        connection.close()
        raise
    return connection
