"""Samples left out in closed form equal layers fitted without them."""

import numpy as np
import pytest
from tests.classify.blobs import blobs, moments

from shoestring.classify.analytic import Metric, shrunk
from shoestring.classify.leave_one_out import left_out
from shoestring.classify.moments import moments_of
from shoestring.classify.sample import NO_LIMIT, Sample

PRIORS = np.array([0.2, 0.5, 0.3])
WEIGHTED = pytest.mark.parametrize("weighted", [False, True])
GIVEN = pytest.mark.parametrize("priors", [None, PRIORS], ids=["frequencies", "given"])


def drawn(weighted, n=60, d=6):
    X, y = blobs(n, d, apart=0.6)
    weights = np.random.default_rng(1).uniform(0.3, 3.0, n) if weighted else np.ones(n)
    return X, y, weights


def in_closed_form(X, y, weights, priors, shrinkage, sizes):
    sums = moments(X, y, weights)
    metric = Metric.of(shrunk(sums.covariance(), shrinkage))
    log_priors = None if priors is None else np.log(priors)
    white, centres = metric.whiten(X), metric.whiten(sums.means)
    sample = Sample(len(X), NO_LIMIT, np.arange(len(X)), white, y, weights)
    return list(left_out(sample, centres, sums, log_priors, shrinkage, sizes))


def refitted(X, y, weights, priors, shrinkage, size, level=None):
    """Distances and logits of each sample by a covariance that was fitted without it.

    ``level`` is what the shrunk covariance goes to, by default its own mean variance.
    """
    distances, logits = [], []
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        sums = moments_of(X[rest], y[rest], 3, weights[rest])
        whole = sums.covariance()
        mu = np.trace(whole) / len(whole) if level is None else level * weights.sum() / sums.total
        covariance = (1 - shrinkage) * whole + shrinkage * mu * np.eye(len(whole))
        apart = (X[i] - sums.means)[:, :size]
        far = np.einsum("cd,cd->c", apart, np.linalg.solve(covariance[:size, :size], apart.T).T)
        distances.append(far)
        logits.append(np.log(sums.weights if priors is None else priors) - far / 2)
    return np.array(distances), np.array(logits)


@WEIGHTED
@GIVEN
def test_samples_left_out_equal_refitting_without_each(weighted, priors):
    X, y, weights = drawn(weighted)
    sizes = (2, 3, 6)
    for size, found in zip(sizes, in_closed_form(X, y, weights, priors, 0.0, sizes), strict=True):
        distances, logits = refitted(X, y, weights, priors, 0.0, size)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.logits, logits, rtol=1e-8, atol=1e-8)
        assert found.sound


@WEIGHTED
@GIVEN
@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 0.9])
def test_with_shrinkage_only_the_level_of_its_target_is_that_of_all_samples(
    weighted, priors, shrinkage
):
    X, y, weights = drawn(weighted)
    level = np.trace(moments(X, y, weights).covariance()) / X.shape[1]
    sizes = (3, 6)
    for size, found in zip(
        sizes, in_closed_form(X, y, weights, priors, shrinkage, sizes), strict=True
    ):
        distances, logits = refitted(X, y, weights, priors, shrinkage, size, level)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.logits, logits, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 0.9])
def test_with_shrinkage_refitting_is_that_close(shrinkage):
    X, y, weights = drawn(weighted=False, n=300)
    (found,) = in_closed_form(X, y, weights, None, shrinkage, (6,))
    distances, _ = refitted(X, y, weights, None, shrinkage, 6)
    np.testing.assert_allclose(found.distances, distances, rtol=0.06)
    assert np.abs(found.distances / distances - 1).mean() < 0.01


def test_a_sample_that_alone_makes_up_a_direction_is_not_sound():
    X, y, weights = drawn(weighted=False, n=40, d=3)
    odd = np.c_[X, np.zeros(40)]
    odd[7, 3] = 2.0
    first, whole = in_closed_form(odd, y, weights, None, 0.0, (3, 4))
    assert first.sound
    assert not whole.sound
    assert np.isfinite(whole.logits).all()
    (shrunk_to,) = in_closed_form(odd, y, weights, None, 0.1, (4,))
    assert shrunk_to.sound
