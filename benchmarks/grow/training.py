"""Whether growing pays: ``python -m benchmarks.grow.training``.

Small causal language models (Llama's layers) on English Wikipedia, by pieces of a vocabulary that
is trained here, at equal floating-point operations, the small phase counted. Two growths: depth 3
to 6 at width 128, width 96 to 192 at depth 4. The arms:

- scratch: the large model from the start; small: the small one to the end;
- symmetric: grown with equal shares (width; a deeper model shares nothing, so that it would be
  ours); stacked: copies of layers (depth; not exact);
- ours, with the optimiser grown; ours, fresh moments.

The learning rate is constant after a warm-up, so that a curve can be read at any point: what is
saved is the share of operations at which an arm reaches the last loss of scratch (mean of its last
readings), read off its smoothed curve; with an interval over seeds (Student's). Published at scale
(Du et al. 2024, arXiv 2405.15319, figure 3): depth 46.6 % by layers that begin as the identity and
49.1 % stacked; width -0.7 to -17.9 %. Each run is kept outside git when it is done.
"""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from functools import lru_cache
from itertools import islice
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks import output
from benchmarks.data import CACHE
from benchmarks.words import data as words_data

VOCABULARY, LENGTH, BATCH = 1_024, 128, 8
N_TEXTS, N_ASKED = 6_000, 64  # articles; blocks that are asked about
RATE, WARMUP, EVERY = 1.5e-3, 50, 25
SEEDS = (0, 1, 2)
FLOPS = 9e12  # of a run: some three minutes of a core
SMALL_SHARE = 0.35  # of them for the small model
AXES: dict[str, dict[str, dict[str, int]]] = {
    "depth 3 to 6": {
        "small": {"hidden": 128, "heads": 4, "intermediate": 352, "layers": 3},
        "large": {"layers": 6},
    },
    "width 96 to 192": {
        "small": {"hidden": 96, "heads": 3, "intermediate": 256, "layers": 4},
        "large": {"hidden": 192, "heads": 6, "intermediate": 512},
    },
}
ARMS = ("scratch", "small", "symmetric", "stacked", "ours", "ours, fresh moments")
BARS = {"depth": 0.30, "depth, lower end": 0.20}


@lru_cache(maxsize=1)
def blocks() -> NDArray[np.int64]:
    """Token ids (N, LENGTH) of English Wikipedia; the first ones are asked about."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    file = CACHE / "grow" / f"blocks-{VOCABULARY}-{N_TEXTS}.npy"
    if not file.exists():
        texts = list(islice(words_data.articles("text/enwiki-part"), N_TEXTS))
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False)
        tokenizer.train_from_iterator(texts[:1_000], trainer)
        ids = np.concatenate([one.ids for one in tokenizer.encode_batch(texts)])
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, ids[: len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH).astype(np.int32))
    found: NDArray[np.int64] = np.load(file).astype(np.int64)
    return found[np.random.default_rng(0).permutation(len(found))]


def model_of(sizes: dict[str, int], seed: int) -> Any:
    """A new model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=sizes["hidden"], num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["heads"], intermediate_size=sizes["intermediate"],
            max_position_embeddings=LENGTH, tie_word_embeddings=True,
        )
    )  # fmt: skip


def flops_a_step(model: Any) -> float:
    """Six for each weight that is multiplied and each token, and the attention's products."""
    config = model.config
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    scores = 2 * config.num_hidden_layers * LENGTH * config.hidden_size
    return float(6 * (weights + scores) * BATCH * LENGTH)


class Run:
    """A training: operations so far, and the losses (operations, nats) on the way."""

    def __init__(self, seed: int) -> None:
        self.order = np.random.default_rng(seed)
        self.spent, self.steps = 0.0, 0
        self.curve: list[tuple[float, float]] = []

    def train(self, model: Any, optimizer: Any, budget: float, rewarm: bool = False) -> None:
        """Steps until the operations are spent."""
        import torch

        data, cost, first = blocks()[N_ASKED:], flops_a_step(model), self.steps
        while self.spent + cost <= budget:
            since = self.steps - (first if rewarm else 0)
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, (since + 1) / WARMUP)
            ids = torch.from_numpy(data[self.order.integers(len(data), size=BATCH)])
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            self.spent += cost
            self.steps += 1
            if self.steps % EVERY == 0:
                self.ask(model)
        self.ask(model)

    def ask(self, model: Any) -> None:
        """The loss on the blocks that are not trained on."""
        import torch

        ids = torch.from_numpy(blocks()[:N_ASKED])
        with torch.no_grad():
            self.curve.append((self.spent, float(model(input_ids=ids, labels=ids).loss)))


def equally_shared(weight: Any, source: Any, generator: Any) -> Any:
    """Equal shares for the copies of a channel: a symmetric clone."""
    from shoestring.grow import rules

    shares = 1.0 / rules.copies(source, weight.shape[-1])[source.clamp(min=0)]
    return weight.index_select(-1, source.clamp(min=0)) * (shares * (source >= 0)).to(weight.dtype)


def curve(axis: str, arm: str, seed: int, budget: float) -> list[tuple[float, float]]:
    """One arm."""
    import torch

    from shoestring import grow
    from shoestring.grow import rules

    sizes, run = AXES[axis], Run(seed)
    small, large = sizes["small"], sizes["large"]
    model = model_of(small | large if arm == "scratch" else small, seed)

    def adamw(of: Any) -> Any:
        return torch.optim.AdamW(of.parameters(), lr=RATE, weight_decay=0.1, betas=(0.9, 0.95))

    optimizer = adamw(model)
    if arm in ("scratch", "small"):
        run.train(model, optimizer, budget)
        return run.curve
    run.train(model, optimizer, SMALL_SHARE * budget)
    keeps = arm != "ours, fresh moments"
    with patch.object(rules, "shared", equally_shared) if arm == "symmetric" else nullcontext():
        model, _ = grow(
            model, stack=arm == "stacked", seed=seed, batches=1,
            optimizer=optimizer if keeps else None, **large,
        )  # fmt: skip
    run.train(model.train(), optimizer if keeps else adamw(model), budget, rewarm=not keeps)
    return run.curve


def kept_curve(axis: str, arm: str, seed: int, budget: float) -> list[tuple[float, float]]:
    """A curve that was made before, or now."""
    name = f"{axis} {arm} {seed} {budget:.1e}".replace(" ", "-").replace(",", "")
    file = CACHE / "grow" / "curves" / f"{name}.json"
    if not file.exists():
        found = curve(axis, arm, seed, budget)
        print(f"{axis}, {arm}, seed {seed}: {found[-1][1]:.4f}", flush=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    points: list[tuple[float, float]] = json.loads(file.read_text())
    return points


def smoothed(points: list[tuple[float, float]], n: int = 5) -> NDArray[np.float64]:
    """Operations and the mean of the last n losses (N, 2)."""
    table = np.array(points)
    table[:, 1] = [table[max(0, i - n + 1) : i + 1, 1].mean() for i in range(len(table))]
    return table


def saved(points: list[tuple[float, float]], scratch: list[tuple[float, float]]) -> float:
    """The share of operations that are saved to scratch's last loss; NaN if it is not reached."""
    table, goal = smoothed(points), smoothed(scratch)[-1]
    reached = np.flatnonzero(table[:, 1] <= goal[1])
    if not len(reached):
        return float("nan")
    i = int(reached[0])
    (x0, y0), (x1, y1) = table[max(0, i - 1)], table[i]
    at = x1 if y0 <= y1 else x0 + (x1 - x0) * (y0 - goal[1]) / (y0 - y1)
    return float(1 - at / goal[0])


def main() -> None:
    """All arms and seeds of both growths."""
    from scipy.stats import t

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="a fiftieth of the operations, one seed: two minutes")
    parser.add_argument("--axes", nargs="+", choices=tuple(AXES), default=list(AXES))
    options = parser.parse_args()
    seeds, budget = (SEEDS[:1], FLOPS / 50) if options.quick else (SEEDS, FLOPS)
    found: dict[str, Any] = {}
    for axis in options.axes:
        arms: dict[str, Any] = {}
        curves = {
            arm: [kept_curve(axis, arm, seed, budget) for seed in seeds]
            for arm in ARMS
            if arm != ("symmetric" if "depth" in axis else "stacked")
        }
        for arm, of_seeds in curves.items():
            shares = [saved(c, s) for c, s in zip(of_seeds, curves["scratch"], strict=True)]
            mean, n = float(np.mean(shares)), len(shares)
            half = float(t.ppf(0.975, n - 1) * np.std(shares, ddof=1) / n**0.5) if n > 1 else 0.0
            arms[arm] = {
                "last loss": round(float(np.mean([smoothed(c)[-1, 1] for c in of_seeds])), 4),
                "saved": [round(share, 3) for share in shares],
                "mean": round(mean, 3),
                "interval": [round(mean - half, 3), round(mean + half, 3)],
            }
        found[axis] = {"arms": arms, "curves": {a: c[0] for a, c in curves.items()}}
        output.show({f"{axis}, {arm}": one for arm, one in arms.items()})
        output.write({"flops": budget, "seeds": len(seeds), "bars": BARS, "axes": found}, options)


if __name__ == "__main__":
    main()
