"""Which windows there are, and the order that is computed and not stored."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.parallel import KernelPool
from shoestring.words.windows import Windows, order_keys

N_WORDS = 100


def corpus(lengths, seed=0):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rng = np.random.default_rng(seed)
    return rng.integers(-1, N_WORDS, size=offsets[-1], dtype=np.int32), offsets


def windows_by_slices(ids, offsets, width, max_length):
    """The published preprocessing, written down naively."""
    found = []
    for first, last in pairwise(offsets):
        sentence = ids[first:last]
        if width <= len(sentence) < max_length:
            for start in range(len(sentence) - width + 1):
                window = sentence[start : start + width].tolist()
                middle = window[width // 2]
                window[width // 2] = middle + N_WORDS if middle >= 0 else -1
                found.append(tuple(window))
    return found


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(0, 3))
def test_an_epoch_has_every_window_once_and_none_across_sentences(lengths, epoch):
    ids, offsets = corpus(lengths)
    expected = windows_by_slices(ids, offsets, width=5, max_length=20)
    windows = Windows(ids, offsets, N_WORDS, width=5, max_length=20)
    rows = windows.rows(0, windows.n_windows, order_keys(0, epoch))
    assert sorted(map(tuple, rows.tolist())) == sorted(expected)


def test_any_range_of_turns_and_any_pool_gives_the_same_windows():
    ids, offsets = corpus([25] * 40)
    windows = Windows(ids, offsets, N_WORDS, width=5, max_length=30)
    keys = order_keys(0, 0)
    whole = windows.rows(0, windows.n_windows, keys)
    pool = KernelPool(3)
    edges = [*range(0, len(whole), 77), len(whole)]
    pieces = [windows.rows(*turns, keys, pool) for turns in pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_the_order_is_another_one_each_epoch_and_for_each_seed():
    ids, offsets = corpus([25] * 40)
    windows = Windows(ids, offsets, N_WORDS, width=5, max_length=30)
    orders = {
        windows.rows(0, 50, order_keys(seed, epoch)).tobytes()
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize("n", [1_000, 4_097, 100_000])
def test_the_order_looks_random(n):
    """Neighbours in turn are far apart in the corpus, and every part of it comes at any time."""
    ids = np.arange(n, dtype=np.int32)
    windows = Windows(np.repeat(ids, 3), np.arange(0, 3 * n + 1, 3), n, width=3, max_length=4)
    order = windows.rows(0, n, order_keys(0, 0))[:, 0].astype(np.int64)
    turns = np.arange(n)
    cells = np.histogram2d(order, turns, bins=8)[0]
    assert ((cells - n / 64) ** 2 / (n / 64)).sum() < 110  # chi-square of 49 degrees, p < 1e-6
    for lag in (1, 2, 16):
        assert abs(np.corrcoef(order[lag:], order[:-lag])[0, 1]) < 5 / np.sqrt(n)


def test_memory_maps_are_read_where_they_are(tmp_path):
    ids, offsets = corpus([25] * 40)
    np.save(tmp_path / "ids.npy", ids)
    np.save(tmp_path / "offsets.npy", offsets)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("ids", "offsets")]
    keys = order_keys(0, 0)
    windows = Windows(ids, offsets, N_WORDS, width=5, max_length=30)
    same = Windows(*mapped, N_WORDS, width=5, max_length=30)
    assert np.array_equal(same.rows(0, 99, keys), windows.rows(0, 99, keys))
    assert np.shares_memory(same.ids, mapped[0])
