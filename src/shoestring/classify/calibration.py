"""Whether probabilities mean what they say: temperature, expected calibration error, reliability.

Probabilities of normal classes are too sure where the features are not normal: the logits are
divided by a temperature (Guo et al. 2017, arXiv 1706.04599), which changes no prediction. It
minimises the log-loss of samples that the layer was not fitted to; in the inverse temperature that
loss is convex, and its minimum is found by Newton's method. As in Platt's scaling, one sample's
weight is given to a mistake, so that a few samples that are all right are no proof of certainty.

Letters: N samples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from shoestring.classify.moments import Doubles

Labels = NDArray[np.int64]
N_BINS = 15  # of the expected calibration error, as published
STEPS = 50
BOUNDS = 1e-4, 1e4  # of the inverse temperature


def log_loss(logits: Doubles, labels: Labels, weights: Doubles) -> float:
    """Mean of -log p(c | x) in nats; logits (N, C), labels 0 to C - 1."""
    return float(weights @ log_losses(logits, labels) / weights.sum())


def log_losses(logits: Doubles, labels: Labels) -> Doubles:
    """-log p(c | x) of each sample (N,)."""
    log_p = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return np.asarray(np.abs(log_p), dtype=np.float64)


def temperature_of(logits: Doubles, labels: Labels, weights: Doubles) -> float:
    """The temperature of the least log-loss, one sample more being mistaken for the next class.

    Parameters
    ----------
    logits : float64 array (N, C)
        Of samples that the layer was not fitted to.
    labels : int64 array (N,)
    weights : float64 array (N,)

    Returns
    -------
    float
        1 where there is no sample. Within 1e-4 to 1e4: where none of the samples is right, the
        loss has no minimum inside.

    Notes
    -----
    Of beta = 1 / T the loss has the slope E[mean_p(z) - z_c] and the curvature E[var_p(z)]. Of
    z_c a share of 1 / (n + 1) is the largest of the other classes.
    """
    if not len(labels):
        return 1.0
    logits = logits - logits.max(axis=1, keepdims=True)
    own = np.arange(len(labels)), labels
    others = logits.copy()
    others[own] = -np.inf
    mistaken = 1 / (weights.sum() + 1)
    chosen = (1 - mistaken) * logits[own] + mistaken * others.max(axis=1)
    shares = weights / weights.sum()
    low, high = BOUNDS
    beta = 1.0
    for _ in range(STEPS):
        p = np.exp(log_softmax(beta * logits, axis=1))
        means = (p * logits).sum(axis=1)
        slope = float(shares @ (means - chosen))
        curvature = float(shares @ ((p * logits**2).sum(axis=1) - means**2))
        low, high = (low, beta) if slope > 0 else (beta, high)
        after = beta - slope / curvature if curvature > 0 else np.inf
        if abs(after - beta) <= 1e-12 * beta:
            beta = float(after)
            break
        if not low < after < high:  # a step too far: halve what is left
            after = float(np.sqrt(low * high))
        beta = float(after)
    return 1.0 / beta


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often predictions of a confidence are right.

    Parameters
    ----------
    edges : float64 array (bins + 1,)
    shares, confidences, accuracies : float64 arrays (bins,)
        Of the samples in each bin; the last two are 0 where there is none.
    """

    edges: Doubles
    shares: Doubles
    confidences: Doubles
    accuracies: Doubles

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, in [0, 1]."""
        return float(self.shares @ np.abs(self.confidences - self.accuracies))


def reliability(
    p: Doubles, labels: Labels, weights: Doubles | None = None, n_bins: int = N_BINS
) -> Reliability:
    """Bins of equal width of the largest probability (N, C), and how often it was right."""
    weights = np.ones(len(labels)) if weights is None else weights
    sure = p.max(axis=1)
    right = p.argmax(axis=1) == labels
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    weight = np.bincount(bins, weights, n_bins)
    some = np.where(weight > 0, weight, 1.0)
    confidences = np.bincount(bins, weights * sure, n_bins) / some
    accuracies = np.bincount(bins, weights * right, n_bins) / some
    shares = weight / max(float(weight.sum()), 1e-300)
    return Reliability(np.linspace(0, 1, n_bins + 1), shares, confidences, accuracies)
