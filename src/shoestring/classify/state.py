"""What a classifier has learned: classes, moments, a sample; block by block, by any workers.

Blocks are of a fixed number of rows and are added up in their order, each with one BLAS thread, so
that the result has the same bits for any number of workers.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.classify import checks, expansion
from shoestring.classify.moments import Moments, merged, moments_of, without
from shoestring.classify.sample import NO_LIMIT, Hashes, Sample, key_hashes, keys_of, row_hashes
from shoestring.errors import ParameterError
from shoestring.parallel import n_cores, one_blas_thread

Floats = NDArray[np.floating[Any]]
NUMBERS = 1 << 21  # of a block, expanded: 16 MB
LEAST_ROWS = 256
AT_ONCE = 1 << 22  # numbers of the scatters that wait to be added up
SHIFTED = 256  # samples whose mean is the shift
BUILT_BY = ("random_state", "expansion", "n_random", "sample_size")


class Block(NamedTuple):
    """Samples that came at once: as they were passed, or checked."""

    X: Any  # (N, D)
    y: Any  # (N,): labels, or their numbers
    weights: Any = None  # (N,), or None
    keys: Hashes | None = None  # the same for samples that are the same; None: by their content

    def part(self, chosen: NDArray[np.bool_] | slice) -> Block:
        """Some of them."""
        return Block(*(None if array is None else array[chosen] for array in self))

    def cut(self, step: int) -> Iterator[Block]:
        """Parts of so many, in their order."""
        return (self.part(slice(at, at + step)) for at in range(0, len(self.X), step))


@dataclass(frozen=True, slots=True)
class State:
    """What was learned."""

    classes: NDArray[Any]  # (C,), sorted
    moments: Moments  # in all features
    sample: Sample  # in the given features
    settings: dict[str, Any]  # parameters that cannot change any more (BUILT_BY)
    directions: NDArray[np.float32]  # (D, M), of the random features

    @classmethod
    def new(cls, n_features: int, dtype: np.dtype[Any], params: dict[str, Any]) -> State:
        """Nothing learned yet."""
        settings = {name: params[name] for name in BUILT_BY}
        directions = directions_of(n_features, settings)
        moments = Moments.none(0, n_features + directions.shape[1])
        sample = Sample.none(int(settings["sample_size"]), n_features, dtype)
        return cls(np.zeros(0, dtype=object), moments, sample, settings, directions)

    def empty(self) -> State:
        """Nothing learned, of the same features; it keeps all rows that are kept here."""
        moments = Moments.none(0, self.moments.n_features)
        sample = Sample.none(NO_LIMIT, self.n_features, self.sample.X.dtype)
        return self.changed(np.zeros(0, dtype=object), moments, sample.below(self.sample.limit))

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.sample.X.shape[1])

    def expanded(self, X: Floats, n_used: int | None = None) -> Floats:
        """Rows with their random features, all of them or up to ``n_used`` features."""
        n_random = None if n_used is None else n_used - self.n_features
        return expansion.expanded(X, self.directions[:, :n_random])

    def changed(self, classes: NDArray[Any], moments: Moments, sample: Sample) -> State:
        """The same with something else learned."""
        return replace(self, classes=classes, moments=moments, sample=sample)

    def with_classes(self, labels: NDArray[Any]) -> State:
        """The same with room for the classes of these labels."""
        classes = new = np.unique(labels)
        if len(self.classes):
            checks.same_type(self.classes, new)
            classes = np.union1d(self.classes, new)
        if len(classes) == len(self.classes):
            return self
        places = np.searchsorted(classes, self.classes) if len(self.classes) else np.zeros(0, int)
        moments = self.moments.with_classes(places, len(classes))
        return self.changed(classes, moments, self.sample.relabelled(places))

    def with_shift(self, X: Floats) -> State:
        """The same about a point near these samples, if there was none before."""
        if self.moments.sizes.any() or not len(X):
            return self
        shift = _shift_of(self.expanded(X[:SHIFTED]))
        return replace(self, moments=replace(self.moments, shift=shift))

    def merged(self, other: State) -> State:
        """What both have learned."""
        ours = self.with_classes(other.classes)
        theirs = other.with_classes(ours.classes)
        moments = merged(ours.moments, theirs.moments)
        return self.changed(ours.classes, moments, ours.sample.merged(theirs.sample))

    def without(self, block: Block, n_jobs: int | None) -> State:
        """What is left without samples that were learned; classes without one go."""
        unknown = ~np.isin(block.y, self.classes)
        if unknown.any():
            raise _never_learnt(f"there is no class {block.y[unknown].tolist()[0]!r}")
        gone = updated(self.empty(), block, n_jobs).with_classes(self.classes)
        try:
            moments = without(self.moments, gone.moments)
            sample = self.sample.without(gone.sample)
        except ParameterError as error:
            raise _never_learnt(str(error)) from None
        kept = np.flatnonzero(moments.sizes)
        if len(kept) < 2:
            raise ParameterError(
                f"Without these samples {len(kept)} of the classes would be left, and there must "
                "be two. Fit a new classifier."
            )
        return self._of_classes(kept, moments.of_classes(kept), sample)

    def _of_classes(self, kept: NDArray[np.int64], moments: Moments, sample: Sample) -> State:
        places = np.zeros(len(self.classes), np.int64)
        places[kept] = np.arange(len(kept))
        return self.changed(self.classes[kept], moments, sample.relabelled(places))

    def numbered(self, block: Block) -> Block:
        """The same block with the numbers of its labels, which are known."""
        return block._replace(y=np.searchsorted(self.classes, block.y))

    def hashes(self, block: Block) -> Hashes:
        """Of numbered samples and their labels, as the sample has them."""
        # the key of a label depends on the label alone; 1, 1.0 and True are one
        is_text = self.classes.dtype.kind in "US"
        plain = self.classes if is_text else self.classes.astype(np.float64)
        labels, seed = keys_of(map(repr, plain.tolist()))[block.y], self.settings["random_state"]
        if block.keys is None:
            return row_hashes(block.X, labels, int(seed))
        return key_hashes(block.keys, labels, int(seed))

    def add(self, block: Block, sums: list[tuple[Moments, Hashes]]) -> State:
        """The same with a numbered block, whose parts have these moments and hashes."""
        moments = reduce(merged, (part for part, _ in sums), self.moments)
        if not np.isfinite(moments.means).all() or not np.isfinite(np.diag(moments.scatter)).all():
            checks.finite(block.X)
            raise checks.too_large()
        sample = self.sample
        if sample.limit:
            weights = np.ones(len(block.X)) if block.weights is None else block.weights
            hashes = np.concatenate([of_part for _, of_part in sums])
            sample = sample.with_rows(hashes, block.X, block.y, weights)
        return self.changed(self.classes, moments, sample)


def _shift_of(X: Floats) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = X.mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32).astype(np.float64)  # differences of such are exact


def directions_of(n_features: int, settings: dict[str, Any]) -> NDArray[np.float32]:
    """The directions of the random features of these settings, drawn by the seed."""
    n_random = 0 if settings["expansion"] is None else int(settings["n_random"])
    return expansion.drawn(n_features, n_random, seed=int(settings["random_state"]))


def updated(state: State, block: Block, n_jobs: int | None) -> State:
    """What is known after these samples too: a block of any size is cut and shared out.

    ``n_jobs`` are the workers; None is joblib's setting, or all cores.
    """
    from joblib import Parallel, delayed, effective_n_jobs
    from joblib.parallel import get_active_backend

    state = state.with_classes(block.y)
    backend, n_asked = get_active_backend()
    if n_jobs is None and n_asked in (None, 1) and not backend.nesting_level:
        n_jobs = n_cores()  # nobody has asked for a number, nor are we a worker
    width = state.moments.n_features
    step = max(LEAST_ROWS, NUMBERS // width)
    at_once = step * max(effective_n_jobs(n_jobs), AT_ONCE // width**2)
    work = delayed(partial(_block_sums, os.getpid()))
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        state = state.with_shift(block.X)
        parallel = Parallel(n_jobs=n_jobs, prefer="threads")
        for wave in state.numbered(block).cut(at_once):
            state = state.add(wave, parallel(work(state, part) for part in wave.cut(step)))
    return state


def _block_sums(parent: int, state: State, part: Block) -> tuple[Moments, Hashes]:
    """What a worker computes of a block."""
    n_classes, sums = len(state.classes), state.moments
    elsewhere = os.getpid() != parent  # what the parent has set holds for its threads
    with (
        one_blas_thread() if elsewhere else nullcontext(),
        np.errstate(over="ignore", invalid="ignore"),  # add() asks what came of it
    ):
        X = state.expanded(part.X)
        moments = moments_of(X, part.y, n_classes, part.weights, shift=sums.shift)
    return moments, state.hashes(part) if state.sample.limit else np.zeros(0, np.uint64)


def _never_learnt(why: str) -> ParameterError:
    return ParameterError(
        f"These samples cannot have been learned: {why}. Nothing was changed; forget samples as "
        "they were passed to fit or partial_fit."
    )
