"""What a classifier has learned: classes, moments, a sample; block by block, by any workers.

Blocks are of a fixed number of rows and are added up in their order, each with one BLAS thread, so
that the result has the same bits for any number of workers.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.classify import checks
from shoestring.classify.moments import Moments, merged, moments_of, never_learned, without
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
    weights: Any = None  # (N,); None: as they were passed, each is 1
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
        sample = sample.below(self.sample.limit)
        return replace(self, classes=np.zeros(0, dtype=object), moments=moments, sample=sample)

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.sample.X.shape[1])

    def expanded(self, X: Floats, n_used: int | None = None) -> Floats:
        """Rows with their random features max(0, x w), all of them or up to ``n_used`` features.

        A linear layer sees by them what it cannot see of vectors (McDonnell et al. 2023, arXiv
        2307.02388). The vectors come first: moments of the whole hold those of fewer features.
        """
        n_random = None if n_used is None else n_used - self.n_features
        directions = self.directions[:, :n_random].astype(X.dtype, copy=False)
        if not directions.shape[1]:
            return X
        random = X @ directions
        return np.concatenate([X, np.maximum(random, 0, out=random)], axis=1)

    def with_classes(self, labels: NDArray[Any]) -> State:
        """The same with room for the classes of these labels."""
        classes = np.unique(labels)
        if len(self.classes):
            checks.same_type(self.classes, classes)
            classes = np.union1d(self.classes, classes)
        return self if len(classes) == len(self.classes) else self.of_classes(classes)

    def of_classes(self, classes: NDArray[Any]) -> State:
        """The same of these classes, sorted: new ones have no sample, nor had those that go."""
        places = {label: place for place, label in enumerate(classes.tolist())}
        moved = np.array([places.get(c, len(classes)) for c in self.classes.tolist()], np.int64)
        moments = self.moments.with_classes(moved, len(classes))
        return replace(self, classes=classes, moments=moments, sample=self.sample.relabelled(moved))

    def with_shift(self, X: Floats) -> State:
        """The same about a point near these samples, if there was none before."""
        if self.moments.sizes.any():
            return self
        mean = self.expanded(X[:SHIFTED]).mean(axis=0, dtype=np.float64)
        shift = mean.astype(np.float32).astype(np.float64)  # differences of such are exact
        return replace(self, moments=replace(self.moments, shift=shift))

    def merged(self, other: State) -> State:
        """What both have learned."""
        ours = self.with_classes(other.classes)
        theirs = other.with_classes(ours.classes)
        moments = merged(ours.moments, theirs.moments)
        return replace(ours, moments=moments, sample=ours.sample.merged(theirs.sample))

    def without(self, block: Block, n_jobs: int | None) -> State:
        """What is left without samples that were learned; classes without one go."""
        unknown = ~np.isin(block.y, self.classes)
        if unknown.any():
            raise never_learned(f"there is no class {block.y[unknown].tolist()[0]!r}")
        gone = updated(self.empty(), block, n_jobs).with_classes(self.classes)
        moments = without(self.moments, gone.moments)
        left = replace(self, moments=moments, sample=self.sample.without(gone.sample))
        return left.of_classes(self.classes[moments.sizes > 0])

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
            raise ParameterError(
                "The features of AnalyticSoftmax must be small enough for their squares to be "
                "added up. Got some whose sums overflow. Divide them by their largest value."
            )
        sample = self.sample
        if sample.limit:
            hashes = np.concatenate([of_part for _, of_part in sums])
            sample = sample.with_rows(hashes, block.X, block.y, block.weights)
        return replace(self, moments=moments, sample=sample)


def directions_of(n_features: int, settings: dict[str, Any]) -> NDArray[np.float32]:
    """The directions w (D, M) of random features; the first m of M are those of as many."""
    n_random = 0 if settings["expansion"] is None else int(settings["n_random"])
    rng = np.random.default_rng([int(settings["random_state"]), n_features])
    return np.ascontiguousarray(rng.standard_normal((n_random, n_features), np.float32).T)


@one_blas_thread()
@np.errstate(over="ignore", invalid="ignore")  # State.add asks what came of it
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
    state, work = state.with_shift(block.X), delayed(_block_sums)
    parallel = Parallel(n_jobs=n_jobs, prefer="threads")
    for wave in state.numbered(block).cut(at_once):
        state = state.add(wave, parallel(work(state, part) for part in wave.cut(step)))
    return state


@one_blas_thread()  # a worker may be elsewhere
@np.errstate(over="ignore", invalid="ignore")
def _block_sums(state: State, part: Block) -> tuple[Moments, Hashes]:
    """What a worker computes of a block."""
    X, shift = state.expanded(part.X), state.moments.shift
    moments = moments_of(X, part.y, len(state.classes), part.weights, shift=shift)
    return moments, state.hashes(part) if state.sample.limit else np.zeros(0, np.uint64)
