"""Configs and classes of the described families: transformers' default sizes, two layers."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoConfig
from transformers.models.auto import modeling_auto as auto

from shoestring.plan.cost import FAMILIES

LAYERS = dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers"), 2)
TABLES = {"encoder": "MASKED_LM", "decoder": "CAUSAL_LM", "both": "SEQ_TO_SEQ_CAUSAL_LM"}


def config_of(family: str) -> Any:
    """The default config of a family, but for its number of layers."""
    known = AutoConfig.for_model(family).to_dict()
    sizes: dict[str, Any] = {name: n for name, n in LAYERS.items() if name in known}
    sizes |= {"num_hidden_layers": 2, "num_decoder_layers": 2} if "num_layers" in known else {}
    heads = known.get("num_attention_heads")
    absent = {  # from the defaults of ESM, Ministral, Nemotron
        "vocab_size": 33, "head_dim": heads and known["hidden_size"] // heads,
        "num_key_value_heads": heads, "pad_token_id": 1,
    }  # fmt: skip
    sizes |= {name: value for name, value in absent.items() if known.get(name, 0) is None}
    if kinds := known.get("layer_types"):
        sizes["layer_types"] = [kinds[0], kinds[-1]]
    if "attention_types" in known:
        sizes["attention_types"] = [[["global", "local"], 1]]
    return AutoConfig.for_model(family, **{"num_hidden_layers": 2} | sizes)


def class_of(family: str, has_head: bool) -> Any:
    """Its base model, or the class that predicts tokens."""
    table = f"FOR_{TABLES[FAMILIES[family]['kind']]}_" if has_head else ""
    return getattr(transformers, getattr(auto, f"MODEL_{table}MAPPING_NAMES")[family])
