"""A run of the rule of counts on its way: its budget, its checkpoints, its progress bar.

Letters: V words.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from shoestring.parallel import KernelPool
from shoestring.types import IntArray
from shoestring.words.checkpoints import (
    Checkpoint,
    Entries,
    check_same_run,
    damaged,
    read_checkpoint,
    write_checkpoint,
)
from shoestring.words.count_budget import FEW_STEPS, Costs, measured_costs
from shoestring.words.count_run import CountRun
from shoestring.words.counts import PmiBlocks

if TYPE_CHECKING:
    from shoestring.words.count_rule import CountSettings

RULE = "counts"

_SAID = {
    "counting": "counting, block {} of {}",
    "factors": "SVD, turn {} of {}",
    "centres": "k-means, step {} of {}",
    "done": "done",
}


class WatchedRun:
    """A run, from its beginning or its checkpoint to its end.

    Parameters
    ----------
    ids, offsets : arrays
        The corpus.
    n_words : int
        V.
    settings : CountSettings
    team : KernelPool
    folder : Path or None
        Of the checkpoint.
    corpus : str
        Its fingerprint, for the checkpoint.
    every : float
        Seconds between two checkpoints.
    deadline : float
        On the monotonic clock.
    """

    def __init__(
        self, ids: NDArray[np.int32], offsets: IntArray, n_words: int, settings: CountSettings,
        team: KernelPool, *, folder: Path | None, corpus: str, every: float, deadline: float,
        progress: bool,
    ) -> None:  # fmt: skip
        self._text, self._n_words = (ids, offsets), n_words
        self._settings, self._team = settings, team
        self._folder, self._corpus, self._every = folder, corpus, every
        self._deadline, self._progress = deadline, progress
        self._timed = progress or deadline < np.inf
        self._share = settings.share
        self._entries: Entries = {}
        self._costs: Costs | None = None
        self.run = self._resumed() or self._begun()

    def _run(self, share: float, context_sums: NDArray[np.float64] | None = None) -> CountRun:
        settings = self._settings
        pmi = PmiBlocks(
            *self._text, self._n_words, radius=settings.window // 2, share=share,
            context_power=settings.context_power, seed=settings.seed, context_sums=context_sums,
        )  # fmt: skip
        n_components = settings.n_components_of(self._n_words)
        return CountRun(pmi, settings.n_neurons, n_components, settings.seed, self._team)

    def _begun(self) -> CountRun:
        """A new run; its share of the sentences is what the budget affords."""
        if self._timed:
            trial = self._run(1.0, np.ones(self._n_words))
            self._costs = measured_costs(trial)
            if self._deadline < np.inf:
                affordable = self._costs.affordable(trial, self._deadline - time.monotonic())
                self._share = min(self._share, affordable)
        return self._run(self._share)

    def _resumed(self) -> CountRun | None:
        """The run of the checkpoint, if there is one."""
        saved = None if self._folder is None else read_checkpoint(self._folder)
        if saved is None or self._folder is None:
            return None
        same = asdict(self._settings)
        if self._settings.share == 1:  # a budget may have chosen it
            del same["share"]
        check_same_run(self._folder, saved, RULE, same, self._corpus)
        self._entries = saved.entries
        try:
            self._share = saved.settings["share"]
            sums = saved.arrays.get("sums", np.ones(self._n_words))
            run = self._run(self._share, sums)
            run.go_to(saved.place, saved.arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise damaged(self._folder, error) from error
        if self._timed:
            self._costs = measured_costs(run)
        return run

    def go(self) -> None:
        """Go on to the end; Ctrl-C leaves a checkpoint of all that was done."""
        run, costs = self.run, self._costs
        total = costs.remaining(run, self._share) if costs else 0.0
        kept = time.monotonic()
        with tqdm(
            total=total, disable=not self._progress, file=sys.stderr,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        ) as bar:  # fmt: skip
            try:
                while run.place.stage != "done":
                    self._show(bar)
                    self._advance()
                    if run.all_is_counted or time.monotonic() - kept > self._every:
                        self._keep()
                        kept = time.monotonic()
            except KeyboardInterrupt:
                self._keep()
                raise
            self._show(bar)
        self._keep()

    def _advance(self) -> None:
        run, costs = self.run, self._costs
        began, stage, done = time.monotonic(), run.place.stage, run.n_done
        if costs is None:
            run.advance(self._share)
            return
        left = self._deadline - began
        if stage == "counting":
            self._share = costs.fitting(run, self._share, left)
        spare = costs.centres
        if stage == "factors":  # two turns, and with its SVD and a product two more
            spare = 4 * costs.one_turn(run, self._share) + FEW_STEPS * costs.centres
        run.advance(self._share, hurried=left < spare + costs.end)
        n_steps = run.n_done - done if run.place.stage == stage else 0
        costs.saw(run, stage, n_steps, self._share, time.monotonic() - began)

    def _keep(self) -> None:
        if self._folder is None:
            return
        place, arrays, lasting = self.run.state()
        n_blocks = len(self.run.blocks)
        entries = {name: entry for name, entry in self._entries.items() if name in lasting}
        settings = asdict(self._settings) | {"share": self._share}
        checkpoint = Checkpoint(RULE, settings, self._corpus, place, arrays, entries)
        self._entries = write_checkpoint(self._folder, checkpoint)
        self.run.kept(place, n_blocks)

    def say_cost(self) -> None:
        """On standard error, in one line."""
        if not self._progress or self._costs is None:
            return
        seconds = self._costs.remaining(self.run, self._share)
        megabytes = 8 * self._n_words * self._settings.n_neurons / 1e6
        share = "" if self._share == 1 else f", {self._share:.2g} of the sentences"
        tqdm.write(
            f"{len(self._text[0]):,} tokens{share}, {self._n_words:,} words: about "
            f"{tqdm.format_interval(seconds)}; {megabytes:,.0f} MB of weights",
            file=sys.stderr,
        )

    def _show(self, bar: tqdm) -> None:
        run, costs = self.run, self._costs
        if costs is None:
            return
        stage, left = run.place.stage, run.steps_left
        n_steps = run.n_done + left.get(stage, 0)
        bar.set_description(_SAID[stage].format(min(run.n_done + 1, n_steps), n_steps), False)
        remaining = 0.0 if stage == "done" else costs.remaining(run, self._share)
        bar.update(max(0.0, bar.total - remaining - bar.n))
