"""The softmax layer in closed form: weights and biases from the moments of the classes.

Maximum likelihood has no closed form for p(c | x) = softmax(W x + b). The normal densities of one
covariance S do: Bayes' rule gives (Su, kexue.fm/archives/8578, 2021; Fisher 1936; Hastie,
Tibshirani & Friedman, "The Elements of Statistical Learning", 2nd ed., eq. 4.10)

    w_c = S^-1 m_c,    b_c = log p_c - m_c^T S^-1 m_c / 2.

S is the covariance within the classes divided by the number of samples (ddof 0), as that of
scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr")``. Where we leave the published code:
that whitens the features by their total covariance with ddof 1 and takes the means away,
C = I - sum p_c m_c m_c^T. In exact arithmetic and with ddof 0 it is the same; but the difference
cancels, and with ddof 1 is wrong by I / N, which C^-1 makes large where classes lie far apart
(``benchmarks.classify.exactness`` has it, for comparison).

Shrinkage a: S becomes (1 - a) S + a (tr S / D) I.

Not covered: a covariance for each class (quadratic discriminants).

Letters: N samples, C classes, D features, R the rank.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_number
from shoestring.classify.moments import Doubles, Moments
from shoestring.errors import ParameterError
from shoestring.parallel import one_blas_thread

RANK_TOLERANCE = 1e-12  # of the largest eigenvalue of the correlations: what is less is none


@dataclass(frozen=True, slots=True)
class Layer:
    """A softmax layer: p(c | x) = softmax(near (x - origin) + at_origin).

    The origin changes what is the same for all classes, which softmax does not see.
    """

    near: Doubles  # (C, D): S^-1 (m_c - origin)
    at_origin: Doubles  # (C,)
    origin: Doubles  # (D,)
    common: Doubles  # (D,): S^-1 origin

    @property
    def coef(self) -> Doubles:
        """S^-1 m_c (C, D)."""
        return self.near + self.common

    @property
    def intercept(self) -> Doubles:
        """(C,): log p_c - m_c^T S^-1 m_c / 2."""
        return self.at_origin + self.origin @ self.common / 2 - self.coef @ self.origin

    def over(self, temperature: float) -> Layer:
        """The layer of the logits over it."""
        near, at_origin = self.near / temperature, self.at_origin / temperature
        return Layer(near, at_origin, self.origin, self.common / temperature)

    def logits(self, X: NDArray[np.floating]) -> Doubles:
        """Of samples (N, D): float64 (N, C), up to a constant of each sample."""
        return np.asarray((X - self.origin) @ self.near.T + self.at_origin)


@dataclass(frozen=True, slots=True)
class Metric:
    """A covariance, factored: S = diag(s) L L^T diag(s), or its pseudo-inverse by a square root.

    Features are brought to one scale before, so that a feature in metres and the same in
    millimetres give the same result; a constant one has no weight.
    """

    scale: Doubles  # (D,): the features' standard deviations; 1 where they are constant
    factor: Doubles  # (D, D): L, of the correlations; or (D, R): r, r r^T their pseudo-inverse
    is_full: bool  # whether they have full rank: it is L

    @classmethod
    def of(cls, covariance: Doubles) -> Metric:
        """Factor a covariance (D, D); O(D^3)."""
        variances = np.diag(covariance).copy()
        constant = variances <= np.finfo(float).tiny
        scale = np.where(constant, 1.0, np.sqrt(np.maximum(variances, 0.0)))
        correlations = covariance / scale[:, None] / scale
        with suppress(np.linalg.LinAlgError):  # where they are not of full rank
            lower = np.asarray(np.linalg.cholesky(correlations))  # SciPy's lets no other thread run
            from scipy.linalg import lapack

            norm = np.abs(correlations).sum(axis=0).max()
            with one_blas_thread():  # SciPy's too, which may have been loaded only now
                reciprocal, _ = lapack.dpocon(lower, norm, uplo="L")
            if reciprocal > RANK_TOLERANCE:
                return cls(scale, lower, is_full=True)
        values, vectors = np.linalg.eigh(correlations)
        kept = values > RANK_TOLERANCE * values.max(initial=0.0)
        return cls(scale, vectors[:, kept] / np.sqrt(values[kept]), is_full=False)

    def of_features(self, n_features: int) -> Metric:
        """That of the first so many features, whose factor is the first block of this one.

        All of them where there is none.
        """
        if not self.is_full:
            return self
        f = n_features
        return Metric(self.scale[:f], np.ascontiguousarray(self.factor[:f, :f]), is_full=True)

    def whiten(self, X: NDArray[np.floating]) -> Doubles:
        """Rows (N, D) as rows (N, R) whose squared length is x^T S^-1 x."""
        scaled = X / self.scale
        if not self.is_full:
            return np.asarray(scaled @ self.factor)
        return _solve_triangular(self.factor, scaled.T).T

    def solve(self, rows: Doubles) -> Doubles:
        """S^-1 times each row (n, D)."""
        white = self.whiten(rows)
        if not self.is_full:
            return np.asarray(white @ self.factor.T) / self.scale
        return _solve_triangular(self.factor, white.T, "T").T / self.scale


def _solve_triangular(lower: Doubles, columns: Doubles, trans: str = "N") -> Doubles:
    from scipy.linalg import solve_triangular  # half the time that a prediction takes to start

    with one_blas_thread():
        solved = solve_triangular(lower, columns, lower=True, trans=trans, check_finite=False)
    return np.asarray(solved)


def shrunk(covariance: Doubles, shrinkage: float) -> Doubles:
    """(1 - a) S + a (tr S / D) I, as scikit-learn's ``shrunk_covariance``."""
    level = float(np.trace(covariance)) / len(covariance)
    result = (1 - shrinkage) * covariance
    result.flat[:: len(covariance) + 1] += shrinkage * level
    return result


def layer_of(moments: Moments, metric: Metric, priors: Doubles) -> Layer:
    """The layer of normal classes with one covariance, of positive priors (C,); C D^2."""
    near = metric.solve(moments.means)
    at_origin = np.log(priors / priors.sum()) - (near * moments.means).sum(axis=1) / 2
    return Layer(near, at_origin, moments.shift, metric.solve(moments.shift[None])[0])


def total_scatter(moments: Moments) -> tuple[Doubles, Doubles]:
    """The scatter about the mean of all (D, D), and that mean beyond the shift (D,)."""
    mean = moments.weights @ moments.means / moments.total
    apart = np.sqrt(moments.weights)[:, None] * (moments.means - mean)
    return moments.scatter + apart.T @ apart, mean


def checked_priors(priors: object, classes: NDArray[np.generic], weights: Doubles) -> Doubles:
    """Priors (C,) from None (frequencies), "uniform", or a dict by class."""
    if priors is None:
        return weights
    if isinstance(priors, str) and priors == "uniform":
        return np.ones(len(classes))
    if not isinstance(priors, dict):
        want = 'None, "uniform", or a dict of a number for each class'
        raise ParameterError.of("priors", "AnalyticSoftmax", want, priors)
    numbers = []
    for label in classes.tolist():
        want = f"a number above 0 for class {label!r}"
        numbers.append(checked_number("priors", priors.get(label), "AnalyticSoftmax", want, 0.0))
    return np.array(numbers)
