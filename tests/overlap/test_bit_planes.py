"""Bitmaps are added up as numpy adds bits."""

import numpy as np
import pytest
from numba import njit

from shoestring.overlap.bit_planes import (
    N_ADDED,
    add_bitmaps,
    bytes_of_planes,
    lowest_bit,
)


@njit
def add_all(bitmaps, rows, word, n_vectors, planes, n_planes):
    for first in range(0, len(rows), N_ADDED):
        add_bitmaps(bitmaps, rows, first, word, n_vectors, planes, n_planes)


@njit
def place(word):
    return lowest_bit(word)


def bits(words):
    """Words (..., W) to bits (..., 64 W)."""
    return np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_planes_hold_the_sums_of_bitmaps(share):
    rng = np.random.default_rng(0)
    truths = rng.random((40, 64 * 16)) < share
    bitmaps = np.packbits(truths, axis=1, bitorder="little").view(np.uint64)
    rows = rng.integers(0, 40, 3 * N_ADDED)
    planes = np.zeros((8, 16), np.uint64)
    planes[3] = np.uint64((1 << 64) - 1)  # every sum starts at 8
    add_all(bitmaps, rows, 4, 3, planes, 7)
    sums = 8 + truths[rows].sum(axis=0)[256:1024]
    held = bits(planes)
    np.testing.assert_array_equal(np.tensordot(1 << np.arange(8), held[:, :768], 1), sums)
    assert (held[:, 768:].sum(axis=0) == 1).all()  # nothing is written beyond
    out = np.zeros(64 * 12, np.uint8)
    bytes_of_planes(planes, 0, 12, out)
    np.testing.assert_array_equal(out, sums)


def test_places_of_the_lowest_bits():
    for word in (1, 1 << 63, 0b1011000, (1 << 64) - 1):
        assert place(np.uint64(word)) == (word & -word).bit_length() - 1
