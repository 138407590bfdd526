"""Any number of workers gives the same bits, and none copies all samples."""

import tracemalloc

import numpy as np
import pytest
from joblib import parallel_config
from tests.classify.blobs import blobs

from shoestring.classify import AnalyticSoftmax, softmax, solving, state
from shoestring.classify.state import LEAST_ROWS

SETTINGS = [
    {},
    {"expansion": "relu", "n_random": 30},
]
EACH = pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "expanded"])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Of 512 samples of 64 features."""
    monkeypatch.setattr(state, "NUMBERS", 1 << 15)


def bits(clf, X):
    return [getattr(clf, name).tobytes() for name in ("coef_", "intercept_")] + [
        clf.moments_.scatter.tobytes(),
        clf.predict_proba(X).tobytes(),
    ]


def drawn(n=6_000, d=12):
    X, y = blobs(n, d, c=5, apart=0.5)
    assert n > 2 * max(LEAST_ROWS, state.NUMBERS // d)  # there is something to share out
    return X.astype(np.float32), y


@EACH
@pytest.mark.parametrize("n_jobs", [2, 3, None])
def test_any_number_of_workers_gives_the_same_bits(settings, n_jobs):
    X, y = drawn()
    one = AnalyticSoftmax(n_jobs=1, **settings).fit(X, y)
    assert bits(AnalyticSoftmax(n_jobs=n_jobs, **settings).fit(X, y), X) == bits(one, X)


@pytest.mark.parametrize("settings", [{}, {"expansion": "auto", "n_random": 30}])
def test_shrinkages_tried_on_any_number_of_cores_give_the_same_bits(settings, monkeypatch):
    X, y = drawn()
    clf = AnalyticSoftmax(**settings).fit(X, y)
    expected = bits(clf, X)
    for n_cores in (1, 2, 3, 50):
        monkeypatch.setattr(solving, "n_cores", lambda n=n_cores: n)
        clf._cached.clear()
        assert bits(clf, X) == expected


@EACH
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_of_any_backend_give_the_same_bits(settings, backend):
    X, y = drawn()
    one = AnalyticSoftmax(n_jobs=1, **settings).fit(X, y)
    with parallel_config(backend=backend, n_jobs=2):
        clf = AnalyticSoftmax(**settings).fit(X, y)
        clf.forget(X[:100], y[:100]).partial_fit(X[:100], y[:100])
    one.forget(X[:100], y[:100]).partial_fit(X[:100], y[:100])
    assert bits(clf, X) == bits(one, X)


@pytest.mark.ray
def test_workers_of_ray_give_the_same_bits():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    X, y = drawn()
    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with parallel_config(backend="ray", n_jobs=2):
            clf = AnalyticSoftmax().fit(X, y)
    finally:
        ray.shutdown()
    assert bits(clf, X) == bits(AnalyticSoftmax(n_jobs=1).fit(X, y), X)


def traced_peak(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ["C", "F"])
def test_samples_are_not_copied_as_a_whole(order):
    X, y = blobs(20_000, d=64)
    X = np.asarray(X, dtype=np.float32, order=order)
    AnalyticSoftmax(n_jobs=1).fit(X[:600], y[:600])  # what is imported on the way
    peak = traced_peak(lambda: AnalyticSoftmax(n_jobs=1, sample_size=256).fit(X, y))
    assert peak < X.nbytes * 0.7  # a copy in float32 were 1, in float64 2


def test_samples_are_not_copied_as_a_whole_to_forget_and_predict(monkeypatch):
    monkeypatch.setattr(softmax, "PREDICTED", 1 << 15)
    monkeypatch.setattr(state, "NUMBERS", 1 << 15)
    X, y = blobs(20_000, d=64)
    X = X.astype(np.float32)
    clf = AnalyticSoftmax(n_jobs=1, sample_size=256).fit(X, y)
    clf.predict(X[:600], reject_at=0.1)
    assert traced_peak(lambda: clf.predict(X)) < X.nbytes * 0.7
    assert traced_peak(lambda: clf.predict(X, reject_at=0.1)) < X.nbytes * 0.7
    assert traced_peak(lambda: clf.forget(X[:10_000], y[:10_000])) < X.nbytes * 0.7


def test_samples_may_be_memory_mapped(tmp_path):
    X, y = drawn()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert bits(AnalyticSoftmax().fit(mapped, y), X) == bits(AnalyticSoftmax().fit(X, y), X)
