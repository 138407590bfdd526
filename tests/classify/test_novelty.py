"""Samples of no known class are None, and of the known ones as many as was asked for."""

import numpy as np
import pytest
from tests.classify.blobs import blobs, moments

from shoestring.classify import AnalyticSoftmax
from shoestring.errors import NotFittedError, ParameterError

KNOWN = pytest.mark.parametrize("skewed", [False, True], ids=["normal", "far from normal"])


def drawn(skewed, n=5_000, d=6):
    """Samples to learn and as many fresh ones of the same classes."""
    X, y = blobs(2 * n, d, apart=2.0)
    if skewed:
        X = X + np.random.default_rng(1).standard_t(3, size=X.shape)
    return X[:n], y[:n], X[n:]


def share_of_none(answers):
    return np.mean([answer is None for answer in answers])


@KNOWN
@pytest.mark.parametrize("reject_at", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("shrinkage", ["auto", 0.2])
def test_as_many_known_samples_are_rejected_as_was_asked_for(skewed, reject_at, shrinkage):
    X, y, fresh = drawn(skewed)
    clf = AnalyticSoftmax(shrinkage).fit(X, y)
    found = share_of_none(clf.predict(fresh, reject_at=reject_at))
    assert found == pytest.approx(reject_at, abs=0.015 + 0.1 * reject_at)


def test_few_samples_of_many_features_are_rejected_as_often():
    """What was learned lies nearer than what was not: only samples left out tell."""
    X, y, fresh = drawn(False, n=120, d=60)
    clf = AnalyticSoftmax(0.05).fit(X, y)
    assert share_of_none(clf.predict(fresh, reject_at=0.1)) < 0.25
    assert (clf.novelty_score(X) > clf.novelty_threshold(0.1)).mean() < 0.02


@KNOWN
def test_what_lies_far_from_every_class_is_none(skewed):
    X, y, fresh = drawn(skewed)
    clf = AnalyticSoftmax().fit(X, y)
    answers = clf.predict(np.r_[fresh[:1] + 1e3, X.mean(axis=0)[None] - 500], reject_at=0.01)
    assert answers.tolist() == [None, None]


@pytest.mark.parametrize("names", [[3, 1, 2], ["x", "yy", "z"], [False, True, True]])
def test_what_is_not_rejected_is_predicted_as_without(names):
    X, y, fresh = drawn(False, n=300)
    clf = AnalyticSoftmax().fit(X, np.array(names)[y])
    answers, plain = clf.predict(fresh, reject_at=0.2), clf.predict(fresh)
    assert answers.dtype == object
    known = np.array([answer is not None for answer in answers])
    assert 0 < known.sum() < len(known)
    assert answers[known].tolist() == plain[known].tolist()
    np.testing.assert_array_equal(~known, clf.novelty_score(fresh) > clf.novelty_threshold(0.2))


def by_definition(X, y, fresh):
    """The squared distance to the nearest mean less that to the mean of all."""
    sums = moments(X, y)
    within, total = np.linalg.inv(sums.covariance()), np.linalg.inv(np.cov(X.T, ddof=0))
    apart, middle = fresh[:, None] - sums.means, fresh - X.mean(axis=0)
    near = np.einsum("ncd,de,nce->nc", apart, within, apart).min(axis=1)
    return near - np.einsum("nd,de,ne->n", middle, total, middle)


def test_the_score_is_what_its_definition_says():
    X, y, fresh = drawn(False, n=300)
    found = AnalyticSoftmax(None).fit(X, y).novelty_score(fresh)
    np.testing.assert_allclose(found, by_definition(X, y, fresh), rtol=1e-8, atol=1e-8)


def test_the_threshold_is_a_quantile_of_samples_left_out():
    X, y, _ = drawn(False, n=99)
    rest = [np.delete(np.arange(99), i) for i in range(99)]
    known = [by_definition(X[r], y[r], X[i : i + 1])[0] for i, r in enumerate(rest)]
    clf = AnalyticSoftmax(None).fit(X, y)
    assert clf.novelty_threshold(0.1) == pytest.approx(np.sort(known)[89], rel=1e-8)
    assert clf.novelty_threshold(0.005) == np.inf  # less than one sample in a hundred


def test_weights_count_for_the_threshold():
    X, y, _ = drawn(False, n=99)
    weights = np.where(np.arange(99) < 9, 30.0, 1.0)
    clf = AnalyticSoftmax(0.1).fit(X, y, weights)
    far = clf._novelty
    above = far.known > clf.novelty_threshold(0.2)
    assert far.weights[above].sum() <= 0.2 * weights.sum() * 100 / 99
    assert clf.novelty_threshold(0.2) in far.known


def test_what_is_unusual_where_the_classes_do_not_differ_is_not_novel():
    """The price of the second term: three classes differ in two directions only."""
    X, y, _ = drawn(False, n=300)
    clf = AnalyticSoftmax(None).fit(X, y)
    between = np.linalg.svd(clf.coef_ - clf.coef_[0])[2]
    middle = X.mean(axis=0, keepdims=True)
    inside, outside = middle + 100 * between[:1], middle + 100 * between[-1:]
    usual = clf.novelty_score(middle)
    np.testing.assert_allclose(clf.novelty_score(outside), usual, atol=1e-6)
    assert clf.novelty_score(inside) > usual + 1_000


@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_the_score_does_not_depend_on_where_zero_is(offset):
    X, y, fresh = drawn(False, n=300)
    near = AnalyticSoftmax(0.1).fit(X, y)
    far = AnalyticSoftmax(0.1).fit(X + offset, y)
    found, expected = far.novelty_score(fresh + offset), near.novelty_score(fresh)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * offset + 1e-8)
    beyond, same = far.novelty_threshold(0.1), near.novelty_threshold(0.1)
    assert beyond == pytest.approx(same, abs=1e-12 * offset + 1e-8)


def test_without_a_sample_there_is_no_threshold():
    X, y, fresh = drawn(False, n=300)
    clf = AnalyticSoftmax(None, sample_size=0).fit(X, y)
    with pytest.raises(NotFittedError, match="sample_size"):
        clf.predict(fresh, reject_at=0.1)
    np.testing.assert_allclose(clf.novelty_score(fresh), by_definition(X, y, fresh), atol=1e-8)


@pytest.mark.parametrize("reject_at", [0, 1, -0.1, 1.5, np.nan])
def test_a_share_that_cannot_be_is_refused(reject_at):
    clf = AnalyticSoftmax().fit(*blobs(60))
    with pytest.raises(ParameterError, match="'reject_at'"):
        clf.predict(np.zeros((1, 4)), reject_at=reject_at)
