"""The closed form equals scikit-learn's discriminants, in any units, with any rank."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from tests.classify.blobs import blobs, moments

from shoestring.classify.analytic import (
    Metric,
    checked_priors,
    layer_of,
    shrunk,
    total_scatter,
)
from shoestring.errors import ParameterError

POWERS = 10.0 ** np.linspace(-4, 4, 13)


def digits():
    X, y = load_digits(return_X_y=True)
    return X[:, X.std(axis=0) > 1], y


DATA = {
    "iris": lambda: load_iris(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "digits": digits,
    "two": lambda: blobs(100, c=2),
    "many": lambda: blobs(3_000, d=20, c=40),
}
EVERY = pytest.mark.parametrize("name", DATA)


def solved(sums, priors, shrinkage=0.0):
    return layer_of(sums, Metric.of(shrunk(sums.covariance(), shrinkage)), priors)


def of_frequencies(X, y, shrinkage=0.0):
    sums = moments(X, y)
    return solved(sums, sums.weights, shrinkage)


def lda(X, y, **settings):
    """Coefficients and intercepts (C, D), (C,); for two classes, scikit-learn has differences."""
    fitted = LinearDiscriminantAnalysis(solver="lsqr", **settings).fit(X, y)
    return fitted.coef_, fitted.intercept_


def assert_close(layer, expected, rtol=1e-9):
    coef, intercept = layer.coef, layer.intercept
    if len(coef) == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    for found, wanted in zip((coef, intercept), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=rtol * np.abs(wanted).max())


def in_extended_precision(X, y):
    """The formula, with means and scatter in extended precision and a refined solution."""
    wide = X.astype(np.longdouble)
    means = np.stack([wide[y == c].mean(axis=0) for c in range(y.max() + 1)])
    scale = X.std(axis=0).astype(np.longdouble)
    centred, means = (wide - means[y]) / scale, means / scale
    covariance = centred.T @ centred / len(X)
    inverse = np.linalg.inv(covariance.astype(float)).astype(np.longdouble)
    coef = means @ inverse
    for _ in range(20):
        coef += (means - coef @ covariance) @ inverse
    log_p = np.log(np.bincount(y) / np.longdouble(len(y)))
    intercept = log_p - (coef * means).sum(axis=1) / 2
    return (coef / scale).astype(float), intercept.astype(float)


@EVERY
def test_the_layer_equals_discriminants_by_least_squares(name):
    X, y = DATA[name]()
    assert_close(of_frequencies(X, y), lda(X, y))


@EVERY
def test_given_priors_move_the_intercepts_alone(name):
    X, y = DATA[name]()
    sums = moments(X, y)
    priors = np.random.default_rng(0).uniform(0.5, 2, y.max() + 1)
    layer, frequent = solved(sums, priors), of_frequencies(X, y)
    np.testing.assert_array_equal(layer.coef, frequent.coef)
    moved = np.log(priors / priors.sum()) - np.log(sums.weights / sums.total)
    np.testing.assert_allclose(layer.intercept - frequent.intercept, moved, atol=1e-8)


def of_equal_spread():
    """Classes whose features have variance 1 within each, and one covariance."""
    X, y = blobs(90, d=3)
    for c in range(3):
        centred = X[y == c] - X[y == c].mean(axis=0)
        values, vectors = np.linalg.eigh(centred.T @ centred / 30)
        mixing = np.linalg.cholesky([[1, 0.5, 0.2], [0.5, 1, 0.1], [0.2, 0.1, 1]])
        X[y == c] = centred @ vectors / np.sqrt(values) @ mixing.T + [c, -c, c * c]
    return X, y


def test_given_priors_are_those_of_scikit_learn_where_classes_have_one_covariance():
    """Where they have not, scikit-learn weighs their covariances by the given priors too."""
    X, y = of_equal_spread()
    priors = np.array([0.2, 0.5, 0.3])
    assert_close(solved(moments(X, y), priors), lda(X, y, priors=priors))


@EVERY
def test_a_shrunk_layer_equals_discriminants_of_the_shrunk_pooled_covariance(name):
    X, y = DATA[name]()
    means = np.stack([X[y == c].mean(axis=0) for c in range(y.max() + 1)])
    covariance = (X - means[y]).T @ (X - means[y]) / len(X)
    a, d = 0.3, X.shape[1]
    target = (1 - a) * covariance + a * np.trace(covariance) / d * np.eye(d)
    coef = np.linalg.solve(target, means.T).T
    intercept = np.log(np.bincount(y) / len(y)) - (coef * means).sum(axis=1) / 2
    layer = of_frequencies(X, y, a)
    for found, wanted in ((layer.coef, coef), (layer.intercept, intercept)):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


def test_features_of_any_scale_are_as_exact():
    X, y = blobs(500, d=13)
    X *= POWERS
    layer, (coef, intercept) = of_frequencies(X, y), in_extended_precision(X, y)
    np.testing.assert_allclose(layer.coef * POWERS, coef * POWERS, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(layer.intercept, intercept, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_features_far_from_zero_are_as_exact(offset):
    X, y = blobs(500, d=6, offset=offset)
    assert_close(of_frequencies(X, y), in_extended_precision(X, y))


@pytest.mark.parametrize("factor", [1e-6, 2.54, 1e5])
def test_another_unit_of_a_feature_changes_its_weights_alone(factor):
    X, y = blobs(200)
    before = of_frequencies(X, y)
    units = np.array([1, 1, factor, 1])
    after = of_frequencies(X * units, y)
    np.testing.assert_allclose(after.coef * units, before.coef, rtol=1e-10)
    np.testing.assert_allclose(after.intercept, before.intercept, rtol=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e8 / 3])
def test_a_constant_feature_has_no_weight(value):
    X, y = blobs(199)
    layer = of_frequencies(np.c_[X, np.full(len(X), value)], y)
    assert not layer.coef[:, -1].any()
    expected = of_frequencies(X, y)
    np.testing.assert_allclose(layer.coef[:, :-1], expected.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer.intercept, expected.intercept, rtol=1e-9)


def test_a_feature_that_is_there_twice_shares_its_weight():
    X, y = blobs(300)
    layer = of_frequencies(X[:, [0, 1, 2, 3, 3]], y)
    expected = of_frequencies(X, y)
    np.testing.assert_allclose(layer.coef[:, 3] + layer.coef[:, 4], expected.coef[:, 3], rtol=1e-8)
    np.testing.assert_allclose(layer.coef[:, 3], layer.coef[:, 4], rtol=1e-8)
    np.testing.assert_allclose(layer.intercept, expected.intercept, rtol=1e-8)


def test_more_features_than_samples_are_told_apart():
    X, y = blobs(30, d=100, apart=3.0)
    sums = moments(X, y)
    assert Metric.of(sums.covariance()).factor.shape[1] == 27
    assert np.isfinite(solved(sums, sums.weights).coef).all()
    for shrinkage in (0.0, 0.1):
        chosen = of_frequencies(X, y, shrinkage).logits(X).argmax(axis=1)
        np.testing.assert_array_equal(chosen, y)


@pytest.mark.parametrize("columns", [[0, 1, 2, 3], [0, 1, 2, 3, 0]])
def test_whitened_rows_have_the_length_of_the_inverse_covariance(columns):
    X, y = blobs(100)
    covariance = moments(X[:, columns], y).covariance()
    metric = Metric.of(covariance)
    white, inverse = metric.whiten(X[:, columns]), np.linalg.pinv(covariance, hermitian=True)
    assert white.shape == (100, 4)
    expected = np.einsum("nd,de,ne->n", X[:, columns], inverse, X[:, columns])
    if metric.is_full:
        np.testing.assert_allclose((white**2).sum(axis=1), expected, rtol=1e-9)
        np.testing.assert_allclose(metric.solve(X), X @ inverse, rtol=1e-9, atol=1e-9)
    else:  # equal columns have equal scales, but others have not: another pseudo-inverse
        smaller = Metric.of(moments(X, y).covariance()).whiten(X)
        np.testing.assert_allclose((white**2).sum(axis=1), (smaller**2).sum(axis=1), rtol=1e-8)


def test_the_total_scatter_is_that_about_the_mean_of_all():
    X, y = blobs(100, offset=7.0)
    weights = np.random.default_rng(0).uniform(0.5, 2, 100)
    scatter, mean = total_scatter(moments(X, y, weights))
    np.testing.assert_allclose(mean, weights @ X / weights.sum())
    np.testing.assert_allclose(scatter, ((X - mean).T * weights) @ (X - mean))


def test_priors_of_every_form():
    classes, weights = np.array(["a", "b"]), np.array([3.0, 5.0])
    assert checked_priors(None, classes, weights).tolist() == [3, 5]
    assert checked_priors("uniform", classes, weights).tolist() == [1, 1]
    assert checked_priors({"b": 2, "a": 0.5, "z": 9}, classes, weights).tolist() == [0.5, 2]


@pytest.mark.parametrize(
    "priors",
    ["even", [1, 2], 3, {}, *({"a": 1, "b": bad} for bad in (0, -1, np.nan, np.inf, "x", [2]))],
)
def test_priors_that_cannot_be_are_refused(priors):
    with pytest.raises(ParameterError, match="'priors'"):
        checked_priors(priors, np.array(["a", "b"]), np.ones(2))


def test_a_class_without_prior_is_named():
    with pytest.raises(ParameterError, match=r"above 0 for class 'b'\. Got None"):
        checked_priors({"a": 1.0}, np.array(["a", "b"]), np.ones(2))
