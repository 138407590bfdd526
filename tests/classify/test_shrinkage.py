"""The shrinkage without kept samples equals scikit-learn's, whatever the moments went through."""

from functools import reduce

import numpy as np
import pytest
from sklearn.covariance import oas as sklearn_oas
from tests.classify.blobs import blobs, cuts, moments

from shoestring.classify.moments import merged, moments_of, without
from shoestring.classify.solving import oas


def of_residuals(X, y):
    means = np.stack([X[y == c].mean(axis=0) for c in range(y.max() + 1)])
    return sklearn_oas(X - means[y], assume_centered=True)[1]


@pytest.mark.parametrize(("n", "d"), [(60, 2), (200, 8), (40, 30)])
def test_oas_equals_that_of_scikit_learn_on_the_residuals(n, d):
    X, y = blobs(n, d, offset=3.0)
    found = oas(moments(X, y))
    assert 0 < found < 1
    assert found == pytest.approx(of_residuals(X, y), rel=1e-10)


def test_oas_is_the_same_after_merging_and_forgetting():
    X, y = blobs(300, 6, offset=10.0)
    rows = cuts(300, 6, np.random.default_rng(0))
    parts = [moments_of(X[r], y[r], 3) for r in rows]
    extra = moments(*blobs(90, 6, apart=5.0, seed=1))
    sums = without(reduce(merged, [*parts[:3], extra, *parts[3:]]), extra)
    assert oas(sums) == pytest.approx(of_residuals(X, y), rel=1e-8)


def test_weights_count_as_repetitions_for_oas():
    X, y = blobs(80, 5)
    times = np.random.default_rng(0).integers(1, 4, 80)
    weighted = moments(X, y, times.astype(float))
    repeated = moments(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert oas(weighted) == pytest.approx(oas(repeated), rel=1e-10)


def test_oas_of_constant_features_is_in_its_range():
    for value in (0.0, 1.0):
        assert 0 <= oas(moments(np.full((6, 3), value), np.array([0, 1] * 3))) <= 1
