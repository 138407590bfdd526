"""Random features: the first of many are a smaller expansion, and Fourier's are a kernel."""

import numpy as np
import pytest

from shoestring.classify.expansion import KINDS, Expansion

EACH = pytest.mark.parametrize("kind", KINDS)


def rows(n=30, d=5, dtype=np.float64):
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


@EACH
@pytest.mark.parametrize("n_random", [0, 1, 7, 12])
def test_the_first_random_features_are_a_smaller_expansion(kind, n_random):
    X = rows()
    large = Expansion.drawn(kind, 5, 12, seed=3)
    expected = large.of(X)[:, : 5 + n_random]
    np.testing.assert_allclose(large.of(X, n_random), expected, atol=1e-14)
    drawn = Expansion.drawn(kind, 5, n_random, seed=3)
    np.testing.assert_array_equal(drawn.directions, large.directions[:, :n_random])


@EACH
def test_the_definitions(kind):
    X, drawn = rows(), Expansion.drawn(kind, 5, 8)
    projected = X @ drawn.directions
    defined = {"relu": projected.clip(0), "fourier": np.cos(projected + drawn.phases)}
    np.testing.assert_array_equal(drawn.of(X)[:, :5], X)
    np.testing.assert_allclose(drawn.of(X)[:, 5:], defined[kind], atol=1e-12)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_fourier_features_have_the_gaussian_kernel(scale):
    X = scale * rows(20)
    n_random = 40_000
    random = Expansion.drawn("fourier", 5, n_random).of(X)[:, 5:]
    kernel = np.exp(-((X[:, None] - X[None]) ** 2).sum(axis=2) / 2)
    np.testing.assert_allclose(2 / n_random * random @ random.T, kernel, atol=0.03)


@EACH
def test_the_seed_decides(kind):
    a, b, other = (Expansion.drawn(kind, 5, 8, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.of(rows()), b.of(rows()))
    assert (a.directions != other.directions).all()


@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_keep_their_precision(kind, dtype):
    X = rows(dtype=dtype)
    expanded = Expansion.drawn(kind, 5, 8).of(X)
    assert expanded.dtype == dtype
    wide = Expansion.drawn(kind, 5, 8).of(X.astype(np.float64))
    np.testing.assert_allclose(expanded, wide, rtol=1e-4, atol=1e-5)
