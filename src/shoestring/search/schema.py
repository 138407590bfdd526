"""The tables of ``records.sqlite`` and the statements that change them.

Keys are never used twice: a replaced record gets a new one, so whatever was computed for a key
stays true for it. ``fulltext`` keeps its own copy of our tokens: SQLite 3.40 cannot delete from a
table without content, and with the content elsewhere a tokeniser that changes later would leave
entries that no deletion finds.

``pending`` holds the live keys without arrays, ``dead`` the keys in arrays whose records are gone:
with them a reader knows what lives without reading all keys. A segment belongs to the generations
from ``born`` up to, not including, ``died``.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from shoestring.errors import ParameterError
from shoestring.search.arrays import Manifest
from shoestring.search.database import column, in_chunks
from shoestring.text.tokens import FTS5_TOKENIZER
from shoestring.types import IntArray, Record

_TABLES = (
    """CREATE TABLE IF NOT EXISTS records (
        key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        text TEXT NOT NULL, label TEXT)""",
    f"""CREATE VIRTUAL TABLE IF NOT EXISTS fulltext USING fts5(
        tokens, tokenize = "{FTS5_TOKENIZER}")""",
    "CREATE TABLE IF NOT EXISTS pending (key INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS dead (key INTEGER PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS segments (
        number INTEGER PRIMARY KEY AUTOINCREMENT, born INTEGER NOT NULL, died INTEGER,
        manifest TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS state (
        row INTEGER PRIMARY KEY CHECK (row = 1), uid TEXT NOT NULL, revision INTEGER NOT NULL,
        generation INTEGER NOT NULL, attrs TEXT NOT NULL)""",
)

CONTRADICTIONS = (
    ("SELECT key FROM records EXCEPT SELECT rowid FROM fulltext", "a record has no tokens"),
    ("SELECT rowid FROM fulltext EXCEPT SELECT key FROM records", "tokens have no record"),
    ("SELECT key FROM pending EXCEPT SELECT key FROM records", "a deleted record waits for arrays"),
    ("SELECT key FROM dead INTERSECT SELECT key FROM records", "a live record counts as dead"),
)
"""Queries that answer nothing when the tables agree, and what it means when they do."""


class State(NamedTuple):
    """What a reader looks at first; the fields are those of a view."""

    uid: str
    revision: int
    generation: int
    attrs: dict[str, Any]


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables; ``uid`` tells an index from one built later in the same place."""
    for table in _TABLES:
        connection.execute(table)
    connection.execute(
        "INSERT OR IGNORE INTO state VALUES (1, ?, 0, 0, '{}')", (os.urandom(8).hex(),)
    )


def read_state(connection: sqlite3.Connection) -> State:
    """Read the one row of ``state``."""
    rows = connection.execute("SELECT uid, revision, generation, attrs FROM state")
    ((uid, revision, generation, attrs),) = rows
    return State(uid, revision, generation, json.loads(attrs))


def next_number(connection: sqlite3.Connection, table: str) -> int:
    """The first number that ``table`` has never given out."""
    sql = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = ?"
    return int(column(connection, sql, (table,))[0])


def keys_of(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """The keys of those ids that there are."""
    sql = "SELECT id, key FROM records WHERE id IN ({})"
    return dict(in_chunks(connection, sql, ids))


def insert_records(
    connection: sqlite3.Connection, first_key: int, records: Sequence[Record], tokens: Iterable[str]
) -> None:
    """Insert records under the keys from ``first_key`` on, without arrays yet."""
    connection.executemany(
        "INSERT INTO records (key, id, text, label) VALUES (?, ?, ?, ?)",
        ((key, r.id, r.text, r.label) for key, r in enumerate(records, first_key)),
    )
    connection.executemany(
        "INSERT INTO fulltext (rowid, tokens) VALUES (?, ?)", enumerate(tokens, first_key)
    )
    connection.execute("INSERT INTO pending SELECT key FROM records WHERE key >= ?", (first_key,))
    mark_changed(connection)


def delete_keys(connection: sqlite3.Connection, keys: Iterable[int]) -> None:
    """Delete records; rows of theirs in arrays become dead."""
    rows = [(int(key),) for key in keys]
    connection.executemany(
        "INSERT INTO dead SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM pending WHERE key = ?1)", rows
    )
    for table, name in (("pending", "key"), ("records", "key"), ("fulltext", "rowid")):
        connection.executemany(f"DELETE FROM {table} WHERE {name} = ?", rows)
    mark_changed(connection)


def mark_changed(connection: sqlite3.Connection) -> None:
    """Tell readers that what they remember of an earlier transaction is old."""
    connection.execute("UPDATE state SET revision = revision + 1")


def read_segments(connection: sqlite3.Connection) -> list[tuple[int, Manifest]]:
    """The segments in force, oldest first."""
    return _segments(connection, "WHERE died IS NULL")


def begin_generation(connection: sqlite3.Connection, attrs: Mapping[str, Any]) -> int:
    """Count the generation up, with its attributes; return it."""
    try:
        text = _json(dict(attrs))
    except (TypeError, ValueError) as error:
        want = f"made of what JSON can say ({error})"
        raise ParameterError.of("attrs", "RecordStore.publish", want, attrs) from error
    connection.execute("UPDATE state SET generation = generation + 1, attrs = ?", (text,))
    mark_changed(connection)
    return read_state(connection).generation


def retire_segments(
    connection: sqlite3.Connection, segments: Iterable[tuple[int, Manifest]]
) -> None:
    """From this generation on, segments are no longer in force."""
    connection.executemany(
        "UPDATE segments SET died = (SELECT generation FROM state) WHERE number = ?",
        ((number,) for number, _ in segments),
    )


def insert_segment(connection: sqlite3.Connection, number: int, manifest: Manifest) -> None:
    """From this generation on, a segment is in force."""
    connection.execute(
        "INSERT INTO segments (number, born, manifest) SELECT ?, generation, ? FROM state",
        (number, _json(manifest)),
    )


def forget_segments(connection: sqlite3.Connection) -> list[tuple[int, Manifest]]:
    """Forget the segments that ended before the last generation; return those that remain."""
    connection.execute("DELETE FROM segments WHERE died < (SELECT generation FROM state)")
    return _segments(connection, "")


def _segments(connection: sqlite3.Connection, where: str) -> list[tuple[int, Manifest]]:
    rows = connection.execute(f"SELECT number, manifest FROM segments {where} ORDER BY number")
    return [(number, _manifest(text)) for number, text in rows]


def _manifest(text: str) -> Manifest:
    return {name: (dtype, tuple(shape)) for name, (dtype, shape) in json.loads(text).items()}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def insert_keys(connection: sqlite3.Connection, table: str, keys: IntArray) -> None:
    """Insert keys into ``pending`` or ``dead``."""
    connection.executemany(f"INSERT INTO {table} VALUES (?)", ((key,) for key in keys.tolist()))


def remove_keys(connection: sqlite3.Connection, table: str, keys: IntArray) -> None:
    """Remove keys from ``pending`` or ``dead``."""
    sql = f"DELETE FROM {table} WHERE key = ?"
    connection.executemany(sql, ((key,) for key in keys.tolist()))


def replace_keys(connection: sqlite3.Connection, table: str, keys: IntArray) -> None:
    """Make ``keys`` all that ``pending`` or ``dead`` holds."""
    connection.execute(f"DELETE FROM {table}")
    insert_keys(connection, table, keys)
