"""The n best of many sparse binary codes, exactly: by overlap, Jaccard or Hamming.

:class:`OverlapIndex` keeps the codes as posting lists (:mod:`~.postings`) and counts in them
(:mod:`~.top_k`, where the formulas are). It is for codes of which a small share of the bits is
active: binary word and text vectors, molecule fingerprints, shingles.

Not covered: approximate search, weights of bits, filters.

Letters: N codes, k active bits, Q queries, n best.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring.checks import checked_choice, checked_int, checked_path
from shoestring.errors import ParameterError, ShapeError
from shoestring.overlap.codes import MAX_BITS, Codes, CodesLike, read_codes, starts_of
from shoestring.overlap.postings import KIND, Segment, merged, open_segment
from shoestring.overlap.top_k import (
    HAMMING,
    JACCARD,
    OVERLAP,
    Best,
    empty_planes,
    order_blocks,
    search_blocks,
)
from shoestring.parallel import n_cores, shared_pool
from shoestring.types import IntArray

Metric: TypeAlias = Literal["overlap", "jaccard", "hamming"]
_METRICS = {"overlap": OVERLAP, "jaccard": JACCARD, "hamming": HAMMING}
_GROUP = 64  # queries that go through a block together, while it is in the cache
_MIN_BLOCKS = 8  # looked through by a thread of its own: fewer take less time than to start it
_MAX_ID = (1 << 63) - 2
MOST_RESULTS = 1 << 20  # of a query, where the index does not hold more


class OverlapIndex:
    """Exact nearest neighbours of sparse binary codes.

    Parameters
    ----------
    n_bits : int
        Width of a code, from 1 to 1,048,576.
    n_threads : int, optional
        Threads of a search; as many as the machine has processors by default. The result is the
        same for any number.

    Notes
    -----
    Codes come as active bits, an int array (N, k) or a list of N int arrays of any lengths; as
    packed bits, a uint8 array (N, ceil(n_bits / 8)), bit i of a code being bit i % 8, from the
    lowest, of byte i // 8 (a uint8 array is always taken for packed bits); as a bool array
    (N, n_bits); or as a scipy.sparse matrix (N, n_bits) of 0 and 1. They may be empty.

    Ids are yours: integers from 0, which stay what they are when others are deleted.

    Searches are thread-safe; add and delete need exclusive access.

    Memory: n_bits / 8 bytes for each code, or 2 bytes for each active bit where fewer than one in
    64 is active; 11 bytes for each code beside it (19 after ids were looked up).

    Examples
    --------
    >>> index = OverlapIndex(n_bits=10)
    >>> index.add([[0, 1, 2], [1, 2, 3], [7, 8]], ids=[10, 20, 30])
    array([10, 20, 30])
    >>> ids, scores = index.search([[1, 2, 3]], n=2, metric="jaccard")
    >>> ids, scores
    (array([[20, 10]]), array([[1. , 0.5]]))
    """

    def __init__(self, n_bits: int, n_threads: int | None = None) -> None:
        self.n_bits = checked_int("n_bits", n_bits, 1, MAX_BITS, "OverlapIndex")
        if n_threads is None:
            n_threads = n_cores()
        self.n_threads = checked_int("n_threads", n_threads, 1, 1024, "OverlapIndex")
        self._segments: tuple[Segment, ...] = ()
        self._next_id = 0

    def add(self, codes: CodesLike, ids: ArrayLike | None = None) -> IntArray:
        """Add N codes in one of the forms above, and return their ids, int64 (N,).

        Parameters
        ----------
        codes : array, list or sparse matrix
        ids : int array (N,), optional
            Distinct, 0 or more, none of them in the index; by default they go on from the largest
            that was ever in it.

        Raises
        ------
        ShapeError
            If the codes are in none of the forms, of another width, or not as many as the ids.
        ParameterError
            If a bit is out of range or named twice in a code, or an id is taken.

        Notes
        -----
        The codes become a segment, into which smaller segments at the end are merged, so that there
        are about log2(N) at most: cheap for many codes at a time, a millisecond for a single one.
        """
        read = read_codes(codes, self.n_bits, "OverlapIndex.add")
        keys = self._checked_ids(ids, len(read))
        if len(read) == 0:
            return keys
        n_kept, n_rows = len(self._segments), len(read)
        while n_kept and self._segments[n_kept - 1].n_live <= n_rows:
            n_kept -= 1
            n_rows += self._segments[n_kept].n_live
        new = merged(self._segments[n_kept:], self.n_bits, (read, keys))
        self._segments = (*self._segments[:n_kept], new)
        self._next_id = max(self._next_id, int(keys.max()) + 1)
        return keys

    def _checked_ids(self, ids: ArrayLike | None, n_codes: int) -> IntArray:
        if ids is None:
            return np.arange(self._next_id, self._next_id + n_codes)
        keys = _read_ids(ids, "OverlapIndex.add")
        if len(keys) != n_codes:
            raise ShapeError(f"{n_codes} codes came with {len(keys)} ids; give one id for each.")
        distinct, counts = np.unique(keys, return_counts=True)
        if len(distinct) < len(keys):
            twice = int(distinct[counts > 1][0])
            raise ParameterError.of("ids", "OverlapIndex.add", "distinct", f"{twice} twice")
        for segment in self._segments:
            taken = segment.rows_of(keys) >= 0
            if taken.any():
                want, hint = "new to the index", "Delete the old code first: index.delete(ids)."
                raise ParameterError.of("ids", "OverlapIndex.add", want, int(keys[taken][0]), hint)
        return keys

    def delete(self, ids: ArrayLike) -> None:
        """Delete codes by their ids.

        They are no longer found, and their memory is given back when their segment is merged with
        others or saved. An id that was deleted may be added again. ParameterError if an id is not
        in the index; nothing is deleted then.
        """
        keys = np.unique(_read_ids(ids, "OverlapIndex.delete"))
        found = np.zeros(len(keys), np.bool_)
        segments = []
        for segment in self._segments:
            rows = segment.rows_of(keys)
            found |= rows >= 0
            segments.append(segment.without(rows[rows >= 0]) if (rows >= 0).any() else segment)
        if not found.all():
            unknown = int(keys[~found][0])
            hint = "Nothing was deleted; leave it out (`id in index` tells)."
            raise ParameterError.of("ids", "OverlapIndex.delete", "in the index", unknown, hint)
        self._segments = tuple(segments)

    def search(
        self, codes: CodesLike, n: int = 10, metric: Metric = "overlap"
    ) -> tuple[IntArray, NDArray[Any]]:
        """Find the n best codes for each query.

        Parameters
        ----------
        codes : array, list or sparse matrix
            Q queries, as :meth:`add` takes them.
        n : int
            How many; where the index holds fewer, the rows end in -1, ids and scores.
        metric : {"overlap", "jaccard", "hamming"}
            Shared active bits (more are better); these as a share of the bits active in either
            (two empty codes: 1); bits that differ (fewer are better).

        Returns
        -------
        ids : int64 array (Q, n)
            Best first; of equal scores the lower id first.
        scores : array (Q, n)
            int32, for "jaccard" float64.

        Raises
        ------
        ShapeError
            If the queries are in none of the forms, or of another width.
        ParameterError
            If a bit is out of range or named twice in a query, or ``n`` or ``metric`` is none.

        Notes
        -----
        Cost: about one nanosecond for each entry of the query's posting lists where fewer than one
        bit in 64 is active; else a few hundredths for each code and active bit of the query.
        """
        checked_choice("metric", metric, get_args(Metric), "OverlapIndex.search")
        most = max(len(self), MOST_RESULTS)
        n = checked_int("n", n, 1, most, "OverlapIndex.search", "The index holds no more.")
        queries = read_codes(codes, self.n_bits, "OverlapIndex.search")
        ids = np.full((len(queries), n), -1, np.int64)
        scores = np.full((len(queries), n), -1, np.float64 if metric == "jaccard" else np.int32)
        wanted = min(n, len(self))
        if not wanted or not len(queries):
            return ids, scores

        by_size = np.argsort(queries.sizes, kind="stable")  # so that a group agrees on good blocks
        n_blocks = sum(len(segment.postings.ranges) for segment in self._segments)
        n_threads = min(self.n_threads, max(1, len(queries) * n_blocks // _MIN_BLOCKS))
        size = min(_GROUP, -(-len(queries) // n_threads))
        groups = [by_size[i : i + size] for i in range(0, len(queries), size)]
        find = partial(_search_group, self._segments, queries, n=wanted, metric=_METRICS[metric])
        run = map if n_threads == 1 else shared_pool(self.n_threads).map
        for group, best in zip(groups, run(find, groups), strict=True):
            ids[group, :wanted], scores[group, :wanted] = best
        if metric == "hamming":
            np.negative(scores[:, :wanted], out=scores[:, :wanted])
        return ids, scores

    def save(self, folder: str | Path) -> None:
        """Save to a folder: new, empty, or one that an overlap index was saved to.

        What was deleted is gone and all segments become one first, which costs as much as building
        the index anew where there are several. A reader sees what was saved before or what is saved
        now, even if this process is killed. ParameterError if the folder holds other files,
        StorageError if it cannot be written.
        """
        to = checked_path("folder", folder, "OverlapIndex.save")
        if len(self._segments) > 1 or any(segment.deleted.any() for segment in self._segments):
            self._segments = (merged(self._segments, self.n_bits),) if len(self) else ()
        with KIND.saving(to) as writer:
            for segment in self._segments:
                for name, array in segment.postings._asdict().items():
                    writer.array(f"{name}.npy", array)
            writer.config |= {"n_bits": self.n_bits, "next_id": self._next_id, "n_codes": len(self)}

    @classmethod
    def open(cls, folder: str | Path, n_threads: int | None = None) -> OverlapIndex:
        """Open a saved index, memory-mapped: at once, and read from the disk as it is needed.

        Changes stay in memory until they are saved. ParameterError if the folder holds no index,
        FormatError if it is of another version, IntegrityError if a file is damaged.
        """
        artifact = KIND.read(checked_path("folder", folder, "OverlapIndex.open"))
        index = cls(1, n_threads)
        with artifact.decoding():
            index.n_bits = int(artifact.config["n_bits"])
            index._next_id = int(artifact.config["next_id"])
            if not (0 < index.n_bits <= MAX_BITS and 0 <= index._next_id <= _MAX_ID + 1):
                raise ValueError(f"{index.n_bits} bits, and {index._next_id} is the next id")
            if artifact.config["n_codes"]:  # else there are no arrays
                index._segments = (open_segment(artifact, index.n_bits),)
        return index

    @property
    def memory_mb(self) -> float:
        """Megabytes (10^6 bytes) of all arrays; those of an opened index are on the disk."""
        return sum(segment.n_bytes for segment in self._segments) / 1e6

    def __len__(self) -> int:
        return sum(segment.n_live for segment in self._segments)

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, int | np.integer) or not 0 <= id <= _MAX_ID:
            return False
        key = np.array([id], np.int64)
        return any(segment.rows_of(key)[0] >= 0 for segment in self._segments)

    def __repr__(self) -> str:
        return f"OverlapIndex(n_bits={self.n_bits}, codes={len(self)})"


def _search_group(
    segments: Sequence[Segment], queries: Codes, group: IntArray, n: int, metric: int
) -> tuple[IntArray, NDArray[np.float64]]:
    """The ids and scores of the n best for some queries, of similar sizes, best first."""
    parts = [queries.bits[queries.starts[i] : queries.starts[i + 1]] for i in group]
    bits = np.concatenate(parts).astype(np.int64)
    starts = starts_of([len(part) for part in parts])
    median, longest = len(parts[len(parts) // 2]), len(parts[-1])
    n_planes = max(5, longest.bit_length())
    planes = empty_planes(n_planes + 1)
    best = Best(np.full((len(group), n), -np.inf), np.full((len(group), n), -1))
    for segment in segments:
        blocks = order_blocks(metric, median, segment.postings.ranges)
        lists = segment.postings, segment.deleted
        search_blocks(*lists, blocks, metric, starts, bits, n_planes, *planes, best)
    order = np.lexsort((best.ids, -best.scores), axis=1)
    return np.take_along_axis(best.ids, order, 1), np.take_along_axis(best.scores, order, 1)


def _read_ids(ids: ArrayLike, owner: str) -> IntArray:
    """One id or several as int64 (N,)."""
    try:
        keys = np.atleast_1d(np.asarray(ids))
    except ValueError:  # lists of several lengths
        raise ParameterError.of("ids", owner, "integers in one dimension", ids) from None
    if keys.size == 0 and keys.ndim == 1:
        return np.empty(0, np.int64)
    if keys.ndim != 1 or keys.dtype.kind not in "iu":
        got = f"{keys.dtype} {keys.shape}"
        raise ParameterError.of("ids", owner, "integers in one dimension", got)
    if keys.min() < 0 or keys.max() > _MAX_ID:
        wrong = int(keys[(keys < 0) | (keys > _MAX_ID)][0])
        raise ParameterError.of("ids", owner, f"in [0, {_MAX_ID}]", wrong)
    return keys.astype(np.int64)
