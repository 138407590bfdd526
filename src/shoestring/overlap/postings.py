"""Posting lists of sparse binary codes: for each neuron the codes in which it is active.

Rows (codes) are sorted by their number of active bits, then by id, and cut into blocks of at most
32,768. In a block each of the ``n_bits`` neurons has a list of the rows in which it is active. All
lists of a segment have one form: bitmaps, or, where more than 64 bits of a code are there for an
active one, uint16 row numbers. The lists hold all that the codes hold, so the codes themselves are
not kept.

A segment is what was added together, less what has been deleted since. On disk there is one, in an
artifact folder with a ``.npy`` file for each array; who reads an older index keeps its files
mapped. The larger arrays of an opened index are not read as a whole, so the kernels take no number
in them for granted: they never leave the arrays, whatever a damaged or forged file says.

Not covered: compressed row numbers; two processes that save to one folder at once.

Letters: N rows, R rows of a block (a multiple of 64), W = R / 64 words of a bitmap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from shoestring.artifacts import Artifact, ArtifactKind
from shoestring.compiled import njit
from shoestring.errors import IntegrityError
from shoestring.overlap.codes import Codes, empty_indices, join_codes, starts_of
from shoestring.types import IntArray

MAX_BLOCK_ROWS = 1 << 15  # the counters stay in the cache; row numbers fit uint16
BITS_PER_ACTIVE = 64  # at most, for bitmaps: they then take four times the memory of row numbers

KIND = ArtifactKind(
    format="shoestring-overlap-index",
    what="an overlap index",
    owner="OverlapIndex.save",
    remedy="Save the index again, or build it from the codes and save it.",
    version=4,
)

_fast = {"nogil": True, "cache": True, "error_model": "numpy"}


class Postings(NamedTuple):
    """The posting lists of N rows: list i = b n_bits + j is that of bit j in block b.

    It is ``bitmaps[i]``, or where there are no bitmaps ``rows[starts[i] : starts[i + 1]]``. The
    last bitmap is empty: it fills up the fifteen that are added at a time.
    """

    starts: IntArray  # (lists + 1,), or (1,) where there are bitmaps
    rows: NDArray[np.uint16]  # within the block, ascending
    bitmaps: NDArray[np.uint64]  # (lists + 1, W), or (0, W)
    ranges: IntArray  # (blocks, 2): fewest and most active bits
    sizes: NDArray[np.uint16]  # (N,): active bits of each row
    ids: IntArray  # (N,)


@dataclass(frozen=True, eq=False)
class Segment:
    """Posting lists of N rows, and which of the rows have been deleted."""

    postings: Postings
    deleted: NDArray[np.bool_]  # (N,)
    folder: str = ""  # where its files are, if it has some

    @cached_property
    def n_live(self) -> int:
        """Rows that have not been deleted."""
        return len(self.deleted) - int(np.count_nonzero(self.deleted))

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
        return replace(self, deleted=deleted)


def make_segment(codes: Codes, ids: IntArray) -> Segment:
    """A segment of at least one code."""
    sizes, n_bits = codes.sizes, codes.n_bits
    order = np.lexsort((ids, sizes))
    n_blocks = -(-len(order) // MAX_BLOCK_ROWS)
    n_words = -(-len(order) // (n_blocks * 64))
    n_rows, n_lists = 64 * n_words, n_blocks * n_bits
    starts, rows = np.zeros(1, np.int64), np.empty(0, np.uint16)
    bitmaps = np.zeros((0, n_words), np.uint64)
    if n_bits * len(order) <= BITS_PER_ACTIVE * len(codes.bits):
        bitmaps = np.zeros((n_lists + 1, n_words), np.uint64)
        _fill_bitmaps(codes.starts, codes.bits, order, n_bits, bitmaps)
    else:
        shape, ones = (len(order), n_bits), np.ones(len(codes.bits), np.bool_)
        table = csr_matrix((ones, codes.bits, codes.starts), shape)[order]
        blocks = [table[i : i + n_rows].tocsc() for i in range(0, len(order), n_rows)]
        starts = starts_of(np.concatenate([np.diff(block.indptr) for block in blocks]))
        rows = np.concatenate([block.indices for block in blocks]).astype(np.uint16)
    row_sizes, ids = sizes[order].astype(np.uint16), ids[order]
    firsts = np.arange(0, len(ids), n_rows)
    lasts = np.minimum(firsts + n_rows, len(ids)) - 1
    ranges = np.column_stack([row_sizes[firsts], row_sizes[lasts]]).astype(np.int64)
    postings = Postings(starts, rows, bitmaps, ranges, row_sizes, ids)
    return Segment(postings, np.zeros(len(ids), np.bool_))


@njit(**_fast)
def _fill_bitmaps(starts: Any, bits: Any, order: Any, n_bits: int, bitmaps: Any) -> None:
    n_rows = 64 * bitmaps.shape[1]
    for row in range(len(order)):
        first, within = row // n_rows * n_bits, row % n_rows
        for i in range(starts[order[row]], starts[order[row] + 1]):
            bitmaps[first + bits[i], within >> 6] |= np.uint64(1) << np.uint64(within & 63)


def merged(segments: Sequence[Segment], n_bits: int, *more: tuple[Codes, IntArray]) -> Segment:
    """One segment of what has not been deleted of some, and more codes with their ids."""
    parts = [(_codes_of(s, n_bits), s.postings.ids[~s.deleted]) for s in segments]
    codes, ids = zip(*parts, *more, strict=True)
    return make_segment(join_codes(codes), np.concatenate(ids))


def _codes_of(segment: Segment, n_bits: int) -> Codes:
    """The codes of the rows that are live, in row order, each with its bits ascending.

    An IntegrityError if the lists have not as many bits of each row as its size.
    """
    postings, live = segment.postings, ~segment.deleted
    starts = starts_of(np.where(live, postings.sizes, 0))
    bits, ends = empty_indices(int(starts[-1]), n_bits), starts[:-1].copy()
    _empty_into(postings, n_bits, starts[1:], ends, bits)
    if not np.array_equal(ends, starts[1:]):
        damage = f"{segment.folder} is damaged: the files of a segment contradict each other."
        raise IntegrityError(f"{damage} {KIND.remedy}")
    return Codes(np.append(starts[:-1][live], starts[-1]), bits, n_bits)


@njit(**_fast)
def _empty_into(postings: Any, n_bits: int, ends: Any, positions: Any, bits: Any) -> None:
    n_words = postings.bitmaps.shape[1]
    for i in range(len(postings.ranges) * n_bits):
        first, bit = i // n_bits * 64 * n_words, i % n_bits
        if len(postings.bitmaps):
            for w in range(n_words):
                word = postings.bitmaps[i, w]
                for place in range(64 if word else 0):
                    if word >> np.uint64(place) & np.uint64(1):
                        _put(bit, first + 64 * w + place, ends, positions, bits)
        else:
            start, stop = postings.starts[i], postings.starts[i + 1]
            for j in range(start, stop if 0 <= start <= stop <= len(postings.rows) else start):
                _put(bit, first + postings.rows[j], ends, positions, bits)


@njit(**_fast)
def _put(bit: int, row: int, ends: Any, positions: Any, bits: Any) -> None:
    """Note a bit of a row, if it has room: rows that are not live have none."""
    if row < len(ends) and positions[row] < ends[row]:
        bits[positions[row]] = bit
        positions[row] += 1


def open_segment(artifact: Artifact, n_bits: int) -> Segment:
    """Map the files of a segment, whose shapes must fit."""

    def mapped(name: str, dtype: str, *shape: int) -> NDArray[Any]:
        # "c": the kernels' type; none is written to
        return np.asarray(artifact.array(f"{name}.npy", dtype, shape or None, mode="c"))

    bitmaps, ids = mapped("bitmaps", "<u8"), mapped("ids", "<i8")
    (n_bitmaps, n_words), (n,) = bitmaps.shape, ids.shape
    if not n or not 0 < n_words <= MAX_BLOCK_ROWS // 64:
        raise ValueError(f"it has {n} codes in bitmaps {bitmaps.shape}")
    n_blocks = -(-n // (64 * n_words))
    n_lists = n_blocks * n_bits
    if n_bitmaps not in (0, n_lists + 1):
        raise ValueError(f"it has {n_bitmaps} bitmaps of {n_lists} lists")
    starts = mapped("starts", "<i8", 1 if n_bitmaps else n_lists + 1)
    postings = Postings(
        starts=starts,
        rows=mapped("rows", "<u2", int(starts[-1])),
        bitmaps=bitmaps,
        ranges=mapped("ranges", "<i8", n_blocks, 2),
        sizes=mapped("sizes", "<u2", n),
        ids=ids,
    )
    return Segment(postings, np.zeros(n, np.bool_), str(artifact.folder))
