"""Whether probabilities mean what they say: temperature, label noise, calibration error.

Probabilities of normal classes are too sure where the features are not normal: the logits are
divided by a temperature (Guo et al. 2017, arXiv 1706.04599), which changes no prediction. It
minimises the log-loss of samples that the layer was not fitted to; in the inverse temperature that
loss is convex. As in Platt's scaling, one sample's weight is given to a mistake, so that a few
samples that are all right are no proof of certainty.

One number cannot do for samples near the border and for those that lie with another class, wrongly
labelled or strange: these make the temperature too high for all the others. So a share of the
samples, the noise e, may be of any class,

    p(c | x) = (1 - e) softmax(z / T)_c + e / C,

which changes no prediction either. Both are found together (:func:`calibrated`).

Letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shoestring.classify.moments import Doubles

Labels = NDArray[np.int64]
Loss = tuple[float, Doubles, Doubles]  # of a point, its slope (2,) and its curvature (2, 2)
N_BINS = 15  # of the expected calibration error, as published
STEPS = 50
BOUNDS = 1e-4, 1e4  # of the inverse temperature
NOISES_AT_FIRST, MOST_NOISE = (0.01, 0.3), 0.5  # the loss may have two minima
ROUNDING = 1e-14  # of a loss
LEAST = 1e-100  # of a probability


def _log_softmax(logits: Doubles) -> Doubles:
    z: Doubles = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))


def log_losses(logits: Doubles, labels: Labels) -> Doubles:
    """-log p(c | x) of each sample (N,)."""
    log_p = _log_softmax(logits)[np.arange(len(labels)), labels]
    return np.asarray(np.abs(log_p), dtype=np.float64)


def is_as_good(losses: Doubles, best: Doubles, weights: Doubles, n_errors: float) -> bool:
    """Whether losses (N,) are not worse than the best by more than so many standard errors.

    Of the differences, sample by sample.
    """
    if not len(losses):
        return True
    apart = losses - best
    mean = float(weights @ apart / weights.sum())
    spread = float(weights @ (apart - mean) ** 2 / weights.sum())
    return mean <= n_errors * float(np.sqrt(spread / len(apart)))


def temperature_of(logits: Doubles, labels: Labels, weights: Doubles) -> float:
    """The temperature of the least log-loss, one sample more being mistaken for the next class.

    1 where there is no sample; within :data:`BOUNDS`, as the loss has no minimum where no sample is
    right. Of beta = 1 / T it is convex, with the slope E[mean_p(z) - z_c].
    """
    if not len(labels):
        return 1.0
    from scipy.optimize import brentq

    logits = logits - logits.max(axis=1, keepdims=True)
    z, shares = _own_and_next(logits, labels, weights)
    chosen, each = float((shares * z).sum()), shares.sum(axis=0)

    def slope(log_beta: float) -> float:
        p = np.exp(np.exp(log_beta) * logits)
        return float(each @ (np.einsum("nc,nc->n", p, logits) / p.sum(axis=1))) - chosen

    low, high = np.log(BOUNDS)
    if slope(low) >= 0 or slope(high) <= 0:
        return 1 / BOUNDS[0] if slope(low) >= 0 else 1 / BOUNDS[1]
    return float(np.exp(-brentq(slope, low, high, xtol=1e-13)))


def _own_and_next(logits: Doubles, labels: Labels, weights: Doubles) -> tuple[Doubles, Doubles]:
    """Logits of each label and of the next class, and what they count: (2, N) each, sum 1.

    All next classes together count as one sample.
    """
    own = np.arange(len(labels)), labels
    others = logits.copy()
    others[own] = -np.inf
    mistaken = 1 / (weights.sum() + 1)
    shares = np.outer([1 - mistaken, mistaken], weights / weights.sum())
    return np.stack([logits[own], others.max(axis=1)]), shares


@dataclass(frozen=True, slots=True)
class Calibration:
    """From logits to probabilities."""

    temperature: float
    label_noise: float = 0.0  # the share of samples that may be of any class, in [0, 1)

    def log_probabilities(self, logits: Doubles) -> Doubles:
        """Of logits (N, C)."""
        log_p = _log_softmax(logits / self.temperature)
        if self.label_noise == 0.0:
            return log_p
        any_class = np.log(self.label_noise / logits.shape[1])
        return np.asarray(np.logaddexp(np.log1p(-self.label_noise) + log_p, any_class))


def calibrated(logits: Doubles, labels: Labels, weights: Doubles) -> Calibration:
    """The temperature and the noise of the least log-loss, one sample more being mistaken.

    Newton's method in (1 / T, e), from the best temperature alone; steps that would not lessen the
    loss are halved, or taken down the slope where the loss is not convex. The loss may be flat, and
    quasi-Newton methods then end where rounding leads them.
    """
    temperature = temperature_of(logits, labels, weights)
    if not len(labels):
        return Calibration(temperature)
    logits = logits - logits.max(axis=1, keepdims=True)
    loss = partial(_loss, logits, *_own_and_next(logits, labels, weights))
    starts = (np.array([1.0 / temperature, noise]) for noise in NOISES_AT_FIRST)
    (beta, noise), _ = min((_lowest(loss, start) for start in starts), key=lambda found: found[1])
    return Calibration(float(1.0 / beta), float(noise))


def _lowest(loss: Callable[[Doubles], Loss], start: Doubles) -> tuple[Doubles, float]:
    """The minimum that Newton's method finds from a point, and the loss there."""
    at = start
    value, slope, curvature = loss(at)
    for _ in range(STEPS):
        inside = at[1] > 0 if slope[1] >= 0 else at[1] < MOST_NOISE
        free = np.array([True, inside])
        step = np.zeros(2)
        values, vectors = np.linalg.eigh(curvature[np.ix_(free, free)])
        values = np.maximum(np.abs(values), 1e-12 * np.abs(values).max(initial=1e-300))
        step[free] = -vectors @ ((vectors.T @ slope[free]) / values)
        for _ in range(STEPS):
            after = np.clip(at + step, (1 / BOUNDS[1], 0.0), (BOUNDS[1], MOST_NOISE))
            found = loss(after)
            if found[0] <= value + ROUNDING:
                break
            step /= 2
        else:
            break
        moved = np.abs(after - at)
        at, (value, slope, curvature) = after, found
        if (moved <= 1e-12 * np.array([at[0], 1.0])).all():
            break
    return at, value


def _loss(logits: Doubles, z: Doubles, shares: Doubles, point: Doubles) -> Loss:
    """Loss, slope (2,), curvature (2, 2)."""
    beta, noise = point
    p = np.exp(beta * logits)
    sums = p.sum(axis=1)
    means = np.einsum("nc,nc->n", p, logits) / sums
    spreads = np.einsum("nc,nc,nc->n", p, logits, logits) / sums - means**2
    p_z = np.exp(beta * z) / sums
    by_beta = p_z * (z - means)
    any_class = 1 / logits.shape[1]
    q = np.maximum((1 - noise) * p_z + noise * any_class, LEAST)
    s_q = shares / q
    first = np.stack([(1 - noise) * by_beta, any_class - p_z])
    slope = -np.einsum("kn,akn->a", s_q, first)
    curvature = np.einsum("kn,akn,bkn->ab", s_q / q, first, first)
    by_beta_twice = p_z * ((z - means) ** 2 - spreads)
    curvature[0, 0] -= (1 - noise) * np.sum(s_q * by_beta_twice)
    curvature[[0, 1], [1, 0]] += np.sum(s_q * by_beta)
    return float(-np.sum(shares * np.log(q))), slope, curvature


def calibration_error(
    p: Doubles, labels: Labels, weights: Doubles | None = None, n_bins: int = N_BINS
) -> float:
    """Expected calibration error of probabilities (N, C), in [0, 1].

    The mean distance of confidence and accuracy, in bins of equal width of the largest probability.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    sure = p.max(axis=1)
    right = p.argmax(axis=1) == labels
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    apart = np.bincount(bins, weights * sure, n_bins) - np.bincount(bins, weights * right, n_bins)
    return float(np.abs(apart).sum() / max(float(weights.sum()), 1e-300))
