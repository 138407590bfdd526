"""Moments of classes: counts, means and one pooled scatter; merged and taken back, exactly.

What the closed form of the softmax layer needs of its data are sums over samples. They are kept as
the weight w_c and the mean m_c of each class and the scatter within the classes about those means,

    G = sum_c sum_{i in c} w_i (x_i - m_c) (x_i - m_c)^T,

because sums of squares about zero cancel where the features are far from it. Two samples merge by
the pairwise update (Chan, Golub & LeVeque 1979, eq. 2.1), class by class,

    w = w_a + w_b,  m = m_a + (w_b / w) (m_b - m_a),
    G = G_a + G_b + (w_a w_b / w) (m_b - m_a) (m_b - m_a)^T,

and its inverse takes one of them back. All is float64, and about a fixed point near the samples,
the shift, so that what lies far from zero is merged as exactly as what does not.

Not covered: weights below zero; features that are missing; a scatter for each class.

Letters: N samples, C classes, D features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.errors import ParameterError

Doubles = NDArray[np.float64]
PER_CLASS = ("sizes", "weights", "means")
RESIDUE = 1e-13  # of a feature's scatter: what is less is left by rounding
FLOOR = 1e-6  # of the scatter between classes, for a feature that has none within them
LEFT_OVER = 1e-7  # of a feature's scatter: what is less than minus that is no rounding


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the samples of each class."""

    sizes: NDArray[np.int64]  # (C,): samples
    weights: Doubles  # (C,): their weight, the number of samples where none is given
    means: Doubles  # (C, D): beyond the shift; zero where there is no sample
    scatter: Doubles  # (D, D): within the classes, pooled
    shift: Doubles  # (D,): two samples may have different ones

    @classmethod
    def none(cls, n_classes: int, n_features: int, *, shift: Doubles | None = None) -> Moments:
        """Those of no sample; the shift is zero by default."""
        c, d = n_classes, n_features
        shift = np.zeros(d) if shift is None else shift
        sizes, weights, means = np.zeros(c, np.int64), np.zeros(c), np.zeros((c, d))
        return cls(sizes, weights, means, np.zeros((d, d)), shift)

    @property
    def centres(self) -> Doubles:
        """The means themselves (C, D)."""
        return self.means + self.shift

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.means.shape[1])

    @property
    def total(self) -> float:
        """The weight of all samples."""
        return float(self.weights.sum())

    def covariance(self) -> Doubles:
        """The pooled covariance within the classes (D, D), divided by the weight: no ddof."""
        return self.scatter / self.total

    def with_classes(self, places: NDArray[np.int64], n_classes: int) -> Moments:
        """Those of so many classes: class c gets place ``places[c]``, or goes beyond the last."""
        moved = {}
        for name in PER_CLASS:
            array = getattr(self, name)
            wider = np.zeros((n_classes + 1, *array.shape[1:]), array.dtype)
            wider[places] = array
            moved[name] = wider[:-1]
        return replace(self, **moved)

    def of_features(self, n_features: int) -> Moments:
        """Those of the first so many features."""
        f = n_features
        means, scatter, shift = self.means[:, :f], self.scatter[:f, :f], self.shift[:f]
        return replace(self, means=means, scatter=scatter, shift=shift)


def moments_of(
    X: NDArray[np.floating],
    labels: NDArray[np.int64],
    n_classes: int,
    weights: Doubles | None = None,
    *,
    shift: Doubles | None = None,
) -> Moments:
    """The moments of one block of samples (N, D), whose weights (N,) are above zero.

    Cost: N D^2 multiplications and one pass over the samples, of which each class's are taken about
    one of them. It is one of the heaviest, so that its own distance from the mean, squared, is at
    least 1 / N of what is subtracted in the end: no more than log10 N digits can cancel.
    """
    sums = Moments.none(n_classes, X.shape[1], shift=shift)
    if not len(X):
        return sums
    w = np.ones(len(X)) if weights is None else np.ascontiguousarray(weights)
    rows = np.ascontiguousarray(X if X.dtype in (np.float32, np.float64) else X.astype(np.float64))
    sums.sizes[:] = np.bincount(labels, minlength=n_classes)
    sums.weights[:] = np.bincount(labels, w, minlength=n_classes)
    some = sums.sizes > 0
    order, heaviest = np.argsort(w, kind="stable"), np.zeros(n_classes, np.int64)
    heaviest[labels[order]] = order  # the last one stays
    near = np.zeros(sums.means.shape)
    near[some] = rows[heaviest[some]]
    Z = np.empty(X.shape)
    _sum_classes(rows, labels, w, near, Z, sums.means)
    sums.means[some] /= sums.weights[some, None]
    beyond = np.sqrt(sums.weights)[:, None] * sums.means
    sums.scatter[:] = Z.T @ Z - beyond.T @ beyond
    sums.means[some] += near[some] - sums.shift
    return sums


@njit(cache=True, nogil=True)
def _sum_classes(X: Any, labels: Any, w: Any, near: Any, Z: Any, sums: Any) -> None:
    """Z = (X - near of its class) w^(1/2) in float64, and the weighted sum of each class."""
    for i in range(len(X)):
        c, weight, root = labels[i], w[i], np.sqrt(w[i])
        own, point = sums[c], near[c]
        for d in range(X.shape[1]):
            z = np.float64(X[i, d]) - point[d]
            Z[i, d] = root * z
            own[d] += weight * z


def merged(a: Moments, b: Moments) -> Moments:
    """Merge the moments of two samples, as if both had been seen in one pass; O(C D^2)."""
    b = _about(b, a.shift)
    weights = a.weights + b.weights
    share = np.divide(b.weights, weights, out=np.zeros_like(weights), where=weights > 0)
    apart = np.where((b.weights > 0)[:, None], b.means - a.means, 0.0)
    apart_root = apart * np.sqrt(a.weights * share)[:, None]
    means = a.means + share[:, None] * apart
    scatter = a.scatter + b.scatter + apart_root.T @ apart_root
    return Moments(a.sizes + b.sizes, weights, means, scatter, a.shift)


def without(whole: Moments, part: Moments) -> Moments:
    """Take the moments of a part back from those of the whole: the inverse of :func:`merged`.

    ParameterError if the part cannot have been in the whole: a class has fewer samples or less
    weight, or a feature would be left with a negative scatter.
    """
    part = _about(part, whole.shift)
    sizes, left = whole.sizes - part.sizes, whole.weights - part.weights
    if (sizes < 0).any() or (left[sizes > 0] <= 0).any():
        raise never_learned("a class would have fewer samples than none")
    # a class of which nothing is left was of these very samples
    gone = sizes == 0
    spread = np.sqrt(np.diag(whole.scatter) / max(whole.total, 1e-300))
    far = np.abs(whole.means - part.means) > 1e-6 * spread + 1e-9 * np.abs(whole.means) + 1e-300
    if (gone & (far.any(axis=1) | (np.abs(left) > 1e-9 * whole.weights))).any():
        raise never_learned("a class would be empty by samples that were not its own")
    weights = np.where(gone, 0.0, left)
    ratio = np.divide(part.weights, weights, out=np.zeros_like(weights), where=weights > 0)
    means = whole.means + ratio[:, None] * (whole.means - part.means)
    means[gone] = 0.0
    both = (~gone & (part.sizes > 0))[:, None]
    apart = np.where(both, part.means - means, 0.0)  # from what is left to the part
    share = np.divide(part.weights, whole.weights, out=np.zeros_like(weights), where=weights > 0)
    apart_root = apart * np.sqrt(weights * share)[:, None]
    scatter = whole.scatter - part.scatter - apart_root.T @ apart_root
    if (np.diag(scatter) < -LEFT_OVER * np.diag(whole.scatter)).any():
        raise never_learned("a feature would have less scatter than none")
    nothing = np.diag(scatter) < RESIDUE * np.diag(whole.scatter)  # of a feature but rounding
    scatter[nothing] = scatter[:, nothing] = 0.0
    return Moments(sizes, weights, means, scatter, whole.shift)


def never_learned(why: str) -> ParameterError:
    """The error for samples that cannot be taken back."""
    return ParameterError(
        f"These samples cannot have been learned: {why}. Nothing was changed; forget samples as "
        "they were passed to fit or partial_fit."
    )


def with_floor(moments: Moments, eps: float) -> Moments:
    """The same without what is only rounding in the scatter of features.

    A feature that is constant within each class, up to rounding, gets a small share of its scatter
    between the classes instead: classes of one repeated text would be measured by rounding. Where
    all features are so, all of the scatter between the classes is taken. ``eps`` is the relative
    rounding of the samples.
    """
    rounding = (4 * eps * np.abs(moments.centres).max(axis=0, initial=0.0)) ** 2 * moments.total
    constant = np.diag(moments.scatter) <= rounding
    if not constant.any():
        return moments
    between = (
        moments.weights @ (moments.means - moments.weights @ moments.means / moments.total) ** 2
    )
    floor = np.where(between > rounding, between * (1.0 if constant.all() else FLOOR), 0.0)
    scatter = moments.scatter.copy()
    scatter[constant] = scatter[:, constant] = 0.0
    scatter[constant, constant] = floor[constant]
    return replace(moments, scatter=scatter)


def _about(moments: Moments, shift: Doubles) -> Moments:
    """The same about another fixed point."""
    if np.array_equal(moments.shift, shift):
        return moments
    there = (moments.sizes > 0)[:, None]
    means = np.where(there, moments.means + (moments.shift - shift), 0.0)
    return replace(moments, means=means, shift=shift)
