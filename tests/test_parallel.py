"""One way to use the cores."""

from __future__ import annotations

from threading import Barrier, Thread

import numpy as np
import pytest

from shoestring import parallel
from shoestring.errors import ParameterError
from shoestring.parallel import KernelPool, n_cores, one_blas_thread


def blas_threads() -> list[int]:
    return [library.num_threads for library in parallel._libraries()]


@pytest.fixture
def three_threads():
    """BLAS libraries that had three threads each, whatever this machine has."""
    before = blas_threads()
    for library in parallel._libraries():
        parallel._set_threads(library, 3)
    yield
    for library, n_threads in zip(parallel._libraries(), before, strict=True):
        parallel._set_threads(library, n_threads)


def test_blas_has_one_thread_inside_and_its_own_number_after(three_threads):
    with one_blas_thread(), one_blas_thread():
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {3}


def test_blas_gets_its_threads_back_when_blocks_of_two_threads_overlap(three_threads):
    """The first to enter leaves first; the last must not bring back what it found, which is 1."""
    inside, first_left = Barrier(2), Barrier(2)
    found = []

    def first() -> None:
        with one_blas_thread():
            inside.wait(30)
        first_left.wait(30)

    thread = Thread(target=first)
    thread.start()
    with one_blas_thread():
        inside.wait(30)
        first_left.wait(30)
        found.extend(blas_threads())
    thread.join()
    assert set(found) == {1}
    assert set(blas_threads()) == {3}


def test_an_error_gives_the_threads_back(three_threads):
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        np.float64(1) + 1 // 0
    assert set(blas_threads()) == {3}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("100000 100000", 1),
        ("150000 100000", 2),  # rounded up
        ("max 100000", 1 << 30),
    ],
)
def test_a_containers_share_is_read_from_its_group(tmp_path, version, limit, cores):
    if version == 2:
        (tmp_path / "cpu.max").write_text(limit + "\n")
    else:
        quota, period = limit.replace("max", "-1").split()
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota + "\n")
        (tmp_path / "cpu/cpu.cfs_period_us").write_text(period + "\n")
    assert parallel._container_share(tmp_path) == cores


def test_without_control_groups_the_cores_are_those_it_is_bound_to(tmp_path):
    assert parallel._container_share(tmp_path) == 1 << 30
    assert 1 <= n_cores() <= 4096


def _mark(number, first, last, counts, numbers):
    for item in range(first, last):
        counts[item] += 1
        numbers[item] = number


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n_items", [0, 1, 5, 100])
def test_a_kernel_sees_each_item_once_in_ranges_that_are_numbered(n_threads, n_items):
    counts, numbers = [0] * n_items, [-1] * n_items
    pool = KernelPool(n_threads)
    pool.run(_mark, n_items, counts, numbers)
    assert counts == [1] * n_items
    assert numbers == sorted(numbers) and set(numbers) <= set(range(pool.n_ranges))


def test_an_error_in_a_range_comes_out_and_no_threads_are_refused():
    with pytest.raises(ZeroDivisionError):
        KernelPool(2).run(lambda number, first, last: 1 // (number - 1), 8)
    with pytest.raises(ParameterError, match="'n_threads'"):
        KernelPool(0)
