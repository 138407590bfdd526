"""Word vectors from counts: co-occurrences, positive pointwise mutual information, truncated SVD.

Two tokens of a sentence that are d <= R places apart occur together with the weight 1/d (GloVe,
Pennington et al., EMNLP 2014); a skipped token keeps its place. With c_ij the sum of the weights,
r_i its row sums and q_j proportional to r_j^a, a = 0.75 (Levy, Goldberg & Dagan, TACL 2015):

    M_ij = max(0, log c_ij - log r_i - log q_j)                     M ~ U S V^T, D components

The vector of a word is its row of U, without the singular values ("eigenvalue weighting 0" of the
same paper), that of a context its row of V.

How it is computed. The rows of c are counted some hundred at a time in a dense array, and only what
is left of them in M is kept: at most ``MAX_CONTEXTS`` contexts of a word, those with the largest M.
Rows are counted, and columns of products are summed, each in a fixed order and by one thread: the
result has the same bits for any number of threads, and blocks can be counted in any order.

Not covered: shifted PMI (k > 1 negative samples), sub-sampling of frequent words, deleting rare
words before windows are made; docs/log.md says what they gave.

Letters: T tokens, S sentences, V words, R radius of the window, N entries of M, D components.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.parallel import shared_pool
from shoestring.types import IntArray

CONTEXT_POWER = 0.75  # a: below 1 takes rare contexts for more frequent than they are
MAX_CONTEXTS = 1000  # of a word: 8 bytes each
BLOCK_BYTES = 1 << 24  # of dense counts, for each thread

Vectors = NDArray[np.float32]
SparseMatrix: TypeAlias = Any  # scipy.sparse.csr_array, which has no types

_exact = {"nogil": True, "cache": True, "error_model": "numpy"}


def pmi_blocks(
    ids: NDArray[np.int32],
    offsets: IntArray,
    n_words: int,
    *,
    radius: int,
    n_threads: int = 1,
    max_contexts: int = MAX_CONTEXTS,
) -> Iterator[SparseMatrix]:
    """M in blocks of rows, one after the other, some of them counted at once.

    Ids and offsets are as :func:`shoestring.words.counts_rule.train_on_counts` takes them; a row
    has ``max_contexts`` entries at most. :func:`joined` puts the blocks together.

    Notes
    -----
    Cost: 2 R T additions, and 8 V^2 / ``BLOCK_BYTES`` readings of ``ids``. Memory: that of M, at
    most 8 ``max_contexts`` V bytes, and ``BLOCK_BYTES`` for each thread, whatever T is.

    Examples
    --------
    >>> ids, offsets = np.array([0, 1, 2, 0, 1, 2, 3, 2], dtype=np.int32), np.array([0, 3, 5, 8])
    >>> matrix = joined(list(pmi_blocks(ids, offsets, n_words=4, radius=2)))
    >>> matrix[[0]].indices.tolist()  # 0 with 1 more often than by chance
    [1]
    """
    from scipy.sparse import csr_array

    ids, offsets = ids.view(np.ndarray), offsets.view(np.ndarray)  # numba knows no memory map
    n_blocks = -(-8 * n_words * n_words // BLOCK_BYTES)
    sums = np.zeros(n_words)  # r
    _row_sums(ids, offsets, radius, sums)
    powers = sums**CONTEXT_POWER * (sums > 0)
    with np.errstate(divide="ignore"):  # a word without a neighbour has no entry to use it for
        log_columns = CONTEXT_POWER * np.log(sums) - np.log(max(powers.sum(), 1e-300))

    def counted(block: int) -> SparseMatrix:
        rows = np.arange(block, n_words, n_blocks)  # so that each has frequent words
        row_of = np.full(n_words, -1, dtype=np.int32)
        row_of[rows] = np.arange(len(rows), dtype=np.int32)
        together = np.zeros((len(rows), n_words))
        _count(ids, offsets, radius, row_of, together)
        with np.errstate(divide="ignore"):
            log_rows = np.log(together.sum(axis=1))
        _keep_positive(together, log_rows, log_columns, max_contexts)
        return csr_array(together.astype(np.float32))

    yield from shared_pool(n_threads).map(counted, range(n_blocks))


def joined(blocks: Sequence[SparseMatrix]) -> SparseMatrix:
    """All blocks' rows in the order of the words, (V, V)."""
    from scipy.sparse import vstack

    n_words = blocks[0].shape[1]
    rows = np.concatenate([np.arange(i, n_words, len(blocks)) for i in range(len(blocks))])
    return vstack(blocks, format="csr")[np.argsort(rows)]


@njit(**_exact)
def _row_sums(ids: NDArray[np.int32], offsets: IntArray, radius: int, sums: Any) -> None:
    for s in range(len(offsets) - 1):
        for t in range(offsets[s], offsets[s + 1]):
            if ids[t] < 0:
                continue
            for u in range(t + 1, min(t + radius + 1, offsets[s + 1])):
                if ids[u] >= 0:
                    sums[ids[t]] += 1.0 / (u - t)
                    sums[ids[u]] += 1.0 / (u - t)


@njit(**_exact)
def _count(
    ids: NDArray[np.int32],
    offsets: IntArray,
    radius: int,
    row_of: NDArray[np.int32],
    together: NDArray[np.float64],
) -> None:
    """Add up c for the words that have a row."""
    weights = 1.0 / np.arange(1, radius + 1)
    for s in range(len(offsets) - 1):
        begin, end = offsets[s], offsets[s + 1]
        for t in range(begin, end):
            if ids[t] < 0 or row_of[ids[t]] < 0:
                continue
            row = together[row_of[ids[t]]]
            for u in range(max(begin, t - radius), t):
                if ids[u] >= 0:
                    row[ids[u]] += weights[t - u - 1]
            for u in range(t + 1, min(end, t + radius + 1)):
                if ids[u] >= 0:
                    row[ids[u]] += weights[u - t - 1]


@njit(**_exact)
def _keep_positive(
    together: NDArray[np.float64],
    log_rows: NDArray[np.float64],
    log_columns: NDArray[np.float64],
    max_contexts: int,
) -> None:
    """Turn counts to M in place, all but the largest entries of a row to 0."""
    for i in range(len(together)):
        row, size = together[i], 0
        for j in range(len(row)):
            if row[j] > 0:
                row[j] = max(0.0, np.log(row[j]) - log_rows[i] - log_columns[j])
                size += row[j] > 0
        if size > max_contexts:
            ordered = np.sort(row)
            least = ordered[len(row) - max_contexts]
            equal = max_contexts - np.sum(row > least)  # of the equal ones the first
            for j in range(len(row)):
                if row[j] == least and equal > 0:
                    equal -= 1
                elif row[j] <= least:
                    row[j] = 0.0
