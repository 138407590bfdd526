"""The rule at its published size: the winners and weights of a scalar port in float64."""

import numpy as np
import pytest
from numba import njit

from shoestring.words.bioword import BioWord, Neurons, initial_weights

N_WORDS, N_NEURONS, WIDTH, BATCH, N_BATCHES = 20_000, 400, 11, 10_000, 200


@njit
def published_step(weights, change, x, windows, inverse, rate, winners):
    """One mini-batch on weights (K, 2 V), every loop written out."""
    n_neurons, n_rows = weights.shape
    change[:] = 0.0
    x[:] = 0.0
    for a in range(len(windows)):
        largest = -np.inf
        for mu in range(n_neurons):
            raw = 0.0
            for i in windows[a]:
                if i != -1:
                    raw += weights[mu, i]
            if raw > largest:
                largest, winners[a] = raw, mu
        for i in windows[a]:
            if i != -1:
                x[winners[a]] += weights[winners[a], i] * inverse[i % len(inverse)]
                change[winners[a], i] += inverse[i % len(inverse)]
    maximum = 0.0
    for mu in range(n_neurons):
        for i in range(n_rows):
            change[mu, i] -= x[mu] * weights[mu, i]
            maximum = max(maximum, abs(change[mu, i]))
    for mu in range(n_neurons):
        for i in range(n_rows):
            step = rate / max(maximum, 1e-30) * change[mu, i]
            if abs(step) > 1e-10:
                weights[mu, i] += step


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_200_mini_batches_of_the_published_size_equal_the_published_rule():
    rng = np.random.default_rng(0)
    chances = 1.0 / np.arange(10, N_WORDS + 10)
    words = rng.choice(N_WORDS, size=(N_BATCHES, BATCH, WIDTH), p=chances / chances.sum())
    counts = np.bincount(words.ravel(), minlength=N_WORDS)
    words[..., WIDTH // 2] += N_WORDS
    words[rng.random(words.shape) < 0.06] = -1
    start = initial_weights(N_WORDS, N_NEURONS, sigma=0.02, seed=0)
    expected = np.ascontiguousarray(start.T, dtype=np.float64)
    change, x = np.empty_like(expected), np.empty(N_NEURONS)
    rule, winners = BioWord(Neurons.of(start), counts), np.empty(BATCH, dtype=np.int32)
    for windows in words.astype(np.int32):
        published_step(expected, change, x, windows, 1.0 / counts, 0.002, winners)
        assert np.array_equal(rule.step(windows, 0.002), winners)
    difference = np.abs(rule.neurons.weights().T - expected)
    assert (difference <= 1e-5 * np.abs(expected) + 1e-10 * N_BATCHES).all()
    assert np.linalg.norm(difference) < 1e-6 * np.linalg.norm(expected)
