"""Threads that share one kernel's items, cut into ranges."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shoestring.errors import ParameterError


class Team:
    """Run compiled kernels that give up the interpreter's lock, over ranges of their items.

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
    >>> with Team(2) as team:
    ...     team.run(kernel, 4, squares)
    >>> squares
    [0, 1, 4, 9]
    """

    def __init__(self, n_threads: int = 1) -> None:
        if n_threads < 1:
            raise ParameterError.of("n_threads", "train", "an int of at least 1", n_threads)
        self.n_ranges = 2 * n_threads if n_threads > 1 else 1  # two: a late thread is helped out
        self._pool = ThreadPoolExecutor(n_threads, "words") if n_threads > 1 else None

    def __enter__(self) -> Team:
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
