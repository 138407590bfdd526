"""What an alignment buys: learning curves of a pretrained model on pseudonymised pairs.

``python -m benchmarks.match.curves``: OPPO's pairs by characters with a base model that was trained
on public pairs, 400 steps of 64 pairs, and Quora's by words with MiniLM, 280 steps of 32. Only the
label at [CLS] is learnt, as in plain fine-tuning: at so few steps the joint objective learns to
guess masked words first (docs/log.md). The AUC is that of 1,000 pairs of other texts, at five
points.

"true" is the same text in the clear; the others see numbers, by a random key a seed, and give each
the row of the base model that the decipherment says ("both"), the rank, a rank at random
("shuffled"), the mean of all ("resize", as transformers does), or nothing ("random"). 10,000 pairs
have labels; the decipherment reads all texts of the training file. What is closed is the share of
the room from rank to true, at the end and of the area.

A curve is kept outside git when it is done: an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.data import CACHE
from benchmarks.match import corpora
from benchmarks.match.base import public_matcher

METHODS = ("true", "both", "rank", "shuffled", "resize", "random")
SEEDS, N_POINTS, N_LABELLED, N_ASKED = (0, 1, 2), 5, 10_000, 1_000
PUBLIC = ("wiki", "reviews", "titles", "lcqmc", "afqmc", "atec", "paws")
N_PUBLIC_TEXTS = 80_000  # of the English ones: 14 M words
N_QUICK = 5_000  # public texts
WARMUP, DECAY = 0.06, 0.01
MAX_LENGTH = {"characters": 32, "words": 48}


@dataclass(frozen=True)
class Task:
    """Pairs to learn, pairs of other texts to be asked, public text, a base model."""

    name: str
    unit: str
    n_steps: int
    batch_size: int
    rate: float
    bar: float
    pairs: Callable[[], tuple[list[corpora.Pair], list[corpora.Pair]]]
    public: Callable[[], list[str]]
    base: Callable[[], Path]


def minilm() -> Path:
    """MiniLM's folder."""
    from shoestring.models.backbone import model_folder

    return model_folder(None)


TASKS = {
    task.name: task
    for task in (
        Task(
            *("oppo", "characters", 400, 64, 3e-4, 0.75),
            lambda: (corpora.oppo("train-100k"), corpora.oppo("dev-clean")),
            lambda: corpora.chinese(*PUBLIC),
            public_matcher,
        ),
        Task(
            *("quora", "words", 280, 32, 1e-4, 0.5),
            lambda: (corpora.quora("dev"), corpora.quora("test")),
            lambda: corpora.english()[:N_PUBLIC_TEXTS],
            minilm,
        ),
    )
}


@lru_cache(maxsize=1)
def public_texts(name: str) -> list[str]:
    """Of a task."""
    return TASKS[name].public()


def hidden(pairs: list[corpora.Pair], unit: str, seed: int) -> list[corpora.Pair]:
    """The pairs with every symbol as its number of a random key."""
    from shoestring.match.symbols import split_symbols

    split = [[split_symbols(text, unit) for text in pair[:2]] for pair in pairs]
    symbols = sorted({symbol for sides in split for side in sides for symbol in side})
    numbers = np.random.default_rng(seed).permutation(len(symbols)).tolist()
    key = {symbol: str(number) for symbol, number in zip(symbols, numbers, strict=True)}
    texts = [[" ".join(key[s] for s in side) for side in sides] for sides in split]
    return [(a, b, pair[2]) for (a, b), pair in zip(texts, pairs, strict=True)]


def start(task: Task, method: str, seed: int, train: Any, texts: list[str], quick: bool) -> Any:
    """A model and its vocabulary, aligned; decipherments are kept."""
    from scipy.sparse import load_npz, save_npz

    from shoestring.match import alignment
    from shoestring.match.label_token import with_label_token
    from shoestring.match.matcher import load_masked
    from shoestring.match.symbols import SymbolVocabulary
    from shoestring.models.backbone import load_tokenizer
    from shoestring.models.model_files import weights_digest

    is_plain, folder = method == "true", task.base()
    model, _ = load_masked(folder)
    sides = [*train.a, *train.b]
    vocabulary = SymbolVocabulary.of(sides, task.unit if is_plain else "integers")
    n_rows = model.get_input_embeddings().num_embeddings
    of_base = f"{weights_digest(folder)}-{len(texts)}-{len(vocabulary)}"
    kept = CACHE / "match" / f"alignment-{task.name}-{seed}-{of_base}.npz"
    if method == "both" and kept.exists():
        weights = load_npz(kept)
    else:
        name = "name" if is_plain else method
        public = public_texts(task.name) if name not in alignment.WITHOUT_PUBLIC else []
        public = public[:N_QUICK] if quick else public
        of = texts if method == "both" else sides
        weights = alignment.alignment(
            vocabulary, load_tokenizer(folder), n_rows, name, of, public, seed
        )
    if method == "both":
        save_npz(kept, weights)
    alignment.give_vocabulary(model, weights, vocabulary, seed, random=method == "random")
    return with_label_token(model), vocabulary


def curve(task: Task, method: str, seed: int, quick: bool) -> list[float]:
    """The AUC at each of :data:`N_POINTS` points of a training."""
    import torch
    from sklearn.metrics import roc_auc_score

    from shoestring.match.label_token import NOTHING, JointBatches
    from shoestring.match.matcher import PairMatcher
    from shoestring.match.pairs import Pairs
    from shoestring.models.frozen import multiplies_bfloat16

    known, other = task.pairs()
    rng = np.random.default_rng(seed)
    n_asked, n_labelled, n_steps = N_ASKED, N_LABELLED, task.n_steps
    if quick:
        n_asked, n_labelled, n_steps, known = 200, 1_000, 2 * N_POINTS, known[:4_000]
    asked = [other[i] for i in rng.choice(len(other), n_asked, replace=False)]
    every = [*known, *asked]
    if method != "true":
        every = hidden(every, task.unit, seed)
    texts = [text for pair in every[: len(known)] for text in pair[:2]]
    chosen = rng.choice(len(known), n_labelled, replace=False)
    train, asked = Pairs.of(every[i] for i in chosen), Pairs.of(every[len(known) :])
    torch.manual_seed(seed)
    model, vocabulary = start(task, method, seed, train, texts, quick)
    length = MAX_LENGTH[task.unit]
    a, b = vocabulary.encode(train.a), vocabulary.encode(train.b)
    batches = JointBatches(a, b, train.labels, vocabulary.ids, length, seed=seed)
    batches._masked = lambda row, _: (row, [NOTHING] * len(row))
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.rate, weight_decay=DECAY, fused=True)
    order = np.concatenate([rng.permutation(len(train)) for _ in range(3 + n_steps // 100)])
    found = []
    for step in range(n_steps):
        rate = min(1.0, (step + 1) / (WARMUP * n_steps)) * (1 - step / n_steps)
        optimizer.param_groups[0]["lr"] = task.rate * rate
        batches.epoch = step
        batch = batches(order[step * task.batch_size :][: task.batch_size].tolist())
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            loss = model(**batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % (n_steps // N_POINTS) == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores = PairMatcher(model, vocabulary, length).predict(asked.both)
            found.append(round(float(roc_auc_score(asked.labels, scores)), 4))
    return found


def kept_curve(task: Task, method: str, seed: int, quick: bool) -> list[float]:
    """A curve that was made before, or now."""
    file = CACHE / "match" / "curves" / f"{task.name}-{method}-{seed}.json"
    if quick or not file.exists():
        found = curve(task, method, seed, quick)
        print(f"{task.name}, {method}, seed {seed}: {found}", flush=True)
        if quick:
            return found
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    points: list[float] = json.loads(file.read_text())
    return points


def mean(curves: list[list[float]]) -> float:
    """Over seeds and points."""
    return round(float(np.mean(curves)), 4)


def closed(curves: dict[str, list[list[float]]]) -> dict[str, float]:
    """The share of the room from rank to true that the decipherment closes."""
    ends = {name: float(np.mean([one[-1] for one in of])) for name, of in curves.items()}
    areas = {name: float(np.mean(of)) for name, of in curves.items()}
    shares = {}
    for name, value in (("at the end", ends), ("of the area", areas)):
        room = value["true"] - value["rank"]
        shares[name] = round((value["both"] - value["rank"]) / room, 3) if room else float("nan")
    return shares


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All curves, their means over the seeds and what is closed."""
    seeds = SEEDS[:1] if options.quick else SEEDS
    tasks: dict[str, Any] = {}
    for task in (TASKS[name] for name in options.tasks):
        curves = {
            method: [kept_curve(task, method, seed, options.quick) for seed in seeds]
            for method in METHODS
        }
        shares = closed(curves)
        tasks[task.name] = {
            "steps": task.n_steps,
            "pairs a step": task.batch_size,
            "curves": curves,
            "auc at the end": {
                m: round(float(np.mean(c, axis=0)[-1]), 4) for m, c in curves.items()
            },
            "mean auc": {m: round(float(np.mean(c)), 4) for m, c in curves.items()},
            "closed": shares,
            "bar": task.bar,
            "holds": all(share >= task.bar for share in shares.values()),
        }
    result = {
        "points": N_POINTS,
        "seeds": list(seeds),
        "labelled pairs": N_LABELLED,
        "tasks": tasks,
    }
    output.write(result, options)
    for name, task_found in tasks.items():
        output.show(
            {f"{name}, {key}": task_found[key] for key in ("auc at the end", "mean auc", "closed")}
        )
    return result


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="one seed, some steps: some minutes")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=list(TASKS))
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
