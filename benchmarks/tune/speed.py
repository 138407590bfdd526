"""What a training step and ten epochs cost: ladder, LoRA, full fine-tuning, the head alone.

``python -m benchmarks.tune.speed``: MiniLM on banking77's training half, batches of 32, texts cut
at 32 tokens, LoRA of rank 8 on queries and values, each method in a process of its own, in turns.

- Seconds of a step (the median after the first ten), of an epoch, of what is done once (the
  backbone's outputs, on an empty cache), and from these of ten epochs. LoRA and full fine-tuning in
  float32 and in bfloat16 (autocast); the faster one is compared.
- Memory: resident memory above what the process has with the backbone loaded and run once and
  everything imported, and the bytes that autograd keeps of a batch of 32 x 32 tokens.
- Inference: answers of 2,000 texts through the ladder, and through the head alone, which costs what
  the backbone costs; in turns, the median of the ratios.

glibc keeps freed memory of large blocks, which hides what a method needs behind what was freed:
resident memory is that of another process, with a fixed MALLOC_MMAP_THRESHOLD_ (4 MiB), which costs
time, and the other figures are of one without it.

Bars: ten epochs in a fifth of LoRA's time and a tenth of full fine-tuning's, a cached epoch an
eighth of a LoRA epoch, resident memory 30 % and saved bytes 20 % of LoRA's, inference 15 % over the
backbone's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import output
from benchmarks.data import ROOT
from benchmarks.tune import data

WAYS = ("head", "ladder", "lora", "lora, bfloat16", "full", "full, bfloat16")
BATCH, LENGTH, EPOCHS = 32, 32, 10
RESIDENT, KEPT = "resident above the backbone, MiB", "kept for backward, MiB"
PUBLISHED = {"LST beside full fine-tuning": "69 % less memory", "others (LoRA, adapters)": "26 %"}


def one(way: str, n_steps: int, seed: int) -> dict[str, float]:
    """Measure one way in this process."""
    import torch
    import transformers.trainer  # noqa: F401  # imported by a job anyway

    from benchmarks.tune.memory import Memory, saved_bytes
    from shoestring.models.frozen import FrozenBackbone, keep_few_kernels, return_freed_memory
    from shoestring.tune.baselines import make_model
    from shoestring.tune.cache import OutputCache
    from shoestring.tune.config import LadderConfig
    from shoestring.tune.examples import Collate, Examples, tokenised
    from shoestring.tune.metrics import trained_parameters

    method, _, kind = way.partition(", ")
    rows = data.read(data.task("banking77").train)
    places = {label: place for place, label in enumerate(sorted(set(rows["label"])))}
    if method in ("ladder", "head"):
        keep_few_kernels()  # as a job does
    frozen = FrozenBackbone.load(None, "float32" if method in ("lora", "full") else "auto")
    texts = tokenised(frozen, rows["a"], None, LENGTH)
    labels = [places[label] for label in rows["label"]]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    examples = Examples(texts, None, labels, [[i] for i in order])
    model = make_model(method, frozen, LadderConfig(n_labels=77, max_length=LENGTH, seed=seed))
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True
    )
    ids = torch.ones((BATCH, LENGTH), dtype=torch.long)
    frozen.outputs(ids, ids, [frozen.n_layers - 1])  # the code that a forward runs is in memory
    return_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory()
        with memory.watched():
            began, cache = time.perf_counter(), None
            if model.model is None:
                os.environ["SHOESTRING_OUTPUTS"] = folder
                cache = OutputCache(frozen, model.layers, examples.texts(), 8 * 2**30)
                for _ in cache.fill():
                    pass
                return_freed_memory()  # as a job does
            once = time.perf_counter() - began
            collate = Collate(examples, "classify", cache, frozen.padding_id)
            model.train()
            seconds = []
            for step in range(n_steps):
                began = time.perf_counter()
                chosen = range(step * BATCH % (len(examples) - BATCH), len(examples))[:BATCH]
                batch = collate([examples[i] for i in chosen])
                with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
                    loss = model(**batch)["loss"]
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                seconds.append(time.perf_counter() - began)
        whole = [max(texts, key=lambda text: len(text.ids))] * BATCH
        full = Examples(whole, None, labels[:BATCH], [[i] for i in range(BATCH)])
        collate = Collate(full, "classify", cache, frozen.padding_id)
        batch = collate([full[i] for i in range(BATCH)])
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            kept = saved_bytes(model, batch)
    a_step = statistics.median(seconds[10:] or seconds)
    epoch = a_step * len(examples) / BATCH
    return {
        "step, ms": round(1000 * a_step, 1),
        "once, s": round(once, 2),
        "an epoch, s": round(epoch, 2),
        "ten epochs, s": round(once + EPOCHS * epoch, 1),
        RESIDENT: round((memory.peak - memory.at_first) / 2**20, 1),
        KEPT: round(kept / 2**20, 1),
        "trained parameters": trained_parameters(model),
    }


def inference(turns: int, seed: int) -> dict[str, float]:
    """Seconds of 2,000 answers with the ladder over those without."""
    from shoestring.models.frozen import FrozenBackbone
    from shoestring.tune.config import LadderConfig
    from shoestring.tune.ladder import Ladder
    from shoestring.tune.predict import logits_of

    texts = data.read(data.task("banking77").test)["a"][:2_000]
    ways = [
        Ladder(LadderConfig(n_labels=77), FrozenBackbone.load(), with_side=side).eval()
        for side in (True, False)
    ]
    ratios, seconds = [], []
    for turn in range(turns + 1):
        taken = []
        for ladder in ways:
            began = time.perf_counter()
            logits_of(ladder, texts)
            taken.append(time.perf_counter() - began)
        if turn:
            ratios.append(taken[0] / taken[1])
            seconds.append(taken)
    with_it, without = (
        round(statistics.median(column), 2) for column in zip(*seconds, strict=True)
    )
    overhead = round(statistics.median(ratios) - 1, 3)
    return {"ladder, s": with_it, "backbone, s": without, "overhead": overhead, "seed": seed}


def in_process(*arguments: str, lean: bool = False) -> dict[str, Any]:
    """What a process of its own says."""
    command = [sys.executable, "-m", "benchmarks.tune.speed", *arguments]
    environment = {**os.environ, **({"MALLOC_MMAP_THRESHOLD_": str(4 * 2**20)} if lean else {})}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All ways in turns, medians, and the bars."""
    turns, n_steps = (1, 15) if options.quick else (options.turns, 60)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(turns):
        for way in WAYS:
            call = ("--way", way, "--seed", str(options.seed), "--steps")
            found = in_process(*call, str(n_steps))
            found[RESIDENT] = in_process(*call, "15", lean=True)[RESIDENT]
            runs[way].append(found)
            print(f"turn {turn + 1}: {way} {found}", flush=True)
    table = {
        way: {name: statistics.median(run[name] for run in found) for name in found[0]}
        for way, found in runs.items()
    }
    answers = in_process("--way", "inference", "--steps", str(turns), "--seed", str(options.seed))
    result = {
        "batch": BATCH, "tokens": LENGTH, "turns": turns, "ways": table, "inference": answers,
        "published": PUBLISHED, "bars": bars(table, answers),
        **output.versions("transformers", "peft", "shoestring"),
    }  # fmt: skip
    output.show({**table, "inference": answers, "bars": result["bars"]})
    output.write(result, options)
    return result


def bars(table: dict[str, dict[str, float]], answers: dict[str, float]) -> dict[str, Any]:
    """What the table says of the bars: the share, and whether it is small enough."""
    ours = table["ladder"]

    def fastest(method: str) -> dict[str, float]:
        return min((table[method], table[f"{method}, bfloat16"]), key=lambda row: row["step, ms"])

    lora, full = fastest("lora"), fastest("full")
    shares = {
        "ten epochs, of LoRA's": (ours["ten epochs, s"] / lora["ten epochs, s"], 1 / 5),
        "ten epochs, of full's": (ours["ten epochs, s"] / full["ten epochs, s"], 1 / 10),
        "a cached epoch, of LoRA's": (ours["an epoch, s"] / lora["an epoch, s"], 1 / 8),
        "resident memory, of LoRA's": (ours[RESIDENT] / lora[RESIDENT], 0.3),
        "kept for backward, of LoRA's": (ours[KEPT] / lora[KEPT], 0.2),
        "inference, over the backbone": (answers["overhead"], 0.15),
    }  # fmt: skip
    return {
        name: {"share": round(share, 3), "bar": round(bar, 3), "holds": share <= bar}
        for name, (share, bar) in shares.items()
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="15 steps, one turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way == "inference":
        print(json.dumps(inference(options.steps, options.seed)))
    elif options.way:
        print(json.dumps(one(options.way, options.steps, options.seed)))
    else:
        measure(options)


if __name__ == "__main__":
    main()
