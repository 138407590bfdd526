"""``shoestring words``: parses, calls, prints."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoestring.errors import ParameterError

if TYPE_CHECKING:
    from shoestring.words.vectors import BinaryVectors

app = typer.Typer(
    help="Sparse binary word vectors, static and in context, trained on a CPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Vectors = Annotated[Path, typer.Argument(help="The folder of the vectors.", show_default=False)]
Word = Annotated[str, typer.Argument(show_default=False)]
Many = Annotated[int, typer.Option("-k", help="How many words.")]
Active = Annotated[int | None, typer.Option(help="Active bits, other than trained with.")]
ContextWeight = Annotated[
    float | None, typer.Option(help="Of each word around; by the rule 0.25 (counts) or 1.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def _open(
    vectors: Path, active: int | None = None, context_weight: float | None = None
) -> BinaryVectors:
    from shoestring.words.opening import with_choices
    from shoestring.words.vectors import BinaryVectors

    return with_choices(BinaryVectors.load(vectors), active, context_weight)


def _say_number(vectors: BinaryVectors, *words: str) -> None:
    """All words with a digit are one word: who asks for one of them is told."""
    from shoestring.text.segmentation import NUMBER

    for word in words:
        if word not in vectors.key_to_index and vectors.sentences(word) == [[NUMBER]]:
            typer.echo(f"note: {word!r} is read as {NUMBER}, as every word with a digit", err=True)


def _print(value: dict[str, Any], as_json: bool) -> None:
    """One JSON document, or a line for each entry."""
    if as_json:
        typer.echo(json_module.dumps(value, ensure_ascii=False, indent=2))
        return
    for name, content in value.items():
        typer.echo(f"{name.replace('_', ' '):16}{content}")


def _print_words(found: list[tuple[str, float]], as_json: bool) -> None:
    if as_json:
        rows = [{"word": word, "similarity": similarity} for word, similarity in found]
        typer.echo(json_module.dumps(rows, ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", "similarity", "word", box=None, header_style="bold")
    for rank, (word, similarity) in enumerate(found, start=1):
        table.add_row(str(rank), f"{similarity:.3f}", word)
    Console().print(table)


@app.command()
def train(
    texts: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: txt, WikiExtractor's, jsonl, csv, tsv, parquet, zip, .gz, -.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the vectors.")],
    vocab: Annotated[
        int | None, typer.Option(help="The most frequent words; by default 20,000.")
    ] = None,
    neurons: Annotated[int, typer.Option(help="Bits of a code.")] = 400,
    active: Annotated[int, typer.Option(help="Active bits of a code.")] = 50,
    window: Annotated[int, typer.Option(help="Tokens of a window.")] = 11,
    rule: Annotated[str, typer.Option(help="counts or published.")] = "counts",
    epochs: Annotated[int, typer.Option(help="Passes over the text, published rule.")] = 15,
    learning_rate: Annotated[
        float, typer.Option(help="Of its first epoch; 0.02 for less text.")
    ] = 0.002,
    minutes: Annotated[float | None, typer.Option(help="To read and train in at most.")] = None,
    min_count: Annotated[int, typer.Option(help="Leave out rarer words.")] = 5,
    max_share: Annotated[
        float, typer.Option(help="Leave out words in more than this share of the documents.")
    ] = 1.0,
    skip_top: Annotated[int, typer.Option(help="Leave out the most frequent words.")] = 0,
    phrases: Annotated[int, typer.Option(help="Rounds of joining pairs: new_york, 电影.")] = 0,
    phrase_threshold: Annotated[
        float, typer.Option(help="A lower one joins more pairs; 3 for Chinese characters.")
    ] = 10.0,
    segmented: Annotated[bool, typer.Option(help="Tokens stand between blanks.")] = False,
    lexicon: Annotated[
        Path | None, typer.Option(help="Words to keep whole, one on each line.")
    ] = None,
    context_weight: ContextWeight = None,
    resume: Annotated[bool, typer.Option(help="Go on where it was interrupted.")] = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Train vectors on text."""
    from shoestring.words.job import train_to_folder

    made = train_to_folder(
        texts,
        out,
        resume=resume,
        vocab_size=vocab,
        n_neurons=neurons,
        n_active=active,
        window=window,
        rule=rule,
        n_epochs=epochs,
        learning_rate=learning_rate,
        minutes=minutes,
        min_count=min_count,
        max_share=max_share,
        skip_top=skip_top,
        phrases=phrases,
        phrase_threshold=phrase_threshold,
        segmented=segmented,
        lexicon=lexicon,
        context_weight=context_weight,
        random_state=seed,
    )
    _print(made, json)


@app.command()
def binarise(
    file: Annotated[Path, typer.Argument(help="word2vec text or binary, GloVe, npz.")],
    out: Annotated[Path, typer.Option(help="The folder of the vectors.")],
    neurons: Annotated[int, typer.Option(help="Bits of a code.")] = 400,
    active: Annotated[int, typer.Option(help="Active bits of a code.")] = 50,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Make binary vectors of dense ones."""
    from shoestring.words.job import binarise_to_folder

    made = binarise_to_folder(file, out, n_neurons=neurons, n_active=active, random_state=seed)
    _print(made, json)


@app.command()
def neighbours(
    vectors: Vectors, word: Word, k: Many = 10, active: Active = None, json: Json = False
) -> None:
    """The words most like a word."""
    opened = _open(vectors, active)
    _say_number(opened, word)
    _print_words(opened.most_similar(word, topn=k), json)


@app.command()
def similar(
    vectors: Vectors,
    word: Word,
    other: Annotated[str, typer.Argument(show_default=False)],
    active: Active = None,
    json: Json = False,
) -> None:
    """How alike two words are: the share of bits in which they agree."""
    opened = _open(vectors, active)
    _say_number(opened, word, other)
    similarity = opened.similarity(word, other)
    if json:
        _print({"words": [word, other], "similarity": similarity}, True)
    else:
        typer.echo(f"{similarity:.3f}")


@app.command()
def context(
    vectors: Vectors,
    sentence: Annotated[str, typer.Argument(help="The word in its sentence.", show_default=False)],
    word: Word,
    k: Many = 10,
    active: Active = None,
    context_weight: ContextWeight = None,
    json: Json = False,
) -> None:
    """The words most like a word in its sentence."""
    found = _open(vectors, active, context_weight).most_similar_in_context(sentence, word, topn=k)
    _print_words(found, json)


@app.command("eval")
def evaluate(
    vectors: Annotated[
        Path, typer.Argument(help="A folder of vectors, or a word2vec, GloVe or npz file.")
    ],
    more: Annotated[list[Path] | None, typer.Argument(help="Further files of pairs.")] = None,
    similarity: Annotated[
        list[Path] | None, typer.Option(help="Files of pairs of words with scores.")
    ] = None,
    in_context: Annotated[
        list[Path] | None, typer.Option(help="Pairs in sentences, SCWS's or WiC's.")
    ] = None,
    tune_on: Annotated[
        Path | None, typer.Option(help="Pairs to choose WiC's threshold on, else ten folds.")
    ] = None,
    active: Annotated[str, typer.Option(help="Active bits, separated by commas.")] = "",
    context_weight: ContextWeight = None,
    json: Json = False,
) -> None:
    """Compare similarities with what people judged."""
    from shoestring.words.evaluate import as_dicts
    from shoestring.words.opening import evaluate_at

    try:
        lengths = [int(part) for part in active.split(",") if part]
    except ValueError:
        want = "whole numbers separated by commas"
        raise ParameterError.of("active", "words eval", want, active) from None
    rows = evaluate_at(
        vectors,
        lengths,
        context_weight,
        similarity=[*(similarity or ()), *(more or ())],
        in_context=in_context or (),
        tune_on=tune_on,
    )
    if json:
        typer.echo(json_module.dumps(as_dicts(rows), ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("file", "active", "words", "measure", "value", "95 %", "known"):
        table.add_column(column, overflow="fold")
    for row in rows:
        value, interval = "-", ""
        if row.value is not None:
            value, interval = f"{row.value:.3f}", f"{row.low:.3f}-{row.high:.3f}"
        active = "-" if row.n_active is None else str(row.n_active)
        known = f"{row.n_covered}/{row.n_pairs}"
        table.add_row(row.file, active, row.way, row.measure, value, interval, known)
    Console().print(table)


@app.command()
def export(
    vectors: Vectors,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: Annotated[str, typer.Option(help="word2vec, word2vec-binary or npz.")] = "word2vec",
    activations: Annotated[
        bool, typer.Option(help="The neurons' activations, not the codes.")
    ] = False,
    active: Active = None,
    json: Json = False,
) -> None:
    """Write vectors for other tools."""
    opened = _open(vectors, active)
    opened.export(out, format, activations=activations)  # type: ignore[arg-type]
    _print({"file": str(out), "words": len(opened), "neurons": opened.n_neurons}, json)
