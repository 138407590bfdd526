"""Item features as they lie in a segment, memory-mapped: rows of numbers, or of packed bits.

The rounds ask the same of both: the product with weights, some rows, nearness to a query's row,
and the sums that moments are made of. Bits are never unpacked as a whole: a product looks up, for
each byte, the sum of the weights of its bits in a table of 256. With weights of 0 and 1 it counts
shared bits, exactly.

Letters: N rows, D columns (of packed bits all eight of every byte, D = 8 ceil(K / 8)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from shoestring.parallel import KernelPool, n_cores, one_blas_thread
from shoestring.types import FloatArray, IntArray

Floats = NDArray[np.float64]
MANY_NUMBERS = 1 << 23  # in a product that is worth more than one thread: some milliseconds
_BITS = np.unpackbits(
    np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"
)  # (256, 8)


class MappedRows(Protocol):
    """A part (N, D) of a matrix of item features."""

    def product(self, weights: FloatArray, out: NDArray[np.float32]) -> None:
        """Write the product with D weights: (N,)."""
        ...

    def nearness(self, row: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Write the cosine with a row as the encoder gives it; 0 where either has nothing."""
        ...

    def take(self, rows: IntArray) -> NDArray[Any]:
        """Some rows as numbers: (len(rows), D)."""
        ...

    def sums(self) -> Floats:
        """The sum of each column: (D,)."""
        ...

    def square(self) -> float:
        """The sum of all squares."""
        ...


def mapped_rows(array: NDArray[Any]) -> MappedRows:
    """What an array holds: packed bits where it is uint8, else rows of unit length, or zeros."""
    return PackedRows(array) if array.dtype == np.uint8 else DenseRows(array)


class DenseRows:
    """Rows of numbers: float32 (N, D)."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def product(self, weights: FloatArray, out: NDArray[np.float32]) -> None:
        """As :class:`MappedRows`."""
        _in_ranges(_dot, self.array.view(np.ndarray), weights.astype(np.float32), out)

    def nearness(self, row: NDArray[Any], out: NDArray[np.float32]) -> None:
        """As :class:`MappedRows`."""
        self.product(row, out)

    def take(self, rows: IntArray) -> NDArray[Any]:
        """As :class:`MappedRows`."""
        return self.array[rows]

    def sums(self) -> Floats:
        """As :class:`MappedRows`."""
        return np.asarray(self.array.sum(axis=0, dtype=np.float64))

    def square(self) -> float:
        """As :class:`MappedRows`."""
        return float(np.square(self.array, dtype=np.float64).sum())


class PackedRows:
    """Rows of bits, packed as :mod:`shoestring.overlap.packed` says: uint8 (N, D / 8).

    Examples
    --------
    >>> rows, out = PackedRows(np.array([[0b0011], [0b0110], [0]], np.uint8)), np.empty(3, "f4")
    >>> rows.product(np.array([1.0, 10, 100, 0, 0, 0, 0, 0]), out)
    >>> out.tolist(), rows.sums().tolist()[:4]
    ([11.0, 110.0, 0.0], [1.0, 2.0, 1.0, 0.0])
    >>> rows.nearness(np.array([0b0011], np.uint8), out)
    >>> out.tolist()
    [1.0, 0.5, 0.0]
    """

    def __init__(self, packed: NDArray[Any]) -> None:
        self.packed = packed.view(np.ndarray)  # numba knows no memory map

    def product(self, weights: FloatArray, out: NDArray[np.float32]) -> None:
        """As :class:`MappedRows`. Cost: a look-up for each byte."""
        tables = weights.reshape(-1, 8).astype(np.float64) @ _BITS.T  # (D / 8, 256)
        _in_ranges(_sum_of_bytes, self.packed, tables.astype(np.float32), out)

    def nearness(self, row: NDArray[Any], out: NDArray[np.float32]) -> None:
        """As :class:`MappedRows`: shared bits over those of the query, as all have as many."""
        bits = unpacked(row)
        self.product(bits.astype(np.float32), out)
        out /= np.float32(max(1, int(bits.sum())))

    def take(self, rows: IntArray) -> NDArray[Any]:
        """As :class:`MappedRows`."""
        return unpacked(self.packed[rows])

    def sums(self) -> Floats:
        """As :class:`MappedRows`."""
        counts = np.zeros((self.packed.shape[1], 256), np.int64)
        _count_bytes(self.packed, counts)
        return (counts @ _BITS.astype(np.int64)).reshape(-1).astype(np.float64)

    def square(self) -> float:
        """As :class:`MappedRows`."""
        return float(self.sums().sum())


def unpacked(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """Packed bits (..., D / 8) as 0 and 1: (..., D)."""
    return np.unpackbits(np.asarray(packed, dtype=np.uint8), axis=-1, bitorder="little")


def _in_ranges(kernel: Callable[..., None], rows: NDArray[Any], *arguments: Any) -> None:
    n_threads = n_cores() if rows.size >= MANY_NUMBERS else 1
    with one_blas_thread(), KernelPool(n_threads) as pool:
        pool.run(kernel, len(rows), rows, *arguments)


def _dot(_: int, first: int, last: int, rows: Any, weights: Any, out: Any) -> None:
    np.dot(rows[first:last], weights, out=out[first:last])


@njit(nogil=True, cache=True)
def _sum_of_bytes(_: int, first: int, last: int, packed: Any, tables: Any, out: Any) -> None:
    for i in range(first, last):
        total = np.float32(0)
        for byte in range(packed.shape[1]):
            total += tables[byte, packed[i, byte]]
        out[i] = total


@njit(nogil=True, cache=True)
def _count_bytes(packed: Any, counts: Any) -> None:
    for i in range(packed.shape[0]):
        for byte in range(packed.shape[1]):
            counts[byte, packed[i, byte]] += 1
