"""What samples, labels and settings must be: one sentence each for what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring.checks import checked_int, checked_number
from shoestring.classify.moments import Doubles
from shoestring.errors import ParameterError, ShapeError, ShoestringError

MOST_JOBS = 1_024
MOST_RANDOM = 1 << 14  # random features: their sums take 2 GB
_OWNER = "AnalyticSoftmax"


class _TypedError(ParameterError, TypeError):
    """scikit-learn's tools ask for a TypeError where a value is of no type that could be right."""


@contextmanager
def as_ours() -> Iterator[None]:
    """Errors of NumPy and scikit-learn about samples and labels, in our tree."""
    try:
        yield
    except ShoestringError:
        raise
    except TypeError as error:
        raise _TypedError(str(error)) from error
    except (ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ParameterError(str(error)) from error


def settings(params: dict[str, Any]) -> None:
    """Check the value of each parameter."""
    shrinkage, n_jobs = params["shrinkage"], params["n_jobs"]
    if shrinkage is not None and str(shrinkage) != "auto":
        want = '"auto", None or a float in [0, 1]'
        checked_number("shrinkage", shrinkage, _OWNER, want, np.nextafter(0, -1), 1)
    if params["expansion"] is not None and str(params["expansion"]) not in ("auto", "relu"):
        raise _wrong("expansion", params["expansion"], "one of None, auto, relu")
    for name, most in ("n_random", MOST_RANDOM), ("sample_size", None), ("random_state", None):
        checked_int(name, params[name], 0, most, _OWNER)
    is_int = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool)
    if n_jobs is not None and not (is_int and n_jobs and n_jobs <= MOST_JOBS):
        want = f"None, an int in [1, {MOST_JOBS}], or -1 for all cores"
        raise _wrong("n_jobs", n_jobs, want)


def _wrong(name: str, got: object, want: str) -> ParameterError:
    return ParameterError.of(name, _OWNER, want, got)


def finite(X: NDArray[np.floating[Any]]) -> None:
    """Check that no feature is NaN or infinite."""
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


@as_ours()
def labels(y: ArrayLike, n_samples: int) -> NDArray[Any]:
    """Labels as an array of str, int or bool (N,)."""
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    if y is None:
        raise ParameterError(
            f"{_OWNER} requires y to be passed, but the target y is None. Pass a label a sample."
        )
    array = np.asarray(y)
    # numpy makes [1, "a"] two strings, so ask the labels as they were given
    if array.dtype == object or (isinstance(y, list | tuple) and array.dtype.kind in "US"):
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
    return np.asarray(array)


def same_type(known: NDArray[Any], new: NDArray[Any]) -> None:
    """Check that new labels are strings if, and only if, the known ones are."""
    if len(new) and (known.dtype.kind in "US") != (new.dtype.kind in "US"):
        raise ParameterError(
            f"Labels must be of one type: {known.tolist()[0]!r} was learned, {new.tolist()[0]!r} "
            "came. Convert them."
        )


def weights(values: ArrayLike | None, n_samples: int) -> Doubles:
    """Weights of samples as float64 (N,); None: each is 1."""
    if values is None:
        return np.ones(n_samples)
    with as_ours():
        array = np.asarray(values, dtype=np.float64)
    if array.shape != (n_samples,):
        raise ShapeError(
            f"There are {n_samples} samples and weights of shape {array.shape}; there must be one "
            "for each sample."
        )
    if not (np.isfinite(array) & (array >= 0)).all() or not array.any():
        want = "finite, not below zero, and above zero for some samples"
        raise _wrong("sample_weight", float(array.min()), want)
    return array


def two_classes(classes: NDArray[Any]) -> None:
    """Check that there is something to tell apart."""
    if len(classes) < 2:
        only = f"; there is 1 class, {classes.tolist()[0]!r}" if len(classes) else ""
        raise ParameterError(
            f"{_OWNER} needs samples of at least two classes{only}. Pass samples of another one."
        )
