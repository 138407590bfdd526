"""``shoestring classify``: parses, calls, prints."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="A text classifier in closed form: it streams, merges and forgets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Model = Annotated[Path, typer.Argument(help="The folder of the classifier.", show_default=False)]
Source = Annotated[
    str,
    typer.Argument(
        help="jsonl, csv, tsv, parquet, .gz of these; - reads standard input.", show_default=False
    ),
]
Text = Annotated[str, typer.Option(help="The column of the text.")]
Label = Annotated[str, typer.Option(help="The column of the label.")]
OnEmpty = Annotated[str, typer.Option(help="Texts that are empty: error or skip.")]
RejectAt = Annotated[
    float | None,
    typer.Option(help="Share of texts of the known classes that may be answered with none."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def _print(value: dict[str, Any], as_json: bool) -> None:
    """One JSON document, or a line for each entry."""
    if as_json:
        typer.echo(json_module.dumps(value, ensure_ascii=False, indent=2))
        return
    for name, content in value.items():
        shown = f"{content:.4g}" if isinstance(content, float) else content
        typer.echo(f"{name.replace('_', ' '):24}{shown}")


@app.command()
def fit(
    source: Source,
    out: Annotated[Path, typer.Option(help="The folder of the classifier.")],
    text: Text = "text",
    label: Label = "label",
    on_empty: OnEmpty = "error",
    vectors: Annotated[
        str, typer.Option(help="minilm, tfidf, words:DIR, a model folder; auto: what fits.")
    ] = "auto",
    expansion: Annotated[
        str, typer.Option(help="Random features: none, relu, fourier; auto: as many as help.")
    ] = "auto",
    random: Annotated[int, typer.Option(help="Random features at most.")] = 2_000,
    minutes: Annotated[float | None, typer.Option(help="For all of it at most.")] = None,
    keep_texts: Annotated[
        bool, typer.Option(help="Keep the texts, to explain predictions by them.")
    ] = False,
    class_scatters: Annotated[
        bool, typer.Option(help="Keep what forgetting a whole class exactly takes.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(help="Workers; by default all cores.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on where it was interrupted.")] = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Fit a classifier to labelled texts."""
    from shoestring.classify.job import fit_to_folder

    made = fit_to_folder(
        source,
        out,
        text=text,
        label=label,
        on_empty=on_empty,
        vectors=vectors,
        minutes=minutes,
        keep_texts=keep_texts,
        resume=resume,
        expansion=None if expansion == "none" or random == 0 else expansion,
        n_random=random,
        class_scatters=class_scatters,
        n_jobs=jobs,
        random_state=seed,
    )
    _print(made, json)


@app.command()
def add(
    model: Model,
    source: Source,
    text: Text = "text",
    label: Label = "label",
    on_empty: OnEmpty = "error",
    json: Json = False,
) -> None:
    """Learn from more texts; classes may be new."""
    from shoestring.classify.job import change

    _print(change(model, source, "add", text=text, label=label, on_empty=on_empty), json)


@app.command()
def forget(
    model: Model,
    source: Annotated[
        str | None, typer.Argument(help="The texts to take back, with their labels.")
    ] = None,
    class_: Annotated[
        str | None, typer.Option("--class", help="A whole class to take back instead.")
    ] = None,
    text: Text = "text",
    label: Label = "label",
    on_empty: OnEmpty = "error",
    json: Json = False,
) -> None:
    """Take texts back, as if they had never been learnt."""
    from shoestring.classify.job import change, forget_class

    if class_ is not None:
        _print(forget_class(model, class_, source), json)
    else:
        _print(change(model, source, "forget", text=text, label=label, on_empty=on_empty), json)


@app.command()
def merge(
    models: Annotated[list[Path], typer.Argument(help="Two classifiers or more.")],
    out: Annotated[Path, typer.Option(help="The folder of the merged classifier.")],
    json: Json = False,
) -> None:
    """Make one classifier of several that learnt from different texts."""
    from shoestring.classify.job import merge_folders

    _print(merge_folders(models, out), json)


@app.command()
def predict(
    model: Model,
    source: Source,
    text: Text = "text",
    on_empty: OnEmpty = "error",
    reject_at: RejectAt = None,
    json: Json = False,
) -> None:
    """Classify texts: id, label and probability of each."""
    from shoestring.classify.job import predictions

    rows = predictions(model, source, text=text, on_empty=on_empty, reject_at=reject_at)
    if json:
        typer.echo(json_module.dumps(list(rows), ensure_ascii=False, indent=2))
        return
    for row in rows:
        label = "-" if row["label"] is None else " ".join(str(row["label"]).split())
        typer.echo(f"{row['id']}\t{label}\t{row['probability']:.3f}")


@app.command()
def explain(
    model: Model,
    text: Annotated[str, typer.Argument(show_default=False)],
    n: Annotated[int, typer.Option("-n", help="Classes and examples.")] = 3,
    json: Json = False,
) -> None:
    """Say why a text gets its label."""
    from dataclasses import asdict

    from shoestring.classify.texts import TextClassifier

    said = TextClassifier.load(model).explain(text, n)
    if json:
        typer.echo(json_module.dumps(asdict(said), ensure_ascii=False, indent=2))
        return
    for label, probability in said.probabilities:
        typer.echo(f"{probability:.3f}  {label}")
    if said.nearest_mean != said.label:
        typer.echo(f"the nearest mean is that of {said.nearest_mean}, which is rarer")
    for near in said.examples:
        typer.echo(f"like ({near.likeness:.2f}) {near.label}: {near.text}")


@app.command("eval")
def evaluate(
    model: Model,
    source: Source,
    text: Text = "text",
    label: Label = "label",
    on_empty: OnEmpty = "error",
    reject_at: RejectAt = None,
    json: Json = False,
) -> None:
    """Compare predictions with labels."""
    from shoestring.classify.job import evaluate_on

    columns = {"text": text, "label": label, "on_empty": on_empty}
    _print(evaluate_on(model, source, reject_at=reject_at, **columns), json)
