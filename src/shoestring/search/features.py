"""The arrays of an index as the matrices that the mathematics asks for, memory-mapped.

Rows are those of the arrays, deleted ones included (they are masked, not copied), and below them
the records that have no arrays yet: those are found by their words alone. The vectors are rows of
numbers, or of packed bits; the rounds ask the same of both: the product with weights, some rows,
nearness to a query's row. Bits are never unpacked as a whole: a product looks up, for each byte,
the sum of the weights of its bits in a table of 256. With weights of 0 and 1 it counts shared bits,
exactly.

Letters: N rows, D columns (of packed bits all eight of every byte, D = 8 ceil(K / 8)), m anchor
queries, c cheap features of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.parallel import KernelPool, n_cores, one_blas_thread
from shoestring.search.snapshot import View
from shoestring.types import FloatArray, IntArray

N_CHEAP = 4  # c: see cheap_features
MANY_NUMBERS = 1 << 23  # in a product that is worth more than one thread: some milliseconds
Floats = NDArray[np.float64]
_BITS = np.unpackbits(
    np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"
)  # (256, 8)


class IndexRows:
    """The rows of one view: keys, which are deleted, and the arrays as whole columns.

    Holds no copy of the vectors and anchor residuals: they stay memory-mapped.
    """

    def __init__(self, view: View) -> None:
        self.view, self.arrays, self.n_stored = view, view.arrays, len(view.row_keys)
        self.keys: IntArray = np.concatenate([view.row_keys, view.pending_keys])  # (N,), ascending
        self.deleted = np.zeros(len(self.keys), dtype=bool)
        self.deleted[: self.n_stored] = view.deleted
        self.n_live = int(len(self.deleted) - np.count_nonzero(self.deleted))
        self.digests: IntArray = self.column("digest", np.int64)[: self.n_stored]
        self._digest_order = np.argsort(self.digests, kind="stable")

    def __len__(self) -> int:
        return len(self.keys)

    def rows_of(self, keys: IntArray) -> IntArray:
        """The rows of live keys."""
        return np.searchsorted(self.keys, keys)

    def known_scores(self, digests: IntArray, scores: FloatArray) -> tuple[IntArray, FloatArray]:
        """The live rows whose texts have these digests (n,) ascending, with their scores."""
        ordered = self.digests[self._digest_order]
        first = np.searchsorted(ordered, digests, side="left")
        last = np.searchsorted(ordered, digests, side="right")
        spans = [self._digest_order[a:b] for a, b in zip(first, last, strict=True)]
        rows = np.concatenate([np.empty(0, np.int64), *spans])
        is_live = ~self.deleted[rows]
        return rows[is_live], np.repeat(scores, last - first)[is_live]

    def column(self, name: str, dtype: type) -> NDArray[Any]:
        """A one-dimensional array of all rows, 0 where a record has no arrays yet."""
        out: NDArray[Any] = np.zeros(len(self), dtype)
        if name in self.arrays:
            out[: self.n_stored] = self.arrays[name]
        return out

    def whole(
        self, compute: Callable[..., None], name: str, other: NDArray[Any]
    ) -> NDArray[np.float32]:
        """:func:`product` or :func:`nearness` of a mapped matrix (N, D) with another array.

        float32 (N,), 0 where there are no arrays.
        """
        out = np.zeros(len(self), dtype=np.float32)
        if name in self.arrays:
            compute(self.arrays[name], other, out[: self.n_stored])
        return out

    def take(self, name: str, rows: IntArray, width: int) -> Floats:
        """Some rows of a mapped matrix: (len(rows), width), 0 where there are no arrays."""
        out = np.zeros((len(rows), width))
        is_stored = rows < self.n_stored
        if is_stored.any():
            out[is_stored] = numbers(self.arrays[name][rows[is_stored]])
        return out


def narrowed(rows: IndexRows, chosen: IntArray) -> IndexRows:
    """Some rows, ascending, as if there were no others: their arrays are copied into memory."""
    stored, view = chosen[chosen < rows.n_stored], rows.view
    fewer = replace(
        view,
        row_keys=view.row_keys[stored],
        deleted=view.deleted[stored],
        keys=rows.keys[chosen],
        arrays={name: np.asarray(array[stored]) for name, array in view.arrays.items()},
        pending_keys=rows.keys[chosen[len(stored) :]],
    )
    return IndexRows(fewer)


@dataclass(frozen=True)
class JoinedFeatures:
    """Mapped matrices side by side with dense columns, as :class:`~.cur.ItemFeatures`."""

    rows: IndexRows
    blocks: Sequence[tuple[str, Floats]]  # names of matrices, and the mean row taken off each
    dense: NDArray[np.float32]  # (N, n), further columns

    def dot(self, weights: Floats) -> FloatArray:
        """The product with D weights: float32 (N,)."""
        n_dense = self.dense.shape[1]
        out = self.dense @ weights[len(weights) - n_dense :].astype(np.float32)
        start = 0
        for name, mean in self.blocks:
            part = weights[start : start + len(mean)]
            out += self.rows.whole(product, name, part) - np.float32(part @ mean)
            start += len(mean)
        return np.asarray(out)

    def __getitem__(self, rows: IntArray) -> Floats:
        """Some rows: float64 (len(rows), D)."""
        blocks = [self.rows.take(name, rows, len(mean)) - mean for name, mean in self.blocks]
        return np.hstack([*blocks, self.dense[rows]])


def cheap_features(near: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is known of a query with N items before the scorer is asked: float32 (N, 4).

    The cosine of the vectors (``near``); BM25, 0 where no word is shared (``lexical``), over the
    query's largest; log(1 + BM25); the product of the first two.
    """
    share = lexical / max(float(lexical.max(initial=0.0)), 1e-9)
    return np.stack([near, share, np.log1p(lexical), near * share], axis=1)


def product(matrix: NDArray[Any], weights: FloatArray, out: NDArray[np.float32]) -> None:
    """Write the product of item features (N, D) with D weights into ``out``, float32 (N,).

    They are numbers, float32 (N, D), or packed bits as :mod:`shoestring.overlap.codes` says, uint8
    (N, D / 8), whose product costs a look-up for each byte.

    Examples
    --------
    >>> codes, out = np.array([[0b0011], [0b0110], [0]], np.uint8), np.empty(3, "f4")
    >>> product(codes, np.array([1.0, 10, 100, 0, 0, 0, 0, 0]), out)
    >>> out.tolist()
    [11.0, 110.0, 0.0]
    """
    kernel = _dot
    if matrix.dtype == np.uint8:
        from shoestring.overlap.codes import sum_of_bytes  # with numba, half a second

        kernel, weights = sum_of_bytes, weights.reshape(-1, 8) @ _BITS.T  # (D / 8, 256)
    rows = matrix.view(np.ndarray)  # numba knows no memory map
    n_threads = n_cores() if rows.size >= MANY_NUMBERS else 1
    with one_blas_thread():
        KernelPool(n_threads).run(kernel, len(rows), rows, weights.astype(np.float32), out)


def nearness(matrix: NDArray[Any], row: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Write the cosine of rows with one as the encoder gives it; 0 where either has nothing.

    Rows of numbers have unit length. Codes have as many bits as each other, so it is the bits that
    they share over those of the query.
    """
    product(matrix, numbers(row).astype(np.float32), out)
    if matrix.dtype == np.uint8:
        out /= np.float32(max(1, int(numbers(row).sum())))


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
