"""Why BERT's head has a dense layer and a norm of its own: ``python -m benchmarks.doctor.head``.

With tied embeddings of deviation 0.02 the logits begin near 0, and must grow. The encoder of
``benchmarks.doctor.training`` with BERT's head, and with the bare embeddings as its head: the gamma
of the encoder's last norm over the median of those before it (Su: it is clearly the largest where
nothing else carries the scale), and the deviation of the logits before and after.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import output
from benchmarks.doctor.training import RATE, VOCABULARY, build, config_of, train
from shoestring.doctor import measure

LAYERS, STEPS, SEEDS = 4, 2_000, (0, 1, 2)
HEADS = ("dense layer and norm", "bare")


def model_of(head: str, seed: int) -> Any:
    torch.manual_seed(seed)
    model = build(config_of(LAYERS, 0.02))
    if head == "bare":
        model.cls.predictions.transform = nn.Identity()
    return model


def case(head: str, steps: int, seeds: tuple[int, ...]) -> dict[str, float]:
    rows = []
    ids = {"input_ids": torch.arange(32)[None] % VOCABULARY}
    for seed in seeds:
        model = model_of(head, seed)
        first = measure(model, ids).logits
        losses = train(lambda made=model: made, 0, seed, steps)
        norms = [m.weight for n, m in model.bert.named_modules() if n.endswith("LayerNorm")]
        sizes = [float(w.detach().square().mean().sqrt()) for w in norms]
        gamma = sizes[-1] / float(np.median(sizes[:-1]))
        rows.append([gamma, first, measure(model, ids).logits, losses[-1]])
    names = ("gamma", "logits at first", "logits at last", "last loss")
    return dict(zip(names, np.mean(rows, 0).round(4).tolist(), strict=True))


def run(quick: bool) -> dict[str, Any]:
    steps, seeds = (100, (0,)) if quick else (STEPS, SEEDS)
    heads = {head: case(head, steps, seeds) for head in HEADS}
    return {"layers": LAYERS, "steps": steps, "seeds": len(seeds), "rate": RATE, "heads": heads}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="100 steps, one seed")
    options = parser.parse_args()
    result = run(options.quick)
    output.show(result["heads"])
    output.write(result, options)
