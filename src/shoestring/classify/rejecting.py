"""Samples of no known class: how far is too far.

The strangeness of a sample is its squared Mahalanobis distance to the nearest mean, less that to
the mean of all samples under their total covariance (relative Mahalanobis distance: Ren, Fort, Liu
et al. 2021, arXiv 2106.09022): what is unusual in every way, as long texts are, is not strange for
it. Were the features normal, the first term alone were chi-square (Lee et al. 2018, arXiv
1807.03888); real ones are not, and a third of known texts lie beyond its 99 % (see
``benchmarks.classify``). So the threshold is a quantile of the kept samples, each left out of both
terms: the share of known samples beyond it is measured, not supposed.

Letters: N samples, K kept ones, C classes, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoestring.classify.analytic import Metric, shrunk, total_scatter
from shoestring.classify.leave_one_out import left_out
from shoestring.classify.moments import Doubles, Moments
from shoestring.classify.solving import Solution, not_alone


@dataclass(frozen=True, slots=True)
class Rejection:
    """What strangeness is measured with, and that of the kept samples.

    Parameters
    ----------
    near : Metric
        Within the classes.
    centres : float64 array (C, R)
        The classes' means, whitened by it.
    far : Metric
        Of all samples together.
    middle : float64 array (1, R')
        Their mean, whitened by that.
    known : float64 array (K,)
        Strangeness of the kept samples, each left out.
    weights : float64 array (K,)
    """

    near: Metric
    centres: Doubles
    far: Metric
    middle: Doubles
    known: Doubles
    weights: Doubles

    @classmethod
    def of(
        cls, moments: Moments, solution: Solution, rows: Doubles, labels: NDArray[np.int64],
        weights: Doubles,
    ) -> Rejection:  # fmt: skip
        """Measure the kept samples (K, D), in the features that the layer uses."""
        scatter, mean = total_scatter(moments)
        used = solution.n_used
        sizes, total = moments.sizes.sum(keepdims=True), np.array([moments.total])
        whole = Moments(sizes, total, mean[None, :used], scatter[:used, :used])
        far = Metric.of(shrunk(whole.covariance(), solution.shrinkage))
        middle = far.whiten(whole.means)
        known = np.zeros(0)
        kept = not_alone(moments, labels, weights)
        if solution.left_out is not None:
            zeros = np.zeros(int(kept.sum()), np.int64)
            white = far.whiten(rows[kept])
            (seen,) = left_out(
                white, zeros, weights[kept], middle, whole, None, solution.shrinkage,
                (white.shape[1],),
            )  # fmt: skip
            known = solution.left_out.distances.min(axis=1) - seen.distances[:, 0]
        centres = solution.metric.whiten(moments.means[moments.sizes > 0, :used])
        return cls(solution.metric, centres, far, middle, known, weights[kept])

    def strangeness(self, X: Doubles) -> Doubles:
        """Of samples (N, D): (N,)."""
        return _nearest(self.near.whiten(X), self.centres) - _nearest(
            self.far.whiten(X), self.middle
        )

    def cutoff(self, reject_at: float) -> float:
        """The smallest strangeness that at most that share, and one sample more, exceeds."""
        order = np.argsort(self.known)
        total = self.weights.sum()
        reached = np.cumsum(self.weights[order]) / (total + total / len(order))
        place = int(np.searchsorted(reached, 1 - reject_at))
        return float(self.known[order[place]]) if place < len(order) else float("inf")


def _nearest(white: Doubles, centres: Doubles) -> Doubles:
    """Squared distance to the nearest centre."""
    across = ((centres * centres).sum(axis=1) - 2 * white @ centres.T).min(axis=1)
    far: Doubles = across + (white * white).sum(axis=1)
    return far
