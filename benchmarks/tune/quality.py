"""How good each method is on the same data: ladder, LoRA, full fine-tuning, the head alone.

``python -m benchmarks.tune.quality``: MiniLM on six English tasks, a small BERT of ``shoestring
tune mlm`` on three Chinese ones (``benchmarks.tune.data``), ten epochs of which the best on a
held-out tenth of the training half counts, batches of 32, at most 64 tokens a text (128 a pair read
as one), three seeds. The head alone is the control: what the frozen backbone gives without a
ladder; beside it the score without any training (pairs), and the most frequent class. LoRA and full
fine-tuning read a pair as one text, as cross-encoders do, and apart, as the ladder does. Of a
method's ways the one that is best on what was held out counts in its mean.

Learning rates are those of ``shoestring tune``, one a method for all tasks. Each run is a process
of its own and is kept outside git when it is done: an interrupted benchmark goes on where it was.
``--tasks``, ``--methods`` and ``--seeds`` say which runs are made now. The file of ``--json`` keeps
each run, so that runs of several days and machines add up: those that it has are not made again,
and the table is of all that there are.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.data import CACHE
from benchmarks.tune import data
from shoestring.artifacts import written_aside

METHODS = ("head", "ladder", "ladder, fisher", "lora", "lora, apart", "full", "full, apart")
PEERS = ("head", "ladder", "lora", "full")
EPOCHS = 10.0
MOST_SEEDS = 10
Run = dict[str, Any]  # of the test half and of what was held out, in percent; parameters, commit
BARS = {"below LoRA": 0.5, "above the head": 3.0}


def arguments(task: data.Task, method: str, seed: int, epochs: float) -> list[str]:
    """The command of a run."""
    name, _, way = method.partition(", ")
    command = ["classify", "--text", "a"] if task.kind == "classify" else ["score"]
    if task.kind != "classify":
        command += ["--task", task.kind]
    elif task.is_of_pairs:
        command += ["--second", "b"]
    as_one = task.is_of_pairs and method in ("lora", "full")
    return [
        command[0], str(task.train), *command[1:], "--method", name, "--seed",
        str(seed), "--backbone", task.backbone, "--epochs", str(epochs), "--max-length",
        "128" if as_one else "64", "--json",
        *(["--pairs", "apart"] if way == "apart" else []),
    ]  # fmt: skip


def methods_of(task: data.Task) -> list[str]:
    """Those that there are for a task: single texts are not read apart."""
    return [name for name in METHODS if task.is_of_pairs or not name.endswith("apart")]


def kept_in(task: data.Task, method: str, seed: int, epochs: float) -> Path:
    """Where the figures of a run are, when it is done."""
    name = f"{task.name}-{method.replace(', ', '-')}-{seed}-{epochs:g}"
    return CACHE / "tune" / "runs" / f"{name}.json"


def run(task: data.Task, method: str, seed: int, epochs: float) -> None:
    """Train, answer for the test half, and keep what came of it."""
    kept = kept_in(task, method, seed, epochs)
    kept.parent.mkdir(parents=True, exist_ok=True)
    if method == "ladder, fisher":
        report, test = fisher(task, seed, epochs)
    else:
        from shoestring.tune.ladder import Ladder

        out = kept.with_suffix("")
        report = json.loads(data.tuned(arguments(task, method, seed, epochs), out))
        test = tested(task, Ladder.from_pretrained(out))
        shutil.rmtree(out)  # a hundred megabytes, where all of the backbone was trained
    found = {**report, "test": test, "commit": output.provenance()["commit"]}
    with written_aside(kept) as file:
        file.write(json.dumps(found, indent=1).encode())


def fisher(task: data.Task, seed: int, epochs: float) -> tuple[dict[str, Any], dict[str, float]]:
    """The report, and the figures on the test half, of a ladder that starts from the backbone."""
    from benchmarks.tune.fisher_init import tuned
    from shoestring.tune.job import Job

    pairs = "apart" if task.is_of_pairs else "none"
    options = {"task": task.kind, "pairs": pairs, "max_length": 64, "epochs": epochs, "seed": seed}
    second = "b" if task.is_of_pairs else None
    columns = {"text": "a", "second": second, "label": "label"}
    model, report = tuned(Job.of("ladder", task.backbone, **options), task.train, columns)
    return report, tested(task, model)


def tested(task: data.Task, ladder: Any) -> dict[str, float]:
    """Figures on the test half."""
    from shoestring.tune.metrics import quality
    from shoestring.tune.predict import logits_of

    rows = data.read(task.test)
    logits = logits_of(ladder, rows["a"], rows.get("b"))
    if task.kind == "classify":
        places = {label: place for place, label in enumerate(ladder.settings.labels)}
        labels = np.array([places.get(label, -1) for label in rows["label"]])
        known = labels >= 0  # a class that is not trained on is a mistake
        return {"accuracy": float((logits.argmax(1)[known] == labels[known]).sum() / len(labels))}
    return quality(task.kind, logits, np.array([float(label) for label in rows["label"]]))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Make the runs that are not there yet; the table of all that are."""
    epochs = 1.0 if options.quick else EPOCHS
    before = written_before(options.json, epochs)
    for seed in options.seeds[:1] if options.quick else options.seeds:
        for task in map(data.task, options.tasks):
            for method in methods_of(task):
                if method not in options.methods:
                    continue
                if str(seed) not in runs(task, method, epochs, before):
                    run(task, method, seed, epochs)
                    figure = runs(task, method, epochs, before)[str(seed)]["test"]
                    print(f"{task.name}, seed {seed}: {method} {figure:.2f}", flush=True)
    result = {"epochs": epochs, **output.versions("transformers", "peft", "shoestring")}
    tasks = [data.task(name) for name in data.TASKS if name in options.tasks or name in before]
    result |= table(tasks, epochs, written_before(options.json, epochs))  # as it is by now
    output.write(result, options)
    output.show({"means": result["means"], "bars": result["bars"]})
    return result


def written_before(file: Path | None, epochs: float) -> dict[str, Any]:
    """The tasks of a result of as many epochs, with their runs; none if there is no such file."""
    if file is None or not file.exists():
        return {}
    document = json.loads(file.read_text("utf-8"))
    return dict(document["tasks"]) if document["epochs"] == epochs else {}


def runs(task: data.Task, method: str, epochs: float, before: dict[str, Any]) -> dict[str, Run]:
    """By their seeds: those that were written before, then those that were made here."""
    earlier = before.get(task.name, {}).get("methods", {}).get(method, {}).get("runs", {})
    found: dict[str, Run] = dict(earlier)
    for seed in map(str, range(MOST_SEEDS)):
        kept = kept_in(task, method, int(seed), epochs)
        if seed not in found and kept.exists():
            report = json.loads(kept.read_text("utf-8"))
            found[seed] = {
                "test": round(100 * report["test"][task.figure], 2),
                "held out": round(100 * report["held_out"][task.figure], 2),
                "trained parameters": report["trained_parameters"],
                "commit": report.get("commit"),
            }
    return dict(sorted(found.items()))


def table(tasks: list[data.Task], epochs: float, before: dict[str, Any]) -> dict[str, Any]:
    """Means over the seeds there are."""
    found: dict[str, Any] = {}
    for task in tasks:
        rows = {}
        for method in methods_of(task):
            made = runs(task, method, epochs, before)
            if made:
                tested, held_out = (
                    np.array([one[half] for one in made.values()]) for half in ("test", "held out")
                )
                rows[method] = {
                    "mean": round(float(tested.mean()), 2),
                    "spread": round(float(np.ptp(tested)), 2),
                    "held out": round(float(held_out.mean()), 2),
                    "runs": made,
                }
        found[task.name] = {
            "figure": task.figure,
            "controls": before.get(task.name, {}).get("controls") or data.controls(task),
            "methods": rows,
        }
    means = {}
    for language, names in (("English", data.ENGLISH), ("Chinese", data.CHINESE)):
        mine = {name: task for name, task in found.items() if name in names}
        means[language] = {name: mean_over(mine, name) for name in PEERS}
    return {"tasks": found, "means": means, "bars": bars(means["English"])}


def mean_over(tasks: dict[str, Any], method: str) -> float | None:
    """The mean over the tasks, each in the method's way that is best on what was held out.

    None as long as a task has no run of it, or there is no task.
    """
    best = []
    for task in tasks.values():
        ways = [row for name, row in task["methods"].items() if name.partition(",")[0] == method]
        if not ways:
            return None
        best.append(max(ways, key=lambda row: float(row["held out"]))["mean"])
    return round(float(np.mean(best)), 2) if best else None


def bars(means: dict[str, float | None]) -> dict[str, bool | None]:
    """Whether each holds; None as long as runs are missing."""
    ladder, lora, head = means["ladder"], means["lora"], means["head"]

    def at_least(least: float | None, more: float) -> bool | None:
        return None if ladder is None or least is None else ladder >= least + more

    return {
        "at most 0.5 points below LoRA": at_least(lora, -BARS["below LoRA"]),
        "at least 3 points above the head": at_least(head, BARS["above the head"]),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="one epoch, one seed")
    parser.add_argument("--tasks", nargs="+", choices=data.TASKS, default=list(data.TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    seeds = range(MOST_SEEDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], choices=seeds)
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
