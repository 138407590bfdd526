"""Bitmaps are added up as numpy adds bits."""

import numpy as np
import pytest

from shoestring.overlap.top_k import N_ADDED, TILE, add_bitmaps, empty_planes


def bits(words):
    """Words (..., W) to bits (..., 64 W)."""
    return np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_planes_hold_the_sums_of_bitmaps(share):
    rng = np.random.default_rng(0)
    truths = rng.random((40, 64 * 16)) < share
    bitmaps = np.packbits(truths, axis=1, bitorder="little").view(np.uint64)
    rows = rng.integers(0, 40, 3 * N_ADDED)
    planes, room = empty_planes(8)
    held = planes.reshape(8, TILE)
    held[3] = np.uint64((1 << 64) - 1)  # every sum starts at 8
    for first in range(0, len(rows), N_ADDED):
        add_bitmaps(bitmaps, rows[first : first + N_ADDED], 4, 12, planes, 7, room)
    sums = np.tensordot(1 << np.arange(8), bits(held), 1)
    np.testing.assert_array_equal(sums[:768], 8 + truths[rows].sum(axis=0)[256:1024])
    assert (sums[768:] == 8).all()  # nothing is written beyond
