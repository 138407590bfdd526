"""``shoestring classify``: parses, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.console import (
    Encoder,
    Jobs,
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

app = room_app("Classify texts in closed form: learn more, merge and forget at any time.")

Model = Annotated[Path, typer.Argument(help="Folder of the classifier.")]
RejectAt = Annotated[
    float | None,
    typer.Option(help="Reject texts of no known class, and at most this share of the others."),
]


@app.command(example="classify fit questions.csv --out model --label topic")
@reads()
def fit(
    source: Source,
    out: Out,
    reading: dict[str, Any],
    encoder: Encoder = "auto",
    random: Annotated[
        int, typer.Option(help="Maximum number of random features: as many as help.")
    ] = 2_000,
    minutes: Minutes = None,
    jobs: Jobs = None,
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fit a classifier to labelled texts."""
    from shoestring.classify import AnalyticSoftmax, TextClassifier
    from shoestring.classify.job import fit_to_folder
    from shoestring.jobs import Clock

    head = AnalyticSoftmax(expansion="auto", n_random=random, n_jobs=jobs, random_state=seed)
    classifier = TextClassifier(encoder, head=head)
    emit(fit_to_folder(classifier, source, out, Clock(minutes), resume=resume, **reading), json)


@app.command(example="classify add model more.csv --label topic")
@reads()
def add(model: Model, source: Source, reading: dict[str, Any], json: Json = False) -> None:
    """Learn from more texts; new classes are allowed."""
    from shoestring.classify.job import change

    emit(change(model, source, "partial_fit", **reading), json)


@app.command(example="classify refine model questions.csv --label topic")
@reads()
def refine(model: Model, source: Source, reading: dict[str, Any], json: Json = False) -> None:
    """Take Newton steps on the texts that were learned, where that predicts better."""
    from shoestring.classify.job import change

    emit(change(model, source, "refine", **reading), json)


@app.command(example="classify forget model unwanted.csv --label topic")
@reads()
def forget(model: Model, source: Source, reading: dict[str, Any], json: Json = False) -> None:
    """Forget texts, as if they had never been seen."""
    from shoestring.classify.job import change

    emit(change(model, source, "forget", **reading), json)


@app.command(example="classify merge model-a model-b --out model")
def merge(
    models: Annotated[list[Path], typer.Argument(help="Folders of two or more classifiers.")],
    out: Out,
    json: Json = False,
) -> None:
    """Merge classifiers that were fitted to different texts."""
    from shoestring.classify.job import merge_folders

    emit(merge_folders(models, out), json)


@app.command(example="classify predict model new.csv --reject-at 0.05")
@reads()
def predict(
    model: Model,
    source: Source,
    reading: dict[str, Any],
    reject_at: RejectAt = None,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Add a column with the text.")
    ] = False,
    json: Json = False,
) -> None:
    """Classify texts: prints a header and rows of id, label and probability, with tabs between."""
    from shoestring.classify.job import predictions

    rows = predictions(model, source, reject_at=reject_at, with_text=with_text, **reading)
    if json:
        emit_json(list(rows))
        return
    for n, row in enumerate(rows):  # as they come
        if n == 0:
            echo_row(*row)
        label = "-" if row["label"] is None else row["label"]
        echo_row(*(row | {"label": label, "probability": f"{row['probability']:.3f}"}).values())


@app.command("eval", example="classify eval model test.csv --label topic")
@reads()
def evaluate(
    model: Model,
    source: Source,
    reading: dict[str, Any],
    reject_at: RejectAt = None,
    json: Json = False,
) -> None:
    """Compare predictions with labels."""
    from shoestring.classify.job import evaluate_on

    emit(evaluate_on(model, source, reject_at=reject_at, **reading), json)
