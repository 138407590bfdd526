"""What codes cost to store, and how vectors become bits, in the benchmark of quality."""

import numpy as np
import pytest
from benchmarks.words import models


@pytest.mark.parametrize(
    ("n_bits", "n_active", "n_bytes"),
    [(400, 14, 16), (400, 50, 50), (400, 7, 8), (1024, 12, 15), (1024, 13, 17), (128, 64, 16)],
)
def test_a_code_is_stored_as_bits_or_as_indices(n_bits, n_active, n_bytes):
    assert models.stored_bytes(n_bits, n_active) == n_bytes


def test_medians_halve_the_words_and_projections_keep_neighbours():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 16)).astype(np.float32) + 1
    near = vectors + 0.1 * rng.standard_normal(vectors.shape).astype(np.float32)
    assert (models.median_bits(vectors, 40, seed=0).sum(axis=0) == 100).all()
    both = np.concatenate([vectors, near])
    for bits in (models.median_bits(both, 40, 0), models.sign_bits(both, 40, 0)):
        same = (bits[:200] == bits[200:]).mean()
        assert same > 0.9 > (bits[:200] == np.roll(bits[:200], 1, axis=0)).mean()


def test_exactly_the_largest_are_active():
    activations = np.array([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 5.5, 4.0]])
    assert models.active_bits(activations, 2).tolist() == [
        [True, False, True, False],
        [False, True, True, False],
    ]
