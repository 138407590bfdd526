"""AnalyticSoftmax keeps scikit-learn's contract, takes any labels, and says what is wrong."""

import warnings

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.datasets import load_iris, make_moons
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.classify.blobs import blobs

from shoestring.classify import AnalyticSoftmax
from shoestring.classify.calibration import Calibration, calibration_error
from shoestring.errors import ParameterError, ShapeError

ESTIMATORS = [
    AnalyticSoftmax(),
    AnalyticSoftmax(expansion="relu", n_random=20),
    AnalyticSoftmax(expansion="auto", n_random=16),
    AnalyticSoftmax(sample_size=0),
]
LABELS = {
    "int": [7, -3, 12],
    "str": ["pear", "fig", "an apple"],
    "bool": [False, True],
    "Chinese": ["猫", "狗", "鸟"],
    "whole float": [1.0, 2.0, 5.0],
}


# scikit-learn's own look at labels that are NaN or infinite casts them to int
OF_LABELS = pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")


with warnings.catch_warnings():  # that it does not inherit from BaseEstimator
    warnings.filterwarnings("ignore", "Estimator AnalyticSoftmax does not inherit")
    CHECKS = parametrize_with_checks(ESTIMATORS)


@OF_LABELS
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@CHECKS
def test_the_contract_of_scikit_learn_is_kept(estimator, check):
    check(estimator)


def test_a_pipeline_can_be_searched():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), AnalyticSoftmax(sample_size=100))
    grid = {
        "analyticsoftmax__shrinkage": [None, 0.1, "auto"],
        "analyticsoftmax__expansion": [None, "relu"],
        "analyticsoftmax__n_random": [10],
    }
    search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=3).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.score(X, y) > 0.95


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("form", ["array", "list", "objects"])
def test_labels_come_back_as_they_were_given(kind, form):
    names = np.array(LABELS[kind])
    X, y = blobs(90, c=len(names), apart=20.0)
    as_objects = names[y].astype(object if names.dtype.kind == "U" else names.dtype)
    given = {"array": names[y], "list": names[y].tolist(), "objects": as_objects}[form]
    clf = AnalyticSoftmax().fit(X, given)
    np.testing.assert_array_equal(clf.classes_, np.sort(names))
    found = clf.predict(X)
    assert found.dtype == names.dtype
    np.testing.assert_array_equal(found, names[y])


@pytest.mark.parametrize("labels", [["a", 1], [1, "a"], [None, "a"], ["a", 1.5]])
def test_labels_of_mixed_types_are_refused(labels):
    X, _ = blobs(20)
    with pytest.raises(ParameterError, match="one type"):
        AnalyticSoftmax().fit(X, labels * 10)


@pytest.mark.parametrize("later", [["a", "b"], np.array(["a", "b"]), np.array(["a", "b"], object)])
def test_labels_of_another_type_are_refused_later(later):
    X, y = blobs(20)
    clf = AnalyticSoftmax().fit(X, y)
    before = clf.predict_proba(X)
    for learn in (clf.partial_fit, clf.forget):
        with pytest.raises(ParameterError):
            learn(X[:2], later)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    with pytest.raises(ParameterError, match="one type"):
        clf.merge(AnalyticSoftmax().fit(X[:2], later))


@OF_LABELS
@pytest.mark.parametrize("y", [[0.5, 1.5], [np.nan, 1.0], None])
def test_labels_that_are_no_classes_are_refused(y):
    with pytest.raises(ValueError, match=r"(?i)label|NaN|y"):
        AnalyticSoftmax().fit([[1.0], [2.0]], y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_named_by_sample_and_feature(value, dtype):
    X, y = blobs(20)
    clf = AnalyticSoftmax().fit(X, y)
    bad = X.astype(dtype)
    bad[13, 2] = value
    for use in (clf.predict, clf.novelty_score, lambda rows: clf.partial_fit(rows, y)):
        with pytest.raises(ParameterError, match="sample 13, feature 2"):
            use(bad)


@pytest.mark.parametrize("label", [3, "cat"])
def test_one_class_is_refused(label):
    with pytest.raises(ParameterError, match=f"at least two classes.*{label!r}"):
        AnalyticSoftmax().fit([[1.0], [2.0]], [label] * 2)


def test_one_class_may_come_first_in_parts():
    X, y = blobs(60)
    clf = AnalyticSoftmax().partial_fit(X[y == 0], y[y == 0])
    with pytest.raises(ParameterError, match="at least two classes"):
        clf.predict(X)
    clf.partial_fit(X[y > 0], y[y > 0])
    np.testing.assert_allclose(clf.coef_, AnalyticSoftmax().fit(X, y).coef_, rtol=1e-8)


@pytest.mark.parametrize("kept", [0, 1, 2_048])
def test_a_class_of_one_sample_is_told_apart(kept):
    X, y = blobs(61, apart=6.0)
    X, y = np.r_[X, X.mean(axis=0, keepdims=True) + 40], np.r_[y, 9]
    clf = AnalyticSoftmax(sample_size=kept).fit(X, y)
    assert clf.predict(X)[-1] == 9
    assert clf.score(X, y) > 0.9
    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.parametrize("times", [1, 2, 9])
@pytest.mark.parametrize("shrinkage", [None, 0.1, "auto"])
@pytest.mark.parametrize("noise", [0, 1e-17, 1e-9])
def test_classes_of_one_repeated_sample_are_told_apart(times, shrinkage, noise):
    """The scatter is zero, or what rounding leaves of it; logistic regression has no trouble."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 12)).astype(np.float32)
    y = np.arange(5).repeat(times)
    X = (points[y] + noise * rng.normal(size=(len(y), 12))).astype(np.float32)
    clf = AnalyticSoftmax(shrinkage).fit(X, y)
    assert clf.predict(X).tolist() == y.tolist()
    assert clf.predict_proba(X).max(axis=1).min() > 0.6
    batches = AnalyticSoftmax(shrinkage)
    for i in range(times):  # merging rounds
        batches.partial_fit(X[i::times], y[i::times])
    assert batches.predict(X).tolist() == y.tolist()


@pytest.mark.parametrize("shrinkage", [None, 0.1, "auto"])
@pytest.mark.parametrize("noise", [0, 1e-17])
def test_a_feature_that_is_constant_in_each_class_tells_them_apart(shrinkage, noise):
    X, y = blobs(90, apart=0.0)
    X = np.c_[X, y + noise * X[:, 0], 0.1 + noise * X[:, 1]]  # the last is constant in all
    assert AnalyticSoftmax(shrinkage).fit(X, y).score(X + 1e-12, y) == 1


def test_samples_that_are_all_alike_are_of_the_most_frequent_class():
    clf = AnalyticSoftmax().fit(np.full((8, 3), 0.3), [0, 0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(clf.predict_proba(np.ones((2, 3))), [[3 / 8, 5 / 8]] * 2)


def test_where_every_class_has_one_sample_the_nearest_is_taken():
    assert AnalyticSoftmax().fit(np.eye(4), np.arange(4)).predict(np.eye(4)).tolist() == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("shrinkage", ["auto", 0.1, None])
def test_more_features_than_samples_are_no_hindrance(shrinkage):
    X, y = blobs(30, d=200, apart=3.0)
    clf = AnalyticSoftmax(shrinkage).fit(X, y)
    assert np.isfinite(clf.predict_proba(X)).all()
    assert clf.score(X, y) > (0.6 if shrinkage is None else 0.999)


@pytest.mark.parametrize("shrinkage", [None, 0.1, "auto"])
def test_probabilities_are_those_of_the_layer_and_the_temperature(shrinkage):
    X, y = blobs(80)
    clf = AnalyticSoftmax(shrinkage).fit(X, y)
    logits = X @ clf.coef_.T + clf.intercept_
    np.testing.assert_allclose(clf.decision_function(X), logits, rtol=1e-10, atol=1e-10)
    p = (1 - clf.label_noise_) * softmax(logits / clf.temperature_, axis=1) + clf.label_noise_ / 3
    np.testing.assert_allclose(clf.predict_proba(X), p, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), clf.predict_proba(X))


def test_two_classes_have_one_row_of_weights_as_in_scikit_learn():
    X, y = blobs(80, c=2)
    clf = AnalyticSoftmax().fit(X, y)
    assert (clf.coef_.shape, clf.intercept_.shape) == ((1, 4), (1,))
    logits = X @ clf.coef_[0] + clf.intercept_[0]
    np.testing.assert_allclose(clf.decision_function(X), logits, rtol=1e-10, atol=1e-10)
    p = (1 - clf.label_noise_) * expit(logits / clf.temperature_) + clf.label_noise_ / 2
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1], p, rtol=1e-8, atol=1e-12)


def test_the_report_is_of_samples_left_out():
    X, y = blobs(120, apart=0.7)
    clf = AnalyticSoftmax(None).fit(X, y)
    logits = np.empty((120, 3))
    for i in range(120):
        rest = np.arange(120) != i
        part = AnalyticSoftmax(None, sample_size=0).fit(X[rest], y[rest])
        logits[i] = part.decision_function(X[i : i + 1])[0]
    p = np.exp(Calibration(clf.temperature_, clf.label_noise_).log_probabilities(logits))
    report = clf.report()
    assert report["n"] == 120
    assert report["accuracy"] == pytest.approx((logits.argmax(axis=1) == y).mean())
    assert report["log_loss"] == pytest.approx(-np.log(p[np.arange(120), y]).mean(), rel=1e-8)
    assert report["ece"] == pytest.approx(calibration_error(p, y), abs=1e-9)


def test_without_a_sample_there_is_no_report():
    clf = AnalyticSoftmax(sample_size=0).fit(*blobs(60))
    assert clf.report() == {}
    assert clf.temperature_ == 1


def test_settings_that_are_changed_later_hold_from_then_on():
    X, y = blobs(90)
    clf = AnalyticSoftmax(0.1).fit(X, y)
    clf.predict(X)
    clf.set_params(shrinkage=0.5, priors={0: 0.6, 1: 0.2, 2: 0.2})
    expected = clone(clf).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shrinkage", 1.5), ("shrinkage", -0.1), ("shrinkage", "lots"), ("shrinkage", np.nan),
        ("expansion", "cosine"), ("n_random", -1), ("n_random", 2.0), ("sample_size", True),
        ("random_state", None), ("n_jobs", 0), ("priors", "even"), ("priors", [1, 2]),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_by_name(name, value):
    X, y = blobs(30)
    with pytest.raises(ParameterError, match=f"'{name}'"):
        AnalyticSoftmax(**{name: value}).fit(X, y).predict(X)


def test_the_automatic_expansion_mostly_keeps_out_of_normal_classes():
    chosen = []
    for seed in range(6):
        X, y = blobs(1_500, apart=0.7, seed=seed)
        clf = AnalyticSoftmax(expansion="auto", n_random=200).fit(X, y)
        chosen.append(clf.n_random_)
        assert clf.coef_.shape == (3, 4 + clf.n_random_)
    assert chosen.count(0) >= 5  # a standard error is exceeded by chance now and then


def test_the_automatic_expansion_helps_where_classes_are_bent():
    X, y = make_moons(1_500, noise=0.1, random_state=0)
    fresh, answers = make_moons(1_500, noise=0.1, random_state=1)
    X, fresh = np.c_[X, np.ones(1_500)], np.c_[fresh, np.ones(1_500)]
    clf = AnalyticSoftmax(expansion="auto", n_random=200).fit(X, y)
    assert clf.n_random_ > 0
    assert clf.score(fresh, answers) > AnalyticSoftmax().fit(X, y).score(fresh, answers) + 0.08


@pytest.mark.parametrize("shrinkage", [None, "auto", 0.1])
@pytest.mark.parametrize("n", [40, 200])
def test_the_automatic_expansion_works_without_full_rank(shrinkage, n):
    """A constant feature, or fewer samples than random features."""
    X, y = blobs(n, apart=5.0)
    X = np.c_[X, np.ones(n)]
    clf = AnalyticSoftmax(shrinkage, expansion="auto", n_random=64).fit(X, y)
    assert clf.score(X, y) > 0.9


@pytest.mark.parametrize("priors", [None, "uniform"])
def test_a_class_that_was_announced_and_did_not_come_changes_nothing(priors):
    X, y = blobs(90)
    clf = AnalyticSoftmax(priors=priors).partial_fit(X, y, classes=[0, 1, 2, 3])
    expected = AnalyticSoftmax(priors=priors).fit(X, y)
    assert clf.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))


def test_other_features_and_lengths_are_refused():
    X, y = blobs(30)
    clf = AnalyticSoftmax().fit(X, y)
    with pytest.raises(ValueError, match="features"):
        clf.predict(X[:, :3])
    with pytest.raises(ShapeError, match="30 samples and 29 labels"):
        clf.partial_fit(X, y[1:])
    with pytest.raises(ShapeError, match="weights of shape"):
        clf.partial_fit(X, y, sample_weight=np.ones(3))


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_predictions_do_not_depend_on_where_zero_is(offset):
    X, y = blobs(300, apart=0.7)
    near = AnalyticSoftmax(0.01).fit(X, y)
    far = AnalyticSoftmax(0.01).fit(X + offset, y)
    np.testing.assert_allclose(
        far.predict_proba(X + offset), near.predict_proba(X), atol=1e-14 * offset + 1e-9
    )


@pytest.mark.parametrize("label", ["a", 1, np.str_("a"), np.int64(1)])
def test_messages_show_labels_as_they_were_given(label):
    X, y = blobs(30)
    clf = AnalyticSoftmax().fit(X, np.where(y == 0, label, type(label)(4)))
    unknown = type(label)(9)
    with pytest.raises(ParameterError, match="9") as caught:
        clf.forget(X[:1], [unknown])
    assert "np." not in str(caught.value)


def test_features_whose_squares_overflow_are_refused():
    X, y = blobs(60)
    clf = AnalyticSoftmax().fit(X, y)
    before = clf.predict_proba(X)
    for call in (clf.partial_fit, AnalyticSoftmax().fit):
        with pytest.raises(ParameterError, match=r"overflow\. Divide them by their largest value"):
            call(X * 1e200, y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_float32_may_be_as_large_as_it_can_be():
    X, y = blobs(60)
    large = (X / np.abs(X).max() * 3e38).astype(np.float32)
    assert AnalyticSoftmax().fit(large, y).score(large, y) > 0.9
