"""A classifier that was saved is the same after loading, and damage is named."""

import json

import numpy as np
import pytest
from tests.classify.blobs import blobs

from shoestring.classify import AnalyticSoftmax
from shoestring.errors import IntegrityError

SETTINGS = {
    "plain": {},
    "priors": {"priors": [0.5, 0.2, 0.3], "shrinkage": 0.1, "temperature": 2.0},
    "priors by class": {"priors": {"b": 0.2, "a": 0.5, "c": 0.3}},
    "numpy": {"shrinkage": np.float64(0.1), "random_state": np.int64(3)},
    "expanded": {"expansion": "fourier", "n_random": 20, "random_state": 4},
    "automatic": {"expansion": "auto", "n_random": 20},
    "per class": {"class_scatters": True, "shrinkage": "ledoit-wolf"},
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


# ---- the size, and what need not be solved again ----


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def many(n, d=24, seed=0):
    """Samples of two classes that random features do not tell apart better."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    return (rng.normal(size=(n, d)) + y[:, None]).astype(np.float32), y


@pytest.mark.parametrize(("n", "most"), [(24, 700_000), (6_000, 900_000)])
def test_random_features_that_help_nothing_are_not_saved(n, most, tmp_path):
    X, y = many(n)
    clf = AnalyticSoftmax(expansion="auto").fit(X, y)  # sums of 2,000 are 32 MB
    clf.save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path)
    assert size(tmp_path) < most
    assert (loaded.n_random, loaded.n_random_) == (2_000, 0)
    assert_same_bits(loaded, clf, X)
    assert loaded.report() == clf.report()
    loaded.save(tmp_path)  # saving what was pruned
    assert_same_bits(AnalyticSoftmax.load(tmp_path), clf, X)


@pytest.mark.parametrize("weighted", [False, True])
def test_few_samples_bring_their_random_features_back(weighted, tmp_path):
    """They are all kept, so that the sums of what was not saved can be made again."""
    X, y = many(300)
    X, y = np.r_[X, X[:50]], np.r_[y, y[:50]]  # some are equal
    weights = np.random.default_rng(1).uniform(0.5, 2, 350) if weighted else None
    more, labels = many(900, seed=1)
    whole = AnalyticSoftmax(expansion="auto", n_random=600)
    whole.fit(X, y, sample_weight=weights).save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path)
    assert loaded.moments_.n_features < whole.moments_.n_features == 624
    for each in (whole, loaded):
        each.partial_fit(more, labels).forget(
            X[:20], y[:20], None if weights is None else weights[:20]
        )
    ours, theirs = loaded.moments_, whole.moments_
    np.testing.assert_array_equal(ours.sizes, theirs.sizes)
    np.testing.assert_allclose(ours.centres, theirs.centres, atol=1e-9)
    np.testing.assert_allclose(ours.scatter, theirs.scatter, atol=1e-7 * theirs.scatter.max())
    np.testing.assert_allclose(loaded.predict_proba(X), whole.predict_proba(X), atol=1e-8)


def test_what_was_pruned_learns_forgets_and_merges(tmp_path):
    X, y = many(3_000)
    more, labels = many(3_000, seed=1)
    settings = {"expansion": "auto", "n_random": 600, "sample_size": 500}
    AnalyticSoftmax(**settings).fit(X, y).save(tmp_path)
    loaded, again = (AnalyticSoftmax.load(tmp_path) for _ in range(2))
    loaded.partial_fit(more, labels).forget(X[:1_000], y[:1_000])
    rest = np.r_[X[1_000:], more], np.r_[y[1_000:], labels]
    expected = AnalyticSoftmax(**settings).fit(*rest)
    ours, theirs = loaded.moments_, expected.moments_.of_features(24 + 256)
    np.testing.assert_allclose(ours.centres, theirs.centres, atol=1e-9)
    np.testing.assert_allclose(ours.scatter, theirs.scatter, atol=1e-7 * theirs.scatter.max())
    assert loaded.score(X, y) > 0.9
    other = AnalyticSoftmax(**settings).fit(more, labels)
    for a, b in ((again, other), (other, AnalyticSoftmax.load(tmp_path))):
        assert a.merge(b).moments_.sizes.sum() >= 6_000
        assert a.moments_.n_features == 24 + 256
        assert a.score(X, y) > 0.9


@EACH
def test_a_loaded_classifier_predicts_without_solving(settings, tmp_path, monkeypatch):
    X, y = drawn()
    clf = AnalyticSoftmax(**settings).fit(X, y)
    clf.save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path)
    expected = clf.predict_proba(X)
    monkeypatch.setattr("shoestring.classify.softmax.solve", None)
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    monkeypatch.undo()
    loaded.set_params(priors="uniform", temperature=3.0)  # other settings are another layer
    np.testing.assert_array_equal(
        loaded.predict_proba(X),
        AnalyticSoftmax(**{**settings, "priors": "uniform", "temperature": 3.0})
        .fit(X, y)
        .predict_proba(X),
    )


def test_a_classifier_of_one_class_so_far_is_saved_unsolved(tmp_path):
    X, y = drawn()
    one = y == "a"
    AnalyticSoftmax().partial_fit(X[one], y[one]).save(tmp_path)
    loaded = AnalyticSoftmax.load(tmp_path).partial_fit(X[~one], y[~one])
    expected = AnalyticSoftmax().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(loaded.predict_proba(X), expected, atol=1e-9)
