"""Predicted memory against measured: ``python -m benchmarks.plan.memory``.

Each case runs in a process of its own: two steps with AdamW, or two forward passes. Live bytes are
the parameters, the moments and what torch's profiler sees allocated and freed in the second step;
resident bytes the process's largest size once the model is made. Bars: 3 %, and 10 % or 40 MiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import output
from benchmarks.data import ROOT

CASES = [
    (model, batch, length, train)
    for model, batch, length in (
        ("MiniLM", 32, 128), ("MiniLM", 8, 512), ("BERT-base", 4, 128), ("GPT-2", 4, 128),
        ("Llama", 4, 256), ("T5", 4, 128), ("ModernBERT", 4, 256), ("Mixtral", 4, 128),
    )
    for train in (False, True)
]  # fmt: skip


def config_of(name: str) -> Any:
    """A config of a usual size, or of fewer layers where that is large."""
    from transformers import (
        BertConfig,
        GPT2Config,
        LlamaConfig,
        MixtralConfig,
        ModernBertConfig,
        T5Config,
    )

    few = {"hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 6}
    return {
        "MiniLM": lambda: BertConfig(
            hidden_size=384, num_attention_heads=12, num_hidden_layers=6, intermediate_size=1536
        ),
        "BERT-base": BertConfig,
        "GPT-2": GPT2Config,
        "Llama": lambda: LlamaConfig(**few, num_key_value_heads=2, intermediate_size=1376),
        "T5": T5Config,
        "ModernBERT": lambda: ModernBertConfig(
            num_hidden_layers=6, layer_types=["full_attention", "sliding_attention"] * 3
        ),
        "Mixtral": lambda: MixtralConfig(
            **few, num_key_value_heads=2, intermediate_size=512, num_local_experts=4
        ),
    }[name]()


def child(name: str, batch: int, length: int, train: bool, is_profiled: bool) -> int:
    """Bytes of one case in this process."""
    from transformers import AutoModel

    from shoestring.plan.trace import inputs_of, sum_of

    config = config_of(name)
    model = AutoModel.from_config(config).train(train)
    inputs = inputs_of(config, batch, length)
    optimizer = torch.optim.AdamW(model.parameters()) if train else None

    def step() -> None:
        with torch.set_grad_enabled(train):
            out = model(**inputs)
            if optimizer:
                sum_of(out).backward()
                del out
                optimizer.step()
                optimizer.zero_grad()

    Path("/proc/self/clear_refs").write_text("5")  # drawing the weights took more at a time
    step()
    if not is_profiled:
        step()
        return output.peak_bytes()
    held = sum(value.numel() * 4 for value in model.parameters()) * (3 if train else 1)
    with torch.profiler.profile(profile_memory=True) as profiler:
        step()
    live = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return held + peak


def main() -> None:
    """All cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="two cases: a minute")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(child(*json.loads(options.child)))
        return
    from shoestring.plan import estimate

    rows: dict[str, Any] = {}
    for name, batch, length, train in CASES[:2] if options.quick else CASES:
        found = estimate(config_of(name), batch=batch, length=length, train=train).bytes
        measured = []
        for is_profiled in (True, False):
            case = json.dumps([name, batch, length, train, is_profiled])
            command = [sys.executable, "-m", "benchmarks.plan.memory", "--child", case]
            said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            measured.append(int(said.stdout.split()[-1]))
        live, resident = measured
        rows[f"{name}, {batch} x {length}, {'training' if train else 'forward'}"] = {
            "live": live, "predicted": found["peak"], "error": found["peak"] / live - 1,
            "resident": resident, "predicted resident": found["resident"],
            "resident error": found["resident"] / resident - 1,
            "holds": abs(found["peak"] / live - 1) <= 0.03
            and abs(found["resident"] - resident) <= max(0.1 * resident, 40 << 20),
        }  # fmt: skip
        output.show({key: row for key, row in rows.items() if key.startswith(name)})
        output.write({"cases": rows, "bars": {"live": 0.03, "resident": "10 % or 40 MiB"}}, options)


if __name__ == "__main__":
    main()
