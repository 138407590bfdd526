"""Segments of an overlap index: rows that were added together, in memory and as files.

A segment is a set of posting lists with what has been deleted since. On disk it is one ``.npy``
file for each array, in an artifact folder: a save keeps the files of the segments that are in force
there already, and who reads an older index keeps its files mapped.

The larger arrays of an opened index are not read as a whole, so the kernels take no number in them
for granted: they never leave the arrays, whatever a damaged or forged file says.

Not covered: two processes that save to one folder at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import Artifact, ArtifactKind
from shoestring.overlap.bit_planes import VECTOR_WORDS
from shoestring.overlap.codes import Codes
from shoestring.overlap.postings import MAX_BLOCK_ROWS, Postings, build_postings, codes_of
from shoestring.types import IntArray

KIND = ArtifactKind(
    format="shoestring-overlap-index",
    what="an overlap index",
    owner="OverlapIndex.save",
    remedy="Save the index again, or build it from the codes and save it.",
)

AnyArray: TypeAlias = NDArray[Any]
_DTYPES = {"starts": "<i8", "rows": "<u2", "bitmap_of": "<i4", "bitmaps": "<u8"}
_DTYPES |= {"ranges": "<i8", "sizes": "<u2", "ids": "<i8", "by_id": "<i8"}


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Posting lists of N rows, and which of the rows have been deleted."""

    postings: Postings
    by_id: IntArray  # rows (N,) in the order of their ids; empty where the ids are ascending
    deleted: NDArray[np.bool_]  # (N,)
    n_deleted: int = 0
    saved_as: dict[str, Any] = field(default_factory=dict)  # its files, as the config lists them
    folder: str = ""  # where they are

    @property
    def n_live(self) -> int:
        """Rows that have not been deleted."""
        return len(self.deleted) - self.n_deleted

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays, the mapped ones included."""
        return sum(array.nbytes for array in (*self.postings, self.by_id, self.deleted))

    def rows_of(self, ids: IntArray) -> IntArray:
        """The row of each id that is live here, -1 for the others."""
        known, order = self.postings.ids, self.by_id if len(self.by_id) else None
        rows = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
        if order is not None:
            rows = order[rows]
        return np.where((known[rows] == ids) & ~self.deleted[rows], rows, -1)

    def without(self, rows: IntArray) -> Segment:
        """The same segment with some rows deleted; this one stays as it is."""
        deleted = self.deleted.copy()
        deleted[rows] = True
        return replace(self, deleted=deleted, n_deleted=int(np.count_nonzero(deleted)))


def make_segment(codes: Codes, ids: IntArray) -> Segment:
    """A segment of at least one code."""
    postings = build_postings(codes, ids)
    is_ascending = bool((postings.ids[1:] > postings.ids[:-1]).all())
    by_id = np.empty(0, np.int64) if is_ascending else np.argsort(postings.ids)
    return Segment(postings, by_id, np.zeros(len(ids), np.bool_))


def live_codes(segments: Sequence[Segment], n_bits: int) -> tuple[list[Codes], list[IntArray]]:
    """The codes and ids of the rows of some segments that have not been deleted."""
    damage = "{} is damaged: the files of a segment contradict each other. " + KIND.remedy
    codes = [codes_of(s.postings, n_bits, ~s.deleted, damage.format(s.folder)) for s in segments]
    return codes, [segment.postings.ids[~segment.deleted] for segment in segments]


def save_segments(
    segments: Sequence[Segment], settings: dict[str, Any], folder: Path
) -> tuple[Segment, ...]:
    """Save segments to a folder and return them; what is there already is not written again."""
    saved, prefixes = [], []
    with KIND.saving(folder) as writer:
        in_force = writer.before.get("files", {})
        numbers = re.findall(r"segment(\d{1,9})_", " ".join(in_force))
        number = 1 + max(map(int, numbers), default=-1)
        for segment in segments:
            arrays: dict[str, AnyArray] = {**segment.postings._asdict(), "by_id": segment.by_id}
            is_there = segment.saved_as and all(
                in_force.get(name) == entry and (folder / entry["file"]).exists()
                for name, entry in segment.saved_as.items()
            )
            if is_there:
                for name in segment.saved_as:
                    writer.keep(name)
                prefix = next(iter(segment.saved_as)).partition("_")[0]
            else:
                prefix, number = f"segment{number}", number + 1
                for name, array in arrays.items():
                    writer.array(f"{prefix}_{name}.npy", array)
            names = [f"{prefix}_{name}.npy" for name in arrays]
            saved.append(replace(segment, saved_as={name: writer.files[name] for name in names}))
            prefixes.append(prefix)
            if segment.n_deleted:
                writer.array(f"{prefix}_deleted.npy", segment.deleted)
        writer.config |= {**settings, "segments": prefixes}
    return tuple(saved)


def open_segment(artifact: Artifact, prefix: str, n_bits: int) -> Segment:
    """Map the files of a segment, whose shapes must fit; what is deleted is read into memory."""

    def mapped(name: str, *shape: int) -> AnyArray:  # "c": the kernels' type; none is written to
        file = f"{prefix}_{name}.npy"
        return np.asarray(artifact.array(file, _DTYPES[name], shape or None, mode="c"))

    bitmaps, rows, ids, by_id = map(mapped, ("bitmaps", "rows", "ids", "by_id"))
    (n_bitmaps, n_words), (n,) = bitmaps.shape, ids.shape
    widths = range(VECTOR_WORDS, MAX_BLOCK_ROWS // 64 + 1, VECTOR_WORDS)
    if not n or not n_bitmaps or n_words not in widths or not rows.ndim == by_id.ndim == 1:
        raise ValueError(f"{prefix} has {n} codes in bitmaps {bitmaps.shape}")
    n_blocks = -(-n // (64 * n_words))
    postings = Postings(
        starts=mapped("starts", n_blocks * n_bits + 1),
        rows=rows,
        bitmap_of=mapped("bitmap_of", n_blocks * n_bits),
        bitmaps=bitmaps,
        ranges=mapped("ranges", n_blocks, 3),
        sizes=mapped("sizes", n),
        ids=ids,
    )
    deleted, file = np.zeros(n, np.bool_), f"{prefix}_deleted.npy"
    if file in artifact:
        deleted |= artifact.loaded_array(file, "|b1", (n,))
    names = (f"{prefix}_{name}.npy" for name in (*postings._fields, "by_id"))
    saved_as = {name: artifact.config["files"][name] for name in names}
    if len(by_id) and (len(by_id) != n or by_id.min() < 0 or by_id.max() >= n):
        raise artifact.damaged(artifact.path(f"{prefix}_by_id.npy").name, "it has other rows")
    n_deleted = int(np.count_nonzero(deleted))
    return Segment(postings, by_id, deleted, n_deleted, saved_as, str(artifact.folder))
