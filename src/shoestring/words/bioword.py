"""BioWord, the fruit fly's rule for word vectors: one mini-batch of windows changes the weights.

Paper: Liang et al., "Can a Fruit Fly Learn Word Embeddings?" (ICLR 2021, arXiv 2101.06887). The
arithmetic is that of the published CUDA program (``bhoov/flyvec``). A window A is its W words: a
context word w is row w of the weights, the target in the middle is row V + w, and the two-block
input is never made. p_i is the corpus count of the word of row i, n_i(A) how often row i occurs
in A (a repeated word counts twice).

    raw_mu(A) = sum_i n_i(A) W_mu,i             winner(A) = argmax_mu raw_mu(A), ties to the lowest
    x_mu      = sum_{A won by mu} sum_i n_i(A) W_mu,i / p_i
    D_mu,i    = sum_{A won by mu} n_i(A) / p_i - x_mu W_mu,i       (0 where mu won no window)
    W        += g D,   g = rate / max(max |D|, 1e-30)         (steps of 1e-10 and less are left)

The winner is chosen **without** the factor 1/p, and one maximum normalises the whole matrix.

How it is computed. Most of a batch's step is -g x_mu W_mu,i, one factor (1 - g x_mu) for a whole
neuron; the rest touches at most B W entries. So the weights are kept as W_mu,i = s_mu U_i,mu: a
batch changes K scales and the touched entries of U, not 2 V K numbers. The maximum stays exact:
|x_mu| max_i |W_mu,i| over the entries that were not touched is first bounded, with a bound carried
from batch to batch, and looked up only if it could exceed the maximum of the touched ones. Windows
are independent of each other in the search for winners and neurons in the update, each of them
summed in a fixed order: the result has the same bits for any number of threads.

What differs: the 1e-10 rule is applied to each touched entry, but to a neuron's untouched ones as
one (left if its largest step is 1e-10 or less), so an entry may differ by 1e-10 a batch, which is
a ninth of the float32 rounding of an entry of 0.02; raw sums are float32 (published: float64,
rounded to float32), x and D are float64 (published: float32).
Not covered: several GPUs (published: the mean of D over GPUs), the parameters of the published
program that its own training never sets (delta, p, Lmid, Lbase), scaling rows to a norm.

Letters: V vocabulary, K neurons, W window, B windows of a mini-batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.parallel import KernelPool
from shoestring.types import IntArray

Weights = NDArray[np.float32]
SMALLEST_STEP = 1e-10
SMALLEST_NORM = 1e-30
SCALE_RANGE = (2.0**-20, 2.0**20)  # beyond it a neuron's scale is multiplied into its weights

_exact = {"nogil": True, "cache": True, "error_model": "numpy"}
_no_nan = {**_exact, "fastmath": {"nnan", "nsz"}}  # lets maxima be taken 8 at a time


class Neurons(NamedTuple):
    """The weights W_mu,i = scales[mu] * factors[i, mu] of K neurons."""

    factors: Weights  # (2 V, K): token-major, so that a window's sum reads whole rows
    scales: NDArray[np.float64]  # (K,)
    bounds: NDArray[np.float64]  # (K,): not less than the largest |weight| of each neuron

    @classmethod
    def of(cls, weights: Weights) -> Neurons:
        """Take weights (2 V, K), C-contiguous, as they are; the array is used, not copied."""
        bounds = np.maximum(weights.max(axis=0), -weights.min(axis=0)).astype(np.float64)
        return cls(weights, np.ones(weights.shape[1]), bounds)

    def weights(self) -> Weights:
        """The weights, float32 (2 V, K): the published matrix transposed."""
        return self.factors * self.scales.astype(np.float32)


class _Touched(NamedTuple):
    """The entries of W that a mini-batch touches, one neuron's after the other's."""

    activity: NDArray[np.float64]  # (K,): x
    peaks: NDArray[np.float64]  # (K,): max |D| over the touched entries
    sizes: IntArray  # (K,): how many entries
    rows: NDArray[np.int32]  # (B W,): of the entries
    changes: NDArray[np.float64]  # (B W,): their D


def initial_weights(n_words: int, n_neurons: int, sigma: float, seed: int) -> Weights:
    """Draw weights (2 V, K) from N(0, sigma), as the published training script does."""
    rng = np.random.default_rng(seed)
    return np.float32(sigma) * rng.standard_normal((2 * n_words, n_neurons), dtype=np.float32)


class BioWord:
    """The rule with its buffers: change the weights, in place, by one mini-batch after the other.

    ``counts`` (V,) says how often each word occurs in the corpus; a word that never does has the
    factor 0.

    Examples
    --------
    >>> weights = initial_weights(n_words=3, n_neurons=2, sigma=0.02, seed=0)
    >>> rule = BioWord(Neurons.of(weights), counts=np.array([5, 3, 1]))
    >>> winners = rule.step(np.array([[0, 3 + 1, 2]], dtype=np.int32), rate=0.002)
    >>> winners.shape, rule.neurons.weights().shape
    ((1,), (6, 2))

    Notes
    -----
    Cost of a step: B W K additions, bound by reading B W rows of 4 K bytes; memory: the weights,
    8 V bytes for each range of the pool, 12 bytes for each of the B W words of a batch.
    """

    def __init__(self, neurons: Neurons, counts: IntArray, pool: KernelPool | None = None) -> None:
        n_rows, n_neurons = neurons.factors.shape
        self.neurons = neurons
        inverse = np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0)
        self._inverse_counts = np.concatenate([inverse, inverse])  # (2 V,)
        self._pool = pool or KernelPool()
        self._seen = np.zeros((self._pool.n_ranges, n_rows), dtype=np.int32)
        per_neuron = np.zeros(n_neurons), np.zeros(n_neurons), np.zeros(n_neurons, np.int64)
        self._touched = _Touched(*per_neuron, np.empty(0, np.int32), np.empty(0))

    def step(self, windows: NDArray[np.int32], rate: float) -> NDArray[np.int32]:
        """Change the weights by one mini-batch of windows (B, W), any of them by at most ``rate``.

        A window has rows of the weights: w for a context word, V + w for the target; -1 is skipped.
        Returns the winner of each window, int32 (B,), -1 where all its
        words were skipped: it changes nothing.
        """
        winners = self.winners(windows)
        n_neurons = len(self.neurons.scales)
        order = np.argsort(winners, kind="stable")  # the windows of each neuron together (B,)
        starts = np.searchsorted(winners, np.arange(n_neurons + 1), sorter=order)
        entries = starts * windows.shape[1]  # where the entries of each neuron begin (K + 1,)
        if len(self._touched.rows) < windows.size:
            rows, changes = np.empty(windows.size, np.int32), np.empty(windows.size)
            self._touched = self._touched._replace(rows=rows, changes=changes)
        batch = windows, self._inverse_counts, starts, order, self._seen
        self._pool.run(_collect_entries, n_neurons, self.neurons, *batch, self._touched)
        gain = rate / max(self._largest_change(entries), SMALLEST_NORM)
        self._pool.run(_apply_entries, n_neurons, self.neurons, gain, entries, self._touched)
        return winners

    def winners(self, windows: NDArray[np.int32]) -> NDArray[np.int32]:
        """The neuron with the largest raw sum of each window, int32 (B,); see :meth:`step`."""
        winners = np.empty(len(windows), dtype=np.int32)
        scales = self.neurons.scales.astype(np.float32)
        self._pool.run(_find_winners, len(windows), self.neurons.factors, scales, windows, winners)
        return winners

    def _largest_change(self, entries: IntArray) -> float:
        """The largest |D| of the matrix; looks at untouched entries only where they may matter."""
        neurons, touched = self.neurons, self._touched
        largest = float(touched.peaks.max())
        at_most = np.abs(touched.activity) * neurons.bounds
        for mu in np.argsort(-at_most, kind="stable"):
            if at_most[mu] <= largest:
                break
            rows = touched.rows[entries[mu] : entries[mu] + touched.sizes[mu]]
            neurons.bounds[mu], untouched = _largest_weights(
                neurons.factors, neurons.scales[mu], mu, rows, self._seen[0]
            )
            largest = max(largest, abs(touched.activity[mu]) * untouched)
        return largest


@njit(**_no_nan)
def _find_winners(
    part: int,
    first: int,
    last: int,
    factors: Weights,
    scales: Weights,
    windows: NDArray[np.int32],
    winners: NDArray[np.int32],
) -> None:
    n_neurons = np.int32(factors.shape[1])
    sums = np.empty(n_neurons, dtype=np.float32)
    words = np.empty(windows.shape[1], dtype=np.int64)
    for a in range(first, last):
        n_words = 0
        for i in windows[a]:
            if i >= 0:
                words[n_words] = i
                n_words += 1
        sums[:] = 0
        for p in range(0, n_words - 1, 2):  # two rows at a time: half as often through the sums
            row, other = factors[words[p]], factors[words[p + 1]]
            for mu in range(n_neurons):
                sums[mu] += row[mu] + other[mu]
        if n_words % 2:
            row = factors[words[n_words - 1]]
            for mu in range(n_neurons):
                sums[mu] += row[mu]
        largest = np.float32(-np.inf)
        for mu in range(n_neurons):
            sums[mu] *= scales[mu]
            if sums[mu] > largest:
                largest = sums[mu]
        winner = n_neurons
        for mu in range(n_neurons):  # a minimum over all is faster than stopping at the first
            winner = min(winner, np.int32(mu) if sums[mu] == largest else n_neurons)
        winners[a] = winner if n_words else np.int32(-1)


@njit(**_exact)
def _collect_entries(
    part: int,
    first: int,
    last: int,
    neurons: Any,
    windows: NDArray[np.int32],
    inverse_counts: NDArray[np.float64],
    starts: IntArray,
    order: IntArray,
    seen: NDArray[np.int32],
    touched: Any,
) -> None:
    """For neurons [first, last): x, the rows that its windows touch, D there and max |D|."""
    factors, scales, _ = neurons
    activity, peaks, sizes, rows, changes = touched
    times = seen[part]  # n_i over the neuron's windows; all 0 before and after (2 V,)
    for mu in range(first, last):
        begin = end = starts[mu] * windows.shape[1]
        for a in order[starts[mu] : starts[mu + 1]]:
            for i in windows[a]:
                if i >= 0:
                    if times[i] == 0:
                        rows[end] = i
                        end += 1
                    times[i] += 1
        x = 0.0
        for e in range(begin, end):
            i = rows[e]
            changes[e] = times[i] * inverse_counts[i]
            times[i] = 0
            x += changes[e] * (scales[mu] * factors[i, mu])
        peak = 0.0
        for e in range(begin, end):
            changes[e] -= x * (scales[mu] * factors[rows[e], mu])
            peak = max(peak, abs(changes[e]))
        activity[mu], peaks[mu], sizes[mu] = x, peak, end - begin


@njit(**_exact)
def _largest_weights(
    factors: Weights, scale: float, mu: int, rows: NDArray[np.int32], seen: NDArray[np.int32]
) -> tuple[float, float]:
    """The largest |weight| of a neuron, over all rows and over those not in ``rows``."""
    for i in rows:
        seen[i] = 1
    largest = untouched = 0.0
    for i in range(len(factors)):
        weight = abs(scale * factors[i, mu])
        largest = max(largest, weight)
        if not seen[i]:
            untouched = max(untouched, weight)
    for i in rows:
        seen[i] = 0
    return largest, untouched


@njit(**_exact)
def _apply_entries(
    part: int, first: int, last: int, neurons: Any, gain: float, entries: IntArray, touched: Any
) -> None:
    """W += g D for neurons [first, last); ``changes`` becomes the new weights of the entries."""
    factors, scales, bounds = neurons
    activity, _, sizes, rows, changes = touched
    for mu in range(first, last):
        begin, end = entries[mu], entries[mu] + sizes[mu]
        for e in range(begin, end):
            step = gain * changes[e]
            weight = scales[mu] * factors[rows[e], mu]
            changes[e] = weight + step if abs(step) > SMALLEST_STEP else weight
        decay = gain * activity[mu]
        if abs(decay) * bounds[mu] > SMALLEST_STEP:
            scales[mu] *= 1.0 - decay
            bounds[mu] *= abs(1.0 - decay)
        if not SCALE_RANGE[0] < scales[mu] < SCALE_RANGE[1]:
            for i in range(len(factors)):
                factors[i, mu] = scales[mu] * factors[i, mu]
            scales[mu] = 1.0
        for e in range(begin, end):
            factors[rows[e], mu] = changes[e] / scales[mu]
            bounds[mu] = max(bounds[mu], abs(changes[e]))
