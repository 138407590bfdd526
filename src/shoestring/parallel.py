"""One way to use the cores: how many there are for us, and kernels over ranges, one thread in each.

Parallel over large pieces (a batch of texts, a range of rows), with one thread inside: threads that
wait for each other in a product of a millisecond lose all of their time where somebody else needs
a core for a moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController

from shoestring.errors import ParameterError


@cache
def n_cores() -> int:
    """Cores that this process may use: those it is bound to, within its container's share."""
    with suppress(AttributeError):
        bound = len(os.sched_getaffinity(0))
        with suppress(OSError, ValueError):
            quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
            return max(1, min(bound, -(-int(quota) // int(period))))
        return bound
    return os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[object]:
    """Context in which each of our threads multiplies alone, instead of waiting for the others'."""
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


@cache
def _libraries() -> ThreadpoolController:
    """Those of NumPy and SciPy: finding them takes longer than fitting a small batch."""
    import scipy.linalg  # noqa: F401  # so that it is there to be found

    return ThreadpoolController()


class KernelPool:
    """Run compiled kernels that release the interpreter's lock, over ranges of their items.

    Parameters
    ----------
    n_threads : int
        With 1 the kernel runs where it is called.

    Raises
    ------
    ParameterError
        If there is none.

    Examples
    --------
    >>> squares = [0] * 4
    >>> def kernel(number, first, last, out):
    ...     for i in range(first, last):
    ...         out[i] = i * i
    >>> with KernelPool(2) as pool:
    ...     pool.run(kernel, 4, squares)
    >>> squares
    [0, 1, 4, 9]
    """

    def __init__(self, n_threads: int = 1) -> None:
        if n_threads < 1:
            raise ParameterError.of("n_threads", "train", "an int of at least 1", n_threads)
        self.n_ranges = 2 * n_threads if n_threads > 1 else 1  # two: a late thread is helped out
        self._pool = ThreadPoolExecutor(n_threads, "shoestring") if n_threads > 1 else None

    def __enter__(self) -> KernelPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, kernel: Callable[..., object], n_items: int, *arguments: Any) -> None:
        """Call ``kernel(number of the range, first item, last item + 1, *arguments)`` for each.

        A kernel must compute each item alone, so that the ranges change nothing.
        """
        if self._pool is None:
            kernel(0, 0, n_items, *arguments)
            return
        edges = [n_items * number // self.n_ranges for number in range(self.n_ranges + 1)]
        running = [
            self._pool.submit(kernel, number, edges[number], edges[number + 1], *arguments)
            for number in range(self.n_ranges)
        ]
        for task in running:
            task.result()
