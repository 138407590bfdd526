"""Small configs of every described family, whose sizes all differ."""

import transformers
from transformers import AutoConfig
from transformers.models.auto import modeling_auto as auto

from shoestring.plan.cost import FAMILIES

SIZES = {
    "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 101,
    "intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 24, "moe_intermediate_size": 48,
    "n_inner": 96, "ffn_dim": 96, "shared_expert_intermediate_size": 40, "num_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "encoder_ffn_dim": 96, "decoder_ffn_dim": 80,
    "hidden_dim": 96, "d_ff": 96, "d_kv": 24, "encoder_layers": 2, "decoder_layers": 3,
    "encoder_attention_heads": 4, "decoder_attention_heads": 8, "num_decoder_layers": 3,
    "embedding_size": 32, "word_embed_proj_dim": 32, "input_embedding_size": 32,
    "output_embedding_size": 48, "rotary_dim": 8, "ffn_hidden_size": 96, "num_kv_heads": 4,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "attention_types": [[["global", "local"], 1]],
}  # fmt: skip
ALWAYS = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
FIXED_HEADS = (
    "glm",
    "glm4",
    "nomic_bert",
    "falcon",
    "bart",
    "helium",
)  # head size is the width over heads
SLIDING = ("gemma2", "gemma3_text", "modernbert", "olmo3", "cohere2")
TABLES = {"encoder": "MASKED_LM", "decoder": "CAUSAL_LM", "both": "SEQ_TO_SEQ_CAUSAL_LM"}


def config_of(family, **more):
    known = AutoConfig.for_model(family).to_dict()
    sizes = {n: value for n, value in SIZES.items() if n in known or n in ALWAYS}
    if family in FIXED_HEADS and "head_dim" in sizes:
        sizes["head_dim"] = 16
    if "layer_types" in known:
        first = "sliding_attention" if family in SLIDING else "full_attention"
        sizes["layer_types"] = [first, "full_attention"]
    return AutoConfig.for_model(family, **sizes | more)


def class_of(family, has_head):
    tables = TABLES[FAMILIES[family]["kind"]] if has_head else ""
    name = f"MODEL_FOR_{tables}_MAPPING_NAMES" if has_head else "MODEL_MAPPING_NAMES"
    return getattr(transformers, getattr(auto, name)[family])
