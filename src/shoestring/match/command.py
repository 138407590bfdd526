"""``shoestring match``: parses, calls, prints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.console import (
    Json,
    Minutes,
    Out,
    Resume,
    Seed,
    echo_row,
    emit,
    emit_json,
    reads,
    room_app,
)

app = room_app("Match pairs of short texts, plain or pseudonymised, and audit what that is worth.")

PairFile = Annotated[
    str,
    typer.Argument(
        help="File of text TAB text [TAB 0 or 1], or with columns; - for standard input."
    ),
]
Matcher = Annotated[
    str, typer.Argument(help="Folder of a matcher, or another pair scorer such as minilm.")
]
Second = Annotated[str, typer.Option(help="Column of the second texts (the first: --text, a).")]
Public = Annotated[
    list[Path] | None, typer.Option(help="File or folder of plain text of the same language.")
]


@app.command(example="match train pairs.tsv --out matcher --init base --minutes 60")
@reads()
def train(
    pairs: PairFile,
    out: Out,
    reading: dict[str, Any],
    second: Second = "b",
    unlabelled: Annotated[
        str | None, typer.Option(help="File of more pairs, without labels.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Folder of a masked-language model to start from, or minilm.")
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="The texts are pseudonymised (numbers).")
    ] = False,
    public: Public = None,
    align: Annotated[
        str,
        typer.Option(
            help="What a number begins as: both, decipher, rank; without --public resize, random."
        ),
    ] = "both",
    objective: Annotated[
        str, typer.Option(help="joint: labels and text; classify: plain fine-tuning.")
    ] = "joint",
    method: Annotated[
        str, typer.Option(help="full, ladder (classify only), boosting, bm25, overlap.")
    ] = "full",
    minutes: Minutes = None,
    epochs: Annotated[float, typer.Option(help="Maximum number of epochs.")] = 10.0,
    batch_size: Annotated[int, typer.Option(help="Pairs per step.")] = 64,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate (default 1e-3, or 3e-4 with --init).")
    ] = None,
    max_length: Annotated[int, typer.Option(help="Maximum number of tokens per pair.")] = 32,
    ngrams: Annotated[bool, typer.Option("--ngrams", help="Mask spans of symbols.")] = False,
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a matcher on pairs with labels 0 and 1."""
    options, began = locals(), time.monotonic()
    from shoestring.jobs import Clock
    from shoestring.match.baselines import METHODS, train_baseline
    from shoestring.match.pairs import read_pairs, read_public

    if method in METHODS:
        read = read_pairs(pairs, second=second, **reading)
        emit(train_baseline(read, out, method, seed), json)
        return
    from shoestring.match import PairMatcher

    for name in ("json", "reading", "second"):
        del options[name]
    clock = Clock(options.pop("minutes"), began=began)
    for name in ("pairs", "unlabelled"):
        if options[name] is not None:
            options[name] = read_pairs(options[name], second=second, **reading)
    options["public"] = read_public(public) if public else None
    emit(PairMatcher.train(**options, clock=clock, progress=True).report, json)


@app.command(example="match score matcher pairs.tsv")
@reads("label")
def score(
    matcher: Matcher,
    pairs: PairFile,
    reading: dict[str, Any],
    second: Second = "b",
    json: Json = False,
) -> None:
    """Score pairs: prints both texts and the score; higher is more alike."""
    from shoestring.match.pairs import read_pairs
    from shoestring.match.scorer import checked_scores, load_scorer

    read = read_pairs(pairs, second=second, **reading)
    scores = checked_scores(load_scorer(matcher), read.both).tolist()
    rows = zip(read.a, read.b, scores, strict=True)
    if json:
        emit_json([{"a": a, "b": b, "score": score} for a, b, score in rows])
        return
    for a, b, one in rows:
        echo_row(a, b, f"{one:.4f}")


@app.command("eval", example="match eval matcher dev.tsv --train pairs.tsv")
@reads()
def evaluate(
    matcher: Matcher,
    pairs: PairFile,
    reading: dict[str, Any],
    second: Second = "b",
    train: Annotated[
        str | None, typer.Option(help="File of the training pairs, to look for them in these.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure a matcher on pairs with labels: AUC, accuracy, F1, calibration."""
    from shoestring.match.evaluate import figures, leakage
    from shoestring.match.pairs import read_pairs

    trained = None if train is None else read_pairs(train, second=second, **reading)
    read, scores, groups = _scored(matcher, pairs, second, reading)
    found = {} if trained is None else {"leakage": leakage(trained, read)}
    emit(figures(scores, read.labels, groups, seed) | found, json)


@app.command(example="match threshold matcher dev.tsv --precision 0.95")
@reads()
def threshold(
    matcher: Matcher,
    pairs: PairFile,
    reading: dict[str, Any],
    second: Second = "b",
    precision: Annotated[
        float, typer.Option(help="Share of right pairs among those at or above it.")
    ] = 0.95,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Find the lowest score that means a match, such that it holds on new pairs."""
    from shoestring.match.evaluate import threshold as choose

    read, scores, groups = _scored(matcher, pairs, second, reading)
    emit(choose(scores, read.labels, groups, precision, seed), json)


def _scored(matcher: str, pairs: str, second: str, reading: dict[str, Any]) -> tuple[Any, ...]:
    """Pairs with labels, their scores and their components."""
    from shoestring.match.evaluate import components
    from shoestring.match.pairs import read_pairs
    from shoestring.match.scorer import checked_scores, load_scorer

    read = read_pairs(pairs, second=second, needs_label=True, **reading)
    return read, checked_scores(load_scorer(matcher), read.both), components(read)
