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
    method: Annotated[str, typer.Option(help="full; with classify also ladder.")] = "full",
    minutes: Minutes = None,
    epochs: Annotated[float, typer.Option(help="Maximum number of epochs.")] = 10.0,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate (default by the model's width).")
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
    from shoestring.match import PairMatcher
    from shoestring.match.pairs import read_pairs, read_public

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
    matcher: Annotated[str, typer.Argument(help="Folder of a matcher, or another pair scorer.")],
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
