"""Random features: the first of many are a smaller expansion."""

import numpy as np
import pytest

from shoestring.classify.expansion import drawn, expanded


def rows(n=30, d=5, dtype=np.float64):
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


@pytest.mark.parametrize("n_random", [0, 1, 7, 12])
def test_the_first_random_features_are_a_smaller_expansion(n_random):
    X, large = rows(), drawn(5, 12, seed=3)
    small = drawn(5, n_random, seed=3)
    np.testing.assert_array_equal(small, large[:, :n_random])
    expected = expanded(X, large)[:, : 5 + n_random]
    np.testing.assert_allclose(expanded(X, small), expected, atol=1e-14)


def test_the_definition():
    X, directions = rows(), drawn(5, 8)
    found = expanded(X, directions)
    np.testing.assert_array_equal(found[:, :5], X)
    np.testing.assert_allclose(found[:, 5:], (X @ directions).clip(0), atol=1e-12)


def test_the_seed_decides():
    a, b, other = (drawn(5, 8, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != other).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_keep_their_precision(dtype):
    X = rows(dtype=dtype)
    found = expanded(X, drawn(5, 8))
    assert found.dtype == dtype
    wide = expanded(X.astype(np.float64), drawn(5, 8))
    np.testing.assert_allclose(found, wide, rtol=1e-4, atol=1e-5)
