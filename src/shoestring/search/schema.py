"""The tables of ``records.sqlite`` and the statements that change them.

Keys are never used twice: a replaced record gets a new one, so whatever was computed for a key
stays true for it. Rows of arrays are appended in the order of keys, so ``state.last_key`` divides
the records that have arrays from those that wait for them, and ``deleted`` holds the keys up to it
whose records are gone: a reader knows what is live without reading all keys. ``fulltext`` keeps its
own copy of our tokens: SQLite 3.40 cannot delete from a table without content, and with the content
elsewhere a tokeniser that changes later would leave entries that no deletion finds.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from shoestring.checks import is_storable
from shoestring.search.arrays import ArrayFile
from shoestring.search.database import column, in_chunks, transaction
from shoestring.text.tokens import FTS5_TOKENIZER, tokenize
from shoestring.types import IntArray, Record

_TABLES = (
    """CREATE TABLE IF NOT EXISTS records (
        key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        text TEXT NOT NULL, fields TEXT NOT NULL)""",
    f"""CREATE VIRTUAL TABLE IF NOT EXISTS fulltext USING fts5(
        tokens, tokenize = "{FTS5_TOKENIZER}")""",
    "CREATE TABLE IF NOT EXISTS deleted (key INTEGER PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS state (
        row INTEGER PRIMARY KEY CHECK (row = 1), uid TEXT NOT NULL, n_rows INTEGER NOT NULL,
        last_key INTEGER NOT NULL, arrays TEXT NOT NULL, attrs TEXT NOT NULL)""",
)

_PENDING = "SELECT {} FROM records WHERE key > (SELECT last_key FROM state) ORDER BY key"


class State(NamedTuple):
    """What a reader looks at first.

    ``uid`` is drawn anew at every change, so that a reader tells this state from any other, also of
    an index that was built or restored in the same place.
    """

    uid: str
    n_rows: int  # of the arrays
    last_key: int  # the keys up to it have rows
    arrays: dict[str, ArrayFile]
    attrs: dict[str, Any]  # what was stored with them


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables."""
    for table in _TABLES:
        connection.execute(table)
    nothing = _new_uid(), _sealed({}), _sealed({})
    connection.execute("INSERT OR IGNORE INTO state VALUES (1, ?, 0, 0, ?, ?)", nothing)


def read_state(connection: sqlite3.Connection) -> State:
    """Read the one row of ``state``."""
    rows = connection.execute("SELECT uid, n_rows, last_key, arrays, attrs FROM state")
    try:
        ((uid, n_rows, last_key, *texts),) = rows
        arrays, attrs = (_unsealed(text) for text in texts)
        files = {
            name: ArrayFile(file, dtype, tuple(shape), checksum)
            for name, (file, dtype, shape, checksum) in arrays.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise sqlite3.DatabaseError(f"the state of the arrays cannot be read, {error}") from error
    return State(uid, n_rows, last_key, files, attrs)


def _sealed(value: Any) -> str:
    """JSON in a line, and its checksum in the next."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=np.ndarray.tolist)
    return f"{text}\n{zlib.crc32(text.encode())}"


def _unsealed(text: str) -> Any:
    body, _, checksum = text.rpartition("\n")
    if checksum != str(zlib.crc32(body.encode())):
        raise ValueError("as it has changed")
    return json.loads(body)


def write_state(connection: sqlite3.Connection, state: State) -> None:
    """Put arrays in force."""
    texts = [_sealed(value) for value in (state.arrays, state.attrs)]
    with transaction(connection):
        sql = "UPDATE state SET n_rows = ?, last_key = ?, arrays = ?, attrs = ?"
        connection.execute(sql, (state.n_rows, state.last_key, *texts))
        mark_changed(connection)


def mark_changed(connection: sqlite3.Connection) -> None:
    """Tell readers that what they remember of an earlier transaction is old."""
    connection.execute("UPDATE state SET uid = ?", (_new_uid(),))


def _new_uid() -> str:
    return os.urandom(8).hex()


def keys_of(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """The keys of those ids that exist."""
    sql = "SELECT id, key FROM records WHERE id IN ({})"
    return dict(in_chunks(connection, sql, [id for id in ids if is_storable(id)]))


def pending_keys(connection: sqlite3.Connection) -> IntArray:
    """The keys of the records without arrays, ascending."""
    return column(connection, _PENDING.format("key"))


def pending_texts(connection: sqlite3.Connection, n_most: int) -> list[tuple[int, str]]:
    """Keys and texts of the first records without arrays."""
    return connection.execute(_PENDING.format("key, text")).fetchmany(n_most)


def insert_records(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Insert records under new keys, without arrays yet."""
    sql = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'records'"
    ((first_key,),) = connection.execute(sql)
    connection.executemany(
        "INSERT INTO records (key, id, text, fields) VALUES (?, ?, ?, ?)",
        ((key, r.id, r.text, _as_json(r)) for key, r in enumerate(records, first_key)),
    )
    tokens = (" ".join(tokenize(record.text)) for record in records)
    connection.executemany(
        "INSERT INTO fulltext (rowid, tokens) VALUES (?, ?)", enumerate(tokens, first_key)
    )
    mark_changed(connection)


def _as_json(record: Record) -> str:
    """Fields and label as JSON for SQLite: NaN is null, what JSON cannot say is its text."""

    def other(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)

    fields = {} if record.label is None else {"label": record.label}
    text = json.dumps({**fields, **record.fields}, ensure_ascii=False, default=other, skipkeys=True)
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def delete_keys(connection: sqlite3.Connection, keys: Iterable[int]) -> None:
    """Delete records; their rows in arrays count as deleted."""
    rows = [(int(key),) for key in keys]
    connection.executemany(
        "INSERT INTO deleted SELECT ?1 WHERE ?1 <= (SELECT last_key FROM state)", rows
    )
    for table, name in (("records", "key"), ("fulltext", "rowid")):
        connection.executemany(f"DELETE FROM {table} WHERE {name} = ?", rows)
    mark_changed(connection)


def named(ids: Sequence[str], n_shown: int = 5) -> list[str]:
    """The first few ids, and how many more there are."""
    n_more = len(ids) - n_shown
    return [*ids[:n_shown], f"... and {n_more} more"] if n_more > 0 else list(ids)
