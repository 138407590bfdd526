"""What a classifier has learnt: classes, moments, a sample; block by block, by any workers.

Blocks are of a fixed number of rows and are added up in their order, each with one BLAS thread, so
that the result has the same bits for any number of workers.

Letters: N samples, C classes, D features, M random features.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.classify import checks
from shoestring.classify.expansion import Expansion
from shoestring.classify.moments import Doubles, Moments, merged, moments_of, without
from shoestring.classify.sample import Hashes, Sample, key_hashes, row_hashes
from shoestring.errors import ParameterError
from shoestring.parallel import n_cores, one_blas_thread

Floats = NDArray[np.floating[Any]]
NUMBERS = 1 << 21  # of a block, expanded: 16 MB
LEAST_ROWS = 256
AT_ONCE = 1 << 22  # numbers of the scatters that wait to be added up
SHIFTED = 256  # samples whose mean is the shift


BUILT_BY = ("class_scatters", "random_state", "expansion", "n_random", "scale", "sample_size")


def expansion_of(n_features: int, how: dict[str, Any]) -> Expansion | None:
    """The random features that were asked for, drawn by the seed."""
    if how["expansion"] is None or how["n_random"] == 0:
        return None
    kind = "relu" if how["expansion"] == "auto" else how["expansion"]
    seed, n_random = int(how["random_state"]), int(how["n_random"])
    return Expansion.drawn(kind, n_features, n_random, scale=how["scale"], seed=seed)


class Block(NamedTuple):
    """Samples that came at once."""

    X: Floats  # (N, D)
    y: NDArray[Any]  # (N,): labels, or their numbers
    weights: Doubles | None
    keys: Hashes | None  # the same for samples that are the same; None: by their content

    def part(self, chosen: NDArray[np.bool_] | slice) -> Block:
        """Some of them."""
        weights = None if self.weights is None else self.weights[chosen]
        keys = None if self.keys is None else self.keys[chosen]
        return Block(self.X[chosen], self.y[chosen], weights, keys)

    def cut(self, step: int) -> Iterator[Block]:
        """Parts of so many, in their order."""
        return (self.part(slice(at, at + step)) for at in range(0, len(self.X), step))


@dataclass(frozen=True, slots=True)
class State:
    """What was learnt.

    Parameters
    ----------
    classes : array (C,)
        Sorted.
    moments : Moments
        In all features.
    sample : Sample
        In the given features.
    expansion : Expansion or None
    how : dict
        The parameters of :class:`~shoestring.classify.softmax.AnalyticSoftmax` that it was begun
        with (:data:`BUILT_BY`).
    """

    classes: NDArray[Any]
    moments: Moments
    sample: Sample
    expansion: Expansion | None
    how: dict[str, Any]

    @classmethod
    def new(cls, n_features: int, dtype: np.dtype[Any], params: dict[str, Any]) -> State:
        """Nothing learnt yet."""
        how = {name: params[name] for name in BUILT_BY}
        expansion = expansion_of(n_features, how)
        width = n_features + (0 if expansion is None else expansion.directions.shape[1])
        moments = Moments.none(0, width, per_class=bool(how["class_scatters"]))
        sample = Sample.none(int(how["sample_size"]), n_features, dtype)
        return cls(np.zeros(0, dtype=object), moments, sample, expansion, how)

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.sample.X.shape[1])

    def expanded(self, X: Floats, n_used: int | None = None) -> Floats:
        """Rows with their random features, all of them or up to ``n_used`` features."""
        if self.expansion is None:
            return X
        return self.expansion.of(X, None if n_used is None else n_used - self.n_features)

    def changed(self, classes: NDArray[Any], moments: Moments, sample: Sample) -> State:
        """The same with something else learnt."""
        return replace(self, classes=classes, moments=moments, sample=sample)

    def with_classes(self, labels: NDArray[Any]) -> State:
        """The same with room for the classes of these labels."""
        new = np.unique(labels)
        if not len(self.classes):
            moments = self.moments.with_classes(np.zeros(0, np.int64), len(new))
            return replace(self, classes=new, moments=moments)
        _check_kinds(self.classes, new)
        classes = np.union1d(self.classes, new)
        if len(classes) == len(self.classes):
            return self
        places = np.searchsorted(classes, self.classes)
        moments = self.moments.with_classes(places, len(classes))
        return self.changed(classes, moments, self.sample.relabelled(places))

    def with_shift(self, X: Floats) -> State:
        """The same about a point near these samples, if there was none before."""
        if self.moments.sizes.any() or not len(X):
            return self
        mean = self.expanded(X[:SHIFTED]).mean(axis=0, dtype=np.float64)
        shift = mean.astype(np.float32).astype(np.float64)  # differences of such are exact
        return replace(self, moments=replace(self.moments, shift=shift))

    def merged(self, other: State) -> State:
        """What both have learnt."""
        if not self.moments.sizes.any():
            return replace(other, sample=self.sample.merged(other.sample))
        ours = self.with_classes(other.classes)
        theirs = other.with_classes(ours.classes)
        moments = merged(ours.moments, theirs.moments)
        return self.changed(ours.classes, moments, ours.sample.merged(theirs.sample))

    def without(self, block: Block, n_jobs: int | None) -> State:
        """What is left without samples that were learnt; classes without one go.

        Raises
        ------
        ParameterError
            If they cannot have been learnt.
        """
        unknown = ~np.isin(block.y, self.classes)
        if unknown.any():
            raise _never_learnt(f"there is no class {block.y[unknown].tolist()[0]!r}")
        gone = learnt(_empty(self), block, n_jobs).with_classes(self.classes)
        weights = np.ones(len(block.X)) if block.weights is None else block.weights
        try:
            moments = without(self.moments, gone.moments)
            parts = self.numbered(block).cut(max(LEAST_ROWS, NUMBERS // self.n_features))
            hashes = np.concatenate([self.hashes(part) for part in parts])
            sample = self.sample.without(hashes, weights)
        except ParameterError as error:
            raise _never_learnt(str(error)) from None
        kept = np.flatnonzero(moments.sizes)
        if len(kept) < 2:
            raise ParameterError(
                f"Without these samples {len(kept)} of the classes would be left, and there must "
                "be two. Fit a new classifier."
            )
        places = np.zeros(len(self.classes), np.int64)
        places[kept] = np.arange(len(kept))
        return self.changed(self.classes[kept], moments.of_classes(kept), sample.relabelled(places))

    def numbered(self, block: Block) -> Block:
        """The same block with the numbers of its labels, which are known."""
        return block._replace(y=np.searchsorted(self.classes, block.y))

    def hashes(self, block: Block) -> Hashes:
        """Of numbered samples and their labels, as the sample has them."""
        labels, seed = _label_keys(self.classes)[block.y], int(self.how["random_state"])
        if block.keys is None:
            return row_hashes(block.X, labels, seed)
        return key_hashes(block.keys, labels, seed)

    def add(self, block: Block, seen: list[_Seen]) -> State:
        """The same with a numbered block, and what was seen of its parts."""
        moments = reduce(merged, (part.moments for part in seen), self.moments)
        if not np.isfinite(moments.means).all() or not np.isfinite(np.diag(moments.scatter)).all():
            checks.finite(block.X)
            raise checks.too_large()
        if not self.sample.size:
            return self.changed(self.classes, moments, self.sample)
        weights = np.ones(len(block.X)) if block.weights is None else block.weights
        hashes = np.concatenate([part.hashes for part in seen])
        sample = self.sample.with_rows(hashes, block.X, block.y, weights)
        return self.changed(self.classes, moments, sample)


class _Seen(NamedTuple):
    """What a worker says of a block."""

    moments: Moments
    hashes: Hashes


def learnt(state: State, block: Block, n_jobs: int | None) -> State:
    """What is known after these samples too.

    Parameters
    ----------
    state : State
    block : Block
        Of any size; it is cut.
    n_jobs : int or None
        Workers; None for joblib's setting, or all cores.
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
    work = delayed(partial(_seen, os.getpid()))
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        state = state.with_shift(block.X)
        parallel = Parallel(n_jobs=n_jobs, prefer="threads")
        for wave in state.numbered(block).cut(at_once):
            seen = parallel(work(state, part) for part in wave.cut(step))
            state = state.add(wave, seen)
    return state


def _seen(parent: int, state: State, part: Block) -> _Seen:
    per_class, shift = state.moments.per_class, state.moments.shift
    elsewhere = os.getpid() != parent  # what the parent has set holds for its threads
    with (
        one_blas_thread() if elsewhere else nullcontext(),
        np.errstate(over="ignore", invalid="ignore"),  # add() asks what came of it
    ):
        moments = moments_of(
            state.expanded(part.X), part.y, len(state.classes), part.weights,
            per_class=per_class, shift=shift,
        )  # fmt: skip
    return _Seen(moments, state.hashes(part) if state.sample.size else np.zeros(0, np.uint64))


def _empty(state: State) -> State:
    """Nothing learnt, of the same features; no sample is kept."""
    moments = Moments.none(0, state.moments.n_features, per_class=state.moments.per_class)
    sample = Sample.none(0, state.n_features, state.sample.X.dtype)
    return State(np.zeros(0, dtype=object), moments, sample, state.expansion, state.how)


def _never_learnt(why: str) -> ParameterError:
    return ParameterError(
        f"These samples cannot have been learnt: {why}. Nothing was changed; forget samples as "
        "they were passed to fit or partial_fit."
    )


def _check_kinds(a: NDArray[Any], b: NDArray[Any]) -> None:
    if len(b) and (a.dtype.kind in "US") != (b.dtype.kind in "US"):
        raise ParameterError(
            f"Labels must be of one type: {a.tolist()[0]!r} was learnt, {b.tolist()[0]!r} came. "
            "Convert them."
        )


def _label_keys(y: NDArray[Any]) -> Hashes:
    """A number for each label that depends on the label alone; 1, 1.0 and True are one."""
    values, places = np.unique(y, return_inverse=True)
    plain = values if values.dtype.kind in "US" else values.astype(np.float64)
    names = (repr(value).encode("utf-8", "surrogatepass") for value in plain.tolist())
    digests = (hashlib.blake2b(name, digest_size=8).digest() for name in names)
    keys = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    return keys[places]
