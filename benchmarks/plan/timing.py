"""Predicted time against measured: ``python -m benchmarks.plan.timing``.

Ten models, four lengths, three batches, float32 and bfloat16, a forward pass and a training step
(forward, backward, AdamW), beside FLOPs over the machine's best FLOP/s as the control. Bars: median
error 15 %, 90th percentile 35 %, and of pairs whose times differ by 20 % or more the quicker one
named in 95 %. The machine is measured first.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from typing import Any

import numpy as np
import torch

from benchmarks import output

LENGTHS, BATCHES = (16, 64, 128, 256), (1, 4, 16)
LEAST_RATIO = 1.2


def configs() -> dict[str, Any]:
    """Ten small models of different families and shapes."""
    from transformers import (
        BertConfig,
        DistilBertConfig,
        ElectraConfig,
        GPT2Config,
        GPTNeoXConfig,
        LlamaConfig,
        ModernBertConfig,
        Qwen3Config,
        RobertaConfig,
        T5Config,
    )

    wide = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1376}
    return {
        "MiniLM": BertConfig(
            hidden_size=384, num_attention_heads=12, num_hidden_layers=6, intermediate_size=1536
        ),
        "BERT-tiny": BertConfig(
            hidden_size=128, num_attention_heads=2, num_hidden_layers=2, intermediate_size=512
        ),
        "RoBERTa, 3 layers": RobertaConfig(num_hidden_layers=3),
        "DistilBERT, 2 layers": DistilBertConfig(n_layers=2),
        "ELECTRA-small": ElectraConfig(),
        "ModernBERT, 4 layers": ModernBertConfig(
            num_hidden_layers=4, layer_types=["full_attention", "sliding_attention"] * 2
        ),
        "GPT-2, 3 layers": GPT2Config(n_layer=3),
        "GPT-NeoX": GPTNeoXConfig(**wide, num_hidden_layers=4, vocab_size=5000),
        "Llama": LlamaConfig(**wide, num_hidden_layers=4, num_key_value_heads=2, vocab_size=5000),
        "T5-small": T5Config(),
        "Qwen3": Qwen3Config(
            **wide, num_hidden_layers=4, num_key_value_heads=2, head_dim=64, vocab_size=5000
        ),
    }


def measured_s(config: Any, batch: int, length: int, is_trained: bool, dtype: str) -> float:
    """Seconds of a pass or step."""
    from transformers import AutoModel

    from shoestring.plan.machine import quickest_s
    from shoestring.plan.trace import inputs_of, sum_of

    model = AutoModel.from_config(config, dtype=getattr(torch, dtype)).train(is_trained)
    inputs = inputs_of(config, batch, length)
    optimizer = torch.optim.AdamW(model.parameters()) if is_trained else None

    def step() -> None:
        out = model(**inputs)
        if optimizer:
            sum_of(out).backward()
            optimizer.step()
            optimizer.zero_grad()

    with torch.set_grad_enabled(is_trained):
        return quickest_s(step)


def scores(rows: list[dict[str, Any]], column: str) -> dict[str, float]:
    """Errors of a prediction, and how often it names the quicker of two."""
    true = np.array([row["measured"] for row in rows])
    said = np.array([row[column] for row in rows])
    errors = np.abs(said / true - 1)
    pairs = [
        (said[a] < said[b]) == (true[a] < true[b])
        for a, b in combinations(range(len(rows)), 2)
        if max(true[a], true[b]) >= LEAST_RATIO * min(true[a], true[b])
    ]
    return {
        "median error": float(np.median(errors)),
        "90th percentile": float(np.quantile(errors, 0.9)),
        "quicker named": float(np.mean(pairs)) if pairs else float("nan"),
    }


def main() -> None:
    """All cases."""
    from shoestring.plan import estimate, measure_machine

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="two models, two lengths, one batch: two minutes")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    on = measure_machine(again=True)
    peak = 1e9 * on.summary["GFLOPs a second"]
    known = configs()
    known.pop("BERT-tiny")
    names = list(known)[:2] if options.quick else list(known)
    lengths, batches = (LENGTHS[1:3], BATCHES[1:2]) if options.quick else (LENGTHS, BATCHES)
    rows: list[dict[str, Any]] = []
    for name in names:
        for dtype in ("float32", "bfloat16"):
            for train in (False, True):
                for length in lengths:
                    for batch in batches:
                        case = {"length": length, "batch": batch, "dtype": dtype, "train": train}
                        found = estimate(known[name], **case)
                        flops = found.flops["forward"] + found.flops["backward"]
                        took = measured_s(known[name], batch, length, train, dtype)
                        rows.append({
                            "model": name, **case, "measured": took,
                            "predicted": found.seconds["batch"], "FLOPs over peak": flops / peak,
                        })  # fmt: skip
        result = {
            "machine": on.summary,
            "predicted": scores(rows, "predicted"),
            "FLOPs over peak": scores(rows, "FLOPs over peak"),
            "bars": {"median error": 0.15, "90th percentile": 0.35, "quicker named": 0.95},
            "cases": rows,
        }
        output.show({name: scores([row for row in rows if row["model"] == name], "predicted")})
        output.write(result, options)
    output.show({name: result[name] for name in ("predicted", "FLOPs over peak")})


if __name__ == "__main__":
    main()
