"""What a reader sees of an index: whole, and the same until it is closed.

Letters: N live records that have arrays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import IntegrityError, ParameterError
from shoestring.search import schema
from shoestring.search.arrays import REBUILD
from shoestring.search.database import connect, in_chunks
from shoestring.search.generations import View, read_view
from shoestring.search.intake import is_storable
from shoestring.types import IntArray

Explained = Callable[[], AbstractContextManager[None]]

_CANDIDATES = """
    SELECT rowid, -bm25(fulltext) AS score FROM fulltext WHERE fulltext MATCH ?
    ORDER BY score DESC, rowid LIMIT ?"""


class Snapshot:
    """A consistent view of an index, from :meth:`RecordStore.snapshot`; close it soon.

    Writers go on meanwhile and are not seen. A snapshot that stays open keeps the write-ahead log
    from shrinking, so take one for each query. It may be used from one thread at a time.

    Attributes
    ----------
    generation : int
        Of the arrays; 0 when none have been published.
    attrs : dict
        What was published with the arrays.
    segments : tuple of Segment
    keys : int64 array (N,)
        The live records that have arrays, in the row order of the segments' live rows.
    pending_keys : int64 array
        The live records that have none yet, ascending.
    """

    def __init__(self, connection: sqlite3.Connection, view: View, explained: Explained) -> None:
        self._connection, self._explained = connection, explained
        self.view = view
        self.generation = view.generation
        self.attrs = view.attrs
        self.segments = view.segments
        self.keys = view.keys
        self.pending_keys = view.pending_keys

    def __len__(self) -> int:
        return len(self.keys) + len(self.pending_keys)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the view; closing twice does no harm."""
        self._connection.close()

    def texts(self, keys: Sequence[int] | IntArray) -> list[str]:
        """The whole text of each key, in the order asked for."""
        return self._look_up("text", keys)

    def ids(self, keys: Sequence[int] | IntArray) -> list[str]:
        """The user's id of each key, in the order asked for."""
        return self._look_up("id", keys)

    def labels(self, keys: Sequence[int] | IntArray) -> list[str | None]:
        """The label of each key, None where there is none, in the order asked for."""
        return self._look_up("label", keys)

    def _look_up(self, name: str, keys: Sequence[int] | IntArray) -> list[Any]:
        wanted = [int(key) for key in keys]
        sql = f"SELECT key, {name} FROM records WHERE key IN ({{}})"
        with self._explained():
            found: dict[int, Any] = dict(in_chunks(self._connection, sql, wanted))
        try:
            return [found[key] for key in wanted]
        except KeyError as error:
            raise ParameterError.of(
                "keys", f"Snapshot.{name}s", "keys of live records", error.args[0]
            ) from None

    def key_of(self, id: str) -> int | None:
        """The key of the user's id, None when there is no such record."""
        if not is_storable(id):
            return None
        with self._explained():
            row = self._connection.execute("SELECT key FROM records WHERE id = ?", (id,)).fetchone()
        return None if row is None else int(row[0])

    def candidates(self, tokens: Sequence[str], limit: int) -> tuple[IntArray, NDArray[np.float64]]:
        """The records that BM25 ranks first for any of some tokens.

        Parameters
        ----------
        tokens : sequence of str
            From the tokeniser that the store was opened with; a repeated token counts once.
        limit : int
            At most so many records.

        Returns
        -------
        keys : int64 array (n,)
            Best first, equal scores by key; records without arrays are among them.
        scores : float64 array (n,)
            BM25, higher is better.

        Notes
        -----
        Cost: every record that holds one of the tokens is looked at.
        """
        quoted = ['"' + token.replace('"', '""') + '"' for token in dict.fromkeys(tokens)]
        rows: list[tuple[int, float]] = []
        if quoted and limit > 0:
            with self._explained():
                match = " OR ".join(quoted)
                rows = self._connection.execute(_CANDIDATES, (match, limit)).fetchall()
        keys = np.array([key for key, _ in rows], dtype=np.int64)
        return keys, np.array([score for _, score in rows], dtype=np.float64)


def open_snapshot(
    database: Path, folder: Path, remembered: View | None, explained: Explained
) -> Snapshot:
    """Open a snapshot; again when arrays are forgotten between a look at the database and at them.

    Raises
    ------
    IntegrityError, StorageError
    """
    lost: set[int] = set()  # generations
    while True:
        with explained():
            connection = connect(database, "ro")
        try:
            with explained():
                connection.execute("BEGIN")
                view = read_view(connection, folder, remembered)
            return Snapshot(connection, view, explained)
        except FileNotFoundError as error:
            generation = schema.read_state(connection).generation
            connection.close()
            if generation in lost:
                raise IntegrityError(f"{error.filename} is missing. {REBUILD}") from error
            lost.add(generation)
        except BaseException:
            connection.close()
            raise
