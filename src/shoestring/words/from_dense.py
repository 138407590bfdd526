"""Dense vectors of other tools to codes: the fly's hash of GloVe or word2vec.

The neurons are the centres of spherical k-means over the words' unit vectors, a word's activations
its nearness to them, standardised (:mod:`shoestring.words.kmeans`), its code the top k. As context
of another it has the same activations, or those of its vector for that (word2vec's second matrix),
less their mean over the corpus, as in :mod:`shoestring.words.counts_rule`, and with its weight.
Where the dimensions are neurons already, as in flyvec's published matrix, they are taken as they
are, and the weight is that of the paper.

Letters: V words, D width, K neurons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from shoestring.checks import checked_int, checked_seed, checked_texts
from shoestring.errors import ParameterError, ShapeError
from shoestring.models.token_encoder import unit_rows
from shoestring.overlap.codes import MAX_BITS
from shoestring.words.counts_rule import CONTEXT_WEIGHT
from shoestring.words.kmeans import spherical_kmeans, standard_activations
from shoestring.words.pooling import zipf_counts
from shoestring.words.ppmi import Vectors
from shoestring.words.table import CodeTable


def dense_table(
    words: Sequence[str],
    vectors: ArrayLike,
    *,
    n_neurons: int | None = 400,
    n_active: int = 50,
    context: ArrayLike | None = None,
    random_state: int = 0,
) -> CodeTable:
    """Make codes of dense vectors.

    Parameters
    ----------
    words : sequence of str (V,)
        Distinct, the most frequent first; their counts are taken to be as Zipf's law has them.
    vectors : array (V, D)
        Finite numbers.
    n_neurons : int or None
        K; None where the D dimensions are neurons, and the vectors their activations.
    n_active : int
        Active bits of a code.
    context : array (V, D), optional
        Vectors of the words as context of another; by default the same.
    random_state : int
        Seed of the centres.

    Notes
    -----
    ShapeError if the arrays do not have a row for each word; ParameterError if a word is there
    twice or a number not finite. Cost: that of k-means, some seconds for 20,000 words and 400
    neurons; memory: 4 V K bytes.
    """
    names = checked_texts("words", words, "from_dense")
    blocks = [_checked("vectors", vectors, len(names))]
    if context is not None:
        blocks.insert(0, _checked("context", context, len(names)))
        if blocks[0].shape != blocks[1].shape:
            raise ShapeError(f"context and vectors differ: {blocks[0].shape}, {blocks[1].shape}.")
    if len(set(names)) < len(names):
        raise ParameterError("The 'words' parameter of from_dense must be distinct words.")
    counts = zipf_counts(len(names))
    if n_neurons is not None:
        checked_int("n_neurons", n_neurons, 1, MAX_BITS, "from_dense")
        units = [unit_rows(block) for block in blocks]
        seed = checked_seed("random_state", random_state, "from_dense")
        centres = spherical_kmeans(units[-1], n_neurons, seed)
        nearness = [standard_activations(unit, centres) for unit in units]
        mean = counts / counts.sum() @ nearness[0]
        blocks = [nearness[0] - mean.astype(np.float32), nearness[-1]]
    rows, weight = np.concatenate(blocks), 1.0 if n_neurons is None else CONTEXT_WEIGHT
    return CodeTable.of_activations(names, rows, n_active, counts, context_weight=weight)


def _checked(name: str, array: ArrayLike, n_words: int) -> Vectors:
    try:
        with np.errstate(over="ignore"):  # what is not finite then is told below
            values = np.asarray(array, dtype=np.float32)
    except (TypeError, ValueError):
        values = np.empty(0, np.float32)
    if values.ndim != 2 or len(values) != n_words:
        raise ShapeError(
            f"The {name} must be numbers in an array ({n_words}, D), a row for each word. "
            f"Got {values.shape} instead."
        )
    if not np.isfinite(values).all():
        raise ParameterError.of(name, "from_dense", "finite numbers", "NaN or infinity")
    return values
