"""Threads of the BLAS libraries: one where our own threads multiply, each for itself."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """Context in which each of our threads multiplies alone, instead of waiting for the others'."""
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


@cache
def _libraries() -> ThreadpoolController:
    """Those of NumPy and SciPy: to find them takes longer than to learn a small batch."""
    import scipy.linalg  # noqa: F401  # so that it is there to be found

    return ThreadpoolController()
