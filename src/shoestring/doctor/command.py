"""``shoestring doctor``: parses, calls, prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from shoestring.console import Json, Seed, echo, emit, emit_json, emit_rows, room_app

app = room_app("Say before training whether a Transformer will learn, and what to change.")
Model = Annotated[
    str, typer.Argument(help="Folder of a model or of a config, a config.json, or minilm.")
]
LR = typer.Option("--lr", help="Learning rate that is planned.")


@app.command(example="doctor model base --batch texts.txt --warmup 0 --lr 1e-4")
def model(
    model: Model,
    batch: Annotated[str | None, typer.Option(help="File of texts to measure on.")] = None,
    warmup_steps: Annotated[
        int | None, typer.Option("--warmup", help="Steps of warm-up that are planned.")
    ] = None,
    learning_rate: Annotated[float, LR] = 1e-4,
    optimizer: Annotated[str, typer.Option(help="adam, adamw, lion, adafactor or sgd.")] = "adamw",
    plot: Annotated[Path | None, typer.Option(help="Picture to write, by depth.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Predict and measure each sublayer, name what is wrong. The word model may be left out."""
    from shoestring.doctor import examine
    from shoestring.text import read_records

    texts = None if batch is None else [record.text for record in read_records(batch)]
    found = examine(
        model, texts, warmup_steps=warmup_steps, learning_rate=learning_rate,
        optimizer=optimizer, seed=seed,
    )  # fmt: skip
    if plot is not None:
        found.plot(plot)
    faults, rows = [asdict(fault) for fault in found.faults], found.rows()
    if json:
        rest = {"is_trained": found.is_trained, "verdict": found.verdict}
        emit_json({**rest, "sublayers": rows, "faults": faults})
        return
    echo(f"Each number: {', '.join(found.signals)}.")
    for row in rows:  # what is predicted and measured, side by side
        signals = [row.pop(name) for name in found.signals]
        for name in ("deviation", "gain", "gradient", "correlation", "scores"):
            numbers = [signal[name] for signal in signals]
            row[name] = "  ".join("      -" if n is None else f"{n:7.3g}" for n in numbers)
    emit_rows(rows, False)
    echo(found.verdict)
    if faults:
        emit_rows(faults, False)


@app.command(example="doctor prescribe base --out mended")
def prescribe(
    config: Model,
    out: Annotated[Path | None, typer.Option(help="Folder to write: the mended config.")] = None,
    learning_rate: Annotated[float, LR] = 1e-4,
    json: Json = False,
) -> None:
    """Choose the deviation of the weights and the warm-up, and write the mended config."""
    from shoestring.doctor import prescribe

    emit(asdict(prescribe(config, out, learning_rate=learning_rate)), json)


@app.command(example="doctor curve run/trainer_state.json")
def curve(
    log: Annotated[str, typer.Argument(help="JSON lines with loss, or trainer_state.json.")],
    json: Json = False,
) -> None:
    """Say what the losses of a run tell: settled early, diverged, a spike."""
    from shoestring.doctor import read_curve

    faults = [asdict(fault) for fault in read_curve(log)]
    if json:
        emit_json({"faults": faults})
    elif faults:
        emit_rows(faults, False)
    else:
        echo("sound: the loss falls to its end without a jump")
