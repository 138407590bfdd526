"""The scorer that search has by default: trained here, and what else was tried on the same data.

``python -m benchmarks.tune.default_scorer``: what scorers learn is in :mod:`benchmarks.tune.lists`,
what they are asked in :mod:`benchmarks.tune.judged`. Each ranks the first 30 texts by MiniLM's
vectors.

Questions whose own text is not among the 30 are not learnt: with them a scorer learns that what is
right is unlike the question, because only the wrong ones were chosen by likeness (the row "lists of
all questions").

What is shipped compares token vectors (``python -m benchmarks.train_scorer --default``): a late
ladder's head without a side network, which is what a query's tokens weigh, 384 numbers and four
more, search's default; and the same with LoRA, an adapter of MiniLM of 73,728, for documentation
alone. Beside them ladders, full fine-tuning, and the same numbers in another order.

Figures: MRR over the 30, nDCG@10, and 95 % of the bootstrap of the difference from token
interaction. Seeded; lists, trained folders and scores are kept outside git, an interrupted run goes
on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from benchmarks import output
from benchmarks.tune.judged import LIBRARY, Asked, collections
from benchmarks.tune.lists import DEPTH, DOCUMENTATION, FEW, FOLDER, PACKAGES, WIKIPEDIA, Way, lists
from shoestring.artifacts import write_json, written_aside

LENGTH, DRAWS = 96, 2_000
BASE = "token interaction"
CONTROLS = ("random order", "vectors", BASE)
ELSEWHERE = "elsewhere"  # all queries but the library's

DEFAULT = "head, late"
SHIPPED = {"minilm-weighted": DEFAULT, "minilm-docs": "LoRA, late"}  # in the package
SHUFFLED = ", its numbers shuffled"
BEST = Way("head", "late", None, epochs=4, rate=3e-3, decay=5.0, n_wrong=7)
WAYS = {
    DEFAULT: BEST,
    "head, late, with Wikipedia": replace(BEST, sources=(DOCUMENTATION, WIKIPEDIA)),
    "LoRA, late": Way("lora", "late", None, epochs=1, rate=5e-4),
    "LoRA, late, with Wikipedia": Way(
        "lora", "late", 7_000, epochs=1, rate=5e-4, sources=(DOCUMENTATION, WIKIPEDIA)
    ),
    f"head, late, {FEW:,} lists": Way("head", "late", epochs=10, rate=3e-3, decay=5.0),
    "the same, lists of all questions": Way(
        "head", "late", epochs=10, rate=3e-3, decay=5.0, all_questions=True
    ),
    f"ladder, late, {FEW:,} lists": Way("ladder", "late"),
    f"ladder, apart, {FEW:,} lists": Way("ladder", "apart", rate=1e-3),
    f"LoRA, late, {FEW:,} lists": Way("lora", "late", rate=5e-4),
    f"full, late, {FEW:,} lists": Way("full", "late", rate=3e-5),
}


def trained(name: str, seed: int) -> Path:
    """The folder of a way, trained if it is not there."""
    from shoestring.models.frozen import multiplies_bfloat16
    from shoestring.tune.config import LadderConfig
    from shoestring.tune.job import Job, tune
    from shoestring.tune.trainer import TrainSettings

    way = WAYS[name]
    folder = FOLDER / _file_name(name, seed)
    if (folder / "config.json").exists():
        return folder
    backpropagated = way.method in ("lora", "full")
    config = LadderConfig(
        task="score", pairs=way.pairs, max_length=LENGTH, reduction=8,
        layers=(1, 3, 5) if way.method == "ladder" else (5,), seed=seed,
    )  # fmt: skip
    settings = TrainSettings(
        epochs=way.epochs, batch_size=16 if backpropagated else 32, learning_rate=way.rate,
        weight_decay=way.decay, seed=seed, bfloat16=backpropagated and multiplies_bfloat16(),
    )  # fmt: skip
    job = Job(way.method, "minilm", config, settings, cache_bytes=40 * 2**30)
    columns = {"text": "a", "second": "b", "label": "label"}
    report = tune(job, str(lists(way, seed)), folder, **columns, resume=True)
    print(name, json.dumps(report), flush=True)
    return folder


def ship(seed: int) -> list[Path]:
    """Train what is in the package, and put it there."""
    from shoestring.match import interaction

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, folder in interaction.SHIPPED.items():
        made = trained(SHIPPED[name], seed)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
    return list(interaction.SHIPPED.values())


def shuffled(name: str, seed: int) -> Path:
    """The folder of a scorer with the numbers of each matrix in another order: the control."""
    from safetensors.numpy import load_file, save_file

    folder, rng = FOLDER / _file_name(name + SHUFFLED, seed), np.random.default_rng(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(trained(name, seed), folder)
    for file in sorted(folder.rglob("*.safetensors")):
        weights = load_file(file)
        matrices = {name: array for name, array in sorted(weights.items()) if array.ndim > 1}
        mixed = {name: rng.permuted(array, axis=None) for name, array in matrices.items()}
        save_file({**weights, **mixed}, file)
    config = json.loads((folder / "config.json").read_bytes())
    side = "side.safetensors"
    config["files"][side] = zlib.crc32((folder / config["save"] / side).read_bytes())
    write_json(folder / "config.json", config)
    return folder


def _file_name(name: str, seed: int) -> str:
    way = WAYS.get(name.partition(SHUFFLED)[0])
    kind = "" if way is None else f"-{_digest(way)}"  # trained otherwise, it is another
    return f"{name.replace(', ', '-').replace(' ', '-')}{kind}-{seed}"


def _digest(of: object) -> str:
    return hashlib.blake2b(repr(of).encode(), digest_size=4).hexdigest()


def scores_of(name: str, seed: int, asked: dict[str, Asked]) -> dict[str, np.ndarray]:
    """Scores (questions, DEPTH) of each collection by a way, kept when they are made."""
    from shoestring.match import TokenInteraction, load_scorer

    rng = np.random.default_rng(seed)
    if name == "random order":
        return {key: rng.random(one.places.shape) for key, one in asked.items()}
    if name == "vectors":
        return {key: np.tile(-np.arange(DEPTH), (len(one.places), 1)) for key, one in asked.items()}
    file = FOLDER / f"scores-{_file_name(name, seed)}.npz"
    found: dict[str, np.ndarray] = {}
    if file.exists():
        with np.load(file) as kept:
            found = dict(kept)
    names = {key: f"{key} {_digest(one.pairs)}" for key, one in asked.items()}
    if found.keys() >= set(names.values()):
        return {key: found[name] for key, name in names.items()}
    if name == BASE:
        scorer: Any = TokenInteraction(max_length=LENGTH)
    else:
        way, control, _ = name.partition(SHUFFLED)
        scorer = load_scorer(shuffled(way, seed) if control else trained(way, seed))
    for key, one in asked.items():
        if names[key] in found:
            continue
        found[names[key]] = np.asarray(scorer.predict(one.pairs), np.float64).reshape(-1, DEPTH)
    with written_aside(file) as out:
        np.savez(out, **found)
    return {key: found[name] for key, name in names.items()}


def interval(a: np.ndarray, b: np.ndarray, seed: int) -> list[float]:
    """95 % of the bootstrap means of a - b."""
    found = bootstrap((a - b,), np.mean, n_resamples=DRAWS, method="percentile", rng=seed)
    return [round(float(end), 4) for end in found.confidence_interval]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train, rank, compare."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    asked, default = collections(), WAYS[DEFAULT]
    ways = list(dict.fromkeys((DEFAULT, *options.ways)))
    shuffles = [way + SHUFFLED for way in SHIPPED.values() if way in ways]
    table: dict[str, Any] = {}
    base: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in (*CONTROLS, *ways, *shuffles):
        scores = scores_of(name, options.seed, asked)
        found = {key: asked[key].figures(scores[key]) for key in asked}
        base = found if name == BASE else base
        table[name] = compared(found, None if name in CONTROLS else base, options.seed)
        output.show({name: table[name]})
    result = {
        "default": DEFAULT, "shipped": {way: name for name, way in SHIPPED.items()}, "table": table,
        "ways": {name: vars(WAYS[name]) for name in ways},
        "lists": sum(1 for _ in lists(default, options.seed).open()) // (1 + default.n_wrong),
        "packages": PACKAGES, "bars": bars(table), **output.versions("shoestring", "peft"),
    }  # fmt: skip
    output.write(result, options)
    return result


def compared(
    found: dict[str, tuple[np.ndarray, np.ndarray]],
    base: dict[str, tuple[np.ndarray, np.ndarray]] | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Figures of each collection, of all but the library's together, and their differences.

    Parameters
    ----------
    found, base : dict
        Of each collection the reciprocal rank and the nDCG@10 of each query.
    """
    row: dict[str, Any] = {}
    for key in (*found, ELSEWHERE):
        keys = [key] if key in found else [other for other in found if other != LIBRARY]
        ranks, ndcg = (np.concatenate([found[k][i] for k in keys]) for i in (0, 1))
        row[key] = {"MRR@30": _mean(ranks), "nDCG@10": _mean(ndcg)}
        if base is not None:
            which = 0 if key == LIBRARY else 1
            mine, theirs = (ranks, ndcg)[which], np.concatenate([base[k][which] for k in keys])
            row[key]["difference"] = interval(mine, theirs, seed)
            row[key]["questions"] = len(mine)
    return row


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 4)


def bars(table: dict[str, Any]) -> dict[str, bool]:
    """Whether search's default may be: better on documentation, no worse anywhere else."""
    row = table[DEFAULT]
    return {
        f"better than token interaction on the {LIBRARY}": row[LIBRARY]["difference"][0] > 0,
        **{
            f"no worse {'' if key == ELSEWHERE else 'on '}{key}": row[key]["difference"][1] >= 0
            for key in row
            if key != LIBRARY
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="search's default, alone")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), help="beside search's default"
    )
    options = parser.parse_args()
    if options.quick:
        options.ways = []
    measure(options)


if __name__ == "__main__":
    main()
