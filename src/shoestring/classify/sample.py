"""A sample of what was seen that does not depend on its order: the rows of the smallest hashes.

Temperatures, thresholds and the choice of a shrinkage need more than moments. Each row has a 64-bit
hash of its content and label; those below a limit are kept, and the limit is lowered whenever they
become more than k (a bottom-k sketch: Cohen & Kaplan 2007). It is a random sample of all different
rows, whatever the order or the batches; that of two samples together is found from both. Equal rows
are one, of their weight.

A row that is forgotten leaves the sample if it was in it; what the limit shut out does not come
back, so that after forgetting the sample may be smaller than it would be.

Letters: N rows, D features, k kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.classify.moments import Doubles, never_learned
from shoestring.compiled import njit, splitmix64
from shoestring.text.records import text_digests

Hashes = NDArray[np.uint64]
NO_LIMIT = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The different rows whose hash is below a limit, at most ``size`` of them, by hash."""

    size: int  # k
    limit: int  # rows of this hash and above are not kept
    hashes: Hashes  # (k,)
    X: NDArray[np.floating]  # (k, D)
    labels: NDArray[np.int64]  # (k,)
    weights: Doubles  # (k,), of all rows that are equal to it

    @classmethod
    def none(cls, size: int, n_features: int, dtype: np.dtype[np.floating]) -> Sample:
        """No row."""
        empty = np.zeros((0, n_features), dtype), np.zeros(0, np.int64), np.zeros(0)
        return cls(size, NO_LIMIT if size else 0, np.zeros(0, np.uint64), *empty)

    def __len__(self) -> int:
        return len(self.hashes)

    def with_rows(
        self, hashes: Hashes, X: NDArray[np.floating], labels: NDArray[np.int64], weights: Doubles
    ) -> Sample:
        """The sample of what was seen and these rows."""
        near = hashes < np.uint64(self.limit)
        if not near.any():
            return self
        if np.count_nonzero(near) > self.size:  # of so many no more than the smallest can stay
            near &= hashes <= np.unique(hashes[near])[: self.size + 1][-1]
        new = Sample(self.size, self.limit, hashes[near], X[near], labels[near], weights[near])
        return self._joined(new)

    def merged(self, other: Sample) -> Sample:
        """The sample of both."""
        limit = min(self.limit, other.limit)
        return self.below(limit)._joined(other.below(limit))

    def below(self, limit: int) -> Sample:
        """The rows below a lower limit."""
        return replace(self.rows(self.hashes < np.uint64(limit)), limit=limit)

    def _joined(self, other: Sample) -> Sample:
        """Rows of both below this limit; equal ones become one, and the largest hashes go."""
        hashes = np.concatenate([self.hashes, other.hashes])
        different, first, places = np.unique(hashes, return_index=True, return_inverse=True)
        n, chosen = len(different), first[: self.size]
        weights = np.bincount(places, np.concatenate([self.weights, other.weights]), n)
        dtype = np.result_type(self.X, other.X) if len(self) else other.X.dtype
        return Sample(
            self.size,
            self.limit if n <= self.size else int(different[self.size]),
            hashes[chosen],
            np.concatenate([self.X, other.X])[chosen].astype(dtype, copy=False),
            np.concatenate([self.labels, other.labels])[chosen],
            weights[: self.size].astype(np.float64),
        )

    def without(self, part: Sample) -> Sample:
        """Rows below this limit taken back; ParameterError if one would be here, and is not."""
        places = np.searchsorted(self.hashes, part.hashes)
        left, rounding = self.weights.copy(), 1e-9 * self.weights
        is_here = np.isin(part.hashes, self.hashes)
        left[places[is_here]] -= part.weights[is_here]
        if not is_here.all() or (left < -rounding).any():
            raise never_learned("one of them was never seen with that label, or not so often")
        return replace(self, weights=left).rows(left > rounding)

    def relabelled(self, places: NDArray[np.int64]) -> Sample:
        """Class c is now ``places[c]``."""
        return replace(self, labels=places[self.labels])

    def rows(self, chosen: NDArray[np.bool_]) -> Sample:
        """Some of the rows."""
        names = ("hashes", "X", "labels", "weights")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


def keys_of(names: Iterable[str]) -> Hashes:
    """A key of each string."""
    return text_digests(names).astype(np.uint64)


def key_hashes(rows: Hashes, labels: Hashes, seed: int) -> Hashes:
    """A hash of the keys of rows and of their labels."""
    return _scrambled(_scrambled(rows + np.uint64(seed % (1 << 63))) ^ _scrambled(labels))


def row_hashes(X: NDArray[np.floating], keys: Hashes, seed: int) -> Hashes:
    """A hash of each row's numbers as float64, and of its label's key (N,).

    The same numbers hash the same in float32 and float64; so do 0.0 and -0.0. Not for adversaries:
    multiply-shift (Dietzfelbinger 1996), then a scramble.
    """
    n, d = X.shape
    rng = np.random.default_rng([seed, d])
    odd = rng.integers(1 << 63, size=d, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    sums = np.zeros(n, np.uint64)
    rows = np.ascontiguousarray(X if X.dtype in (np.float32, np.float64) else X.astype(np.float64))
    _multiply_shift(rows, odd, sums)
    return _scrambled(sums ^ _scrambled(keys))


@njit(cache=True, nogil=True)
def _multiply_shift(X: Any, odd: Any, sums: Any) -> None:
    for i in range(len(X)):
        total = np.uint64(0)
        for d in range(X.shape[1]):
            word = np.float64(X[i, d] + 0.0).view(np.uint64)
            word ^= word >> np.uint64(32)  # what was float32 has nothing in its lower half
            total += word * odd[d]
        sums[i] = total


def _scrambled(values: Hashes) -> Hashes:
    mixed: Hashes = splitmix64(values + np.uint64(0x9E3779B97F4A7C15))
    return mixed
