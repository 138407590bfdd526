"""From moments to a layer that can be used: shrinkage, size of the expansion, calibration.

``auto`` leaves each sample of :mod:`~shoestring.classify.sample` out, in closed form, and takes the
shrinkage and the number of random features of the least log-loss at the best temperature.

Letters: N samples, K kept ones, C classes, D features, M random features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from shoestring.classify.analytic import Layer, Metric, layer_of, shrunk
from shoestring.classify.calibration import (
    BOUNDS,
    Calibration,
    calibrated,
    is_as_good,
    log_losses,
    temperature_of,
)
from shoestring.classify.leave_one_out import LeftOut, left_out
from shoestring.classify.moments import Doubles, Moments
from shoestring.classify.sample import Sample
from shoestring.parallel import n_cores, one_blas_thread

GRID = (0.0, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)  # of shrinkage
UNSOUND = 1e3  # added to the loss where a direction is made up by one sample, or by rounding
MOST_T = 0.999 / BOUNDS[0]  # what needs a higher temperature has classes apart by rounding
TIE = 1e-3  # losses so near each other are equal: more shrinkage is taken
PATIENCE = 2  # shrinkages in a row that are no better
WAVE = 2  # shrinkages tried at once: each holds some D^2 numbers, and SciPy solves one at a time
LEAST = 1e-6  # where the covariance has not full rank
PARTS = (0.0, 0.125, 0.25, 0.5, 1.0)  # of the random features, tried by "auto"


@dataclass(frozen=True, slots=True)
class Problem:
    """What was learned, and what is left open."""

    moments: Moments  # in all features that may be used
    sample: Sample  # the kept samples that can be left out: in these features, beyond the shift
    shrinkage: float | str
    priors: Doubles | None  # (C,), positive; None: the classes' frequencies
    sizes: tuple[int, ...]  # numbers of features to try, ascending


@dataclass(frozen=True, slots=True)
class Solution:
    """A layer and what it was solved with."""

    layer: Layer  # of the first n_used features
    calibration: Calibration
    shrinkage: float
    n_used: int  # features, random ones included
    refined: dict[str, float] | None = None  # after Newton steps: how many, and how good


def sizes_to_try(n_given: int, moments: Moments) -> tuple[int, ...]:
    """Numbers of features: the given ones alone, and up to half as many as there are samples."""
    n_random = moments.n_features - n_given
    sizes = {n_given + int(part * n_random) for part in PARTS}
    return tuple(sorted(n for n in sizes if n == n_given or n <= moments.sizes.sum() / 2))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A shrinkage and a number of features, and how well left out samples are predicted."""

    seen: LeftOut
    metric: Metric  # in all features
    shrinkage: float
    losses: Doubles  # (K,), at the best temperature
    loss: float

    @classmethod
    def of(cls, seen: LeftOut, metric: Metric, shrinkage: float) -> Candidate:
        """The candidate, judged."""
        temperature = temperature_of(seen.logits, seen.labels, seen.weights)
        losses = log_losses(seen.logits / temperature, seen.labels)
        loss = float(seen.weights @ losses / seen.weights.sum()) if len(losses) else 0.0
        if not seen.sound or temperature >= MOST_T:
            loss += UNSOUND
        return cls(seen, metric, shrinkage, losses, loss)


@one_blas_thread()
def solve(problem: Problem) -> Solution:
    """Choose what is left open, and solve."""
    found: dict[int, Candidate] = {}
    as_good: dict[int, Candidate] = {}  # as those found, with more shrinkage
    least, worse = math.inf, 0
    # shrinkages from little to much, until some in a row are no better for any size
    for candidates in _tried(problem):
        for size, candidate in candidates.items():
            if size not in found or candidate.loss < found[size].loss:
                found[size] = candidate
            if candidate.loss < found[size].loss + TIE:
                as_good[size] = candidate
        before, least = least, min(other.loss for other in found.values())
        worse = 0 if least < before else worse + 1
        if worse >= PATIENCE and least < UNSOUND:
            break
    size = _smallest(found, problem.sample.weights)
    best = as_good[size]
    # the temperature, by the kept samples as that layer would see them
    calibration = calibrated(best.seen.logits, best.seen.labels, best.seen.weights)
    priors = problem.moments.weights if problem.priors is None else problem.priors
    layer = layer_of(problem.moments.of_features(size), best.metric.of_features(size), priors)
    return Solution(layer, calibration, best.shrinkage, size)


@one_blas_thread()
def evidence(problem: Problem, solution: Solution) -> Candidate:
    """What a solution was solved with, in its features alone.

    It is computed again where it is asked for, so that it need not be kept or saved.
    """
    problem = replace(problem, sizes=(solution.n_used,))
    return _candidates(problem, problem.moments.covariance(), solution.shrinkage)[solution.n_used]


def _tried(problem: Problem) -> Iterator[dict[int, Candidate]]:
    """The candidates of each shrinkage, in order; some are tried at once, a core for each."""
    shrinkages = _shrinkages(problem.moments, problem.shrinkage, len(problem.sample))
    candidates_of = partial(_candidates, problem, problem.moments.covariance())
    n_threads = min(n_cores(), WAVE)
    with ThreadPoolExecutor(n_threads) as pool:
        for start in range(0, len(shrinkages), n_threads):
            yield from pool.map(candidates_of, shrinkages[start : start + n_threads])


def _candidates(problem: Problem, covariance: Doubles, shrinkage: float) -> dict[int, Candidate]:
    """A candidate for each number of features."""
    most = problem.sizes[-1]
    metric = Metric.of(shrunk(covariance, shrinkage)[:most, :most])
    white = metric.whiten(problem.sample.X[:, :most])
    centres = metric.whiten(problem.moments.means[:, :most])
    sizes = ends = problem.sizes
    if not metric.is_full:  # whitened features are no longer in the order of the given ones
        sizes, ends = sizes[-1:], white.shape[1:]
    priors = problem.priors
    log_priors = None if priors is None else np.log(priors / priors.sum())
    sample = replace(problem.sample, X=white)
    each = left_out(sample, centres, problem.moments, log_priors, shrinkage, ends)
    return {n: Candidate.of(seen, metric, shrinkage) for n, seen in zip(sizes, each, strict=True)}


def _smallest(found: dict[int, Candidate], weights: Doubles) -> int:
    """The fewest features that are not worse than the best by more than a standard error.

    Of the differences sample by sample (the rule of one standard error: Breiman, Friedman, Olshen &
    Stone 1984, with pairs).
    """
    best = min(found, key=lambda size: found[size].loss)
    for size in sorted(found):
        is_sound = found[size].loss < UNSOUND + found[best].loss
        if is_sound and is_as_good(found[size].losses, found[best].losses, weights, 1.0):
            return size
    return best


def _shrinkages(moments: Moments, shrinkage: float | str, n_kept: int) -> tuple[float, ...]:
    """Shrinkages to try."""
    if not isinstance(shrinkage, str):
        return (float(shrinkage),)
    if not n_kept:
        return (oas(moments),)
    n_free = moments.sizes.sum() - (moments.sizes > 0).sum()
    return GRID if n_free > 1.2 * moments.n_features else (LEAST, *GRID[1:])


def oas(moments: Moments) -> float:
    """Oracle approximating shrinkage, in [0, 1], of the residuals x - m_c, from the moments alone.

    Chen, Wiesel, Eldar & Hero (2010), eq. 23, in scikit-learn's form.
    """
    covariance = moments.covariance()
    d, n = len(covariance), moments.total
    mean_square, mu = float((covariance**2).mean()), float(np.trace(covariance)) / d
    above, below = mean_square + mu**2, (n + 1) * (mean_square - mu**2 / d)
    return 1.0 if below == 0 else float(min(above / below, 1.0))
