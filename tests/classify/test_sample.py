"""The sample is that of the smallest hashes, in any order, from any batches, by any worker."""

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.classify.blobs import cuts

from shoestring.classify.sample import NO_LIMIT, Sample, row_hashes

KEYS = np.array([11, 22, 33], dtype=np.uint64)


def drawn(seed, n=80, n_different=40, d=3):
    """Rows, some of them equal, with labels and weights that are sums of halves: exact."""
    rng = np.random.default_rng(seed)
    rows, labels = rng.normal(size=(n_different, d)), rng.integers(3, size=n_different)
    which = rng.integers(n_different, size=n)
    return rows[which], labels[which], rng.integers(1, 9, n) / 2.0


def hashes(X, y, seed=0):
    return row_hashes(X, KEYS[y], seed)


def sampled(X, y, weights, size, parts=None):
    sample = Sample.none(size, X.shape[1], X.dtype)
    for rows in [np.arange(len(X))] if parts is None else parts:
        sample = sample.with_rows(hashes(X[rows], y[rows]), X[rows], y[rows], weights[rows])
    return sample


def taken(sample, X, y, weights):
    """Rows to be taken back of a sample: those below its limit."""
    return sampled(X, y, weights, len(X)).below(sample.limit)


def assert_same(a, b, *, limit=True):
    for field in fields(a):
        if limit or field.name != "limit":
            np.testing.assert_array_equal(
                getattr(a, field.name), getattr(b, field.name), err_msg=field.name
            )


def by_brute_force(X, y, weights, size):
    """Rows by content, as (hash, row, label, weight), those of the smallest hashes."""
    found = {}
    for h, x, label, weight in zip(hashes(X, y).tolist(), X, y.tolist(), weights, strict=True):
        _, _, total = found.get(h, (x, label, 0.0))
        found[h] = (x.tolist(), label, total + weight)
    return [(h, *found[h]) for h in sorted(found)[:size]]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_the_sample_has_the_rows_of_the_smallest_hashes(seed, size):
    X, y, weights = drawn(seed)
    found = sampled(X, y, weights, size)
    columns = (found.hashes, found.X, found.labels, found.weights)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    assert list(rows) == by_brute_force(X, y, weights, size)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 9))
def test_order_batches_and_merging_make_no_difference(seed, size, n_parts):
    X, y, weights = drawn(seed)
    rng = np.random.default_rng(seed)
    whole = sampled(X, y, weights, size)
    assert_same(sampled(X, y, weights, size, cuts(80, n_parts, rng)), whole)
    first, second = cuts(80, 2, rng)
    a = sampled(X, y, weights, size, [first])
    b = sampled(X, y, weights, size, [second])
    assert_same(a.merged(b), whole)
    assert_same(b.merged(a), whole)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(41, 100))
def test_without_is_the_inverse_of_with_rows_while_all_are_kept(seed, size):
    X, y, weights = drawn(seed)
    first, second = cuts(80, 2, np.random.default_rng(seed))
    both = sampled(X, y, weights, size, [first, second])
    back = both.without(taken(both, X[second], y[second], weights[second]))
    assert_same(back, sampled(X, y, weights, size, [first]))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_what_is_taken_back_is_gone_and_nothing_else(seed, size):
    X, y, weights = drawn(seed)
    first, second = cuts(80, 2, np.random.default_rng(seed))
    both = sampled(X, y, weights, size)
    back = both.without(taken(both, X[second], y[second], weights[second]))
    left = by_brute_force(X[first], y[first], weights[first], len(X))
    assert back.hashes.tolist() == [h for h, *_ in left if h < both.limit]
    assert back.limit == both.limit


def test_merged_samples_of_different_sizes_go_by_the_lower_limit():
    X, y, weights = drawn(0, 400, 300)
    small = sampled(X[:200], y[:200], weights[:200], 10)
    large = sampled(X[200:], y[200:], weights[200:], 100)
    for merged in (small.merged(large), large.merged(small)):
        rows = [h for h, *_ in by_brute_force(X, y, weights, 300) if h < merged.limit]
        assert merged.hashes.tolist() == rows
    assert small.merged(large).size == 10
    assert large.merged(small).limit == small.limit


def test_every_row_has_the_same_chance():
    X, y, weights = drawn(1, 1_000, 100_000)
    X[500:] *= 1e-3  # hashes do not see the size of numbers
    X[::2] = np.round(X[::2], 1)
    kept = np.isin(hashes(X, y), sampled(X, y, weights, 200).hashes)
    assert 60 < kept[:500].sum() < 140
    assert 60 < kept[::2].sum() < 140


def test_precision_and_the_sign_of_zero_do_not_change_a_hash():
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    X[::2, 1] = 0.0
    y = np.zeros(50, int)
    signed = X.copy()
    signed[::2, 1] = -0.0
    assert np.signbit(signed[0, 1])
    expected = hashes(X, y)
    for rows in (signed, X.astype(np.float64), signed.astype(np.float64), np.asfortranarray(X)):
        np.testing.assert_array_equal(hashes(rows, y), expected)


def test_hashes_depend_on_every_number_the_label_and_the_seed():
    rows = [np.array([row]) for row in ([1, 1, 1.0], [2, 1, 1.0], [1, 2, 1.0], [1, 1, 2.0])]
    rows.append(rows[0] + 1e-15)
    found = {int(hashes(row, [k], seed)[0]) for row in rows for k in (0, 1) for seed in (0, 1)}
    assert len(found) == len(rows) * 4


def test_many_rows_have_different_hashes():
    X = np.stack(np.meshgrid(np.arange(100.0), np.arange(100.0)), -1).reshape(-1, 2)
    assert len(np.unique(hashes(X, np.zeros(10_000, int)))) == 10_000


def test_a_sample_of_size_zero_keeps_nothing():
    X, y, weights = drawn(3)
    none = sampled(X, y, weights, 0)
    assert len(none) == 0
    some = sampled(X, y, weights, 10)
    assert len(some.merged(none)) == len(none.merged(some)) == 0


def test_a_new_sample_has_no_limit_until_it_is_full():
    X, y, weights = drawn(4, 40, 1_000)
    assert sampled(X, y, weights, 40).limit == NO_LIMIT
    full = sampled(X, y, weights, 39)
    assert full.limit == hashes(X, y).max()
    assert len(full) == 39


def test_rows_keep_their_precision_and_the_wider_wins():
    X, y, weights = drawn(7)
    narrow = X.astype(np.float32)
    assert sampled(narrow, y, weights, 10).X.dtype == np.float32
    mixed = sampled(narrow[:40], y[:40], weights[:40], 90)
    mixed = mixed.with_rows(hashes(X[40:], y[40:]), X[40:], y[40:], weights[40:])
    assert mixed.X.dtype == np.float64
