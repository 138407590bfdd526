"""Words' activations from counts, in a minute: the default rule of :class:`BinaryVectors`.

Four steps: positive PMI of words in a window (:mod:`shoestring.words.ppmi`), truncated SVD
(scikit-learn's: Halko, Martinsson & Tropp, SIAM Review 2011), spherical k-means of the words'
vectors, standardised nearness to its centres (:mod:`shoestring.words.kmeans`). The vector of a word
is the sum of its unit vectors as a word and as a context ("w + c" of Levy, Goldberg & Dagan, TACL
2015). A neuron is a centre.

Row V + w of the weights, a word as a target, are these activations T_w. As a context it has them
too, less their mean over all tokens of the corpus:

    C_w = T_w - sum_v p_v T_v,    p_v the share of v among the tokens,

so a context adds nothing on average, and frequent words, which are near that mean, add little. Its
rows are added with a weight, :data:`CONTEXT_WEIGHT` if nobody asks for another: a larger one tells
meanings apart better (WiC) and keeps less of the word (SCWS); see docs/log.md.

What differs from the published rule: it sees each pair of words once, as a count, and not each
window some times; it needs no epochs and no learning rate.

Not covered: updating with more text; a time limit, which is one for the text that is read.

Letters: T tokens, S sentences, V words, K neurons, D components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import ParameterError
from shoestring.models.token_encoder import unit_rows
from shoestring.parallel import n_cores, one_blas_thread
from shoestring.progress import Progress
from shoestring.types import IntArray
from shoestring.words.kmeans import spherical_kmeans, standard_activations
from shoestring.words.ppmi import SparseMatrix, Vectors, joined, pmi_blocks

CONTEXT_WEIGHT = 0.25  # of each context word beside the word itself
COMPONENTS_PER_NEURON = 0.4  # more lie between the centres of that many neurons
MOST_COMPONENTS = 300
WORDS_PER_COMPONENT = 8  # with as many components as words all words would be equally far apart
LEAST_SINGULAR_VALUE = 1e-5  # of the largest; below there is nothing but rounding


def train_on_counts(
    ids: NDArray[np.int32],
    offsets: IntArray,
    counts: IntArray,
    *,
    n_neurons: int = 400,
    window: int = 11,
    seed: int = 0,
    n_threads: int | None = None,
    progress: bool = False,
) -> Vectors:
    """Make the activations of K neurons from a corpus.

    Parameters
    ----------
    ids : int32 array (T,)
        Words 0 to V - 1, -1 where one is skipped (it keeps its place); may be memory-mapped.
    offsets : int64 array (S + 1,)
        Where sentences begin, with a leading 0 and a trailing T; may be memory-mapped.
    counts : int64 array (V,)
        How often each word occurs.
    n_neurons, window, seed : int
        K; tokens of a window, odd, with the word in the middle.
    n_threads : int, optional
        All cores by default. The activations do not depend on it.
    progress : bool
        Show the step and the time left.

    Returns
    -------
    float32 array (2 V, K)
        Row w of a context word, row V + w of a target. A word that never stands beside another
        has rows of zeros.

    Raises
    ------
    ParameterError
        If no two words stand beside each other.

    Notes
    -----
    Cost: at 11 million tokens, V = 20,000 and K = 400 about 35 seconds of one core, half of it
    for counting. Memory: the activations, and some 250 MB whatever the corpus.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ids = rng.integers(40, size=600, dtype=np.int32)
    >>> offsets, counts = np.arange(0, 601, 15), np.bincount(ids, minlength=40)
    >>> weights = train_on_counts(ids, offsets, counts, n_neurons=8, window=5)
    >>> weights.shape, bool(np.allclose(weights[40:].mean(axis=0), 0, atol=1e-4))
    ((80, 8), True)
    """
    usual = min(MOST_COMPONENTS, max(2, int(COMPONENTS_PER_NEURON * n_neurons)))
    n_components = min(usual, max(2, len(counts) // WORDS_PER_COMPONENT), len(counts))
    look = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with Progress(total=1, disable=not progress, bar_format=look) as bar:
        # 1. count which words stand together, block by block; about half of the time
        bar.set_description("counting")
        how = {"radius": window // 2, "n_threads": n_threads or n_cores()}
        blocks: list[SparseMatrix] = []
        for block in pmi_blocks(ids, offsets, len(counts), **how):
            blocks.append(block)
            bar.update(block.shape[0] / len(counts) / 2)
        matrix = joined(blocks)
        del blocks  # they are as large
        if not matrix.nnz:
            raise ParameterError(
                f"There is nothing to learn from: in {len(ids)} tokens no two words of the "
                "vocabulary stand beside each other more often than by chance. Pass more text."
            )

        # 2. the vectors of the words
        bar.set_description("SVD")
        vectors = _word_vectors(matrix, n_components, seed)
        bar.update(0.25)

        # 3. a neuron for each of their clusters
        bar.set_description("k-means")
        centres = spherical_kmeans(vectors, n_neurons, seed)

        # 4. how near the words are to the neurons
        weights = _weights(vectors, centres, counts)
        bar.set_description("done")
        bar.update(bar.total - bar.n)
    return weights


def _word_vectors(matrix: SparseMatrix, n_components: int, seed: int) -> Vectors:
    """Of each word the sum of its unit vectors as a word and as a context, as a unit vector."""
    from sklearn.utils.extmath import randomized_svd

    steps = {"n_oversamples": 16, "n_iter": 3, "power_iteration_normalizer": "QR"}
    with one_blas_thread():  # the bits of a BLAS may depend on its threads
        left, values, right = randomized_svd(
            matrix, n_components, **steps, random_state=seed % (1 << 32)
        )
    kept = values > LEAST_SINGULAR_VALUE * values[0]
    left, right = left[:, kept], right[kept].T
    left[matrix.sum(axis=1) == 0] = 0  # what is there is rounding
    right[matrix.sum(axis=0) == 0] = 0
    return unit_rows(unit_rows(left) + unit_rows(right))


def _weights(vectors: Vectors, centres: Vectors, counts: IntArray) -> Vectors:
    """The activations (2 V, K) of the module's docstring."""
    weights = np.empty((2 * len(vectors), len(centres)), dtype=np.float32)
    contexts, targets = weights[: len(vectors)], weights[len(vectors) :]
    standard_activations(vectors, centres, out=targets)
    mean = np.einsum("v,vk->k", counts / max(int(counts.sum()), 1), targets)
    np.subtract(targets, mean.astype(np.float32), out=contexts)
    contexts[~np.asarray(vectors.any(axis=1))] = 0
    return weights
