"""Shrinkages equal those of scikit-learn and of brute force, whatever the moments went through."""

import numpy as np
import pytest
from sklearn.covariance import oas as sklearn_oas
from tests.classify.blobs import blobs, moments

from shoestring.classify.analytic import Metric, shrunk
from shoestring.classify.shrinkage import PENALTIES, RULES, gcv, oas


def of_residuals(X, y):
    means = np.stack([X[y == c].mean(axis=0) for c in range(y.max() + 1)])
    return sklearn_oas(X - means[y], assume_centered=True)[1]


@pytest.mark.parametrize(("n", "d"), [(60, 2), (200, 8), (40, 30)])
def test_shrinkages_equal_those_of_scikit_learn_on_the_residuals(n, d):
    X, y = blobs(n, d, offset=3.0)
    found = oas(moments(X, y))
    assert 0 < found < 1
    assert found == pytest.approx(of_residuals(X, y), rel=1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_shrinkages_of_constant_features_are_in_their_range(rule):
    for value in (0.0, 1.0):
        sums = moments(np.full((6, 3), value), np.array([0, 1] * 3))
        assert 0 <= RULES[rule](sums) <= 1


def brute_force_scores(X, y, penalties):
    """N tr-residuals over (N - tr H)^2 with the hat matrix written out."""
    n = len(X)
    Z, Y = X - X.mean(axis=0), np.eye(y.max() + 1)[y]
    scores = []
    for penalty in penalties:
        hat = Z @ np.linalg.solve(Z.T @ Z + penalty * np.eye(X.shape[1]), Z.T) + 1 / n
        rest = Y - hat @ Y
        scores.append((rest**2).sum() / (n - np.trace(hat)) ** 2)
    return np.array(scores)


@pytest.mark.parametrize(("n", "d", "apart"), [(90, 5, 0.3), (60, 40, 0.5), (40, 60, 1.0)])
def test_the_penalty_of_gcv_equals_brute_force(n, d, apart):
    X, y = blobs(n, d, apart=apart)
    sums = moments(X, y)
    Z = X - X.mean(axis=0)
    penalties = (Z**2).sum() / d * PENALTIES
    best = penalties[brute_force_scores(X, y, penalties).argmin()]
    mu = np.trace(sums.covariance()) / d
    assert gcv(sums) == pytest.approx(best / n / (best / n + mu), rel=1e-9)


def test_the_shrinkage_of_gcv_is_its_penalty_in_the_directions_of_the_classes():
    """(1 - a) S + a mu I is S + (penalty / N) I but for a factor."""
    X, y = blobs(60, 20, apart=0.5)
    sums = moments(X, y)
    a = gcv(sums)
    mu = np.trace(sums.covariance()) / 20
    rows = np.eye(20)
    found = Metric.of(shrunk(sums.covariance(), a)).solve(rows) * (1 - a)
    penalised = sums.covariance() + a / (1 - a) * mu * np.eye(20)
    np.testing.assert_allclose(found, np.linalg.inv(penalised), rtol=1e-8, atol=1e-10)
