r"""A first guess of a scorer's scores, learnt from those that were paid for: the mathematics alone.

A first guess of a scorer's score with an item is made of cheap things z: how near the vectors are,
what BM25 says, and the item's bias (some texts please a scorer whatever the query). How much
each counts differs from query to query, around what is common to all (random coefficients):

.. math:: y_{ji} = a_j + z_{ji}^T(\beta + b_j) + r_{ji},\quad
          b_{jk} \sim N(0, t_k\sigma^2),\quad \beta_k \sim N(s\,u_k, t_k\sigma^2)

for query j, item i and feature k, z of unit spread. Before anything is known the guess is along u
(for vectors of a model, nearness), and only its scale s is free: so a few scores, or scores of
promising items alone, bend the guess no further than they can vouch for, and many make it their
own. How much queries differ, t, is learnt too, from a first idea that counts for some queries. What
is uncertain for a new query, the spread of b and of beta, goes into its rounds
(:mod:`~shoestring.search.cur`) as a prior: :attr:`ScoreModel.loadings`.

The bias of an item is its mean residual, shrunk by the ratio of the two variances, and leaves out
query j's own score where it explains that score (otherwise the fit would trust it too much). The
residuals r, zero where a pair was not scored, are the item features that make the rounds a CUR
decomposition; an item that was seldom scored has a short row, and is moved little by it.

Letters: N items, m queries, c cheap features of a pair, d = c + 1 with the item's bias.

Not covered: anything non-linear (boosted trees on the same features were worse; docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoestring.types import FloatArray

Floats = NDArray[np.float64]
SPREAD = 0.02  # t before it is learnt; flat from 0.005 to 0.05 (docs/log.md)
SPREAD_QUERIES = 8  # how many queries that counts for
N_STEPS = 3  # of expectation and maximisation
LEAST_NOISE = 1e-6  # share of the scores' variance that a line cannot explain
LEAST_SPREAD = 1e-9  # of a feature; below there is nothing but rounding, and it gets weight 0


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """A linear first guess in the units of the scorer, and how far a query may leave it.

    A query's own weights are ``weights`` plus the ``loadings`` times n independent numbers, each of
    the variance ``residual_variance``.
    """

    weights: Floats  # (d,): of the c cheap features and the item's bias
    constant: float
    residual_variance: float  # of a score around the guess
    loadings: Floats  # (d, n)

    def guess(self, features: FloatArray, item_bias: FloatArray) -> FloatArray:
        """The first guess for N items from their features (N, c) and biases (N,): float32 (N,)."""
        columns = features @ self.weights[:-1].astype(np.float32)
        columns += item_bias * np.float32(self.weights[-1])
        columns += np.float32(self.constant)
        return np.asarray(columns)

    def deviations(self, features: FloatArray, item_bias: FloatArray) -> NDArray[np.float32]:
        """Columns (N, n), centred, along which a query may leave the guess."""
        loadings = self.loadings.astype(np.float32)
        columns = features @ loadings[:-1] + item_bias[:, None] * loadings[-1]
        return np.asarray(columns - columns.mean(axis=0), dtype=np.float32)


def fit_score_model(
    scores: FloatArray, features: Sequence[FloatArray], direction: Floats
) -> tuple[ScoreModel, FloatArray, FloatArray]:
    """Fit a score model to the scores of some queries.

    Parameters
    ----------
    scores : array (m, N)
        NaN where a pair was not scored.
    features : sequence of m arrays (N, c)
        The cheap features of each query with all items.
    direction : array (c,)
        u, the weights of the default guess; their scale does not matter.

    Returns
    -------
    model : ScoreModel
    item_bias : float32 array (N,)
        Of each item, 0 where nothing is known.
    residuals : float32 array (N, m)
        Scores less their query's own line, 0 where a pair was not scored.

    Notes
    -----
    Cost: O(m N c^2). Source: the hierarchical linear model of Lindley & Smith (1972) and Swamy
    (1970), its variances by expectation and maximisation (Dempster, Laird & Rubin 1977); the item
    bias by best linear unbiased prediction (Henderson 1975), its variance ratio by moments.
    """
    known = np.isfinite(scores)
    known_scores = [row[mask].astype(np.float64) for row, mask in zip(scores, known, strict=True)]
    start = np.append(direction, 0.0)
    plain = [np.hstack([z, np.zeros((len(z), 1), z.dtype)]) for z in features]
    residuals = np.zeros(known.shape, dtype=np.float32)
    residuals[known] = np.concatenate(_fit(plain, known, known_scores, start)[1])
    n_known, total = known.sum(axis=0), residuals.sum(axis=0, dtype=np.float64)
    shrink = _variance_ratio(residuals, known)
    with_bias = []
    for z, residual, is_known in zip(features, residuals, known, strict=True):
        others = (total - residual) / (n_known - is_known + shrink)
        with_bias.append(np.hstack([z, others[:, None].astype(z.dtype)]))
    model, own = _fit(with_bias, known, known_scores, start)
    residuals[known] = np.concatenate(own)
    item_bias = (total / (n_known + shrink)).astype(np.float32)
    return model, item_bias, np.ascontiguousarray(residuals.T)


def fit_lines(
    scores: Sequence[FloatArray], features: Sequence[FloatArray], direction: Floats
) -> ScoreModel:
    """Fit a score model to m queries that have items of their own, without the items' biases.

    ``scores`` are arrays (n,), ``features`` (n, c); ``direction`` is as in :func:`fit_score_model`.
    """
    known = [np.ones(len(row), dtype=bool) for row in scores]
    columns = [np.hstack([z, np.zeros((len(z), 1), z.dtype)]) for z in features]
    return _fit(columns, known, [y.astype(np.float64) for y in scores], np.append(direction, 0))[0]


def _fit(
    features: Sequence[FloatArray],
    known: Sequence[NDArray[np.bool_]] | NDArray[np.bool_],
    scores: Sequence[Floats],
    direction: Floats,
) -> tuple[ScoreModel, list[Floats]]:
    """The model above, and the residuals of each query's known scores around its own line."""
    mean, spread = _mean_and_spread(features)
    lines = [
        _Line.of(z[mask], y, mean, spread)
        for z, mask, y in zip(features, known, scores, strict=True)
    ]
    usual = direction * np.where(np.isfinite(spread), spread, 0.0)
    gram, moment = sum(line.gram for line in lines), sum(line.moment for line in lines)
    usual *= max(float(usual @ moment), 0.0) / max(float(usual @ gram @ usual), 1e-300)
    t = np.full(len(usual), SPREAD)
    common, covariance = _common_weights(lines, usual, t)
    own = [line.weights_around(common, t) for line in lines]
    for _ in range(N_STEPS):
        t = _spread_of_weights(lines, common, own, t)
        common, covariance = _common_weights(lines, usual, t)
        own = [line.weights_around(common, t) for line in lines]
    constants = [line.constant(weights) for line, weights in zip(lines, own, strict=True)]
    parts = zip(features, known, scores, constants, own, strict=True)
    residuals = [y - a - (z[mask] - mean) / spread @ w for z, mask, y, a, w in parts]
    variance = float(np.mean(np.square(np.concatenate(residuals))))
    loadings = np.linalg.cholesky(covariance + np.diag(t)) / spread[:, None]
    weights, constant = common / spread, float(np.mean(constants))
    model = ScoreModel(weights, constant - float(mean @ weights), max(variance, 1e-12), loadings)
    return model, residuals


def _common_weights(
    lines: Sequence[_Line], usual: Floats, t: Floats
) -> tuple[Floats, NDArray[np.float64]]:
    """Mean (d,) and covariance (d, d) over sigma^2 of beta, each b_j integrated out."""
    precision, evidence = np.diag(1 / t), np.zeros(len(t))
    for line in lines:
        vouched = np.linalg.inv(line.gram * t + np.eye(len(t)))
        precision += vouched @ line.gram
        evidence += vouched @ (line.moment - line.gram @ usual)
    covariance = np.linalg.inv(precision)
    covariance = (covariance + covariance.T) / 2
    return usual + covariance @ evidence, covariance


def _spread_of_weights(
    lines: Sequence[_Line], common: Floats, own: Sequence[Floats], t: Floats
) -> Floats:
    """The next t (d,): mean square of b over sigma^2, the first idea among the queries."""
    n_scores = sum(line.n_scores for line in lines)
    noise = sum(line.square_error(weights) for line, weights in zip(lines, own, strict=True))
    least = LEAST_NOISE * sum(line.square for line in lines)  # a scorer may be a line itself
    variance = max(noise, least, 1e-300) / n_scores
    found = sum(np.square(weights - common) for weights in own) / variance
    for line in lines:  # b is known no better than this
        found = found + np.diag(np.linalg.inv(line.gram + np.diag(1 / t)))
    return np.asarray((SPREAD_QUERIES * SPREAD + found) / (SPREAD_QUERIES + len(lines)))


@dataclass(frozen=True, slots=True)
class _Line:
    """What one query's scores say of its weights, features of unit spread (d,)."""

    gram: Floats  # (d, d) of the centred features
    moment: Floats  # (d,) of them with the centred scores
    square: float  # of the centred scores
    mean_features: Floats
    mean_score: float
    n_scores: int

    @classmethod
    def of(cls, features: FloatArray, scores: Floats, mean: Floats, spread: Floats) -> _Line:
        x = (features.astype(np.float64) - mean) / spread
        centre, mean_score = x.mean(axis=0), float(scores.mean())
        x, y = x - centre, scores - mean_score
        return cls(x.T @ x, x.T @ y, float(y @ y), centre, mean_score, len(y))

    def weights_around(self, common: Floats, t: Floats) -> Floats:
        """The query's own weights: as far from the common ones as its scores vouch for."""
        moment = self.moment - self.gram @ common
        return np.asarray(common + np.linalg.solve(self.gram + np.diag(1 / t), moment))

    def constant(self, weights: Floats) -> float:
        return self.mean_score - float(self.mean_features @ weights)

    def square_error(self, weights: Floats) -> float:
        """Of the scores around the line, summed."""
        return float(self.square - 2 * weights @ self.moment + weights @ self.gram @ weights)


def _mean_and_spread(features: Sequence[FloatArray]) -> tuple[Floats, Floats]:
    """Of each feature (d,) over all items; its spread is that within a query, infinite if none."""
    means = np.array([z.mean(axis=0, dtype=np.float64) for z in features])
    squares = [
        np.square(z - mean, dtype=np.float64).mean(axis=0)
        for z, mean in zip(features, means, strict=True)
    ]
    spread = np.sqrt(np.mean(squares, axis=0))
    spread[spread < LEAST_SPREAD] = np.inf
    return means.mean(axis=0), spread


def _variance_ratio(residuals: FloatArray, known: NDArray[np.bool_]) -> float:
    """Within-item over between-item variance: how many scores the prior mean counts for."""
    n = known.sum(axis=0)
    several = n >= 2
    if not several.any():
        return 1.0
    sums = residuals[:, several].sum(axis=0, dtype=np.float64)
    squares = np.square(residuals[:, several], dtype=np.float64).sum(axis=0)
    pairs = float(np.mean((sums**2 - squares) / (n[several] * (n[several] - 1))))  # of the bias
    whole = float(squares.sum() / n[several].sum())
    return float(np.clip((whole - pairs) / max(pairs, 1e-12), 0.1, 10.0))
