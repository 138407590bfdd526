"""Where an index keeps its records and arrays.

An index is a folder::

    config.json       format version and settings (:mod:`~.folder`)
    records.sqlite    records, their tokens (FTS5), which arrays are in force (:mod:`~.schema`)
    scores.sqlite     every score that was paid for (:mod:`~.ledger`)
    arrays/           immutable segments of memory-mapped arrays (:mod:`~.arrays`)
    writer.lock       held by the one writer

Arrays are written first and named by the database afterwards, in one transaction, so that a reader
sees a whole old or a whole new index. Whatever a killed process leaves half-done is named nowhere.

Letters: N records with arrays.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import ArrayLike

from shoestring.artifacts import CONFIG
from shoestring.errors import BusyError, IntegrityError, ParameterError
from shoestring.search import generations, schema
from shoestring.search.arrays import REBUILD, Rows
from shoestring.search.database import (
    connect,
    connect_for_writing,
    explained,
    transaction,
    writer_lock,
)
from shoestring.search.folder import claim_folder, read_config, write_config
from shoestring.search.generations import View
from shoestring.search.intake import (
    AddReport,
    OnDuplicate,
    Tokenizer,
    add_batch,
    is_storable,
    named,
    read_batches,
    take_back,
)
from shoestring.search.snapshot import Snapshot, open_snapshot
from shoestring.text.tokens import tokenize as tokenize_words
from shoestring.types import Record

LOCK_TIMEOUT_S = 2.0
_AGAIN = (
    "Build the index again from your texts: shoestring search build ...; "
    "keep scores.sqlite, so that no score is paid for twice."
)


class RecordStore:
    """The records and arrays of one index folder; see :meth:`create` and :meth:`open`.

    Any number of threads and processes may take snapshots while one writes. Nothing stays open
    between calls, so there is nothing to close.

    Parameters
    ----------
    path : Path
    tokenize : callable, optional
        Text to tokens made of letters, marks, numbers and private-use characters only; by default
        :func:`shoestring.text.tokens.tokenize`. Use the same one for as long as the index lives.

    Examples
    --------
    >>> import tempfile
    >>> store = RecordStore.create(tempfile.mkdtemp(), {}, tokenize=str.split)
    >>> store.add([Record("a", "flatten nested lists"), Record("b", "sort a list")])
    AddReport(added=2, replaced=0, skipped=0)
    >>> with store.snapshot() as snapshot:
    ...     keys, scores = snapshot.candidates(["nested", "lists"], limit=10)
    ...     snapshot.ids(keys)
    ['a']
    """

    def __init__(self, path: str | Path, *, tokenize: Tokenizer = tokenize_words) -> None:
        self.path = Path(path)
        self._tokenize = tokenize
        self._database = self.path / "records.sqlite"
        self._arrays = self.path / "arrays"
        self._explained = partial(explained, self._database, _AGAIN)
        self._thread_lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None  # of the thread that is writing
        self._remembered: View | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        tokenize: Tokenizer = tokenize_words,
    ) -> RecordStore:
        """Make an empty index in a new or empty folder.

        Raises
        ------
        ParameterError
            If the folder holds an index already, or files that are none of ours.
        """
        store = cls(path, tokenize=tokenize)
        claim_folder(store.path)
        with writer_lock(store.path, timeout_s=LOCK_TIMEOUT_S), store._explained():
            with closing(connect_for_writing(store._database, create=True)) as connection:
                with transaction(connection):
                    schema.create_tables(connection)
                if connection.execute("SELECT 1 FROM records LIMIT 1").fetchone():
                    raise IntegrityError(f"{store.path} has records but no {CONFIG}. {_AGAIN}")
            write_config(store.path, settings or {})  # from here on it is an index
        return store

    @classmethod
    def open(cls, path: str | Path, *, tokenize: Tokenizer = tokenize_words) -> RecordStore:
        """Open an index.

        Raises
        ------
        ParameterError
            If there is none.
        FormatError, IntegrityError
            If another version wrote it, or the records are damaged. Arrays are looked at by
            :meth:`snapshot`, so that an index with damaged ones can be opened and mended.
        """
        store = cls(path, tokenize=tokenize)
        read_config(store.path)
        with store._explained(), closing(connect(store._database, "ro")) as connection:
            schema.read_state(connection)
        return store

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as they are on the disk now."""
        return read_config(self.path)

    def update_settings(self, **changes: Any) -> None:
        """Change some settings and keep the others."""
        with self._writer():
            write_config(self.path, {**self.settings, **changes})

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer for the length of the block; every write does so for itself.

        Raises
        ------
        BusyError
            If another process or thread is writing; says which process.
        """
        with self._writer():
            yield

    @contextmanager
    def _writer(self) -> Iterator[sqlite3.Connection]:
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

    def add(
        self,
        records: Iterable[Record],
        *,
        on_duplicate: OnDuplicate = "error",
        batch_size: int = 2_000,
        progress: Callable[[int], object] | None = None,
    ) -> AddReport:
        """Add records, a transaction for each batch.

        Parameters
        ----------
        records : iterable of Record
            Read once, a batch at a time.
        on_duplicate : {"error", "replace", "skip"}
            What to do with an id that the index, or an earlier record of this call, has. "error" is
            all or nothing: whatever is raised, earlier batches of this call are taken back (those
            of a killed process are not).
            "replace" and "skip" keep them, and the same call again completes them. A replaced
            record keeps its id and gets a new key.
        batch_size : int
            Records in a transaction; a killed process loses at most these.
        progress : callable, optional
            Called after each batch with the number of its records (``tqdm.update``).

        Raises
        ------
        ParameterError
            If there are duplicates (names them), or a record is not made of strings.
        BusyError, StorageError
        """
        if on_duplicate not in get_args(OnDuplicate):
            want = "'error', 'replace' or 'skip'"
            raise ParameterError.of("on_duplicate", "RecordStore.add", want, on_duplicate)
        if batch_size < 1:
            raise ParameterError.of("batch_size", "RecordStore.add", "at least 1", batch_size)
        report = AddReport()
        with self._writer() as connection:
            with self._explained():
                first_key = schema.next_number(connection, "records")
            try:
                for batch in read_batches(records, batch_size):
                    with self._explained():
                        report += add_batch(connection, batch, on_duplicate, self._tokenize)
                    if progress is not None:
                        progress(len(batch))
            except Exception:
                if on_duplicate == "error":
                    with self._explained():
                        take_back(connection, first_key)
                raise
        return report

    def delete(self, ids: Iterable[str], *, missing: Literal["error", "skip"] = "error") -> int:
        """Delete records in one transaction.

        Parameters
        ----------
        ids : iterable of str
            The user's own; a repeated one counts once.
        missing : {"error", "skip"}
            What to do with an id that the index does not have; with "error" nothing is deleted.

        Returns
        -------
        int
            How many were deleted.
        """
        if missing not in ("error", "skip"):
            raise ParameterError.of("missing", "RecordStore.delete", "'error' or 'skip'", missing)
        if isinstance(ids, str):
            raise ParameterError.of("ids", "RecordStore.delete", "a list of ids", ids)
        wanted = list(dict.fromkeys(ids))
        with self._writer() as connection, self._explained():
            keys = schema.keys_of(connection, [id for id in wanted if is_storable(id)])
            absent = [id for id in wanted if id not in keys]
            if absent and missing == "error":
                hint = "Nothing was deleted; skip the missing ones to delete the others."
                want = "ids of the index"
                raise ParameterError.of("ids", "RecordStore.delete", want, named(absent), hint)
            with transaction(connection):
                schema.delete_keys(connection, keys.values())
        return len(keys)

    def snapshot(self) -> Snapshot:
        """Open a whole, consistent view of the index as it is now; close it soon.

        Raises
        ------
        IntegrityError
            If the database or an array is damaged or missing; names the file.
        """
        snapshot = open_snapshot(self._database, self._arrays, self._remembered, self._explained)
        self._remembered = snapshot.view
        return snapshot

    def publish(
        self,
        keys: ArrayLike,
        arrays: Mapping[str, Rows],
        *,
        attrs: Mapping[str, Any] | None = None,
    ) -> int:
        """Replace all arrays by a new whole generation.

        Parameters
        ----------
        keys : int array (N,)
            The record of each row; those deleted since they were read are masked.
        arrays : mapping of str to array (N, ...) or iterable of arrays
            An iterable is written piece by piece, one below the other.
        attrs : mapping, optional
            What readers must see together with these arrays, such as which queries the anchors
            are; made of what JSON can say.

        Returns
        -------
        int
            The generation.

        Raises
        ------
        ParameterError, ShapeError, BusyError, StorageError
            The index is as it was.
        """
        with self._changing_arrays() as connection:
            return generations.put_in_place_of_all(
                connection, self._arrays, keys, arrays, attrs or {}
            )

    @contextmanager
    def _changing_arrays(self) -> Iterator[sqlite3.Connection]:
        with self._writer() as connection, self._explained():
            yield connection
            with suppress(sqlite3.Error, OSError):  # what was published is in force all the same
                generations.forget_old(connection, self._arrays)

    def append_segment(
        self,
        keys: ArrayLike,
        arrays: Mapping[str, Rows],
        *,
        attrs: Mapping[str, Any] | None = None,
    ) -> int:
        """Add arrays for records that have none yet; the other arrays are not touched.

        Parameters and errors are those of :meth:`publish`; the arrays have the names, types and
        shapes of a row of those in force, and ``attrs`` stays what it was when not given.

        Notes
        -----
        Cost: the new rows, and now and then small segments that are merged; a row is written
        about log2(N) times at most.
        """
        with self._changing_arrays() as connection:
            view = self._read_view(connection)
            return generations.put_beside_others(
                connection, self._arrays, view, keys, arrays, attrs
            )

    def compact(self) -> int:
        """Copy the live rows of all segments into one, without the dead; return the generation."""
        with self._changing_arrays() as connection:
            view = self._read_view(connection)
            names = view.segments[0].arrays if view.segments else ()
            rows = generations.live_rows(view.segments, dict.fromkeys(names, ()))
            return self.publish(view.keys, rows, attrs=view.attrs)

    def discard_arrays(self) -> int:
        """Begin again without arrays, damaged ones too: all records wait for arrays again."""
        with self._changing_arrays() as connection:
            return generations.clear(connection, {})

    def _read_view(self, connection: sqlite3.Connection) -> View:
        try:
            return generations.read_view(connection, self._arrays, self._remembered)
        except FileNotFoundError as error:
            raise IntegrityError(f"{error.filename} is missing. {REBUILD}") from error

    def collect_garbage(self) -> None:
        """Remove array files that neither this generation nor the one before it names."""
        with self._writer() as connection, self._explained():
            generations.forget_old(connection, self._arrays)

    def verify(self) -> None:
        """Check that records, tokens and arrays are sound and agree; reads everything.

        Raises
        ------
        IntegrityError
            If they do not.
        """
        with self._writer() as connection, self._explained():
            try:
                complaints = generations.find_damage(connection, self._arrays)
            except FileNotFoundError as error:
                raise IntegrityError(f"{error.filename} is missing. {REBUILD}") from error
        if complaints:
            raise IntegrityError(f"{self.path} is damaged: {'; '.join(complaints)}. {_AGAIN}")
