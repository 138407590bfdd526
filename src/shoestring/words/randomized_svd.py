"""Truncated singular value decomposition of a sparse matrix: M ~ U S V^T.

The randomised algorithm (Halko, Martinsson & Tropp, SIAM Review 2011, algorithms 4.4 and 5.1): the
matrix is multiplied a few times with a random basis, which turns to the leading singular vectors.
scikit-learn's is the same one; here the products use all cores. Every sum is made in a fixed order
by one thread, so the bits do not depend on the number of threads.

Letters: V rows and columns, N entries, D components.
"""

from __future__ import annotations

import numpy as np

from shoestring.parallel import KernelPool, one_blas_thread
from shoestring.words.ppmi import SparseMatrix, Vectors

OVERSAMPLED = 16  # components more than wanted while it is computed
N_POWER_STEPS = 3


def truncated_svd(
    matrix: SparseMatrix, n_components: int, seed: int = 0, pool: KernelPool | None = None
) -> tuple[Vectors, Vectors, Vectors]:
    """The D leading singular vectors and values of a csr_array (V, V), float32, D from 1 to V.

    Returns U (V, D), S (D,), descending, and V (V, D), float32.

    Notes
    -----
    Cost: O(N D) for each of 2 ``N_POWER_STEPS`` + 2 products and O(V D^2) for as many QR
    decompositions. Memory: four arrays (V, D).

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> matrix = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    >>> left, values, right = truncated_svd(csr_array(matrix), n_components=3)
    >>> np.allclose((left * values) @ right.T, matrix, atol=1e-6)
    True
    """
    from scipy.linalg import qr, svd

    pool = pool or KernelPool()
    n_rows = matrix.shape[0]
    width = min(n_components + OVERSAMPLED, n_rows)
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((n_rows, width), dtype=np.float32)
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


def _product(matrix: SparseMatrix, vectors: Vectors, pool: KernelPool) -> Vectors:
    """M X, a range of rows at a time."""
    vectors = np.ascontiguousarray(vectors)
    out = np.empty_like(vectors)

    def multiply(number: int, first: int, last: int) -> None:
        out[first:last] = matrix[first:last] @ vectors

    pool.run(multiply, len(out))
    return out


def _transposed_product(matrix: SparseMatrix, vectors: Vectors, pool: KernelPool) -> Vectors:
    """M^T X, a range of the columns of X at a time: ranges of rows would need sums of their own."""
    transposed, out = matrix.T, np.empty_like(vectors)

    def multiply(number: int, first: int, last: int) -> None:
        out[:, first:last] = transposed @ vectors[:, first:last]

    pool.run(multiply, vectors.shape[1])
    return out
