"""From text to a table of codes: the corpus, the rule, the static codes.

Two rules make the activations of the neurons, and all that follows is the same for both:

- ``counts``: positive PMI, SVD, spherical k-means (:mod:`shoestring.words.count_rule`); the
  default, because it learns in a minute from little text.
- ``published``: the rule of the paper as its code has it (:mod:`shoestring.words.training`). It can
  be interrupted, resumed, and held to a number of minutes.

Not covered: resuming while the text is read; that takes half a second for a million tokens.
"""

from __future__ import annotations

import math
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from shoestring.errors import BudgetError, FormatError, ParameterError
from shoestring.text.files import check_readable, decoded_lines, open_unpacked
from shoestring.words.codes import MAX_BITS, checked_int
from shoestring.words.corpus import EncodedCorpus, encode_corpus
from shoestring.words.count_rule import CountSettings, train_on_counts
from shoestring.words.table import CodeTable, check_active
from shoestring.words.training import TrainingSettings, train

RULES = ("counts", "published")
DEFAULT_RULE = "counts"
USUAL_VOCABULARY = 20_000
MAX_WINDOW = 1_001
SECONDS_A_PAIR = 1e-7  # a token and a place of its window
SECONDS_A_WEIGHT = 2e-6
WEIGHTS = "weights"  # in the folder of the checkpoint

_OWNER = "BinaryVectors"


def train_table(
    texts: Any,
    *,
    n_neurons: int,
    n_active: int,
    window: int,
    rule: str,
    vocab_size: int | None,
    min_count: int,
    max_share: float,
    phrases: int,
    segmented: bool,
    lexicon: Iterable[str] | str | Path | None,
    n_epochs: int,
    minutes: float | None,
    checkpoint: str | Path | None,
    random_state: int,
    progress: bool,
) -> CodeTable:
    """Train words' codes; the parameters are those of :class:`shoestring.words.BinaryVectors`."""
    if rule not in RULES:
        raise ParameterError.of("rule", _OWNER, f"one of {', '.join(RULES)}", rule)
    checked_int("n_neurons", n_neurons, 1, MAX_BITS, _OWNER)
    check_active(n_active, n_neurons)
    checked_int("window", window, 3, MAX_WINDOW, _OWNER)
    if window % 2 == 0:
        raise ParameterError.of("window", _OWNER, "odd, with the word in the middle", window)
    reading = {
        "min_count": min_count,
        "max_share": max_share,
        "phrases": phrases,
        "segmented": segmented,
        "lexicon": _lexicon(lexicon),
        "progress": progress,
    }
    folder = None if checkpoint is None else Path(checkpoint)
    with _corpus_of(texts, vocab_size, folder, reading) as corpus:
        corpus.check_window(window)
        if rule == "published":
            published = TrainingSettings(
                n_neurons=n_neurons, window=window, n_epochs=n_epochs, seed=random_state
            )
            weights, _ = train(
                corpus.ids,
                corpus.offsets,
                corpus.counts,
                published,
                checkpoint=None if folder is None else folder / WEIGHTS,
                minutes=minutes,
                progress=progress,
            )
        else:
            _afford_counts(corpus, n_neurons, window, minutes, progress)
            settings = CountSettings(n_neurons=n_neurons, window=window, seed=random_state)
            weights = train_on_counts(corpus.ids, corpus.offsets, corpus.counts, settings)
        segmented = bool(corpus.settings["reading"]["segmented"])
        return CodeTable.of_activations(corpus.words, weights, n_active, corpus.counts, segmented)


@contextmanager
def _corpus_of(
    texts: Any, vocab_size: int | None, folder: Path | None, reading: dict[str, Any]
) -> Iterator[EncodedCorpus]:
    """The corpus as it is given, or encoded: beside the checkpoint, or in a temporary folder."""
    if isinstance(texts, EncodedCorpus):
        yield texts
        return
    place = None if folder is None else folder / "corpus"
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
    try:
        with warnings.catch_warnings():
            if vocab_size is None:  # then nobody asked for that many
                warnings.filterwarnings("ignore", "The vocabulary has ")
            size = USUAL_VOCABULARY if vocab_size is None else vocab_size
            corpus = encode_corpus(texts, place, vocab_size=size, **reading)
        yield corpus
    finally:
        if folder is not None:
            shutil.rmtree(folder / "corpus", ignore_errors=True)
            with suppress(OSError):  # there is a checkpoint in it
                folder.rmdir()


def _lexicon(lexicon: Iterable[str] | str | Path | None) -> Iterable[str] | None:
    """The words of a lexicon; those of a file stand first on each line."""
    if not isinstance(lexicon, str | Path):
        return lexicon
    path = Path(lexicon)
    check_readable(path)
    with open_unpacked(path, path.suffix == ".gz") as stream:
        words = [line.split()[0] for line in decoded_lines(stream, str(path)) if line.strip()]
    if not words:
        raise FormatError("there is no word in the lexicon.", file=path)
    return words


def _afford_counts(
    corpus: EncodedCorpus, n_neurons: int, window: int, minutes: float | None, progress: bool
) -> None:
    """Say what the rule of counts will cost, and refuse where the minutes are too few.

    A rough line through what was measured on two cores at 1 to 20 million tokens: see docs/log.md.
    """
    if minutes is not None and not 0 < minutes < math.inf:
        raise ParameterError.of("minutes", _OWNER, "a positive float or None", minutes)
    n_words = len(corpus.words)
    seconds = corpus.n_tokens * window * SECONDS_A_PAIR + n_words * n_neurons * SECONDS_A_WEIGHT
    if minutes is not None and seconds > 60 * minutes:
        raise BudgetError(
            f"{minutes:.2g} minutes are not enough for {corpus.n_tokens:,} tokens and {n_words:,} "
            f"words, which take about {seconds / 60:.2g}. Pass that, a smaller vocabulary, less "
            "text, or rule='published', which shortens its epochs."
        )
    if progress:
        megabytes = 8 * n_words * n_neurons / 1e6
        tqdm.write(
            f"{corpus.n_tokens:,} tokens, {n_words:,} words: about "
            f"{tqdm.format_interval(seconds)}; {megabytes:,.0f} MB of weights",
            file=sys.stderr,
        )
