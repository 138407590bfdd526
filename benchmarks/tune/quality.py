"""How good each method is on the same data: ladder, LoRA, full fine-tuning, the head alone.

``python -m benchmarks.tune.quality``: MiniLM, six tasks, ten epochs of which the best on a held-out
tenth of the training half counts, batches of 32, at most 64 tokens a text (128 a pair read as one),
three seeds. The head alone is the control: what the frozen backbone gives without a ladder; beside
it the score without any training (pairs), and the most frequent class.

Learning rates are those of ``shoestring tune``, one a method for all tasks. Each run is a process
of its own and is kept outside git when it is done: an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.data import CACHE, ROOT
from benchmarks.tune import data

METHODS = ("head", "ladder", "ladder, fisher", "lora", "full")
EPOCHS = 10.0
BARS = {"below LoRA": 0.5, "above the head": 3.0}


def arguments(task: data.Task, method: str, seed: int, epochs: float, out: Path) -> list[str]:
    """The command of a run."""
    name, _, init = method.partition(", ")
    command = ["classify", "--text", "a"] if task.kind == "classify" else ["score"]
    if task.kind != "classify":
        command += ["--task", task.kind]
    elif task.is_of_pairs:
        command += ["--second", "b"]
    length = 128 if task.is_of_pairs and name in ("lora", "full") else 64
    return [
        command[0], str(task.train), *command[1:], "--method", name, "--out", str(out), "--seed",
        str(seed), "--epochs", str(epochs), "--max-length", str(length), "--json",
        *(["--init", init] if init else []),
    ]  # fmt: skip


def run(task: data.Task, method: str, seed: int, epochs: float) -> dict[str, Any]:
    """Train, answer for the test half, and keep what came of it."""
    folder = CACHE / "tune" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{task.name}-{method.replace(', ', '-')}-{seed}-{epochs:g}"
    kept = folder / f"{name}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return found
    out = folder / name
    call = [sys.executable, "-m", "shoestring.cli", "tune"]
    resume = ["--resume"] if out.with_name(out.name + ".tuning").exists() else []
    done = subprocess.run(
        [*call, *arguments(task, method, seed, epochs, out), *resume],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = {**json.loads(done.stdout), "test": tested(task, out)}
    kept.write_text(json.dumps(found, indent=1), "utf-8")
    return found


def tested(task: data.Task, folder: Path) -> dict[str, float]:
    """Figures on the test half."""
    from shoestring.tune.answering import Answers
    from shoestring.tune.ladder import Ladder
    from shoestring.tune.measures import quality

    rows = data.read(task.test)
    ladder = Ladder.from_pretrained(folder)
    logits = Answers(ladder).logits(rows["a"], rows.get("b"))
    if task.kind == "classify":
        places = {label: place for place, label in enumerate(ladder.settings.labels)}
        labels = np.array([places.get(label, -1) for label in rows["label"]])
        known = labels >= 0  # a class that is not trained on is a mistake
        return {"accuracy": float((logits.argmax(1)[known] == labels[known]).sum() / len(labels))}
    return quality(task.kind, logits, np.array([float(label) for label in rows["label"]]))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All tasks, methods and seeds."""
    epochs = 1.0 if options.quick else EPOCHS
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    result: dict[str, Any] = {
        "epochs": epochs, "seeds": len(seeds), "tasks": {},
        **output.versions("transformers", "peft", "shoestring"),
    }  # fmt: skip
    for name in options.tasks:
        task = data.task(name)
        rows = {}
        for method in METHODS:
            runs = [run(task, method, seed, epochs) for seed in seeds]
            values = [100 * found["test"][task.figure] for found in runs]
            rows[method] = {
                "mean": round(float(np.mean(values)), 2),
                "spread": round(float(np.ptp(values)), 2),
                "trained parameters": runs[0]["trained_parameters"],
            }
            print(f"{name}: {method} {rows[method]['mean']}", flush=True)
        result["tasks"][name] = {
            "figure": task.figure, "controls": data.controls(task), "methods": rows,
        }  # fmt: skip
        result["means"] = {
            method: round(
                float(np.mean([t["methods"][method]["mean"] for t in result["tasks"].values()])), 2
            )
            for method in METHODS
        }
        means = result["means"]
        best = max(means["ladder"], means["ladder, fisher"])
        result["bars"] = {
            "at most 0.5 points below LoRA": best >= means["lora"] - BARS["below LoRA"],
            "at least 3 points above the head": best >= means["head"] + BARS["above the head"],
        }
        output.write(result, options)
    output.show({"means": result["means"], "bars": result["bars"]})
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="one epoch, one seed")
    parser.add_argument("--tasks", nargs="+", choices=data.TASKS, default=list(data.TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
