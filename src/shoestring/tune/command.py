"""``shoestring tune``: parses, calls, prints."""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.errors import ParameterError

app = typer.Typer(
    help="Fine-tuning through a side ladder; the backbone is never back-propagated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

File = Annotated[
    str, typer.Argument(help="jsonl, csv, tsv, parquet, .gz of these.", show_default=False)
]
Out = Annotated[Path, typer.Option(help="The folder of what is tuned.", show_default=False)]
Label = Annotated[str, typer.Option(help="The column of the label.")]
Eval = Annotated[
    str | None,
    typer.Option("--eval", help="A file to measure on; by default a tenth of the first."),
]
Backbone = Annotated[str, typer.Option(help="minilm, or a local model folder.")]
Method = Annotated[str, typer.Option(help="ladder, head, lora or full.")]
Minutes = Annotated[float | None, typer.Option(help="For all of it at most.")]
Epochs = Annotated[float, typer.Option(help="At most.")]
Batch = Annotated[int, typer.Option(help="Examples in a step; queries, where pairs are lists.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate; by default the method's.")]
Pairs = Annotated[
    str,
    typer.Option(
        help="apart: each text of a pair is read alone, once; joint: both as one; late (scores): "
        "token vectors are changed and compared. By default what suits the method."
    ),
]
Reduction = Annotated[int, typer.Option(help="Width of the backbone over that of the ladder.")]
Layers = Annotated[
    str | None,
    typer.Option(help="Layers with a rung, such as 1,3,5 from 0; every third by default."),
]
Init = Annotated[
    str, typer.Option(help="random, or fisher: blocks cut out of the backbone's layers.")
]
Length = Annotated[int, typer.Option(help="Tokens that are read of a text.")]
Cache = Annotated[
    str, typer.Option(help="Disk for what the backbone makes of the texts: 8GB, 500MB, 0.")
]
CacheKind = Annotated[str, typer.Option(help="bfloat16, or int8: half the disk.")]
CacheFolder = Annotated[Path | None, typer.Option(help="Where; by default the user's cache.")]
OnEmpty = Annotated[str, typer.Option(help="Texts that are empty: error or skip.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where it was interrupted.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def _print(report: dict[str, Any], as_json: bool) -> None:
    """One JSON document, or a line for each figure."""
    if as_json:
        typer.echo(json_module.dumps(report, ensure_ascii=False, indent=2))
        return
    for name, value in report.items():
        if isinstance(value, dict):
            for part, number in value.items():
                shown = "cannot be told" if number is None else f"{number:.4g}"
                typer.echo(f"{name.replace('_', ' ')}: {part:20}{shown}")
        elif value is not None:
            shown = f"{value:,.4g}" if isinstance(value, float) else value
            shown = f"{value:,}" if isinstance(value, int) else shown
            typer.echo(f"{name.replace('_', ' '):30}{shown}")


@app.command()
def classify(
    source: File,
    out: Out,
    text: Annotated[str, typer.Option(help="The column of the text.")] = "text",
    second: Annotated[
        str | None, typer.Option(help="The column of a second text, for classes of pairs.")
    ] = None,
    pairs: Pairs = "",
    label: Label = "label",
    held_out: Eval = None,
    backbone: Backbone = "minilm",
    method: Method = "ladder",
    minutes: Minutes = None,
    epochs: Epochs = 10.0,
    batch_size: Batch = 32,
    learning_rate: Rate = None,
    reduction: Reduction = 4,
    layers: Layers = None,
    init: Init = "random",
    max_length: Length = 128,
    cache: Cache = "8GB",
    cache_kind: CacheKind = "bfloat16",
    cache_folder: CacheFolder = None,
    on_empty: OnEmpty = "error",
    resume: Resume = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Tune a classifier of texts, or of pairs of texts."""
    if pairs and second is None:
        raise ParameterError.of(
            "pairs", "tune classify", "left out where there is no second text", pairs,
            "Name its column (--second).",
        )  # fmt: skip
    _tuned(
        source, out, json, held_out, text=text, second=second, label=label, on_empty=on_empty,
        task="classify", pairs="none" if second is None else pairs, backbone=backbone,
        method=method, minutes=minutes, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, reduction=reduction, layers=layers, init=init,
        max_length=max_length, cache=cache, cache_kind=cache_kind, cache_folder=cache_folder,
        resume=resume, seed=seed,
    )  # fmt: skip


@app.command()
def score(
    source: File,
    out: Out,
    a: Annotated[str, typer.Option("--a", help="The column of the queries.")] = "a",
    b: Annotated[str, typer.Option("--b", help="The column of the texts.")] = "b",
    label: Label = "label",
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
    init: Init = "random",
    max_length: Length = 128,
    cache: Cache = "8GB",
    cache_kind: CacheKind = "bfloat16",
    cache_folder: CacheFolder = None,
    on_empty: OnEmpty = "error",
    resume: Resume = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Tune a pair scorer, for search and match.

    Pairs of one query are learnt as a list, the right ones first, where most queries have right and
    wrong texts; else each pair by itself.
    """
    _tuned(
        source, out, json, held_out, text=a, second=b, label=label, on_empty=on_empty,
        task=task, pairs=pairs, backbone=backbone, method=method, minutes=minutes, epochs=epochs,
        batch_size=batch_size, learning_rate=learning_rate, reduction=reduction, layers=layers,
        init=init, max_length=max_length, cache=cache, cache_kind=cache_kind,
        cache_folder=cache_folder, resume=resume, seed=seed,
    )  # fmt: skip


def _tuned(source: str, out: Path, as_json: bool, held_out: str | None, **options: Any) -> None:
    began = time.monotonic()  # importing torch is part of the minutes
    from shoestring.models.backbone import require_torch

    require_torch("shoestring tune", extra="tune")
    from shoestring.tune.job import tune_from_options

    _print(tune_from_options(source, out, held_out, began=began, **options), as_json)


@app.command()
def mlm(
    texts: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: txt, WikiExtractor's, jsonl, csv, tsv, parquet, zip, .gz.",
            show_default=False,
        ),
    ],
    out: Out,
    layers: Annotated[int | None, typer.Option(help="Of a fresh model; by default 4.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Its width; by default 256.")] = None,
    heads: Annotated[
        int | None, typer.Option(help="By default one for each 64 of the width.")
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(help="Pieces at the most; by default 8,000.")
    ] = None,
    lower_case: Annotated[bool, typer.Option("--lower-case", help="Make letters small.")] = False,
    tokenizer: Annotated[
        str | None, typer.Option(help="A BERT's folder, to take its tokenizer.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="minilm, or a BERT's folder, to go on with.")
    ] = None,
    text: Annotated[str, typer.Option(help="The column of the text, for records.")] = "text",
    wrapped: Annotated[
        bool, typer.Option("--wrapped", help="In txt, a paragraph ends at an empty line.")
    ] = False,
    max_length: Annotated[int, typer.Option(help="Tokens of a block.")] = 128,
    minutes: Minutes = None,
    epochs: Epochs = 10.0,
    batch_size: Annotated[int, typer.Option(help="Blocks in a step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option(help="By default 1e-3, or 1e-4 for a backbone.")
    ] = None,
    resume: Resume = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Train a BERT on running text, as a backbone for the others: masked-language modelling."""
    began = time.monotonic()
    from shoestring.models.backbone import require_torch

    require_torch("shoestring tune", extra="tune")
    from shoestring.jobs import Clock
    from shoestring.tune.mlm import pretrain

    report = pretrain(
        texts, out, text=text, wrapped=wrapped, layers=layers, hidden=hidden, heads=heads,
        vocabulary=vocabulary, lower_case=lower_case, tokenizer=tokenizer, backbone=backbone,
        max_length=max_length, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        clock=Clock(minutes, began=began), resume=resume, seed=seed,
    )  # fmt: skip
    _print(report, json)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="The folder that was tuned.", show_default=False)],
    source: File,
    text: Annotated[
        str, typer.Option("--text", "--a", help="The column of the text, or of the queries.")
    ] = "text",
    second: Annotated[
        str | None, typer.Option("--second", "--b", help="The column of the second texts.")
    ] = None,
    on_empty: OnEmpty = "error",
    json: Json = False,
) -> None:
    """Answer for texts or pairs: id, label or score, probability."""
    from shoestring.models.backbone import require_torch

    require_torch("shoestring tune", extra="tune")
    from shoestring.tune.job import predictions

    rows = predictions(model, source, text=text, second=second, on_empty=on_empty)
    if json:
        typer.echo(json_module.dumps(list(rows), ensure_ascii=False, indent=2))
        return
    for row in rows:
        typer.echo("\t".join(_shown(value) for value in row.values()))


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else " ".join(str(value).split())
