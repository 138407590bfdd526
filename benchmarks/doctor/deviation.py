"""The deviation of the weights from 0.005 to 0.08: ``python -m benchmarks.doctor.deviation``.

The encoder, the text and the steps of ``benchmarks.doctor.training``, 12 layers: for each deviation
what is predicted, what the doctor says, and the last loss without and with warm-up, three seeds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.doctor.training import RATE, STEPS, WARMUP, build, config_of, kept, train
from shoestring.doctor import examine, predict
from shoestring.doctor.families import stacks_of
from shoestring.doctor.remedy import first_move, moved, warmup

DEVIATIONS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)
LAYERS, SEEDS = 12, (0, 1, 2)


def case(deviation: float, layers: int, steps: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    config = config_of(layers, deviation)
    signal, stacks = predict(config), stacks_of(config)
    faults = examine(config, learning_rate=RATE, warmup_steps=0).faults
    last = {}
    for steps_of_warmup in (0, WARMUP):
        runs = [
            kept(
                f"deviation-{layers}-{steps}-{deviation}-{steps_of_warmup}-{seed}",
                lambda w=steps_of_warmup, s=seed: train(lambda: build(config), w, s, steps),
            )
            for seed in seeds
        ]
        last[str(steps_of_warmup)] = round(float(np.mean([losses[-1] for losses in runs])), 4)
    return {
        "gain": round(signal.gain, 4),
        "correlation": round(signal.correlation, 4),
        "moved by all sublayers": round(moved(signal), 4),
        "moved by the first step": round(first_move(stacks, signal, RATE), 3),
        "prescribed warm-up": warmup(stacks, signal, RATE),
        "faults": [fault.name for fault in faults],
        "last loss by warm-up": last,
    }


def run(quick: bool) -> dict[str, Any]:
    layers, steps, seeds = (4, 40, (0,)) if quick else (LAYERS, STEPS, SEEDS)
    cases = {}
    for deviation in DEVIATIONS[::3] if quick else DEVIATIONS:
        cases[str(deviation)] = case(deviation, layers, steps, seeds)
        print(deviation, cases[str(deviation)], flush=True)
    return {"layers": layers, "steps": steps, "seeds": len(seeds), "rate": RATE, "cases": cases}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="4 layers, 40 steps, one seed, 3 deviations")
    options = parser.parse_args()
    result = run(options.quick)
    output.write(result, options)
