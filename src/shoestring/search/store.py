"""Where an index keeps its records and arrays.

An index is a folder::

    config.json       format version and settings
    records.sqlite    records, their tokens (FTS5), which arrays are in force (:mod:`~.schema`)
    scores.sqlite     every score that was paid for (:mod:`~.score_cache`)
    arrays/           append-only files of memory-mapped arrays (:mod:`~.arrays`)
    encoder/          an encoder that was fitted to the texts (:mod:`~.models`)
    writer.lock       held by the one writer

Rows are written first and put in force by the database afterwards, in one transaction, so that a
reader sees a whole old or a whole new index. Whatever a killed process leaves half-done is named
nowhere. ``config.json`` is read as that of every artifact; it is not written by
:meth:`ArtifactKind.saving`, as the files of an index change without it, and a folder in which
nothing but paid scores is left must be taken again.

Letters: N records, R rows of the arrays.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from shoestring.artifacts import (
    CHECKED,
    CONFIG,
    ArtifactKind,
    locked,
    make_folder,
    remove,
    unreadable,
    verify,
    written_whole,
)
from shoestring.errors import BusyError, IntegrityError, ParameterError, ShapeError
from shoestring.progress import Progress
from shoestring.search import schema
from shoestring.search.arrays import (
    COPIED,
    KEYS,
    AnyArray,
    ArrayFile,
    collect_garbage,
    map_rows,
    write_rows,
)
from shoestring.search.database import column, connect, connect_for_writing, explained, transaction
from shoestring.search.snapshot import Snapshot, View, read_view
from shoestring.text.records import content_id
from shoestring.types import Record

ArraysOf: TypeAlias = Callable[[list[str]], Mapping[str, AnyArray]]
LOCK_TIMEOUT_S = 30.0  # a writer waits this long for another
FILL_BATCH = 1_024
_KIND = ArtifactKind(
    "shoestring-search-index", "a search index", "RecordStore.open", "Build the index again.", 3
)
_DATABASES = ("records.sqlite", "scores.sqlite")
_FOLDERS = ("arrays", "encoder")
_FILES = {CONFIG, CONFIG + ".part", "writer.lock"} | {
    name + suffix for name in _DATABASES for suffix in ("", "-wal", "-shm", "-journal")
}
_AGAIN = (
    "Build the index again from your texts: shoestring search build ...; "
    f"keep scores.sqlite, so that no score is paid for twice. {COPIED}"
)

OnDuplicate = Literal["error", "replace", "skip"]

BATCH_CHARACTERS = 1 << 24  # a batch of very long texts ends before its number of records


@dataclass(frozen=True, slots=True)
class AddReport:
    """How many records an add added, replaced and skipped."""

    added: int = 0
    replaced: int = 0
    skipped: int = 0


class RecordStore:
    """The records and arrays of one index folder; see :meth:`create` and :meth:`open`.

    Any number of threads and processes may take snapshots while one writes. Nothing stays open
    between calls, so there is nothing to close.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._database, self._arrays = self.path / _DATABASES[0], self.path / "arrays"
        self._explained = partial(explained, self._database, _AGAIN)
        self._writer = threading.local()  # its connection, while a thread is writing
        self._remembered: View | None = None

    # ---- the folder

    @classmethod
    def create(cls, path: str | Path, settings: Mapping[str, Any] | None = None) -> RecordStore:
        """Make an empty index in a folder that is new, empty, or holds nothing but paid scores."""
        store = cls(path)
        _check_free(store.path)
        make_folder(store._arrays)
        with store._locked(), store._explained():
            _check_free(store.path)  # another one may have made it in the meantime
            with closing(connect_for_writing(store._database, create=True)) as connection:
                with transaction(connection):
                    schema.create_tables(connection)
                if connection.execute("SELECT 1 FROM records LIMIT 1").fetchone():
                    raise IntegrityError(f"{store.path} has records but no {CONFIG}. {_AGAIN}")
            id = os.urandom(8).hex()  # tells it from one that is built here again
            store._write_settings({"id": id, **(settings or {})})  # from here on it is an index
        return store

    @classmethod
    def open(cls, path: str | Path) -> RecordStore:
        """Open an index; ParameterError if there is none.

        Arrays are looked at by :meth:`snapshot`, so that an index with damaged ones can be opened
        and repaired.
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
            return {**saved.config.get("settings", {})}

    def update_settings(self, **changes: Any) -> None:
        """Change some settings and keep the others."""
        with self.writing():
            self._write_settings({**self.settings, **changes})

    def _write_settings(self, settings: Mapping[str, Any]) -> None:
        _KIND.write_config(self.path, {"settings": dict(settings)})

    def copy(self, to: Path) -> None:
        """Write a whole copy of the index as it is now to a folder that is new or empty.

        Queries go on meanwhile; other writers wait.
        """
        _check_free(to, is_taken=False)
        if self.path.resolve() in to.resolve().parents:
            raise ParameterError.of("to", "SearchIndex.copy", "a folder outside the index", str(to))
        with self.writing(), written_whole(to):
            self._copy_into(to)

    def _copy_into(self, folder: Path) -> None:
        make_folder(folder)
        for name in (*_FOLDERS, *_DATABASES):
            source = self.path / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            elif source.exists():
                with (
                    explained(source, _AGAIN),
                    closing(connect(source, "ro")) as live,
                    closing(connect(folder / name, "rwc")) as copied,
                ):
                    live.backup(copied)
        shutil.copyfile(self.path / CONFIG, folder / CONFIG)  # last: from here on it is an index

    def remove(self) -> None:
        """Leave nothing of a new index but scores that were paid for."""
        for pattern in ("arrays/*.rows", "encoder/shoestring-save-*", "encoder/config.json*"):
            for path in self.path.glob(pattern):
                remove(path)
        for name in _FOLDERS:
            with suppress(OSError):  # where it is missing, or somebody else has put a file there
                (self.path / name).rmdir()
        for name in sorted(_FILES):  # the config first: from here on it is no index
            if not name.startswith(_DATABASES[1]):
                (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Be the only writer for the length of the block; every write does so for itself.

        Another one waits for :data:`LOCK_TIMEOUT_S`; then it is a BusyError.
        """
        if hasattr(self._writer, "connection"):
            yield self._writer.connection
            return
        with self._locked():
            with self._explained():
                connection = connect_for_writing(self._database)
            with closing(connection):
                self._writer.connection = connection
                try:
                    yield connection
                finally:
                    del self._writer.connection

    def _locked(self) -> AbstractContextManager[None]:
        busy = BusyError(
            f"{self.path} is being written by another process or thread; waited "
            f"{LOCK_TIMEOUT_S:g} s for it. Nothing was changed: run again when it has finished."
        )
        return locked(self.path / "writer.lock", busy, LOCK_TIMEOUT_S)

    @property
    def n_rows(self) -> int:
        """Rows of the arrays, deleted ones included."""
        with self.snapshot() as snapshot:
            return len(snapshot.view)

    # ---- records

    def add(
        self,
        records: Iterable[Record],
        *,
        on_duplicate: OnDuplicate = "error",
        batch_size: int = 2_000,
        arrays_of: ArraysOf | None = None,
        progress: bool = False,
    ) -> AddReport:
        """Add records in batches; with ``arrays_of`` they, and all that wait, get their arrays.

        With "error" all of them are one transaction; with "replace" and "skip" each batch is, and
        the same call again completes what was interrupted. A replaced record keeps its id and gets
        a new key. ParameterError names the duplicates.
        """
        report = Counter[str]()
        records = Progress(records, desc="records", unit="text", disable=not progress)
        with self._changing_arrays() as connection, ExitStack() as stack:
            if on_duplicate == "error":
                stack.enter_context(transaction(connection))
            for batch in _batches(records, batch_size):
                with transaction(connection):
                    known = schema.keys_of(connection, [record.id for record in batch])
                    chosen, counts = _resolve_duplicates(batch, known, on_duplicate)
                    schema.delete_keys(connection, [known[r.id] for r in chosen if r.id in known])
                    schema.insert_records(connection, chosen)
                    report.update(counts)
                    if arrays_of is not None:
                        self.fill(arrays_of)
        return AddReport(**report)

    def delete(self, ids: Iterable[str | int]) -> int:
        """Delete records by the user's ids, all or none; returns how many there were."""
        wanted = list(dict.fromkeys(checked_ids(ids, "SearchIndex.delete")))
        with self.writing() as connection, self._explained():
            keys = schema.keys_of(connection, wanted)
            if absent := schema.named([id for id in wanted if id not in keys]):
                want, hint = "ids of the index", "Nothing was deleted; leave them out."
                raise ParameterError.of("ids", "SearchIndex.delete", want, absent, hint)
            with transaction(connection):
                schema.delete_keys(connection, keys.values())
        return len(keys)

    def snapshot(self) -> Snapshot:
        """Open a consistent view of the index as it is now; close it soon.

        IntegrityError names the file if the database or an array is damaged or missing.
        """
        seen = ""  # the state in which a file was missing: arrays are replaced meanwhile
        while True:
            with ExitStack() as stack, self._explained():
                connection = stack.enter_context(closing(connect(self._database, "ro")))
                connection.execute("BEGIN")
                state, view = schema.read_state(connection), self._remembered
                if view is None or view.uid != state.uid:
                    checked = 0 if view else CHECKED  # once in a process, not after each change
                    try:
                        view = read_view(connection, state, self._arrays, checked)
                    except IntegrityError:
                        if state.uid == seen:
                            raise
                        seen = state.uid
                        continue
                self._remembered = view
                stack.pop_all()
                return Snapshot(connection, view, self._explained)

    # ---- arrays

    def fill(self, arrays_of: ArraysOf, progress: bool = False) -> None:
        """Give the records without arrays theirs, a batch at a time, each whole in itself.

        ``arrays_of`` makes of n texts the arrays (n, ...) that :meth:`append` takes.
        """
        with self.writing() as connection, self._explained():
            n = len(schema.pending_keys(connection))
            shown = progress and n > 0
            with Progress(total=n, desc="vectors", unit="text", disable=not shown) as bar:
                while rows := schema.pending_texts(connection, FILL_BATCH):
                    keys, texts = zip(*rows, strict=True)
                    self.append(keys, arrays_of(list(texts)))
                    bar.update(len(keys))

    def append(self, keys: ArrayLike, arrays: Mapping[str, AnyArray]) -> None:
        """Append rows (n, ...) for the n first records that have none, in the order of their keys.

        Arrays in force that are not among them get zeros.
        """
        rows = {KEYS: np.asarray(keys, np.int64), **arrays}
        n_new = len(rows[KEYS])
        with self._changing_arrays() as connection:
            state = schema.read_state(connection)
            files = state.arrays or {name: ArrayFile.new(name, rows[name]) for name in rows}
            for name, file in files.items():
                part = rows[name] if name in rows else file.zeros(n_new)
                if not file.fits(part) or len(part) != n_new:
                    raise ShapeError(f"Array {name!r} of {part.dtype} {part.shape} is no {file}.")
                files[name] = write_rows(self._arrays, file, state.n_rows, [part])
            n_rows, last_key = state.n_rows + n_new, int(rows[KEYS][-1])
            changed = state._replace(n_rows=n_rows, last_key=last_key, arrays=files)
            schema.write_state(connection, changed)

    def replace(self, arrays: Mapping[str, AnyArray], attrs: Mapping[str, Any]) -> None:
        """Put arrays of all rows (R, ...), deleted ones included, in force; others stay.

        ``attrs`` is what readers must see together with the arrays: made of what JSON can say, and
        arrays, which come back as lists.
        """
        with self._changing_arrays() as connection:
            state = schema.read_state(connection)
            files = dict(state.arrays)
            for name, rows in (arrays if files else {}).items():  # else there is no row
                if len(rows) != state.n_rows:
                    raise ShapeError(f"Array {name!r} has {len(rows)} rows for {state.n_rows}.")
                files[name] = write_rows(self._arrays, ArrayFile.new(name, rows), 0, [rows])
            schema.write_state(connection, state._replace(arrays=files, attrs=dict(attrs)))

    def compact(self) -> int:
        """Write all arrays anew without the rows of deleted records; return how many went."""
        with self._changing_arrays() as connection:
            state = schema.read_state(connection)
            view = read_view(connection, state, self._arrays)
            n_deleted = int(np.count_nonzero(view.deleted))
            if not n_deleted:
                return 0
            files = {}
            for name, old in state.arrays.items():
                new = ArrayFile.new(name, old.zeros(0))
                files[name] = write_rows(self._arrays, new, 0, view.live_rows(name))
            with transaction(connection):
                connection.execute("DELETE FROM deleted")
                n_rows = state.n_rows - n_deleted
                schema.write_state(connection, state._replace(n_rows=n_rows, arrays=files))
            return n_deleted

    def discard_arrays(self) -> None:
        """Begin again without arrays, damaged ones too: all records wait for arrays again."""
        with self._changing_arrays() as connection, transaction(connection):
            connection.execute("DELETE FROM deleted")
            schema.write_state(connection, schema.State("", 0, 0, {}, {}))

    @contextmanager
    def _changing_arrays(self) -> Iterator[sqlite3.Connection]:
        with self.writing() as connection, self._explained():
            try:
                yield connection
            finally:
                if not connection.in_transaction:  # else it may be undone: then, or at its end
                    with suppress(sqlite3.Error, OSError):  # what is in force is so all the same
                        state = schema.read_state(connection)
                        collect_garbage(self._arrays, state.arrays.values(), state.n_rows)

    def verify(self) -> None:
        """Read all of it; IntegrityError unless records, tokens and arrays are sound and agree."""
        with self.writing() as connection, self._explained():
            found = connection.execute("PRAGMA integrity_check(3)")
            complaints = [row[0] for row in found if row[0] != "ok"]
            connection.execute("INSERT INTO fulltext (fulltext) VALUES ('integrity-check')")
            state = schema.read_state(connection)
            view = read_view(connection, state, self._arrays)
            for file in state.arrays.values():
                map_rows(self._arrays, file, state.n_rows, checked=1 << 62)
            if (self.path / "encoder" / CONFIG).exists():
                verify(self.path / "encoder")
            keys = column(connection, "SELECT key FROM records ORDER BY key")
            words = column(connection, "SELECT rowid FROM fulltext ORDER BY rowid")
            deleted = column(connection, "SELECT key FROM deleted ORDER BY key")
            agree = {
                "the words are not those of the records": (keys, words),
                "the rows are not those of the records": (keys[keys <= state.last_key], view.keys),
                "a key counts as deleted that has no row": (deleted, view.row_keys[view.deleted]),
            }
            complaints += [told for told, pair in agree.items() if not np.array_equal(*pair)]
        if complaints:
            raise IntegrityError(f"{self.path} is damaged: {'; '.join(complaints)}. {_AGAIN}")


def checked_ids(ids: object, owner: str) -> Iterator[str]:
    """Ids as they are stored: integers, NumPy's too, as their digits."""
    is_one = isinstance(ids, str | bytes) or getattr(ids, "ndim", 1) == 0
    if is_one or not isinstance(ids, Iterable):
        raise ParameterError.of("ids", owner, "a list of ids", ids)
    for id in ids:
        is_int = isinstance(id, Integral) and not isinstance(id, bool)
        if not is_int and not isinstance(id, str):
            raise ParameterError.of("ids", owner, "a list of str or int", id)
        yield str(id)


def _check_free(folder: Path, is_taken: bool = True) -> None:
    """Refuse a folder that holds an index, or files that are none of ours.

    Where ``is_taken`` it may hold what a killed build or :meth:`RecordStore.remove` left.
    """
    try:
        names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        strange = [name for name in names if not (is_taken and _is_left(folder / name))]
    except OSError as error:
        raise unreadable(folder, error) from error
    is_index = (folder / CONFIG).exists()  # last: another process may just be making it
    if is_index or strange or folder.is_file():
        hint = "It is a file; choose another name."
        if is_index and is_taken:
            hint = "It holds an index: go on with it (resume=True) or choose another folder."
        elif strange:
            hint = f"It holds {strange[0]!r}, for example; choose another folder."
        want = "a new or empty folder"
        raise ParameterError.of("path", "a search index", want, str(folder), hint)


def _is_left(path: Path) -> bool:
    """Whether a killed build or :meth:`RecordStore.remove` may have left a file or folder."""
    if path.name == "arrays":
        return path.is_dir() and not any(path.iterdir())
    if path.name == _DATABASES[0]:
        with suppress(sqlite3.Error), closing(connect(path, "ro")) as connection:
            found = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
            return not found or "fulltext" in found
    return path.name in _FILES


def _batches(records: Iterable[Record], batch_size: int) -> Iterator[list[Record]]:
    """Cut records into batches that fit in memory whatever the texts' length."""
    batch: list[Record] = []
    n_characters = 0
    for record in records:
        batch.append(record)
        n_characters += len(record.text)
        if len(batch) == batch_size or n_characters >= BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def _resolve_duplicates(
    batch: Sequence[Record], known: Container[str], on_duplicate: OnDuplicate
) -> tuple[list[Record], dict[str, int]]:
    """The records of a batch to store, as if they came one by one: the last or first of an id.

    A text whose id is its own content is there already, whatever is done with duplicates. The
    counts are those of an :class:`AddReport`.
    """
    chosen: dict[str, Record] = {}
    repeated: list[str] = []
    n_same = 0
    for record in batch:
        if record.id not in chosen and record.id not in known:
            chosen[record.id] = record
        elif record.id == content_id(record.text):
            n_same += 1
        else:
            repeated.append(record.id)
            if on_duplicate == "replace":
                chosen[record.id] = record
    if repeated and on_duplicate == "error":
        want = "records whose ids are new"
        hint = "Nothing was added; pass on_duplicate='skip', or on_duplicate='replace'."
        raise ParameterError.of("records", "SearchIndex.add", want, schema.named(repeated), hint)
    n_replaced = len(repeated) if on_duplicate == "replace" else 0
    n_skipped = len(repeated) - n_replaced + n_same
    n_added = len(batch) - n_replaced - n_skipped
    counts = {"added": n_added, "replaced": n_replaced, "skipped": n_skipped}
    return list(chosen.values()), counts
