"""Models with planted faults, and sound ones; at full size, or small for the tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

V = 2_000  # tokens of a vocabulary
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def sizes(width: int, layers: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": V, "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": width // 64, "intermediate_size": 4 * width, **TOKENS, **more,
    }  # fmt: skip


def bert(width: int, layers: int, **more: Any) -> Any:
    return BertForMaskedLM(BertConfig(**sizes(width, layers, **more)))


def gpt2(width: int, layers: int, **more: Any) -> Any:
    config = {"n_embd": width, "n_layer": layers, "n_head": width // 64, "vocab_size": V}
    return GPT2LMHeadModel(GPT2Config(**config, **TOKENS, **more))


def t5(width: int, layers: int, **more: Any) -> Any:
    config = {"d_model": width, "num_layers": layers, "num_heads": width // 64, "vocab_size": V}
    return T5ForConditionalGeneration(T5Config(d_ff=4 * width, **config, **more))


def llama(width: int, layers: int, **more: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**sizes(width, layers, **more)))


def torchs(width: int, layers: int, **more: Any) -> Any:
    """The encoder of ``nn.Transformer``, as it initialises it."""
    more = {"batch_first": True, **more}
    with warnings.catch_warnings(action="ignore"):  # of its fast path
        return nn.Transformer(width, max(2, width // 64), layers, 1, 4 * width, **more).encoder


SOUND: dict[str, Callable[[int], Any]] = {
    "BERT, 12 layers": lambda d: bert(d, 12),
    "RoBERTa, 6 layers": lambda d: RobertaForMaskedLM(
        RobertaConfig(**sizes(d, 6, type_vocab_size=1))
    ),
    "ELECTRA, 12 layers": lambda d: ElectraForMaskedLM(
        ElectraConfig(**sizes(d, 12, embedding_size=d // 2))
    ),
    "GPT-2, 12 layers": lambda d: gpt2(d, 12),
    "T5, 6 and 6 layers": lambda d: t5(d, 6),
    "Llama, 8 layers": lambda d: llama(d, 8),
    "Qwen2, 8 layers": lambda d: Qwen2ForCausalLM(
        Qwen2Config(**sizes(d, 8, num_key_value_heads=1))
    ),
    "nn.Transformer, 6 layers": lambda d: torchs(d, 6),
    "nn.Transformer, 12 layers, pre-norm": lambda d: torchs(d, 12, norm_first=True),
    "OPT, 8 layers": lambda d: OPTForCausalLM(
        OPTConfig(**sizes(d, 8, word_embed_proj_dim=d, ffn_dim=4 * d))
    ),
    "GPT-NeoX, 8 layers": lambda d: GPTNeoXForCausalLM(GPTNeoXConfig(**sizes(d, 8))),
    "ModernBERT, 8 layers": lambda d: ModernBertForMaskedLM(
        ModernBertConfig(**sizes(d, 8, cls_token_id=3, sep_token_id=4))
    ),
}


class Planted(NamedTuple):
    fault: str
    make: Callable[[int], Any]
    options: dict[str, Any] | None = None


def unscaled(model: Any) -> Any:
    for module in model.modules():
        if hasattr(module, "scaling"):
            module.scaling = 1.0
    return model


def multiplied(model: Any, ending: str, factor: float) -> Any:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(ending):
                weight *= factor
    return model


def xavier(width: int) -> float:
    return width**-0.5


FAULTS: dict[str, Planted] = {
    "BERT, Xavier": Planted(
        "deviation too large", lambda d: bert(d, 12, initializer_range=xavier(d))
    ),
    "nn.Transformer, 12 layers": Planted("deviation too large", lambda d: torchs(d, 12)),
    "RoBERTa, Xavier": Planted(
        "token collapse",
        lambda d: RobertaForMaskedLM(
            RobertaConfig(**sizes(d, 12, initializer_range=xavier(d), type_vocab_size=1))
        ),
    ),
    "BERT, 0.001": Planted(
        "deviation too small", lambda d: bert(d, 12, initializer_range=0.064 / d)
    ),
    "BERT without the root of d": Planted(
        "missing attention scale", lambda d: unscaled(bert(d, 4))
    ),
    "Llama without the root of d": Planted(
        "missing attention scale", lambda d: unscaled(llama(d, 4))
    ),
    "GPT-2 without the root of d": Planted(
        "missing attention scale", lambda d: gpt2(d, 4, scale_attn_weights=False)
    ),
    "GPT-2, outputs scaled twice": Planted(
        "double initialisation", lambda d: multiplied(gpt2(d, 6), "c_proj.weight", 12**-0.5)
    ),
    "GPT-2, outputs drawn again": Planted(
        "double initialisation", lambda d: multiplied(gpt2(d, 6), "c_proj.weight", 12**0.5)
    ),
    "BERT, one matrix twice as large": Planted(
        "double initialisation", lambda d: multiplied(bert(d, 4), "2.output.dense.weight", 2.0)
    ),
    "T5, head neither tied nor scaled": Planted(
        "untied scale", lambda d: t5(d, 3, tie_word_embeddings=False)
    ),
    "GPT-2, tied to embeddings of 1": Planted(
        "untied scale", lambda d: multiplied(gpt2(d, 4), "wte.weight", 50.0)
    ),
    "BERT, 24 layers without warm-up": Planted(
        "no warm-up",
        lambda d: bert(d, 24, initializer_range=0.7 * xavier(d)),
        {"warmup_steps": 0, "learning_rate": 1e-3},
    ),
    "GPT-2, a learning rate of 0.01": Planted(
        "learning rate", lambda d: gpt2(d, 4), {"learning_rate": 0.01}
    ),
    "GPT-2, a last norm that took the scale": Planted(
        "last gain", lambda d: multiplied(gpt2(d, 4), "ln_f.weight", 5.0)
    ),
}
