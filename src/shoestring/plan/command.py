"""``shoestring plan``: parses, calls, prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from shoestring.checks import checked_ints
from shoestring.console import Json, echo, emit, emit_json, emit_rows, reads, room_app

Model = Annotated[str, typer.Argument(help="Folder of a model, a config.json, or minilm.")]


class _OrModel(TyperGroup):
    """What is no command of the room is a model: ``plan minilm`` is ``plan model minilm``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["model", *args]
        return super().parse_args(ctx, args)


app = room_app("What a job with a model costs: FLOPs, memory, time, before it runs.")
app.info.cls = _OrModel


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
    method: Annotated[str, typer.Option(help="What is trained: full, lora or head.")] = "full",
    texts: Annotated[
        str | None, typer.Option(help="File of texts: their lengths, padding, and an epoch.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Say how much of it fits.")] = None,
    decode: Annotated[bool, typer.Option("--decode", help="One more token after these.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute layers again, do not keep them.")
    ] = False,
    attention: Annotated[str, typer.Option(help="sdpa or eager.")] = "sdpa",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    json: Json = False,
) -> None:
    """Say what a batch costs; "model" can be left out: shoestring plan minilm."""
    from shoestring.plan.job import estimate, fits, price_texts, token_lengths

    _measure_first()
    job: dict[str, Any] = {
        "batch": batch, "train": method if train or method != "full" else None, "decode": decode,
        "checkpointing": checkpointing, "attention": attention, "dtype": dtype,
    }  # fmt: skip
    priced = None
    if texts is not None:
        lengths = token_lengths(model, texts, **reading)
        priced = price_texts(model, lengths, length=length, **job)
        length = priced["longest"]
    found = estimate(model, length=length or 128, **job)
    said: dict[str, Any] = asdict(found)
    if priced is not None:
        said["texts"] = priced
    if minutes is not None:
        said["minutes"] = fits(minutes, found, batch, priced)
    if json:
        emit_json(said)
        return
    emit_rows(_rows(said), False)
    echo()
    times = {**said["seconds"]}
    error = times.pop("error", 0.0)
    seconds = {name: f"{value:,.3g}" for name, value in times.items() if value}
    if seconds:
        seconds["batch"] += f", within {error:.0%} in nine of ten checks"
    gib = {name: f"{value / 2**30:,.3f}" for name, value in said["bytes"].items() if value}
    more: dict[str, Any] = {name: said[name] for name in ("texts", "minutes") if name in said}
    emit({"seconds": seconds, "GiB": gib, **more, "counted": said["counted"]}, False)
    echo()
    echo(said["advice"])


def _rows(said: dict[str, Any]) -> list[dict[str, str]]:
    """The table: GFLOPs and millions of parameters by component."""
    flops, parameters = said["flops"], said["parameters"]
    names = [*flops["components"], *(n for n in parameters if n not in flops["components"])]
    rows = []
    for name in (*(n for n in names if n not in ("total", "trained")), "total"):
        counts = flops if name == "total" else flops["components"].get(name, {})
        both = [counts.get(phase, 0) for phase in ("forward", "backward")]
        size = parameters.get(name, 0)
        cells = [f"{count / 1e9:,.3f}" if count else "-" for count in both]
        millions = f"{size / 1e6:,.3f}" if size else "-"
        columns = "forward_GFLOPs", "backward_GFLOPs", "million_parameters"
        rows.append({"component": name, **dict(zip(columns, (*cells, millions), strict=True))})
    return rows


@app.command(example="plan attention minilm --length 512,2048,8192")
def attention(
    model: Model,
    length: Annotated[str, typer.Option(help="Tokens, several with commas.")] = "512,2048,8192",
    wider: Annotated[int, typer.Option(help="How much wider heads of linear attention are.")] = 4,
    measure: Annotated[
        bool, typer.Option(help="Run the kernels here, not only predict (some seconds).")
    ] = True,
    json: Json = False,
) -> None:
    """Tell whether linear attention would pay, from which length, in time and in memory."""
    from shoestring.plan.attention import compare_attention

    _measure_first()
    lengths = checked_ints("length", length, "plan attention")
    found = compare_attention(model, lengths=lengths, wider=wider, measure=measure)
    if json:
        emit_json(found)
        return
    rows = []
    for row in found["lengths"]:
        for kernel in ("softmax", "eager", "linear"):
            cost = row[kernel]
            rows.append({
                "tokens": row["length"], "kernel": kernel, "GFLOPs": f"{cost['flops'] / 1e9:.3f}",
                "MiB": f"{cost['bytes'] / 2**20:,.0f}", "predicted_s": f"{cost['seconds']:.3g}",
                "measured_s": f"{cost['measured']:.3g}" if measure else "-",
                "share_of_the_layer": f"{row['share']:.1%}" if kernel == "softmax" else "",
            })  # fmt: skip
    emit_rows(rows, False)
    echo()
    names = {"flops": "FLOPs", "seconds": "seconds (predicted)", "bytes": "bytes"}
    emit_rows(
        [
            {
                "linear needs fewer": names[what],
                "than softmax": _from(by["softmax"]),
                "than eager softmax": _from(by["eager"]),
            }
            for what, by in found["crossovers"].items()
        ],
        False,
    )
    echo()
    echo(found["advice"])


def _from(length: int | None) -> str:
    return f"from {length:,} tokens on" if length else "never"


@app.command(example="plan machine --again")
def machine(
    again: Annotated[bool, typer.Option("--again", help="Measure anew.")] = False,
    json: Json = False,
) -> None:
    """Measure this machine once, 60 s at most; what it finds is remembered."""
    from shoestring.plan.machine import measure_machine

    if not again:
        _measure_first()
    found = measure_machine(again=again)
    emit(found.summary if not json else asdict(found), json)


def _measure_first() -> None:
    """Say so where the machine has not been measured yet."""
    from shoestring.jobs import say_cost
    from shoestring.lazy import require_torch

    require_torch("what a model costs")
    from shoestring.plan.machine import LIMIT_S, is_remembered

    if not is_remembered():
        say_cost("Measuring this machine, once", LIMIT_S)
