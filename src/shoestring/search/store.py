"""Where an index keeps its records and arrays.

An index is a folder::

    config.json       format version and settings
    records.sqlite    records, their tokens (FTS5), which arrays are in force (:mod:`~.schema`)
    scores.sqlite     every score that was paid for (:mod:`~.score_cache`)
    arrays/           append-only files of memory-mapped arrays (:mod:`~.arrays`)
    encoder/          an encoder that was fitted to the texts (:mod:`~.models`)
    token-table/      the texts' token vectors, an option
    writer.lock       held by the one writer

Rows are written first and put in force by the database afterwards, in one transaction, so that a
reader sees a whole old or a whole new index. Whatever a killed process leaves half-done is named
nowhere. ``config.json`` is read as that of every artifact; it is not written by
:meth:`ArtifactKind.saving`, as the files of an index change without it, and a folder in which
nothing but paid scores is left must be taken again.

Letters: N records, R rows of the arrays.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from shoestring.artifacts import CONFIG, ArtifactKind, make_folder, verify
from shoestring.checks import is_storable
from shoestring.errors import BusyError, IntegrityError, ParameterError, ShapeError
from shoestring.search import schema
from shoestring.search.arrays import (
    KEYS,
    REBUILD,
    AnyArray,
    ArrayFile,
    collect_garbage,
    map_rows,
    write_rows,
)
from shoestring.search.database import (
    column,
    connect,
    connect_for_writing,
    explained,
    transaction,
    writer_lock,
)
from shoestring.search.ingest import AddReport, OnDuplicate, add_batch, read_batches
from shoestring.search.snapshot import Snapshot, View, open_snapshot, read_view
from shoestring.types import IntArray, Record

LOCK_TIMEOUT_S = 2.0
_KIND = ArtifactKind(
    "shoestring-search-index", "a search index", "RecordStore.open", "Build the index again.", (2,)
)
_DATABASES = ("records.sqlite", "scores.sqlite")
_FOLDERS = ("arrays", "encoder", "token-table")
_FILES = {CONFIG, CONFIG + ".part", "writer.lock", "writer.pid"} | {
    name + suffix for name in _DATABASES for suffix in ("", "-wal", "-shm", "-journal")
}
_AGAIN = (
    "Build the index again from your texts: shoestring search build ...; "
    "keep scores.sqlite, so that no score is paid for twice."
)


class RecordStore:
    """The records and arrays of one index folder; see :meth:`create` and :meth:`open`.

    Any number of threads and processes may take snapshots while one writes. Nothing stays open
    between calls, so there is nothing to close.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._database, self._arrays = self.path / _DATABASES[0], self.path / "arrays"
        self._explained = partial(explained, self._database, _AGAIN)
        self._thread_lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None  # of the thread that is writing
        self._remembered: View | None = None

    # ---- the folder

    @classmethod
    def create(cls, path: str | Path, settings: Mapping[str, Any] | None = None) -> RecordStore:
        """Make an empty index in a folder that is new, empty, or holds nothing but paid scores."""
        store = cls(path)
        _check_free(store.path)
        make_folder(store._arrays)
        with writer_lock(store.path, timeout_s=LOCK_TIMEOUT_S), store._explained():
            with closing(connect_for_writing(store._database, create=True)) as connection:
                with transaction(connection):
                    schema.create_tables(connection)
                if connection.execute("SELECT 1 FROM records LIMIT 1").fetchone():
                    raise IntegrityError(f"{store.path} has records but no {CONFIG}. {_AGAIN}")
            store._write_settings(settings or {})  # from here on it is an index
        return store

    @classmethod
    def open(cls, path: str | Path) -> RecordStore:
        """Open an index.

        Raises
        ------
        ParameterError
            If there is none.
        FormatError, IntegrityError
            If another version wrote it, or the records are damaged. Arrays are looked at by
            :meth:`snapshot`, so that an index with damaged ones can be opened and repaired.
        """
        store = cls(path)
        _ = store.settings
        with store._explained(), closing(connect(store._database, "ro")) as connection:
            schema.read_state(connection)
        return store

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as they are on the disk now."""
        hint = "Build one: shoestring search build ... --out FOLDER"
        want = "the folder of an index"
        missing = ParameterError.of("path", "RecordStore.open", want, str(self.path), hint)
        saved = _KIND.read(self.path, missing)
        with saved.decoding():
            return dict(saved.config.get("settings", {}))

    def update_settings(self, **changes: Any) -> None:
        """Change some settings and keep the others."""
        with self.writing():
            self._write_settings({**self.settings, **changes})

    def _write_settings(self, settings: Mapping[str, Any]) -> None:
        _KIND.write_config(self.path, {"settings": dict(settings)})

    def remove(self) -> None:
        """Leave nothing of the index but scores that were paid for."""
        (self.path / CONFIG).unlink(missing_ok=True)  # first: from here on it is no index
        for name in _FOLDERS:
            if (self.path / name).exists():
                shutil.rmtree(self.path / name)
        for name in _FILES:
            if not name.startswith(_DATABASES[1]):
                (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Be the only writer for the length of the block; every write does so for itself.

        Raises
        ------
        BusyError
            If another process or thread is writing; says which process.
        """
        if not self._thread_lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise BusyError(
                f"{self.path} is being written by another thread of this process. "
                "Wait until it has finished, then run again."
            )
        with ExitStack() as stack:
            stack.callback(self._thread_lock.release)
            if self._connection is None:
                stack.enter_context(writer_lock(self.path, timeout_s=LOCK_TIMEOUT_S))
                with self._explained():
                    connection = connect_for_writing(self._database)
                stack.enter_context(closing(connection))
                self._connection = connection
                stack.callback(setattr, self, "_connection", None)
            yield self._connection

    # ---- records

    def add(
        self,
        records: Iterable[Record],
        *,
        on_duplicate: OnDuplicate = "error",
        batch_size: int = 2_000,
        progress: Callable[[int], object] | None = None,
    ) -> AddReport:
        """Add records in batches.

        With "error" all of them are one transaction; with "replace" and "skip" each batch is, and
        the same call again completes what was interrupted. A replaced record keeps its id and gets
        a new key.

        Raises
        ------
        ParameterError
            If there are duplicates (names them), or a record is not made of strings.
        BusyError, StorageError
        """
        if on_duplicate not in get_args(OnDuplicate):
            want = "'error', 'replace' or 'skip'"
            raise ParameterError.of("on_duplicate", "SearchIndex.add", want, on_duplicate)
        report = AddReport()
        with ExitStack() as stack:
            connection = stack.enter_context(self.writing())
            stack.enter_context(self._explained())
            if on_duplicate == "error":
                stack.enter_context(transaction(connection))
            for batch in read_batches(records, batch_size):
                report += add_batch(connection, batch, on_duplicate)
                if progress is not None:
                    progress(len(batch))
        return report

    def delete(self, ids: Iterable[str], *, missing: Literal["error", "skip"] = "error") -> int:
        """Delete records by the user's ids, all or none; returns how many there were."""
        if missing not in ("error", "skip"):
            raise ParameterError.of("missing", "SearchIndex.delete", "'error' or 'skip'", missing)
        if isinstance(ids, str):
            raise ParameterError.of("ids", "SearchIndex.delete", "a list of ids", ids)
        wanted = list(dict.fromkeys(ids))
        with self.writing() as connection, self._explained():
            keys = schema.keys_of(connection, [id for id in wanted if is_storable(id)])
            absent = schema.named([id for id in wanted if id not in keys])
            if absent and missing == "error":
                hint = "Nothing was deleted; skip the missing ones to delete the others."
                want = "ids of the index"
                raise ParameterError.of("ids", "SearchIndex.delete", want, absent, hint)
            with transaction(connection):
                schema.delete_keys(connection, keys.values())
        return len(keys)

    def snapshot(self) -> Snapshot:
        """Open a consistent view of the index as it is now; close it soon.

        Raises
        ------
        IntegrityError
            If the database or an array is damaged or missing; names the file.
        """
        snapshot = open_snapshot(self._database, self._arrays, self._remembered, self._explained)
        self._remembered = snapshot.view
        return snapshot

    # ---- arrays

    def append(self, keys: ArrayLike, arrays: Mapping[str, AnyArray]) -> None:
        """Append rows for the first records that have none, in the order of their keys.

        Parameters
        ----------
        keys : int array (n,)
            Ascending. Rows of records that were deleted since are masked; rows of records that
            another process gave arrays to are dropped.
        arrays : mapping of str to array (n, ...)
            Arrays in force that are not among them get zeros.
        """
        rows = {KEYS: np.asarray(keys, np.int64), **arrays}
        with self._changing_arrays() as connection:
            state = schema.read_state(connection)
            number = state.revision + 1
            files = state.arrays or {name: ArrayFile.new(name, number, rows[name]) for name in rows}
            _check_like(files, rows)
            fresh = rows[KEYS] > state.last_key
            if not fresh.any():
                return
            new_keys = rows[KEYS][fresh]
            gone = _deleted_meanwhile(connection, new_keys)
            for name, file in files.items():
                part = rows[name][fresh] if name in rows else file.zeros(len(new_keys))
                files[name] = write_rows(self._arrays, file, state.n_rows, [part])
            n_rows, last_key = state.n_rows + len(new_keys), int(new_keys[-1])
            with transaction(connection):
                connection.executemany("INSERT INTO deleted VALUES (?)", gone)
                schema.write_state(connection, n_rows, last_key, files, state.attrs)

    def replace(
        self, arrays: Mapping[str, AnyArray], *, keep: Iterable[str], attrs: Mapping[str, Any]
    ) -> None:
        """Replace arrays of all rows (R, ...), deleted ones included, and what is stored with them.

        Others than these and those to ``keep`` go. ``attrs`` is what readers must see together with
        the arrays: made of what JSON can say, and arrays, which come back as lists.
        """
        with self._changing_arrays() as connection:
            state = schema.read_state(connection)
            files = {name: state.arrays[name] for name in (KEYS, *keep) if name in state.arrays}
            for name, rows in (arrays if state.arrays else {}).items():  # else there is no row
                if len(rows) != state.n_rows:
                    raise ShapeError(f"Array {name!r} has {len(rows)} rows for {state.n_rows}.")
                files[name] = ArrayFile.new(name, state.revision + 1, rows)
                files[name] = write_rows(self._arrays, files[name], 0, [rows])
            with transaction(connection):
                schema.write_state(connection, state.n_rows, state.last_key, files, attrs)

    def compact(self) -> int:
        """Write all arrays anew without the rows of deleted records; return how many went."""
        with self._changing_arrays() as connection:
            view, state = self._read_view(connection), schema.read_state(connection)
            n_deleted = int(np.count_nonzero(view.deleted))
            if not n_deleted:
                return 0
            number = state.revision + 1
            files = {}
            for name, old in state.arrays.items():
                files[name] = ArrayFile.new(name, number, old.zeros(0))
                files[name] = write_rows(self._arrays, files[name], 0, view.live_rows(name))
            with transaction(connection):
                connection.execute("DELETE FROM deleted")
                n_rows = state.n_rows - n_deleted
                schema.write_state(connection, n_rows, state.last_key, files, state.attrs)
            return n_deleted

    def discard_arrays(self) -> None:
        """Begin again without arrays, damaged ones too: all records wait for arrays again."""
        with self._changing_arrays() as connection, transaction(connection):
            connection.execute("DELETE FROM deleted")
            schema.write_state(connection, 0, 0, {}, {})

    @contextmanager
    def _changing_arrays(self) -> Iterator[sqlite3.Connection]:
        with self.writing() as connection, self._explained():
            try:
                yield connection
            finally:
                with suppress(sqlite3.Error, OSError):  # what is in force is so all the same
                    state = schema.read_state(connection)
                    collect_garbage(self._arrays, state.arrays.values(), state.n_rows)

    def _read_view(self, connection: sqlite3.Connection) -> View:
        try:
            return read_view(connection, self._arrays, None)
        except FileNotFoundError as error:
            raise IntegrityError(f"{error.filename} is missing. {REBUILD}") from error

    def verify(self) -> None:
        """Check that records, tokens and arrays are sound and agree; reads all of the database.

        Raises
        ------
        IntegrityError
            If they do not.
        """
        with self.writing() as connection, self._explained():
            found = connection.execute("PRAGMA integrity_check(3)")
            complaints = [row[0] for row in found if row[0] != "ok"]
            connection.execute("INSERT INTO fulltext (fulltext) VALUES ('integrity-check')")
            for sql, complaint in schema.CONTRADICTIONS:
                if (key := connection.execute(sql).fetchone()) is not None:
                    complaints.append(f"{complaint} (key {key[0]})")
            view, state = self._read_view(connection), schema.read_state(connection)
            for file in state.arrays.values():
                map_rows(self._arrays, file, state.n_rows, checked=1 << 62)
            for name in ("encoder", "token-table"):
                if (self.path / name / CONFIG).exists():
                    verify(self.path / name)
            sql = "SELECT key FROM records WHERE key <= (SELECT last_key FROM state) ORDER BY key"
            if not np.array_equal(view.keys, column(connection, sql)):
                complaints.append("the live rows of the arrays are not those of the records")
            deleted = column(connection, "SELECT key FROM deleted ORDER BY key")
            if not np.array_equal(view.row_keys[view.deleted], deleted):
                complaints.append("a key counts as deleted that has no row")
        if complaints:
            raise IntegrityError(f"{self.path} is damaged: {'; '.join(complaints)}. {_AGAIN}")


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds an index, or files that are none of ours."""
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    strange = [name for name in names if name not in (*_FILES, *_FOLDERS)]
    if CONFIG in names or strange or folder.is_file():
        hint = "It holds an index: go on with it (resume=True) or choose another folder."
        if strange:
            hint = f"It holds {strange[0]!r}, for example; choose another folder."
        want = "a new or empty folder"
        raise ParameterError.of("path", "RecordStore.create", want, str(folder), hint)


def _deleted_meanwhile(connection: sqlite3.Connection, keys: IntArray) -> list[tuple[int]]:
    """The keys whose records are gone; the others must be the first ones without arrays."""
    pending = schema.pending_keys(connection)
    is_in_order = bool((np.diff(keys) > 0).all()) and keys[-1] < schema.next_key(connection)
    if not is_in_order or not np.isin(pending[pending <= keys[-1]], keys).all():
        want = "keys of the first records without arrays, ascending"
        raise ParameterError.of("keys", "RecordStore.append", want, keys)
    return [(key,) for key in np.setdiff1d(keys, pending).tolist()]


def _check_like(files: Mapping[str, ArrayFile], rows: Mapping[str, AnyArray]) -> None:
    """Rows must fit the files of arrays in force."""
    for name, part in rows.items():
        if name not in files or not files[name].fits(part) or len(part) != len(rows[KEYS]):
            raise ShapeError(
                f"Array {name!r} of {part.dtype.str} {part.shape} does not fit {len(rows[KEYS])} "
                f"records and the arrays in force, {list(files.values())}."
            )
