"""``shoestring grow``, the one command of its room: parses, calls, prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.console import Json, Seed, emit
from shoestring.errors import ParameterError


def grow(
    folder: Annotated[str, typer.Argument(help="Folder of a model, or minilm.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width.")] = None,
    heads: Annotated[int | None, typer.Option(help="Number of attention heads.")] = None,
    key_heads: Annotated[int | None, typer.Option(help="Heads of keys and values.")] = None,
    head_size: Annotated[int | None, typer.Option(help="Channels of a head.")] = None,
    intermediate: Annotated[int | None, typer.Option(help="Neurons of a layer.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of layers.")] = None,
    vocab: Annotated[int | None, typer.Option(help="Number of tokens.")] = None,
    positions: Annotated[int | None, typer.Option(help="Maximum length.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16, bfloat16, float64; default: as it is.")
    ] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="Copy layers where none is exact (changes answers).")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done, write nothing.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Grow a checkpoint into a larger one with the same answers, and certify it."""
    from shoestring.grow.checkpoint import grow_checkpoint, plan_checkpoint

    source = None if folder == "minilm" else folder
    sizes: dict[str, Any] = {
        "hidden": hidden, "heads": heads, "key_heads": key_heads, "head_size": head_size,
        "intermediate": intermediate, "layers": layers, "vocab": vocab, "positions": positions,
    }  # fmt: skip
    if plan:
        emit(asdict(plan_checkpoint(source, dtype=dtype, stack=stack, **sizes)), json)
        return
    if out is None:
        raise ParameterError.of("out", "grow", "a folder to write, or --plan", out)
    found = grow_checkpoint(source, out, dtype=dtype, stack=stack, seed=seed, **sizes)
    emit(asdict(found), json)
