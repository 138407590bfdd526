"""Words' activations from counts, in a minute: the default rule of :class:`BinaryVectors`.

Four steps, each in a file of its own: positive PMI of words in a window
(:mod:`shoestring.words.ppmi`), truncated SVD (:mod:`shoestring.words.randomized_svd`), spherical
k-means of the words' vectors, standardised nearness to its centres
(:mod:`shoestring.words.kmeans`). The vector of a word is the sum of its unit vectors as a word and
as a context ("w + c" of Levy, Goldberg & Dagan, TACL 2015). A neuron is a centre.

Row V + w of the weights, a word as a target, are these activations T_w. As a context it has them
too, less their mean over all tokens of the corpus:

    C_w = T_w - sum_v p_v T_v,    p_v the share of v among the tokens,

so a context adds nothing on average, and frequent words, which are near that mean, add little. Its
rows are added with a weight, :data:`CONTEXT_WEIGHT` if nobody asks for another: a larger one tells
meanings apart better (WiC) and keeps less of the word (SCWS); see docs/log.md.

What differs from the published rule: it sees each pair of words once, as a count, and not each
window some times; it needs no epochs and no learning rate.

A time limit is kept by counting a sample of the sentences: small pieces of each step are timed
beforehand. A machine that slows down later takes longer. Counting, which takes longest, goes on
from the blocks in the run folder; the other steps start again.

Not covered: updating with more text.

Letters: T tokens, S sentences, V words, K neurons, D components.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import Artifact
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder, say_cost, too_short
from shoestring.models.token_encoder import unit_rows
from shoestring.parallel import KernelPool, n_cores
from shoestring.progress import Progress
from shoestring.types import IntArray
from shoestring.words.kmeans import spherical_kmeans, standard_activations
from shoestring.words.ppmi import MAX_CONTEXTS, Block, PmiBlocks, SparseMatrix, Vectors, joined
from shoestring.words.randomized_svd import truncated_svd
from shoestring.words.state import TrainingState
from shoestring.words.windows import check_ids

CONTEXT_WEIGHT = 0.25  # of each context word beside the word itself
COMPONENTS_PER_NEURON = 0.4  # more lie between the centres of that many neurons
MOST_COMPONENTS = 300
WORDS_PER_COMPONENT = 8  # with as many components as words all words would be equally far apart
LEAST_SINGULAR_VALUE = 1e-5  # of the largest; below there is nothing but rounding

LEAST_FRACTION = 0.01  # of the sentences
SAFETY = 0.9  # of the time that is left: speed varies
_PROBE_TOKENS, _PROBE_ROWS = 1 << 20, 1 << 10
_ACTIVATION_S = 5e-8  # to standardise one and find the active ones
_BLOCK_ARRAYS = ("sizes", "columns", "values")  # of ppmi.Block, in the run folder
_BLOCKS_AT_A_TIME = 8


def train_on_counts(
    ids: NDArray[np.int32],
    offsets: IntArray,
    counts: IntArray,
    *,
    n_neurons: int = 400,
    window: int = 11,
    sample_fraction: float = 1.0,
    seed: int = 0,
    clock: Clock | None = None,
    run: RunFolder | None = None,
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
    sample_fraction : float
        Fraction of the sentences that are counted, drawn at random by the seed.
    clock : Clock, optional
        A time limit makes the fraction smaller.
    run : RunFolder, optional
        Counted blocks are kept there every minute. It goes on from them, to the same bits.
    n_threads : int, optional
        All cores by default. The activations do not depend on it.
    progress : bool
        Say what it will cost, then show the step and the time left.

    Returns
    -------
    float32 array (2 V, K)
        Row w of a context word, row V + w of a target. A word that never stands beside another
        has rows of zeros.

    Raises
    ------
    ParameterError, ShapeError
        If no two words stand beside each other, or the run was on another corpus; as
        :func:`~shoestring.words.windows.check_ids`.
    BudgetError
        If the time is not enough for a hundredth of the sentences; for a larger fraction, a
        ShoestringWarning says which.

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
    check_ids(ids, offsets, len(counts))
    clock = clock or Clock()
    usual = min(MOST_COMPONENTS, max(2, int(COMPONENTS_PER_NEURON * n_neurons)))
    n_components = min(usual, max(2, len(counts) // WORDS_PER_COMPONENT), len(counts))
    state = TrainingState(run, clock, ids, offsets, counts)
    saved, fraction, sentences_s, rest_s = state.saved(), sample_fraction, 0.0, 0.0
    text: dict[str, Any] = {"n_words": len(counts), "radius": window // 2, "seed": seed}

    pool = KernelPool(n_threads or n_cores())
    # the fraction: that of the interrupted run, or what the time allows
    if progress or clock.left_s < np.inf:
        trial = PmiBlocks(ids, offsets, **text, context_sums=np.ones(len(counts)))
        sentences_s, rest_s = _probe(trial, counts, n_neurons, n_components, pool)
    if saved is not None:
        with saved.decoding():
            fraction = float(saved.config["sample_fraction"])
    elif clock.left_s < np.inf:
        fraction = min(fraction, _affordable(sentences_s, rest_s, clock))
    total_s = fraction * sentences_s + rest_s
    if progress:
        sampled = "" if fraction == 1 else f", {fraction:.2g} of the sentences"
        megabytes = 8 * len(counts) * n_neurons / 1e6
        what = f"{len(ids):,} tokens{sampled}, {len(counts):,} words, {megabytes:,.0f} MB"
        say_cost(what, total_s)

    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with Progress(total=total_s, disable=not progress, bar_format=form) as bar:
        # 1. count which words stand together, block by block
        bar.set_description("counting")
        pmi = PmiBlocks(ids, offsets, **text, sample_fraction=fraction)
        blocks = [] if saved is None else _saved_blocks(saved, pmi)
        block_s = fraction * sentences_s / pmi.n_blocks
        bar.update(len(blocks) * block_s)
        while len(blocks) < pmi.n_blocks:
            first, last = len(blocks), min(len(blocks) + _BLOCKS_AT_A_TIME, pmi.n_blocks)
            blocks += pmi.count_blocks(first, last, pool)
            bar.update((last - first) * block_s)
            if state.is_due:
                arrays = map(np.concatenate, zip(*blocks, strict=True))
                done = {"sample_fraction": fraction, "n_blocks": len(blocks)}
                state.save(done, dict(zip(_BLOCK_ARRAYS, arrays, strict=True)))
        matrix = joined(blocks, len(counts))
        if not matrix.nnz:
            raise ParameterError(
                f"There is nothing to learn from: in {len(ids)} tokens no two words of the "
                "vocabulary stand beside each other more often than by chance. Pass more text."
            )

        # 2. the vectors of the words
        bar.set_description("SVD")
        factors = truncated_svd(matrix, n_components, seed, pool)
        vectors = _word_vectors(matrix, *factors)
        bar.update(rest_s / 2)  # half of the rest, more or less

        # 3. a neuron for each of their clusters
        bar.set_description("k-means")
        centres = spherical_kmeans(vectors, n_neurons, seed)

        # 4. how near the words are to the neurons
        weights = _weights(vectors, centres, counts)
        bar.set_description("done")
        bar.update(bar.total - bar.n)
    if fraction < sample_fraction:
        warnings.warn(
            f"To keep to the minutes, {fraction:.2g} of the {len(offsets) - 1:,} sentences were "
            "counted, drawn at random. With more minutes it is more of them.",
            ShoestringWarning,
            stacklevel=2,
        )
    return weights


def _saved_blocks(saved: Artifact, pmi: PmiBlocks) -> list[Block]:
    """The blocks that an interrupted run has counted."""
    blocks: list[Block] = []
    row = entry = 0
    with saved.decoding():
        arrays = (saved.loaded_array(f"{name}.npy") for name in _BLOCK_ARRAYS)
        sizes, columns, values = arrays
        for block in range(saved.config["n_blocks"]):
            of_rows = sizes[row : row + len(pmi.rows(block))]
            end = entry + int(of_rows.sum())
            blocks.append((of_rows, columns[entry:end], values[entry:end]))
            row, entry = row + len(of_rows), end
        if (row, entry) != (len(sizes), len(values)):
            raise ValueError(f"{len(sizes)} rows of other blocks")
    return blocks


def _word_vectors(matrix: SparseMatrix, left: Vectors, values: Vectors, right: Vectors) -> Vectors:
    """Of each word the sum of its unit vectors as a word and as a context, as a unit vector."""
    kept = values > LEAST_SINGULAR_VALUE * values[0]
    left, right = left[:, kept], right[:, kept]
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


def _probe(
    pmi: PmiBlocks, counts: IntArray, n_neurons: int, n_components: int, pool: KernelPool
) -> tuple[float, float]:
    """Seconds to count all sentences, and of all the rest; seen from small pieces in a second."""
    from scipy.sparse import csr_array

    # counting: some blocks over the first sentences, and over none
    n_sentences = int(np.searchsorted(pmi.offsets, _PROBE_TOKENS, side="right")) - 1
    n_sentences = min(max(1, n_sentences), len(pmi.offsets) - 1)
    n_blocks = min(pool.n_ranges, pmi.n_blocks)
    empty_s, some_s = (
        pmi.n_blocks / n_blocks * _seconds(partial(pmi.count_blocks, 0, n_blocks, pool, n))
        for n in (0, n_sentences)
    )
    sentences_s = max(some_s - empty_s, 1e-9) * len(pmi.ids) / max(1, pmi.offsets[n_sentences])

    # SVD and k-means: of fewer words, with as many entries each as there may be
    n_rows = min(pmi.n_words, _PROBE_ROWS)
    n_entries = int(np.minimum(MAX_CONTEXTS, 2 * pmi.radius * counts).mean() * n_rows)
    rng = np.random.default_rng(0)
    columns = rng.integers(n_rows, size=n_entries, dtype=np.int32)
    starts = np.linspace(0, n_entries, n_rows + 1).astype(np.int32)
    entries = np.ones(n_entries, np.float32), columns, starts
    matrix = csr_array(entries, shape=(n_rows, n_rows))
    svd_s = _seconds(partial(truncated_svd, matrix, min(n_components, n_rows), 0, pool))
    vectors = unit_rows(rng.standard_normal((n_rows, n_components), dtype=np.float32))
    kmeans_s = _seconds(partial(spherical_kmeans, vectors, n_neurons, 0))
    rest_s = (svd_s + kmeans_s) * pmi.n_words / n_rows
    return sentences_s, empty_s + rest_s + 2 * pmi.n_words * n_neurons * _ACTIVATION_S


def _affordable(sentences_s: float, rest_s: float, clock: Clock) -> float:
    """The fraction of the sentences that can be counted in the time that is left."""
    fraction = (SAFETY * clock.left_s - rest_s) / sentences_s
    if fraction < LEAST_FRACTION:
        least_s = LEAST_FRACTION * sentences_s + rest_s
        what = f"Training on {LEAST_FRACTION:.0%} of the sentences"
        needed_s = clock.used_s + least_s / SAFETY
        raise too_short(what, least_s, needed_s, "or fewer words or neurons")
    return min(1.0, fraction)


def _seconds(work: Callable[[], object]) -> float:
    """How long it takes once it is compiled: the better of two, as something else may run."""
    work()
    clock, times = Clock(), [0.0]
    for _ in range(2):
        work()
        times.append(clock.used_s)
    return float(np.diff(times).min())
