"""Adds up bitmaps: how many of m bitmaps have bit i set, for 64 bits i in each word.

The sums are held as planes: bit i of plane p is bit p of sum i. A carry-save adder takes three
words of one weight to a word of that weight and one of the next (Harley and Seal; Mula, Kurz &
Lemire, "Faster population counts using AVX2 instructions", arXiv 1611.07612, who count the bits of
one bitmap so):

    s = x ^ y ^ z,   c = (x & y) | ((x ^ y) & z)

Fifteen bitmaps go into four planes by eleven such adders, and the carry ripples through the planes
above. The loops run over words at fixed distances in one array, so that the compiler takes as many
at a time as a register holds: some ten instructions for a bitmap and 256 items, where a counter for
each item costs an addition in memory for each item that a posting list names.

Letters: P planes, W words of 64 bits in a bitmap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit

N_ADDED = 15  # bitmaps that one call adds
TILE = 128  # words of a plane: 8,192 items
_FIRST_PLANES = 4  # the planes that fifteen bitmaps reach before the carry
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
