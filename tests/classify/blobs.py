"""What the tests of classifiers share: normal classes, cuts of samples, and comparisons."""

from dataclasses import fields

import numpy as np

from shoestring.classify.moments import moments_of


def blobs(n=200, d=4, c=3, apart=2.0, offset=0.0, seed=0):
    """Samples of normal classes of one covariance, every class as often: (n, d), (n,)."""
    rng = np.random.default_rng(seed)
    means, mixing = apart * rng.normal(size=(c, d)), rng.normal(size=(d, d)) / 2 + np.eye(d)
    labels = np.arange(n) % c
    return means[labels] + rng.normal(size=(n, d)) @ mixing + offset, labels


def cuts(n, n_parts, rng):
    """The numbers 0 to n - 1, shuffled and cut in parts that may be empty."""
    return np.split(rng.permutation(n), np.sort(rng.integers(0, n + 1, n_parts - 1)))


def moments(X, y, weights=None):
    return moments_of(X, y, int(y.max()) + 1, weights)


def assert_alike(found, expected, rtol=1e-10, scale=None):
    """All arrays of two moments, relative to the largest number of each."""
    for field in fields(expected):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        largest = np.abs(b if scale is None else getattr(scale, field.name)).max(initial=0.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * largest + 1e-300, err_msg=field.name)
