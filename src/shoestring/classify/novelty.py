"""Samples of no known class: how far is too far.

The novelty score of a sample is its squared Mahalanobis distance to the nearest mean, less that to
the mean of all samples under their total covariance (relative Mahalanobis distance: Ren, Fort, Liu
et al. 2021, arXiv 2106.09022): what is unusual in every way, as long texts are, is not novel for
it. Were the features normal, the first term alone were chi-square (Lee et al. 2018, arXiv
1807.03888); real ones are not, and a third of known texts lie beyond its 99 % (see
``benchmarks.classify``). So the threshold is a quantile of the kept samples, each left out of both
terms: the share of known samples beyond it is measured, not supposed.

Letters: N samples, K kept ones, C classes, D features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from shoestring.classify.analytic import Metric, shrunk, total_scatter
from shoestring.classify.leave_one_out import left_out
from shoestring.classify.moments import Doubles, Moments
from shoestring.classify.solving import Candidate, Problem
from shoestring.errors import NotFittedError


@dataclass(frozen=True, slots=True)
class Novelty:
    """What novelty is measured with, and the scores of the kept samples."""

    near: Metric  # within the classes
    centres: Doubles  # (C, R): the classes' means, whitened by it
    far: Metric  # of all samples together
    middle: Doubles  # (1, R'): their mean, whitened by that
    known: Doubles  # (K,): scores of the kept samples, each left out
    weights: Doubles  # (K,)

    @classmethod
    def of(cls, problem: Problem, n_used: int, found: Candidate) -> Novelty:
        """Measure the kept samples (K, D), in the features that the layer uses, about the shift."""
        # all samples as one class
        moments, sample, shrinkage = problem.moments, problem.sample, found.shrinkage
        scatter, mean = total_scatter(moments)
        sizes, total = moments.sizes.sum(keepdims=True), np.array([moments.total])
        about_shift = mean[None, :n_used], scatter[:n_used, :n_used], np.zeros(n_used)
        whole = Moments(sizes, total, *about_shift)
        far = Metric.of(shrunk(whole.covariance(), shrinkage))
        middle, white = far.whiten(whole.means), far.whiten(sample.X[:, :n_used])
        as_one = replace(sample, X=white, labels=np.zeros_like(sample.labels))
        (of_one,) = left_out(as_one, middle, whole, None, shrinkage, white.shape[1:])
        known = found.seen.distances.min(axis=1) - of_one.distances[:, 0]
        centres = found.metric.whiten(moments.means[:, :n_used])
        return cls(found.metric, centres, far, middle, known, sample.weights)

    def scores(self, X: Doubles) -> Doubles:
        """Of samples (N, D): (N,)."""
        from_classes = _nearest(self.near.whiten(X), self.centres)
        return from_classes - _nearest(self.far.whiten(X), self.middle)

    def threshold(self, reject_at: float) -> float:
        """The smallest score that at most that share, and one sample more, exceeds."""
        if not len(self.known):
            raise NotFittedError(
                "No sample was kept that differs from the others of its class, so there is nothing "
                "to set reject_at by. Fit with a sample_size above 0, or to more samples."
            )
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
