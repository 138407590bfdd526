"""Segments of an overlap index: rows that were added together, in memory and as files.

A segment is a set of posting lists with what has been deleted since. On disk there is one, in an
artifact folder, with a ``.npy`` file for each array; who reads an older index keeps its files
mapped.

The larger arrays of an opened index are not read as a whole, so the kernels take no number in them
for granted: they never leave the arrays, whatever a damaged or forged file says.

Not covered: two processes that save to one folder at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
    versions=(2,),
)

_DTYPES = {"starts": "<i8", "rows": "<u2", "bitmap_of": "<i4", "bitmaps": "<u8"}
_DTYPES |= {"ranges": "<i8", "sizes": "<u2", "ids": "<i8"}


@dataclass(frozen=True, eq=False)
class Segment:
    """Posting lists of N rows, and which of the rows have been deleted."""

    postings: Postings
    deleted: NDArray[np.bool_]  # (N,)
    folder: str = ""  # where its files are, if it has some

    @cached_property
    def n_deleted(self) -> int:
        """Rows that have been deleted."""
        return int(np.count_nonzero(self.deleted))

    @property
    def n_live(self) -> int:
        """Rows that have not been deleted."""
        return len(self.deleted) - self.n_deleted

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays, the mapped ones included."""
        return sum(array.nbytes for array in (*self.postings, self.deleted))

    @cached_property
    def _by_id(self) -> IntArray:
        """Rows (N,) in the order of their ids."""
        return np.argsort(self.postings.ids, kind="stable")

    def rows_of(self, ids: IntArray) -> IntArray:
        """The row of each id that is live here, -1 for the others."""
        known, order = self.postings.ids, self._by_id
        rows = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
        return np.where((known[rows] == ids) & ~self.deleted[rows], rows, -1)

    def without(self, rows: IntArray) -> Segment:
        """The same segment with some rows deleted; this one stays as it is."""
        deleted = self.deleted.copy()
        deleted[rows] = True
        return Segment(self.postings, deleted, self.folder)


def make_segment(codes: Codes, ids: IntArray) -> Segment:
    """A segment of at least one code."""
    return Segment(build_postings(codes, ids), np.zeros(len(ids), np.bool_))


def live_codes(segments: Sequence[Segment], n_bits: int) -> tuple[list[Codes], list[IntArray]]:
    """The codes and ids of the rows of some segments that have not been deleted."""
    damage = "{} is damaged: the files of a segment contradict each other. " + KIND.remedy
    codes = [codes_of(s.postings, n_bits, ~s.deleted, damage.format(s.folder)) for s in segments]
    return codes, [segment.postings.ids[~segment.deleted] for segment in segments]


def open_segment(artifact: Artifact, n_bits: int) -> Segment:
    """Map the files of a segment, whose shapes must fit."""

    def mapped(name: str, *shape: int) -> NDArray[Any]:
        # "c": the kernels' type; none is written to
        array = artifact.array(f"{name}.npy", _DTYPES[name], shape or None, mode="c")
        return np.asarray(array)

    bitmaps, rows, ids = map(mapped, ("bitmaps", "rows", "ids"))
    (n_bitmaps, n_words), (n,) = bitmaps.shape, ids.shape
    widths = range(VECTOR_WORDS, MAX_BLOCK_ROWS // 64 + 1, VECTOR_WORDS)
    if not n or not n_bitmaps or n_words not in widths or rows.ndim != 1:
        raise ValueError(f"it has {n} codes in bitmaps {bitmaps.shape}")
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
    return Segment(postings, np.zeros(n, np.bool_), str(artifact.folder))
