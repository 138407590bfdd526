"""Opening what can be scored: saved vectors, and files of other tools.

Rows of 0 and 1 are codes and compared as such, other rows by their cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.words.composing import check_context_weight
from shoestring.words.evaluate import Row, SimilarWords, evaluate
from shoestring.words.interchange import WordVectors, read_vectors
from shoestring.words.vectors import BinaryVectors


def evaluate_at(
    path: str | Path,
    n_active: Sequence[int] = (),
    context_weight: float | None = None,
    **options: Any,
) -> list[Row]:
    """Score saved vectors, or those of a file, at several lengths of their codes.

    Parameters
    ----------
    path : str or Path
        A folder of saved vectors, or a file that :func:`open_vectors` takes.
    n_active : sequence of int
        Lengths; by default the vectors as they are.
    context_weight : float, optional
        Of words in contexts; by default that of the vectors.
    **options
        Of :func:`evaluate`.
    """
    rows = []
    lengths: Sequence[int | None] = n_active or [None]
    for length in lengths:
        vectors = open_vectors(path, length, context_weight)
        shown = getattr(vectors, "n_active", None)
        rows += [replace(row, n_active=shown) for row in evaluate(vectors, **options)]
    return rows


def open_vectors(
    path: str | Path, n_active: int | None = None, context_weight: float | None = None
) -> SimilarWords:
    """Open what can be scored.

    Parameters
    ----------
    path : str or Path
        A folder of saved vectors; or a file, word2vec text or binary, GloVe's text or npz.
    n_active : int, optional
        Length of the codes; of a file its dimensions are neurons then, and the code of a word the
        top k of its row.
    context_weight : float, optional
        Of words in contexts, where there are codes in context.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        return with_choices(BinaryVectors.load(path), n_active, context_weight)
    read = read_vectors(path)
    if n_active is None and not read.is_binary:
        return CosineWords(read)
    neurons: dict[str, Any] = {} if read.is_binary else {"n_neurons": None, "n_active": n_active}
    opened = BinaryVectors.from_word2vec_format(path, **neurons)
    return with_choices(opened, n_active, context_weight)


def with_choices(
    vectors: BinaryVectors, n_active: int | None, context_weight: float | None
) -> BinaryVectors:
    """Vectors with what can be chosen after training."""
    if context_weight is not None:
        vectors.set_params(context_weight=check_context_weight(context_weight))
    return vectors if n_active is None else vectors.with_active(n_active)


class CosineWords:
    """Dense vectors, compared by their cosine."""

    def __init__(self, read: WordVectors) -> None:
        norms = np.linalg.norm(read.vectors, axis=1, keepdims=True)
        self._units = read.vectors / np.maximum(norms, 1e-12)
        self._rows = {word: row for row, word in enumerate(read.words)}

    def __contains__(self, word: object) -> bool:
        return word in self._rows

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words' vectors."""
        return float(self._units[self._rows[a]] @ self._units[self._rows[b]])
