"""From text to a table of codes: the corpus, the rule, the static codes.

Two rules make the activations of the neurons, and all that follows is the same for both:

- ``counts``: positive PMI, SVD, spherical k-means (:mod:`shoestring.words.count_rule`); the
  default, because it learns in a minute from little text.
- ``published``: the rule of the paper as its code has it (:mod:`shoestring.words.training`).

Both can be interrupted, resumed, and held to a number of minutes, which the reading of the text
(:mod:`shoestring.words.corpus`) is part of: ``counts`` uses a share of the sentences then,
``published`` shorter epochs.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shoestring.errors import FormatError, ParameterError, ShoestringError
from shoestring.jobs import Clock
from shoestring.overlap.codes import MAX_BITS, checked_int
from shoestring.text.files import check_readable, decoded_lines, open_unpacked
from shoestring.words.checkpoints import seconds_of
from shoestring.words.composing import check_context_weight
from shoestring.words.corpus import corpus_of
from shoestring.words.count_rule import CONTEXT_WEIGHT, CountSettings, train_on_counts
from shoestring.words.table import CodeTable, check_active
from shoestring.words.training import TrainingSettings, train

RULES = ("counts", "published")
DEFAULT_RULE = "counts"
WEIGHTS = "weights"  # in the folder of the checkpoint
CONTEXT_WEIGHTS = {"counts": CONTEXT_WEIGHT, "published": 1.0}  # the paper's is a plain sum
MAX_WINDOW = 1_001

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
    skip_top: int,
    phrases: int,
    phrase_threshold: float,
    segmented: bool,
    lexicon: Iterable[str] | str | Path | None,
    n_epochs: int,
    learning_rate: float,
    context_weight: float | None,
    minutes: float | None,
    checkpoint: str | Path | None,
    random_state: int,
    progress: bool,
) -> CodeTable:
    """Train words' codes; the parameters are those of :class:`shoestring.words.BinaryVectors`."""
    check_context_weight(context_weight)  # it is used where codes in context are made
    if rule not in RULES:
        raise ParameterError.of("rule", _OWNER, f"one of {', '.join(RULES)}", rule)
    checked_int("n_neurons", n_neurons, 1, MAX_BITS, _OWNER)
    check_active(n_active, n_neurons)
    checked_int("random_state", random_state, 0, 1 << 63, _OWNER)
    checked_int("window", window, 3, MAX_WINDOW, _OWNER)
    if window % 2 == 0:
        raise ParameterError.of("window", _OWNER, "odd, with the word in the middle", window)
    shared = {"n_neurons": n_neurons, "window": window, "seed": random_state}
    published = TrainingSettings(n_epochs=n_epochs, learning_rate=learning_rate, **shared)
    budget_s = seconds_of(minutes)
    deadline = time.monotonic() + budget_s
    reading: dict[str, Any] = {
        "min_count": min_count,
        "max_share": max_share,
        "skip_top": skip_top,
        "phrases": phrases,
        "phrase_threshold": phrase_threshold,
        "segmented": segmented,
        "lexicon": _lexicon(lexicon),
        "seed": random_state,
        "progress": progress,
    }
    folder = None if checkpoint is None else Path(checkpoint)
    try:
        clock = Clock(minutes)
        corpus = corpus_of(texts, vocab_size, folder, clock, **reading)
        corpus.check_window(window)
        arrays = corpus.ids, corpus.offsets, corpus.counts
        how: dict[str, Any] = {
            "checkpoint": None if folder is None else folder / WEIGHTS,
            "minutes": None if minutes is None else _minutes_until(deadline),
            "progress": progress,
        }
        if rule == "published":
            weights, _ = train(*arrays, published, **how)
        else:
            weights = train_on_counts(*arrays, CountSettings(**shared), **how)
        segmented = bool(corpus.settings["reading"]["segmented"])
        about = corpus.counts, segmented, CONTEXT_WEIGHTS[rule]
        table = CodeTable.of_activations(corpus.words, weights, n_active, *about)
    except ShoestringError:
        if folder is not None and not (folder / WEIGHTS).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for kept in () if folder is None else folder.glob("corpus-*"):
        shutil.rmtree(kept, ignore_errors=True)
    return table


def _minutes_until(deadline: float) -> float:
    return max((deadline - time.monotonic()) / 60, 1e-9)  # 0 is no budget that can be asked for


def _lexicon(lexicon: Iterable[str] | str | Path | None) -> Sequence[str] | None:
    """The words of a lexicon; those of a file stand first on each line."""
    if lexicon is None:
        return None
    if not isinstance(lexicon, str | Path):
        return tuple(lexicon)  # it is needed twice
    path = Path(lexicon)
    check_readable(path)
    with open_unpacked(path, path.suffix == ".gz") as stream:
        words = [line.split()[0] for line in decoded_lines(stream, str(path)) if line.strip()]
    if not words:
        raise FormatError("there is no word in the lexicon.", file=path)
    return words
