"""How good matchers are: floors, thresholds, the joint objective, the best model of an hour.

``python -m benchmarks.match.matching``, in parts, each on pairs whose texts were not trained on:

- floors: overlap, BM25 and boosting on four sets of pairs, plain and pseudonymised.
- threshold: how often a threshold holds on new pairs, chosen on samples of OPPO's; the lowest score
  whose measured precision suffices beside it.
- joint: 1,000 pairs with labels and 20,000 without, the joint objective and plain fine-tuning from
  the same start. Inductive: the 20,000 are other training pairs; transductive: the test half is
  among them. As published: no mark at symbols that stand in both texts; labels alone: the joint
  objective, with marks, on the 1,000 pairs.
- leak: without a base model, plain and pseudonymised text must have the same AUC.
- peers: MiniLM as it is, a ladder that was trained.
- best: OPPO with all labels within ``--minutes``; an interrupted run goes on where it was.

``--parts`` says which are run now; the file of ``--json`` keeps those that were run before.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import output
from benchmarks.data import CACHE
from benchmarks.match import corpora
from benchmarks.match.base import base_model, public_matcher
from benchmarks.match.curves import hidden

SEEDS = (0, 1, 2)
N_LABELLED, N_UNLABELLED = 1_000, 20_000
SETS: dict[str, tuple[str, Callable[[], tuple[list[corpora.Pair], list[corpora.Pair]]]]] = {
    "oppo": ("characters", lambda: (corpora.oppo("train-100k"), corpora.oppo("dev-clean"))),
    "lcqmc": (
        "characters",
        lambda: (corpora.pairs("pairs/lcqmc/dev.txt"), corpora.pairs("pairs/lcqmc/test.txt")),
    ),
    "afqmc": (
        "characters",
        lambda: (corpora.pairs("pairs/afqmc/train.txt.gz"), corpora.pairs("pairs/afqmc/dev.txt")),
    ),
    "quora": ("words", lambda: (corpora.quora("dev"), corpora.quora("test"))),
}
BARS = {"joint above plain": 0.02, "best": 0.85, "boosting": 0.768, "jaccard": 0.724}


@lru_cache(maxsize=len(SETS))
def halves(name: str) -> tuple[list[corpora.Pair], list[corpora.Pair]]:
    """Pairs to train on, none of whose texts is in the second half, and pairs to be asked."""
    train, asked = SETS[name][1]()
    texts = {text.lower() for pair in asked for text in pair[:2]}
    return [p for p in train if not texts & {p[0].lower(), p[1].lower()}], asked


def auc(scorer: Any, asked: list[corpora.Pair]) -> float:
    """On pairs with labels."""
    from sklearn.metrics import roc_auc_score

    from shoestring.match import checked_scores

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = checked_scores(scorer, [pair[:2] for pair in asked])
    return float(roc_auc_score([pair[2] for pair in asked], scores))


def drawn(pairs: list[corpora.Pair], n: int, seed: int) -> list[corpora.Pair]:
    """Some of the pairs, or all."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return [pairs[i] for i in order[:n]]


def floors(options: argparse.Namespace) -> dict[str, Any]:
    """AUC of each baseline on each set; whether pseudonymised text has the same to the bit."""
    from shoestring.match.baselines import METHODS, load_baseline, train_baseline
    from shoestring.match.pairs import Pairs

    found: dict[str, Any] = {}
    for name, (unit, _) in SETS.items():
        train, asked = halves(name)
        if options.quick:
            train, asked = drawn(train, 2_000, 0), drawn(asked, 1_000, 0)
        found[name] = {"train": len(train), "asked": len(asked)}
        numbers = hidden([*train, *asked], unit, options.seed)
        for method in METHODS:
            pair = []
            for seen, new in ((train, asked), (numbers[: len(train)], numbers[len(train) :])):
                with TemporaryDirectory() as folder:
                    train_baseline(Pairs.of(seen), folder, method, options.seed)
                    pair.append(auc(load_baseline(folder), new))
            found[name][method] = round(pair[0], 4)
            found[name].setdefault("pseudonymised is equal", True)
            found[name]["pseudonymised is equal"] &= pair[0] == pair[1]
        print(name, found[name], flush=True)
    return found


def threshold(options: argparse.Namespace) -> dict[str, Any]:
    """How often the precision of all other pairs is what was asked for on a sample."""
    from shoestring.errors import ParameterError
    from shoestring.match import evaluate
    from shoestring.match.baselines import load_baseline, train_baseline
    from shoestring.match.pairs import Pairs

    evaluate.N_SAMPLES = 1  # the intervals are not asked for
    every = Pairs.of(corpora.oppo("train-100k"))
    groups = evaluate.components(every)
    usual = np.bincount(groups)[groups] < 2_000  # a sample has all of a component, or none
    every, groups = every[usual], groups[usual]
    with TemporaryDirectory() as folder:
        train_baseline(Pairs.of(corpora.oppo("dev-clean")), folder, "boosting")
        scores = load_baseline(folder).predict(every.both)
    y, found = every.labels > 0, {}

    def holds(at: float, asked: np.ndarray, precision: float) -> bool:
        above = (scores >= at) & ~asked
        return bool(above.any() and y[above].mean() >= precision)

    n_trials = 10 if options.quick else 200
    for n, precision in ((1_000, 0.7), (1_000, 0.75), (4_000, 0.7), (4_000, 0.75)):
        bound, lucky, recalls = [], [], []
        for seed in range(n_trials):
            rng = np.random.default_rng([options.seed, seed])
            order = rng.permutation(groups.max() + 1)
            rank = np.argsort(order)[groups]  # of each pair's component
            asked = rank <= np.sort(rank)[n - 1]
            s, labels = scores[asked], every.labels[asked]
            try:
                chosen = evaluate.threshold(s, labels, groups[asked], precision)["threshold"]
            except ParameterError:
                continue
            bound.append(holds(chosen, asked, precision))
            recalls.append(y[(scores >= chosen) & ~asked].sum() / y[~asked].sum())
            down = np.argsort(-s)
            measured = np.cumsum(labels[down]) / np.arange(1, len(s) + 1)
            enough = np.flatnonzero(measured >= precision)
            lucky.append(holds(s[down][enough[-1]], asked, precision))
        found[f"{n:,} pairs, precision {precision}"] = {
            "found": len(bound) / n_trials,
            "holds": round(float(np.mean(bound)), 3),
            "recall": round(float(np.mean(recalls)), 3),
            "the lowest score of that precision holds": round(float(np.mean(lucky)), 3),
        }
        print(list(found.items())[-1], flush=True)
    return found


def base(options: argparse.Namespace) -> Path | None:
    """The Chinese base model; a quick run does without, where it is not made yet."""
    is_there = (CACHE / "match" / "base-zh").exists()
    return base_model("zh") if is_there or not options.quick else None


def kept_matcher(folder: Path, pairs: Any, unlabelled: Any, **settings: Any) -> Any:
    """A matcher that was trained before, or now; an interrupted training goes on."""
    from shoestring.match import load_scorer
    from shoestring.match.matcher import PairMatcher
    from shoestring.match.pairs import Pairs

    if not folder.exists():
        resume = folder.with_name(folder.name + ".run").exists()
        more = None if unlabelled is None else Pairs.of(unlabelled)
        PairMatcher.train(Pairs.of(pairs), more, out=folder, resume=resume, **settings)
    return load_scorer(str(folder))


def no_marks(_: Any, row: list[int]) -> list[int]:
    """The segment ids of the post."""
    return [0] * len(row)


def joint(options: argparse.Namespace) -> dict[str, Any]:
    """AUC on OPPO's dev-clean of both objectives from the same start."""
    from shoestring.match.label_token import JointBatches

    train, asked = halves("oppo")
    n, m = (100, 300) if options.quick else (N_LABELLED, N_UNLABELLED)
    ways: dict[str, list[float]] = {}
    for seed in SEEDS[:1] if options.quick else SEEDS:
        chosen = drawn(train, n + m, seed)
        labelled, others = chosen[:n], [pair[:2] for pair in chosen[n:]]
        mixed = [*(pair[:2] for pair in asked), *others][:m]
        for way, unlabelled, marks in (
            ("plain", None, True),
            ("inductive, as published", others, False),
            ("transductive, as published", mixed, False),
            ("inductive", others, True),
            ("labels alone", None, True),
        ):
            if not marks and seed == SEEDS[-1]:
                continue  # two seeds tell: not above plain fine-tuning
            settings: dict[str, Any] = {"epochs": 1.0 if options.quick else options.epochs}
            if unlabelled is None:
                settings = {"epochs": 1.0 if options.quick else 30.0}
            if way == "plain":
                settings["objective"] = "classify"
            kept = f"joint-{way.replace(', ', '-').replace(' ', '-')}-{seed}"
            folder = CACHE / "match" / f"{kept}-{settings['epochs']:g}-{n}-{m}"
            with nullcontext() if marks else patch.object(JointBatches, "segments", no_marks):
                found = kept_matcher(
                    folder, labelled, unlabelled, init=base(options), seed=seed, **settings
                )
                ways.setdefault(way, []).append(round(auc(found, asked), 4))
            print(f"joint, seed {seed}: {way} {ways[way][-1]}", flush=True)
    plain = np.array(ways["plain"])
    gains = {
        way: round(float(np.mean(np.array(of) - plain[: len(of)])), 4)
        for way, of in ways.items()
        if way != "plain"
    }
    holds = gains["inductive"] >= BARS["joint above plain"]
    return {"labelled": n, "unlabelled": m, "auc": ways, "gain": gains, "holds": holds}


def leak(options: argparse.Namespace) -> dict[str, Any]:
    """The same pairs, plain and as numbers, without a base model."""
    from shoestring.match.matcher import PairMatcher

    train, asked = halves("oppo")
    train = drawn(train, 500 if options.quick else 10_000, options.seed)
    numbers = hidden([*train, *asked], "characters", options.seed)
    found = {}
    for name, seen, new in (
        ("plain", train, asked),
        ("pseudonymised", numbers[: len(train)], numbers[len(train) :]),
    ):
        matcher = PairMatcher.train(seen, epochs=1.0 if options.quick else 4.0, seed=options.seed)
        found[name] = auc(matcher, new)
    return {**found, "equal": abs(found["plain"] - found["pseudonymised"]) < 1e-6}


def peers(options: argparse.Namespace) -> dict[str, Any]:
    """AUC of MiniLM as it is and of a ladder."""
    from shoestring.match import load_scorer
    from shoestring.match.matcher import PairMatcher

    found: dict[str, Any] = {}
    for name, init in (("oppo", base(options)), ("quora", "minilm")):
        train, asked = halves(name)
        if options.quick:
            train, asked = drawn(train, 500, 0), drawn(asked, 500, 0)
        minutes = 1.0 if options.quick else options.minutes / 4
        ladder = PairMatcher.train(
            train, init=init, objective="classify", seed=options.seed, minutes=minutes,
            method="full" if init is None else "ladder",
        )  # fmt: skip
        scorers = {"minilm": load_scorer("minilm"), f"ladder, {minutes:g} minutes": ladder}
        found[name] = {way: round(auc(scorer, asked), 4) for way, scorer in scorers.items()}
        print(name, found[name], flush=True)
    return found


def best(options: argparse.Namespace) -> dict[str, Any]:
    """OPPO's dev-clean after training on all labels, from the matcher of public pairs."""
    from shoestring.match import checked_scores
    from shoestring.match.baselines import load_baseline, train_baseline
    from shoestring.match.evaluate import components, figures
    from shoestring.match.pairs import Pairs

    train, asked = halves("oppo")
    minutes = options.minutes
    if options.quick:
        train, minutes = drawn(train, 2_000, 0), 0.5
    scorer = kept_matcher(
        CACHE / "match" / f"best-{minutes:g}-{options.seed}-{len(train)}", train, None,
        init=base(options) if options.quick else public_matcher(),
        seed=options.seed, minutes=minutes, epochs=100.0,
    )  # fmt: skip
    pairs = Pairs.of(asked)
    scores = checked_scores(scorer, pairs.both)
    with TemporaryDirectory() as kept:
        train_baseline(Pairs.of(train), kept, "boosting", options.seed)
        floor = load_baseline(kept).predict(pairs.both)
    found = figures(scores, pairs.labels, components(pairs))
    mean = scores / scores.std() + floor / floor.std()
    together = figures(mean, pairs.labels, components(pairs))["auc"]
    holds = found["auc"] >= BARS["best"]
    return {"minutes": minutes, **found, "with boosting": together, "holds": holds}


PARTS = {part.__name__: part for part in (floors, threshold, leak, joint, peers, best)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The parts that are asked for, beside those of the file."""
    parts: dict[str, Any] = {}
    if options.json is not None and options.json.exists() and not options.quick:
        parts = json.loads(options.json.read_text("utf-8"))["parts"]
    for name in options.parts:
        parts[name] = PARTS[name](options)
        result = {"bars": BARS, "parts": parts}
        output.write(result, options)
        output.show({f"{name}: {key}": value for key, value in parts[name].items()})
    return result


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="one seed, few pairs: some minutes")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=60.0, help="of the best model")
    parser.add_argument("--epochs", type=float, default=10.0, help="of the joint objective")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
