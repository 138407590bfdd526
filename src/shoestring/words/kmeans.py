"""Neurons as the centres of spherical k-means, and activations as nearness to them.

K neurons have unit vectors z_mu (K, D); each of N unit vectors x belongs to the one with the
largest x z_mu, and z_mu becomes the direction of the sum of its vectors (Dhillon & Modha, Machine
Learning 2001). The fly's rule is a k-means of this kind over windows (blog post 8159 of kexue.fm on
BioHash); here it is one over words.

The code of a word is the top k of its activations x z_mu, each neuron's with mean 0 and variance 1
over all words, so that no neuron is active for too many of them.

Not covered: k-means++ seeding, several starts of which the best is kept.

Letters: N vectors, D their width, K neurons.
"""

from __future__ import annotations

import numpy as np

from shoestring.models.token_encoder import unit_rows
from shoestring.parallel import one_blas_thread
from shoestring.types import IntArray
from shoestring.words.ppmi import Vectors

N_STEPS = 20
LEAST_DEVIATION = 1e-3  # of a neuron's nearness; below it is the same to all words
_ROWS_AT_A_TIME = 1 << 12


def spherical_kmeans(
    vectors: Vectors, n_centres: int, seed: int, n_steps: int = N_STEPS
) -> Vectors:
    """Find K centres of unit vectors (N, D), float32 (K, D), of length 1; K may be larger than N.

    Rows of zeros count for nothing. It ends before ``n_steps`` where no vector changes its centre.

    Notes
    -----
    Cost: N K D multiplications a step. The result has the same bits for any number of threads.

    Examples
    --------
    >>> vectors = unit_rows(np.array([[1, 0.1], [1, 0], [0, 1], [0.1, 1]], dtype=np.float32))
    >>> centres = spherical_kmeans(vectors, n_centres=2, seed=0)
    >>> sorted((centres @ [1, 0]).round(2).tolist())
    [0.05, 1.0]
    """
    # Vectors drawn without replacement; where they are too few, random directions too.
    vectors = vectors[vectors.any(axis=1)]
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(vectors))[:n_centres]
    others = rng.standard_normal((n_centres - len(drawn), vectors.shape[1]), dtype=np.float32)
    centres = np.concatenate([vectors[drawn], unit_rows(others)])

    before = np.full(len(vectors), -1)
    with one_blas_thread():  # the bits of a BLAS may depend on its threads
        for _ in range(n_steps):
            nearest, nearness = _nearest(vectors, centres)
            if np.array_equal(nearest, before):
                break
            centres, before = _lloyd_step(vectors, centres, nearest, nearness), nearest
    return centres


def _nearest(vectors: Vectors, centres: Vectors) -> tuple[IntArray, Vectors]:
    nearest = np.empty(len(vectors), dtype=np.int64)
    nearness = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        products = vectors[part] @ centres.T
        nearest[part] = products.argmax(axis=1)
        nearness[part] = products.max(axis=1)
    return nearest, nearness


def _lloyd_step(
    vectors: Vectors, centres: Vectors, nearest: IntArray, nearness: Vectors
) -> Vectors:
    """Centres in the middle of their vectors; one without any goes to where others are far."""
    sizes = np.bincount(nearest, minlength=len(centres))
    order = np.argsort(nearest, kind="stable")
    used = np.flatnonzero(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes[used])[:-1]])
    new = centres.copy()
    new[used] = unit_rows(np.add.reduceat(vectors[order], starts, axis=0))
    empty = np.flatnonzero(sizes == 0)
    farthest = np.argsort(nearness, kind="stable")[: min(len(empty), len(vectors) - len(used))]
    new[empty[: len(farthest)]] = vectors[farthest]
    return new


def standard_activations(vectors: Vectors, centres: Vectors, out: Vectors | None = None) -> Vectors:
    """Nearness of vectors (N, D), of length 1, to centres (K, D): float32 (N, K), in ``out``.

    Each neuron's has mean 0 and variance 1 over the vectors; rows of zeros get zeros.
    """
    if out is None:
        out = np.empty((len(vectors), len(centres)), np.float32)
    known = np.asarray(vectors.any(axis=1, keepdims=True))  # (N, 1)
    n_known = max(int(known.sum()), 1)
    with one_blas_thread():
        means = vectors.sum(axis=0, dtype=np.float64) @ centres.T.astype(np.float64) / n_known
        squares = vectors.T.astype(np.float64) @ vectors  # (D, D)
        variances = np.einsum("kd,de,ke->k", centres, squares, centres, optimize=True)
        deviations = np.sqrt(np.maximum(variances / n_known - means**2, LEAST_DEVIATION**2))
        for start in range(0, len(vectors), _ROWS_AT_A_TIME):
            part = slice(start, start + _ROWS_AT_A_TIME)
            activations = (vectors[part] @ centres.T - means) / deviations
            out[part] = np.where(known[part], activations, 0)
    return out
