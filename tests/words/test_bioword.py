"""The rule equals a literal scalar port of the published one, and every trap changes the result."""

import numpy as np
import pytest

from shoestring.parallel import KernelPool
from shoestring.words.bioword import BioWord, Neurons, initial_weights

N_WORDS, N_NEURONS, BATCH = 40, 6, 20
RATE = 0.002


class PublishedRule:
    """The published program number by number, on weights (K, 2 V), in float64.

    ``mistake`` is one that can be made in writing it down again; None is the rule.
    """

    def __init__(self, weights, counts, mistake=None):
        self.weights = weights.T.astype(np.float64)
        self.counts = counts
        self.mistake = mistake

    def factor(self, row):
        count = self.counts[row % len(self.counts)]
        return 1.0 / count if count else 0.0

    def rows(self, window):
        rows = [int(row) for row in window if row != -1 or self.mistake == "-1 is the last row"]
        if self.mistake == "one block for context and target":
            rows = [row % len(self.counts) for row in rows]
        if self.mistake == "a repeated word counts once":
            rows = list(dict.fromkeys(rows))
        return rows

    def step(self, windows, rate):
        n_neurons, n_rows = self.weights.shape
        change = np.zeros((n_neurons, n_rows))
        x = [0.0] * n_neurons
        for window in windows:
            rows = self.rows(window)
            raw = [sum(self.weights[mu, i] for i in rows) for mu in range(n_neurons)]
            scaled = [
                sum(self.weights[mu, i] * self.factor(i) for i in rows) for mu in range(n_neurons)
            ]
            sums = scaled if self.mistake == "the winner has the largest scaled sum" else raw
            winner = sums.index(max(sums))
            x[winner] += scaled[winner]
            for i in rows:
                change[winner, i] += self.factor(i)
        for mu in range(n_neurons):
            if self.mistake != "no decay":
                change[mu] -= x[mu] * self.weights[mu]
        each = 1 if self.mistake == "a maximum for each neuron" else None
        steps = rate / np.maximum(np.abs(change).max(axis=each, keepdims=True), 1e-30) * change
        self.weights += np.where(np.abs(steps) > 1e-10, steps, 0.0)
        if self.mistake == "rows of norm one":
            self.weights /= np.linalg.norm(self.weights, axis=1, keepdims=True)


def skewed_corpus(seed=0, n_windows=4_000, width=5):
    """Windows (n, W) over two topics of words with counts like 1, 1/2, 1/3, ...; some skipped."""
    rng = np.random.default_rng(seed)
    chances = 1.0 / np.arange(1, N_WORDS + 1)
    topics = np.where(np.arange(N_WORDS) % 2 == [[0], [1]], chances, 0.1 * chances)
    topics /= topics.sum(axis=1, keepdims=True)
    words = np.stack(
        [rng.choice(N_WORDS, size=width, p=topics[rng.integers(2)]) for _ in range(n_windows)]
    ).astype(np.int32)
    counts = np.bincount(words.ravel(), minlength=N_WORDS)
    words[:, width // 2] += N_WORDS
    words[rng.random(words.shape) < 0.1] = -1
    return words, counts


def batches(windows, n):
    return [windows[b * BATCH : (b + 1) * BATCH] for b in range(n)]


def start(seed=0):
    return initial_weights(N_WORDS, N_NEURONS, sigma=0.02, seed=seed)


def ours(weights, counts, windows, rate=RATE, pool=None):
    rule = BioWord(Neurons.of(weights.copy()), counts, pool)
    for batch in windows:
        rule.step(batch, rate)
    return rule.neurons.weights()


def published(weights, counts, windows, rate=RATE, mistake=None):
    rule = PublishedRule(weights, counts, mistake)
    for batch in windows:
        rule.step(batch, rate)
    return rule.weights.T


def relative(weights, reference, n_batches=0):
    """The largest relative difference, beyond the 1e-10 a batch that the rule does not resolve."""
    difference = np.maximum(np.abs(weights - reference) - 1e-10 * n_batches, 0.0)
    return (difference / np.abs(reference)).max()


@pytest.mark.parametrize("seed", range(3))
def test_weights_after_200_mini_batches_equal_the_published_rule(seed):
    windows, counts = skewed_corpus(seed)
    windows = batches(windows, 200)
    expected = published(start(seed), counts, windows)
    assert relative(ours(start(seed), counts, windows), expected) < 1e-5
    assert np.abs(expected - start(seed)).max() > 0.05  # they have moved


@pytest.mark.parametrize(
    "mistake",
    [
        "the winner has the largest scaled sum",
        "a maximum for each neuron",
        "rows of norm one",
        "a repeated word counts once",
        "-1 is the last row",
        "one block for context and target",
        "no decay",
    ],
)
def test_every_known_mistake_gives_other_weights(mistake):
    """So the test before this one would see it."""
    windows, counts = skewed_corpus()
    windows = batches(windows, 20)
    assert (
        relative(
            published(start(), counts, windows, mistake=mistake), ours(start(), counts, windows)
        )
        > 0.01  # a thousand times what the port may differ by
    )


def test_an_untouched_weight_can_be_the_maximum_that_normalises():
    windows, counts = skewed_corpus()
    windows = batches(np.where(windows % N_WORDS == 7, -1, windows), 50)
    weights = start()
    weights[7] = 100.0
    assert relative(ours(weights, counts, windows), published(weights, counts, windows)) < 1e-5


def test_a_weight_that_has_grown_can_be_the_maximum_later():
    windows, counts = skewed_corpus()
    grown = np.full((BATCH, 5), 7, dtype=np.int32)
    windows = batches(np.where(windows % N_WORDS == 7, -1, windows), 20)
    rule, expected = BioWord(Neurons.of(start()), counts), PublishedRule(start(), counts)
    for learner in (rule, expected):
        learner.step(grown, 100.0)
        for batch in windows:
            learner.step(batch, RATE)
    assert relative(rule.neurons.weights(), expected.weights.T, n_batches=21) < 1e-5


def test_steps_of_1e_10_and_less_are_left():
    windows, counts = skewed_corpus()
    weights = start() * np.float32(1e-6)
    left = ours(weights, counts, windows[None, :BATCH], rate=0.9e-10)
    taken = ours(weights, counts, windows[None, :BATCH], rate=1.1e-10)
    assert left.tobytes() == weights.tobytes()
    assert (taken != weights).sum() == 1


def test_a_scale_that_is_not_positive_is_multiplied_into_the_weights():
    """At an absurd rate the decay changes the sign of weights."""
    windows, counts = skewed_corpus()
    (batch,) = batches(windows, 1)
    expected = published(start(), counts, [batch], rate=1_000.0)
    assert (expected[39] / start()[39]).min() < 0  # a word of no window
    rule = BioWord(Neurons.of(start()), counts)
    rule.step(batch, 1_000.0)
    assert relative(rule.neurons.weights(), expected) < 1e-5
    assert rule.neurons.scales.min() > 0


def test_small_untouched_weights_differ_by_at_most_1e_10_a_batch():
    windows, counts = skewed_corpus()
    windows = batches(np.where(windows % N_WORDS < 4, -1, windows), 100)
    weights = start()
    weights[:4] *= 1e-6
    difference = np.abs(ours(weights, counts, windows) - published(weights, counts, windows))
    assert 0 < difference[:4].max() <= 100 * 1e-10


def test_the_result_has_the_same_bits_for_any_number_of_threads():
    windows, counts = skewed_corpus()
    windows = batches(windows, 50)
    alone = ours(start(), counts, windows)
    for n_threads in (1, 2, 3, 7):
        pool = KernelPool(n_threads)
        shared = ours(start(), counts, windows, pool=pool)
        assert shared.tobytes() == alone.tobytes()


def test_ties_go_to_the_lowest_neuron():
    weights = np.zeros((4, 3), dtype=np.float32)
    weights[:, 1:] = 0.5
    rule = BioWord(Neurons.of(weights), np.array([1, 1]))
    assert rule.winners(np.array([[0, 2, 1]], dtype=np.int32)).tolist() == [1]


def test_a_window_of_skipped_words_changes_nothing():
    windows = np.full((3, 5), -1, dtype=np.int32)
    rule = BioWord(Neurons.of(start()), np.ones(N_WORDS, dtype=np.int64))
    assert rule.step(windows, RATE).tolist() == [-1, -1, -1]
    assert rule.neurons.weights().tobytes() == start().tobytes()


def test_a_window_whose_target_is_skipped_still_teaches_its_context():
    rule = BioWord(Neurons.of(start()), np.ones(N_WORDS, dtype=np.int64))
    (winner,) = rule.step(np.array([[3, 4, -1, 5, 6]], dtype=np.int32), RATE)
    gained = rule.neurons.weights()[:, winner] - start()[:, winner]
    assert sorted(np.argsort(-gained)[:4]) == [3, 4, 5, 6]


def test_a_word_that_the_corpus_never_has_has_the_factor_zero():
    windows, counts = skewed_corpus()
    counts[5] = 0
    windows = batches(windows, 50)
    expected = published(start(), counts, windows)
    assert relative(ours(start(), counts, windows), expected, n_batches=50) < 1e-5
