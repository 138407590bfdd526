"""The scorer that search has by default: trained here, and what else was tried on the same data.

``python -m benchmarks.tune.default_scorer``: first sentences of docstrings ask for the rest of them
(``shoestring.text.pydocs.known_items``). Learnt: the documentation of packages whose licences allow
it (BSD, MIT, Apache and their like); asked: the standard library's, and SciFact and Cranfield,
which nothing here is tuned on. Each scorer ranks the first 30 texts by MiniLM's vectors.

A list is a question, its own text and some of the 29 others that the vectors have among their first
30. Questions whose own text is not among them are left out: with them a scorer learns that what is
right is unlike the question, because only the wrong ones were chosen by likeness (the row "lists of
all questions").

What is shipped is a late ladder's head without a side network: what a query's tokens weigh, 384
numbers and four more (``python -m benchmarks.train_scorer --default``). Beside it ladders, LoRA and
full fine-tuning, and the same numbers in another order.

Figures: MRR over the 30, nDCG@10, and 95 % of the bootstrap of the difference from token
interaction. Seeded; lists, trained folders and scores are kept outside git, an interrupted run goes
on where it was. Joint readings, a forward for each pair, are asked 500 of the questions.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from scipy.stats import bootstrap

from benchmarks import output
from benchmarks.data import CACHE

PACKAGES = (
    "PIL", "accelerate", "babel", "click", "datasets", "faiss", "fontTools", "fsspec",
    "huggingface_hub", "jinja2", "joblib", "matplotlib", "mpmath", "mypy", "narwhals", "networkx",
    "numba", "numpy", "packaging", "pandas", "peft", "polars", "pyarrow", "pydantic", "pygments",
    "ray", "rich", "scipy", "sentence_transformers", "sklearn", "sympy", "torch", "transformers",
    "urllib3",
)  # fmt: skip
DEPTH, LENGTH, FEW, FEW_ASKED, DRAWS = 30, 96, 2_000, 500, 2_000
MEASURES = (ir_measures.RR @ DEPTH, ir_measures.nDCG @ 10)
FOLDER = CACHE / "tune" / "default-scorer"
BASE = "token interaction"
CONTROLS = ("random order", "vectors", BASE)


@dataclass(frozen=True)
class Way:
    """How a scorer is trained.

    Parameters
    ----------
    method, pairs : str
        As ``shoestring tune score`` has them.
    limit : int or None
        Lists at most.
    epochs, rate, decay : float
    n_wrong : int
        Texts beside the right one in a list.
    all_questions : bool
        Lists of those whose own text is not among the first, too.
    """

    method: str
    pairs: str
    limit: int | None = FEW
    epochs: float = 2.0
    rate: float = 2e-3
    decay: float = 0.01
    n_wrong: int = 3
    all_questions: bool = False


SHIPPED = "head, late"
SHUFFLED = f"{SHIPPED}, its numbers shuffled"
WAYS = {
    SHIPPED: Way("head", "late", None, epochs=4, rate=3e-3, decay=5.0, n_wrong=7),
    "ladder, late": Way("ladder", "late", None),
    f"head, late, {FEW:,} lists": Way("head", "late", epochs=10, rate=3e-3, decay=5.0),
    "the same, lists of all questions": Way(
        "head", "late", epochs=10, rate=3e-3, decay=5.0, all_questions=True
    ),
    f"ladder, late, {FEW:,} lists": Way("ladder", "late"),
    f"ladder, apart, {FEW:,} lists": Way("ladder", "apart", rate=1e-3),
    f"LoRA, late, {FEW:,} lists": Way("lora", "late", rate=5e-4),
    f"full, late, {FEW:,} lists": Way("full", "late", rate=3e-5),
    f"full, joint, {FEW:,} lists": Way("full", "joint", rate=5e-5),
}


@dataclass(frozen=True)
class Asked:
    """Questions, texts, the first ones by vectors (questions, DEPTH), and which are right."""

    questions: list[str]
    texts: list[str]
    places: np.ndarray
    right: dict[int, set[int]]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each question with each of its first texts, one question after the other."""
        rows = enumerate(self.places)
        return [(self.questions[i], self.texts[place]) for i, row in rows for place in row]

    def figures(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reciprocal ranks and nDCG@10 by scores (questions, DEPTH)."""
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(self.places[: len(scores)], order, 1)
        run = {
            str(i): {str(place): -rank for rank, place in enumerate(row)}
            for i, row in enumerate(ranked)
        }
        qrels = {key: {str(place): 1 for place in self.right[int(key)]} for key in run}
        found = {measure: np.zeros(len(scores)) for measure in MEASURES}
        for value in ir_measures.iter_calc(MEASURES, qrels, run):
            found[value.measure][int(value.query_id)] = value.value
        ranks, ndcg = found.values()
        return ranks, ndcg


def first_places(questions: list[str], texts: list[str]) -> np.ndarray:
    """The first texts by MiniLM's vectors (questions, DEPTH)."""
    from shoestring.text.encoders import SentenceEncoder

    encoder = SentenceEncoder()
    asked, kept = encoder.encode(questions), encoder.encode(texts)
    places = np.empty((len(questions), DEPTH), np.int64)
    for start in range(0, len(questions), 512):
        likeness = asked[start : start + 512] @ kept.T
        places[start : start + 512] = np.argsort(-likeness, axis=1, kind="stable")[:, :DEPTH]
    return places


def known_answers(packages: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Questions and their texts, of packages or (none) of the standard library."""
    from shoestring.text.pydocs import known_items, python_docs

    own = {record.id for record in python_docs()} if packages else set()
    items = list(known_items(r for r in python_docs(packages) if r.id not in own))
    return [item.question for item in items], [item.record.text for item in items]


@cache
def candidates() -> tuple[list[str], list[str], np.ndarray]:
    """Questions and texts that are learnt, and their first places; made once."""
    file = FOLDER / "candidates.npz"
    questions, texts = known_answers(PACKAGES)
    if file.exists():
        with np.load(file) as kept:
            if len(kept["places"]) == len(questions):
                return questions, texts, kept["places"]
    places = first_places(questions, texts)
    np.savez(file, places=places)
    return questions, texts, places


def lists(way: Way, seed: int) -> Path:
    """Write the lists that a way learns from, once."""
    kind = "all" if way.all_questions else "found"
    file = FOLDER / f"lists-{kind}-{way.limit}-{way.n_wrong}-{seed}.jsonl"
    if file.exists():
        return file
    questions, texts, places = candidates()
    rng = np.random.default_rng(seed)
    aside = file.with_suffix(".writing")
    n_left = way.limit or len(questions)
    with aside.open("w", encoding="utf-8") as out:
        for row in rng.permutation(len(questions)):
            wrong = places[row][places[row] != row]
            if n_left and (way.all_questions or len(wrong) < DEPTH):
                n_left -= 1
                rows = [(row, 1), *((i, 0) for i in rng.permutation(wrong)[: way.n_wrong])]
                for i, label in rows:
                    line = {"a": questions[row], "b": texts[i], "label": label}
                    out.write(json.dumps(line) + "\n")
    aside.rename(file)
    return file


def trained(name: str, seed: int) -> Path:
    """The folder of a way, trained if it is not there."""
    from shoestring.tune.config import LadderConfig
    from shoestring.tune.frozen import multiplies_bfloat16
    from shoestring.tune.job import Job, tune
    from shoestring.tune.rows import Source
    from shoestring.tune.training import TrainSettings

    way = WAYS[name]
    folder = FOLDER / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    if (folder / "config.json").exists():
        return folder
    backpropagated = way.method in ("lora", "full")
    config = LadderConfig(
        task="score", pairs=way.pairs, max_length=2 * LENGTH if way.pairs == "joint" else LENGTH,
        reduction=8, layers=(1, 3, 5) if way.method == "ladder" else (5,), seed=seed,
    )  # fmt: skip
    settings = TrainSettings(
        epochs=way.epochs, batch_size=16 if backpropagated else 32, learning_rate=way.rate,
        weight_decay=way.decay, seed=seed, bfloat16=backpropagated and multiplies_bfloat16(),
    )  # fmt: skip
    job = Job(
        way.method, "minilm", config, settings, cache_bytes=20 * 2**30, cache_kind="int8",
        resume=True,
    )  # fmt: skip
    report = tune(job, Source(str(lists(way, seed)), "a", "label", "b"), folder)
    print(name, json.dumps(report), flush=True)
    return folder


def ship(seed: int) -> Path:
    """Train what search has by default, and put it into the package."""
    from shoestring.match.weighting import OF_MINILM

    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = trained(SHIPPED, seed)
    shutil.rmtree(OF_MINILM, ignore_errors=True)
    shutil.copytree(folder, OF_MINILM)
    return OF_MINILM


def collections() -> dict[str, Asked]:
    """The standard library; SciFact's validation claims and Cranfield, whole."""
    from benchmarks.search import corpora

    questions, texts = known_answers(())
    own = {i: {i} for i in range(len(questions))}
    found = {"standard library": (questions, texts, own)}
    rng = np.random.default_rng(0)
    for name, n_texts in (("scifact", 10**5), ("cranfield", 1_400)):
        given = getattr(corpora, name)(n_texts, rng, n_test=10**5)
        judged = [i for i in range(len(given.queries)) if given.relevant[i]]
        right = {n: given.relevant[i] for n, i in enumerate(judged)}
        found[name] = [given.queries[i] for i in judged], given.texts, right
    return {
        name: Asked(questions, texts, first_places(questions, texts), right)
        for name, (questions, texts, right) in found.items()
    }


def shuffled(seed: int) -> Any:
    """The shipped scorer with its numbers in another order: the control."""
    from dataclasses import replace

    from shoestring.match import TokenInteraction

    scorer = TokenInteraction(max_length=LENGTH, weighting=trained(SHIPPED, seed))
    order = np.random.default_rng(seed).permutation(len(scorer.weighting.importance))
    importance = scorer.weighting.importance[order]
    scorer.weighting = replace(scorer.weighting, importance=importance)
    return scorer


def scores_of(name: str, seed: int, asked: dict[str, Asked]) -> dict[str, np.ndarray]:
    """Scores (questions, DEPTH) of each collection by a way, kept when they are made."""
    from shoestring.match import TokenInteraction, load_scorer

    rng = np.random.default_rng(seed)
    if name == "random order":
        return {key: rng.random(one.places.shape) for key, one in asked.items()}
    if name == "vectors":
        return {key: np.tile(-np.arange(DEPTH), (len(one.places), 1)) for key, one in asked.items()}
    file = FOLDER / f"scores-{name.replace(', ', '-').replace(' ', '-')}-{seed}.npz"
    if file.exists():
        with np.load(file) as kept:
            return dict(kept)
    if name == BASE:
        scorer: Any = TokenInteraction(max_length=LENGTH)
    elif name == SHUFFLED:
        scorer = shuffled(seed)
    else:
        scorer = load_scorer(trained(name, seed))
    found = {}
    for key, one in asked.items():
        n = FEW_ASKED if "joint" in name else len(one.questions)
        pairs = one.pairs[: n * DEPTH]
        found[key] = np.asarray(scorer.predict(pairs), np.float64).reshape(-1, DEPTH)
    np.savez(file, **found)
    return found


def interval(a: np.ndarray, b: np.ndarray, seed: int) -> list[float]:
    """95 % of the bootstrap means of a - b."""
    found = bootstrap((a - b,), np.mean, n_resamples=DRAWS, method="percentile", rng=seed)
    return [round(float(end), 4) for end in found.confidence_interval]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train, rank, compare."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    asked = collections()
    table: dict[str, Any] = {}
    base: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in (*CONTROLS, *options.ways, SHUFFLED):
        row = {}
        for key, scores in scores_of(name, options.seed, asked).items():
            ranks, ndcg = asked[key].figures(scores)
            if name == BASE:
                base[key] = ranks, ndcg
            row[key] = {"MRR@30": round(float(ranks.mean()), 4), "nDCG@10": _mean(ndcg)}
            if key in base and name != BASE:
                n, of_ranks = len(ranks), key == "standard library"
                mine, theirs = (ranks, base[key][0]) if of_ranks else (ndcg, base[key][1])
                row[key]["difference"] = interval(mine, theirs[:n], options.seed)
                row[key]["questions"] = n
        table[name] = row
        output.show({name: row})
    result = {
        "shipped": SHIPPED, "table": table,
        "ways": {name: vars(WAYS[name]) for name in options.ways},
        "lists": sum(1 for _ in lists(WAYS[SHIPPED], options.seed).open()) // 8,
        "packages": PACKAGES, "bars": bars(table), **output.versions("shoestring", "peft"),
    }  # fmt: skip
    output.write(result, options)
    return result


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 4)


def bars(table: dict[str, Any]) -> dict[str, bool]:
    """Whether what is shipped may be: better on documentation, no worse elsewhere."""
    row = table[SHIPPED]
    return {
        "better than token interaction on the standard library": (
            row["standard library"]["difference"][0] > 0
        ),
        **{
            f"no worse on {key}": row[key]["difference"][1] >= 0
            for key in row
            if key != "standard library"
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="what is shipped, alone")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    if options.quick:
        options.ways = [SHIPPED]
    measure(options)


if __name__ == "__main__":
    main()
