"""The same task trained otherwise, for comparison: the whole backbone, LoRA, the head alone."""

from __future__ import annotations

import copy
from typing import Any

import torch

from shoestring.errors import ParameterError
from shoestring.lazy import require
from shoestring.models.frozen import FrozenBackbone, keep_few_kernels
from shoestring.tune.config import LadderConfig
from shoestring.tune.ladder import Ladder

LEARNING_RATES = {"ladder": 1e-3, "head": 3e-3, "lora": 1e-3, "full": 1e-4}  # by method
BACKPROPAGATED = ("lora", "full")
LORA_RANK = 8


def make_model(method: str, backbone: Any, config: LadderConfig) -> Ladder:
    """A model to be trained by a method: a ladder, or its head alone, on what is trained or not.

    The backbone is a name, folder or model. One that is trained is copied in float32; without LoRA
    all of its weights are trained.
    """
    if method not in BACKPROPAGATED:
        keep_few_kernels()
        return Ladder(config, FrozenBackbone.load(backbone), with_side=method == "ladder")
    frozen = FrozenBackbone.load(backbone, "float32")
    model = copy.deepcopy(frozen.model).float().requires_grad_(method == "full")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # gets no gradient here
    ladder = Ladder(config, frozen, with_side=False)
    ladder.model = _with_lora(model) if method == "lora" else model
    return ladder


def _with_lora(model: Any) -> Any:
    require("--method lora", "tune", "peft")
    from peft import LoraConfig, get_peft_model

    transposed = any(type(module).__name__ == "Conv1D" for module in model.modules())
    config = LoraConfig(
        r=LORA_RANK,
        lora_alpha=2 * LORA_RANK,
        target_modules=attention_inputs(model),
        lora_dropout=0.0,
        fan_in_fan_out=transposed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return get_peft_model(model, config)


def attention_inputs(model: Any) -> list[str]:
    """Names of the projections to queries and values, or of the one to all three."""
    ends = ("query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "c_attn", "Wqkv")
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    found = sorted(names.intersection(ends))
    if not found:
        want = f"a model with projections called one of {ends}"
        hint = "Use --method ladder, which needs no names of projections."
        raise ParameterError.of("backbone", "--method lora", want, type(model).__name__, hint)
    return found
