"""What is predicted beside what is measured: ``python -m benchmarks.doctor.prediction``.

BERT, RoBERTa, GPT-2, T5 and Llama from their configs, at their own initialisation, 6, 12, 24 and 48
layers of width 512 (T5: encoder and decoder together); BERT also with half of Xavier's deviation.
Measured: the mean over 8 seeds on two texts of 128 pieces of English Wikipedia, beside the
prediction that knows which pieces repeat, the one from the config alone, and the closed forms with
one variance and one correlation. Within: the share of sublayers whose deviation (gradient) is
within 10 % of the measured mean; of correlations the largest error.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, BertConfig, GPT2Config, LlamaConfig, RobertaConfig, T5Config

from benchmarks import output
from benchmarks.doctor.cases import TOKENS, sizes
from benchmarks.doctor.closed_forms import closed_forms
from benchmarks.words import data as words_data
from shoestring.doctor import Signal, measure, predict
from shoestring.doctor.families import stacks_of
from shoestring.models.backbone import load_tokenizer, model_folder

LENGTH, TEXTS, SEEDS, WIDTH, DEPTHS = 128, 2, 8, 512, (6, 12, 24, 48)
VOCABULARY = 31_000
BARS = {"forward": 0.99, "backward": 0.95, "correlation": 0.05}


def texts() -> list[list[int]]:
    """Pieces of the first articles of a part of Wikipedia."""
    tokenizer = load_tokenizer(model_folder(None))
    articles = islice(words_data.articles("text/enwiki-part"), TEXTS)
    return [tokenizer.encode(a, add_special_tokens=False).ids[:LENGTH] for a in articles]


def config_of(family: str, width: int, layers: int) -> Any:
    heads = width // 64
    if family == "GPT-2":
        shape = {"n_embd": width, "n_layer": layers, "n_head": heads, "vocab_size": VOCABULARY}
        return GPT2Config(**shape, **TOKENS)
    if family == "T5":
        shape = {"d_model": width, "num_layers": max(1, layers // 2), "num_heads": heads}
        return T5Config(**shape, d_ff=4 * width, vocab_size=VOCABULARY)
    kind = {"BERT": BertConfig, "RoBERTa": RobertaConfig, "Llama": LlamaConfig}[
        family.split(",")[0]
    ]
    more = {"vocab_size": VOCABULARY}
    if family == "BERT, half of Xavier":
        more["initializer_range"] = 0.5 * width**-0.5
    if family == "Llama":
        more |= {"num_key_value_heads": max(1, heads // 2), "intermediate_size": width * 8 // 3}
    if family == "RoBERTa":
        more["type_vocab_size"] = 1
    return kind(**{**sizes(width, layers), **more})


def numbers(signal: Signal) -> np.ndarray:
    """Deviation, gradient, correlation of each sublayer."""
    return np.array([[r.deviation, r.gradient, r.correlation] for r in signal.sublayers])


def compared(said: np.ndarray, found: np.ndarray) -> dict[str, float]:
    ratio = np.abs(said[:, :2] / found[:, :2] - 1)
    return {
        "forward": round(float((ratio[:, 0] < 0.1).mean()), 4),
        "backward": round(float((ratio[:, 1] < 0.1).mean()), 4),
        "median forward error": round(float(np.median(ratio[:, 0])), 4),
        "median backward error": round(float(np.median(ratio[:, 1])), 4),
        "correlation": round(float(np.abs(said[:, 2] - found[:, 2]).max()), 4),
    }


def case(family: str, width: int, layers: int, ids: list[list[int]], seeds: int) -> dict[str, Any]:
    config = config_of(family, width, layers)
    batch = torch.tensor(ids)
    inputs = {"input_ids": batch}
    if family == "T5":
        inputs["decoder_input_ids"] = batch
    rows = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        rows.append(numbers(measure(AutoModel.from_config(config), inputs, seed)))
    found = np.mean(rows, 0)
    began = time.perf_counter()
    alone = predict(config)
    seconds = time.perf_counter() - began
    same = float(np.mean([np.mean(np.equal.outer(i, i)) - 1 / len(i) for i in map(np.array, ids)]))
    said = {
        "of this text": numbers(predict(config, ids)),
        "of the config alone": numbers(alone),
        "closed forms": np.array(closed_forms(stacks_of(config), len(ids[0]), same)),
    }
    error = np.std(rows, 0)[:, 0] / found[:, 0] / max(1, seeds - 1) ** 0.5
    return {
        "sublayers": len(found),
        "error of the measured mean": round(float(np.median(error)), 4),
        "seconds of the prediction": round(seconds, 2),
        **{name: compared(values, found) for name, values in said.items()},
        "measured": found.round(5).tolist(),
        "predicted": said["of this text"].round(5).tolist(),
    }


def run(quick: bool) -> dict[str, Any]:
    ids, width = texts(), 128 if quick else WIDTH
    families = ("BERT", "BERT, half of Xavier", "RoBERTa", "GPT-2", "T5", "Llama")
    cases = {}
    for family in families:
        for layers in (4,) if quick else DEPTHS:
            name = f"{family}, {layers} layers"
            cases[name] = case(family, width, layers, ids, 3 if quick else SEEDS)
            shown = {k: v for k, v in cases[name].items() if k not in ("measured", "predicted")}
            print(name, shown, flush=True)
    counts = np.array([c["sublayers"] for c in cases.values()])
    total = {}
    for way in ("of this text", "of the config alone", "closed forms"):
        parts = {k: np.array([c[way][k] for c in cases.values()]) for k in BARS}
        total[way] = {
            "forward": round(float((parts["forward"] * counts).sum() / counts.sum()), 4),
            "backward": round(float((parts["backward"] * counts).sum() / counts.sum()), 4),
            "correlation": float(parts["correlation"].max()),
        }
    return {
        "width": width, "tokens": LENGTH, "texts": TEXTS, "seeds": 3 if quick else SEEDS,
        "bars": BARS, "total": total, "cases": cases,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="width 128, 4 layers, 3 seeds")
    options = parser.parse_args()
    result = run(options.quick)
    output.show(result["total"])
    output.write(result, options)
