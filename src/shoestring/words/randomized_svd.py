"""Truncated singular value decomposition of a sparse matrix: M ~ U S V^T.

The randomised algorithm (Halko, Martinsson & Tropp, SIAM Review 2011, algorithms 4.4 and 5.1): the
matrix is multiplied a few times with a random basis, which turns to the leading singular vectors.
scikit-learn's is the same one; here the products use all cores and need no second copy of the
matrix. Every sum is made in a fixed order by one thread, so the bits do not depend on the number of
threads.

Letters: V rows and columns, N entries, D components.
"""

from __future__ import annotations

import numpy as np

from shoestring.compiled import njit
from shoestring.overlap.codes import Bits
from shoestring.parallel import KernelPool, one_blas_thread
from shoestring.types import IntArray
from shoestring.words.ppmi import SparseRows, Vectors

OVERSAMPLED = 16  # components more than wanted while it is computed
N_POWER_STEPS = 3

_sums = {"nogil": True, "cache": True, "fastmath": {"contract", "nsz"}}


def truncated_svd(
    matrix: SparseRows, n_components: int, seed: int = 0, pool: KernelPool | None = None
) -> tuple[Vectors, Vectors, Vectors]:
    """The D leading singular vectors and values of a matrix (V, V), D from 1 to V.

    Returns U (V, D), S (D,), descending, and V (V, D), float32.

    Notes
    -----
    Cost: O(N D) for each of 2 ``N_POWER_STEPS`` + 2 products and O(V D^2) for as many QR
    decompositions. Memory: four arrays (V, D).

    Examples
    --------
    >>> matrix = SparseRows(np.arange(4), np.array([1, 0, 2], np.int32), np.ones(3, np.float32))
    >>> left, values, right = truncated_svd(matrix, n_components=3)
    >>> np.allclose((left * values) @ right.T, [[0, 1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-6)
    True
    """
    from scipy.linalg import qr, svd

    pool = pool or KernelPool()
    width = min(n_components + OVERSAMPLED, len(matrix))
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((len(matrix), width), dtype=np.float32)
    with one_blas_thread():  # the bits of a BLAS may depend on its threads
        # Power iteration: the basis turns to the left singular vectors, to the right ones, ...
        for step in range(2 * N_POWER_STEPS + 1):  # ... and ends at the left ones
            product = _transposed_product if step % 2 else _product
            basis = qr(product(matrix, basis, pool), mode="economic", overwrite_a=True)[0]
        small = _transposed_product(matrix, basis, pool)  # (V, width): M^T Q
        right, values, rotation = svd(small, full_matrices=False, overwrite_a=True)
        left = basis @ rotation.T
    kept = slice(n_components)
    left, values, right = left[:, kept], values[kept], right[:, kept]
    signs = np.where(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])] < 0, -1, 1)
    signs = signs.astype(np.float32)  # the sign of a pair is free: ours has a positive peak
    return left * signs, values, right * signs


def _product(matrix: SparseRows, vectors: Vectors, pool: KernelPool) -> Vectors:
    out = np.empty((len(matrix), vectors.shape[1]), dtype=np.float32)
    vectors = np.ascontiguousarray(vectors)
    pool.run(_multiply, len(matrix), matrix.starts, matrix.columns, matrix.values, vectors, out)
    return out


def _transposed_product(matrix: SparseRows, vectors: Vectors, pool: KernelPool) -> Vectors:
    """M^T X, a range of the columns of X at a time: ranges of rows would need sums of their own."""
    vectors = np.ascontiguousarray(vectors.T)  # (D, V)
    out = np.empty_like(vectors)
    entries = matrix.starts, matrix.columns, matrix.values
    pool.run(_multiply_transposed, len(vectors), *entries, vectors, out)
    return np.ascontiguousarray(out.T)


@njit(**_sums)
def _multiply(
    number: int,
    first: int,
    last: int,
    starts: IntArray,
    columns: Bits,
    values: Vectors,
    vectors: Vectors,
    out: Vectors,
) -> None:
    for i in range(first, last):
        total = out[i]
        total[:] = 0
        for e in range(starts[i], starts[i + 1]):
            value, row = values[e], vectors[columns[e]]
            for d in range(len(total)):
                total[d] += value * row[d]


@njit(**_sums)
def _multiply_transposed(
    number: int,
    first: int,
    last: int,
    starts: IntArray,
    columns: Bits,
    values: Vectors,
    vectors: Vectors,
    out: Vectors,
) -> None:
    """Columns [first, last) of X, each as a row here (D, V)."""
    width, n_rows = last - first, vectors.shape[1]
    x = np.empty((n_rows, width), dtype=np.float32)
    total = np.zeros((n_rows, width), dtype=np.float32)
    for d in range(width):
        for i in range(n_rows):
            x[i, d] = vectors[first + d, i]
    for i in range(n_rows):
        row = x[i]
        for e in range(starts[i], starts[i + 1]):
            value, sums = values[e], total[columns[e]]
            for d in range(width):
                sums[d] += value * row[d]
    for d in range(width):
        for i in range(n_rows):
            out[first + d, i] = total[i, d]
