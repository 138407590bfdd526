"""Training by the published rule: a budget, checkpoints, interruption, the progress line.

A run with a budget of minutes keeps the published schedule and shortens its epochs: speed is
measured before the start, and each epoch sees the first so many mini-batches of its own random
order. That number is fixed before the first step and kept in the record and the checkpoint, so the
same settings with ``windows_per_epoch`` give the same bits without a clock. Should the machine
become slower, the run stops when the minutes are over; with a checkpoint it can go on.

Letters: V vocabulary, K neurons, T tokens, S sentences, N windows.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from shoestring.errors import BudgetError, ParameterError
from shoestring.parallel import KernelPool, n_cores
from shoestring.types import IntArray
from shoestring.words.bioword import Neurons, Weights, empty_weights, initial_weights
from shoestring.words.checkpoints import (
    Arrays,
    Checkpoint,
    check_same_run,
    damaged,
    fingerprint,
    read_checkpoint,
    seconds_of,
    write_checkpoint,
)
from shoestring.words.run import Run, TrainingRecord, TrainingSettings
from shoestring.words.windows import Windows, windows_of

__all__ = ["TrainingRecord", "TrainingSettings", "train"]

RULE = "published"
CHECKPOINT_SECONDS = 60.0
SHARE_OF_BUDGET = 0.95  # of the minutes that are left: speed varies


def train(
    ids: NDArray[np.int32],
    offsets: IntArray,
    counts: IntArray,
    settings: TrainingSettings | None = None,
    *,
    checkpoint: str | Path | None = None,
    minutes: float | None = None,
    n_threads: int | None = None,
    progress: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> tuple[Weights, TrainingRecord]:
    """Learn the weights of K neurons from a corpus.

    Parameters
    ----------
    ids : int32 array (T,)
        Words 0 to V - 1, -1 where one is skipped (it keeps its place); may be memory-mapped.
    offsets : int64 array (S + 1,)
        Where sentences begin, with a leading 0 and a trailing T; may be memory-mapped.
    counts : int64 array (V,)
        How often each word occurs.
    settings : TrainingSettings, optional
    checkpoint : path, optional
        A folder. What is in it is gone on with; it is written every ``checkpoint_seconds``, at the
        end and when Ctrl-C interrupts, after the mini-batch in hand. Without one an interrupted run
        is lost.
    minutes : float, optional
        Budget of this call: a new run shortens its epochs to what fits, any run stops in time.
    n_threads : int, optional
        All cores by default. The weights do not depend on it.
    progress : bool
        Say what it will cost, then show the time left, dead neurons and the winners' entropy.
    checkpoint_seconds : float

    Returns
    -------
    weights : float32 array (2 V, K)
        Row w of a context word, row V + w of a target: the published matrix transposed.
    record : TrainingRecord

    Raises
    ------
    ParameterError
        If the corpus has no window, or the checkpoint is of other settings or another corpus.
    ShapeError
        If ids, offsets and counts do not fit together.
    BudgetError
        If the minutes are not enough for a mini-batch an epoch.
    IntegrityError, FormatError, StorageError
        If the checkpoint cannot be read or written.

    Notes
    -----
    Cost: N W K additions an epoch; memory: 8 V K bytes of weights, twice at the end, and less than
    50 MB, whatever the corpus.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ids = rng.integers(20, size=300, dtype=np.int32)
    >>> offsets, counts = np.arange(0, 301, 15), np.bincount(ids, minlength=20)
    >>> settings = TrainingSettings(n_neurons=8, window=5, n_epochs=2, batch_size=50)
    >>> weights, record = train(ids, offsets, counts, settings)
    >>> weights.shape, record.windows_seen, record.finished
    ((40, 8), 440, True)
    """
    deadline = time.monotonic() + seconds_of(minutes)
    settings = settings or TrainingSettings()
    windows = windows_of(ids, offsets, len(counts), settings.window, settings.max_length)
    if not len(counts):
        raise ParameterError("There is nothing to learn from: no word has a count. Pass more text.")
    if not windows.n_windows:
        raise ParameterError(
            f"There is nothing to learn from: none of {len(offsets) - 1} sentences has "
            f"{settings.window} to {settings.max_length - 1} tokens. Pass more text or a smaller "
            "window."
        )
    folder = None if checkpoint is None else Path(checkpoint)
    corpus = "" if folder is None else fingerprint(ids, offsets, counts)
    with KernelPool(n_cores() if n_threads is None else n_threads) as team:
        run = _begun(settings, windows, counts, team, folder, corpus)
        speed = run.windows_per_second() if run.windows_left and (progress or minutes) else 0.0
        if minutes is not None and not run.windows_seen:
            run.settings = _shortened(run, speed, deadline - time.monotonic())
        if progress:
            _say_cost(run, speed)
        going = _Going(run, folder, corpus, deadline, checkpoint_seconds)
        seen, began = run.windows_seen, time.monotonic()
        going.watch(progress)
        seconds = time.monotonic() - began
    return run.rule.neurons.weights(), run.record((run.windows_seen - seen) / max(seconds, 1e-9))


def _begun(
    settings: TrainingSettings, windows: Windows, counts: IntArray, team: KernelPool,
    folder: Path | None, corpus: str,
) -> Run:  # fmt: skip
    """A new run, or the one of the checkpoint."""
    saved = None if folder is None else read_checkpoint(folder, _aligned)
    if folder is None or saved is None:
        weights = initial_weights(len(counts), settings.n_neurons, settings.sigma, settings.seed)
        return Run(settings, windows, Neurons.of(weights), counts, team)
    same = asdict(settings)
    if settings.windows_per_epoch is None:  # a budget may have chosen it
        del same["windows_per_epoch"]
    check_same_run(folder, saved, RULE, same, corpus)
    shortened = replace(settings, windows_per_epoch=saved.settings.get("windows_per_epoch"))
    try:
        neurons = Neurons(saved.arrays["factors"], *saved.arrays["scales"])
        run = Run(shortened, windows, neurons, counts, team)
        run.go_to(saved.place["epoch"], saved.place["batch"], saved.arrays["wins"])
    except (KeyError, TypeError) as error:
        raise damaged(folder, error) from error
    return run


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Room for an array; the weights' rows start where cache lines do."""
    return empty_weights(*shape) if dtype == np.float32 else np.empty(shape, dtype)


def _shortened(run: Run, speed: float, seconds: float) -> TrainingSettings:
    """The settings with epochs that fit the time; whole epochs if they do."""
    settings, batch = run.settings, min(run.settings.batch_size, run.epoch_windows)
    affordable = int(max(0.0, seconds) * SHARE_OF_BUDGET * speed / settings.n_epochs)
    if affordable >= run.epoch_windows:
        return settings
    if affordable < batch:
        needed = batch * settings.n_epochs / speed / SHARE_OF_BUDGET / 60
        raise BudgetError(
            f"{max(0.0, seconds) / 60:.2g} minutes are left of the budget, not enough for a "
            f"mini-batch in each of {settings.n_epochs} epochs. Pass {needed:.2g} minutes more "
            "or fewer epochs."
        )
    return replace(settings, windows_per_epoch=affordable // batch * batch)


def _say_cost(run: Run, speed: float) -> None:
    seconds = run.windows_left / speed if speed else 0.0
    share = run.epoch_windows / run.windows.n_windows
    megabytes = run.rule.neurons.factors.nbytes / 1e6
    tqdm.write(
        f"{run.windows.n_windows:,} windows, {share:.0%} of them in each of "
        f"{run.settings.n_epochs} epochs; {run.windows_left:,} to go at {speed:,.0f} a second: "
        f"about {tqdm.format_interval(seconds)}; {megabytes:,.0f} MB of weights",
        file=sys.stderr,
    )


class _Going:
    """A run that goes on in a thread of its own, so that Ctrl-C never cuts a mini-batch."""

    def __init__(
        self, run: Run, folder: Path | None, corpus: str, deadline: float, every: float
    ) -> None:
        self.run, self.folder, self.corpus = run, folder, corpus
        self.deadline, self.every = deadline, every
        self.stop = Event()

    def watch(self, progress: bool) -> None:
        """Show the run's progress until it ends; an exception here ends it, and it is kept."""
        run = self.run
        with (
            tqdm(
                desc="training", total=run.windows_seen + run.windows_left, unit="window",
                initial=run.windows_seen, unit_scale=True, disable=not progress,
            ) as bar,
            ThreadPoolExecutor(1) as thread,
        ):  # fmt: skip
            going = thread.submit(self._go)
            try:
                while wait([going], timeout=0.5).not_done:
                    _show(bar, run)
            finally:
                self.stop.set()
            going.result()
            _show(bar, run)

    def _go(self) -> None:
        kept = time.monotonic()
        while self.run.windows_left and not self.stop.is_set():
            self.run.advance()
            now = time.monotonic()
            if now > self.deadline:
                break
            if now - kept > self.every:
                self._keep()
                kept = time.monotonic()
        self._keep()

    def _keep(self) -> None:
        run = self.run
        if self.folder is not None:
            place = {"epoch": run.epoch, "batch": run.batch}
            neurons = run.rule.neurons
            scales = np.stack([neurons.scales, neurons.bounds])
            arrays: Arrays = {"factors": neurons.factors, "scales": scales, "wins": run.wins}
            settings = asdict(run.settings)
            write_checkpoint(
                self.folder, Checkpoint(RULE, settings, self.corpus, place, arrays, {})
            )


def _show(bar: tqdm, run: Run) -> None:
    record = run.record(0.0)
    bar.set_postfix_str(
        f"epoch {min(run.epoch + 1, run.settings.n_epochs)}/{run.settings.n_epochs}, "
        f"{record.dead_neurons} dead, winners {record.entropy_bits:.2f} of "
        f"{np.log2(run.settings.n_neurons):.2f} bits",
        refresh=False,
    )
    bar.update(run.windows_seen - bar.n)
