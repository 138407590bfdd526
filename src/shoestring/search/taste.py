r"""What a scorer's anchor scores teach about its taste: the mathematics alone.

A first guess of a scorer's score with an item is made of cheap things: how near the vectors are,
what BM25 says, and the item's own level (some texts please a scorer whatever the query). The anchor
queries' scores say how much each counts:

.. math:: y_{ji} = \beta_0 + z_{ji}^T\beta + \gamma\,\ell_i + r_{ji}

fitted by ridge regression over all scored pairs (query j, item i). The level :math:`\ell_i` is the
item's mean residual, shrunk by the ratio of the two variances, and leaves out query j's own score
where it is a regressor (otherwise the fit would trust it too much). The residuals r, zero where a
pair was not scored, are the item features that make the rounds of :mod:`~shoestring.search.cur` a
CUR decomposition; zero is what the fit expects of a pair that was not scored, so sparse anchors
need no other imputation.

Letters: N items, m anchor queries, c cheap features of a pair.

Not covered: anything non-linear (boosted trees on the same features were worse; docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoestring.types import FloatArray

Floats = NDArray[np.float64]
RIDGE = 1e-3  # of each standardised feature, per pair: only against collinear features


@dataclass(frozen=True, slots=True)
class Taste:
    """A linear first guess, in the units of the scorer.

    Parameters
    ----------
    weights : array (c + 1,)
        Of the c cheap features and the item's level.
    constant : float
    residual_variance : float
        Of a score around the guess.
    """

    weights: Floats
    constant: float
    residual_variance: float

    def guess(self, features: FloatArray, level: FloatArray) -> FloatArray:
        """The first guess for N items from their features (N, c) and levels (N,): float32 (N,)."""
        columns = features @ self.weights[:-1].astype(np.float32)
        columns += level * np.float32(self.weights[-1])
        columns += np.float32(self.constant)
        return np.asarray(columns)


def fit_taste(
    scores: FloatArray, features: Sequence[FloatArray]
) -> tuple[Taste, FloatArray, FloatArray]:
    """Learn a scorer's taste from anchor scores.

    Parameters
    ----------
    scores : array (m, N)
        NaN where a pair was not scored.
    features : sequence of m arrays (N, c)
        The cheap features of each anchor query with all items.

    Returns
    -------
    taste : Taste
    level : float32 array (N,)
        Of each item, 0 where nothing is known.
    residuals : float32 array (N, m)
        Scores less the guess, 0 where a pair was not scored.

    Notes
    -----
    Cost: O(m N c^2). Source: best linear unbiased prediction (Henderson 1975) with the level as
    the random effect; its variance ratio by the method of moments.
    """
    known = np.isfinite(scores)
    plain = [np.hstack([z, np.zeros((len(z), 1), z.dtype)]) for z in features]
    rows = list(_rows(scores, known))
    first = _ridge([z[known[j]] for j, z in enumerate(plain)], rows)
    residuals = _residuals(scores, known, plain, first)  # (m, N)
    n_known, total = known.sum(axis=0), residuals.sum(axis=0, dtype=np.float64)
    shrink = _variance_ratio(residuals, known)
    levelled = []
    for z, residual, is_known in zip(features, residuals, known, strict=True):
        others = (total - residual) / (n_known - is_known + shrink)
        levelled.append(np.hstack([z, others[:, None].astype(z.dtype)]))
    taste = _ridge([z[known[j]] for j, z in enumerate(levelled)], rows)
    residuals = _residuals(scores, known, levelled, taste)
    level = (total / (n_known + shrink)).astype(np.float32)
    return taste, level, np.ascontiguousarray(residuals.T)


def _rows(scores: FloatArray, known: NDArray[np.bool_]) -> Sequence[Floats]:
    return [row[mask].astype(np.float64) for row, mask in zip(scores, known, strict=True)]


def _ridge(features: Sequence[FloatArray], scores: Sequence[Floats]) -> Taste:
    """Ridge regression of scores on standardised features, in one pass over the queries."""
    count = sum(len(y) for y in scores)
    mean_z = sum(z.sum(axis=0, dtype=np.float64) for z in features) / count
    mean_y = sum(float(y.sum()) for y in scores) / count
    gram, moment, total = np.zeros((len(mean_z),) * 2), np.zeros(len(mean_z)), 0.0
    for z, y in zip(features, scores, strict=True):
        centred, target = z.astype(np.float64) - mean_z, y - mean_y
        gram += centred.T @ centred
        moment += centred.T @ target
        total += float(target @ target)
    spread = np.sqrt(np.diag(gram) / count)
    spread[spread < 1e-9] = np.inf  # a constant column gets weight 0
    penalised = gram / np.outer(spread, spread) + np.diag(np.full(len(gram), RIDGE * count))
    weights = np.linalg.solve(penalised, moment / spread) / spread
    variance = (total - 2 * weights @ moment + weights @ gram @ weights) / count
    return Taste(weights, float(mean_y - mean_z @ weights), max(float(variance), 1e-12))


def _residuals(
    scores: FloatArray, known: NDArray[np.bool_], features: Sequence[FloatArray], taste: Taste
) -> NDArray[np.float32]:
    residuals = np.zeros(scores.shape, dtype=np.float32)
    for j, z in enumerate(features):
        mask = known[j]
        residuals[j, mask] = scores[j, mask] - (z[mask] @ taste.weights + taste.constant)
    return residuals


def _variance_ratio(residuals: FloatArray, known: NDArray[np.bool_]) -> float:
    """Within-item over between-item variance: how many scores the prior mean counts for."""
    n = known.sum(axis=0)
    several = n >= 2
    if not several.any():
        return 1.0
    sums = residuals[:, several].sum(axis=0, dtype=np.float64)
    squares = np.square(residuals[:, several], dtype=np.float64).sum(axis=0)
    pairs = float(np.mean((sums**2 - squares) / (n[several] * (n[several] - 1))))  # level variance
    whole = float(squares.sum() / n[several].sum())
    return float(np.clip((whole - pairs) / max(pairs, 1e-12), 0.1, 10.0))
