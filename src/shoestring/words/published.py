"""Training by the published rule: epochs, a time limit, the run folder, the progress line.

The learning rate goes down from epoch to epoch, rate (1 - epoch / epochs); an epoch is every window
once, in an order of its own. The last mini-batch of an epoch is what is left, alone (published: the
tail of the mini-batch before is seen a second time in its place).

A run with a time limit keeps the published schedule and shortens its epochs: speed is measured
before the start, and each epoch sees the first so many mini-batches of its own random order. That
number is fixed before the first step and kept in the run folder, so the same settings with
``windows_per_epoch`` give the same bits without a clock. Should the machine become slower, training
stops when the time is over.

Letters: V vocabulary, K neurons, T tokens, S sentences, N windows.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import Artifact
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.jobs import Clock, Interruptible, RunFolder, say_cost, too_short
from shoestring.parallel import KernelPool, n_cores
from shoestring.progress import Progress
from shoestring.types import IntArray
from shoestring.words.bioword import BioWord, Neurons, Weights, initial_weights
from shoestring.words.state import TrainingState
from shoestring.words.windows import Windows, order_keys

SIGMA = 0.02  # of the first weights; with 0, as one published script has it, all neurons tie
MAX_LENGTH = 214  # sentences of that many tokens and more are left out
TIMING_S = 0.5
SAFETY = 0.95  # of the time that is left: speed varies


@dataclass(frozen=True, slots=True)
class PublishedSettings:
    """What determines the weights beside the corpus; the defaults are the published ones."""

    n_neurons: int = 400  # K
    window: int = 11  # words of a window, odd; the target is in the middle
    n_epochs: int = 15
    batch_size: int = 10_000  # windows of a mini-batch
    learning_rate: float = 0.002  # of the first epoch: the largest change by one mini-batch
    windows_per_epoch: int | None = None  # each epoch another random choice; all by default
    seed: int = 0


class PublishedTraining:
    """A training between two mini-batches: how far it is and what it has learned."""

    def __init__(
        self, settings: PublishedSettings, windows: Windows, counts: IntArray, pool: KernelPool
    ) -> None:
        weights = initial_weights(len(counts), settings.n_neurons, SIGMA, settings.seed)
        self.rule = BioWord(Neurons.of(weights), counts, pool)
        self.settings = settings  # with the ``windows_per_epoch`` that a time limit chooses
        self.windows, self.pool = windows, pool
        self.epoch = self.batch = 0

    @property
    def weights(self) -> Weights:
        """float32 (2 V, K): row w of a context word, row V + w of a target."""
        return self.rule.neurons.weights()

    @property
    def epoch_windows(self) -> int:
        """How many windows an epoch has."""
        return min(self.windows.n_windows, self.settings.windows_per_epoch or sys.maxsize)

    @property
    def windows_seen(self) -> int:
        """How many windows it has learned from."""
        return self.epoch * self.epoch_windows + self.batch * self.settings.batch_size

    @property
    def windows_left(self) -> int:
        """How many windows it still has to learn from; 0 at the end."""
        return self.settings.n_epochs * self.epoch_windows - self.windows_seen

    def advance(self, rate_factor: float = 1.0) -> None:
        """Learn from the next mini-batch; with a factor of 0 it is only timed."""
        settings = self.settings
        first = self.batch * settings.batch_size
        last = min(first + settings.batch_size, self.epoch_windows)
        rate = settings.learning_rate * (1 - self.epoch / settings.n_epochs)
        keys = order_keys(settings.seed, self.epoch)
        rows = self.windows.rows(first, last, keys, self.pool)
        self.rule.step(rows, rate * rate_factor)
        if not rate_factor:
            return
        if last < self.epoch_windows:
            self.batch += 1
        else:
            self.epoch, self.batch = self.epoch + 1, 0

    def windows_per_second(self) -> float:
        """Time the next mini-batch without learning from it, after the kernels were compiled."""
        bounds = self.rule.neurons.bounds.copy()  # a look at all weights would make them tighter
        self.advance(rate_factor=0.0)
        clock, n = Clock(), 0
        while n < 3 or clock.used_s < TIMING_S:
            self.advance(rate_factor=0.0)
            n += 1
        self.rule.neurons.bounds[:] = bounds
        return n * min(self.settings.batch_size, self.epoch_windows) / clock.used_s

    def shorten(self, speed: float, clock: Clock) -> None:
        """Shorten the epochs to what fits into the time that is left."""
        n_epochs, batch = self.settings.n_epochs, min(self.settings.batch_size, self.epoch_windows)
        affordable = int(max(0.0, clock.left_s) * SAFETY * speed / n_epochs)
        if affordable < batch:
            takes_s = batch * n_epochs / speed
            what = f"A mini-batch in each of {n_epochs} epochs"
            raise too_short(what, takes_s, clock.used_s + takes_s / SAFETY, "or fewer --epochs")
        if affordable < self.epoch_windows:
            shorter = affordable // batch * batch
            self.settings = replace(self.settings, windows_per_epoch=shorter)

    def save(self, state: TrainingState) -> None:
        """Save how far it is."""
        neurons = self.rule.neurons
        scales = np.stack([neurons.scales, neurons.bounds])
        shorter = self.settings.windows_per_epoch
        progress = {"epoch": self.epoch, "batch": self.batch, "windows_per_epoch": shorter}
        state.save(progress, {"factors": neurons.factors, "scales": scales})

    def restore(self, saved: Artifact) -> None:
        """Go on from what was saved."""
        neurons = self.rule.neurons
        with saved.decoding():
            self.epoch, self.batch = saved.config["epoch"], saved.config["batch"]
            shorter = saved.config["windows_per_epoch"]
            self.settings = replace(self.settings, windows_per_epoch=shorter)
            neurons.factors[:] = saved.loaded_array("factors.npy")
            neurons.scales[:], neurons.bounds[:] = saved.loaded_array("scales.npy")


def train_published(
    ids: NDArray[np.int32],
    offsets: IntArray,
    counts: IntArray,
    settings: PublishedSettings | None = None,
    *,
    clock: Clock | None = None,
    run: RunFolder | None = None,
    n_threads: int | None = None,
    progress: bool = False,
) -> PublishedTraining:
    """Learn the weights of K neurons from a corpus; they are the published matrix transposed.

    The corpus, ``n_threads`` and ``progress`` are as of
    :func:`shoestring.words.counts_rule.train_on_counts`. With a time limit a new run shortens its
    epochs to what fits; any run stops in time. The state is kept in the run folder every minute,
    and when Ctrl-C interrupts, after the mini-batch in hand; it goes on from there to the same
    bits. A ShoestringWarning says that the time was over before all epochs were.

    ParameterError if the corpus has no window, or the run was on another corpus; the errors of
    :func:`~shoestring.words.windows.check_ids`; BudgetError if the time is not enough for a
    mini-batch an epoch.

    Notes
    -----
    Cost: N W K additions an epoch; memory: 8 V K bytes of weights, twice at the end, and less than
    50 MB, whatever the corpus.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ids = rng.integers(20, size=300, dtype=np.int32)
    >>> offsets, counts = np.arange(0, 301, 15), np.bincount(ids, minlength=20)
    >>> settings = PublishedSettings(n_neurons=8, window=5, n_epochs=2, batch_size=50)
    >>> training = train_published(ids, offsets, counts, settings)
    >>> training.weights.shape, training.windows_seen
    ((40, 8), 440)
    """
    settings, clock = settings or PublishedSettings(), clock or Clock()
    windows = Windows(ids, offsets, len(counts), settings.window, MAX_LENGTH)
    if not windows.n_windows:
        raise ParameterError(
            f"There is nothing to learn from: none of {len(offsets) - 1} sentences has "
            f"{settings.window} to {MAX_LENGTH - 1} tokens. Pass more text or a smaller window."
        )
    state = TrainingState(run, clock, ids, offsets, counts)
    pool = KernelPool(n_threads or n_cores())
    training = PublishedTraining(settings, windows, counts, pool)
    if (saved := state.saved()) is not None:
        training.restore(saved)

    # the speed decides how long epochs may be, and what to say
    is_timed = progress or clock.left_s < np.inf
    speed = training.windows_per_second() if is_timed and training.windows_left else 1.0
    if saved is None and clock.left_s < np.inf:
        training.shorten(speed, clock)
    if progress:
        fraction = training.epoch_windows / windows.n_windows
        megabytes = training.rule.neurons.factors.nbytes / 1e6
        what = (
            f"{windows.n_windows:,} windows, {fraction:.0%} of them in each of "
            f"{settings.n_epochs} epochs, {megabytes:,.0f} MB of weights"
        )
        say_cost(what, training.windows_left / speed)

    seen = training.windows_seen
    look: dict[str, Any] = {"unit": "window", "unit_scale": True, "disable": not progress}
    with (
        Interruptible() as interrupted,
        Progress(desc="training", total=seen + training.windows_left, initial=seen, **look) as bar,
    ):
        while training.windows_left and clock.left_s > 0 and not interrupted:
            training.advance()
            if state.is_due or interrupted:
                training.save(state)
            bar.set_postfix_str(f"epoch {training.epoch}/{settings.n_epochs}", refresh=False)
            bar.update(training.windows_seen - bar.n)
    if training.windows_left:
        warnings.warn(
            f"The minutes were over after {training.epoch} of {settings.n_epochs} epochs, as the "
            "machine became slower. The vectors have learned from what they have seen.",
            ShoestringWarning,
            stacklevel=2,
        )
    return training
