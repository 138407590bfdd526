"""The arrays of an index as the matrices that the mathematics asks for.

Rows are those of the segments, the deleted ones included (they are masked, not copied), and below
them the records that have no arrays yet: those are found by their words alone.

Letters: N rows, D width of the vectors, m anchor queries, c cheap features of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.search.generations import View
from shoestring.search.mapped import MappedRows, mapped_rows
from shoestring.types import FloatArray, IntArray

N_CHEAP = 4  # c: see cheap_features
Floats = NDArray[np.float64]


class IndexRows:
    """One generation's rows: keys, which are dead, and the arrays as whole columns.

    Holds no copy of the vectors and anchor residuals: they stay memory-mapped.
    """

    def __init__(self, view: View) -> None:
        self.segments = view.segments
        pending = view.pending_keys
        keys = [*(segment.keys for segment in self.segments), pending]
        self.keys: IntArray = np.concatenate(keys).astype(np.int64)  # (N,)
        self.n_pending = len(pending)
        self.dead = np.zeros(len(self.keys), dtype=bool)
        start = 0
        for segment in self.segments:
            if segment.alive is not None:
                self.dead[start : start + len(segment.keys)] = ~segment.alive
            start += len(segment.keys)
        self._order = np.argsort(self.keys, kind="stable")
        self.digests: IntArray = self.column("digest", np.int64)
        self._digest_order = np.argsort(self.digests, kind="stable")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def n_live(self) -> int:
        """Rows of records that have not been deleted."""
        return int(len(self.dead) - np.count_nonzero(self.dead))

    def rows_of(self, keys: IntArray) -> IntArray:
        """The rows of live keys."""
        found = self._order[np.searchsorted(self.keys, keys, sorter=self._order)]
        return np.asarray(found, dtype=np.int64)

    def known_scores(self, digests: IntArray, scores: FloatArray) -> tuple[IntArray, FloatArray]:
        """The live rows whose texts have these digests (n,) ascending, with their scores."""
        if not len(digests):
            return np.empty(0, dtype=np.int64), np.empty(0)
        ordered = self.digests[self._digest_order]
        first = np.searchsorted(ordered, digests, side="left")
        last = np.searchsorted(ordered, digests, side="right")
        spans = [self._digest_order[a:b] for a, b in zip(first, last, strict=True)]
        at = np.concatenate(spans)
        values = np.repeat(scores, last - first)
        is_live = ~self.dead[at] & (at < len(self) - self.n_pending)
        return at[is_live].astype(np.int64), values[is_live]

    def parts(self, name: str) -> list[NDArray[Any]]:
        """One array of every segment, memory-mapped."""
        return [segment.arrays[name] for segment in self.segments]

    def column(self, name: str, dtype: type) -> NDArray[Any]:
        """A one-dimensional array of all rows, 0 where a record has no arrays yet."""
        return np.concatenate([*self.parts(name), np.zeros(self.n_pending, dtype)]).astype(dtype)

    def product(self, name: str, weights: FloatArray) -> NDArray[np.float32]:
        """A mapped matrix (N, D) times D weights: float32 (N,), 0 where there are no arrays."""
        return self._filled(name, lambda part, out: part.product(weights, out))

    def nearness(self, name: str, row: NDArray[Any]) -> NDArray[np.float32]:
        """The cosine of a mapped matrix with a row of its kind: float32 (N,), as a product."""
        return self._filled(name, lambda part, out: part.nearness(row, out))

    def _filled(
        self, name: str, fill: Callable[[MappedRows, NDArray[np.float32]], None]
    ) -> NDArray[np.float32]:
        out = np.zeros(len(self), dtype=np.float32)
        start = 0
        for part in self.parts(name):
            fill(mapped_rows(part), out[start : start + len(part)])
            start += len(part)
        return out

    def take(self, name: str, rows: IntArray, width: int) -> Floats:
        """Some rows of a mapped matrix: (len(rows), width), 0 where there are no arrays."""
        out = np.zeros((len(rows), width))
        start = 0
        for part in self.parts(name):
            here = (rows >= start) & (rows < start + len(part))
            out[here] = mapped_rows(part).take(rows[here] - start)
            start += len(part)
        return out


class JoinedFeatures:
    """Mapped matrices side by side with dense columns, as :class:`~.cur.ItemFeatures`.

    Parameters
    ----------
    rows : IndexRows
    blocks : sequence of (name, mean)
        Names of mapped matrices and the mean row (width,) that is taken off each.
    dense : float32 array (N, n)
        Further columns.
    """

    def __init__(
        self, rows: IndexRows, blocks: Sequence[tuple[str, Floats]], dense: NDArray[np.float32]
    ) -> None:
        self.rows, self.blocks, self.dense = rows, blocks, dense
        self.shape = (len(rows), sum(len(mean) for _, mean in blocks) + dense.shape[1])

    def dot(self, weights: Floats) -> FloatArray:
        """The product with D weights: float32 (N,)."""
        n_dense = self.dense.shape[1]
        out = self.dense @ weights[len(weights) - n_dense :].astype(np.float32)
        start = 0
        for name, mean in self.blocks:
            part = weights[start : start + len(mean)]
            out += self.rows.product(name, part) - np.float32(part @ mean)
            start += len(mean)
        return np.asarray(out)

    def take(self, rows: IntArray) -> Floats:
        """Some rows: float64 (len(rows), D)."""
        blocks = [self.rows.take(name, rows, len(mean)) - mean for name, mean in self.blocks]
        return np.hstack([*blocks, self.dense[rows]])


def cheap_features(near: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is known of a query with every item before the scorer is asked.

    Parameters
    ----------
    near : array (N,)
        Cosine of the vectors.
    lexical : array (N,)
        BM25, 0 where no word is shared.

    Returns
    -------
    float32 array (N, 4)
        Cosine; BM25 over the query's largest; log(1 + BM25); the product of the first two.
    """
    share = lexical / max(float(lexical.max(initial=0.0)), 1e-9)
    return np.stack([near, share, np.log1p(lexical), near * share], axis=1)
