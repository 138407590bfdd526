"""A softmax classifier that is fitted without a loop: it streams, merges and forgets.

The mathematics: :mod:`~shoestring.classify.analytic`, on :mod:`~shoestring.classify.moments`; what
is chosen by itself: :mod:`~shoestring.classify.solving`.

Learning only adds up sums. The layer is solved when it is first asked for, and again after more was
learned or ``set_params``.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring.artifacts import Artifact, ArtifactWriter
from shoestring.checks import checked_number, checked_path
from shoestring.classify import checks, newton, saving, solving
from shoestring.classify.analytic import Layer, checked_priors
from shoestring.classify.calibration import Calibration, calibrated, calibration_error
from shoestring.classify.moments import Doubles, Moments, with_floor
from shoestring.classify.novelty import Novelty
from shoestring.classify.state import Block, Floats, State, updated
from shoestring.errors import ParameterError, ShapeError, ShoestringWarning
from shoestring.estimator import Classifier, unfitted
from shoestring.parallel import one_blas_thread

PREDICTED = 1 << 22  # numbers that are predicted from at once
SOLVED_BY = ("shrinkage", "priors", "expansion")
_OWNER = "AnalyticSoftmax"
T = TypeVar("T")


class AnalyticSoftmax(Classifier):
    """Softmax classifier in closed form: linear discriminants from sums over the samples.

    Parameters
    ----------
    shrinkage : "auto", float or None
        Of the covariance towards a multiple of the identity, in [0, 1]; None is 0. ``auto`` takes
        what predicts samples best that it leaves out, in closed form.
    priors : None, "uniform" or dict
        None: the classes' frequencies; a dict has a number above 0 for each class.
    expansion : {None, "auto", "relu"}
        Random features beside the given ones. ``auto``: rectified ones, as many of ``n_random`` as
        predict left out samples best, none among the choices.
    n_random : int
        M.
    sample_size : int
        Samples that are kept, whatever came, to choose and to calibrate with; 0 for none: no sample
        stays in the model, the shrinkage is OAS (Chen et al. 2010) and the temperature 1.
    n_jobs : int, optional
        Workers for blocks of samples: threads, or what ``joblib.parallel_config`` says, on other
        machines too. By default all cores. The result is the same for any number.
    random_state : int
        Seed of the random features and of which samples are kept.

    Notes
    -----
    Cost: N (D + M)^2 multiplications in one pass, then (D + M)^3 / 3 when it is first used, some
    times that with ``auto``. Memory: C (D + M) + (D + M)^2 numbers and the kept samples.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = AnalyticSoftmax().fit(X[::2], y[::2]).partial_fit(X[1::2], y[1::2])
    >>> float(clf.score(X, y))
    0.98
    >>> clf.forget(X[::2], y[::2]).moments_.sizes.tolist()
    [25, 25, 25]
    """

    n_features_in_: int

    def __init__(
        self,
        shrinkage: str | float | None = "auto",
        priors: Any = None,
        *,
        expansion: str | None = None,
        n_random: int = 2_000,
        sample_size: int = 2_048,
        n_jobs: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.shrinkage = shrinkage
        self.priors = priors
        self.expansion = expansion
        self.n_random = n_random
        self.sample_size = sample_size
        self.n_jobs = n_jobs
        self.random_state = random_state

    # ---- learning ----

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from samples, and from nothing before.

        Parameters
        ----------
        X : float array (N, D)
            float32 is not copied as a whole. May be memory-mapped.
        y : array (N,)
            Labels: str, int, bool.
        sample_weight : float array (N,), optional
            Not below zero; a sample of weight 2 counts as two of them.

        Raises
        ------
        ParameterError
            A parameter out of range; NaN or infinity; fewer than two classes; labels of mixed
            types.
        ShapeError
            If X and y are of different lengths.
        """
        return self._learn(Block(X, y, sample_weight), anew=True)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from more samples, of new classes too, as if all had come at once, in any order.

        Parameters and errors are those of :meth:`fit`; after one, what was learned before stays.
        ``classes`` are not needed: they are those that came.
        """
        return self._learn(Block(X, y, sample_weight))

    def merge(self, other: AnalyticSoftmax) -> Self:
        """Learn what another classifier has learned from other samples.

        ShapeError if it has other features, ParameterError if it keeps other things.
        """
        if not isinstance(other, AnalyticSoftmax):
            raise ParameterError.of("other", f"{_OWNER}.merge", f"another {_OWNER}", other)
        state, theirs = self._learnt(), other._learnt()
        if state.n_features != theirs.n_features:
            raise ShapeError(
                f"A classifier of {theirs.n_features} features cannot be merged into one of "
                f"{state.n_features}. Fit both on the same features."
            )
        for name in ("random_state", "expansion", "n_random"):
            ours, others = state.settings[name], theirs.settings[name]
            if ours != others:
                want = f"{ours!r}, as in the classifier that it is merged into"
                raise ParameterError.of(name, f"{_OWNER}.merge", want, others)
        return self._become(state.merged(theirs))

    def forget(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take samples back, as they were learned: as if they had never been seen.

        ParameterError if they cannot have been learned: a class would have fewer samples than none,
        or a feature less scatter. Nothing is changed then.
        """
        return self._forget(Block(X, y, sample_weight))

    def refine(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take Newton steps from the closed form, as many as predict left out samples best.

        Often none; many for many classes that are far from normal. It needs the samples, all that
        were learned, and ends with them: what is learned, merged or forgotten later brings the
        closed form back. The method is that of :mod:`~shoestring.classify.newton`. Parameters and
        errors are those of :meth:`fit`, and ParameterError if there are ``priors``.
        """
        owner = f"{_OWNER}.refine"
        block, state = self._checked(Block(X, y, sample_weight), reset=False), self._learnt()
        if self.priors is not None:
            raise ParameterError.of("priors", owner, "None: frequencies are learned", self.priors)
        if unknown := sorted({*block.y.tolist()} - {*state.classes.tolist()}):
            raise ParameterError.of("y", owner, f"of {state.classes.tolist()[:9]!r}", unknown[0])
        held = newton.left_out_rows(state.numbered(block).y, int(self.random_state))
        if not held.any():
            raise ParameterError.of("X", owner, "at least ten samples", len(held))
        rest = block.part(~held)
        part = AnalyticSoftmax(**self.get_params()).fit(*rest[:3])
        asked, seen = part._learnt().numbered(block.part(held)), list[Doubles]()
        with one_blas_thread():
            rows = part._used(asked.X)
            for layer in part._steps(rest, newton.MOST_STEPS):
                seen.append(layer.logits(rows).astype(np.float32))
            n = newton.enough(seen, asked.y, asked.weights)
            *_, layer = self._steps(block, n)
        calibration = calibrated(seen[n].astype(np.float64), asked.y, asked.weights)
        refined = {"steps": n, **_figures(calibration, seen[n], asked.y, asked.weights)}
        if n:
            solution = replace(self._solution, layer=layer, calibration=calibration)
            self._cached["solution"] = replace(solution, refined=refined)
        return self

    def _steps(self, block: Block, n: int) -> Iterator[Layer]:
        """The closed form's layer, and those after each of so many steps on samples."""
        block, state, solution = self._learnt().numbered(block), self._learnt(), self._solution
        start = solution.layer.over(solution.calibration.temperature)
        rows = state.expanded(block.X, solution.n_used)
        yield start
        yield from islice(newton.steps(rows, block.y, block.weights, start), n)

    # ---- what was learned, and what follows from it ----

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels (C,), sorted."""
        return self._learnt().classes

    @property
    def moments_(self) -> Moments:
        """The sums over the samples: ``sizes``, ``centres`` (C, D + M), ``covariance()``."""
        return self._learnt().moments

    @property
    def priors_(self) -> Doubles:
        """(C,), their sum is 1."""
        state = self._learnt()
        values = checked_priors(self.priors, state.classes, state.moments.weights)
        return np.asarray(values / values.sum())

    @property
    def coef_(self) -> Doubles:
        """(C, D + M used), of two classes (1, D + M used)."""
        coef = self._solution.layer.coef
        return coef[1:] - coef[:1] if len(coef) == 2 else coef

    @property
    def intercept_(self) -> Doubles:
        """(C,), of two classes (1,)."""
        intercept = self._solution.layer.intercept
        return intercept[1:] - intercept[:1] if len(intercept) == 2 else intercept

    @property
    def shrinkage_(self) -> float:
        """Of the covariance."""
        return self._solution.shrinkage

    @property
    def temperature_(self) -> float:
        """Of the probabilities."""
        return self._solution.calibration.temperature

    @property
    def label_noise_(self) -> float:
        """The share of samples that may be of any class."""
        return self._solution.calibration.label_noise

    @property
    def n_random_(self) -> int:
        """Random features that are used."""
        return self._solution.n_used - self._learnt().n_features

    # ---- using ----

    def decision_function(self, X: ArrayLike) -> Doubles:
        """Logits, X coef_ + intercept_: (N, C), of two classes (N,) those of the second."""
        layer = self._solution.layer
        coef, intercept = layer.coef.T, layer.intercept
        logits = self._in_parts(self._finite(X), lambda part: self._used(part) @ coef + intercept)
        return np.asarray(logits[:, 1] - logits[:, 0]) if logits.shape[1] == 2 else logits

    def predict_proba(self, X: ArrayLike) -> Doubles:
        """Probabilities (N, C): softmax of logits over ``temperature_``, with ``label_noise_``."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> Doubles:
        """Logarithms of :meth:`predict_proba`."""
        logits = self._logits(self._finite(X))
        return self._solution.calibration.log_probabilities(logits)

    def predict(self, X: ArrayLike, reject_at: float | None = None) -> NDArray[Any]:
        """The most probable class of each sample.

        Parameters
        ----------
        X : float array (N, D)
        reject_at : float, optional
            In (0, 1): the share of samples of the known classes that may be rejected. What has a
            higher :meth:`novelty_score` than that share of the left out samples is None.

        Returns
        -------
        array (N,)
            Of labels; with ``reject_at`` of objects.
        """
        rows = self._finite(X)
        labels: NDArray[Any] = self.classes_[self._logits(rows).argmax(axis=1)]
        if reject_at is None:
            return labels
        answers = labels.astype(object)
        answers[self.novelty_score(rows) > self.novelty_threshold(reject_at)] = None
        return answers

    def novelty_score(self, X: ArrayLike) -> Doubles:
        """How far samples are from every class (N,): :mod:`~shoestring.classify.novelty`."""
        rows, novelty = self._finite(X), self._novelty
        shift = self._learnt().moments.shift[: self._solution.n_used]
        return self._in_parts(rows, lambda part: novelty.scores(self._used(part) - shift))

    def novelty_threshold(self, reject_at: float) -> float:
        """The novelty score above which ``predict(X, reject_at)`` says None."""
        owner, want = f"{_OWNER}.predict", "a number above 0 and below 1"
        share = checked_number("reject_at", reject_at, owner, want, 0, math.nextafter(1, 0))
        return self._novelty.threshold(share)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy."""
        right = self.predict(X) == checks.labels(y, len(np.asarray(X)))
        return float(np.average(right, weights=checks.weights(sample_weight, len(right))))

    def report(self) -> dict[str, Any]:
        """How good it is on the kept samples, each left out: ``n``, accuracy, log-loss, ECE.

        Of a refined layer on those that :meth:`refine` left out, and how many ``steps`` it took.
        """
        if self._solution.refined:
            return dict(self._solution.refined)
        seen = self._evidence.seen
        if not len(seen.labels):
            return {}
        return _figures(self._solution.calibration, seen.logits, seen.labels, seen.weights)

    def save(self, folder: str | Path) -> None:
        """Save to a folder: new, empty, or one that was saved before, which is replaced.

        It can go on learning and forgetting after :meth:`load`. ParameterError if the folder holds
        other files, StorageError if it cannot be written: what was there stays.
        """
        with saving.KIND.saving(checked_path("folder", folder, f"{_OWNER}.save")) as writer:
            if "texts" in writer.before:
                want = "another folder than a TextClassifier's, whose encoder would be lost"
                raise ParameterError.of("folder", f"{_OWNER}.save", want, str(folder))
            self._write(writer)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open what :meth:`save` wrote.

        ParameterError if there is none, FormatError if it is of another version, IntegrityError if
        a file is damaged.
        """
        return cls._opened(saving.KIND.read(checked_path("folder", folder, f"{_OWNER}.load")))

    @classmethod
    def _opened(cls, saved: Artifact) -> Self:
        """The same, from a folder whose config was read."""
        params, state, solution = saving.load(saved)
        classifier = cls(**params)
        classifier.n_features_in_ = state.n_features
        classifier._become(state)
        if solution is not None:
            classifier._once("solution", lambda: solution)
        return classifier

    # ---- inside ----

    def _write(self, writer: ArtifactWriter, *, is_final: bool = True) -> None:
        """Write to a folder, solved where it is final."""
        state = self._learnt()
        solution = self._solution if is_final and len(state.classes) > 1 else None
        saving.write(writer, state, self.get_params(), solution)

    def _learn(self, block: Block, *, anew: bool = False) -> Self:
        """Learn a block; with keys from TextClassifier, whose vectors may differ by rounding."""
        checks.settings(self.get_params())
        if not anew and "_state" in vars(self):
            block = self._checked(block, reset=False)
            return self._become(updated(self._state, block, self.n_jobs))
        new = type(self)(**self.get_params())  # an error leaves this one as it is
        block = new._checked(block, reset=True)
        state = State.new(block.X.shape[1], block.X.dtype, self.get_params())
        state = updated(state, block, self.n_jobs)
        if anew:
            checks.two_classes(state.classes)
        vars(self).pop("feature_names_in_", None)
        vars(self).update(vars(new._become(state)))
        return self

    def _forget(self, block: Block) -> Self:
        block = self._checked(block, reset=False)
        return self._become(self._learnt().without(block, self.n_jobs))

    def _become(self, state: State) -> Self:
        """Have learned this; what follows from it is computed when it is asked for."""
        if self.priors is not None:  # one for each class, before anything is changed
            checked_priors(self.priors, state.classes, state.moments.weights)
        if (last := vars(self).get("_cached", {}).get("solution")) and last.refined:
            message = "The refined layer is gone, as it is of the samples before. Refine it again."
            warnings.warn(message, ShoestringWarning, stacklevel=4)
        self._state = state
        self._cached: dict[str, Any] = {}
        return self

    def _learnt(self) -> State:
        if "_state" not in vars(self):
            raise unfitted(
                f"This {_OWNER} instance is not fitted yet. Call fit(X, y) or partial_fit(X, y) "
                "first."
            )
        return self._state

    def _once(self, name: str, compute: Callable[[], T]) -> T:
        """A value that follows from what was learned and the settings, computed once."""
        self._learnt()
        settings = repr([getattr(self, name) for name in SOLVED_BY])
        if self._cached.get("settings") != settings:
            checks.settings(self.get_params())
            self._cached.clear()  # in place: use must not change an estimator's attributes
            self._cached["settings"] = settings
        if name not in self._cached:
            self._cached[name] = compute()
        found: T = self._cached[name]
        return found

    @property
    def _solution(self) -> solving.Solution:
        return self._once("solution", lambda: solving.solve(self._problem()))

    @property
    def _evidence(self) -> solving.Candidate:
        return self._once("evidence", lambda: solving.evidence(self._problem(), self._solution))

    @property
    def _novelty(self) -> Novelty:
        n_used = self._solution.n_used
        return self._once("novelty", lambda: Novelty.of(self._problem(), n_used, self._evidence))

    def _problem(self) -> solving.Problem:
        """What is to be solved."""
        state = self._learnt()
        checks.two_classes(state.classes)
        sizes: tuple[int, ...] = (state.moments.n_features,)
        if self.expansion == "auto":
            sizes = solving.sizes_to_try(state.n_features, state.moments)
        eps = float(np.finfo(state.sample.X.dtype).eps)
        moments = with_floor(state.moments, eps).of_features(sizes[-1])
        X = state.expanded(state.sample.X, sizes[-1]) - moments.shift
        sample = replace(state.sample, X=X)
        others = moments.weights[sample.labels] - sample.weights  # of the class of each
        sample = sample.rows(others > 1e-12 * moments.weights[sample.labels])
        shrinkage = 0.0 if self.shrinkage is None else self.shrinkage
        priors = None if self.priors is None else self.priors_
        sizes = sizes if len(sample) else sizes[-1:]
        return solving.Problem(moments, sample, shrinkage, priors, sizes)

    def _logits(self, X: Floats) -> Doubles:
        """Of samples (N, D): (N, C), up to a constant of each sample."""
        layer = self._solution.layer
        return self._in_parts(X, lambda part: layer.logits(self._used(part)))

    def _in_parts(self, X: Floats, compute: Callable[[Floats], Doubles]) -> Doubles:
        step = max(1, PREDICTED // self._solution.n_used)
        parts = [compute(X[at : at + step]) for at in range(0, max(len(X), 1), step)]
        return np.concatenate(parts)

    def _used(self, X: Floats) -> Doubles:
        """The features that the layer uses."""
        return np.asarray(self._learnt().expanded(X, self._solution.n_used), dtype=np.float64)

    def _checked(self, block: Block, *, reset: bool) -> Block:
        """Samples, finite or not, labels and weights; samples without weight are left out."""
        X = self._rows(block.X, reset=reset)
        weights = checks.weights(block.weights, len(X))
        block = block._replace(X=X, y=checks.labels(block.y, len(X)), weights=weights)
        return block if weights.all() else block.part(weights > 0)

    def _rows(self, X: ArrayLike, *, reset: bool = False) -> Floats:
        """Samples as a float array."""
        if not reset:
            self._learnt()
        if type(X) is np.ndarray and X.dtype in (np.float32, np.float64) and X.ndim == 2:
            is_known = not reset and X.shape[1] == self.n_features_in_
            if is_known and not hasattr(self, "feature_names_in_"):
                return X  # without scikit-learn, which takes a second to import
        if hasattr(X, "nnz"):
            raise ParameterError(
                f"{_OWNER} takes no sparse X: the sums that it keeps are of every pair of "
                "features. Pass X.toarray() if there are at most some thousand features; else "
                "reduce them first, for example by sklearn.decomposition.TruncatedSVD(300)."
            )
        from sklearn.utils.validation import validate_data

        dtypes = [np.float32, np.float64]
        with checks.as_ours():
            rows: Floats = validate_data(
                self, X, reset=reset, dtype=dtypes, ensure_all_finite=False
            )
        return rows

    def _finite(self, X: ArrayLike) -> Floats:
        """Samples to predict."""
        rows = self._rows(X)
        checks.finite(rows)
        return rows


def _figures(
    calibration: Calibration, logits: Floats, labels: NDArray[np.int64], weights: Doubles
) -> dict[str, Any]:
    log_p = calibration.log_probabilities(np.asarray(logits, np.float64))
    right = log_p.argmax(axis=1) == labels
    losses = -log_p[np.arange(len(right)), labels]
    return {
        "n": len(labels),
        "accuracy": float(weights @ right / weights.sum()),
        "log_loss": float(weights @ losses / weights.sum()),
        "ece": calibration_error(np.exp(log_p), labels, weights),
    }
