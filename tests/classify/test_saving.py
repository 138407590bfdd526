"""A classifier that was saved is the same after loading, and damage is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.classify.blobs import blobs

from shoestring.classify import AnalyticSoftmax
from shoestring.errors import FormatError, IntegrityError, ParameterError

SETTINGS = {
    "plain": {},
    "priors": {"priors": [0.5, 0.2, 0.3], "shrinkage": 0.1, "temperature": 2.0},
    "priors by class": {"priors": {"b": 0.2, "a": 0.5, "c": 0.3}},
    "numpy": {"shrinkage": np.float64(0.1), "random_state": np.int64(3)},
    "expanded": {"expansion": "fourier", "n_random": 20, "random_state": 4},
    "automatic": {"expansion": "auto", "n_random": 20},
    "per class": {"class_scatters": True},
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


def test_settings_are_loaded(tmp_path):
    X, y = drawn()
    settings = {"shrinkage": "gcv", "temperature": 1.5, "expansion": "relu", "n_random": 7}
    settings |= {"sample_size": 33, "random_state": 9}
    AnalyticSoftmax(**settings).fit(X, y).save(tmp_path)
    found = AnalyticSoftmax.load(tmp_path).get_params()
    assert {name: found[name] for name in settings} == settings


def test_a_save_replaces_the_one_before_and_leaves_nothing_of_it(tmp_path):
    X, y = drawn()
    AnalyticSoftmax().fit(X, y).save(tmp_path)
    first = {path.name for path in tmp_path.iterdir()}
    clf = AnalyticSoftmax(0.5).fit(X[:90], y[:90])
    clf.save(tmp_path)
    assert_same_bits(AnalyticSoftmax.load(tmp_path), clf, X)
    second = {path.name for path in tmp_path.iterdir()}
    assert first & second == {"config.json"}
    assert len(second) == 2


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    clf = AnalyticSoftmax().fit(*drawn())
    with pytest.raises(ParameterError, match=r"thesis\.txt"):
        clf.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_of_something_else_that_was_saved_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"format": "other", "format_version": 1}))
    with pytest.raises(FormatError):
        AnalyticSoftmax().fit(*drawn()).save(tmp_path)
    with pytest.raises(FormatError):
        AnalyticSoftmax.load(tmp_path)


def test_nothing_learnt_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        AnalyticSoftmax().save(tmp_path / "clf")
    assert not (tmp_path / "clf").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match="nowhere"):
        AnalyticSoftmax.load(tmp_path / "nowhere")


@pytest.fixture
def saved(tmp_path) -> Path:
    AnalyticSoftmax().fit(*drawn()).save(tmp_path)
    return tmp_path


def edited(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_truncated_arrays_are_named(saved, left):
    (path,) = saved.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(IntegrityError, match=path.name):
        AnalyticSoftmax.load(saved)


def test_missing_arrays_are_named(saved):
    (path,) = saved.glob("*.safetensors")
    path.unlink()
    with pytest.raises(IntegrityError, match=path.name):
        AnalyticSoftmax.load(saved)


def test_a_newer_version_is_refused(saved):
    edited(saved, format_version=99)
    with pytest.raises(FormatError, match="99"):
        AnalyticSoftmax.load(saved)


def test_a_config_that_is_no_json_is_damaged(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"config\.json"):
        AnalyticSoftmax.load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["a", "b"]}, {"classes": 3}, {"classes_dtype": "nonsense"},
        {"sample_limit": "many"}, {"params": 3}, {"params": {}}, {"files": {}},
        {"sample_size": None},
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit_is_damaged(saved, changes):
    edited(saved, **changes)
    with pytest.raises(IntegrityError):
        AnalyticSoftmax.load(saved)
