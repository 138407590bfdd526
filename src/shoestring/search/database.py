"""SQLite connections and transactions of an index folder.

Everything that knows how SQLite behaves is here; what is stored is in :mod:`~.store` and
:mod:`~.score_cache`. Writers use write-ahead logging and fsync at every commit, so that readers go
on while one writer works and a commit survives a power cut. SQLite's errors come out as ours.

Not covered: network file systems (SQLite's locks do not hold there), and connections that are
carried over a ``fork`` (open the index again in the child).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shoestring.errors import BusyError, IntegrityError, ParameterError, StorageError
from shoestring.types import IntArray

PATIENCE_S = 10.0  # a reader or a short transaction waits this long for SQLite's own locks
SYNCHRONOUS = "FULL"  # fsync at every commit
MAX_VARIABLES = 900  # every SQLite takes 999 variables in one statement

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_STORAGE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}


def connect(path: Path, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
    """Open a database; transactions are begun and ended by hand.

    A database in write-ahead mode needs two files beside it. In a folder that cannot be written
    or on a full disk they cannot be made, so a cleanly closed database is opened as immutable
    there.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"  # quotes ? # % and everything beyond ASCII
    try:
        return _connect_uri(uri)
    except sqlite3.OperationalError as error:
        if mode != "ro" or not path.exists() or not has_no_room(error):
            raise
        log = Path(f"{path}-wal")
        if log.exists() and log.stat().st_size:
            raise StorageError(
                f"{path} was not closed cleanly and nothing can be written beside it, so it cannot "
                "be recovered there. Copy the folder to where you may write, and open the copy."
            ) from error
        return _connect_uri(f"{uri}&immutable=1")


def _connect_uri(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file
    except BaseException:
        connection.close()
        raise
    return connection


def connect_for_writing(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open a database whose commits are durable and do not stop readers."""
    connection = connect(path, "rwc" if create else "rw")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        connection.execute("PRAGMA cache_size = -65536")  # KiB
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of the block or none of it; one inside of another is part of it."""
    is_inner = connection.in_transaction
    if is_inner:
        yield connection
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


def column(connection: sqlite3.Connection, sql: str, parameters: Sequence[object] = ()) -> IntArray:
    """The only column of a query, as int64."""
    rows = connection.execute(sql, parameters)
    return np.fromiter((value for (value,) in rows), dtype=np.int64)


def in_chunks(
    connection: sqlite3.Connection, sql: str, values: Sequence[object], *before: object
) -> Iterator[Any]:
    """The rows of a query whose ``{}`` stands for any number of values."""
    for start in range(0, len(values), MAX_VARIABLES):
        chunk = values[start : start + MAX_VARIABLES]
        marks = ",".join("?" * len(chunk))
        yield from connection.execute(sql.format(marks), (*before, *chunk))


def has_no_room(error: sqlite3.Error) -> bool:
    """Whether SQLite says that it cannot write: the file, beside it, or on a full disk."""
    return _primary_code(error) in _STORAGE


def _primary_code(error: sqlite3.Error) -> int:
    # The low byte is the kind, the rest the detail. Misuse of the module itself carries no code.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


@contextmanager
def explained(path: Path, repair: str) -> Iterator[None]:
    """Turn SQLite's errors in the block into ours, one sentence each.

    ``path`` is the database that the block uses, ``repair`` what to do when it is damaged.
    """
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):  # such as: closed already
        raise
    except sqlite3.Error as error:
        code, is_there = _primary_code(error), path.exists()
        if code in _BUSY:
            told = f"{path} is locked by another process. Wait until it has finished."
            raise BusyError(told) from error
        if code in _STORAGE and is_there:
            raise StorageError(
                f"{path} cannot be read or written: {error}. Free some space or check its "
                "permissions, and run again; what was stored before is safe."
            ) from error
        if code == sqlite3.SQLITE_TOOBIG:
            told = "A text has more bytes than SQLite can hold, 1e9. Cut it into parts."
            raise ParameterError(told) from error
        found = str(error) if is_there else "the file is missing"
        raise IntegrityError(f"{path} is damaged: {found}. {repair}") from error
