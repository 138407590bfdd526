"""A softmax classifier that is fitted without a loop: it streams, merges and forgets.

The mathematics: :mod:`~shoestring.classify.analytic`, on :mod:`~shoestring.classify.moments`; what
is chosen by itself: :mod:`~shoestring.classify.solving`.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import validate_data

from shoestring.classify import artifact, checks
from shoestring.classify.accumulating import (
    BUILT_BY,
    Block,
    Floats,
    State,
    expansion_of,
    learnt,
)
from shoestring.classify.calibration import Reliability
from shoestring.classify.fitted import Fitted
from shoestring.classify.moments import Doubles, without_class
from shoestring.errors import ParameterError, ShapeError

ATTRIBUTES = (
    "classes_", "moments_", "means_", "covariance_", "priors_", "coef_", "intercept_",
    "temperature_", "noise_", "shrinkage_", "n_random_",
)  # fmt: skip
_OWNER = "AnalyticSoftmax"


class AnalyticSoftmax(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Softmax classifier in closed form: linear discriminants from sums over the samples.

    Parameters
    ----------
    shrinkage : {"auto", "gcv", "oas", "ledoit-wolf"}, float or None
        Of the covariance towards a multiple of the identity, in [0, 1]; None is 0. ``auto`` takes
        what predicts samples best that it leaves out, in closed form.
    temperature : "auto" or float
        Divides the logits in ``predict_proba``; ``auto`` from samples that are left out, and with
        it the share of them that may be of any class, the noise; else that is 0.
    priors : None, "uniform", dict or array of C numbers
        None: the classes' frequencies.
    expansion : {None, "auto", "relu", "fourier"}
        Random features beside the given ones. ``auto``: rectified ones, as many of ``n_random`` as
        predict left out samples best, none among the choices.
    n_random : int
        M.
    scale : float
        Of Fourier features: one over the distance at which two vectors are alike.
    class_scatters : bool
        Keep the scatter of each class, C D^2 numbers: ``forget_class`` is exact then, and
        ``shrinkage="ledoit-wolf"`` can be had.
    sample_size : int
        Samples that are kept, whatever came, to choose and to calibrate with; 0 for none: no sample
        stays in the model, shrinkage is that of ``oas`` and the temperature 1.
    n_jobs : int, optional
        Workers for blocks of samples: threads, or what ``joblib.parallel_config`` says, on other
        machines too. By default all cores. The result is the same for any number.
    random_state : int
        Seed of the random features and of which samples are kept.

    Attributes
    ----------
    classes_ : ndarray (C,)
    coef_, intercept_ : float64 arrays (C, D + M used), (C,); (1, ...), (1,) for two classes
    means_, covariance_ : float64 arrays (C, D + M), (D + M, D + M)
    priors_ : float64 array (C,)
    shrinkage_, temperature_, noise_ : float
    n_random_ : int
        Random features that are used.
    moments_ : Moments

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

    def __init__(
        self,
        shrinkage: str | float | None = "auto",
        temperature: str | float = "auto",
        priors: Any = None,
        *,
        expansion: str | None = None,
        n_random: int = 2_000,
        scale: float = 1.0,
        class_scatters: bool = False,
        sample_size: int = 2_048,
        n_jobs: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.shrinkage = shrinkage
        self.temperature = temperature
        self.priors = priors
        self.expansion = expansion
        self.n_random = n_random
        self.scale = scale
        self.class_scatters = class_scatters
        self.sample_size = sample_size
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_is_fitted__(self) -> bool:
        return "_state" in vars(self)

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
            A parameter that cannot be; NaN or infinity; fewer than two classes; labels of mixed
            types.
        ShapeError
            If X and y are of different lengths.
        """
        return self.learn(X, y, None, sample_weight, anew=True)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:  # fmt: skip
        """Learn from more samples: the same as if all had come at once, in any order.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`. Classes may be new.
        classes : array, optional
            Not needed: classes are those that came.

        Raises
        ------
        ParameterError, ShapeError
            As :meth:`fit`; what was learnt before stays.
        """
        return self.learn(X, y, None, sample_weight)

    def learn(
        self, X: ArrayLike, y: ArrayLike, keys: NDArray[np.uint64] | None,
        sample_weight: ArrayLike | None = None, *, anew: bool = False,
    ) -> Self:  # fmt: skip
        """As :meth:`partial_fit`, or :meth:`fit` where it is ``anew``.

        ``keys``, uint64 (N,), are the same for samples that are; by default their content says so.
        """
        begun = "_state" in vars(self) and not anew
        params = self.get_params()
        checks.settings(params)
        with checks.names_restored(self):
            block = self._checked(X, y, sample_weight, keys, reset=not begun)
            state = self._state if begun else State.new(block.X.shape[1], block.X.dtype, params)
            state = learnt(state, block, self.n_jobs)
            if anew:
                checks.two_classes(state.classes)
            return self._become(state)

    def merge(self, other: AnalyticSoftmax) -> Self:
        """Learn what another classifier has learnt from other samples.

        ShapeError or ParameterError if it has other features, or keeps other things.
        """
        state, theirs = self.learnt(), other.learnt()
        if state.n_features != theirs.n_features:
            raise ShapeError(
                f"A classifier of {theirs.n_features} features cannot be merged into one of "
                f"{state.n_features}. Fit both on the same features."
            )
        expands = state.expansion is not None or theirs.expansion is not None
        for name in BUILT_BY if expands else BUILT_BY[:2]:
            ours, others = state.how[name], theirs.how[name]
            if ours != others and name != "sample_size":
                want = f"{ours!r}, as in the classifier that it is merged into"
                raise ParameterError.of(name, f"{_OWNER}.merge", want, others)
        return self._become(state.merged(theirs))

    def forget(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take samples back, as they were learnt: as if they had never been seen.

        Raises
        ------
        ParameterError
            If they cannot have been learnt: a class would have fewer samples than none, or a
            feature less scatter. Nothing is changed then.
        """
        return self.unlearn(X, y, None, sample_weight)

    def unlearn(
        self, X: ArrayLike | None = None, y: ArrayLike | None = None,
        keys: NDArray[np.uint64] | None = None, sample_weight: ArrayLike | None = None,
    ) -> Self:  # fmt: skip
        """As :meth:`forget`, by keys; without samples, all that was learnt."""
        if X is None or y is None:
            for name in {"_state", "_uses", "n_features_in_", "feature_names_in_"} & set(
                vars(self)
            ):
                delattr(self, name)
            return self
        state = self.learnt()
        block = self._checked(X, y, sample_weight, keys, reset=False)
        return self._become(state.without(block, self.n_jobs))

    def forget_class(self, label: Any) -> Self:
        """Take a class back.

        Its samples leave the means, the frequencies and the kept sample. Without
        ``class_scatters`` the covariance that all classes share stays as it is, what these samples
        did to it included; a ShoestringWarning says so. ``forget`` with the samples is exact.

        If there is no such class, or only one other, it is a ParameterError.
        """
        state = self.learnt()
        place = checks.place_of(label, state.classes, f"{_OWNER}.forget_class")
        if len(state.classes) <= 2:
            raise ParameterError(
                f"Class {label!r} is one of two: without it there is nothing to tell apart. Fit a "
                "new classifier, or add a class first."
            )
        if not self.class_scatters:
            checks.warn_of_trace(label)
        moments = without_class(state.moments, place)
        rest = np.delete(state.classes, place)
        return self._become(state.changed(rest, moments, state.sample.without_label(place)))

    # ---- using ----

    def decision_function(self, X: ArrayLike) -> Doubles:
        """Logits, X coef_ + intercept_: (N, C), of two classes (N,) those of the second."""
        logits = self._in_use().logits(self._finite(X), common=True)
        return np.asarray(logits[:, 1] - logits[:, 0]) if logits.shape[1] == 2 else logits

    def predict_proba(self, X: ArrayLike) -> Doubles:
        """Probabilities (N, C): softmax of the logits over ``temperature_``, with ``noise_``."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> Doubles:
        """Logarithms of :meth:`predict_proba`."""
        return self._in_use().log_probabilities(self._finite(X))

    def predict(self, X: ArrayLike, reject_at: float | None = None) -> NDArray[Any]:
        """The most probable class of each sample.

        Parameters
        ----------
        X : float array (N, D)
        reject_at : float, optional
            In (0, 1): the share of samples of the known classes that may be rejected. What is
            stranger (:meth:`strangeness`) than that share of the left out samples is None.

        Returns
        -------
        array (N,)
            Of labels; with ``reject_at`` of objects.

        """
        rows, fitted = self._finite(X), self._in_use()
        labels: NDArray[Any] = fitted.classes[fitted.logits(rows).argmax(axis=1)]
        if reject_at is None:
            return labels
        answers = labels.astype(object)
        answers[fitted.strangeness(rows) > self.cutoff(reject_at)] = None
        return answers

    def strangeness(self, X: ArrayLike) -> Doubles:
        """How far samples are from every class (N,): :mod:`~shoestring.classify.rejecting`."""
        return self._in_use().strangeness(self._finite(X))

    def cutoff(self, reject_at: float) -> float:
        """The strangeness above which ``predict(X, reject_at)`` says None."""
        return self._in_use().cutoff(reject_at)

    def report(self) -> dict[str, Any]:
        """How good it is on the kept samples, each left out: ``n``, accuracy, log-loss, ECE."""
        return self._in_use().report()

    def reliability(self) -> Reliability:
        """Confidence and accuracy of the kept samples, each left out, in bins."""
        return self._in_use().reliability()

    def save(self, folder: str | Path) -> None:
        """Save to a folder: new, empty, or one that was saved before, which is replaced.

        It can go on learning and forgetting after :meth:`load`.

        Raises
        ------
        ParameterError, StorageError
            If the folder holds other files; if it cannot be written: what was there stays.
        """
        artifact.save(Path(folder), self.learnt(), self.get_params())

    @classmethod
    def load(cls, folder: str | Path) -> AnalyticSoftmax:
        """Open what :meth:`save` wrote.

        Raises
        ------
        ParameterError, FormatError, IntegrityError
            If there is none; if it is of another version; if a file is missing or damaged.
        """
        params, classes, moments, sample = artifact.load(Path(folder))
        classifier = cls(**params)
        how = {name: params[name] for name in BUILT_BY}
        classifier.n_features_in_ = n_features = sample.X.shape[1]
        expansion = expansion_of(n_features, how)
        return classifier._become(State(classes, moments, sample, expansion, how))

    # ---- inside ----

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            return getattr(self._in_use(), name.removesuffix("_"))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _in_use(self) -> Fitted:
        """What was learnt, in use; solved again after ``set_params``."""
        state, params = self.learnt(), self.get_params()
        if not self._uses[0].is_of(params):
            checks.settings(params)
            self._uses[:] = [Fitted(state, params)]
        return self._uses[0]

    def _become(self, state: State) -> Self:
        """What is learnt is another: what follows from it is found when it is asked for."""
        uses = [Fitted(state, self.get_params())]  # a list, as use must not change an estimator
        uses[0].check_priors()
        self._state, self._uses = state, uses
        return self

    def learnt(self) -> State:
        """All that was learnt; NotFittedError if that is nothing."""
        if "_state" not in vars(self):
            raise checks.UnfittedError(
                f"This {_OWNER} instance is not fitted yet. Call fit(X, y) or partial_fit(X, y) "
                "first."
            )
        state: State = vars(self)["_state"]
        return state

    def _checked(
        self, X: ArrayLike, y: ArrayLike, weights: ArrayLike | None,
        keys: NDArray[np.uint64] | None, *, reset: bool,
    ) -> Block:  # fmt: skip
        """Samples, finite or not, labels and weights; samples without weight are left out."""
        rows = self._rows(X, reset=reset)
        block = Block(rows, checks.labels(y, len(rows)), None, keys)
        if weights is None:
            return block
        values = checks.weights(weights, len(rows))
        some = values > 0
        block = block._replace(weights=values)
        return block if some.all() else block.part(some)

    def _rows(self, X: ArrayLike, *, reset: bool = False) -> Floats:
        """Samples as a float array."""
        if not reset:
            self.learnt()
        dtypes = [np.float32, np.float64]
        rows: Floats = validate_data(
            self, X, reset=reset, dtype=dtypes, ensure_all_finite=False, accept_sparse=False
        )
        return rows

    def _finite(self, X: ArrayLike) -> Floats:
        """Samples to say something of."""
        rows = self._rows(X)
        checks.finite(rows)
        return rows
