"""What a run of the rule of counts will cost on this machine, and what a budget affords of it.

Before it starts, a few pieces of each stage are timed: blocks counted on the first sentences, one
product and one QR of a turn, one step of k-means. From then on the steps time themselves.

A budget is kept by counting a share of the sentences only (:mod:`shoestring.words.counts` says how
it is drawn). The share is chosen before the first block; should the machine become slower, later
blocks are counted on a smaller one, and the SVD and k-means end after fewer steps.

Letters: T tokens, S sentences, V words, K neurons, D components.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shoestring.errors import BudgetError
from shoestring.models.token_encoder import unit_rows
from shoestring.parallel import KernelPool
from shoestring.words.centres import moved
from shoestring.words.count_run import LEAST_TURNS, CountRun
from shoestring.words.counts import SparseRows, room_for_columns
from shoestring.words.factors import first_basis, turned

SHARE_OF_BUDGET = 0.9  # of the time that is left: speed varies
LEAST_SHARE = 0.01  # of the sentences
FEW_STEPS = 3  # of k-means, where there is no time for more
NEWS = 0.3  # weight of the last step, which something else may have slowed down
TIMED_TOKENS = 1 << 20
TIMED_ROWS = 1 << 12
TIMED_ENTRIES = 1 << 17
SECONDS_AN_ACTIVATION = 5e-8  # to standardise it and find the active ones


@dataclass(slots=True)
class Costs:
    """Seconds of each step.

    Parameters
    ----------
    empty_block : float
        A block of rows of a corpus without a sentence.
    block : float
        What all the sentences add to it.
    turn : float
        Of the basis, for an empty matrix.
    entry : float
        What an entry of the matrix adds to it.
    centres : float
        A step of k-means.
    end : float
        What comes behind the steps.
    """

    empty_block: float
    block: float
    turn: float
    entry: float
    centres: float
    end: float

    def remaining(self, run: CountRun, share: float) -> float:
        """Of all that a run has still to do, with a share of the sentences."""
        left = run.steps_left
        counting = left["counting"] * (self.empty_block + share * self.block)
        svd = (left["factors"] + 2 * (left["factors"] > 0)) * self.one_turn(run, share)
        return counting + svd + left["centres"] * self.centres + self.end

    def least(self, run: CountRun) -> float:
        """Of a run that takes the least share, and few steps of each stage."""
        counting = run.pmi.n_blocks * (self.empty_block + LEAST_SHARE * self.block)
        svd = (LEAST_TURNS + 2) * self.one_turn(run, LEAST_SHARE)
        return counting + svd + FEW_STEPS * self.centres + self.end

    def one_turn(self, run: CountRun, share: float) -> float:
        """A turn of the basis for the matrix of a share of the sentences."""
        return self.turn + self.entry * run.expected_entries(share)

    def affordable(self, run: CountRun, seconds: float) -> float:
        """The share of the sentences that a new run can count if it has so many seconds.

        Raises
        ------
        BudgetError
            If they are not enough for :data:`LEAST_SHARE` and a few steps of each stage.
        """
        least = self.least(run)
        if seconds < least:
            raise BudgetError(
                f"{max(seconds, 0) / 60:.2g} minutes are left of the budget, not enough for "
                f"{run.pmi.n_words:,} words and {run.n_neurons} neurons: {LEAST_SHARE:.0%} of the "
                f"{len(run.pmi.ids):,} tokens takes {least / 60:.2g}. Pass more minutes, a "
                "smaller vocabulary or fewer neurons."
            )
        return self.fitting(run, 1.0, SHARE_OF_BUDGET * seconds)

    def fitting(self, run: CountRun, share: float, seconds: float) -> float:
        """The largest share, of at most this one, with which a run ends in so many seconds."""
        if self.remaining(run, share) <= seconds:
            return share
        low, high = LEAST_SHARE, share
        for _ in range(20):  # what remains grows with the share
            middle = (low + high) / 2
            fits = self.remaining(run, middle) <= seconds
            low, high = (middle, high) if fits else (low, middle)
        return min(low, share)

    def saw(self, run: CountRun, stage: str, n_steps: int, share: float, seconds: float) -> None:
        """Learn from steps that were done."""
        if not n_steps:
            return
        if stage == "counting":
            seen = max(seconds / n_steps - self.empty_block, 0.0) / share
            self.block += NEWS * (seen - self.block)
        elif stage == "factors":
            slower = 1 + NEWS * (seconds / n_steps / max(self.one_turn(run, share), 1e-9) - 1)
            self.turn, self.entry = slower * self.turn, slower * self.entry
        elif stage == "centres":
            self.centres += NEWS * (seconds / n_steps - self.centres)


def measured_costs(run: CountRun) -> Costs:
    """Time some steps without doing them.

    Notes
    -----
    Cost: about half a second, and whatever must still be compiled.
    """
    pmi, team = run.pmi, run.team
    n_sentences = int(np.searchsorted(pmi.offsets, TIMED_TOKENS, side="right")) - 1
    n_sentences = max(1, min(n_sentences, len(pmi.offsets) - 1))
    n_timed = min(team.n_ranges, pmi.n_blocks)

    def count(n: int) -> None:
        def kernel(number: int, first: int, last: int) -> None:
            for block in range(first, last):
                pmi.count(block, 1.0, n)

        team.run(kernel, n_timed)

    empty = _seconds(lambda: count(0)) / n_timed
    some = _seconds(lambda: count(n_sentences)) / n_timed
    scale = len(pmi.ids) / max(1, int(pmi.offsets[n_sentences]))
    end = 2 * pmi.n_words * run.n_neurons * SECONDS_AN_ACTIVATION
    block = max(some - empty, 1e-9) * scale
    return Costs(empty, block, *_svd_seconds(run, team), _kmeans_seconds(run), end)


def _seconds(work: Callable[[], object]) -> float:
    """How long it takes when it is compiled: the best of three, something else may run."""
    work()
    times = []
    for _ in range(3):
        began = time.monotonic()
        work()
        times.append(time.monotonic() - began)
    return min(times)


def _svd_seconds(run: CountRun, team: KernelPool) -> tuple[float, float]:
    """A turn of the basis without an entry of the matrix, and what an entry adds."""
    pmi = run.pmi
    n_rows = min(pmi.n_words, TIMED_ROWS)
    rng = np.random.default_rng(0)
    basis = first_basis(n_rows, min(run.n_components, n_rows), 0)
    times = []
    for n_entries in (n_rows, TIMED_ENTRIES):
        starts = np.linspace(0, n_entries, n_rows + 1).astype(np.int64)
        columns = room_for_columns(n_entries, pmi.n_words)  # else it is compiled once more
        columns[:] = rng.integers(n_rows, size=n_entries)
        matrix = SparseRows(starts, columns, np.ones(n_entries, np.float32))
        times.append(_seconds(lambda matrix=matrix: turned(matrix, basis, 0, team)))  # type: ignore[misc]
    an_entry = max(times[1] - times[0], 0.0) / max(1, TIMED_ENTRIES - n_rows)
    return times[0] * pmi.n_words / n_rows, an_entry


def _kmeans_seconds(run: CountRun) -> float:
    n_rows = min(run.pmi.n_words, TIMED_ROWS)
    rng = np.random.default_rng(0)
    width = (max(n_rows, run.n_neurons), run.n_components)
    vectors = unit_rows(rng.standard_normal(width, dtype=np.float32))
    centres, nearest = vectors[: run.n_neurons], np.full(n_rows, -1)
    some = _seconds(lambda: moved(vectors[:n_rows], centres, nearest))
    return some * run.pmi.n_words / n_rows
