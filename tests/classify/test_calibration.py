"""The temperature is the best one, and what it does to probabilities is measured rightly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from shoestring.classify.calibration import (
    BOUNDS,
    Calibration,
    calibrated,
    calibration_error,
    log_losses,
    temperature_of,
)

ONES = np.ones(3)


def drawn(seed=0, n=200, c=4, sure=2.0):
    """Logits, labels drawn from them with a part of noise, weights."""
    rng = np.random.default_rng(seed)
    logits = sure * rng.normal(size=(n, c))
    noisy = logits + 2 * rng.gumbel(size=(n, c))
    return logits, noisy.argmax(axis=1), rng.uniform(0.2, 3.0, n)


def log_loss(logits, labels, weights):
    return weights @ log_losses(logits, labels) / weights.sum()


def smoothed(logits, labels, weights):
    """The log-loss with one sample's weight on the largest of the other classes."""
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    share = 1 / (weights.sum() + 1)
    right = log_loss(logits, labels, weights)
    return (1 - share) * right + share * log_loss(logits, others.argmax(axis=1), weights)


def test_the_log_loss_equals_that_of_scikit_learn():
    from sklearn.metrics import log_loss as of_sklearn

    logits, labels, weights = drawn()
    expected = of_sklearn(labels, softmax(logits, axis=1), sample_weight=weights)
    assert log_loss(logits, labels, weights) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 2.0, 30.0]), st.integers(2, 6))
def test_the_temperature_is_that_of_the_least_log_loss(seed, sure, c):
    logits, labels, weights = drawn(seed, 200, c, sure)

    def loss(log_beta):
        return smoothed(np.exp(log_beta) * logits, labels, weights)

    best = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-9})
    found = temperature_of(logits, labels, weights)
    assert loss(-np.log(found)) <= best.fun + 1e-12
    if 1e-3 < np.exp(best.x) < 1e3:
        assert found == pytest.approx(np.exp(-best.x), rel=1e-5)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e3, 1e6])
def test_where_all_or_none_are_right_the_temperature_stays_within_bounds(size):
    logits, labels = size * np.eye(3), np.arange(3)
    least, most = 1 / BOUNDS[1], 1 / BOUNDS[0]
    right, wrong = (temperature_of(logits, y, ONES) for y in (labels, (labels + 1) % 3))
    assert least <= right <= wrong <= most
    if size == 1.0:
        assert wrong > 100


def test_a_few_samples_that_are_all_right_are_no_proof_of_certainty():
    sure = [
        softmax(np.eye(2)[0] * 50 / temperature_of(50 * np.eye(2), np.arange(2), np.full(2, n)))
        for n in (1.0, 10.0, 1_000.0)
    ]
    assert [round(p[0], 3) for p in sure] == [0.667, 0.952, 1.0]  # (n + 1) / (n + 2) of 2 n


def test_without_a_sample_the_temperature_is_one():
    assert temperature_of(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0)) == 1


def mislabelled(seed, share, n=4_000, c=5):
    """Logits, labels drawn by them but for a share that may be anything."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.normal(size=(n, c))
    labels = (logits + rng.gumbel(size=(n, c))).argmax(axis=1)
    anything = rng.random(n) < share
    labels[anything] = rng.integers(c, size=anything.sum())
    return 3 * logits, labels, np.ones(n)


def noisy_loss(found, logits, labels, weights):
    """The log-loss of a calibration, one sample being mistaken."""
    log_p = found.log_probabilities(logits)
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    rows, share = np.arange(len(labels)), 1 / (weights.sum() + 1)
    own, next_one = log_p[rows, labels], log_p[rows, others.argmax(axis=1)]
    return -weights @ ((1 - share) * own + share * next_one) / weights.sum()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_wrong_labels_are_found_and_do_not_raise_the_temperature(share):
    logits, labels, weights = mislabelled(0, share)
    found = calibrated(logits, labels, weights)
    assert found.label_noise == pytest.approx(share, rel=0.25)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert temperature_of(logits, labels, weights) > 1.15 * found.temperature


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.4]), st.sampled_from([0.01, 1, 100]))
def test_no_other_calibration_has_less_loss(seed, share, scale):
    logits, labels, weights = mislabelled(seed, share, n=300, c=3)
    weights = np.random.default_rng(seed).uniform(0.2, 3.0, len(labels))
    found = calibrated(scale * logits, labels, weights)
    best = noisy_loss(found, scale * logits, labels, weights)
    alone = Calibration(temperature_of(scale * logits, labels, weights))
    assert best <= noisy_loss(alone, scale * logits, labels, weights) + 1e-12
    for temperature in np.clip(found.temperature * np.geomspace(0.3, 3, 15), *BOUNDS):
        for noise in np.clip(found.label_noise + np.linspace(-0.1, 0.1, 11), 0, 0.5):
            other = Calibration(temperature, float(noise))
            assert best <= noisy_loss(other, scale * logits, labels, weights) + 1e-12


def test_without_wrong_labels_there_is_next_to_no_noise():
    noises = [calibrated(*mislabelled(seed, 0.0)).label_noise for seed in range(5)]
    assert max(noises) < 0.01
    assert min(noises) == 0.0


def test_noise_changes_no_prediction_and_probabilities_add_up_to_one():
    logits, labels, weights = mislabelled(1, 0.2)
    p = np.exp(calibrated(logits, labels, weights).log_probabilities(logits))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(p.argmax(axis=1), logits.argmax(axis=1))
    assert p.min() > 0.2 * 0.7 / 5


def test_without_a_sample_nothing_is_calibrated():
    assert calibrated(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0)) == Calibration(1.0, 0.0)


EXAMPLE = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6], [0.3, 0.7], [0.0, 1.0]])
TRUE = np.array([0, 1, 1, 0, 1])


def test_the_calibration_error_by_hand():
    """Bins of a fifth: 0.6 and 0.7 in the fourth, half of them right; 0.9, 0.95, 1 in the last."""
    found = calibration_error(EXAMPLE, TRUE, n_bins=5)
    assert found == pytest.approx(0.4 * 0.15 + 0.6 * (0.95 - 2 / 3))


def test_the_calibration_error_by_hand_with_weights():
    found = calibration_error(EXAMPLE, TRUE, np.array([1.0, 0, 0, 3, 0]), n_bins=5)
    assert found == pytest.approx(0.75 * 0.7 + 0.25 * 0.1)


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_the_calibration_error_is_a_share(seed, n_bins):
    logits, labels, weights = drawn(seed)
    assert 0 <= calibration_error(softmax(logits, axis=1), labels, weights, n_bins) <= 1


def test_the_best_temperature_calibrates_probabilities_that_are_too_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    weights = np.ones(len(labels))
    found = temperature_of(5 * logits, labels, weights)
    assert found == pytest.approx(5, rel=0.05)
    assert calibration_error(softmax(5 * logits, axis=1), labels) > 0.2
    assert calibration_error(softmax(5 * logits / found, axis=1), labels) < 0.02
