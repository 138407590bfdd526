"""The exact n best rows of posting lists for a query: by overlap, Jaccard similarity or Hamming.

The overlap of a query with every row of a block is counted

- in bit planes over the bitmaps (:mod:`~.bit_planes`; Kaser & Lemire, "Threshold and
  symmetric functions over bitmaps", arXiv 1402.4073), which start at 2^p - t, so that the top plane
  says which rows reach the overlap t that is needed now, and nothing else is looked at;
- in a counter for each row over the row numbers, which stays in the first-level cache;
- where a query has lists of both kinds, in planes that become counters.

With q active bits in the query, s in the row and an overlap of o, the scores are o, the Jaccard
similarity o / (q + s - o) and the Hamming distance q + s - 2 o. Each grows (or falls) with o alone
when s is fixed, and o <= min(q, s). Rows are sorted by s, so a block has a narrow range of sizes:
the best score that a block can hold and the overlap that its rows need follow from the range
(Swamidass & Baldi, J. Chem. Inf. Model. 47, 2007, "BitBound" in chemfp), and blocks that cannot
reach the n-th best score so far are skipped. Nothing is approximate. Of equal scores the lower id
wins; two empty codes have a Jaccard similarity of 1, as in SciPy.

The best rows are held in a list of 2 n and more; when it is full, the n best are selected and the
n-th is the bar that others must reach; for n = 1,000 a heap took about twice as long.

Not covered: bounds inside a block.

Letters: N rows, R rows of a block, Q queries, n best rows, W words of a bitmap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.overlap.bit_planes import (
    N_ADDED,
    VECTOR_WORDS,
    add_bitmaps,
    bytes_of_planes,
    lowest_bit,
)
from shoestring.types import IntArray

OVERLAP, JACCARD, HAMMING = 0, 1, 2

_TILE_VECTORS = 32  # rows looked at between two looks at the n-th best score: 8,192
_ROOM = 64  # beyond 2 n, so that a small n is not selected all the time
_fast = {"nogil": True, "cache": True, "error_model": "numpy"}


class Best(NamedTuple):
    """The best rows so far of Q queries, in no order."""

    n: int  # how many are wanted
    scores: NDArray[np.float64]  # (Q, room), higher is better
    ids: IntArray  # (Q, room)
    n_held: IntArray  # (Q,): how many of them count
    bars: NDArray[np.float64]  # (Q,): the n-th best score when last looked for, at first -inf
    bar_ids: IntArray  # (Q,): its id


def no_rows(n_queries: int, n: int) -> Best:
    """Nothing found yet, for each query."""
    return Best(
        n,
        np.empty((n_queries, 2 * n + _ROOM)),
        np.empty((n_queries, 2 * n + _ROOM), np.int64),
        np.zeros(n_queries, np.int64),
        np.full(n_queries, -np.inf),
        np.full(n_queries, -1, np.int64),
    )


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
    bounds = [-_best_of_block(metric, q, fewest, most) for fewest, most, _ in ranges.tolist()]
    return np.argsort(bounds, kind="stable")  # of equal bounds the lower ids first


@njit(**_fast)
def _needed(metric: int, q: int, fewest: int, worst: float, strictly: bool) -> int:
    """The least overlap with which a row of at least ``fewest`` bits gets to ``worst``, or above.

    An estimate from the formula, raised until the score itself says so; q + 1 if none does.
    """
    if metric == OVERLAP:
        estimate = worst
    elif metric == HAMMING:
        estimate = (worst + q + fewest) / 2
    else:
        estimate = worst * (q + fewest) / (1.0 + worst)
    overlap = max(0, int(np.floor(estimate)) - 1)
    while overlap <= q:
        reached = score(metric, overlap, q, fewest)
        if reached > worst or (reached == worst and not strictly):
            return overlap
        overlap += 1
    return overlap


@njit(**_fast)
def _before(score: float, new: int, other: float, old: int) -> bool:
    """Tell whether a row with a score and an id is better than another."""
    return score > other or (score == other and new < old)


@njit(**_fast)
def _offer(best: Any, q: int, value: float, new: int) -> None:
    """Hold a row if it is above the bar; there is room."""
    if _before(value, new, best.bars[q], best.bar_ids[q]):
        best.scores[q, best.n_held[q]] = value
        best.ids[q, best.n_held[q]] = new
        best.n_held[q] += 1


@njit(**_fast)
def _raise_bar(best: Any, q: int) -> None:
    """Keep the n best of the rows held, the worst of them last (Hoare's selection)."""
    scores, ids = best.scores[q], best.ids[q]
    low, high = 0, best.n_held[q] - 1
    if high < best.n:
        return
    while low < high:
        middle = (low + high) // 2
        pivot, pivot_id = scores[middle], ids[middle]
        i, j = low, high
        while i <= j:
            while _before(scores[i], ids[i], pivot, pivot_id):
                i += 1
            while _before(pivot, pivot_id, scores[j], ids[j]):
                j -= 1
            if i <= j:
                scores[i], scores[j] = scores[j], scores[i]
                ids[i], ids[j] = ids[j], ids[i]
                i += 1
                j -= 1
        if j < best.n - 1:
            low = i
        if best.n - 1 < i:
            high = j
    best.n_held[q] = best.n
    best.bars[q], best.bar_ids[q] = scores[best.n - 1], ids[best.n - 1]


@njit(**_fast)
def search_blocks(
    postings: Any,
    deleted: Any,
    blocks: Any,
    metric: int,
    query_starts: Any,
    query_bits: Any,
    counters: Any,
    best: Any,
) -> None:
    """Look for the n best rows of each query in some blocks.

    deleted (N,) bool; blocks: which, in the order to take them; query_starts (Q + 1,) int64 of
    query_bits; counters (1 << 16,), of a type that holds the most active bits of a query; best:
    what was found elsewhere, to which the rows found here are added: its first n are the best then,
    and score -inf where there are fewer.
    """
    n_bits = len(postings.bitmap_of) // len(postings.ranges)
    longest = 0
    for q in range(len(query_starts) - 1):
        longest = max(longest, query_starts[q + 1] - query_starts[q])
    n_planes = 4
    while longest >> n_planes:
        n_planes += 1
    n_rows = max(8 * counters.itemsize, n_planes + 1)
    planes = np.zeros((n_rows, _TILE_VECTORS * VECTOR_WORDS), np.uint64)
    maps = np.empty(longest + N_ADDED, np.int64)
    lists = np.empty(longest, np.int64)
    for block in blocks:
        for q in range(len(query_starts) - 1):
            bits = query_bits[query_starts[q] : query_starts[q + 1]]
            view = (metric, q, len(bits), block, deleted)
            _raise_bar(best, q)
            if _least(postings, view, best) > len(bits):
                continue
            n_lists = n_maps = 0
            for bit in bits:
                i = block * n_bits + bit
                if 0 <= postings.bitmap_of[i] < len(postings.bitmaps):
                    maps[n_maps] = postings.bitmap_of[i]
                    n_maps += 1
                elif 0 <= postings.starts[i] < postings.starts[i + 1] <= len(postings.rows):
                    lists[n_lists] = i
                    n_lists += 1
            n_filled = -(-n_maps // N_ADDED) * N_ADDED
            maps[n_maps:n_filled] = len(postings.bitmaps) - 1
            if n_lists == 0:
                _by_planes(postings, view, maps[:n_filled], planes, n_planes, best)
                continue
            _add_maps(postings.bitmaps, maps[:n_filled], planes, n_planes, counters)
            for i in lists[:n_lists]:
                for j in range(postings.starts[i], postings.starts[i + 1]):
                    counters[postings.rows[j]] += 1
            _by_counters(postings, view, counters, best)
    for q in range(len(query_starts) - 1):
        _raise_bar(best, q)
        for i in range(best.n_held[q], best.n):  # fewer rows than n: positions to be sorted last
            best.scores[q, i], best.ids[q, i] = -np.inf, -1


@njit(**_fast)
def _least(postings: Any, view: Any, best: Any) -> Any:
    """The least overlap with which a row of the block counts now; more than q has if none can."""
    metric, query, q, block, _ = view
    bar = best.bars[query]
    if bar == -np.inf:
        return 0
    fewest, most, lowest_id = postings.ranges[block]
    strictly = lowest_id > best.bar_ids[query]
    bound = _best_of_block(metric, q, fewest, most)
    if bound < bar or (strictly and bound == bar):
        return q + 1
    return _needed(metric, q, fewest, bar, strictly)


@njit(**_fast)
def _by_planes(postings: Any, view: Any, maps: Any, planes: Any, n_planes: int, best: Any) -> None:
    """Count a block whose lists are all bitmaps, and hold the rows that count."""
    metric, query, q, block, deleted = view
    n_words = postings.bitmaps.shape[1]
    first = block * n_words * 64
    end = min(first + n_words * 64, len(postings.ids))
    word = 0
    n_vectors = _TILE_VECTORS // 2 if best.bars[query] > -np.inf else 1
    while first + 64 * word < end:
        least = _least(postings, view, best)
        if least > q:
            return
        # without a bar every row counts, so that few are looked at at first
        n_vectors = min(_TILE_VECTORS, 2 * n_vectors, (n_words - word) // VECTOR_WORDS)
        _start_planes(planes, n_planes + 1, n_vectors, (1 << n_planes) - least)
        for i in range(0, len(maps), N_ADDED):
            add_bitmaps(postings.bitmaps, maps, i, word, n_vectors, planes, n_planes + 1)
        for w in range(n_vectors * VECTOR_WORDS):
            reached = planes[n_planes, w]
            if reached and best.n_held[query] + 64 > best.scores.shape[1]:
                _raise_bar(best, query)
            while reached:
                row = first + 64 * (word + w) + lowest_bit(reached)
                if row >= end:
                    break
                if not deleted[row]:
                    lowest = reached & (~reached + np.uint64(1))
                    overlap = least - (1 << n_planes)
                    for p in range(n_planes + 1):
                        if planes[p, w] & lowest:
                            overlap += 1 << p
                    value = score(metric, overlap, q, postings.sizes[row])
                    _offer(best, query, value, postings.ids[row])
                reached &= reached - np.uint64(1)
        word += n_vectors * VECTOR_WORDS


@njit(**_fast)
def _start_planes(planes: Any, n_planes: int, n_vectors: int, value: int) -> None:
    for p in range(n_planes):
        planes[p, : n_vectors * VECTOR_WORDS] = np.uint64(0) - np.uint64(value >> p & 1)


@njit(**_fast)
def _add_maps(bitmaps: Any, maps: Any, planes: Any, n_planes: int, counters: Any) -> None:
    """Set the counters of a block to what its bitmaps add up to."""
    n_words = bitmaps.shape[1]
    counters[: 64 * n_words] = 0
    if len(maps) == 0:
        return
    room = np.empty(64 * planes.shape[1], np.uint8)
    for word in range(0, n_words, planes.shape[1]):
        n_vectors = min(planes.shape[1], n_words - word) // VECTOR_WORDS
        _start_planes(planes, n_planes + 1, n_vectors, 0)
        for i in range(0, len(maps), N_ADDED):
            add_bitmaps(bitmaps, maps, i, word, n_vectors, planes, n_planes + 1)
        n_rows = 64 * n_vectors * VECTOR_WORDS
        part = counters[64 * word : 64 * word + n_rows]
        for octet in range(counters.itemsize):
            bytes_of_planes(planes, 8 * octet, n_vectors * VECTOR_WORDS, room)
            for i in range(n_rows):
                part[i] += room[i] << (8 * octet)


@njit(**_fast)
def _by_counters(postings: Any, view: Any, counters: Any, best: Any) -> None:
    """Hold the rows of a block whose counters say that they count."""
    metric, query, q, block, deleted = view
    first = block * postings.bitmaps.shape[1] * 64
    n_rows = min(postings.bitmaps.shape[1] * 64, len(postings.ids) - first)
    least = _least(postings, view, best)
    for i in range(n_rows):
        if counters[i] >= least and not deleted[first + i]:
            if best.n_held[query] == best.scores.shape[1]:
                _raise_bar(best, query)
                least = _least(postings, view, best)
            value = score(metric, counters[i], q, postings.sizes[first + i])
            _offer(best, query, value, postings.ids[first + i])
