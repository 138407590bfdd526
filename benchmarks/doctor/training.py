"""A 48-layer post-norm encoder without warm-up: ``python -m benchmarks.doctor.training``.

BERT's layers, 64 wide, on the characters of English Wikipedia: a fifth of them is masked, and all
of them are to be told (so that the loss says at once whether tokens pass through the layers; 3.0 is
what counting characters gives, 0.61 what a perfect copy of those that are not masked gives). 32
tokens, 16 texts a step, 400 steps of AdamW at 1e-3 without dropout. The arms:

- default: Xavier's deviation, without and with 100 steps of warm-up;
- prescribed: the deviation that ``doctor prescribe`` writes, without and with warm-up;
- AnyInit, where it is installed: its initialisation of the default model, without warm-up.

Each run is kept outside git when it is done.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from benchmarks import output
from benchmarks.data import CACHE
from benchmarks.words import data as words_data
from shoestring.doctor import predict, prescribe

WIDTH, LENGTH, BATCH, STEPS, RATE, WARMUP = 64, 32, 16, 400, 1e-3, 100
LAYERS, SEEDS = 48, (0, 1, 2)
VOCABULARY, MASK, EVERY = 60, 2, 20
BARS = {"to the best warmed-up loss": 1.02, "the default stalls above": 2.0}


@lru_cache(maxsize=1)
def characters() -> np.ndarray:
    text = "".join(islice(words_data.articles("text/enwiki-part"), 60)).lower()
    frequent = [c for c, _ in Counter(text).most_common(VOCABULARY - 3)]
    numbers = {c: i + 3 for i, c in enumerate(frequent)}
    return np.array([numbers.get(c, 1) for c in text])


def config_of(layers: int, deviation: float) -> BertConfig:
    return BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=4 * WIDTH, max_position_embeddings=LENGTH, pad_token_id=0,
        initializer_range=deviation, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def build(config: BertConfig) -> Any:
    """The model; embeddings and head as BERT has them, as they are not what is compared."""
    model = BertForMaskedLM(config)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.normal_(0.0, 0.02)
    return model


def train(make: Callable[[], Any], warmup: int, seed: int, steps: int) -> list[float]:
    """The losses, each the mean of 20 steps."""
    torch.manual_seed(seed)
    draws, model = np.random.default_rng(seed), make().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    text, losses = characters(), []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / max(1, warmup))
        starts = draws.integers(0, len(text) - LENGTH, BATCH)
        labels = torch.tensor(np.stack([text[i : i + LENGTH] for i in starts]))
        hidden = torch.tensor(draws.random(labels.shape) < 0.2)
        loss = model(input_ids=labels.masked_fill(hidden, MASK), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return [round(float(np.mean(losses[i : i + EVERY])), 4) for i in range(0, steps, EVERY)]


def kept(name: str, run: Callable[[], list[float]]) -> list[float]:
    """The losses of a run, or of the one that was done before."""
    path = CACHE / "doctor" / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text("utf-8"))
    losses = run()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(losses), "utf-8")
    aside.rename(path)
    return losses


def arms(layers: int) -> dict[str, tuple[Callable[[], Any], int, float]]:
    """What makes the model, steps of warm-up, and the predicted gain, of each arm."""
    default = config_of(layers, WIDTH**-0.5)
    found = prescribe(default, learning_rate=RATE)
    mended = copy.deepcopy(default)
    mended.initializer_range *= found.factor
    made: dict[str, tuple[Callable[[], Any], int, float]] = {
        "default": (lambda: build(default), 0, found.gain),
        "default, warmed up": (lambda: build(default), WARMUP, found.gain),
        "prescribed": (lambda: build(mended), 0, found.new_gain),
        "prescribed, warmed up": (lambda: build(mended), WARMUP, predict(mended).gain),
    }
    if importlib.util.find_spec("anyinit"):
        made["AnyInit"] = (lambda: initialised(build(default)), 0, float("nan"))
    return made


def initialised(model: Any) -> Any:
    importlib.import_module("anyinit").initialize(model)
    return model


def run(quick: bool) -> dict[str, Any]:
    layers, steps, seeds = (6, 60, (0,)) if quick else (LAYERS, STEPS, SEEDS)
    curves: dict[str, list[list[float]]] = {}
    gains = {}
    for arm, (make, warmup, gain) in arms(layers).items():
        gains[arm] = gain
        for seed in seeds:
            name = f"training-{layers}-{steps}-{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
            losses = kept(name, lambda m=make, w=warmup, s=seed: train(m, w, s, steps))
            curves.setdefault(arm, []).append(losses)
            print(f"{arm}, seed {seed}: {losses[-1]}", flush=True)
    last = {arm: round(float(np.mean([c[-1] for c in found])), 4) for arm, found in curves.items()}
    best = min(loss for arm, loss in last.items() if "warmed" in arm)
    return {
        "layers": layers, "width": WIDTH, "steps": steps, "seeds": len(seeds), "rate": RATE,
        "warm-up": WARMUP, "bars": BARS, "gains": gains, "last": last,
        "prescribed over the best warmed up": round(last["prescribed"] / best, 4),
        "curves": curves,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="6 layers, 60 steps, one seed")
    options = parser.parse_args()
    result = run(options.quick)
    output.show(result["last"])
    output.write(result, options)
