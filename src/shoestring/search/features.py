"""The arrays of an index as the matrices that the mathematics asks for, memory-mapped.

The vectors are rows of numbers, or of packed bits; the rounds ask the same of both: the product
with weights, some rows, nearness to a query's row. Bits are never unpacked as a whole: a product
looks up, for each byte, the sum of the weights of its bits in a table of 256. With weights of 0 and
1 it counts shared bits, exactly.

Letters: N rows, D columns (of packed bits all eight of every byte, D = 8 ceil(K / 8)), m anchor
queries, c cheap features of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.parallel import KernelPool, n_cores, one_blas_thread
from shoestring.types import FloatArray, IntArray

MANY_NUMBERS = 1 << 23  # in a product that is worth more than one thread: some milliseconds
Floats = NDArray[np.float64]
_BITS = np.unpackbits(
    np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"
)  # (256, 8)


@dataclass(frozen=True)
class JoinedFeatures:
    """Mapped matrices side by side with dense columns, as far as :class:`~.cur.Rounds` asks."""

    blocks: Sequence[tuple[NDArray[Any], Floats]]  # matrices, and the mean row taken off each
    dense: NDArray[np.float32]  # (N, n), further columns

    def dot(self, weights: Floats) -> FloatArray:
        """The product with D weights: float32 (N,)."""
        n_dense = self.dense.shape[1]
        out = self.dense @ weights[len(weights) - n_dense :].astype(np.float32)
        start = 0
        for matrix, mean in self.blocks:
            part = weights[start : start + len(mean)]
            out += product(matrix, part) - np.float32(part @ mean)
            start += len(mean)
        return np.asarray(out)

    def __getitem__(self, rows: IntArray) -> Floats:
        """Some rows: float64 (len(rows), D)."""
        blocks = [numbers(matrix[rows]) - mean for matrix, mean in self.blocks]
        return np.hstack([*blocks, self.dense[rows]])


def cheap_features(near: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is known of a query with N items before the scorer is asked: float32 (N, 4).

    The cosine of the vectors (``near``); BM25, 0 where no word is shared (``lexical``), over the
    query's largest; log(1 + BM25); the product of the first two.
    """
    share = lexical / max(float(lexical.max(initial=0.0)), 1e-9)
    return np.stack([near, share, np.log1p(lexical), near * share], axis=1)


def product(matrix: NDArray[Any], weights: FloatArray) -> NDArray[np.float32]:
    """The product of item features (N, D) with D weights: float32 (N,).

    They are numbers, float32 (N, D), or packed bits as :mod:`shoestring.overlap.codes` says, uint8
    (N, D / 8), whose product costs a look-up for each byte.

    Examples
    --------
    >>> codes = np.array([[0b0011], [0b0110], [0]], np.uint8)
    >>> product(codes, np.array([1.0, 10, 100, 0, 0, 0, 0, 0])).tolist()
    [11.0, 110.0, 0.0]
    """
    kernel = _dot
    if matrix.dtype == np.uint8:
        from shoestring.overlap.codes import sum_of_bytes  # with numba, half a second

        kernel, weights = sum_of_bytes, weights.reshape(-1, 8) @ _BITS.T  # (D / 8, 256)
    rows, out = matrix.view(np.ndarray), np.empty(len(matrix), np.float32)  # numba knows no maps
    n_threads = n_cores() if rows.size >= MANY_NUMBERS else 1
    with one_blas_thread():
        KernelPool(n_threads).run(kernel, len(rows), rows, weights.astype(np.float32), out)
    return out


def nearness(matrix: NDArray[Any], row: NDArray[Any]) -> NDArray[np.float32]:
    """The cosine (N,) of rows with one as the encoder gives it; 0 where either has nothing.

    Rows of numbers have unit length. Codes have as many bits as each other, so it is the bits that
    they share over those of the query.
    """
    found = product(matrix, numbers(row).astype(np.float32))
    if matrix.dtype == np.uint8:
        found /= np.float32(max(1, int(numbers(row).sum())))
    return found


def numbers(rows: NDArray[Any]) -> NDArray[Any]:
    """Some rows (..., D) as numbers: packed bits as 0 and 1."""
    if rows.dtype != np.uint8:
        return rows
    return np.unpackbits(np.asarray(rows), axis=-1, bitorder="little")


def sums(matrix: NDArray[Any]) -> tuple[Floats, float]:
    """The sum of each column (D,), and that of all squares."""
    rows = numbers(matrix)
    total = np.asarray(rows.sum(axis=0, dtype=np.float64))
    if matrix.dtype == np.uint8:  # a bit is its own square
        return total, float(total.sum())
    return total, float(np.square(rows, dtype=np.float64).sum())


def _dot(_: int, first: int, last: int, rows: Any, weights: Any, out: Any) -> None:
    np.dot(rows[first:last], weights, out=out[first:last])
