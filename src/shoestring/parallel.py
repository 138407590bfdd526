"""One way to use the cores: how many there are for us, and kernels over ranges, one thread in each.

Parallel over large pieces (a batch of texts, a range of rows), with one thread inside: threads that
wait for each other in a product of a millisecond lose all of their time where somebody else needs
a core for a moment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

from shoestring.checks import checked_int


@cache
def n_cores() -> int:
    """Cores that this process may use: those it is bound to, within its container's share."""
    with suppress(AttributeError):
        bound = len(os.sched_getaffinity(0))
        return max(1, min(bound, _container_share(Path("/sys/fs/cgroup"))))
    return os.cpu_count() or 1


def _container_share(group: Path) -> int:
    """Cores that the control group of a container allows, rounded up: version 2, or 1."""
    for names in ["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]:
        with suppress(OSError, ValueError):  # ValueError: "max", no limit
            quota, period = map(int, " ".join((group / n).read_text() for n in names).split())
            if quota > 0:
                return -(-quota // period)
    return 1 << 30


_lock, _inside, _before = Lock(), 0, dict[str, tuple[Any, int]]()  # of one_blas_thread


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context, or decorator, in which each of our threads multiplies alone, waiting for no other.

    The number of BLAS threads belongs to the whole process: it is 1 while any of our threads is in
    such a block, and what it was before once all have left. Entering costs some 10 microseconds.
    """
    global _inside
    libraries = _libraries()
    with _lock:
        _inside += 1
        for library in libraries:  # those that were loaded since another block was entered, too
            if library.filepath not in _before:
                _before[library.filepath] = library, library.num_threads
                _set_threads(library, 1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for library, n_threads in _before.values():
                    _set_threads(library, n_threads)
                _before.clear()


def _set_threads(library: Any, n_threads: int) -> None:
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)  # threadpoolctl from 3.7 on: else only the thread that set it first may
    library.set_num_threads(n_threads)
    release(force=True)


def _libraries() -> list[Any]:
    """NumPy's, and SciPy's once it is loaded, which takes longer than most commands here."""
    return _found("scipy.linalg" in sys.modules)


@cache
def _found(with_scipy: bool) -> list[Any]:
    found = ThreadpoolController().lib_controllers
    return [library for library in found if library.user_api == "blas"]


@cache
def shared_pool(n_threads: int) -> ThreadPoolExecutor:
    """Threads that are kept until the process ends: starting some takes a millisecond.

    A task must not wait for another one in it.
    """
    return ThreadPoolExecutor(n_threads, "shoestring")


def _begin_again() -> None:
    """In a forked child: no thread of its parent is there, and who waits for one waits for ever."""
    global _lock
    _lock = Lock()  # a thread may have held it
    shared_pool.cache_clear()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # as its own workers do: OpenMP counts on the parent's threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


class KernelPool:
    """Run compiled kernels that release the interpreter's lock, over ranges of their items.

    With one thread the kernel runs where it is called, with more in the :func:`shared_pool`.

    Examples
    --------
    >>> squares = [0] * 4
    >>> def kernel(number, first, last, out):
    ...     for i in range(first, last):
    ...         out[i] = i * i
    >>> KernelPool(2).run(kernel, 4, squares)
    >>> squares
    [0, 1, 4, 9]
    """

    def __init__(self, n_threads: int = 1) -> None:
        self.n_threads = checked_int("n_threads", n_threads, 1, None, "KernelPool")
        self.n_ranges = 2 * n_threads if n_threads > 1 else 1  # two: a late thread is helped out

    def run(self, kernel: Callable[..., object], n_items: int, *arguments: Any) -> None:
        """Call ``kernel(number of the range, first item, last item + 1, *arguments)`` for each.

        A kernel must compute each item alone, so that the ranges change nothing.
        """
        edges = [n_items * number // self.n_ranges for number in range(self.n_ranges + 1)]
        ranges = zip(range(self.n_ranges), edges[:-1], edges[1:], strict=True)
        if self.n_threads == 1:
            kernel(*next(ranges), *arguments)
            return
        pool = shared_pool(self.n_threads)
        tasks = [pool.submit(kernel, *numbered, *arguments) for numbered in ranges]
        wait(tasks)  # all of them, also where one fails: none writes after this
        for task in tasks:
            task.result()
