"""The randomised SVD against LAPACK's."""

import numpy as np
from scipy.sparse import csr_array

from shoestring.parallel import KernelPool
from shoestring.words.randomized_svd import truncated_svd


def sparse_matrix(n=120, n_topics=6, seed=0):
    """Sparse, with n_topics large singular values."""
    rng = np.random.default_rng(seed)
    topics = rng.random((n, n_topics)) * (rng.random((n, n_topics)) < 0.3)
    array = topics * np.arange(1, n_topics + 1) @ topics[rng.permutation(n)].T
    array += 0.01 * rng.random((n, n)) * (rng.random((n, n)) < 0.1)
    return csr_array(array, dtype=np.float32), array


def test_the_leading_factors_equal_lapacks():
    matrix, array = sparse_matrix()
    left, values, right = truncated_svd(matrix, n_components=6)
    exact_left, exact_values, exact_right = np.linalg.svd(array)
    assert np.allclose(values, exact_values[:6], rtol=1e-4)
    for ours, exact in ((left, exact_left), (right, exact_right.T)):
        assert np.allclose(np.abs((ours * exact[:, :6]).sum(axis=0)), 1, atol=1e-3)
    best = (exact_left[:, :6] * exact_values[:6]) @ exact_right[:6]
    assert np.allclose((left * values) @ right.T, best, atol=1e-3)


def test_threads_change_no_bit_and_the_seed_decides():
    matrix, _ = sparse_matrix()
    alone = truncated_svd(matrix, n_components=10, seed=1)
    pool = KernelPool(3)
    together = truncated_svd(matrix, n_components=10, seed=1, pool=pool)
    other = truncated_svd(matrix, n_components=10, seed=2)
    for a, b in zip(alone, together, strict=True):
        assert a.tobytes() == b.tobytes()
    assert alone[0].tobytes() != other[0].tobytes()


def test_as_many_components_as_rows_give_the_matrix_back():
    matrix, array = sparse_matrix(n=20)
    left, values, right = truncated_svd(matrix, n_components=20)
    assert left.shape == right.shape == (20, 20)
    assert np.allclose((left * values) @ right.T, array, atol=1e-4)
