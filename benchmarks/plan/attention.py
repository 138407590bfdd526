"""Softmax against linear attention in a BERT-base layer: ``python -m benchmarks.plan.attention``.

From which length the linear kernel is quicker, predicted and measured (forward and backward, one
text, heads four times as wide), for an encoder and a decoder; bar: within 20 %. And the published
bounds, in tokens, beside measured time: the attention matrix against the feed-forward layer
(n > 2 D), against all of the layer's matrices (n > 6 D), against the linear kernel (n > 16 d).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import output

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
LONG = (*LENGTHS, 8192)


def crossing(lengths: Sequence[int], ratios: Sequence[float]) -> float | None:
    """Where a ratio that falls goes below 1, between lengths, by logarithms; None if nowhere."""
    logs = np.log(ratios)
    for first in range(len(logs) - 1):
        if logs[first] >= 0 > logs[first + 1]:
            share = logs[first] / (logs[first] - logs[first + 1])
            near, far = np.log(lengths[first : first + 2])
            return float(np.exp(near + share * (far - near)))
    return None


def matrices_s(shapes: Sequence[tuple[int, int]], n: int) -> float:
    """Seconds of products of n rows with some matrices, forward and backward."""
    from shoestring.plan.machine import quickest_s

    pairs = [
        (torch.randn(n, k, requires_grad=True), torch.randn(k, m, requires_grad=True))
        for k, m in shapes
    ]

    def step() -> None:
        for x, weight in pairs:
            (x @ weight).sum().backward()

    return quickest_s(step)


def main() -> None:
    """Crossovers and bounds."""
    from transformers import BertConfig, LlamaConfig

    from shoestring.plan import compare_attention, measure_machine

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="up to 1,024 tokens: two minutes")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    lengths = LENGTHS[:5] if options.quick else LONG
    on = measure_machine()
    base = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    rows: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for kind, config in (("encoder", BertConfig()), ("decoder", LlamaConfig(**base))):
        found = compare_attention(config, lengths=lengths)
        curves[kind] = [
            {k: row[k] for k in ("length", "softmax", "linear", "width")}
            for row in found["lengths"]
        ]
        ratios = [
            row["linear"]["measured"] / row["softmax"]["measured"] for row in found["lengths"]
        ]
        measured, said = crossing(lengths, ratios), found["crossovers"]["seconds"]
        rows[kind] = {
            "FLOPs": found["crossovers"]["flops"], "predicted": said, "measured": measured,
            "bytes": found["crossovers"]["bytes"],
            "error": said / measured - 1 if said and measured else None,
        }  # fmt: skip
        output.show({kind: rows[kind]})
    softmax = [row["softmax"]["measured"] for row in curves["encoder"]]
    width, neurons = base["hidden_size"], base["intermediate_size"]
    feed_forward = [(width, neurons), (neurons, width)]
    all_of_it = [*feed_forward, *[(width, width)] * 4]
    against: dict[str, tuple[int, Callable[[int], float]]] = {
        "feed-forward, n > 2 D": (2 * width, lambda n: matrices_s(feed_forward, n)),
        "all matrices, n > 6 D": (6 * width, lambda n: matrices_s(all_of_it, n)),
    }
    bounds: dict[str, Any] = {}
    for name, (published, seconds) in against.items():
        ratios = [seconds(n) / s for n, s in zip(lengths, softmax, strict=True)]
        bounds[name] = {"published": published, "measured": crossing(lengths, ratios)}
    linear = rows["encoder"]
    bounds["linear kernel, n > 16 d"] = {"published": 1024, "measured": linear["measured"]}
    output.show(bounds)
    result = {"crossovers": rows, "bounds": bounds, "bars": {"error": 0.2}, "curves": curves}
    output.write({"machine": on.summary, **result}, options)


if __name__ == "__main__":
    main()
