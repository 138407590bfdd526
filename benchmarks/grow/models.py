"""Small models of every family, whose weights are not what initialisation leaves at 0 and 1."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertModel,
    ElectraConfig,
    ElectraForMaskedLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

BASE: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48,
    "num_hidden_layers": 3,
}  # fmt: skip
LLAMA = {**BASE, "num_key_value_heads": 2, "max_position_embeddings": 48}
BERT = {**BASE, "max_position_embeddings": 48}
T5: dict[str, Any] = {
    "vocab_size": 60,
    "d_model": 32,
    "d_kv": 8,
    "num_heads": 4,
    "d_ff": 48,
    "num_layers": 3,
}
SPECIAL = {f"{name}_token_id": i for i, name in enumerate(("pad", "bos", "eos", "cls", "sep"))}

MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert": (BertForPreTraining, BertConfig, BERT),
    "bert, no head": (BertModel, BertConfig, BERT),
    "roberta": (RobertaForMaskedLM, RobertaConfig, BERT),
    "electra": (ElectraForMaskedLM, ElectraConfig, {**BERT, "embedding_size": 16}),
    "gpt2": (
        *(GPT2LMHeadModel, GPT2Config),
        {"vocab_size": 60, "n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 48},
    ),
    "t5": (T5ForConditionalGeneration, T5Config, T5),
    "t5 v1.1": (
        *(T5ForConditionalGeneration, T5Config),
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "llama": (LlamaForCausalLM, LlamaConfig, LLAMA),
    "llama, tied": (LlamaForCausalLM, LlamaConfig, {**LLAMA, "tie_word_embeddings": True}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, LLAMA),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {**LLAMA, "head_dim": 8}),
    "gemma": (GemmaForCausalLM, GemmaConfig, {**LLAMA, "head_dim": 8}),
    "modernbert": (
        *(ModernBertForMaskedLM, ModernBertConfig),
        {**BERT, **SPECIAL, "local_attention": 8, "attention_bias": True, "norm_bias": True},
    ),
}


def model_of(family: str, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """A model of a family, in evaluation mode, with every parameter at random."""
    kind, config, base = MODELS[family]
    made = {**base, "pad_token_id": 0, **settings}
    torch.manual_seed(0)
    model = kind(config(**made)).eval().to(dtype)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.05 * torch.randn_like(value)
    if family == "t5 v1.1":
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    return model
