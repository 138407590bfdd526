"""Words' activations from counts, in a minute: the default rule of :class:`BinaryVectors`.

Four steps, each in a file of its own: positive PMI of words in a window
(:mod:`shoestring.words.counts`), truncated SVD (:mod:`shoestring.words.factors`), spherical k-means
of the words' vectors, standardised nearness to its centres (:mod:`shoestring.words.centres`). The
vector of a word is the sum of its unit vectors as a word and as a context ("w + c" of Levy,
Goldberg & Dagan, TACL 2015). A neuron is a centre.

Row V + w of the weights, a word as a target, are these activations T_w. As a context it has them
too, less their mean over all tokens of the corpus:

    C_w = T_w - sum_v p_v T_v,    p_v the share of v among the tokens,

so a context adds nothing on average, and frequent words, which are near that mean, add little. Its
rows are added with a weight, :data:`CONTEXT_WEIGHT` if nobody asks for another: a larger one tells
meanings apart better (WiC) and keeps less of the word (SCWS); see docs/log.md.

What differs from the published rule: it sees each pair of words once, as a count, and not each
window some times; it needs no epochs and no learning rate.

A run goes on from a checkpoint with the same bits (:mod:`shoestring.words.count_run`), and keeps a
budget of minutes by counting fewer sentences (:mod:`shoestring.words.count_budget`).

Not covered: updating with more text.

Letters: T tokens, S sentences, V words, K neurons, D components.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import ParameterError, ShapeError, ShoestringWarning
from shoestring.parallel import KernelPool, n_cores
from shoestring.types import IntArray
from shoestring.words.checkpoints import fingerprint, seconds_of
from shoestring.words.count_watch import WatchedRun
from shoestring.words.counts import Vectors

CHECKPOINT_SECONDS = 5.0
CONTEXT_WEIGHT = 0.25  # of each context word beside the word itself
COMPONENTS_PER_NEURON = 0.4  # more lie between the centres of that many neurons
MOST_COMPONENTS = 300
WORDS_PER_COMPONENT = 8  # with as many components as words all words would be equally far apart


@dataclass(frozen=True, slots=True)
class CountSettings:
    """The numbers of the rule.

    Parameters
    ----------
    n_neurons : int
        K.
    window : int
        Tokens, odd; the word is in the middle.
    n_components : int, optional
        D; by default :data:`COMPONENTS_PER_NEURON` for each neuron, at most
        :data:`MOST_COMPONENTS`. Fewer where there are not :data:`WORDS_PER_COMPONENT` words for
        each.
    context_power : float
        a of :func:`~shoestring.words.counts.positive_pmi`.
    share : float
        Of the sentences that are counted, drawn at random; a budget of minutes chooses it.
    seed : int
    """

    n_neurons: int = 400
    window: int = 11
    n_components: int | None = None
    context_power: float = 0.75
    share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """See that each has a value that it can have."""
        for name, least in (("n_neurons", 1), ("window", 3), ("n_components", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ParameterError.of(name, "CountSettings", f"an int of at least {least}", value)
        if not 0 < self.share <= 1:
            raise ParameterError.of("share", "CountSettings", "above 0, at most 1", self.share)
        if self.window % 2 == 0:
            want = "odd, with the word in the middle"
            raise ParameterError.of("window", "CountSettings", want, self.window)

    def n_components_of(self, n_words: int) -> int:
        """D for so many words."""
        usual = min(MOST_COMPONENTS, max(2, int(COMPONENTS_PER_NEURON * self.n_neurons)))
        wanted = usual if self.n_components is None else self.n_components
        return min(wanted, max(2, n_words // WORDS_PER_COMPONENT), n_words)


def train_on_counts(
    ids: NDArray[np.int32],
    offsets: IntArray,
    counts: IntArray,
    settings: CountSettings | None = None,
    *,
    checkpoint: str | Path | None = None,
    minutes: float | None = None,
    n_threads: int | None = None,
    progress: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
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
    settings : CountSettings, optional
    checkpoint : path, optional
        A folder. What is in it is gone on with, to the same bits; it is written every
        ``checkpoint_seconds``, at the end and when Ctrl-C interrupts.
    minutes : float, optional
        Budget of this call: as many of the sentences are counted as it affords. Should the machine
        become slower, the SVD and k-means end after fewer steps.
    n_threads : int, optional
        All cores by default. The activations do not depend on it.
    progress : bool
        Say what it will cost, then show the stage and the time left.
    checkpoint_seconds : float

    Returns
    -------
    float32 array (2 V, K)
        Row w of a context word, row V + w of a target. A word that never stands beside another
        has rows of zeros.

    Raises
    ------
    ParameterError
        If no two words stand beside each other, or the checkpoint is of another run.
    ShapeError
        If ids, offsets and counts do not fit together.
    BudgetError
        If the minutes are not enough for a hundredth of the sentences.
    IntegrityError, FormatError, StorageError
        If the checkpoint cannot be read or written.

    Warns
    -----
    ShoestringWarning
        If the minutes were enough for a share of the sentences only: for which.

    Notes
    -----
    Cost: at 11 million tokens, V = 20,000 and K = 400 about 35 seconds of one core, half of it
    for counting. Memory: the activations, and some 250 MB whatever the corpus.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ids = rng.integers(40, size=600, dtype=np.int32)
    >>> offsets, counts = np.arange(0, 601, 15), np.bincount(ids, minlength=40)
    >>> weights = train_on_counts(ids, offsets, counts, CountSettings(n_neurons=8, window=5))
    >>> weights.shape, bool(np.allclose(weights[40:].mean(axis=0), 0, atol=1e-4))
    ((80, 8), True)
    """
    deadline = time.monotonic() + seconds_of(minutes)
    settings = settings or CountSettings()
    _check(ids, offsets, len(counts))
    folder = None if checkpoint is None else Path(checkpoint)
    corpus = "" if folder is None else fingerprint(ids, offsets, counts)
    with KernelPool(n_threads or n_cores()) as team:
        watched = WatchedRun(
            ids, offsets, len(counts), settings, team, folder=folder, corpus=corpus,
            every=checkpoint_seconds, deadline=deadline, progress=progress,
        )  # fmt: skip
        watched.say_cost()
        watched.go()
    run = watched.run
    if run.share < settings.share:
        warnings.warn(
            f"To keep to the minutes, {run.share:.2g} of the {len(offsets) - 1:,} sentences were "
            "counted, drawn at random. With more minutes it is more of them.",
            ShoestringWarning,
            stacklevel=2,
        )
    return run.weights(counts)


def _check(ids: NDArray[np.int32], offsets: IntArray, n_words: int) -> None:
    fits = ids.dtype == np.int32 and offsets.dtype == np.int64 and len(offsets) > 0
    if not fits or offsets[0] != 0 or offsets[-1] != len(ids) or np.any(np.diff(offsets) < 0):
        raise ShapeError(
            "The corpus must be int32 ids (T,) and int64 offsets that rise from 0 to T. "
            f"Got {ids.dtype} {ids.shape} and {offsets.dtype} {offsets.shape} from "
            f"{offsets[:1].tolist()} to {offsets[-1:].tolist()}."
        )
    if len(ids) and not -1 <= ids.min() <= ids.max() < n_words:
        raise ShapeError(
            f"The ids must be -1 to {n_words - 1}, one for each of {n_words} counts. "
            f"Got {ids.min()} to {ids.max()} instead."
        )
