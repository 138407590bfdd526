"""A training run: what determines it, where it is, what it has done so far.

The learning rate goes down from epoch to epoch, rate (1 - epoch / epochs); an epoch is every window
once, in an order of its own. The last mini-batch of an epoch is what is left, alone (published: the
tail of the mini-batch before is seen a second time in its place).

Letters: V vocabulary, K neurons, N windows, E epochs.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from shoestring.errors import ParameterError
from shoestring.parallel import KernelPool
from shoestring.types import IntArray
from shoestring.words.bioword import BioWord, Neurons
from shoestring.words.windows import Windows, order_keys

TIMING_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What determines the weights, together with the corpus. The defaults are the published ones.

    Parameters
    ----------
    n_neurons : int
        K.
    window : int
        Words of a window, odd; the target is in the middle.
    n_epochs : int
    batch_size : int
        Windows of a mini-batch.
    learning_rate : float
        Of the first epoch: the largest change of any weight by one mini-batch.
    sigma : float
        Standard deviation of the first weights. (One of the two published scripts has 0: then all
        neurons tie for ever and neuron 0 wins every window.)
    max_length : int
        Sentences of that many tokens and more are left out.
    windows_per_epoch : int, optional
        Windows of an epoch, each epoch another random choice; all of them by default.
    seed : int

    Raises
    ------
    ParameterError
        If a value is none it can have.
    """

    n_neurons: int = 400
    window: int = 11
    n_epochs: int = 15
    batch_size: int = 10_000
    learning_rate: float = 0.002
    sigma: float = 0.02
    max_length: int = 214
    windows_per_epoch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_neurons", "n_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise _unfit(name, "an int of at least 1", getattr(self, name))
        if self.window < 3 or self.window % 2 == 0:
            raise _unfit("window", "an odd int of at least 3", self.window)
        if not self.max_length > self.window:
            raise _unfit("max_length", f"more than the window of {self.window}", self.max_length)
        if not 0 < self.learning_rate < np.inf:
            raise _unfit("learning_rate", "a positive float", self.learning_rate)
        if not 0 < self.sigma < np.inf:
            hint = "Without a spread all neurons tie and one wins every window; 0.02 is published."
            raise _unfit("sigma", "a positive float", self.sigma, hint)
        if self.windows_per_epoch is not None and self.windows_per_epoch < 1:
            raise _unfit("windows_per_epoch", "None or at least 1", self.windows_per_epoch)
        if self.seed < 0:
            raise _unfit("seed", "an int of at least 0", self.seed)


def _unfit(name: str, want: str, got: object, hint: str = "") -> ParameterError:
    return ParameterError.of(name, "TrainingSettings", want, got, hint)


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What a run has done.

    Parameters
    ----------
    settings : TrainingSettings
        With the ``windows_per_epoch`` that were seen: they give the same weights again.
    n_windows : int
        N, of the corpus.
    windows_seen : int
    epochs_done : int
        Whole epochs; fewer than ``settings.n_epochs`` if the budget ended before them.
    windows_per_second : float
        Of this call; 0 if it had nothing left to do.
    wins : int64 array (E, K)
        How many windows each neuron won in each epoch.
    """

    settings: TrainingSettings
    n_windows: int
    windows_seen: int
    epochs_done: int
    windows_per_second: float
    wins: IntArray

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epochs_done == self.settings.n_epochs

    @property
    def dead_neurons(self) -> int:
        """Neurons that won no window of the last epoch that is at least half done."""
        return int((self._last_wins() == 0).sum())

    @property
    def entropy_bits(self) -> float:
        """Entropy of the winners in that epoch; log2 K where all neurons win equally often."""
        return _entropy_bits(self._last_wins())

    def _last_wins(self) -> IntArray:
        """Of the last epoch that is half done, so that a few windows do not look like death."""
        totals = self.wins.sum(axis=1)
        wins: IntArray = self.wins[np.flatnonzero(2 * totals >= totals[0])[-1]]
        return wins


def _entropy_bits(wins: IntArray) -> float:
    shares = wins[wins > 0] / max(1, wins.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0


class Run:
    """A run between two mini-batches: where it is and what it has learnt.

    ``advance`` moves the place last, so a run that is left between two calls is whole.
    """

    def __init__(
        self, settings: TrainingSettings, windows: Windows, neurons: Neurons, counts: IntArray,
        team: KernelPool,
    ) -> None:  # fmt: skip
        self.windows = windows
        self.rule = BioWord(neurons, counts, team)
        self.team = team
        self.epoch = self.batch = 0
        self.wins = np.zeros((settings.n_epochs, settings.n_neurons), dtype=np.int64)
        self.settings = settings

    @property
    def epoch_windows(self) -> int:
        """How many windows an epoch has."""
        return min(self.windows.n_windows, self.settings.windows_per_epoch or sys.maxsize)

    @property
    def windows_left(self) -> int:
        """How many windows are still to learn from; 0 at the end."""
        return self.settings.n_epochs * self.epoch_windows - self.windows_seen

    @property
    def windows_seen(self) -> int:
        """How many windows have been learnt from."""
        return self.epoch * self.epoch_windows + self.batch * self.settings.batch_size

    def go_to(self, epoch: int, batch: int, wins: IntArray) -> None:
        """Go on from a place at which the neurons are already."""
        self.epoch, self.batch, self.wins = epoch, batch, wins

    def advance(self, rate_share: float = 1.0) -> None:
        """Learn from the next mini-batch; a share of 0 of the rate only times it."""
        settings = self.settings
        first = self.batch * settings.batch_size
        last = min(first + settings.batch_size, self.epoch_windows)
        rate = settings.learning_rate * (1 - self.epoch / settings.n_epochs)
        keys = order_keys(settings.seed, self.epoch)
        rows = self.windows.rows(first, last, keys, self.team)
        winners = self.rule.step(rows, rate * rate_share)
        if not rate_share:
            return
        self.wins[self.epoch] += np.bincount(winners[winners >= 0], minlength=settings.n_neurons)
        if last < self.epoch_windows:
            self.batch += 1
        else:
            self.epoch, self.batch = self.epoch + 1, 0

    def windows_per_second(self) -> float:
        """Time the next mini-batch without learning from it, after the kernels were compiled."""
        bounds = self.rule.neurons.bounds.copy()  # a look at all weights would make them tighter
        self.advance(rate_share=0.0)
        began, n = time.monotonic(), 0
        while n < 3 or time.monotonic() - began < TIMING_SECONDS:
            self.advance(rate_share=0.0)
            n += 1
        seconds = time.monotonic() - began
        self.rule.neurons.bounds[:] = bounds
        return n * min(self.settings.batch_size, self.epoch_windows) / seconds

    def record(self, windows_per_second: float) -> TrainingRecord:
        """What has been done."""
        n_windows, seen = self.windows.n_windows, self.windows_seen
        return TrainingRecord(
            self.settings, n_windows, seen, self.epoch, windows_per_second, self.wins
        )
