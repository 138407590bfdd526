"""From text to a table of codes: the corpus, the rule, the static codes.

Two rules make the activations of the neurons, and all that follows is the same for both:

- ``counts``: positive PMI, SVD, spherical k-means (:mod:`shoestring.words.counts_rule`); the
  default, because it learns in a minute from little text.
- ``published``: the rule of the paper as its code has it (:mod:`shoestring.words.published`).

Both keep a time limit, which the reading of the text is part of: a sample of files is read where
all would take too long, and ``published`` stops. What takes longer than a minute is kept in the run
folder: the corpus as ids, the weights of ``published``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from shoestring.artifacts import digest
from shoestring.checks import (
    checked_bool,
    checked_choice,
    checked_int,
    checked_number,
    checked_path,
    checked_seed,
    checked_texts,
)
from shoestring.errors import BudgetError, FormatError, ParameterError
from shoestring.jobs import Clock, RunFolder
from shoestring.overlap.codes import MAX_BITS
from shoestring.text.files import read_lines
from shoestring.words.corpus import corpus_of
from shoestring.words.counts_rule import CONTEXT_WEIGHT, train_on_counts
from shoestring.words.published import SAVE_S, PublishedSettings, train_published
from shoestring.words.table import CodeTable, check_active, check_context_weight

RULES = ("counts", "published")
CONTEXT_WEIGHTS = {"counts": CONTEXT_WEIGHT, "published": 1.0}  # the paper's is a plain sum
MAX_WINDOW, MAX_EPOCHS = 1_001, 1_000_000

_READING = ("vocab_size", "min_count", "skip_top", "segmented", "lexicon")
_AFTERWARDS = ("n_active", "context_weight")  # of the parameters: do not change the training
_OWNER = "BinaryVectors"


def train_table(
    texts: Any,
    params: Mapping[str, Any],
    *,
    minutes: float | None = None,
    checkpoint: str | Path | RunFolder | None = None,
    progress: bool = False,
) -> CodeTable:
    """Train words' codes; see :class:`shoestring.words.BinaryVectors` and its ``fit``."""
    params = checked_params(params)
    clock = Clock(minutes)
    with _run_folder(checkpoint, params) as run:
        clock.add_used(run.used_s if run else 0.0)
        reading = {name: params[name] for name in _READING} | {"seed": params["random_state"]}
        folder = None if run is None else run.path
        corpus = corpus_of(texts, folder, clock, progress=progress, **reading)
        longest, window = corpus.longest_sentence, params["window"]
        if longest < window:
            want = f"at most the longest sentence, {longest} tokens"
            hint = "Pass a smaller one, or text with longer sentences."
            raise ParameterError.of("window", _OWNER, want, window, hint)
        if run is not None and clock.used_s - run.used_s > SAVE_S:
            run.keep(clock)  # reading it again would take as long
        arrays = corpus.ids, corpus.offsets, corpus.counts
        shared: dict[str, Any] = {"seed": params["random_state"]}
        shared |= {"n_neurons": params["n_neurons"], "window": window}
        if params["rule"] == "counts":
            if clock.left_s <= 0:
                message = "The minutes were over when the text was read. Pass more --minutes."
                raise BudgetError(message)
            weights = train_on_counts(*arrays, **shared, progress=progress)
        else:
            of_rule = {name: params[name] for name in ("n_epochs", "learning_rate")}
            settings = PublishedSettings(**shared, **of_rule)
            how: dict[str, Any] = {"clock": clock, "run": run, "progress": progress}
            weights = train_published(*arrays, settings, **how).weights
        return CodeTable.of_activations(
            corpus.words,
            weights,
            params["n_active"],
            corpus.counts,
            segmented=corpus.segmented,
            context_weight=CONTEXT_WEIGHTS[params["rule"]],
        )


def run_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """What an interrupted training must have in common with the one that goes on."""
    params = checked_params(params)
    lexicon = params["lexicon"]
    settings = {name: value for name, value in params.items() if name not in _AFTERWARDS}
    return {**settings, "lexicon": None if lexicon is None else digest("\n".join(lexicon))}


def _run_folder(
    checkpoint: str | Path | RunFolder | None, params: Mapping[str, Any]
) -> AbstractContextManager[RunFolder | None]:
    if checkpoint is None or isinstance(checkpoint, RunFolder):
        return nullcontext(checkpoint)
    path = checked_path("checkpoint", checkpoint, "BinaryVectors.fit")
    return RunFolder.open(path, run_settings(params), resume=True, what="training")


def checked_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of BinaryVectors as Python's own types; a ParameterError for one that is not.

    The lexicon becomes its words.
    """
    bounds: dict[str, tuple[int, int | None]] = {"n_neurons": (1, MAX_BITS), "skip_top": (0, None)}
    bounds |= {"vocab_size": (1, None), "min_count": (1, None), "n_epochs": (1, MAX_EPOCHS)}
    return {
        **params,
        **{name: checked_int(name, params[name], *of, _OWNER) for name, of in bounds.items()},
        "n_active": check_active(params["n_active"], params["n_neurons"]),
        "window": checked_window(params["window"]),
        "rule": checked_choice("rule", params["rule"], RULES, _OWNER),
        "segmented": checked_bool("segmented", params["segmented"], _OWNER),
        "learning_rate": checked_number(
            "learning_rate", params["learning_rate"], _OWNER, "a number above 0", 0
        ),
        "context_weight": check_context_weight(params["context_weight"]),
        "random_state": checked_seed("random_state", params["random_state"], _OWNER),
        "lexicon": _words_of(params["lexicon"]),
    }


def checked_window(window: object) -> int:
    """The tokens of a window, an odd number."""
    width = checked_int("window", window, 3, MAX_WINDOW, _OWNER)
    if width % 2 == 0:
        raise ParameterError.of("window", _OWNER, "odd, with the word in the middle", width)
    return width


def _words_of(lexicon: Iterable[str] | str | Path | None) -> Sequence[str] | None:
    """The words of a lexicon; those of a file stand first on each line."""
    if lexicon is None:
        return None
    if not isinstance(lexicon, str | Path):
        return checked_texts("lexicon", lexicon, _OWNER)
    path = checked_path("lexicon", lexicon, _OWNER)
    words = [line.split()[0] for line in read_lines(path) if line.strip()]
    if not words:
        raise FormatError("there is no word in the lexicon.", file=path)
    return words
