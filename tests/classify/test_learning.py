"""What was learned in parts, merged or forgotten is as if it had come at once, or not at all."""

from functools import partial, reduce

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from tests.classify.blobs import blobs, cuts

from shoestring.classify import AnalyticSoftmax
from shoestring.errors import ParameterError, ShapeError

Plain = partial(AnalyticSoftmax, None, sample_size=0)


def assert_same_layer(clf, expected, rtol=1e-9):
    for name in ("coef_", "intercept_"):
        wanted = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(clf, name), wanted, rtol=0, atol=rtol * np.abs(wanted).max(), err_msg=name
        )


def assert_same_answers(clf, expected, X):
    np.testing.assert_array_equal(clf.classes_, expected.classes_)
    assert clf.shrinkage_ == pytest.approx(expected.shrinkage_, rel=1e-9)
    assert_same_layer(clf, expected)
    assert clf.temperature_ == pytest.approx(expected.temperature_, rel=1e-9)
    np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-9)


def learnt_in_parts(X, y, rng):
    """Parts in any order, some learned one after the other and some by others and merged."""
    workers = []
    for rows in cuts(len(X), rng.integers(1, 12), rng):
        if not len(rows):
            continue
        if not workers or rng.random() < 0.3:
            workers.append(Plain())
        workers[rng.integers(len(workers))].partial_fit(X[rows], y[rows])
    return reduce(lambda a, b: a.merge(b), [clf for clf in workers if hasattr(clf, "classes_")])


def assert_partitions_equal_discriminants(n_partitions):
    X, y = blobs(400, d=8, c=5, apart=0.7, offset=5.0)
    expected = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    for seed in range(n_partitions):
        assert_same_layer(learnt_in_parts(X, y, np.random.default_rng(seed)), expected)


def test_any_partition_order_and_merge_equals_discriminants_by_least_squares():
    assert_partitions_equal_discriminants(30)


@pytest.mark.slow
def test_a_thousand_partitions_orders_and_merges_equal_discriminants_by_least_squares():
    assert_partitions_equal_discriminants(1_000)


@pytest.mark.parametrize("seed", range(10))
def test_after_forgetting_a_tenth_it_equals_discriminants_of_the_rest(seed):
    X, y = blobs(400, d=8, c=5, apart=0.7, offset=5.0)
    rng = np.random.default_rng(seed)
    tenth = rng.random(400) < 0.1
    clf = learnt_in_parts(X, y, rng).forget(X[tenth], y[tenth])
    expected = LinearDiscriminantAnalysis(solver="lsqr").fit(X[~tenth], y[~tenth])
    assert_same_layer(clf, expected)


SETTINGS = {
    "automatic": {},
    "expanded": {"expansion": "relu", "n_random": 20},
    "automatic expansion": {"expansion": "auto", "n_random": 16},
    "no sample": {"sample_size": 0},
}
EACH = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


@EACH
def test_parts_and_merged_classifiers_equal_the_whole(settings):
    X, y = blobs(300, apart=0.7)
    parts = np.array_split(np.random.default_rng(0).permutation(300), 7)
    clf, *others = (AnalyticSoftmax(**settings).fit(X[p], y[p]) for p in (parts[6], *parts[:2]))
    for rows in parts[2:6]:
        clf.partial_fit(X[rows], y[rows])
    merged = clf.merge(others[1]).merge(others[0])
    assert_same_answers(merged, AnalyticSoftmax(**settings).fit(X, y), X)


@EACH
@pytest.mark.parametrize("weighted", [False, True])
def test_what_was_forgotten_was_never_seen(settings, weighted):
    X, y = blobs(300, apart=0.7)
    weights = np.random.default_rng(1).integers(1, 5, 300) / 2.0 if weighted else np.ones(300)
    tenth = np.random.default_rng(0).random(300) < 0.1
    clf = AnalyticSoftmax(**settings).fit(X, y, weights)
    clf.forget(X[tenth], y[tenth], weights[tenth])
    expected = AnalyticSoftmax(**settings).fit(X[~tenth], y[~tenth], weights[~tenth])
    assert_same_answers(clf, expected, X)


def test_no_forgotten_sample_stays_in_the_model():
    X, y = blobs(300)
    clf = AnalyticSoftmax(sample_size=50).fit(X, y).forget(X[::2], y[::2])
    kept = {tuple(row) for row in clf._state.sample.X}
    assert kept
    assert not kept & {tuple(row) for row in X[::2]}


def test_no_forgotten_sample_stays_in_a_merged_model():
    X, y = blobs(200)
    a, b = (AnalyticSoftmax().fit(X[rows], y[rows]) for rows in np.split(np.arange(200), 2))
    a.merge(b).forget(X[100:], y[100:])
    assert {tuple(row) for row in a._state.sample.X} == {tuple(row) for row in X[:100]}


@pytest.mark.parametrize("dtype", [np.int32, np.float64, bool])
def test_samples_are_forgotten_by_equal_labels_of_another_type(dtype):
    X, y = blobs(100, c=2)
    clf = AnalyticSoftmax().fit(X, y).forget(X[:30], y[:30].astype(dtype))
    assert_same_answers(clf, AnalyticSoftmax().fit(X[30:], y[30:]), X)


def test_a_class_whose_samples_are_all_forgotten_is_gone():
    X, y = blobs(120)
    clf = AnalyticSoftmax().fit(X, y).forget(X[y == 1], y[y == 1])
    assert clf.classes_.tolist() == [0, 2]
    rest = y != 1
    assert_same_answers(clf, AnalyticSoftmax().fit(X[rest], y[rest]), X)


@pytest.mark.parametrize("left", [[], [0]])
def test_of_one_class_or_none_that_is_left_more_can_be_learnt(left):
    X, y = blobs(120)
    gone = ~np.isin(y, left)
    clf = AnalyticSoftmax().fit(X, y).forget(X[gone], y[gone])
    assert clf.classes_.tolist() == left
    with pytest.raises(ParameterError, match="at least two classes"):
        clf.predict(X)
    assert_same_answers(clf.partial_fit(X[gone], y[gone]), AnalyticSoftmax().fit(X, y), X)


@pytest.mark.parametrize("shrinkage", [None, "auto"])
def test_a_feature_that_is_constant_after_forgetting_has_no_say(shrinkage):
    X, y = blobs(200)
    X = np.c_[X, np.full(200, 0.7)]
    X[:20, -1] = 3 * np.random.default_rng(0).normal(size=20)
    clf = AnalyticSoftmax(shrinkage).fit(X, y).forget(X[:20], y[:20])
    expected = AnalyticSoftmax(shrinkage).fit(X[20:], y[20:])
    fresh = X[20:] + np.array([0, 0, 0, 0, 1e-3])
    np.testing.assert_allclose(clf.predict_proba(fresh), expected.predict_proba(fresh), atol=1e-6)


NEVER_SEEN = {
    "another class": lambda X, y: (X[:2], np.array([0, 9])),
    "more than there are": lambda X, y: (np.repeat(X, 2, axis=0), np.repeat(y, 2)),
    "far away": lambda X, y: (X[:20] + 1e3, y[:20]),
    "a class with other samples": lambda X, y: (X[y == 0] + 0.5, y[y == 0]),
    "other features": lambda X, y: (X[:2, :3], y[:2]),
    "not finite": lambda X, y: (X[:2] * np.nan, y[:2]),
}


@pytest.mark.parametrize("rows", NEVER_SEEN.values(), ids=NEVER_SEEN)
def test_what_cannot_have_been_seen_is_not_forgotten_and_nothing_changes(rows):
    X, y = blobs(120)
    clf = AnalyticSoftmax().fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match=r"cannot have been learned|left|features|finite"):
        clf.forget(*rows(X, y))
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert clf.moments_.sizes.tolist() == [40, 40, 40]


@pytest.mark.parametrize("names", [[5, 1, 3, 2], ["d", "aaaa", "cc", "bb"]])
def test_classes_may_come_in_any_order(names):
    X, y = blobs(160, c=4)
    labels = np.array(names)[y]
    clf = AnalyticSoftmax()
    for c in range(4):
        clf.partial_fit(X[y == c], labels[y == c])
    assert_same_answers(clf, AnalyticSoftmax().fit(X, labels), X)


def test_classifiers_of_other_classes_are_merged():
    X, y = blobs(160, c=4)
    labels = np.array(["d", "aaaa", "cc", "bb"])[y]
    a, b = (AnalyticSoftmax().fit(X[part], labels[part]) for part in (y < 2, y >= 2))
    assert_same_answers(a.merge(b), AnalyticSoftmax().fit(X, labels), X)


def test_merging_leaves_the_other_as_it_is():
    X, y = blobs(160, c=4)
    a, b = (AnalyticSoftmax().fit(X[part], y[part]) for part in (y < 2, y >= 2))
    before = b.predict_proba(X)
    a.merge(b).partial_fit(X, y)
    np.testing.assert_array_equal(b.predict_proba(X), before)


def test_classifiers_of_other_features_are_not_merged():
    X, y = blobs(60)
    a = AnalyticSoftmax().fit(X, y)
    with pytest.raises(ShapeError, match="3 features cannot be merged into one of 4"):
        a.merge(AnalyticSoftmax().fit(X[:, :3], y))


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"expansion": "relu", "n_random": 8}, "n_random", 9),
        ({"expansion": "relu", "n_random": 8}, "expansion", None),
        ({}, "random_state", 1),  # nor could the other's kept samples be forgotten
    ],
)
def test_classifiers_that_keep_other_things_are_not_merged(settings, name, value):
    X, y = blobs(60)
    a = AnalyticSoftmax(**settings).fit(X, y)
    with pytest.raises(ParameterError, match=f"'{name}'"):
        a.merge(AnalyticSoftmax(**settings | {name: value}).fit(X, y))
    assert a.moments_.sizes.tolist() == [20, 20, 20]


@EACH
def test_a_weight_of_two_is_two_samples(settings):
    X, y = blobs(150, apart=0.7)
    times = np.random.default_rng(0).integers(1, 4, 150)
    clf = AnalyticSoftmax(**settings).fit(X, y, times)
    expected = AnalyticSoftmax(**settings).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_same_answers(clf, expected, X)


def test_a_sample_without_weight_is_none():
    X, y = blobs(150)
    weights = np.r_[np.zeros(50), np.ones(100)]
    clf = AnalyticSoftmax().fit(X, y, weights)
    assert_same_answers(clf, AnalyticSoftmax().fit(X[50:], y[50:]), X)


@pytest.mark.parametrize("weights", [[-1.0], [np.nan], [np.inf], [0.0]])
def test_weights_that_cannot_be_are_refused(weights):
    X, y = blobs(30)
    with pytest.raises(ParameterError, match="'sample_weight'"):
        AnalyticSoftmax().fit(X, y, weights * 30)


def test_a_part_that_is_refused_leaves_what_was_learnt():
    X, y = blobs(60)
    clf = AnalyticSoftmax().fit(X, y)
    before = clf.predict_proba(X)
    for rows, labels in ((X * np.nan, y), (X, y[1:]), (X[:, :2], y), (X, y.astype(str))):
        with pytest.raises(ValueError, match=r"finite|labels|features|Labels"):
            clf.partial_fit(rows, labels)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_fit_forgets_what_was_before():
    X, y = blobs(60)
    clf = AnalyticSoftmax().fit(X[:, :2] * 3, y + 5).fit(X, y)
    assert_same_answers(clf, AnalyticSoftmax().fit(X, y), X)
