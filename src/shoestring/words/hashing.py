"""The fly's family of hashes: vectors of any kind to binary codes, drawn at random or learnt.

Four steps lead from random hyperplanes to word vectors (S. Jianlin, kexue.fm, post 8159). Each has
weights W (K, D); a code says which of the activations W x are large.

1. :class:`SignHash`: W normal, bit mu is W_mu x > 0 (Charikar, STOC 2002).
2. :class:`FlyHash`: many more neurons than inputs, each the sum of a random tenth of them; the k
   largest activations are active (Dasgupta, Stevens & Navlakha, Science 2017).
3. :class:`BioHash`: the same code, W learnt (Ryali et al. 2020, arXiv 2001.04907, equation 1 with
   p = 2 and Delta = 0), for a mini-batch of samples A

       winner(A) = argmax_mu W_mu x_A                                ties to the lowest
       D_mu      = sum_{A won by mu} (x_A - (W_mu x_A) W_mu)
       W        += rate / max |D|  D

4. The word rule (:mod:`shoestring.words.bioword`) is the third step on windows of text: x_A counts
   the window's words, the middle one in a block of its own, and the change, not the choice of the
   winner, takes x_A divided by the words' frequencies.

The rows of W that learn tend to length 1: the rule is an online spherical k-means.

Where we leave the papers: vectors are centred at the mean of the training data (embeddings share a
large one, which no bit should be spent on) and, for BioHash, scaled to length 1 then. Not covered:
p other than 2, the anti-Hebbian term Delta, the convolutional variant.

Letters: N samples, D features, K neurons, k active bits, B samples of a mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from shoestring.checks import checked_int, checked_number, checked_seed
from shoestring.models.token_encoder import unit_rows
from shoestring.overlap.codes import MAX_BITS, PackedArray, top_k_codes
from shoestring.parallel import n_cores, one_blas_thread, shared_pool

Rows = NDArray[np.float32]
ROWS_AT_A_TIME = 256  # in a product, whatever the number of threads: the same bits
SMALLEST_NORM = 1e-30
SUMMED = 0.1  # share of the features that a neuron of FlyHash sums, as published


def learn(weights: Rows, rows: Rows, rate: float, n_threads: int = 1) -> Rows:
    """Change weights (K, D), in place, by a mini-batch (B, D): equation 1; returns the weights.

    Examples
    --------
    >>> learn(np.eye(2, dtype=np.float32), np.array([[0.8, 0.6]], dtype=np.float32), rate=0.5)
    array([[1. , 0.5],
           [0. , 1. ]], dtype=float32)
    """
    winners = np.empty(len(rows), np.int64)
    activity = np.empty(len(rows))

    def compete(part: slice) -> None:
        products = rows[part] @ weights.T
        winners[part], activity[part] = products.argmax(axis=1), products.max(axis=1)

    _in_parts(compete, len(rows), n_threads)
    order = np.argsort(winners, kind="stable")
    won, starts = np.unique(winners[order], return_index=True)
    change = np.add.reduceat(rows[order].astype(np.float64), starts)
    change -= np.add.reduceat(activity[order], starts)[:, None] * weights[won]
    weights[won] += rate / max(np.abs(change).max(), SMALLEST_NORM) * change
    return weights


def _in_parts(work: Callable[[slice], None], n_rows: int, n_threads: int) -> None:
    """Do the work on :data:`ROWS_AT_A_TIME` rows after the others, in some threads."""
    parts = [slice(start, start + ROWS_AT_A_TIME) for start in range(0, n_rows, ROWS_AT_A_TIME)]
    with one_blas_thread():
        for _ in shared_pool(n_threads).map(work, parts):
            pass


class _Hash(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """``transform`` of fitted ``mean_`` (D,) and ``weights_`` (K, D)."""

    n_bits: int
    n_active: int  # the largest activations; without it all that are above 0
    n_jobs: int | None
    random_state: int
    mean_: Rows
    weights_: Rows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # bits come out, whatever went in
        return tags

    def _begin(self, X: ArrayLike) -> tuple[NDArray[np.floating], np.random.Generator]:
        """Checked samples, and the generator of what is drawn; ``mean_`` is theirs."""
        owner = type(self).__name__
        is_sparse = hasattr(self, "n_active")
        checked_int("n_bits", self.n_bits, 1 + is_sparse, MAX_BITS, owner)
        if is_sparse:
            checked_int("n_active", self.n_active, 1, self.n_bits - 1, owner)
        seed = checked_seed("random_state", self.random_state, owner)
        rows = validate_data(self, X, dtype=[np.float32, np.float64])
        self.mean_ = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return rows, np.random.default_rng(seed)

    def _n_threads(self) -> int:
        return checked_int("n_jobs", self.n_jobs or n_cores(), 1, None, type(self).__name__)

    def _inputs(self, rows: NDArray[np.floating]) -> Rows:
        return (rows - self.mean_).astype(np.float32)

    def _codes(self, activations: Rows) -> PackedArray:
        if hasattr(self, "n_active"):
            return top_k_codes(activations, self.n_active)
        return np.packbits(activations > 0, axis=1, bitorder="little")

    def transform(self, X: ArrayLike) -> PackedArray:
        """Codes of samples (N, D): packed bits, uint8 (N, ceil(n_bits / 8)), for OverlapIndex.

        Cost: N K D multiplications.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=[np.float32, np.float64])
        codes = np.empty((len(rows), -(-len(self.weights_) // 8)), np.uint8)

        def encode(part: slice) -> None:
            codes[part] = self._codes(self._inputs(rows[part]) @ self.weights_.T)

        _in_parts(encode, len(rows), self._n_threads())
        return codes


class SignHash(_Hash):
    """Random hyperplanes: a bit says on which side of each a vector is.

    Compare its codes by Hamming distance; the share of bits that differ is the angle between two
    vectors over pi, on average.

    Parameters
    ----------
    n_bits : int
        K, the number of hyperplanes.
    n_jobs : int, optional
        Threads, all cores by default; the codes do not depend on it.
    random_state : int
        Seed of the hyperplanes.

    Attributes
    ----------
    mean_ : float32 array (D,)
        Of the training samples; the hyperplanes go through it.
    weights_ : float32 array (K, D)

    Examples
    --------
    >>> vectors = np.random.default_rng(0).standard_normal((5, 8))
    >>> SignHash(n_bits=16).fit_transform(vectors).shape
    (5, 2)
    """

    def __init__(
        self, n_bits: int = 256, *, n_jobs: int | None = None, random_state: int = 0
    ) -> None:
        self.n_bits, self.n_jobs, self.random_state = n_bits, n_jobs, random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Take the mean of samples (N, D) and draw the hyperplanes."""
        rows, rng = self._begin(X)
        self.weights_ = rng.standard_normal((self.n_bits, rows.shape[1]), dtype=np.float32)
        return self


class FlyHash(_Hash):
    """The fly's random expansion: each neuron sums some of the inputs, the largest sums win.

    Parameters
    ----------
    n_bits : int
        K neurons; published: 10 to 40 times as many as features.
    n_active : int
        k, the active bits of a code.
    n_jobs, random_state
        As of :class:`SignHash`.

    Attributes
    ----------
    mean_ : float32 array (D,)
        Of the training samples, which is taken off before.
    weights_ : float32 array (K, D)
        0 and 1.

    Examples
    --------
    >>> vectors = np.random.default_rng(0).standard_normal((5, 20))
    >>> codes = FlyHash(n_bits=400, n_active=8).fit_transform(vectors)
    >>> np.unpackbits(codes, axis=1).sum(axis=1).tolist()
    [8, 8, 8, 8, 8]
    """

    def __init__(
        self, n_bits: int = 4096, n_active: int = 64, *, n_jobs: int | None = None,
        random_state: int = 0,
    ) -> None:  # fmt: skip
        self.n_bits, self.n_active = n_bits, n_active
        self.n_jobs, self.random_state = n_jobs, random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Take the mean of samples (N, D) and draw the features of each neuron."""
        rows, rng = self._begin(X)
        n_features = rows.shape[1]
        n_summed = max(1, round(SUMMED * n_features))
        drawn = rng.random((self.n_bits, n_features)).argpartition(n_summed - 1, axis=1)
        self.weights_ = np.zeros((self.n_bits, n_features), np.float32)
        np.put_along_axis(self.weights_, drawn[:, :n_summed], 1, axis=1)
        return self


class BioHash(_Hash):
    """The fly's learnt expansion: neurons move to where the samples are, the nearest are active.

    Parameters
    ----------
    n_bits : int
        K neurons.
    n_active : int
        k, the active bits of a code.
    n_epochs : int
        Passes of ``fit`` over the samples.
    learning_rate : float
        The largest change of a weight by the first mini-batch; it falls to 0 over the epochs.
    batch_size : int
        B samples of a mini-batch.
    n_jobs, random_state
        As of :class:`SignHash`; ``random_state`` draws the first weights and the order.

    Attributes
    ----------
    mean_ : float32 array (D,)
        Of the training samples; ``partial_fit`` keeps that of its first call.
    weights_ : float32 array (K, D)

    Notes
    -----
    Cost: N K D multiplications an epoch. Source: Ryali et al. 2020, arXiv 2001.04907.

    Examples
    --------
    >>> vectors = np.random.default_rng(0).standard_normal((50, 8))
    >>> codes = BioHash(n_bits=32, n_active=4).fit_transform(vectors)
    >>> codes.shape, int(np.unpackbits(codes).sum())
    ((50, 4), 200)
    """

    def __init__(
        self, n_bits: int = 4096, n_active: int = 64, *, n_epochs: int = 10,
        learning_rate: float = 0.02, batch_size: int = 1_000, n_jobs: int | None = None,
        random_state: int = 0,
    ) -> None:  # fmt: skip
        self.n_bits, self.n_active, self.n_epochs = n_bits, n_active, n_epochs
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.n_jobs, self.random_state = n_jobs, random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn from samples (N, D), and from nothing before."""
        checked_int("n_epochs", self.n_epochs, 1, None, "BioHash")
        rows, rng = self._begin(X)
        inputs = self._draw(rows, rng)
        for epoch in range(self.n_epochs):
            self._learn(inputs[rng.permutation(len(inputs))], 1 - epoch / self.n_epochs)
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn from more samples (N, D), once, in their order, at the full learning rate."""
        if not hasattr(self, "weights_"):
            rows, rng = self._begin(X)
            self._draw(rows, rng)
        rows = validate_data(self, X, reset=False, dtype=[np.float32, np.float64])
        self._learn(self._inputs(rows), 1.0)
        return self

    def _inputs(self, rows: NDArray[np.floating]) -> Rows:
        return unit_rows(super()._inputs(rows))

    def _draw(self, rows: NDArray[np.floating], rng: np.random.Generator) -> Rows:
        """Inputs (N, D); the first weights are directions drawn at random."""
        drawn = rng.standard_normal((self.n_bits, rows.shape[1]), dtype=np.float32)
        self.weights_ = unit_rows(drawn)
        return self._inputs(rows)

    def _learn(self, inputs: Rows, share_of_rate: float) -> None:
        rate = checked_number("learning_rate", self.learning_rate, "BioHash", "above 0", above=0)
        size = checked_int("batch_size", self.batch_size, 1, None, "BioHash")
        rate, n_threads = rate * share_of_rate, self._n_threads()
        for start in range(0, len(inputs), size):
            learn(self.weights_, inputs[start : start + size], rate, n_threads)
