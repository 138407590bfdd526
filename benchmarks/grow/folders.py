"""Checkpoints that grow, in seconds and bytes: ``python -m benchmarks.grow.folders``.

- minilm: the real MiniLM, 384 wide to 768; embeddings and the STS-B score before and after.
- bert: a BERT of 110 million random weights to 340 million; the bar is 20 s, the certificate apart.
- llama: 1.4 billion random weights in bfloat16, width 2,048 to 3,072, asked layer by layer.

The memory is the peak of a process of its own above what it has before it reads a weight; bar: the
small checkpoint, the largest new tensor and a tenth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.data import require

BARS = {"seconds": 20.0, "memory": 1.1, "embeddings": 1e-5}
MINILM = {"hidden": 768, "heads": 12, "intermediate": 3_072}
BERT = {"hidden": 1_536, "heads": 24, "intermediate": 4_864}
LLAMA = {"hidden": 3_072}


def minilm(_: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Vectors of STS-B's sentences by the small and the large MiniLM."""
    from scipy.stats import spearmanr

    from shoestring.encoders import open_encoder
    from shoestring.grow import grow_checkpoint

    certificate = grow_checkpoint(None, folder / "large", **MINILM)
    lines = require("pairs/stsb-multi-mt/stsb-en-test.csv").read_text("utf-8")
    import csv
    import io

    rows = [row for row in csv.reader(io.StringIO(lines)) if len(row) == 3]
    gold = [float(row[2]) for row in rows]
    scores, vectors = {}, {}
    for name in ("minilm", str(folder / "large")):
        encoder = open_encoder(name, None)
        a, b = (np.asarray(encoder.encode([row[i] for row in rows])) for i in (0, 1))
        scores[name] = round(float(spearmanr((a * b).sum(1), gold).statistic), 4)
        vectors[name] = a
    small, large = vectors.values()
    d = small.shape[1]
    # Copies of unit vectors, scaled to length 1 again
    gap = float(
        np.abs(large * np.sqrt(large.shape[1] / d) - np.tile(small, large.shape[1] // d)).max()
    )
    return {
        "largest logit difference": certificate.max_logit_difference,
        "largest difference of embeddings": gap,
        "Spearman on STS-B, before and after": list(scores.values()),
        "holds": gap <= BARS["embeddings"] and len({*scores.values()}) == 1,
    }


def bert(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """110 to 340 million."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    sizes: dict[str, Any] = {} if not options.quick else {"num_hidden_layers": 2}
    torch.manual_seed(options.seed)
    BertForMaskedLM(BertConfig(**sizes)).save_pretrained(folder / "small")
    return written(folder, BERT)


def llama(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """1.4 to 3.1 billion in bfloat16; shards of a layer each are made here."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from shoestring.grow import grow_checkpoint
    from shoestring.grow.certificate import empty

    config = LlamaConfig(
        vocab_size=32_000, hidden_size=2_048, intermediate_size=5_632, num_attention_heads=16,
        num_hidden_layers=2 if options.quick else 24, head_dim=128, dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    small = folder / "small"
    config.save_pretrained(small)
    torch.manual_seed(options.seed)
    shards: dict[str, dict[str, Any]] = {}
    for name, value in empty(LlamaForCausalLM, config).named_parameters():
        shards.setdefault(".".join(name.split(".")[:3]), {})[name] = value.shape
    index = {}
    for i, shapes in enumerate(shards.values()):
        tensors = {
            n: 0.02 * torch.randn(shape, dtype=torch.bfloat16) for n, shape in shapes.items()
        }
        tensors |= {n: 1 + value for n, value in tensors.items() if "norm" in n}
        save_file(tensors, small / f"model-{i}.safetensors", {"format": "pt"})
        index |= dict.fromkeys(tensors, f"model-{i}.safetensors")
    (small / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    found = written(folder, LLAMA)
    began = time.perf_counter()
    certificate = grow_checkpoint(small, folder / "certified", batches=1, **LLAMA)
    return {
        **found,
        "certified in seconds": round(time.perf_counter() - began, 1),
        "largest logit difference": certificate.max_logit_difference,
        "relative difference as saved": certificate.relative_difference_as_saved,
    }


def written(folder: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """Seconds and bytes of writing the large checkpoint, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.grow.folders", "--only-write", str(folder)]
    said = subprocess.run([*command, json.dumps(sizes)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    allowed = BARS["memory"] * (found["small bytes"] + found["largest new tensor"])
    in_time = found["seconds"] <= BARS["seconds"] or "llama" in str(folder)
    return {
        **found,
        "allowed bytes": int(allowed),
        "holds": found["peak bytes"] <= allowed and in_time,
    }


def only_write(folder: Path, sizes: dict[str, int]) -> None:
    """What :func:`written` measures."""
    import transformers.models.bert.modeling_bert
    import transformers.models.llama.modeling_llama  # noqa: F401 (what is measured is the growth)

    from shoestring.grow import checkpoint

    (folder / "large").mkdir()
    before, began = output.peak_bytes(), time.perf_counter()
    growth, dtype = checkpoint.opened(folder / "small", sizes)
    checkpoint.write_tensors(folder / "large", growth, dtype)
    seconds, after = time.perf_counter() - began, output.peak_bytes()
    large = checkpoint.empty(type(growth.model), growth.new_config())
    shapes = [p.shape.numel() for p in large.parameters()]
    files = {name: (folder / name).glob("*.safetensors") for name in ("small", "large")}
    size = {name: sum(file.stat().st_size for file in of) for name, of in files.items()}
    found = {
        "parameters": sum(shapes), "seconds": round(seconds, 1), "peak bytes": after - before,
        "small bytes": size["small"], "large bytes": size["large"],
        "largest new tensor": max(shapes) * dtype.itemsize,
    }  # fmt: skip
    print(json.dumps(found))


PARTS = {"minilm": minilm, "bert": bert, "llama": llama}


def main() -> None:
    """The parts, each in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="two layers: a minute")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--only-write", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_write:
        only_write(Path(options.only_write[0]), json.loads(options.only_write[1]))
        return
    found: dict[str, Any] = {}
    for name in options.parts:
        with TemporaryDirectory(suffix=name) as folder:
            found[name] = PARTS[name](options, Path(folder))
        output.show({f"{name}: {key}": value for key, value in found[name].items()})
        output.write({"bars": BARS, "parts": found}, options)


if __name__ == "__main__":
    main()
