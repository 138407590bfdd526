"""What a reader sees of an index: whole, and the same until it is closed.

Records that have no arrays yet, as of an interrupted build, are counted and not searched.

Letters: R rows of the arrays, N of them of live records.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import CHECKED, pieces
from shoestring.search import schema
from shoestring.search.arrays import KEYS, AnyArray, map_rows
from shoestring.search.database import column, in_chunks
from shoestring.search.where import Sql, add_functions
from shoestring.text import tokenize
from shoestring.types import FloatArray, IntArray, Record, TextEncoder

Explained = Callable[[], AbstractContextManager[None]]

_CANDIDATES = """
    SELECT rowid, -bm25(fulltext) AS score FROM fulltext WHERE fulltext MATCH ?
    ORDER BY score DESC, rowid LIMIT ?"""


@dataclass(frozen=True, eq=False)
class View:
    """The arrays in force, memory-mapped, and which rows of them are live: others are masked."""

    uid: str  # as of the State
    attrs: dict[str, Any]
    row_keys: IntArray  # (R,): the record of each row, ascending
    deleted: NDArray[np.bool_]  # (R,): rows whose records are gone
    arrays: dict[str, AnyArray]  # (R, ...)
    pending_keys: IntArray  # the records without arrays, ascending

    def __len__(self) -> int:
        return len(self.row_keys)

    @cached_property
    def keys(self) -> IntArray:
        """The keys (N,) of the rows that are live."""
        return self.row_keys[~self.deleted]

    def column(self, name: str, dtype: type) -> NDArray[Any]:
        """A one-dimensional array (R,), 0 where it was not made yet."""
        return self.arrays.get(name, np.zeros(len(self), dtype))

    def known_scores(self, digests: IntArray, scores: FloatArray) -> tuple[IntArray, FloatArray]:
        """The live rows whose texts have these digests (n,) ascending, with their scores."""
        if not len(digests):
            return np.empty(0, np.int64), scores
        found = self.column("digest", np.int64)
        at = np.searchsorted(digests, found).clip(max=len(digests) - 1)
        rows = np.flatnonzero((digests[at] == found) & ~self.deleted)
        return rows, scores[at[rows]]

    def narrowed(self, rows: IntArray) -> View:
        """Some rows, ascending, as if there were no others: their arrays are copied into memory."""
        arrays = {name: np.asarray(array[rows]) for name, array in self.arrays.items()}
        return replace(
            self, row_keys=self.row_keys[rows], deleted=self.deleted[rows], arrays=arrays
        )

    def limited(self, keys: IntArray) -> View:
        """Some records, as if the others were deleted."""
        return replace(self, deleted=self.deleted | ~np.isin(self.row_keys, keys))

    def live_rows(self, name: str) -> Iterator[AnyArray]:
        """The rows of live records of one array, in pieces that fit in memory."""
        start = 0
        for piece in pieces(self.row_keys if name == KEYS else self.arrays[name]):
            yield piece[~self.deleted[start : start + len(piece)]]
            start += len(piece)


def read_view(
    connection: sqlite3.Connection, state: schema.State, folder: Path, checked: int = CHECKED
) -> View:
    """What is in force in the transaction of ``connection``, which has read ``state``.

    Arrays of up to ``checked`` bytes are compared with their checksums. IntegrityError if one is
    missing, as it is too where it was replaced in the meantime.
    """
    arrays = {
        name: map_rows(folder, where, state.n_rows, checked) for name, where in state.arrays.items()
    }
    row_keys = np.asarray(arrays.pop(KEYS, np.empty(0, np.int64)))
    deleted = np.isin(row_keys, column(connection, "SELECT key FROM deleted"))
    pending = schema.pending_keys(connection)
    return View(state.uid, state.attrs, row_keys, deleted, arrays, pending)


class Snapshot(AbstractContextManager["Snapshot"]):
    """A consistent view of an index, from :meth:`RecordStore.snapshot`; close it soon.

    Writers go on meanwhile and are not seen. A snapshot that stays open keeps the write-ahead log
    from shrinking, so take one for each query. It may be used from one thread at a time.
    """

    def __init__(self, connection: sqlite3.Connection, view: View, explained: Explained) -> None:
        self._connection, self._explained = connection, explained
        self.view = view
        self.keys, self.pending_keys = view.keys, view.pending_keys
        self.encoder: TextEncoder | None = None  # of the vectors, where it is known

    def __len__(self) -> int:
        return len(self.keys) + len(self.pending_keys)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the view; closing twice does no harm."""
        self._connection.close()

    @property
    def all_keys(self) -> IntArray:
        """The keys of all live records, ascending."""
        return np.concatenate([self.keys, self.pending_keys])

    def texts(self, keys: Sequence[int] | IntArray) -> list[str]:
        """The whole text of each key, in the order asked for."""
        return [text for (text,) in self._look_up("text", keys)]

    def ids(self, keys: Sequence[int] | IntArray) -> list[str]:
        """The user's id of each key, in the order asked for."""
        return [id for (id,) in self._look_up("id", keys)]

    def records(self, keys: Sequence[int] | IntArray) -> list[Record]:
        """The whole record of each key, in the order asked for."""
        rows = self._look_up("id, text, fields", keys)
        with self._explained():
            try:
                return [Record(id, text, fields={**json.loads(said)}) for id, text, said in rows]
            except (ValueError, TypeError) as error:
                raise sqlite3.DatabaseError(f"fields of a record, {error}") from error

    def matching(self, where: Sql) -> IntArray:
        """The keys of the records that meet a condition, ascending."""
        with self._explained():
            add_functions(self._connection)
            sql = f"SELECT key FROM records WHERE {where[0]} ORDER BY key"
            return column(self._connection, sql, where[1])

    def _look_up(self, columns: str, keys: Sequence[int] | IntArray) -> list[tuple[Any, ...]]:
        wanted = [int(key) for key in keys]
        sql = f"SELECT key, {columns} FROM records WHERE key IN ({{}})"
        with self._explained():
            found = {key: rest for key, *rest in in_chunks(self._connection, sql, wanted)}
            if not all(key in found for key in wanted):
                raise sqlite3.DatabaseError("a record is not there")
        return [tuple(found[key]) for key in wanted]

    def keys_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The keys of those of the user's ids that there are."""
        with self._explained():
            return schema.keys_of(self._connection, ids)

    def candidates(self, tokens: Sequence[str], limit: int) -> tuple[IntArray, NDArray[np.float64]]:
        """The records that BM25 ranks first for any of some tokens: keys (n,), scores (n,).

        At most ``limit``, best first, equal scores by key; also records without arrays. Every
        record that holds one of the tokens is looked at.
        """
        with self._explained():
            rows = _found(self._connection, tokens, limit)
        keys = np.array([key for key, _ in rows], dtype=np.int64)
        if not np.isin(keys, self.all_keys).all():  # as in a copy that was made while one wrote
            with self._explained():
                raise sqlite3.DatabaseError("it has words of a record that is not there")
        return keys, np.array([score for _, score in rows], dtype=np.float64)


def _found(
    connection: sqlite3.Connection, tokens: Iterable[str], limit: int
) -> list[tuple[int, float]]:
    quoted = ['"' + token.replace('"', '""') + '"' for token in dict.fromkeys(tokens)]
    if not quoted or limit <= 0:
        return []
    return connection.execute(_CANDIDATES, (" OR ".join(quoted), limit)).fetchall()


def bm25(query: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """The scores (N,) of texts that are in no index, 0 where no word is shared."""
    scores = np.zeros(len(texts), np.float32)
    with closing(sqlite3.connect(":memory:")) as connection:
        schema.create_tables(connection)
        schema.insert_records(connection, [Record(str(i), text) for i, text in enumerate(texts)])
        for key, score in _found(connection, tokenize(query), len(texts)):
            scores[key - 1] = max(score, 0.0)
    return scores
