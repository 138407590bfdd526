"""Segments of an overlap index: rows that were added together, in memory and as files.

A segment is a set of posting lists with what has been deleted since. On disk it is one ``.npy``
file for each array, ``segment-<name>-<array>.npy``, under a name that no other segment of the
folder has had, so files are never overwritten: ``config.json``, written last and renamed into
place, says which are in force. Who reads an older one keeps its files mapped.

Not covered: bit rot inside a file of the right size; two processes that save to one folder at once.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import CONFIG, map_array, written_aside
from shoestring.errors import IntegrityError, ParameterError, StorageError
from shoestring.overlap.codes import Codes
from shoestring.overlap.postings import Postings, build_postings, codes_of
from shoestring.text.numbered import checked_config
from shoestring.types import IntArray

FORMAT_VERSION = 1
_FORMAT = "shoestring-overlap-index"
_FILE = re.compile(r"segment-[0-9a-f]{16}-.*\.npy(\.part)?")
_REMEDY = "Save the index again, or build it from the codes and save it."

AnyArray: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Posting lists of N rows, and which of the rows have been deleted.

    Parameters
    ----------
    postings : Postings
    by_id : int64 array (N,) or (0,)
        Rows in the order of their ids; empty where the ids are ascending.
    dead : bool array (N,)
    n_dead : int
        How many rows are.
    file_name : str or None
        Of its files in ``folder``, None where it is in memory alone.
    folder : Path or None
    """

    postings: Postings
    by_id: IntArray
    dead: NDArray[np.bool_]
    n_dead: int = 0
    file_name: str | None = None
    folder: Path | None = None

    @property
    def n_alive(self) -> int:
        """Rows that have not been deleted."""
        return len(self.dead) - self.n_dead

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays, the mapped ones included."""
        return sum(array.nbytes for array in (*self.postings, self.by_id, self.dead))

    def rows_of(self, ids: IntArray) -> IntArray:
        """The row of each id that is alive here, -1 for the others."""
        known, order = self.postings.ids, self.by_id if len(self.by_id) else None
        rows = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
        if order is not None:
            rows = order[rows]
        return np.where((known[rows] == ids) & ~self.dead[rows], rows, -1)

    def without(self, rows: IntArray) -> Segment:
        """The same segment with some rows deleted; this one stays as it is."""
        dead = self.dead.copy()
        dead[rows] = True
        return replace(self, dead=dead, n_dead=int(np.count_nonzero(dead)))


def make_segment(codes: Codes, ids: IntArray) -> Segment:
    """A segment of at least one code."""
    postings = build_postings(codes, ids)
    is_ascending = bool((postings.ids[1:] > postings.ids[:-1]).all())
    by_id = np.empty(0, np.int64) if is_ascending else np.argsort(postings.ids)
    return Segment(postings, by_id, np.zeros(len(ids), np.bool_))


def alive_codes(segments: Sequence[Segment], n_bits: int) -> tuple[list[Codes], list[IntArray]]:
    """The codes and ids of the rows of some segments that have not been deleted."""
    codes = [codes_of(segment.postings, n_bits, ~segment.dead) for segment in segments]
    return codes, [segment.postings.ids[~segment.dead] for segment in segments]


def claim_folder(folder: Path) -> None:
    """Make a folder to save to, or see that it is one.

    Raises
    ------
    ParameterError
        If it holds something else than an overlap index.
    StorageError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = [f.name for f in folder.iterdir() if not _FILE.fullmatch(f.name)]
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror or error}.") from error
    strange = sorted(name for name in strange if name not in (CONFIG, CONFIG + ".part"))
    if (folder / CONFIG).exists():
        read_config(folder)
    if strange:
        want = "a new or empty folder, or one with an overlap index"
        hint = f"It holds {strange[0]!r}, for example; choose another folder."
        raise ParameterError.of("folder", "OverlapIndex.save", want, str(folder), hint)


def save_segment(segment: Segment, folder: Path) -> tuple[Segment, dict[str, Any]]:
    """Write what is not in the folder yet; return the segment and its part of the settings."""
    arrays: dict[str, AnyArray] = {**segment.postings._asdict(), "by_id": segment.by_id}
    if segment.folder != folder or not _is_complete(segment, folder, arrays):
        segment = replace(segment, file_name=secrets.token_hex(8), folder=folder)
        for name, array in arrays.items():
            _write(_path(folder, segment.file_name, name), array)
    shapes = {name: _shape_of(array) for name, array in arrays.items()}
    entry: dict[str, Any] = {"name": segment.file_name, "arrays": shapes}
    if segment.n_dead:
        entry["dead"] = f"dead-{secrets.token_hex(8)}"
        _write(_path(folder, segment.file_name, entry["dead"]), segment.dead)
    return segment, entry


def open_segment(folder: Path, entry: dict[str, Any]) -> Segment:
    """Map the files of a segment; what is deleted is read into memory.

    Raises
    ------
    IntegrityError
        If a file is missing, cut short, or not what the settings say.
    """
    arrays = {
        name: _mapped(_path(folder, entry["name"], name), dtype, tuple(shape))
        for name, (dtype, shape) in entry["arrays"].items()
    }
    by_id = arrays.pop("by_id")
    postings = Postings(**arrays)
    dead = np.zeros(len(postings.ids), np.bool_)
    if "dead" in entry:
        dead |= _mapped(_path(folder, entry["name"], entry["dead"]), "|b1", dead.shape)
    return Segment(postings, by_id, dead, int(np.count_nonzero(dead)), entry["name"], folder)


def _mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> AnyArray:
    return np.asarray(map_array(path, dtype, shape, _REMEDY, mode="c"))  # none is written to


def _path(folder: Path, file_name: str | None, array: str) -> Path:
    return folder / f"segment-{file_name}-{array}.npy"


def _is_complete(segment: Segment, folder: Path, arrays: Iterable[str]) -> bool:
    return all(_path(folder, segment.file_name, name).is_file() for name in arrays)


def _shape_of(array: AnyArray) -> tuple[str, tuple[int, ...]]:
    return array.dtype.str, array.shape


def _write(path: Path, array: AnyArray) -> None:
    with written_aside(path) as file:
        np.save(file, array, allow_pickle=False)


def write_config(folder: Path, settings: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    """Put segments in force, and remove the files of those that are not."""
    document = {"format": _FORMAT, "format_version": FORMAT_VERSION, **settings}
    text = json.dumps({**document, "segments": entries}, indent=2)
    with written_aside(folder / CONFIG) as file:
        file.write((text + "\n").encode())
    named = {_path(folder, e["name"], array) for e in entries for array in e["arrays"]}
    named |= {_path(folder, e["name"], e["dead"]) for e in entries if "dead" in e}
    for path in folder.iterdir():
        if _FILE.fullmatch(path.name) and path not in named:
            with suppress(OSError):  # still mapped, on Windows: left to the next time
                path.unlink()


def read_config(folder: Path) -> dict[str, Any]:
    """Read the settings of a saved index.

    Raises
    ------
    ParameterError
        If the folder holds no index.
    FormatError
        If it holds something else, or another version of shoestring wrote it.
    IntegrityError
        If the file is damaged.
    """
    want, hint = "the folder of a saved index", "Make one: index.save(folder)"
    document = checked_config(
        folder, _FORMAT, (FORMAT_VERSION,), what="an overlap index", remedy=_REMEDY,
        missing=ParameterError.of("folder", "OverlapIndex.open", want, str(folder), hint),
    )  # fmt: skip
    if missing := {"n_bits", "next_id", "segments"} - document.keys():
        raise IntegrityError(
            f"{folder / CONFIG} is damaged: it does not say {min(missing)}. {_REMEDY}"
        )
    return document
