"""Shrinkages equal those of scikit-learn and of brute force, whatever the moments went through."""

from functools import reduce

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf
from sklearn.covariance import oas as sklearn_oas
from tests.classify.blobs import blobs, cuts, moments

from shoestring.classify import AnalyticSoftmax
from shoestring.classify.analytic import Metric, shrunk
from shoestring.classify.moments import merged, moments_of, without
from shoestring.classify.shrinkage import PENALTIES, RULES, gcv, ledoit_wolf, oas
from shoestring.errors import ParameterError

OURS = {"oas": oas, "ledoit-wolf": ledoit_wolf}
THEIRS = {"oas": sklearn_oas, "ledoit-wolf": sklearn_ledoit_wolf}
EACH = pytest.mark.parametrize("rule", OURS)


def of_residuals(rule, X, y):
    means = np.stack([X[y == c].mean(axis=0) for c in range(y.max() + 1)])
    return THEIRS[rule](X - means[y], assume_centered=True)[1]


@EACH
@pytest.mark.parametrize(("n", "d"), [(60, 2), (200, 8), (40, 30)])
def test_shrinkages_equal_those_of_scikit_learn_on_the_residuals(rule, n, d):
    X, y = blobs(n, d, offset=3.0)
    found = OURS[rule](moments(X, y, per_class=True))
    assert 0 < found < 1
    assert found == pytest.approx(of_residuals(rule, X, y), rel=1e-10)


@EACH
def test_shrinkages_are_the_same_after_merging_and_forgetting(rule):
    X, y = blobs(300, 6, offset=10.0)
    rows = cuts(300, 6, np.random.default_rng(0))
    parts = [moments_of(X[r], y[r], 3, per_class=True) for r in rows]
    extra = moments(*blobs(90, 6, apart=5.0, seed=1), per_class=True)
    sums = without(reduce(merged, [*parts[:3], extra, *parts[3:]]), extra)
    assert OURS[rule](sums) == pytest.approx(of_residuals(rule, X, y), rel=1e-8)


@EACH
def test_weights_count_as_repetitions_for_shrinkages(rule):
    X, y = blobs(80, 5)
    times = np.random.default_rng(0).integers(1, 4, 80)
    weighted = moments(X, y, times.astype(float), per_class=True)
    repeated = moments(np.repeat(X, times, axis=0), np.repeat(y, times), per_class=True)
    assert OURS[rule](weighted) == pytest.approx(OURS[rule](repeated), rel=1e-10)


def test_ledoit_and_wolf_need_the_sums_of_each_class():
    clf = AnalyticSoftmax("ledoit-wolf").fit(*blobs(50))
    with pytest.raises(ParameterError, match=r"Got 'ledoit-wolf'.*Fit with class_scatters=True"):
        clf.predict(np.ones((1, 4)))


@pytest.mark.parametrize("rule", RULES)
def test_shrinkages_of_constant_features_are_in_their_range(rule):
    for value in (0.0, 1.0):
        sums = moments(np.full((6, 3), value), np.array([0, 1] * 3), per_class=True)
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
