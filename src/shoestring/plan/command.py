"""``shoestring plan``: parses, calls, prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from typing import Annotated, Any

import typer

from shoestring.checks import checked_ints
from shoestring.console import Json, echo, emit, emit_json, emit_rows, reads, room_app

Model = Annotated[str, typer.Argument(help="Folder of a model, a config.json, or minilm.")]
app = room_app("What a job with a model costs: FLOPs, memory, time, before it runs.")


@app.command(example="plan model minilm --length 128 --batch 32 --train")
@reads("id", "label")
def model(
    model: Model,
    reading: dict[str, Any],
    length: Annotated[
        int | None, typer.Option(help="Tokens of a text (default: 128; with --texts, at most).")
    ] = None,
    batch: Annotated[int, typer.Option(help="Texts of a batch.")] = 32,
    train: Annotated[bool, typer.Option("--train", help="A training step, with AdamW.")] = False,
    texts: Annotated[
        str | None, typer.Option(help="File of texts: their lengths, padding, and an epoch.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Say how much of it fits.")] = None,
    decode: Annotated[bool, typer.Option("--decode", help="One more token after these.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute layers again, do not keep them.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    json: Json = False,
) -> None:
    """Say what a batch costs; "model" can be left out: shoestring plan minilm."""
    from shoestring.plan import estimate, price_texts
    from shoestring.plan.job import fits, token_lengths

    job: dict[str, Any] = {
        "batch": batch, "train": train, "decode": decode, "checkpointing": checkpointing,
        "dtype": dtype,
    }  # fmt: skip
    more: dict[str, Any] = {}
    if texts is not None:
        lengths = token_lengths(model, texts, **reading)
        more["texts"] = price_texts(model, lengths, length=length, **job)
        length = more["texts"]["longest"]
    found = estimate(model, length=128 if length is None else length, **job)
    if minutes is not None:
        more["minutes"] = fits(minutes, found, batch, more.get("texts"))
    if json:
        emit_json(asdict(found) | more)
        return
    emit_rows(_rows(found), False)
    echo()
    gib = {name: value / 2**30 for name, value in found.bytes.items() if value}
    seconds: dict[str, Any] = {name: value for name, value in found.seconds.items() if value}
    seconds["error"] = f"{found.seconds['error']:.0%} at most in nine of ten checks"
    emit({"seconds": seconds, "GiB": gib, **more, "counted": found.counted}, False)
    echo()
    echo(found.advice)


def _rows(found: Any) -> Iterator[dict[str, Any]]:
    """The table: GFLOPs and millions of parameters by component."""
    of_parts, sizes = found.flops["components"], found.parameters
    parts = [name for name in of_parts | sizes if name not in ("total", "trained")]
    for part in (*parts, "total"):
        flops = found.flops if part == "total" else of_parts.get(part, {})
        yield {
            "component": part,
            "forward_GFLOPs": flops.get("forward", 0) / 1e9 or None,
            "backward_GFLOPs": flops.get("backward", 0) / 1e9 or None,
            "million_parameters": sizes.get(part, 0) / 1e6 or None,
        }


@app.command(example="plan attention minilm --length 512,2048,8192")
def attention(
    model: Model,
    length: Annotated[str, typer.Option(help="Tokens, several with commas.")] = "512,2048,8192",
    json: Json = False,
) -> None:
    """Tell whether linear attention would pay, from which length, in time and in memory."""
    from shoestring.plan import compare_attention

    found = compare_attention(model, lengths=checked_ints("length", length, "plan attention"))
    if json:
        emit_json(found)
        return
    kernels = product(found["lengths"], ("softmax", "linear"))
    emit_rows([{"tokens": row["length"], "kernel": one} | row[one] for row, one in kernels], False)
    echo()
    for what, least in found["crossovers"].items():
        words = f"from {least:,} tokens on" if least else "at no length"
        echo(f"Linear attention needs fewer {what} {words}.")
    echo()
    echo(found["advice"])


@app.command(example="plan machine --again")
def machine(
    again: Annotated[bool, typer.Option("--again", help="Measure anew.")] = False,
    json: Json = False,
) -> None:
    """Measure this machine once, 60 s at most; what it finds is remembered."""
    from shoestring.plan import measure_machine

    emit(measure_machine(again=again).summary, json)
