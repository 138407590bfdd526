"""Append-only files of arrays, whose length the database commits.

A file holds the rows of one array, one below the other, and nothing else. Its dtype, the shape of a
row and the number of rows are in the database: rows beyond that number do not exist. An append
writes and flushes behind the committed rows, and the new number is committed afterwards; what a
killed process wrote without committing is overwritten by the next append. So the rows that a reader
maps never change, and it may share the mapping between threads. An array that is replaced gets a
new file.

The database has a checksum of the committed rows, which an append carries on. A process compares it
when it first maps an array of some megabytes; larger ones are compared by ``search check``.

Like SQLite's log this trusts the disk to leave the bytes beside those in hand alone when it loses
power. Not covered: object arrays (never pickle).

Letters: R committed rows of a file.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import crc32_of, pieces, refused, sync_folder, unreadable
from shoestring.errors import IntegrityError

AnyArray: TypeAlias = NDArray[Any]

KEYS = "keys"  # the array that says which record each row belongs to
COPIED = "An index in use is copied by: shoestring search copy INDEX TO."
REBUILD = (
    "Compute the arrays again: shoestring search build ... --resume; "
    "no score that was paid for is lost. "
    f"{COPIED}"
)
_FILE = re.compile(r"[0-9a-f]{8,16}-[a-z_]+\.rows")


class ArrayFile(NamedTuple):
    """Where an array is, and what one of its rows is."""

    file: str
    dtype: str
    row_shape: tuple[int, ...]
    crc32: int = 0  # of the committed rows

    @classmethod
    def new(cls, name: str, rows: AnyArray) -> ArrayFile:
        """A file, of a name that no other has had, for rows like these."""
        return cls(f"{os.urandom(8).hex()}-{name}.rows", rows.dtype.str, rows.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return int(np.prod(self.row_shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def fits(self, rows: AnyArray) -> bool:
        """Whether rows could be appended."""
        return (rows.dtype.str, rows.shape[1:]) == (self.dtype, self.row_shape)

    def zeros(self, n_rows: int) -> AnyArray:
        """Rows for records that nothing is known of."""
        return np.zeros((n_rows, *self.row_shape), self.dtype)


def write_rows(folder: Path, array: ArrayFile, n_rows: int, parts: Iterable[AnyArray]) -> ArrayFile:
    """Write rows behind the first ``n_rows`` of a file, which stay, and flush them to the disk.

    Returns the array with the checksum of all.
    """
    path, found = folder / array.file, array.crc32 if n_rows else 0
    try:
        with path.open("r+b" if n_rows else "wb") as file:
            file.seek(n_rows * array.row_bytes)
            for part in parts:
                for piece in pieces(part):
                    data = np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
                    found = zlib.crc32(data, found)
                    file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not n_rows:
            sync_folder(folder)
    except OSError as error:
        raise refused(path, error) from error
    return array._replace(crc32=found)


def map_rows(folder: Path, array: ArrayFile, n_rows: int, checked: int = 0) -> AnyArray:
    """Map the committed rows of a file into memory, read-only.

    Arrays of up to ``checked`` bytes are compared with their checksum. IntegrityError if the file
    is missing or damaged.
    """
    shape, path = (n_rows, *array.row_shape), folder / array.file
    if 0 in shape:  # which cannot be mapped
        return array.zeros(n_rows)
    try:
        rows = np.memmap(path, array.dtype, "r", shape=shape)
        if rows.nbytes <= checked and crc32_of(path, rows.nbytes) != array.crc32:
            raise IntegrityError(f"{path} is damaged: its bytes have changed. {REBUILD}")
        return rows
    except ValueError as error:
        raise IntegrityError(
            f"{path} is damaged: it is shorter than its {n_rows} rows. {REBUILD}"
        ) from error
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing. {REBUILD}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def collect_garbage(folder: Path, arrays: Iterable[ArrayFile], n_rows: int) -> None:
    """Remove files of ours that are not in force, and rows that were never committed.

    A file that is still mapped (on Windows) is left to the next time.
    """
    sizes = {array.file: n_rows * array.row_bytes for array in arrays}
    for path in folder.iterdir():
        with suppress(OSError):
            if path.name in sizes:
                if path.stat().st_size > sizes[path.name]:
                    os.truncate(path, sizes[path.name])
            elif _FILE.fullmatch(path.name):
                path.unlink()
