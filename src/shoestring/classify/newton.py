"""Newton steps from the closed form, where the classes are far from normal.

Softmax regression has the least log-loss, and no closed form. The Hessian of its loss is at most
half the scatter T of all samples, for every class (Böhning 1992, doi:10.1007/BF00048682), so

    W <- V + (T / 2 + penalty I)^-1 (X^T (Y - P(V)) - penalty V)

never raises the loss, from any start and without a line search, with one inverse for all steps; V
is W with Nesterov's momentum (1983). A step costs two products with the samples. How many are taken
is chosen on samples that are left out; none is among the choices.

Letters: N samples, C classes, D features, K left out samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from shoestring.classify.analytic import Layer
from shoestring.classify.calibration import is_as_good, log_losses, temperature_of
from shoestring.classify.moments import Doubles
from shoestring.classify.state import Floats
from shoestring.parallel import n_cores, shared_pool

MOST_STEPS = 30
PENALTY = 0.01  # of the mean squared length of a sample: a C of 100 in scikit-learn
LEFT_OUT, MOST_LEFT_OUT = 0.1, 2_048
SURE = 2.0  # standard errors
ROWS = 2_048  # of a piece: the sums do not depend on the number of threads


def left_out_rows(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which of N samples are left out: a tenth at random, but one of each class is not."""
    order = np.random.default_rng(seed).permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    others = np.delete(order, first)
    chosen = np.zeros(len(labels), bool)
    chosen[others[: min(int(LEFT_OUT * len(labels)), MOST_LEFT_OUT)]] = True
    return chosen


def enough(logits: Sequence[Floats], labels: NDArray[np.int64], weights: Doubles) -> int:
    """The fewest steps that are not worse than the best by more than two standard errors.

    Of the differences of log-losses, each at its best temperature, of left out samples (K, C).
    """
    exact = [each.astype(np.float64) for each in logits]
    losses = [log_losses(z / temperature_of(z, labels, weights), labels) for z in exact]
    best = min(losses, key=lambda found: float(weights @ found))
    return next(n for n, found in enumerate(losses) if is_as_good(found, best, weights, SURE))


def steps(X: Floats, labels: NDArray[np.int64], weights: Doubles, start: Layer) -> Iterator[Layer]:
    """The layers after each step, without end; ``start`` is that before the first.

    Within :func:`~shoestring.parallel.one_blas_thread`.
    """
    total = weights.sum()
    origin = weights @ X / total
    rows = np.asarray(X - origin, np.float64)
    scatter = (rows * weights[:, None]).T @ rows
    penalty = PENALTY * float(np.trace(scatter)) / total
    inverse = np.linalg.inv(scatter / 2 + penalty * np.eye(len(scatter)))
    pieces = [slice(at, at + ROWS) for at in range(0, len(rows), ROWS)]
    near, at_origin = start.near, start.at_origin + start.near @ (origin - start.origin)
    near_ahead, at_origin_ahead, momentum = near, at_origin, 1.0

    def errors(piece: slice) -> tuple[Doubles, Doubles]:
        x, w, y = rows[piece], weights[piece], labels[piece]
        p = x @ near_ahead.T + at_origin_ahead
        p = np.exp(p - p.max(axis=1, keepdims=True))
        p *= -(w / p.sum(axis=1))[:, None]
        p[np.arange(len(y)), y] += w
        return p.T @ x, p.sum(axis=0)

    while True:
        parts = shared_pool(n_cores()).map(errors, pieces)
        slopes, means = reduce(lambda a, b: (a[0] + b[0], a[1] + b[1]), parts)
        before = near, at_origin
        near = near_ahead + (slopes - penalty * near_ahead) @ inverse
        at_origin = at_origin_ahead + 2 * means / total
        momentum, last = (1 + (1 + 4 * momentum**2) ** 0.5) / 2, momentum
        further = (last - 1) / momentum
        near_ahead = near + further * (near - before[0])
        at_origin_ahead = at_origin + further * (at_origin - before[1])
        yield Layer(near, at_origin, origin, np.zeros_like(origin))
