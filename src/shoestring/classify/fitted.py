"""What was learnt, in use: the layer, solved when it is first asked for, and what it says.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.classify import checks
from shoestring.classify.accumulating import Floats, State
from shoestring.classify.analytic import checked_priors
from shoestring.classify.calibration import Reliability, reliability
from shoestring.classify.moments import Doubles, Moments
from shoestring.classify.rejecting import Rejection
from shoestring.classify.solving import PARTS, Asked, Solution, solve
from shoestring.errors import NotFittedError, ParameterError

PREDICTED = 1 << 22  # numbers that are predicted from at once
SOLVED_BY = ("shrinkage", "temperature", "priors", "expansion")


def _sizes(n_given: int, moments: Moments) -> list[int]:
    """Numbers of features to try: the given ones, and no more than half of the samples."""
    n_random = moments.n_features - n_given
    sizes = {n_given + int(part * n_random) for part in PARTS}
    return sorted(n for n in sizes if n == n_given or n <= moments.sizes.sum() / 2)


class Fitted:
    """A state and the layer that follows from it.

    Parameters
    ----------
    state : State
    params : dict
        Of :class:`~shoestring.classify.softmax.AnalyticSoftmax`.
    """

    def __init__(self, state: State, params: dict[str, Any]) -> None:
        self.state = state
        self.params = {name: params[name] for name in SOLVED_BY}

    def is_of(self, params: dict[str, Any]) -> bool:
        """Whether the same would follow."""
        return all(repr(self.params[name]) == repr(params[name]) for name in SOLVED_BY)

    def check_priors(self) -> None:
        """See that there is a prior for each class, before anything is changed."""
        if self.params["priors"] is not None and len(self.state.classes):
            _ = self.priors

    @cached_property
    def solution(self) -> Solution:
        """The layer."""
        state = self.state
        checks.two_classes(state.classes)
        checks.spread(state.moments)
        moments = state.moments
        sizes = [moments.n_features]
        if self.params["expansion"] == "auto":
            sizes = _sizes(state.n_features, moments)
            moments = moments.of_features(sizes[-1])
        shrinkage, temperature = self.params["shrinkage"], self.params["temperature"]
        asked = Asked(
            0.0 if shrinkage is None else shrinkage, temperature, self.priors,
            self.params["priors"] is None, tuple(sizes),
        )  # fmt: skip
        sample = state.sample
        rows = state.expanded(sample.X, sizes[-1])
        return solve(moments, rows, sample.labels, sample.weights, asked)

    # what AnalyticSoftmax has as attributes that end in an underscore

    @property
    def classes(self) -> NDArray[Any]:
        """Labels (C,), sorted."""
        return self.state.classes

    @property
    def moments(self) -> Moments:
        """What was learnt."""
        return self.state.moments

    @property
    def means(self) -> Doubles:
        """(C, D + M)."""
        return self.state.moments.centres

    @property
    def covariance(self) -> Doubles:
        """Within the classes (D + M, D + M), before shrinkage."""
        return self.state.moments.covariance()

    @cached_property
    def priors(self) -> Doubles:
        """(C,), their sum is 1."""
        classes, weights = self.state.classes, self.state.moments.weights
        values = checked_priors(self.params["priors"], classes, weights)
        return np.asarray(values / values.sum())

    @property
    def coef(self) -> Doubles:
        """(C, D + M used), of two classes (1, D + M used)."""
        coef = self.solution.layer.coef
        return coef[1:] - coef[:1] if len(coef) == 2 else coef

    @property
    def intercept(self) -> Doubles:
        """(C,), of two classes (1,)."""
        intercept = self.solution.layer.intercept
        return intercept[1:] - intercept[:1] if len(intercept) == 2 else intercept

    @property
    def temperature(self) -> float:
        """Of the probabilities."""
        return self.solution.calibration.temperature

    @property
    def noise(self) -> float:
        """The share of samples that may be of any class."""
        return self.solution.calibration.noise

    @property
    def shrinkage(self) -> float:
        """Of the covariance."""
        return self.solution.shrinkage

    @property
    def n_random(self) -> int:
        """Random features that are used."""
        return self.solution.n_used - self.state.n_features

    # what it says

    def logits(self, X: Floats, *, common: bool = False) -> Doubles:
        """Of samples (N, D): (N, C); ``common`` adds what is the same for all classes."""
        solution = self.solution
        step = max(1, PREDICTED // solution.n_used)
        logits = np.empty((len(X), len(solution.layer.near)))
        for start in range(0, len(X), step):
            block = self._used(X[start : start + step])
            logits[start : start + step] = solution.layer.logits(block, common=common)
        return logits

    def log_probabilities(self, X: Floats) -> Doubles:
        """Of samples (N, D): (N, C)."""
        return self.solution.calibration.log_probabilities(self.logits(X))

    @cached_property
    def rejection(self) -> Rejection:
        """What strangeness is measured with."""
        sample = self.state.sample
        rows = self._near(sample.X)
        return Rejection.of(self.state.moments, self.solution, rows, sample.labels, sample.weights)

    def strangeness(self, X: Floats) -> Doubles:
        """How far samples (N, D) are from every class (N,)."""
        step = max(1, PREDICTED // self.solution.n_used)
        parts = [
            self.rejection.strangeness(self._near(X[start : start + step]))
            for start in range(0, len(X), step)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def cutoff(self, reject_at: float) -> float:
        """The strangeness that so large a share of the known samples exceeds."""
        if not 0 < reject_at < 1:
            want = "above 0 and below 1"
            raise ParameterError.of("reject_at", "AnalyticSoftmax.predict", want, reject_at)
        if not len(self.rejection.known):
            raise NotFittedError(
                "There is no kept sample to measure rejections with. Fit with a sample_size above "
                "0."
            )
        return self.rejection.cutoff(reject_at)

    def report(self) -> dict[str, Any]:
        """How good it is on the kept samples, each left out."""
        seen = self.solution.left_out
        if seen is None:
            return {}
        log_p = self.solution.calibration.log_probabilities(seen.logits)
        right = log_p.argmax(axis=1) == seen.labels
        losses = -log_p[np.arange(len(right)), seen.labels]
        return {
            "n": len(seen.labels),
            "accuracy": float(seen.weights @ right / seen.weights.sum()),
            "log_loss": float(seen.weights @ losses / seen.weights.sum()),
            "ece": self.reliability().error,
        }

    def reliability(self) -> Reliability:
        """Confidence and accuracy of the kept samples, each left out."""
        seen = self.solution.left_out
        if seen is None:
            raise NotFittedError("There is no kept sample. Fit with a sample_size above 0.")
        log_p = self.solution.calibration.log_probabilities(seen.logits)
        return reliability(np.exp(log_p), seen.labels, seen.weights)

    def _near(self, X: Floats) -> Doubles:
        """The features that are used, beyond the shift."""
        return self._used(X) - self.state.moments.origin[: self.solution.n_used]

    def _used(self, X: Floats) -> Doubles:
        return np.asarray(self.state.expanded(X, self.solution.n_used), dtype=np.float64)
