"""What the layer would say of a sample that it had not seen, in closed form.

Without a sample x of weight w, class c (of weight n) has the mean m_c - (w / (n - w)) z and the
scatter loses (w n / (n - w)) z z^T, z = x - m_c. That is a change of rank one, so by Sherman and
Morrison the squared distances of x to the means under the covariance without x are, with
q = z^T S^-1 z, k = (1 - a) w n / ((n - w) N), N' = N - w,

    to class j != c:  (N' / N) (d_j + s_j^2 k / (1 - k q)),   s_j = z^T S^-1 (x - m_j),
    to class c:       (N' / N) (n / (n - w))^2 q / (1 - k q),

and s_j = (q + d_j - |m_c - m_j|^2) / 2 in that metric: distances to and between the means are all
that is needed. A logit is log p_j minus half the squared distance. Exact without shrinkage a; with
it, the level of its target counts N' / N too little.

Distances in the first so many features are sums over the first so many of the whitened ones, as the
Cholesky factor of a leading block is the leading block of the factor: one factorisation tells for
every smaller expansion how it would do.

Letters: N samples (their weight), K of them asked for, C classes, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoestring.classify.moments import Doubles, Moments
from shoestring.classify.sample import Sample


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Samples seen by a layer without them."""

    logits: Doubles  # (K, C), up to a constant of each sample
    distances: Doubles  # (K, C): squared, under the covariance, to the means
    labels: NDArray[np.int64]  # (K,)
    weights: Doubles  # (K,)
    sound: bool  # False where a sample alone makes up a direction: without it there is no distance


def left_out(
    sample: Sample,
    centres: Doubles,
    moments: Moments,
    log_priors: Doubles | None,
    shrinkage: float,
    sizes: Sequence[int],
) -> Iterator[LeftOut]:
    """Leave each sample out, in the first ``sizes`` features, ascending.

    Rows (K, D), each of a class that has other samples, and centres (C, D) are whitened; priors are
    by default the classes' frequencies without the sample.
    """
    rows, labels, w = sample.X, sample.labels, sample.weights
    n_rows, n_classes = len(rows), len(centres)
    to_means = np.zeros((n_rows, n_classes))
    between = np.zeros((n_classes, n_classes))
    n = moments.weights[labels]
    whole = moments.total
    shrink = (whole - w) / whole
    k = (1 - shrinkage) * w * n / ((n - w) * whole)
    own = np.arange(n_rows), labels
    log_p = np.tile(np.log(moments.weights) if log_priors is None else log_priors, (n_rows, 1))
    if log_priors is None:
        log_p[own] = np.log(n - w)
    done = 0
    for size in sizes:
        x, m = rows[:, done:size], centres[:, done:size]
        squares = (m * m).sum(axis=1)
        to_means += np.einsum("nd,nd->n", x, x)[:, None]
        to_means += x @ (-2 * m).T
        to_means += squares
        between += squares[:, None] - 2 * m @ m.T + squares
        done = size
        q = to_means[own]
        left = 1 - k * q
        sound = bool((left > 1e-9).all())
        left = np.maximum(left, 1e-9)
        s = q[:, None] + to_means
        s -= between[labels]
        s *= s
        s *= (k / left / 4)[:, None]
        distances = to_means + s
        distances[own] = (n / (n - w)) ** 2 * q / left
        distances *= shrink[:, None]
        yield LeftOut(log_p - distances / 2, distances, labels, w, sound)
