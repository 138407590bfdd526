"""What other counters say of the same forward pass: ``python -m benchmarks.plan.peers``.

Counts over ours, which equals the operators: 1 is right. MACs are doubled. Peers that are not
installed are left out: calflops, deepspeed, fvcore, ptflops and thop need not be in the environment
of the other benchmarks.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks import output

MODELS = ("BERT-base", "GPT-2", "Llama, grouped heads")
LENGTHS = (128, 512)


def model_of(name: str, attention: str) -> Any:
    """A model with random weights, of the usual size with fewer layers."""
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    kind, config = {
        "BERT-base": (BertModel, BertConfig(num_hidden_layers=2)),
        "GPT-2": (GPT2Model, GPT2Config(n_layer=2)),
        "Llama, grouped heads": (
            LlamaModel,
            LlamaConfig(
                hidden_size=512, num_attention_heads=8, num_key_value_heads=2, num_hidden_layers=2,
                intermediate_size=1376, use_cache=False,
            ),
        ),
    }[name]  # fmt: skip
    config._attn_implementation = attention
    return kind._from_config(config).eval()


def torchs(model: Any, ids: torch.Tensor) -> float:
    """torch.utils.flop_counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids)
    return counter.get_total_flops()


def calflops(model: Any, ids: torch.Tensor) -> float:
    """Its FLOPs."""
    from calflops import calculate_flops

    found = calculate_flops(
        model=model, kwargs={"input_ids": ids}, print_results=False, output_as_string=False
    )
    return found[0]


def deepspeed(model: Any, ids: torch.Tensor) -> float:
    """Its profiler's FLOPs."""
    from deepspeed.profiling.flops_profiler import get_model_profile

    found = get_model_profile(
        model, kwargs={"input_ids": ids}, print_profile=False, as_string=False, warm_up=0
    )
    return found[0]


def fvcore(model: Any, ids: torch.Tensor) -> float:
    """It counts a multiply-add as one FLOP."""
    from fvcore.nn import FlopCountAnalysis

    return 2 * FlopCountAnalysis(model, (ids,)).unsupported_ops_warnings(False).total()


def ptflops(model: Any, ids: torch.Tensor, backend: str = "pytorch") -> float:
    """Its MACs."""
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        model, tuple(ids.shape), input_constructor=lambda shape: {"input_ids": ids},
        as_strings=False, print_per_layer_stat=False, verbose=False, backend=backend,
    )  # fmt: skip
    return 2 * macs


def ptflops_aten(model: Any, ids: torch.Tensor) -> float:
    """Its MACs by operators."""
    return ptflops(model, ids, "aten")


def thop(model: Any, ids: torch.Tensor) -> float:
    """Its MACs."""
    from thop import profile

    return 2 * profile(model, inputs=(ids,), verbose=False)[0]


PEERS: dict[str, tuple[str, Callable[[Any, torch.Tensor], float]]] = {
    "torch FlopCounterMode": ("torch", torchs),
    "calflops": ("calflops", calflops),
    "DeepSpeed": ("deepspeed", deepspeed),
    "fvcore": ("fvcore", fvcore),
    "ptflops": ("ptflops", ptflops),
    "ptflops, aten": ("ptflops", ptflops_aten),
    "thop": ("thop", thop),
}


def ratio(call: Callable[[Any, torch.Tensor], float], name: str, attention: str, n: int) -> Any:
    """A peer's count over ours; its error in words."""
    from shoestring.plan.cost import describe, macs

    model, ids = model_of(name, attention), torch.ones(1, n, dtype=torch.long)
    sums = macs(describe(model.config), 1, n)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counted = call(model, ids)
    except Exception as error:
        return f"raises {type(error).__name__}"
    return round(counted / (2 * sum(pair[0] for pair in sums.values())), 4)


def main() -> None:
    """All peers that there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="one length")
    options = parser.parse_args()
    lengths = LENGTHS[:1] if options.quick else LENGTHS
    peers = {name: peer for name, peer in PEERS.items() if find_spec(peer[0])}
    cases = [(m, a, n) for m in MODELS for a in ("eager", "sdpa") for n in lengths]
    rows = {}
    for name, (_, call) in peers.items():
        rows[name] = {f"{m}, {a}, {n}": ratio(call, m, a, n) for m, a, n in cases}
        output.show({f"{name}: {case}": found for case, found in rows[name].items()})
    known = output.versions("transformers", *{package for package, _ in peers.values()})
    output.write({"versions": known, "ratios": rows}, options)


if __name__ == "__main__":
    main()
