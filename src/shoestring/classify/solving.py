"""From moments to a layer that can be used: shrinkage, size of the expansion, calibration.

``auto`` leaves each sample of :mod:`~shoestring.classify.sample` out, in closed form, and takes the
shrinkage and the number of random features of the least log-loss at the best temperature.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shoestring.classify.analytic import Layer, Metric, layer_of, shrunk
from shoestring.classify.calibration import Calibration, calibrated, log_losses, temperature_of
from shoestring.classify.leave_one_out import LeftOut, left_out
from shoestring.classify.moments import Doubles, Moments
from shoestring.classify.shrinkage import RULES
from shoestring.parallel import one_blas_thread

GRID = (0.0, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)  # of shrinkage
UNSOUND = 1e3  # added to the loss where a sample alone makes up a direction
PATIENCE = 2  # shrinkages in a row that are no better
SMALL = 1_000  # features, for which threads of two BLAS libraries cost more than they save
LEAST = 1e-6  # where the covariance has not full rank
PARTS = (0.0, 0.125, 0.25, 0.5, 1.0)  # of the random features, tried by "auto"


@dataclass(frozen=True, slots=True)
class Solution:
    """A layer and how it came about.

    Parameters
    ----------
    layer : Layer
        Of the first ``n_used`` features.
    metric : Metric
    calibration : Calibration
    shrinkage : float
    n_used : int
        Features, random ones included.
    left_out : LeftOut or None
        The sample as the layer would see it without each of them.
    """

    layer: Layer
    metric: Metric
    calibration: Calibration
    shrinkage: float
    n_used: int
    left_out: LeftOut | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be settled, and by what.

    Parameters
    ----------
    shrinkage : float or str
    temperature : float or "auto"
    priors : float64 array (C,)
        Positive.
    from_frequencies : bool
        Whether the priors are the classes' frequencies.
    sizes : tuple of int
        Of the features, ascending; one where there is nothing to choose.
    """

    shrinkage: float | str
    temperature: float | str
    priors: Doubles
    from_frequencies: bool
    sizes: tuple[int, ...]


def solve(
    moments: Moments, rows: NDArray[np.floating], labels: NDArray[np.int64], weights: Doubles,
    asked: Asked,
) -> Solution:  # fmt: skip
    """Settle what is asked and solve.

    Parameters
    ----------
    moments : Moments
        Of all samples, in all features.
    rows : float array (K, D + M)
        The kept sample, expanded; may be empty.
    labels, weights : (K,)
    asked : Asked
    """
    some = not_alone(moments, labels, weights)
    kept = rows[some].astype(np.float64) - moments.origin, labels[some], weights[some]
    if not len(kept[0]):
        asked = replace(asked, sizes=asked.sizes[-1:])
    covariance = moments.covariance()
    found: dict[int, _Tried] = {}
    worse = 0
    with one_blas_thread() if moments.n_features < SMALL else nullcontext():
        for shrinkage in _candidates(moments, asked.shrinkage, len(kept[0])):
            worse += 1
            for size, tried in _tried(moments, covariance, kept, asked, shrinkage).items():
                if not found or tried.loss < min(other.loss for other in found.values()):
                    worse = 0
                if size not in found or tried.loss < found[size].loss:
                    found[size] = tried
            if worse == PATIENCE:
                break
    size = _smallest(found, kept[2])
    best = found[size]
    part = moments if size == moments.n_features else moments.of_features(size)
    metric = best.metric.of_features(size)
    if isinstance(asked.temperature, str):
        calibration = calibrated(best.seen.logits, best.seen.labels, best.seen.weights)
    else:
        calibration = Calibration(float(asked.temperature))
    layer = layer_of(part, metric, asked.priors)
    chosen = best.seen if len(kept[0]) else None
    return Solution(layer, metric, calibration, best.shrinkage, size, chosen)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What the left out samples say of a shrinkage, in so many features."""

    seen: LeftOut
    metric: Metric  # in all features
    shrinkage: float
    losses: Doubles  # (K,), at the best temperature
    loss: float

    @classmethod
    def of(cls, seen: LeftOut, metric: Metric, shrinkage: float) -> _Tried:
        temperature = temperature_of(seen.logits, seen.labels, seen.weights)
        losses = log_losses(seen.logits / temperature, seen.labels)
        loss = float(seen.weights @ losses / seen.weights.sum()) if len(losses) else 0.0
        if not seen.sound:
            loss += UNSOUND
        return cls(seen, metric, shrinkage, losses, loss)


def _tried(
    moments: Moments, covariance: Doubles, kept: tuple[Doubles, NDArray[np.int64], Doubles],
    asked: Asked, shrinkage: float,
) -> dict[int, _Tried]:  # fmt: skip
    """What the kept samples say of a shrinkage, in each number of features."""
    metric = Metric.of(shrunk(covariance, shrinkage))
    white, centres = metric.whiten(kept[0]), metric.whiten(moments.means)
    full = metric.lower is not None  # else whitened features are no longer in their order
    sizes, ends = (asked.sizes, asked.sizes) if full else (asked.sizes[-1:], white.shape[1:])
    log_priors = None if asked.from_frequencies else np.log(asked.priors / asked.priors.sum())
    each = left_out(white, *kept[1:], centres, moments, log_priors, shrinkage, ends)
    return {n: _Tried.of(seen, metric, shrinkage) for n, seen in zip(sizes, each, strict=True)}


def _smallest(found: dict[int, _Tried], weights: Doubles) -> int:
    """The fewest features that are not worse than the best by more than a standard error.

    Of the differences sample by sample (the rule of one standard error: Breiman, Friedman, Olshen &
    Stone 1984, with pairs).
    """
    best = min(found, key=lambda size: found[size].loss)
    for size in sorted(found):
        apart = found[size].losses - found[best].losses
        mean = float(weights @ apart / weights.sum()) if len(apart) else 0.0
        spread = float(weights @ (apart - mean) ** 2 / weights.sum()) if len(apart) else 0.0
        error = np.sqrt(spread / max(len(apart), 1))
        if found[size].loss < UNSOUND + found[best].loss and mean <= error:
            return size
    return best


def not_alone(
    moments: Moments, labels: NDArray[np.int64], weights: Doubles
) -> NDArray[np.bool_]:  # fmt: skip
    """Which samples are not all that there is of their class: these can be left out."""
    return weights < moments.weights[labels] * (1 - 1e-12)


def _candidates(moments: Moments, shrinkage: float | str, n_kept: int) -> tuple[float, ...]:
    """Shrinkages to try."""
    if not isinstance(shrinkage, str):
        return (float(shrinkage),)
    if shrinkage != "auto":
        return (RULES[shrinkage](moments),)
    n_free = moments.sizes.sum() - (moments.sizes > 0).sum()
    if not n_kept:
        return (RULES["oas"](moments),)
    return GRID if n_free > 1.2 * moments.n_features else (LEAST, *GRID[1:])
