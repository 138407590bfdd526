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

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.overlap.codes import starts_of
from shoestring.parallel import KernelPool
from shoestring.types import IntArray

CONTEXT_POWER = 0.75  # a: below 1 takes rare contexts for more frequent than they are
MAX_CONTEXTS = 1000  # of a word: 8 bytes each
BLOCK_BYTES = 1 << 24  # of dense counts, for each thread

Vectors = NDArray[np.float32]
Columns = NDArray[np.int32]
Block: TypeAlias = tuple[IntArray, Columns, Vectors]  # entries of each row; their columns, values
SparseMatrix: TypeAlias = Any  # scipy.sparse.csr_array, which has no types

_exact = {"nogil": True, "cache": True, "error_model": "numpy"}


class PmiBlocks:
    """M in blocks of rows, each counted alone.

    Ids and offsets are as :func:`shoestring.words.counts_rule.train_on_counts` takes them; a row
    has ``max_contexts`` entries at most. ``context_sums`` (V,) is r.

    Notes
    -----
    Cost: 2 R T additions, and 8 V^2 / ``BLOCK_BYTES`` readings of ``ids``. Memory: that of M, at
    most 8 ``max_contexts`` V bytes, and ``BLOCK_BYTES`` for each thread, whatever T is.

    Examples
    --------
    >>> ids, offsets = np.array([0, 1, 2, 0, 1, 2, 3, 2], dtype=np.int32), np.array([0, 3, 5, 8])
    >>> pmi = PmiBlocks(ids, offsets, n_words=4, radius=2)
    >>> matrix = joined(pmi.count_blocks(0, pmi.n_blocks, KernelPool()), n_words=4)
    >>> matrix[[0]].indices.tolist()  # 0 with 1 more often than by chance
    [1]
    """

    def __init__(
        self,
        ids: NDArray[np.int32],
        offsets: IntArray,
        n_words: int,
        *,
        radius: int,
        max_contexts: int = MAX_CONTEXTS,
    ) -> None:
        self.ids, self.offsets = ids.view(np.ndarray), offsets.view(np.ndarray)  # numba knows no
        self.n_words, self.radius, self.max_contexts = n_words, radius, max_contexts  # memory map
        self.n_blocks = -(-8 * n_words * n_words // BLOCK_BYTES)
        self.context_sums = np.zeros(n_words)
        _row_sums(self.ids, self.offsets, radius, self.context_sums)
        powers = self.context_sums**CONTEXT_POWER * (self.context_sums > 0)
        with np.errstate(divide="ignore"):  # a word without a neighbour has no entry to use it for
            logs = np.log(self.context_sums)
        self._log_columns = CONTEXT_POWER * logs - np.log(max(powers.sum(), 1e-300))

    def count_blocks(self, first: int, last: int, pool: KernelPool) -> list[Block]:
        """Count blocks ``first`` to ``last - 1``, one in each thread."""
        found: list[Any] = [None] * (last - first)

        def count(number: int, begin: int, end: int) -> None:
            for i in range(begin, end):
                found[i] = self._count(first + i)

        pool.run(count, len(found))
        return found

    def _count(self, block: int) -> Block:
        rows = np.arange(block, self.n_words, self.n_blocks)  # so that each has frequent words
        row_of = np.full(self.n_words, -1, dtype=np.int32)
        row_of[rows] = np.arange(len(rows), dtype=np.int32)
        together = np.zeros((len(rows), self.n_words))
        _count(self.ids, self.offsets, self.radius, row_of, together)
        with np.errstate(divide="ignore"):
            log_rows = np.log(together.sum(axis=1))
        sizes = _keep_positive(together, log_rows, self._log_columns, self.max_contexts)
        columns = np.empty(sizes.sum(), dtype=np.int32)
        values = np.empty(sizes.sum(), dtype=np.float32)
        _gather(together, sizes, columns, values)
        return sizes, columns, values


def joined(blocks: Sequence[Block], n_words: int) -> SparseMatrix:
    """All blocks' rows in the order of the words, (V, V)."""
    from scipy.sparse import csr_array

    sizes, columns, values = map(np.concatenate, zip(*blocks, strict=True))
    matrix = csr_array((values, columns, starts_of(sizes)), shape=(n_words, n_words))
    rows = np.concatenate([np.arange(i, n_words, len(blocks)) for i in range(len(blocks))])
    return matrix[np.argsort(rows)]


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
) -> IntArray:
    """Turn counts to M in place, all but the largest entries of a row to 0; how many are left."""
    sizes = np.zeros(len(together), dtype=np.int64)
    for i in range(len(together)):
        row = together[i]
        for j in range(len(row)):
            if row[j] > 0:
                row[j] = max(0.0, np.log(row[j]) - log_rows[i] - log_columns[j])
                sizes[i] += row[j] > 0
        if sizes[i] > max_contexts:
            ordered = np.sort(row)
            least = ordered[len(row) - max_contexts]
            equal = max_contexts - np.sum(row > least)  # of the equal ones the first
            for j in range(len(row)):
                if row[j] == least and equal > 0:
                    equal -= 1
                elif row[j] <= least:
                    row[j] = 0.0
            sizes[i] = max_contexts
    return sizes


@njit(**_exact)
def _gather(dense: NDArray[np.float64], sizes: IntArray, columns: Columns, values: Vectors) -> None:
    end = 0
    for i in range(len(dense)):
        if sizes[i]:
            for j in range(dense.shape[1]):
                if dense[i, j] > 0:
                    columns[end], values[end] = j, dense[i, j]
                    end += 1
