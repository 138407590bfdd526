"""Moments merge and are taken back exactly, and what cannot be taken back is refused."""

from dataclasses import fields
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.classify.blobs import assert_alike, blobs, cuts, moments

from shoestring.classify.moments import Moments, merged, moments_of, without
from shoestring.errors import ParameterError


def drawn(seed, n, c=3, d=3, *, weighted=True):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * [1.0, 30.0, 1e-3] + [0.0, 500.0, 1.0]
    return X, rng.integers(c, size=n), rng.uniform(0.1, 5.0, n) if weighted else None


def of_rows(X, y, weights, rows, c=3):
    part = None if weights is None else weights[rows]
    return moments_of(X[rows], y[rows], c, part)


def scalar_moments(X, y, weights, c):
    """The definitions, one sample at a time."""
    d = X.shape[1]
    found = Moments.none(c, d)
    for k in range(c):
        rows, w = X[y == k], weights[y == k]
        found.sizes[k], found.weights[k] = len(rows), w.sum()
        if len(rows):
            found.means[k] = w @ rows / w.sum()
        for x, weight in zip(rows, w, strict=True):
            z = x - found.means[k]
            found.scatter[:] += weight * np.outer(z, z)
    return found


def copies(*sums):
    return [[np.copy(getattr(s, f.name)) for f in fields(s)] for s in sums]


def test_moments_of_a_block_equal_their_definitions():
    X, y, weights = drawn(0, 60)
    assert_alike(of_rows(X, y, weights, np.arange(60)), scalar_moments(X, y, weights, 3))


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 8), st.booleans())
def test_merged_moments_equal_one_pass_for_any_order_and_partition(seed, n, n_parts, weighted):
    X, y, weights = drawn(seed, n, weighted=weighted)
    rng = np.random.default_rng(seed)
    parts = [of_rows(X, y, weights, rows) for rows in cuts(n, n_parts, rng)]
    whole = of_rows(X, y, weights, np.arange(n))
    # a class of few samples far from zero has sums that cancel: relative to those of all
    spread = of_rows(*drawn(seed, 200), np.arange(200))
    assert_alike(reduce(merged, parts), whole, 1e-9, scale=spread)
    half = len(parts) // 2 or 1
    left = reduce(merged, parts[:half])
    right = reduce(merged, parts[half:], Moments.none(3, 3))
    assert_alike(merged(right, left), whole, 1e-9, scale=spread)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 60), st.booleans())
def test_without_is_the_inverse_of_merged(seed, n, weighted):
    X, y, weights = drawn(seed, n, weighted=weighted)
    first, second = cuts(n, 2, np.random.default_rng(seed))
    a, b = (of_rows(X, y, weights, rows) for rows in (first, second))
    spread = of_rows(*drawn(seed, 200), np.arange(200))
    assert_alike(without(merged(a, b), b), a, 1e-8, scale=spread)


def test_moments_merge_with_those_of_nothing():
    X, y, weights = drawn(1, 40)
    whole = of_rows(X, y, weights, np.arange(40))
    nothing = of_rows(X, y, weights, np.arange(0))
    assert_alike(nothing, Moments.none(3, 3))
    assert_alike(merged(whole, nothing), whole, 0)
    assert_alike(merged(nothing, whole), whole, 1e-15)
    assert_alike(without(whole, nothing), whole, 0)
    assert_alike(without(whole, whole), nothing, 0)


def test_a_class_without_samples_has_zeros_and_does_no_harm():
    X, y, _ = drawn(2, 50, c=2, weighted=False)
    two = moments_of(X, y, 2)
    four = moments_of(X, 2 * y, 4)
    assert four.sizes[[1, 3]].tolist() == [0, 0]
    assert not four.means[[1, 3]].any()
    assert_alike(four.with_classes(np.array([0, 2, 1, 2]), 2), two, 0)
    twice = merged(four, four)
    assert not twice.means[[1, 3]].any()
    assert_alike(without(twice, four), four, 1e-12)


@pytest.mark.parametrize("offset", [1e6, 1e7, 1e8])
def test_far_from_zero_means_and_scatter_equal_two_passes_in_extended_precision(offset):
    X, y = blobs(3_000, d=5, offset=offset)
    wide = X.astype(np.longdouble)
    expected = sum(
        (wide[y == c] - wide[y == c].mean(axis=0)).T @ (wide[y == c] - wide[y == c].mean(axis=0))
        for c in range(3)
    )
    parts = [moments_of(X[i::7], y[i::7], 3) for i in range(7)]
    tolerance = 1e-9 * float(expected.max())
    for found in (moments(X, y), reduce(merged, parts)):
        np.testing.assert_allclose(found.scatter, expected.astype(float), rtol=0, atol=tolerance)
    means = [wide[y == c].mean(axis=0).astype(float) for c in range(3)]
    np.testing.assert_allclose(moments(X, y).means, means, rtol=0, atol=0.75 * np.spacing(offset))
    back = without(reduce(merged, parts), parts[3])
    rest = np.arange(len(X)) % 7 != 3
    np.testing.assert_allclose(
        back.scatter, moments(X[rest], y[rest]).scatter, rtol=0, atol=10 * tolerance
    )


def test_moments_about_different_points_are_merged_and_taken_back():
    X, y = blobs(120, offset=1e6)
    shifts = [np.full(4, 1e6), None, X[0].astype(np.float32).astype(float)]
    parts = [moments_of(X[i::3], y[i::3], 3, shift=shift) for i, shift in enumerate(shifts)]
    rows = np.arange(120) % 3
    for first, second in ((0, 1), (1, 2), (2, 0)):
        both = merged(parts[first], parts[second])
        kept = (rows == first) | (rows == second)
        expected = moments_of(X[kept], y[kept], 3, shift=shifts[first])
        assert_alike(both, expected, 1e-8)
        assert_alike(without(both, parts[second]), parts[first], 1e-7)


def test_float32_samples_are_added_up_in_float64():
    X, y = blobs(4_000, offset=100.0)
    narrow = X.astype(np.float32)
    assert_alike(moments(narrow, y), moments(narrow.astype(np.float64), y), 1e-15)


def assert_refused(whole, part, why, error=ParameterError):
    before = copies(whole, part)
    with pytest.raises(error, match=why):
        without(whole, part)
    for old, new in zip(before, copies(whole, part), strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)


CANNOT_BE_TAKEN_BACK = {
    "fewer samples than none": lambda X, y, ones: (X[[0, 0, 0]], y[[0, 0, 0]], None),
    "fewer samples than none, by weight": lambda X, y, ones: (X[:1], y[:1], 2 * ones[:1]),
    "be empty, more weight": lambda X, y, ones: (X[:2], y[:2], 40 * ones[:2]),
    "less scatter than none": lambda X, y, ones: (X[1:2] + 10, y[1:2], None),
    "be empty, less weight": lambda X, y, ones: (X[2:], y[2:], ones[2:] / 2),
    "be empty, other samples": lambda X, y, ones: (X[2:] + 0.5, y[2:], None),
}


@pytest.mark.parametrize(("why", "part"), CANNOT_BE_TAKEN_BACK.items(), ids=CANNOT_BE_TAKEN_BACK)
def test_what_cannot_have_been_there_is_not_taken_back(why, part):
    X, y = drawn(4, 6)[0], np.array([0, 0, 1, 1, 1, 1])
    X, y, weights = part(X, y, np.ones(6))
    whole = moments_of(drawn(4, 6)[0], np.array([0, 0, 1, 1, 1, 1]), 2)
    assert_refused(whole, moments_of(X, y, 2, weights), why.split(",")[0])


def test_classes_that_moved_are_those_of_moved_labels():
    X, y, _ = drawn(7, 40, weighted=False)
    places = np.array([4, 0, 2])
    moved = of_rows(X, y, None, np.arange(40)).with_classes(places, 5)
    assert_alike(moved, moments_of(X, places[y], 5), 1e-12)
    back = moved.with_classes(np.array([1, 3, 2, 3, 0]), 3)
    assert_alike(back, of_rows(X, y, None, np.arange(40)), 0)


def test_moments_of_the_first_features_are_those_of_fewer_columns():
    X, y = blobs(50, d=6)
    assert_alike(moments(X, y).of_features(2), moments(X[:, :2], y), 1e-12)
