"""What the rooms say to each other: protocols and result types.

N items, B pairs, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]


@runtime_checkable
class PairScorer(Protocol):
    """Scores pairs of texts; higher is more alike. The number of calls is what search/ saves.

    A sentence-transformers ``CrossEncoder`` is one already; :func:`shoestring.score_with` makes one
    of any function.
    """

    def predict(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Score B pairs (query, text): B finite numbers, in the order of the pairs."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into dense vectors."""

    @property
    def n_dims(self) -> int:
        """Width D of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Vectors (len(texts), D), float32, of unit length (or zero where nothing is known)."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """One text with the user's own id, a label where there is one, and its other columns."""

    id: str
    text: str
    label: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: the record, its score, and whether the scorer itself gave it.

    ``exact`` is False where the score is an estimate because the budget ended first; ``fields`` are
    the record's other columns, and ``words`` those of the query that the text has.
    """

    id: str
    text: str
    score: float
    exact: bool
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """The answers to one query, best first, and what they cost.

    Parameters
    ----------
    hits : tuple of Hit
    calls : int
        Pairs that the scorer answered; scores already paid for are free.
    seconds : float
        Wall-clock time of the query.
    error : str or None
        Why the scorer failed before all calls were spent: the answer is what the others tell.
    notes : tuple of str
        What the user should know of the answer; a warning each.
    """

    hits: tuple[Hit, ...]
    calls: int
    seconds: float
    error: str | None = None
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, position: int) -> Hit: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, position: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[position]

    def __len__(self) -> int:
        return len(self.hits)
