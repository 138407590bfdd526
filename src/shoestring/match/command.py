"""``shoestring match``: parses, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.console import Json, Source, emit, reads, room_app

app = room_app("Match pairs of short texts, plain or pseudonymised, and audit what that is worth.")

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
