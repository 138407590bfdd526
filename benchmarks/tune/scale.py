"""A backbone of 24 layers, 1,024 wide, trained on: with a ladder, and as a whole.

``python -m benchmarks.tune.scale``: a BERT of BERT-large's size with random weights (335 million
numbers), batches of 32 texts of 128 tokens, random ids, three steps each in a process of its own.
What is asked is memory: the peak of the resident memory of the whole process, the interpreter and
its libraries included. The ladder is as wide and has as many rungs as by default, and keeps no
outputs on the disk, so that each step runs the backbone. Bar: under 8 GiB.

Full fine-tuning is stopped where it would take more than ``--limit`` GiB; then that is what stands
in the table, as "more than".
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks import output
from benchmarks.data import ROOT

BATCH, LENGTH = 32, 128
BAR_GIB = 8.0
WAYS = ("ladder", "full")


def one(way: str, n_steps: int, seed: int, n_layers: int, limit_gib: float) -> dict[str, float]:
    """Train in this process."""
    import torch
    from transformers import BertConfig, BertModel

    from shoestring.tune.baselines import make_model
    from shoestring.tune.config import LadderConfig
    from shoestring.tune.ladder import Ladder

    resource.setrlimit(resource.RLIMIT_DATA, (int(limit_gib * 2**30), resource.RLIM_INFINITY))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=30_522, hidden_size=1_024, num_hidden_layers=n_layers, num_attention_heads=16,
        intermediate_size=4_096,
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False)
    settings = LadderConfig(n_labels=2, max_length=LENGTH, seed=seed)
    if way == "ladder":
        model: Any = Ladder.from_backbone(backbone.bfloat16(), settings)
    else:
        from shoestring.models.frozen import FrozenBackbone

        frozen = FrozenBackbone(backbone, None, "float32")
        model = make_model("full", frozen, settings)
        frozen.model = model.model  # one copy of the weights
    del backbone
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True
    )
    model.train()
    seconds = []
    for _ in range(n_steps):
        ids = torch.randint(1_000, 30_000, (BATCH, LENGTH))
        labels = torch.randint(0, 2, (BATCH,))
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "full"):
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
        print(f"{way}: {seconds[-1]:.1f} s, {peak_gib():.2f} GiB", file=sys.stderr, flush=True)
    return {"GiB": round(peak_gib(), 2), "seconds": round(statistics.median(seconds), 1)}


def peak_gib() -> float:
    """The largest resident memory of this process so far."""
    return output.peak_bytes() / 2**30


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both ways, one after the other."""
    n_layers, n_steps = (4, 1) if options.quick else (24, 3)
    rows: dict[str, list[Any]] = {}
    for way in WAYS:
        command = [
            sys.executable, "-m", "benchmarks.tune.scale", "--way", way, "--steps", str(n_steps),
            "--layers", str(n_layers), "--seed", str(options.seed), "--limit", str(options.limit),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if done.returncode not in (
            0,
            -signal.SIGKILL,
        ):  # by which the system ends what is too large
            raise SystemExit(f"{way} failed; see above.")
        found = json.loads(done.stdout.splitlines()[-1]) if done.stdout else None
        rows[way] = [f"more than {options.limit:g}", "-"]
        if found is not None:
            rows[way] = [found["GiB"], found["seconds"]]
        print(f"{way}: {rows[way]}", flush=True)
    result = {
        "what": f"BERT, {n_layers} layers, 1,024 wide, batches of {BATCH} x {LENGTH} tokens",
        "ways": rows,
        "ladder below 8 GiB": bool(rows["ladder"][1] != "-" and rows["ladder"][0] < BAR_GIB),
        **output.versions("transformers", "shoestring"),
    }
    output.write(result, options)
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="four layers, one step")
    parser.add_argument("--limit", type=float, default=22.0, help="GiB that a process may have")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--layers", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        try:
            found = one(options.way, options.steps, options.seed, options.layers, options.limit)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            found = None
        print(json.dumps(found))
    else:
        measure(options)


if __name__ == "__main__":
    main()
