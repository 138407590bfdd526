"""A run of the rule of counts: what is done, the next step, and both as arrays for a checkpoint.

Its stages are *counting* (blocks of rows of the matrix of PMI), *factors* (turns of the basis of
the SVD) and *centres* (steps of k-means), then it is *done*. Each step makes new arrays and puts
them in place at once, so a run that is left between two steps, or in the middle of one, is whole.

Letters: V words, K neurons, D components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shoestring.errors import ParameterError
from shoestring.models.token_encoder import unit_rows
from shoestring.parallel import KernelPool
from shoestring.types import IntArray
from shoestring.words.centres import (
    N_STEPS,
    first_centres,
    moved,
    standard_activations,
)
from shoestring.words.checkpoints import Arrays
from shoestring.words.counts import MAX_CONTEXTS, Block, PmiBlocks, SparseRows, Vectors, joined
from shoestring.words.factors import N_TURNS, factors_of, first_basis, turned

BLOCKS_A_ROUND = 8
LEAST_TURNS = 3  # of the basis; with fewer it is far from the singular vectors
LEAST_SINGULAR_VALUE = 1e-5  # of the largest; below there is nothing but rounding

_COLUMNS_AT_A_TIME, _ROWS_AT_A_TIME = 1 << 20, 1 << 11
_CHUNK = ("shares", "sizes", "columns", "values")  # a row of each block; of each row its entries


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is: so many steps of a stage are done, and this came of them."""

    stage: str
    step: int
    arrays: Arrays


class CountRun:
    """A run of the rule of counts.

    Parameters
    ----------
    pmi : PmiBlocks
        The corpus.
    n_neurons, n_components, seed : int
        K, D.
    team : KernelPool
    """

    def __init__(
        self, pmi: PmiBlocks, n_neurons: int, n_components: int, seed: int, team: KernelPool
    ) -> None:
        self.pmi, self.team, self.seed = pmi, team, seed
        self.n_neurons, self.n_components = n_neurons, n_components
        self.place = Place("counting", 0, {})
        self.blocks: list[tuple[float, Block]] = []  # each with the share of the sentences
        self.matrix: SparseRows | None = None
        self.share = 1.0
        self.n_chunked = 0  # blocks that are in a checkpoint
        self.n_chunks = 0

    @property
    def steps_left(self) -> dict[str, int]:
        """Blocks, turns and steps of k-means that are still to be done."""
        wanted = {"counting": self.pmi.n_blocks, "factors": N_TURNS, "centres": N_STEPS}
        stages = [*wanted, "done"]
        at = stages.index(self.place.stage)
        left = {stage: n if stages.index(stage) >= at else 0 for stage, n in wanted.items()}
        if self.place.stage in left:
            left[self.place.stage] -= self.n_done
        return left

    def expected_entries(self, share: float) -> float:
        """How many entries the matrix has, or will have, or may have with a share of the text."""
        if self.matrix is not None:
            return float(len(self.matrix.values))
        if self.blocks:
            return self.pmi.n_blocks * float(np.mean([len(v) for _, (_, _, v) in self.blocks]))
        return min(MAX_CONTEXTS * self.pmi.n_words, 2 * self.pmi.radius * share * len(self.pmi.ids))

    @property
    def n_done(self) -> int:
        """Steps of this stage that are done."""
        return len(self.blocks) if self.place.stage == "counting" else self.place.step

    @property
    def all_is_counted(self) -> bool:
        """Whether the next step takes the blocks apart, so that they should be kept before."""
        return self.place.stage == "counting" and len(self.blocks) == self.pmi.n_blocks

    def advance(self, share: float = 1.0, hurried: bool = False) -> None:
        """Do the next step.

        Parameters
        ----------
        share : float
            Of the sentences that are counted.
        hurried : bool
            Take what is there, if it will do, and go to the next stage.
        """
        stage, step = self.place.stage, self.place.step
        if stage == "counting":
            self._join() if self.all_is_counted else self._count(share)
        elif stage == "factors":
            enough = step == N_TURNS or (hurried and step >= LEAST_TURNS and step % 2 == 1)
            self._factorise() if enough else self._turn()
        elif hurried or step == N_STEPS:
            self.place = Place("done", step, self.place.arrays)
        else:
            self._move()

    def _count(self, share: float) -> None:
        first = len(self.blocks)
        found: list[Any] = [None] * min(BLOCKS_A_ROUND, self.pmi.n_blocks - first)

        def count(number: int, begin: int, end: int) -> None:
            for i in range(begin, end):
                found[i] = share, self.pmi.count(first + i, share)

        self.team.run(count, len(found))
        self.blocks += found

    def _join(self) -> None:
        self.share = float(np.mean([share for share, _ in self.blocks]))
        blocks = [block for _, block in self.blocks]
        self.blocks = []  # so that not all is in memory twice; a checkpoint has them
        matrix = joined(blocks, self.pmi.n_words)
        if not len(matrix.values):
            raise ParameterError(
                f"There is nothing to learn from: in {len(self.pmi.ids)} tokens no two words of "
                "the vocabulary stand beside each other more often than by chance. Pass more text."
            )
        basis = first_basis(self.pmi.n_words, self.n_components, self.seed)
        self.matrix = matrix
        self.place = Place("factors", 0, {"basis": basis})

    def _turn(self) -> None:
        assert self.matrix is not None
        basis = turned(self.matrix, self.place.arrays["basis"], self.place.step, self.team)
        self.place = Place("factors", self.place.step + 1, {"basis": basis})

    def _factorise(self) -> None:
        assert self.matrix is not None
        basis = self.place.arrays["basis"]
        vectors = _word_vectors(self.matrix, *factors_of(
            self.matrix, basis, self.n_components, self.team
        ))  # fmt: skip
        known = vectors[vectors.any(axis=1)]
        centres = first_centres(known, self.n_neurons, self.seed)
        nearest = np.full(len(known), -1)
        arrays = {"vectors": vectors, "centres": centres, "nearest": nearest}
        self.place = Place("centres", 0, arrays)
        self.matrix = None

    def _move(self) -> None:
        arrays, step = self.place.arrays, self.place.step + 1
        vectors = arrays["vectors"]
        known = vectors[vectors.any(axis=1)]
        centres, nearest = moved(known, arrays["centres"], arrays["nearest"])
        settled = np.array_equal(nearest, arrays["nearest"])
        arrays = {"vectors": vectors, "centres": centres, "nearest": nearest}
        self.place = Place("done" if settled else "centres", step, arrays)

    def weights(self, counts: IntArray) -> Vectors:
        """The activations of a run that is done, (2 V, K); see :mod:`.count_rule`."""
        vectors, centres = (self.place.arrays[name] for name in ("vectors", "centres"))
        weights = np.empty((2 * len(vectors), len(centres)), dtype=np.float32)
        contexts, targets = weights[: len(vectors)], weights[len(vectors) :]
        standard_activations(vectors, centres, out=targets)
        shares, mean = counts / max(int(counts.sum()), 1), np.zeros(len(centres))
        for start in range(0, len(targets), _ROWS_AT_A_TIME):  # numpy makes float64 of them
            part = slice(start, start + _ROWS_AT_A_TIME)
            mean += shares[part] @ targets[part]
        np.subtract(targets, mean.astype(np.float32), out=contexts)
        contexts[~np.asarray(vectors.any(axis=1))] = 0
        return weights

    def state(self) -> tuple[dict[str, Any], Arrays, list[str]]:
        """For a checkpoint: the place, the arrays, and the names of those that never change.

        Blocks that were in the last one are not among the arrays, only among the names. Whoever has
        written it calls :meth:`kept`.
        """
        place = {"stage": self.place.stage, "step": self.place.step, "share": self.share}
        place |= {"n_blocks": self.pmi.n_blocks, "n_chunks": self.n_chunks}
        arrays, lasting = dict(self.place.arrays), ["vectors"]
        if self.place.stage in ("counting", "factors"):
            arrays["sums"] = self.pmi.context_sums
            lasting += [
                "sums",
                *(f"{part}{chunk}" for chunk in range(self.n_chunks) for part in _CHUNK),
            ]
        if new := self.blocks[self.n_chunked :]:
            parts = zip(*((np.array([share]), *block) for share, block in new), strict=True)
            for name, part in zip(_CHUNK, parts, strict=True):
                arrays[f"{name}{self.n_chunks}"] = np.concatenate(part)
            place["n_chunks"] = self.n_chunks + 1
        return place, arrays, lasting

    def kept(self, place: dict[str, Any], n_blocks: int) -> None:
        """Note that a checkpoint of so many blocks was written."""
        self.n_chunks, self.n_chunked = place["n_chunks"], n_blocks

    def go_to(self, place: dict[str, Any], arrays: Arrays) -> None:
        """Go on from a :meth:`state`.

        Raises
        ------
        KeyError, ValueError
            If it is not whole.
        """
        if place["n_blocks"] != self.pmi.n_blocks:
            raise ValueError(f"{place['n_blocks']} blocks, not {self.pmi.n_blocks}")
        stage, self.n_chunks = place["stage"], place["n_chunks"]
        if stage in ("counting", "factors"):
            self.blocks = _blocks_of(arrays, self.n_chunks, self.pmi.n_words, self.pmi.n_blocks)
        self.n_chunked = len(self.blocks)
        if stage == "factors":
            self._join()
        names = {"factors": ["basis"], "centres": ["vectors", "centres", "nearest"]}
        names["done"] = names["centres"]
        kept = {name: arrays[name] for name in names.get(stage, ())}
        self.share = place["share"]
        self.place = Place(stage, place["step"], kept)


def _blocks_of(
    arrays: Arrays, n_chunks: int, n_words: int, n_blocks: int
) -> list[tuple[float, Block]]:
    """The blocks of the chunks, in their order."""
    blocks: list[tuple[float, Block]] = []
    for chunk in range(n_chunks):
        shares, sizes, columns, values = (arrays.pop(f"{part}{chunk}") for part in _CHUNK)
        row = entry = 0
        for share in shares:
            n_rows = len(range(len(blocks), n_words, n_blocks))
            of_rows = sizes[row : row + n_rows]
            end = entry + int(of_rows.sum())
            blocks.append((float(share), (of_rows, columns[entry:end], values[entry:end])))
            row, entry = row + n_rows, end
    return blocks


def _word_vectors(matrix: SparseRows, left: Vectors, values: Vectors, right: Vectors) -> Vectors:
    """Of each word the sum of its unit vectors as a word and as a context, as a unit vector."""
    kept = values > LEAST_SINGULAR_VALUE * values[0]
    left, right = left[:, kept], right[:, kept]
    left[np.diff(matrix.starts) == 0] = 0  # what is there is rounding
    is_context = np.zeros(len(matrix), dtype=bool)
    for start in range(0, len(matrix.columns), _COLUMNS_AT_A_TIME):  # numpy makes int64 of them
        is_context[matrix.columns[start : start + _COLUMNS_AT_A_TIME]] = True
    right[~is_context] = 0
    return unit_rows(unit_rows(left) + unit_rows(right))
