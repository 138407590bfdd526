"""The exact n best rows of posting lists for a query: by overlap, Jaccard similarity or Hamming.

The overlap of a query with every row of a block is counted

- over bitmaps in bit planes (Kaser & Lemire, "Threshold and symmetric functions over bitmaps",
  arXiv 1402.4073), which start at 2^p - t, so that the top plane says which rows reach the overlap
  t that is needed now, and nothing else is looked at;
- over row numbers in a counter for each row.

The sums of bitmaps are held as planes: bit i of plane p is bit p of sum i. A carry-save adder takes
three words of one weight to a word of that weight and one of the next (Harley and Seal; Mula, Kurz
& Lemire, "Faster population counts using AVX2 instructions", arXiv 1611.07612, who count the bits
of one bitmap so):

    s = x ^ y ^ z,   c = (x & y) | ((x ^ y) & z)

Fifteen bitmaps go into four planes by eleven such adders, and the carry ripples through the planes
above. The loops run over words at fixed distances in one array, so that the compiler takes as many
at a time as a register holds: some ten instructions for a bitmap and 256 items, where a counter for
each item costs an addition in memory for each item that a posting list names.

With q active bits in the query, s in the row and an overlap of o, the scores are o, the Jaccard
similarity o / (q + s - o) and the Hamming distance q + s - 2 o. Each grows (or falls) with o alone
when s is fixed, and o <= min(q, s). Rows are sorted by s, so a block has a narrow range of sizes:
the best score that a block can hold and the overlap that its rows need follow from the range
(Swamidass & Baldi, J. Chem. Inf. Model. 47, 2007, "BitBound" in chemfp), and blocks that cannot
reach the n-th best score so far are skipped. Nothing is approximate. Of equal scores the lower id
wins; two empty codes have a Jaccard similarity of 1, as in SciPy.

The best rows are held in a heap whose first is the n-th best: the bar that others must reach.

Not covered: bounds inside a block.

Letters: N rows, R rows of a block, Q queries, n best rows, P planes, W words of a bitmap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.types import IntArray

OVERLAP, JACCARD, HAMMING = 0, 1, 2

N_ADDED = 15  # bitmaps that one call adds
TILE = 128  # words of a plane: 8,192 items
_FIRST_PLANES = 4  # the planes that fifteen bitmaps reach before the carry
_FEW_WORDS = 4  # of a tile where every row counts, as there is no n-th best score yet
_N_COUNTERS = 1 << 16  # so that a damaged row number has one too
_fast = {"nogil": True, "cache": True, "error_model": "numpy"}


def empty_planes(n_planes: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """P planes, one after the other (P x TILE,), and room that :func:`add_bitmaps` needs."""
    return np.zeros(n_planes * TILE, np.uint64), np.empty((N_ADDED + 1) * TILE, np.uint64)


@njit(**_fast)
def add_bitmaps(
    bitmaps: Any, rows: Any, word: int, n_words: int, planes: Any, n_planes: int, room: Any
) -> None:
    """Add 15 bitmaps (rows, W), those of ``rows`` (15,), to the planes: words from ``word`` on.

    ``n_words`` is at most :data:`TILE`, and there are more than four planes.
    """
    for j in range(N_ADDED):
        copy, bitmap = room[j * TILE : j * TILE + n_words], bitmaps[rows[j], word : word + n_words]
        for w in range(n_words):  # faster than an assignment, which looks whether they overlap
            copy[w] = bitmap[w]
    carry = room[N_ADDED * TILE :]
    _add_fifteen(room, planes, carry, n_words)
    for p in range(_FIRST_PLANES, n_planes):
        plane = planes[p * TILE : p * TILE + n_words]
        for w in range(n_words):
            before = plane[w]
            plane[w] = before ^ carry[w]
            carry[w] &= before


@njit(**_fast)
def _add_fifteen(maps: Any, planes: Any, carry: Any, n_words: int) -> None:
    """Add bitmaps 0 to 14, a tile each, to four planes, with a carry of weight 16."""
    for w in range(n_words):
        ones, a = _add_three(planes[w], maps[w], maps[w + TILE])
        ones, b = _add_three(ones, maps[w + 2 * TILE], maps[w + 3 * TILE])
        twos, c = _add_three(planes[w + TILE], a, b)
        ones, a = _add_three(ones, maps[w + 4 * TILE], maps[w + 5 * TILE])
        ones, b = _add_three(ones, maps[w + 6 * TILE], maps[w + 7 * TILE])
        twos, d = _add_three(twos, a, b)
        fours, e = _add_three(planes[w + 2 * TILE], c, d)
        ones, a = _add_three(ones, maps[w + 8 * TILE], maps[w + 9 * TILE])
        ones, b = _add_three(ones, maps[w + 10 * TILE], maps[w + 11 * TILE])
        twos, c = _add_three(twos, a, b)
        ones, a = _add_three(ones, maps[w + 12 * TILE], maps[w + 13 * TILE])
        planes[w], b = ones ^ maps[w + 14 * TILE], ones & maps[w + 14 * TILE]
        planes[w + TILE], d = _add_three(twos, a, b)
        planes[w + 2 * TILE], f = _add_three(fours, c, d)
        planes[w + 3 * TILE], carry[w] = _add_three(planes[w + 3 * TILE], e, f)


@njit(**_fast)
def _add_three(x: Any, y: Any, z: Any) -> Any:
    """A carry-save adder: the sum's bit and the carry."""
    return x ^ y ^ z, (x & y) | ((x ^ y) & z)


class Best(NamedTuple):
    """The n best rows so far of Q queries, each a heap with the worst first."""

    scores: NDArray[np.float64]  # (Q, n), higher is better; -inf for none yet
    ids: IntArray  # (Q, n)


@njit(**_fast)
def score(metric: int, overlap: int, q: int, s: int) -> Any:
    """The score of a row, higher is better (a Hamming distance is negative)."""
    if metric == OVERLAP:
        return np.float64(overlap)
    if metric == HAMMING:
        return np.float64(2 * overlap - q - s)
    union = q + s - overlap
    return overlap / union if union > 0 else 1.0


@njit(**_fast)
def _best_of_block(metric: int, q: int, fewest: int, most: int) -> Any:
    """What the best row of a block could score, from the sizes in it."""
    s = most if metric == OVERLAP else min(max(q, fewest), most)
    return score(metric, min(q, s), q, s)


def order_blocks(metric: int, q: int, ranges: IntArray) -> IntArray:
    """All blocks of a segment, those first that could hold the best rows for q active bits."""
    bounds = [-_best_of_block(metric, q, fewest, most) for fewest, most in ranges.tolist()]
    return np.argsort(bounds, kind="stable")  # of equal bounds the lower ids first


@njit(**_fast)
def _needed(metric: int, q: int, fewest: int, worst: float) -> int:
    """The least overlap with which a row of ``fewest`` bits gets to ``worst``; q + 1 if none."""
    for overlap in range(q + 1):
        if score(metric, overlap, q, fewest) >= worst:
            return overlap
    return q + 1


@njit(**_fast)
def _before(score: float, new: int, other: float, old: int) -> bool:
    """Tell whether a row with a score and an id is better than another."""
    return score > other or (score == other and new < old)


@njit(**_fast)
def _offer(best: Any, q: int, value: float, new: int) -> None:
    """Take a row in the place of the worst if it is better."""
    scores, ids = best.scores[q], best.ids[q]
    if not _before(value, new, scores[0], ids[0]):
        return
    i, child = 0, 1
    while child < len(scores):
        if child + 1 < len(scores) and _before(
            scores[child], ids[child], scores[child + 1], ids[child + 1]
        ):
            child += 1  # the worse of the two
        if _before(scores[child], ids[child], value, new):
            break
        scores[i], ids[i] = scores[child], ids[child]
        i, child = child, 2 * child + 1
    scores[i], ids[i] = value, new


@njit(**_fast)
def search_blocks(
    postings: Any,
    deleted: Any,
    blocks: Any,
    metric: int,
    query_starts: Any,
    query_bits: Any,
    n_planes: int,
    planes: Any,
    room: Any,
    best: Any,
) -> None:
    """Look for the n best rows of each query in some blocks.

    deleted (N,) bool; blocks: which, in the order to take them; query_starts (Q + 1,) int64 of
    query_bits; n_planes: more than four, enough for an overlap; planes, room: one more of
    :func:`empty_planes`; best: what was found elsewhere, to which the rows found here are added.
    """
    n_lists = max(len(postings.bitmaps), len(postings.starts)) - 1
    n_bits = n_lists // len(postings.ranges)
    n_rows = 64 * postings.bitmaps.shape[1]
    maps = np.empty(len(query_bits) + N_ADDED, np.int64)
    counters = np.empty(_N_COUNTERS, np.uint16)
    for block in blocks:
        for q in range(len(query_starts) - 1):
            bits = query_bits[query_starts[q] : query_starts[q + 1]]
            view = (metric, q, len(bits), block, deleted)
            if _least(postings, view, best) > len(bits):
                continue
            if len(postings.bitmaps):
                n_maps = -(-len(bits) // N_ADDED) * N_ADDED
                maps[: len(bits)] = block * n_bits + bits
                maps[len(bits) : n_maps] = len(postings.bitmaps) - 1
                _by_planes(postings, view, maps[:n_maps], n_planes, planes, room, best)
                continue
            counters[:n_rows] = 0
            for bit in bits:
                start, stop = postings.starts[block * n_bits + bit : block * n_bits + bit + 2]
                for j in range(start, stop if 0 <= start <= stop <= len(postings.rows) else start):
                    counters[postings.rows[j]] += 1
            _by_counters(postings, view, counters, best)


@njit(**_fast)
def _least(postings: Any, view: Any, best: Any) -> Any:
    """The least overlap with which a row of the block counts now; more than q has if none can."""
    metric, query, q, block, _ = view
    bar = best.scores[query, 0]
    if bar == -np.inf:
        return 0
    fewest, most = postings.ranges[block]
    if _best_of_block(metric, q, fewest, most) < bar:
        return q + 1
    return _needed(metric, q, fewest, bar)


@njit(**_fast)
def _by_planes(
    postings: Any, view: Any, maps: Any, n_planes: int, planes: Any, room: Any, best: Any
) -> None:
    """Count a block of bitmaps, a tile after the other, and hold the rows that count."""
    metric, query, q, block, deleted = view
    first = block * postings.bitmaps.shape[1] * 64
    n_words = min(postings.bitmaps.shape[1], -(-(len(postings.ids) - first) // 64))
    word, size = 0, TILE if best.scores[query, 0] > -np.inf else _FEW_WORDS
    while word < n_words:
        least = _least(postings, view, best)
        if least > q:
            return
        size = min(size, n_words - word)
        for p in range(n_planes + 1):  # the top plane is set from an overlap of ``least`` on
            begun = np.uint64(((1 << n_planes) - least) >> p & 1)
            planes[p * TILE : p * TILE + size] = np.uint64(0) - begun
        for i in range(0, len(maps), N_ADDED):
            add_bitmaps(postings.bitmaps, maps[i:], word, size, planes, n_planes + 1, room)
        for w in range(size):
            reached = planes[n_planes * TILE + w]
            for bit in range(64 if reached else 0):
                row = first + 64 * (word + w) + bit
                is_reached = reached >> np.uint64(bit) & np.uint64(1)
                if is_reached and row < len(deleted) and not deleted[row]:
                    overlap = least - (1 << n_planes)
                    for p in range(n_planes + 1):
                        is_set = planes[p * TILE + w] >> np.uint64(bit) & np.uint64(1)
                        overlap += np.int64(is_set) << p
                    value = score(metric, overlap, q, postings.sizes[row])
                    _offer(best, query, value, postings.ids[row])
        word, size = word + size, min(TILE, 2 * size)


@njit(**_fast)
def _by_counters(postings: Any, view: Any, counters: Any, best: Any) -> None:
    """Hold the rows of a block whose counters say that they count."""
    metric, query, q, block, deleted = view
    first = block * postings.bitmaps.shape[1] * 64
    n_rows = min(postings.bitmaps.shape[1] * 64, len(postings.ids) - first)
    least = _least(postings, view, best)
    for i in range(n_rows):
        if counters[i] >= least and not deleted[first + i]:
            value = score(metric, counters[i], q, postings.sizes[first + i])
            _offer(best, query, value, postings.ids[first + i])
            least = _least(postings, view, best)
