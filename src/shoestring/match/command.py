"""``shoestring match``: parses, calls, prints."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.console import (
    Json,
    Minutes,
    Out,
    Resume,
    Seed,
    Source,
    echo_row,
    emit,
    emit_json,
    reads,
    room_app,
)

app = room_app("Match pairs of short texts, plain or pseudonymised, and audit what that is worth.")

PairFile = Annotated[
    str, typer.Argument(help="text TAB text [TAB 0 or 1], or with columns; - for standard input.")
]
Matcher = Annotated[str, typer.Argument(help="Folder of a matcher, or another scorer: minilm.")]
Second = Annotated[str, typer.Option(help="Column of the second texts (the first: --text, a).")]
Public = Annotated[list[Path], typer.Option(help="Plain text of the language: files, folders.")]
Known = Annotated[Path | None, typer.Option(help="Table of numbers known: number TAB symbol.")]
OutFile = Annotated[Path, typer.Option(help="File to write.")]


@app.command(example="match train pairs.tsv --out matcher --init base --minutes 60")
@reads()
def train(
    pairs: PairFile,
    out: Out,
    reading: dict[str, Any],
    second: Second = "b",
    unlabelled: Annotated[str | None, typer.Option(help="More pairs, without labels.")] = None,
    init: Annotated[str | None, typer.Option(help="Folder of a base model, or minilm.")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Texts are numbers.")] = False,
    public: Annotated[list[Path] | None, typer.Option(help="Plain text, to align by.")] = None,
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
        str,
        typer.Option(help="full, ladder (classify only); of PAIRS alone: boosting, bm25, overlap."),
    ] = "full",
    minutes: Minutes = None,
    epochs: Annotated[float, typer.Option(help="Maximum number of epochs.")] = 10.0,
    learning_rate: Annotated[float | None, typer.Option(help="Default: by the width.")] = None,
    max_length: Annotated[int, typer.Option(help="Maximum number of tokens per pair.")] = 32,
    ngrams: Annotated[bool, typer.Option("--ngrams", help="Mask spans of symbols.")] = False,
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a matcher on pairs with labels 0 and 1."""
    options, began = locals(), time.monotonic()
    from shoestring.match.baselines import METHODS, train_baseline
    from shoestring.match.pairs import read_pairs, read_public

    columns = {"second": second, **reading}
    for name in ("reading", "second", "json"):
        del options[name]
    if method in METHODS:
        emit(train_baseline(read_pairs(pairs, **columns), out, method, seed), json)
        return
    from shoestring.jobs import Clock
    from shoestring.match import PairMatcher

    clock = Clock(options.pop("minutes"), began=began)
    for name in ("pairs", "unlabelled"):
        options[name] = options[name] and read_pairs(options[name], **columns)
    options["public"] = public and read_public(public)
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
    else:
        for a, b, one in rows:
            echo_row(a, b, f"{one:.4f}")


@app.command(example="match pseudonymise texts.jsonl --out ids.jsonl --key secret.json")
@reads("id", "label", "on_empty", "on_bad")
def pseudonymise(
    source: Source,
    out: OutFile,
    key: Annotated[Path, typer.Option(help="File of the key: made if missing, extended if not.")],
    reading: dict[str, Any],
    back: Annotated[bool, typer.Option("--back", help="Turn numbers into text again.")] = False,
    json: Json = False,
) -> None:
    """Replace every symbol of texts by a random number, in JSON lines with all other columns."""
    from shoestring.match.pseudonymise import pseudonymise_file

    emit(pseudonymise_file(source, out, key, back=back, **reading), json)


@app.command(example="match align ids.jsonl --public corpus.txt --out table.tsv")
@reads("id", "label", "on_empty", "on_bad")
def align(
    source: Source,
    public: Public,
    out: OutFile,
    reading: dict[str, Any],
    known: Known = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Find which symbol each number stands for: number, symbol, confidence."""
    from shoestring.match.audit import decipher_texts, table_of, write_table

    rows = table_of(*decipher_texts(*_read(source, public, known, reading), seed=seed))
    write_table(rows, out)
    sure = sum(confidence >= 0.9 for *_, confidence in rows)
    emit({"numbers": len(rows), "at_least_90_%_sure": sure, "out": str(out)}, json)


@app.command(example="match audit ids.jsonl --public corpus.txt")
@reads("id", "label", "on_empty", "on_bad")
def audit(
    source: Source,
    public: Public,
    reading: dict[str, Any],
    key: Annotated[Path | None, typer.Option(help="Key of the texts, to measure.")] = None,
    known: Known = None,
    remedies: Annotated[bool, typer.Option(help="Measure what would help (as long again).")] = True,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Tell how much of pseudonymised texts anybody can read."""
    from shoestring.match.audit import N_LINES, audit_texts
    from shoestring.match.pseudonymise import Key

    secret = Key.load(key) if key else None
    sides = _read(source, public, known, reading)
    found = audit_texts(*sides, key=secret, remedies=remedies, seed=seed)
    said = {**asdict(found), "summary": found.summary}
    if not json:
        top = {number: f"{symbol} {p:.0%}" for number, symbol, p in found.table[:N_LINES]}
        said |= {"table": top, "lines": dict(found.lines)}
    emit(said, json)


def _read(
    source: str, public: list[Path], known: Path | None, reading: dict[str, Any]
) -> tuple[list[str], list[str], dict[str, str] | None]:
    from shoestring.match.audit import read_table
    from shoestring.match.pairs import read_plain_texts, read_public

    table = read_table(known) if known else None
    return read_plain_texts(source, **reading), read_public(public), table


@app.command("eval", example="match eval matcher dev.tsv --train pairs.tsv")
@reads()
def evaluate(
    matcher: Matcher,
    pairs: PairFile,
    reading: dict[str, Any],
    second: Second = "b",
    train: Annotated[str | None, typer.Option(help="Training pairs, to look for here.")] = None,
    json: Json = False,
) -> None:
    """Measure a matcher on pairs with labels: AUC, accuracy, F1, calibration."""
    from shoestring.match.evaluate import figures, leakage
    from shoestring.match.pairs import read_pairs

    trained = None if train is None else read_pairs(train, second=second, **reading)
    read, scores, groups = _scored(matcher, pairs, second, reading)
    found = {} if trained is None else {"leakage": leakage(trained, read)}
    emit(figures(scores, read.labels, groups) | found, json)


@app.command(example="match threshold matcher dev.tsv --precision 0.95")
@reads()
def threshold(
    matcher: Matcher,
    pairs: PairFile,
    reading: dict[str, Any],
    second: Second = "b",
    precision: Annotated[float, typer.Option(help="Share of right pairs from it on.")] = 0.95,
    json: Json = False,
) -> None:
    """Find the lowest score that means a match, such that it holds on new pairs."""
    from shoestring.match.evaluate import threshold as choose

    read, scores, groups = _scored(matcher, pairs, second, reading)
    emit(choose(scores, read.labels, groups, precision), json)


def _scored(matcher: str, pairs: str, second: str, reading: dict[str, Any]) -> tuple[Any, ...]:
    """Pairs with labels, their scores and their components."""
    from shoestring.match.evaluate import components
    from shoestring.match.pairs import read_pairs
    from shoestring.match.scorer import checked_scores, load_scorer

    read = read_pairs(pairs, second=second, needs_label=True, **reading)
    return read, checked_scores(load_scorer(matcher), read.both), components(read)
