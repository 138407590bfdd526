"""Posting lists of sparse binary codes: for each neuron the codes in which it is active.

Rows (codes) are sorted by their number of active bits, then by id, and cut into blocks of at most
32,768. In a block each of the ``n_bits`` neurons has a list of the rows in which it is active, kept
in the smaller of two forms, as Roaring bitmaps do (Chambi, Lemire, Kaser & Godin, arXiv 1402.6407):
uint16 row numbers, or, where more than one row in 16 is in the list, a bitmap. The lists hold all
that the codes hold, so the codes themselves are not kept.

Not covered: compressed row numbers (they are two bytes each).

Letters: N rows, R rows of a block (a multiple of 256), W = R / 64 words of a bitmap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.errors import IntegrityError
from shoestring.overlap.bit_planes import VECTOR_WORDS, lowest_bit
from shoestring.overlap.codes import Codes, empty_indices, starts_of
from shoestring.types import IntArray

MAX_BLOCK_ROWS = 1 << 15  # the counters fill the first-level cache; row numbers fit uint16
ROW_NUMBERS = 1 << 16  # counters that there must be, so that a damaged row number has one too

_VECTOR_ROWS = 64 * VECTOR_WORDS
_fast = {"nogil": True, "cache": True, "error_model": "numpy"}


class Postings(NamedTuple):
    """The posting lists of N rows.

    List j of block b, i = b n_bits + j, has the row numbers ``rows[starts[i] : starts[i + 1]]``,
    ascending, or the bitmap ``bitmaps[bitmap_of[i]]``; with -1 it has none. The last bitmap is
    empty: it fills up the fifteen that are added at a time.
    """

    starts: IntArray  # (blocks x n_bits + 1,)
    rows: NDArray[np.uint16]  # within the block
    bitmap_of: NDArray[np.int32]  # (blocks x n_bits,)
    bitmaps: NDArray[np.uint64]  # (bitmaps + 1, W)
    ranges: IntArray  # (blocks, 3): fewest and most active bits, and the lowest id
    sizes: NDArray[np.uint16]  # (N,): active bits of each row
    ids: IntArray  # (N,)


def build_postings(codes: Codes, ids: IntArray) -> Postings:
    """Make the posting lists of N codes, in two passes over the bits, about 10 ns for each."""
    sizes = codes.sizes
    order = np.lexsort((ids, sizes))
    n_blocks = max(1, -(-len(order) // MAX_BLOCK_ROWS))
    n_rows = max(1, -(-len(order) // (n_blocks * _VECTOR_ROWS))) * _VECTOR_ROWS
    counts = np.zeros((n_blocks, codes.n_bits), np.int64)
    _count(codes.starts, codes.bits, order, n_rows, counts)
    as_bitmap = counts * 16 > n_rows
    bitmap_of = np.full(counts.shape, -1, np.int32)
    bitmap_of[as_bitmap] = np.arange(as_bitmap.sum(), dtype=np.int32)
    counts[as_bitmap] = 0
    starts = starts_of(counts)
    bitmaps = np.zeros((as_bitmap.sum() + 1, n_rows // 64), np.uint64)
    rows = np.empty(starts[-1], np.uint16)
    _fill(codes.starts, codes.bits, order, n_rows, starts[:-1].copy(), rows, bitmap_of, bitmaps)
    row_sizes, ids = sizes[order].astype(np.uint16), ids[order]
    ranges = np.array(
        [
            (row_sizes[i], row_sizes[min(i + n_rows, len(ids)) - 1], ids[i : i + n_rows].min())
            for i in range(0, len(ids), n_rows)
        ],
        np.int64,
    ).reshape(-1, 3)
    return Postings(starts, rows, bitmap_of.reshape(-1), bitmaps, ranges, row_sizes, ids)


@njit(**_fast)
def _count(starts: Any, bits: Any, order: Any, n_rows: int, counts: Any) -> None:
    for row in range(len(order)):
        lists = counts[row // n_rows]
        for i in range(starts[order[row]], starts[order[row] + 1]):
            lists[bits[i]] += 1


@njit(**_fast)
def _fill(
    starts: Any,
    bits: Any,
    order: Any,
    n_rows: int,
    positions: Any,
    rows: Any,
    bitmap_of: Any,
    bitmaps: Any,
) -> None:
    n_bits = bitmap_of.shape[1]
    for row in range(len(order)):
        block, within = row // n_rows, row % n_rows
        for i in range(starts[order[row]], starts[order[row] + 1]):
            bitmap = bitmap_of[block, bits[i]]
            if bitmap >= 0:
                bitmaps[bitmap, within >> 6] |= np.uint64(1) << np.uint64(within & 63)
            else:
                list_number = block * n_bits + bits[i]
                rows[positions[list_number]] = within
                positions[list_number] += 1


def codes_of(postings: Postings, n_bits: int, live: NDArray[np.bool_], damage: str) -> Codes:
    """The codes of the rows that are live, in row order, each with its bits ascending.

    An IntegrityError, ``damage``, if the lists have not as many bits of each row as its size.
    """
    starts = starts_of(np.where(live, postings.sizes, 0))
    bits, ends = empty_indices(int(starts[-1]), n_bits), starts[:-1].copy()
    _empty_into(postings, n_bits, starts[1:], ends, bits)
    if not np.array_equal(ends, starts[1:]):
        raise IntegrityError(damage)
    return Codes(np.append(starts[:-1][live], starts[-1]), bits, n_bits)


@njit(**_fast)
def _empty_into(postings: Any, n_bits: int, ends: Any, positions: Any, bits: Any) -> None:
    n_rows = postings.bitmaps.shape[1] * 64
    for i in range(len(postings.bitmap_of)):
        first, bit = i // n_bits * n_rows, i % n_bits
        start, stop = postings.starts[i], postings.starts[i + 1]
        for j in range(start, stop if 0 <= start <= stop <= len(postings.rows) else start):
            row = first + postings.rows[j]
            if row < len(ends) and positions[row] < ends[row]:  # of rows that are not live: none
                bits[positions[row]] = bit
                positions[row] += 1
        if 0 <= postings.bitmap_of[i] < len(postings.bitmaps):
            for w in range(postings.bitmaps.shape[1]):
                word = postings.bitmaps[postings.bitmap_of[i], w]
                while word:
                    row = first + 64 * w + lowest_bit(word)
                    word &= word - np.uint64(1)
                    if row < len(ends) and positions[row] < ends[row]:
                        bits[positions[row]] = bit
                        positions[row] += 1
