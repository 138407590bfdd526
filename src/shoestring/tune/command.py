"""``shoestring tune``: parses, calls, prints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.checks import checked_ints
from shoestring.console import (
    Json,
    Minutes,
    Resume,
    Seed,
    echo,
    emit,
    emit_json,
    reads,
    room_app,
)
from shoestring.console import Source as File
from shoestring.errors import ParameterError
from shoestring.lazy import require_torch

app = room_app("Fine-tune through a side ladder, with a frozen backbone.")

Out = Annotated[Path, typer.Option(help="Folder of the tuned model.")]
Eval = Annotated[
    str | None, typer.Option("--eval", help="File to evaluate on (default: a tenth of the source).")
]
Backbone = Annotated[str, typer.Option(help="minilm, or a local model folder.")]
Method = Annotated[str, typer.Option(help="ladder, head, lora or full.")]
Epochs = Annotated[float, typer.Option(help="Maximum number of epochs.")]
Batch = Annotated[int, typer.Option(help="Examples per step, or queries per step for lists.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate (default: by method).")]
Pairs = Annotated[
    str,
    typer.Option(
        help="How pairs are read: apart (the backbone reads each text alone, once), joint (both as "
        "one), late (scores only: compares token vectors). The default depends on the method."
    ),
]
Reduction = Annotated[int, typer.Option(help="Backbone width divided by ladder width.")]
Layers = Annotated[
    str | None,
    typer.Option(help="Layers that feed the ladder, from 0: 1,3,5 (default: every third)."),
]
Length = Annotated[int, typer.Option(help="Maximum number of tokens per text.")]


@app.command(example="tune classify questions.csv --out model --label topic --minutes 10")
@reads()
def classify(
    source: File,
    out: Out,
    reading: dict[str, Any],
    second: Annotated[
        str | None, typer.Option(help="Column of the second text, to classify pairs.")
    ] = None,
    pairs: Pairs = "",
    held_out: Eval = None,
    backbone: Backbone = "minilm",
    method: Method = "ladder",
    minutes: Minutes = None,
    epochs: Epochs = 10.0,
    batch_size: Batch = 32,
    learning_rate: Rate = None,
    reduction: Reduction = 4,
    layers: Layers = None,
    max_length: Length = 128,
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Tune a classifier of texts, or of pairs of texts."""
    options = locals()
    if pairs and second is None:
        hint = "Name its column (--second)."
        want = "left out where there is no second text"
        raise ParameterError.of("pairs", "tune classify", want, pairs, hint)
    _tune(**{**options, "pairs": "none" if second is None else pairs, "task": "classify"})


@app.command(example="tune score pairs.jsonl --out scorer --a query --b text --minutes 10")
@reads("text")
def score(
    source: File,
    out: Out,
    reading: dict[str, Any],
    a: Annotated[str, typer.Option("--a", help="Column of the queries.")] = "a",
    b: Annotated[str, typer.Option("--b", help="Column of the texts.")] = "b",
    task: Annotated[
        str, typer.Option(help="score: labels from 0 to 1; regress: any numbers.")
    ] = "score",
    pairs: Pairs = "",
    held_out: Eval = None,
    backbone: Backbone = "minilm",
    method: Method = "ladder",
    minutes: Minutes = None,
    epochs: Epochs = 10.0,
    batch_size: Batch = 32,
    learning_rate: Rate = None,
    reduction: Reduction = 4,
    layers: Layers = None,
    max_length: Length = 128,
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Tune a pair scorer, for search and match.

    Where most queries have right and wrong texts, the pairs of a query are trained on as a list;
    otherwise each pair by itself.
    """
    options = locals()
    reading["text"] = options.pop("a")
    _tune(second=options.pop("b"), **options)


def _tune(
    source: str, out: Path, held_out: str | None, layers: str | None, json: bool,
    reading: dict[str, Any], **options: Any,
) -> None:  # fmt: skip
    """Split the options between the job and its files, and run it."""
    began = time.monotonic()  # importing torch is part of the minutes
    require_torch("shoestring tune", extra="tune")
    from shoestring.jobs import Clock
    from shoestring.tune.job import Job, tune

    clock = Clock(options.pop("minutes"), began=began)
    of_files = {name: options.pop(name) for name in ("second", "resume")} | reading
    numbers = None if layers is None else checked_ints("layers", layers, "tune")
    job = Job.of(**options, layers=numbers)
    emit(tune(job, source, out, held_out, **of_files, clock=clock), json)


@app.command(example="tune mlm texts/ --out base --minutes 60")
def mlm(
    texts: Annotated[
        list[Path],
        typer.Argument(help="Files and folders: txt, WikiExtractor's, json, csv, parquet, .gz."),
    ],
    out: Out,
    layers: Annotated[int, typer.Option(help="Number of layers.")] = 4,
    hidden: Annotated[int, typer.Option(help="Width.")] = 256,
    vocabulary: Annotated[int, typer.Option(help="Maximum number of word pieces.")] = 8_000,
    lower_case: Annotated[bool, typer.Option("--lower-case", help="Lower-case the text.")] = False,
    text: Annotated[str, typer.Option(help="Column of the text, in files of records.")] = "text",
    max_length: Annotated[int, typer.Option(help="Tokens per block.")] = 128,
    minutes: Minutes = None,
    epochs: Epochs = 10.0,
    batch_size: Annotated[int, typer.Option(help="Blocks per step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a BERT by masked-language modelling on running text, to use as --backbone."""
    options = locals()
    began = time.monotonic()
    require_torch("shoestring tune", extra="tune")
    from shoestring.jobs import Clock
    from shoestring.tune.mlm import pretrain

    del options["json"]
    clock = Clock(options.pop("minutes"), began=began)
    emit(pretrain(**options, clock=clock), json)


@app.command(example="tune predict model new.csv --json")
@reads("text")
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of the tuned model.")],
    source: File,
    reading: dict[str, Any],
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "--a", help="Column of the text (default: text), or of queries."),
    ] = None,
    second: Annotated[
        str | None, typer.Option("--second", "--b", help="Column of the second texts.")
    ] = None,
    json: Json = False,
) -> None:
    """Predict texts or pairs: prints id, label or score, and probability."""
    require_torch("shoestring tune", extra="tune")
    from shoestring.tune.predict import predictions

    if text:
        reading["text"] = text
    rows = predictions(model, source, second=second, **reading)
    if json:
        emit_json(list(rows))
        return
    for row in rows:
        echo(*(f"{v:.4f}" if isinstance(v, float) else v for v in row.values()))
