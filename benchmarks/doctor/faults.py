"""Planted faults and sound models: ``python -m benchmarks.doctor.faults``."""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from benchmarks import output
from benchmarks.doctor.cases import FAULTS, SOUND
from shoestring.doctor import Report, examine

WIDTH, SEEDS = 512, (0, 1, 2)
BARS = {"found": 1.0, "false alarms": 0, "seconds": 30}


def line(report: Report, seconds: float) -> dict[str, Any]:
    faults = {f.name: [f.place, round(f.number, 4), round(f.threshold, 4)] for f in report.faults}
    return {"faults": faults, "seconds": round(seconds, 1)}


def run(width: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    planted: dict[str, Any] = {}
    sound: dict[str, Any] = {}
    for seed in seeds:
        for name, make in SOUND.items():
            torch.manual_seed(seed)
            began, model = time.monotonic(), make(width)
            found = line(examine(model, learning_rate=1e-4, seed=seed), time.monotonic() - began)
            sound.setdefault(name, []).append(found)
            print(f"sound, {name}: {found}", flush=True)
        for name, (fault, make, options) in FAULTS.items():
            torch.manual_seed(seed)
            began, model = time.monotonic(), make(width)
            found = line(examine(model, seed=seed, **(options or {})), time.monotonic() - began)
            planted.setdefault(name, {"planted": fault, "runs": []})["runs"].append(found)
            print(f"{fault}, {name}: {found}", flush=True)
    runs = [(case["planted"], one) for case in planted.values() for one in case["runs"]]
    every = [one for ones in sound.values() for one in ones]
    return {
        "width": width,
        "bars": BARS,
        "found": sum(fault in one["faults"] for fault, one in runs) / len(runs),
        "false alarms": sum(bool(one["faults"]) for one in every),
        "seconds": max(one["seconds"] for one in [*every, *(one for _, one in runs)]),
        "planted": planted,
        "sound": sound,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="width 128, one seed")
    options = parser.parse_args()
    result = run(*((128, (0,)) if options.quick else (WIDTH, SEEDS)))
    output.show({name: result[name] for name in BARS})
    output.write(result, options)
