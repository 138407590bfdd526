"""Newton steps from the closed form: where they lead, how many are taken, and what ends them."""

from itertools import islice

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tests.classify.blobs import blobs

from shoestring.classify import AnalyticSoftmax, newton
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.parallel import one_blas_thread


def two_kinds(n=3_000, c=6, seed=0):
    """Half of the classes lie along one feature and scatter along another; half the other way."""
    rng = np.random.default_rng(seed)
    y = rng.integers(c, size=n)
    own, other = 0.5 * (y // 2) + 0.25 * rng.normal(size=n), 4 * rng.normal(size=n)
    kind = y % 2
    apart = 5.0 * kind + 0.3 * rng.normal(size=n)
    return np.stack([np.where(kind, own, other), np.where(kind, other, own), apart], axis=1), y


def layer_after(n, X, y, start, weights=None):
    weights = np.ones(len(X)) if weights is None else weights
    with one_blas_thread():
        *_, layer = islice(newton.steps(X, y, weights, start), n)
    return layer


def start_of(clf):
    return clf._solution.layer.over(clf.temperature_)


@pytest.mark.parametrize("c", [2, 5])
def test_the_steps_lead_to_softmax_regression(c):
    X, y = blobs(400, d=6, c=c, apart=0.6, offset=3.0)
    layer = layer_after(3_000, X, y, start_of(AnalyticSoftmax().fit(X, y)))
    penalty = newton.PENALTY * np.square(X - X.mean(axis=0)).sum() / len(X)
    if (
        c == 2
    ):  # scikit-learn's one row of coefficients is the difference of ours, half as penalised
        penalty /= 2
    expected = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(X, y)
    logits = layer.logits(X)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        p / p.sum(axis=1, keepdims=True), expected.predict_proba(X), atol=1e-4
    )


def test_a_step_lowers_the_loss_even_from_a_wrong_start():
    X, y = blobs(300, d=5, c=4, apart=0.5)
    start = start_of(AnalyticSoftmax().fit(X, (y + 1) % 4))

    def loss(layer):
        z = layer.logits(X)
        return np.mean(np.log(np.exp(z - z[np.arange(300), y][:, None]).sum(axis=1)))

    assert loss(layer_after(1, X, y, start)) < loss(start) - 0.1


def test_a_sample_of_weight_two_is_two_samples():
    X, y = blobs(120, d=4, c=3)
    start = start_of(AnalyticSoftmax().fit(X, y))
    twice = layer_after(5, np.vstack([X, X[:40]]), np.append(y, y[:40]), start)
    weighted = layer_after(5, X, y, start, np.where(np.arange(120) < 40, 2.0, 1.0))
    np.testing.assert_allclose(weighted.logits(X), twice.logits(X), rtol=1e-9, atol=1e-9)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(newton, "ROWS", 100)
    X, y = two_kinds(1_000)
    found = []
    for n in (1, 3):
        monkeypatch.setattr(newton, "n_cores", lambda n=n: n)
        found.append(layer_after(3, X, y, start_of(AnalyticSoftmax().fit(X, y))).near)
    np.testing.assert_array_equal(*found)


def test_classes_of_two_kinds_are_learnt_nearly_as_well_as_by_logistic_regression():
    X, y = two_kinds(6_000)
    train, test = slice(3_000), slice(3_000, None)
    clf = AnalyticSoftmax().fit(X[train], y[train])
    before = clf.score(X[test], y[test])
    after = clf.refine(X[train], y[train]).score(X[test], y[test])
    peer = LogisticRegression(C=10, max_iter=2_000).fit(X[train], y[train])
    shuffled = np.random.default_rng(0).permutation(y[train])
    control = AnalyticSoftmax().fit(X[train], shuffled).refine(X[train], shuffled)
    assert after > before + 0.2
    assert after > peer.score(X[test], y[test]) - 0.05
    assert control.score(X[test], y[test]) < 0.25
    assert clf.report()["steps"] > 0
    assert clf.report()["accuracy"] == pytest.approx(after, abs=0.06)


def test_of_normal_classes_the_closed_form_stays():
    X, y = blobs(2_000, d=8, c=5, apart=0.8)
    clf = AnalyticSoftmax().fit(X, y)
    coef = clf.coef_
    assert "steps" not in clf.refine(X, y).report()
    np.testing.assert_array_equal(clf.coef_, coef)


def test_what_is_learnt_later_brings_the_closed_form_back(tmp_path):
    X, y = two_kinds()
    plain = AnalyticSoftmax(expansion="relu", n_random=2).fit(X, y)
    clf = AnalyticSoftmax(expansion="relu", n_random=2).fit(X, y).refine(X, y)
    clf.save(tmp_path / "model")
    loaded = AnalyticSoftmax.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    assert loaded.report() == clf.report() and loaded.report()["steps"] > 0
    assert np.isfinite(clf.novelty_score(X)).all()
    with pytest.warns(ShoestringWarning, match="Refine it again"):
        clf.forget(X[:10], y[:10])
    plain.forget(X[:10], y[:10])
    np.testing.assert_array_equal(clf.coef_, plain.coef_)
    clf.fit(X, y)  # of which no layer is told as gone


@pytest.mark.parametrize(
    ("priors", "n", "label", "says"),
    [
        ("uniform", 200, 0, "frequencies are learned"),
        (None, 200, 7, "of classes|of \\[0, 1, 2\\]"),
        (None, 9, 0, "at least ten samples"),
    ],
)
def test_what_cannot_be_refined(priors, n, label, says):
    X, y = blobs(200, d=3, c=3)
    clf = AnalyticSoftmax(priors=priors).fit(X, y)
    y[0] = label
    with pytest.raises(ParameterError, match=says):
        clf.refine(X[:n], y[:n])
