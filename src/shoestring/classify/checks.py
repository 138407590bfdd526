"""What samples, labels and settings must be: one sentence each for what is wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
import sklearn.exceptions
from numpy.typing import ArrayLike, NDArray

from shoestring.classify.expansion import KINDS
from shoestring.classify.moments import Doubles, Moments
from shoestring.classify.shrinkage import RULES
from shoestring.errors import NotFittedError, ParameterError, ShapeError, ShoestringWarning

_OWNER = "AnalyticSoftmax"
_NAMES = ("n_features_in_", "feature_names_in_")


class UnfittedError(NotFittedError, sklearn.exceptions.NotFittedError):  # type: ignore[misc]
    """scikit-learn's own error too: its tools ask for that class."""


def settings(params: dict[str, Any]) -> None:
    """See that each parameter has a value that it can have."""
    shrinkage, temperature = params["shrinkage"], params["temperature"]
    named = isinstance(shrinkage, str) and shrinkage in ("auto", *RULES)
    if not (shrinkage is None or named or (_is_real(shrinkage) and 0 <= shrinkage <= 1)):
        want = f"{_one_of('auto', *RULES)}, None or a float in [0, 1]"
        raise ParameterError.of("shrinkage", _OWNER, want, shrinkage)
    if temperature != "auto" and not (_is_real(temperature) and 0 < temperature < math.inf):
        raise ParameterError.of("temperature", _OWNER, '"auto" or a positive float', temperature)
    if params["expansion"] not in (None, "auto", *KINDS):
        want = f"None, {_one_of('auto', *KINDS)}"
        raise ParameterError.of("expansion", _OWNER, want, params["expansion"])
    for name in ("n_random", "sample_size", "random_state"):
        value = params[name]
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise ParameterError.of(name, _OWNER, "an int of at least 0", value)
    n_jobs = params["n_jobs"]
    if n_jobs is not None and (not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0):
        want = "None, a positive int, or -1 for all cores"
        raise ParameterError.of("n_jobs", _OWNER, want, n_jobs)
    if not (_is_real(params["scale"]) and 0 < params["scale"] < math.inf):
        raise ParameterError.of("scale", _OWNER, "a positive float", params["scale"])
    if params["expansion"] is not None and params["class_scatters"]:
        raise ParameterError.of(
            "class_scatters", _OWNER, "False with an expansion", True,
            "They would take C (D + M)^2 numbers: pass expansion=None (--expansion none).",
        )  # fmt: skip


def _is_real(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _one_of(*names: str) -> str:
    return ", ".join(f'"{name}"' for name in names)


def finite(X: NDArray[np.floating[Any]]) -> None:
    """See that no feature is NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):  # in one pass, without an array of its size
            return
    bad = ~np.isfinite(X)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise ParameterError(
            f"The 'X' parameter of {_OWNER} must be finite, without NaN or infinity. Got "
            f"{X[row, column]} in sample {row}, feature {column}. Leave these samples out or fill "
            "them in."
        )


def too_large() -> ParameterError:
    """What is wrong with finite features whose sums are not."""
    return ParameterError(
        f"The features of {_OWNER} must be small enough for their squares to be added up. Got some "
        "whose sums overflow. Divide them by their largest value."
    )


def labels(y: ArrayLike, n_samples: int) -> NDArray[Any]:
    """Labels as an array of str, int or bool (N,).

    Raises
    ------
    ParameterError
        If they are of mixed types, continuous, or None.
    ShapeError
        If there are not as many as samples.
    """
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    if y is None:
        raise ParameterError(
            f"{_OWNER} requires y to be passed, but the target y is None. Pass a label a sample."
        )
    array = np.asarray(y)
    given = y if isinstance(y, list | tuple) else array.ravel().tolist()[:0]
    if array.dtype == object or (given and array.dtype.kind in "US"):
        kinds = sorted({type(label).__name__ for label in np.asarray(y, dtype=object).ravel()})
        if len(kinds) > 1:
            raise ParameterError(
                f"The labels must be of one type. Got {' and '.join(kinds)} instead. Convert them, "
                "for example all to str."
            )
        if kinds == ["str"]:
            array = array.astype(str)
    array = column_or_1d(array, warn=True)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "The number of unique classes")  # a batch may be small
        check_classification_targets(array)
    if len(array) != n_samples:
        raise ShapeError(
            f"There are {n_samples} samples and {len(array)} labels; there must be a label for "
            "each sample."
        )
    checked: NDArray[Any] = array
    return checked


def weights(values: ArrayLike, n_samples: int) -> Doubles:
    """Weights of samples as float64 (N,)."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(n_samples, float(array))
    if array.shape != (n_samples,):
        raise ShapeError(
            f"There are {n_samples} samples and weights of shape {array.shape}; there must be one "
            "for each sample."
        )
    if not array.any():
        raise ParameterError(
            f"The 'sample_weight' parameter of {_OWNER} must not be zero for all samples. Leave it "
            "out, or give some of them a weight."
        )
    if not np.isfinite(array).all() or (array < 0).any():
        bad = array[~(np.isfinite(array) & (array >= 0))][0]
        want = "finite and not below zero"
        raise ParameterError.of("sample_weight", _OWNER, want, float(bad))
    return array


def two_classes(classes: NDArray[Any]) -> None:
    """See that there is something to tell apart."""
    if len(classes) < 2:
        only = f" ({classes.tolist()[0]!r})" if len(classes) else ""
        raise ParameterError(
            f"{_OWNER} needs samples of at least two classes; the data has {len(classes)} "
            f"class{only}. Pass samples of another one."
        )


def spread(moments: Moments) -> None:
    """See that some class has samples that differ."""
    if not np.diag(moments.scatter).any():
        raise ParameterError(
            f"{_OWNER} needs a class with samples that differ: in each of these "
            f"{len(moments.sizes)} classes all are alike, or there is one. Pass more samples."
        )


@contextmanager
def names_restored(estimator: Any) -> Iterator[None]:
    """Give an estimator its feature names and their number back if the block fails."""
    known = {name: vars(estimator)[name] for name in _NAMES if name in vars(estimator)}
    try:
        yield
    except BaseException:
        for name in _NAMES:
            vars(estimator).pop(name, None)
        vars(estimator).update(known)
        raise


def place_of(label: Any, classes: NDArray[Any], owner: str) -> int:
    """Which class a label is."""
    known = classes.tolist()
    if label not in known:
        shown = ", ".join(map(repr, known[:5])) + (", ..." if len(known) > 5 else "")
        raise ParameterError.of("label", owner, f"a class that was learnt: {shown}", label)
    return int(known.index(label))


def warn_of_trace(label: Any) -> None:
    """Say what is left of a class that was forgotten without its own scatter."""
    warnings.warn(
        f"Class {label!r} is gone, but the covariance that all classes share still has what its "
        "samples did to it. To take that back too, forget the samples, or fit with "
        "class_scatters=True.",
        ShoestringWarning,
        stacklevel=3,
    )
