"""``shoestring words``: parses, calls, prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoestring.checks import checked_ints
from shoestring.console import Json, Minutes, Out, Resume, Seed, echo, emit, emit_rows, room_app
from shoestring.errors import StorageError

if TYPE_CHECKING:
    from shoestring.words.vectors import BinaryVectors

app = room_app("Train and use binary word vectors, alone and in context, on a CPU.")

Vectors = Annotated[Path, typer.Argument(help="Folder of the vectors.")]
Many = Annotated[int, typer.Option("-k", help="Number of words.")]
Neurons = Annotated[int, typer.Option(help="Number of bits in a code.")]
ActiveBits = Annotated[int, typer.Option(help="Number of active bits in a code.")]
ContextWeight = Annotated[
    float | None,
    typer.Option(help="Weight of each surrounding word (default: 0.25; published: 1)."),
]

STANDARD_INPUT = Path("/dev/stdin")


@app.command(example="words train wiki/ --out vectors --minutes 30")
def train(
    texts: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: txt, WikiExtractor's, json, csv, parquet, .gz; or -."
        ),
    ],
    out: Out,
    vocab: Annotated[int, typer.Option(help="Maximum size of the vocabulary.")] = 20_000,
    neurons: Neurons = 400,
    active: ActiveBits = 50,
    window: Annotated[int, typer.Option(help="Tokens in a window, an odd number.")] = 11,
    rule: Annotated[str, typer.Option(help="Training rule: counts or published.")] = "counts",
    epochs: Annotated[int, typer.Option(help="Passes over the text (published rule).")] = 15,
    learning_rate: Annotated[
        float, typer.Option(help="Learning rate at first (published rule); 0.1 for small corpora.")
    ] = 0.002,
    minutes: Minutes = None,
    min_count: Annotated[int, typer.Option(help="Leave out words that occur less often.")] = 5,
    skip_top: Annotated[int, typer.Option(help="Leave out the N most frequent words.")] = 0,
    segmented: Annotated[bool, typer.Option(help="Spaces separate the tokens.")] = False,
    lexicon: Annotated[
        Path | None, typer.Option(help="File of words to keep whole, one per line.")
    ] = None,
    context_weight: ContextWeight = None,
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train binary word vectors on text."""
    from shoestring.jobs import RunFolder
    from shoestring.words.table import KIND
    from shoestring.words.train import run_settings
    from shoestring.words.vectors import BinaryVectors

    KIND.check(out)  # before hours of training
    vectors = BinaryVectors(
        neurons,
        active,
        window,
        rule=rule,
        vocab_size=vocab,
        min_count=min_count,
        skip_top=skip_top,
        segmented=segmented,
        lexicon=lexicon,
        n_epochs=epochs,
        learning_rate=learning_rate,
        context_weight=context_weight,
        random_state=seed,
    )
    sources = [STANDARD_INPUT if str(text) == "-" else text for text in texts]
    if STANDARD_INPUT in sources and sys.stdin is None:
        raise StorageError("Standard input is closed. Name a file instead.")
    settings = run_settings(vectors.get_params())
    with RunFolder.open(out, settings, resume=resume, what="training") as run:
        vectors.fit(sources, minutes=minutes, checkpoint=run, progress=True)
        vectors.save(out)
    emit(_summary(vectors, out), json)


@app.command(example="words binarise glove.txt --out vectors")
def binarise(
    file: Annotated[Path, typer.Argument(help="File in word2vec or GloVe format.")],
    out: Out,
    neurons: Neurons = 400,
    active: ActiveBits = 50,
    limit: Annotated[int | None, typer.Option(help="Read the first N words only.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Make binary vectors from dense ones."""
    from shoestring.words.table import KIND
    from shoestring.words.vectors import BinaryVectors

    KIND.check(out)
    vectors = BinaryVectors.from_word2vec_format(
        file, limit=limit, n_neurons=neurons, n_active=active, random_state=seed
    )
    vectors.save(out)
    emit(_summary(vectors, out), json)


@app.command(example="words neighbours vectors river -k 5")
def neighbours(vectors: Vectors, word: str, k: Many = 10, json: Json = False) -> None:
    """Find the words most similar to a word."""
    _emit_words(_open(vectors).most_similar(word, topn=k), json)


@app.command(example="words similar vectors river lake")
def similar(vectors: Vectors, word: str, other: str, json: Json = False) -> None:
    """Compare two words: prints the share of bits that agree."""
    similarity = _open(vectors).similarity(word, other)
    if json:
        emit({"words": [word, other], "similarity": similarity}, True)
    else:
        echo(f"{similarity:.3f}")


@app.command(example="words context vectors 'a bank of the river' bank")
def context(
    vectors: Vectors,
    sentence: Annotated[str, typer.Argument(help="Sentence with the word.")],
    word: str,
    k: Many = 10,
    context_weight: ContextWeight = None,
    json: Json = False,
) -> None:
    """Find the words most similar to a word in its sentence."""
    opened = _open(vectors)
    if context_weight is not None:
        opened.set_params(context_weight=context_weight)
    _emit_words(opened.most_similar_in_context(sentence, word, topn=k), json)


@app.command("eval", example="words eval vectors wordsim.tsv --active 14,50")
def evaluate(
    vectors: Annotated[
        Path, typer.Argument(help="Folder of vectors, or a word2vec or GloVe file.")
    ],
    pairs: Annotated[
        list[Path] | None, typer.Argument(help="Files with two words and a score on each line.")
    ] = None,
    active: Annotated[
        str, typer.Option(help="Numbers of active bits, such as 14,50 (folders).")
    ] = "",
    json: Json = False,
) -> None:
    """Compare similarities with human judgements."""
    from dataclasses import asdict

    from shoestring.words.evaluate import evaluate_at

    lengths = checked_ints("active", active, "words eval") if active else ()
    emit_rows(map(asdict, evaluate_at(vectors, pairs or [], lengths)), json)


@app.command(example="words export vectors --out vectors.txt")
def export(
    vectors: Vectors,
    out: Annotated[Path, typer.Option(help="File to write.")],
    format: Annotated[str, typer.Option(help="word2vec or word2vec-binary.")] = "word2vec",
    activations: Annotated[
        bool, typer.Option(help="Write the neurons' activations instead of the codes.")
    ] = False,
    json: Json = False,
) -> None:
    """Write vectors for other tools."""
    opened = _open(vectors)
    opened.export(out, format, activations=activations)  # type: ignore[arg-type]
    emit({"file": str(out), "words": len(opened), "neurons": opened.n_neurons}, json)


def _open(vectors: Path) -> BinaryVectors:
    from shoestring.words.vectors import BinaryVectors

    return BinaryVectors.load(vectors)


def _summary(vectors: BinaryVectors, folder: Path) -> dict[str, object]:
    codes = vectors.codes_
    return {
        "words": len(vectors),
        "neurons": vectors.n_neurons,
        "active": vectors.n_active,
        "bytes_a_word": codes.shape[1],
        "codes_mb": round(codes.nbytes / 1e6, 3),
        "folder": str(folder),
    }


def _emit_words(found: list[tuple[str, float]], as_json: bool) -> None:
    rows = [{"word": word, "similarity": similarity} for word, similarity in found]
    emit_rows(rows, as_json, numbered=True)
