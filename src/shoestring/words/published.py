"""Training by the published rule: epochs, the run folder, the progress line.

The learning rate goes down from epoch to epoch, rate (1 - epoch / epochs); an epoch is every window
once, in an order of its own. The last mini-batch of an epoch is what is left, alone (published: the
tail of the mini-batch before is seen a second time in its place).

A run with a time limit stops when it is over, wherever it is.

Letters: V vocabulary, K neurons, T tokens, S sentences, N windows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import ArtifactKind, digest
from shoestring.errors import BudgetError, ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder, SaveEvery, say_cost
from shoestring.parallel import KernelPool, n_cores
from shoestring.progress import Progress
from shoestring.types import IntArray
from shoestring.words.bioword import BioWord, Neurons, Weights, initial_weights
from shoestring.words.windows import Windows, order_keys

SIGMA = 0.02  # of the first weights; with 0, as one published script has it, all neurons tie
MAX_LENGTH = 214  # sentences of that many tokens and more are left out
SAVE_S = 60.0  # what takes less than this starts again
_STATE = ArtifactKind(
    "shoestring-words-training",
    "the state of a training",
    "train",
    "Remove the run folder and train again.",
)


@dataclass(frozen=True, slots=True)
class PublishedSettings:
    """What determines the weights beside the corpus; the defaults are the published ones."""

    n_neurons: int = 400  # K
    window: int = 11  # words of a window, odd; the target is in the middle
    n_epochs: int = 15
    batch_size: int = 10_000  # windows of a mini-batch
    learning_rate: float = 0.002  # of the first epoch: the largest change by one mini-batch
    seed: int = 0


class PublishedTraining:
    """A training between two mini-batches: how far it is and what it has learned."""

    def __init__(
        self, settings: PublishedSettings, windows: Windows, counts: IntArray, pool: KernelPool
    ) -> None:
        weights = initial_weights(len(counts), settings.n_neurons, SIGMA, settings.seed)
        self.rule = BioWord(Neurons.of(weights), counts, pool)
        self.settings, self.windows, self.pool = settings, windows, pool
        self.epoch = self.batch = 0

    @property
    def weights(self) -> Weights:
        """float32 (2 V, K): row w of a context word, row V + w of a target."""
        return self.rule.neurons.weights()

    @property
    def windows_seen(self) -> int:
        """How many windows it has learned from."""
        return self.epoch * self.windows.n_windows + self.batch * self.settings.batch_size

    @property
    def windows_left(self) -> int:
        """How many windows it still has to learn from; 0 at the end."""
        return self.settings.n_epochs * self.windows.n_windows - self.windows_seen

    def advance(self) -> None:
        """Learn from the next mini-batch."""
        settings, n_windows = self.settings, self.windows.n_windows
        first = self.batch * settings.batch_size
        last = min(first + settings.batch_size, n_windows)
        rate = settings.learning_rate * (1 - self.epoch / settings.n_epochs)
        keys = order_keys(settings.seed, self.epoch)
        self.rule.step(self.windows.rows(first, last, keys, self.pool), rate)
        if last < n_windows:
            self.batch += 1
        else:
            self.epoch, self.batch = self.epoch + 1, 0

    def save(self, folder: Path, corpus: str) -> None:
        """Save how far it is on a corpus, given by its digest."""
        neurons = self.rule.neurons
        with _STATE.saving(folder) as writer:
            writer.array("factors.npy", neurons.factors)
            writer.array("scales.npy", np.stack([neurons.scales, neurons.bounds]))
            writer.config |= {"corpus": corpus, "epoch": self.epoch, "batch": self.batch}

    def restore(self, folder: Path, corpus: str) -> None:
        """Go on from what was saved; a ParameterError if that was on another corpus."""
        neurons, saved = self.rule.neurons, _STATE.read(folder)
        if saved.config.get("corpus") != corpus:
            raise ParameterError(
                f"The interrupted training in {folder.parent} was on other texts. Pass the same "
                "texts, or remove that folder to start again."
            )
        with saved.decoding():
            self.epoch, self.batch = saved.config["epoch"], saved.config["batch"]
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

    The corpus and ``n_threads`` are as of
    :func:`shoestring.words.counts_rule.train_on_counts`; ``progress`` says what it will cost too.
    The state is kept in the run folder every minute; it goes on from there to the same bits. It
    stops when the clock's time is over; a ShoestringWarning says that not all epochs were.

    ParameterError if the corpus has no window, or the run was on another corpus; BudgetError if
    there is no time for a mini-batch.

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
    pool = KernelPool(n_threads or n_cores())
    training = PublishedTraining(settings, windows, counts, pool)
    corpus = "" if run is None else digest(ids, offsets, counts)
    if run is not None and _STATE.is_saved(run.path / "weights"):
        training.restore(run.path / "weights", corpus)

    every, first, is_said = SaveEvery(clock, SAVE_S), training.windows_seen, not progress
    look: dict[str, Any] = {"unit": "window", "unit_scale": True, "disable": not progress}
    total = first + training.windows_left
    with Progress(desc="training", total=total, initial=first, **look) as bar:
        while training.windows_left and clock.left_s > 0:
            seen, began = training.windows_seen, clock.used_s
            training.advance()
            n_windows = training.windows_seen - seen
            if not is_said and seen > first:  # the kernels are compiled
                is_said = True
                what = f"{windows.n_windows:,} windows in each of {settings.n_epochs} epochs"
                say_cost(what, training.windows_left / n_windows * (clock.used_s - began))
            if run is not None and every.is_due:
                began = clock.used_s
                training.save(run.path / "weights", corpus)
                run.keep(clock)
                every.saved(began)
            bar.set_postfix_str(f"epoch {training.epoch}/{settings.n_epochs}", refresh=False)
            bar.update(n_windows)
    if not training.windows_seen:
        raise BudgetError(
            "The minutes were over before a mini-batch was seen. Pass more --minutes."
        )
    if training.windows_left:
        warnings.warn(
            f"The minutes were over after {training.epoch} of {settings.n_epochs} epochs. The "
            "vectors have learned from what they have seen. Ask for fewer epochs, or more minutes.",
            ShoestringWarning,
            stacklevel=2,
        )
    return training
