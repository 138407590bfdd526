"""How much to shrink a covariance, from the moments alone.

- ``oas``: the oracle approximating shrinkage (Chen, Wiesel, Eldar & Hero 2010, eq. 23) in
  scikit-learn's form;
- ``ledoit-wolf``: Ledoit & Wolf (2004) in scikit-learn's form; needs the sums of each class;
- ``gcv``: the ridge of least squares on the one-hot classes that generalised cross-validation
  (Golub, Heath & Wahba 1979) picks. That regression and the normal classes have the same
  discriminant directions (optimal scoring: Hastie, Buja & Tibshirani 1995), so that its penalty is
  a shrinkage: S + (penalty / N) I.

The first two are of the residuals x - m_c, all classes together.

Letters: N samples (their weight), C classes, D features.
"""

from __future__ import annotations

import numpy as np

from shoestring.classify.analytic import total_scatter
from shoestring.classify.moments import Moments
from shoestring.errors import ParameterError

PENALTIES = np.logspace(-7, 3, 81)  # times the mean eigenvalue of the scatter


def oas(moments: Moments) -> float:
    """Oracle approximating shrinkage, in [0, 1]."""
    covariance = moments.covariance()
    d, n = len(covariance), moments.total
    mean_square, mu = float((covariance**2).mean()), float(np.trace(covariance)) / d
    above, below = mean_square + mu**2, (n + 1) * (mean_square - mu**2 / d)
    return 1.0 if below == 0 else float(min(above / below, 1.0))


def ledoit_wolf(moments: Moments) -> float:
    """Ledoit and Wolf's shrinkage, in [0, 1]; ParameterError without the sums of each class."""
    if moments.fourths is None:
        want = '"auto", "gcv", "oas" or a float without class_scatters'
        hint = "Fit with class_scatters=True: it keeps the moments that this formula needs."
        raise ParameterError.of("shrinkage", "AnalyticSoftmax", want, "ledoit-wolf", hint)
    covariance = moments.covariance()
    d, n = len(covariance), moments.total
    mu, square = float(np.trace(covariance)) / d, float((covariance**2).sum())
    spread = (float(moments.fourths.sum()) / n - square) / (d * n)
    apart = square / d - mu**2
    return min(spread / apart, 1.0) if apart > 0 and spread > 0 else 0.0


def gcv(moments: Moments) -> float:
    """The shrinkage that generalised cross-validation picks, in [0, 1); some 9 D^3."""
    scatter, mean = total_scatter(moments)
    values, vectors = np.linalg.eigh(scatter)
    values = np.maximum(values, 0.0)
    targets = moments.weights[:, None] * (moments.means - mean)
    power = ((targets @ vectors) ** 2).sum(axis=0)  # (D,): of the targets along each direction
    n = moments.total
    whole = n - float((moments.weights**2).sum()) / n  # of the centred one-hot classes
    level = float(values.mean())
    if level <= 0:
        return 0.0
    penalties = level * PENALTIES
    shares = values / (values + penalties[:, None])
    gains = (power * (2 - shares) / (values + penalties[:, None])).sum(axis=1)
    freedom = n - 1 - shares.sum(axis=1)
    scores = np.where(freedom > 0, (whole - gains) / np.maximum(freedom, 1e-12) ** 2, np.inf)
    penalty = float(penalties[int(np.argmin(scores))]) / n
    mu = float(np.trace(moments.scatter)) / n / moments.n_features
    return penalty / (penalty + mu) if mu > 0 else 0.0


RULES = {"oas": oas, "ledoit-wolf": ledoit_wolf, "gcv": gcv}
