"""Random features: the first of many are a smaller expansion."""

import numpy as np
import pytest

from shoestring.classify.state import State


def expanding(n_random, seed=0, dtype=np.float64):
    settings = {"expansion": "relu", "n_random": n_random, "random_state": seed, "sample_size": 0}
    return State.new(5, np.dtype(dtype), settings)


def rows(n=30, d=5, dtype=np.float64):
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


@pytest.mark.parametrize("n_random", [0, 1, 7, 12])
def test_the_first_random_features_are_a_smaller_expansion(n_random):
    X, large, small = rows(), expanding(12, seed=3), expanding(n_random, seed=3)
    np.testing.assert_array_equal(small.directions, large.directions[:, :n_random])
    expected = large.expanded(X)[:, : 5 + n_random]
    for found in (small.expanded(X), large.expanded(X, 5 + n_random)):
        np.testing.assert_allclose(found, expected, atol=1e-14)


def test_the_definition():
    X, state = rows(), expanding(8)
    found = state.expanded(X)
    np.testing.assert_array_equal(found[:, :5], X)
    np.testing.assert_allclose(found[:, 5:], (X @ state.directions).clip(0), atol=1e-12)


def test_the_seed_decides():
    a, b, other = (expanding(8, seed=s).directions for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != other).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_keep_their_precision(dtype):
    X = rows(dtype=dtype)
    found = expanding(8).expanded(X)
    assert found.dtype == dtype
    wide = expanding(8).expanded(X.astype(np.float64))
    np.testing.assert_allclose(found, wide, rtol=1e-4, atol=1e-5)
