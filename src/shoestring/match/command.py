"""``shoestring match``: parses, calls, prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.console import Json, Seed, Source, emit, reads, room_app

app = room_app("Match pairs of short texts, plain or pseudonymised, and audit what that is worth.")

PublicText = Annotated[
    list[Path], typer.Option(help="Plain text of the same language: files and folders.")
]
Known = Annotated[Path | None, typer.Option(help="Table of numbers known: number TAB symbol.")]
OutFile = Annotated[Path, typer.Option(help="File to write.")]


@app.command(example="match pseudonymise texts.jsonl --out ids.jsonl --key secret.json")
@reads("id", "label", "on_empty", "on_bad")
def pseudonymise(
    source: Source,
    out: OutFile,
    key: Annotated[Path, typer.Option(help="File of the key: made if missing, extended if not.")],
    reading: dict[str, Any],
    back: Annotated[bool, typer.Option("--back", help="Turn numbers into text again.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="For tests: by default numbers cannot be foreseen.")
    ] = None,
    json: Json = False,
) -> None:
    """Replace every symbol of texts by a random number; other columns are kept."""
    from shoestring.match.pseudonymise import pseudonymise_file

    emit(pseudonymise_file(source, out, key, back=back, seed=seed, **reading), json)


@app.command(example="match align ids.jsonl --public corpus.txt --out table.tsv")
@reads("id", "label")
def align(
    source: Source,
    public: PublicText,
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
@reads("id", "label")
def audit(
    source: Source,
    public: PublicText,
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
    return read_plain_texts(source, **reading), read_public([*public]), table
