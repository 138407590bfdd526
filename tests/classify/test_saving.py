"""A classifier that was saved is the same after loading, and damage is named."""

import json

import numpy as np
import pytest
from tests.classify.blobs import blobs

from shoestring.classify import AnalyticSoftmax
from shoestring.errors import IntegrityError

SETTINGS = {
    "plain": {},
    "priors": {"priors": {"b": 0.2, "a": 0.5, "c": 0.3}, "shrinkage": 0.1},
    "numpy": {"shrinkage": np.float64(0.1), "random_state": np.int64(3)},
    "expanded": {"expansion": "relu", "n_random": 20, "random_state": 4},
    "automatic": {"expansion": "auto", "n_random": 20},
    "no sample": {"sample_size": 0},
    "sample full": {"sample_size": 40},
}
EACH = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
NAMES = np.array(["a", "b", "c"])


def drawn(dtype=np.float64, names=NAMES, seed=0):
    X, y = blobs(150, apart=0.8, seed=seed)
    return X.astype(dtype), names[y]


def assert_same_bits(a, b, X):
    np.testing.assert_array_equal(a.classes_, b.classes_)
    assert a.classes_.dtype == b.classes_.dtype
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    np.testing.assert_array_equal(a.novelty_score(X), b.novelty_score(X))
    if a.sample_size:
        assert a.novelty_threshold(0.1) == b.novelty_threshold(0.1)


@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loaded_classifier_gives_the_same_bits(settings, dtype, tmp_path):
    X, y = drawn(dtype)
    clf = AnalyticSoftmax(**settings).fit(X, y)
    clf.save(tmp_path / "clf")
    loaded = AnalyticSoftmax.load(tmp_path / "clf")
    assert_same_bits(loaded, clf, X)
    assert loaded.n_features_in_ == 4
    params = loaded.get_params()
    assert {name: params[name] for name in settings} == settings


@EACH
def test_a_loaded_classifier_goes_on_learning_and_forgetting(settings, tmp_path):
    X, y = drawn()
    more, labels = drawn(seed=1)
    clf = AnalyticSoftmax(**settings).fit(X, y)
    clf.save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path)
    for each in (clf, loaded):
        each.partial_fit(more, labels).forget(X[:30], y[:30])
        each.merge(AnalyticSoftmax(**settings).fit(more[:60] + 1, labels[:60]))
    assert_same_bits(loaded, clf, X)


@pytest.mark.parametrize(
    "names", [[3, -1, 2], ["猫", "狗 ", "a\n"], [1.0, 2.0, 3.5 - 0.5], [True, False, False]]
)
def test_labels_of_every_type_are_loaded(names, tmp_path):
    X, y = drawn(names=np.array(names))
    clf = AnalyticSoftmax().fit(X, y)
    clf.save(tmp_path)
    assert_same_bits(AnalyticSoftmax.load(tmp_path), clf, X)


@pytest.mark.parametrize("labels", [NAMES, np.array([2, 5, 7])])
def test_priors_by_class_stay_with_their_class_after_loading(labels, tmp_path):
    X, y = drawn(names=labels)
    priors = dict(zip(labels.tolist(), [0.7, 0.2, 0.1], strict=True))
    clf = AnalyticSoftmax(priors=priors).fit(X, y)
    clf.save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path)
    first = y == labels[0]
    for each in (clf, loaded):
        each.forget(X[first], y[first])
    assert_same_bits(loaded, clf, X)


def test_nothing_learnt_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        AnalyticSoftmax().save(tmp_path / "clf")
    assert not (tmp_path / "clf").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["a", "b"]}, {"classes": 3}, {"classes_dtype": "nonsense"},
        {"sample_limit": "many"}, {"params": 3}, {"params": {}}, {"files": {}},
        {"sample_size": None},
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit_is_damaged(tmp_path, changes):
    AnalyticSoftmax().fit(*drawn()).save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(IntegrityError):
        AnalyticSoftmax.load(tmp_path)


# ---- what need not be solved again ----


@EACH
def test_a_loaded_classifier_predicts_without_solving(settings, tmp_path, monkeypatch):
    X, y = drawn()
    clf = AnalyticSoftmax(**settings).fit(X, y)
    clf.save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path)
    expected = clf.predict_proba(X)
    monkeypatch.setattr("shoestring.classify.solving.solve", None)
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    monkeypatch.undo()
    loaded.set_params(priors="uniform")  # other settings are another layer
    np.testing.assert_array_equal(
        loaded.predict_proba(X),
        AnalyticSoftmax(**{**settings, "priors": "uniform"}).fit(X, y).predict_proba(X),
    )


def test_a_classifier_of_one_class_so_far_is_saved_unsolved(tmp_path):
    X, y = drawn()
    one = y == "a"
    AnalyticSoftmax().partial_fit(X[one], y[one]).save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path).partial_fit(X[~one], y[~one])
    expected = AnalyticSoftmax().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(loaded.predict_proba(X), expected, atol=1e-9)
