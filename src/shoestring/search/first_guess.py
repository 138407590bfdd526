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
    rows = [
        (z[mask].astype(np.float64) - mean) / spread
        for z, mask in zip(features, known, strict=True)
    ]
    # Of each query the means, and what its scores around them say of its weights.
    centres = np.array([x.mean(axis=0) for x in rows])  # (m, d)
    levels = np.array([y.mean() for y in scores])  # (m,)
    x = [row - centre for row, centre in zip(rows, centres, strict=True)]
    y = [row - level for row, level in zip(scores, levels, strict=True)]
    gram = np.array([part.T @ part for part in x])  # (m, d, d)
    moment = np.array([part.T @ of for part, of in zip(x, y, strict=True)])  # (m, d)
    square = sum(float(of @ of) for of in y)
    usual = direction * np.where(np.isfinite(spread), spread, 0.0)
    scale = max(float(usual @ gram.sum(axis=0) @ usual), 1e-300)
    usual *= max(float(usual @ moment.sum(axis=0)), 0.0) / scale
    t = np.full(len(usual), SPREAD)
    common, covariance, own = _weights(gram, moment, usual, t)
    for _ in range(N_STEPS):
        # The next t: mean square of b over sigma^2, the first idea among the queries.
        noise = square - 2 * np.sum(own * moment) + np.einsum("mk,mkl,ml", own, gram, own)
        variance = max(noise, LEAST_NOISE * square, 1e-300) / sum(map(len, y))
        unsure = np.linalg.inv(gram + np.diag(1 / t)).diagonal(axis1=1, axis2=2)
        found = (np.square(own - common) / variance + unsure).sum(axis=0)
        t = (SPREAD_QUERIES * SPREAD + found) / (SPREAD_QUERIES + len(own))
        common, covariance, own = _weights(gram, moment, usual, t)
    residuals = [of - part @ w for part, of, w in zip(x, y, own, strict=True)]
    variance = float(np.mean(np.square(np.concatenate(residuals))))
    loadings = np.linalg.cholesky(covariance + np.diag(t)) / spread[:, None]
    weights, constant = common / spread, float(np.mean(levels - (centres * own).sum(axis=1)))
    model = ScoreModel(weights, constant - float(mean @ weights), max(variance, 1e-12), loadings)
    return model, residuals


def _weights(gram: Floats, moment: Floats, usual: Floats, t: Floats) -> tuple[Floats, ...]:
    """Mean (d,) and covariance over sigma^2 of beta, each b_j integrated out; each query's own."""
    vouched = np.linalg.inv(gram * t + np.eye(len(t)))  # (m, d, d)
    covariance = np.linalg.inv(np.diag(1 / t) + (vouched @ gram).sum(axis=0))
    covariance = (covariance + covariance.T) / 2
    evidence = vouched @ (moment - gram @ usual)[..., None]  # (m, d, 1)
    common = usual + covariance @ evidence.sum(axis=0)[:, 0]
    # A query's own weights (m, d) are as far from the common ones as its scores vouch for.
    away = np.linalg.solve(gram + np.diag(1 / t), (moment - gram @ common)[..., None])
    return common, covariance, common + away[..., 0]


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
