"""Does a tuned scorer beat token interaction? Documentation learnt, other documentation asked.

``python -m benchmarks.tune.default_scorer``: the first sentences of docstrings ask for the rest of
them (``shoestring.text.pydocs.known_items``). Learnt: those of installed packages (numpy, scipy,
scikit-learn, torch, transformers). Held out: the standard library's, of which the first 30 by
MiniLM's vectors are ranked by each scorer. Pairs are lists of a question, its answer and three
texts that the vectors put among the first 30 in its place. Ladders that start at token interaction:
``late`` changes the token vectors that are compared, ``apart`` reads both texts together.

Figures: MRR over the first 30 with a bootstrap interval of the difference from token interaction;
beside it the vectors themselves, and random order. Seeded; lists, and what the backbone makes of
texts, are kept outside git, an interrupted training goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.data import CACHE

PACKAGES = ("numpy", "scipy", "sklearn", "torch", "transformers")
DEPTH, N_WRONG, LENGTH = 30, 3, 96
FOLDER = CACHE / "tune" / "default-scorer"
DRAWS = 2_000


def first_places(questions: list[str], texts: list[str], own: np.ndarray) -> np.ndarray:
    """The first texts by MiniLM's vectors (questions, DEPTH), -1 in place of the own one."""
    from shoestring.text.encoders import SentenceEncoder

    encoder = SentenceEncoder()
    asked, kept = encoder.encode(questions), encoder.encode(texts)
    places = np.empty((len(questions), DEPTH), np.int64)
    for start in range(0, len(questions), 512):
        likeness = asked[start : start + 512] @ kept.T
        places[start : start + 512] = np.argsort(-likeness, axis=1, kind="stable")[:, :DEPTH]
    return np.where(places == own[:, None], -1, places)


def lists(seed: int, limit: int | None) -> Path:
    """Write the lists that are learnt, once."""
    from shoestring.text.pydocs import known_items, python_docs

    file = FOLDER / f"lists-{seed}-{limit}.jsonl"
    if file.exists():
        return file
    own = {record.id for record in python_docs()}
    items = list(known_items(r for r in python_docs(PACKAGES) if r.id not in own))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(items))[:limit]
    items = [items[i] for i in np.sort(order)]
    questions, texts = [i.question for i in items], [i.record.text for i in items]
    places = first_places(questions, texts, np.arange(len(items)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as out:
        for row, question in enumerate(questions):
            wrong = places[row][places[row] >= 0]
            rows = [(texts[row], 1)]
            rows += [(texts[i], 0) for i in rng.permutation(wrong)[:N_WRONG]]
            for text, label in rows:
                out.write(json.dumps({"a": question, "b": text, "label": label}) + "\n")
    return file


def reciprocal_ranks(scores: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of the own text (-1) among the first ones by scores (questions, DEPTH); 0 if absent."""
    own = places < 0
    there = own.any(axis=1)
    of_own = np.where(own, scores, -np.inf).max(axis=1)
    rank = 1 + (np.where(own, -np.inf, scores) >= of_own[:, None]).sum(axis=1)
    return np.where(there, 1.0 / rank, 0.0)


def interval(a: np.ndarray, b: np.ndarray, seed: int) -> list[float]:
    """95 % of the bootstrap means of a - b."""
    rng = np.random.default_rng(seed)
    apart = a - b
    means = [apart[rng.integers(len(apart), size=len(apart))].mean() for _ in range(DRAWS)]
    return [round(float(np.quantile(means, q)), 4) for q in (0.025, 0.975)]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train, rank the standard library, compare."""
    from shoestring.match import TokenInteraction
    from shoestring.text.pydocs import known_items, python_docs
    from shoestring.tune import LadderScorer
    from shoestring.tune.job import tune_from_options

    items = list(known_items(python_docs()))
    items = [
        items[i] for i in np.random.default_rng(0).permutation(len(items))[: options.questions]
    ]
    questions, texts = [i.question for i in items], [i.record.text for i in items]
    places = first_places(questions, texts, np.arange(len(items)))
    pairs = [
        (question, texts[row if place < 0 else place])
        for row, question in enumerate(questions)
        for place in places[row]
    ]

    def ranks(scores: np.ndarray) -> np.ndarray:
        return reciprocal_ranks(np.asarray(scores).reshape(places.shape), places)

    rng = np.random.default_rng(options.seed)
    base = ranks(TokenInteraction(max_length=LENGTH).predict(pairs))
    rows: dict[str, Any] = {
        "random order": [round(float(ranks(rng.random(len(pairs))).mean()), 4), None],
        "vectors": [round(float(ranks(np.tile(-np.arange(DEPTH), len(items))).mean()), 4), None],
        "token interaction": [round(float(base.mean()), 4), None],
    }
    output.show(rows)
    file = lists(options.seed, options.limit)
    for pairs_mode in options.ways:
        folder = FOLDER / f"{pairs_mode}-{options.seed}-{options.limit}-{options.epochs:g}"
        if not (folder / "config.json").exists():
            report = tune_from_options(
                str(file), folder, None, text="a", second="b", label="label", on_empty="error",
                task="score", pairs=pairs_mode, backbone="minilm", method="ladder", minutes=None,
                epochs=options.epochs, batch_size=16, learning_rate=options.rate, reduction=8,
                layers="1,3,5", init="random", max_length=LENGTH, cache="20GB",
                cache_kind="int8", cache_folder=None, resume=True, seed=options.seed,
            )  # fmt: skip
            print(json.dumps(report))
        found = ranks(LadderScorer(folder).predict(pairs))
        rows[f"ladder, {pairs_mode}"] = [
            round(float(found.mean()), 4), interval(found, base, options.seed),
        ]  # fmt: skip
        output.show(rows)
    result = {
        "MRR@30 on the standard library, interval of the difference": rows,
        "questions": len(items), "epochs": options.epochs, **output.versions("shoestring"),
    }  # fmt: skip
    output.write(result, options)
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="500 lists, one epoch")
    parser.add_argument("--ways", nargs="+", default=["late", "apart"])
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--limit", type=int, help="lists at most")
    parser.add_argument("--questions", type=int, default=2_000, help="that are asked at most")
    options = parser.parse_args()
    if options.quick:
        options.epochs, options.limit, options.questions = 1.0, 500, 200
    measure(options)


if __name__ == "__main__":
    main()
