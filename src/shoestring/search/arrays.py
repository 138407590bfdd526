"""Immutable segments of memory-mapped arrays.

A segment is one ``.npy`` file per array, named ``<segment number>-<array name>.npy``; row i of each
belongs to record ``keys[i]``. Files never change once they have their name, so a reader may map
them and share the mapping between threads. Which segments are in force is not known here: the
database names them, in the transaction that makes them visible.

Not covered: bit rot inside a file of the right size, object arrays (never pickle).

Letters: N rows of a segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import map_array, written_aside
from shoestring.errors import ParameterError, ShapeError
from shoestring.types import IntArray

AnyArray: TypeAlias = NDArray[Any]
Rows: TypeAlias = AnyArray | Iterable[AnyArray]
Manifest: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]  # array name: dtype, shape

KEYS = "keys"
COPY_BYTES = 1 << 24  # copied at a time, so that a mapped source does not fill the memory
REBUILD = (
    "Compute the arrays again: shoestring search build ... --resume; "
    "no score that was paid for is lost."
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows that were published together.

    Parameters
    ----------
    keys : int64 array (N,)
        The record of each row, those that have been deleted since included.
    alive : bool array (N,) or None
        Which rows belong to live records; None when all do.
    arrays : dict of str to array (N, ...)
        Read-only, memory-mapped.
    """

    keys: IntArray
    alive: NDArray[np.bool_] | None
    arrays: dict[str, AnyArray]

    @property
    def live_keys(self) -> IntArray:
        """The keys of the live rows, in row order."""
        return self.keys if self.alive is None else self.keys[self.alive]

    @property
    def dead_keys(self) -> IntArray:
        """The keys of the rows whose records have been deleted."""
        return self.keys[:0] if self.alive is None else self.keys[~self.alive]

    def live_chunks(self, name: str) -> Iterator[AnyArray]:
        """The live rows of one array, in pieces that fit in memory."""
        array = self.arrays[name]
        step = max(1, COPY_BYTES // max(1, array[:1].nbytes))
        for start in range(0, len(array), step):
            rows = array[start : start + step]
            yield rows if self.alive is None else rows[self.alive[start : start + step]]


def segment_files(folder: Path, number: int, names: Iterable[str]) -> dict[str, Path]:
    """Where the arrays of a segment are."""
    return {name: folder / f"{number:08d}-{name}.npy" for name in names}


def write_segment(
    folder: Path, number: int, keys: IntArray, arrays: Mapping[str, Rows]
) -> Manifest:
    """Write the files of a segment; on an error none of them stays.

    Parameters
    ----------
    folder : Path
        Where segments are.
    number : int
        Of the new segment; files of that number are overwritten.
    keys : int64 array (N,)
        The record of each row.
    arrays : mapping of str to array (N, ...) or iterable of arrays
        An iterable is written piece by piece, one below the other, and need not fit in memory.

    Raises
    ------
    ShapeError
        If an array does not have one row for each key.
    StorageError
        If the disk is full or cannot be written.
    """
    _check_names(arrays)
    files = segment_files(folder, number, [KEYS, *arrays])
    manifest: Manifest = {}
    try:
        for name, rows in {KEYS: keys, **arrays}.items():
            manifest[name] = _write_array(files[name], name, rows, len(keys))
    except BaseException:
        remove_files(files.values())
        raise
    return manifest


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name) or name == KEYS:
            want = f"named by a-z, 0-9 and _, a letter first, and not {KEYS!r}"
            raise ParameterError.of("arrays", "RecordStore.publish", want, name)


def _write_array(path: Path, name: str, rows: Rows, n_rows: int) -> tuple[str, tuple[int, ...]]:
    pieces = iter([rows] if isinstance(rows, np.ndarray) else rows)
    first = np.asarray(next(pieces, np.empty(0, np.float32)))
    if first.ndim == 0 or first.dtype.kind not in "biufc":
        raise ParameterError.of(
            "arrays", "RecordStore.publish", "numbers with a row for each key", (name, first.dtype)
        )
    shape = (n_rows, *first.shape[1:])
    descr = np.lib.format.dtype_to_descr(first.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    n_written = 0
    with written_aside(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in chain([first], map(np.asarray, pieces)):
            if piece.shape[1:] != shape[1:] or piece.dtype != first.dtype:
                raise ShapeError(
                    f"The pieces of array {name!r} must agree: {piece.dtype} {piece.shape[1:]} "
                    f"came after {first.dtype} {shape[1:]}."
                )
            n_written += len(piece)
            for part in _in_parts(piece):
                file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        if n_written != n_rows:
            raise ShapeError(
                f"Array {name!r} has {n_written} rows for {n_rows} keys; give one row for each key."
            )
    return first.dtype.str, shape


def _in_parts(array: AnyArray) -> Iterator[AnyArray]:
    if array.size == 0:
        return
    step = max(1, COPY_BYTES // array[:1].nbytes)
    for start in range(0, len(array), step):
        yield array[start : start + step]


def open_segment(folder: Path, number: int, manifest: Manifest) -> Segment:
    """Map the files of a segment, all rows alive.

    Raises
    ------
    FileNotFoundError
        If a file is gone: the caller knows whether it should be there.
    IntegrityError
        If a file is not what the manifest says.
    """
    files = segment_files(folder, number, manifest)
    mapped = {
        name: map_array(files[name], *manifest[name], REBUILD, may_be_gone=True)
        for name in manifest
    }
    keys = mapped.pop(KEYS)
    return Segment(keys, None, mapped)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files; one that is gone or still mapped (on Windows) is left to the next time."""
    for path in paths:
        with suppress(OSError):
            path.unlink()
