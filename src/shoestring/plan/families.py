"""What each family of transformers multiplies, read from its config: a family is a line of a table.

:func:`describe` reads the sizes that :mod:`shoestring.plan.cost` counts with. Most are found under
the names that configs share; a line of :data:`FAMILIES` says what the config does not: whether
texts are read by an encoder or a decoder, how the feed-forward layer is gated, which head follows.

Not covered, so counted by operators instead (:mod:`shoestring.plan.trace`): disentangled attention
(DeBERTa with relative positions), convolutions, recurrences, experts in some of the layers only,
latent attention (DeepSeek), heads for classification.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Stack:
    """Layers of one kind; sizes are numbers of channels."""

    layers: int
    width: int  # D
    heads: int  # H
    key_heads: int  # G, of keys and values
    head_size: int  # d, which need not be D / H
    neurons: int  # F of a feed-forward layer, or of an expert
    gated: bool = False  # three matrices, not two
    cross_width: int = 0  # of the states that a cross-attention reads; 0 for none
    experts: int = 0  # E, of which each token is sent to ``active``
    active: int = 1
    shared_neurons: int = 0  # of a gated expert that reads every token, behind a gate of its own


@dataclass(frozen=True)
class Description:
    """What a model multiplies."""

    stacks: tuple[Stack, ...]  # the encoder before the decoder
    embedding: tuple[tuple[int, int], ...]  # (in, out) of matrices between embedding and layers
    token_head: tuple[tuple[int, int], ...]  # of those after the layers, for every token
    text_head: tuple[tuple[int, int], ...]  # and for every text
    positions: int | None  # the longest text, None where the config does not say
    fuses: bool  # whether one attention kernel (sdpa) can also be used in training
    lora: str  # which projections LoRA adapts: "separate" queries and values, or "joint" ones

    def of_half_width(self) -> Description:
        """The same with half the width, heads and neurons."""
        stacks = [
            replace(
                stack, width=stack.width // 2, heads=max(1, stack.heads // 2),
                key_heads=max(1, stack.key_heads // 2), neurons=stack.neurons // 2,
                shared_neurons=stack.shared_neurons // 2, cross_width=stack.cross_width // 2,
            )
            for stack in self.stacks
        ]  # fmt: skip
        embedding = tuple((narrow, width // 2) for narrow, width in self.embedding)
        head = tuple((width // 2, out) for width, out in self.token_head)
        text_head = tuple((width // 2, out // 2) for width, out in self.text_head)
        return replace(
            self, stacks=tuple(stacks), embedding=embedding, token_head=head, text_head=text_head
        )


_BERT = {"kind": "encoder", "head": "transform", "pooler": True}
_GATED = {"kind": "decoder", "gated": True}
FAMILIES: dict[str, dict[str, Any]] = {
    family: line
    for families, line in (
        ("bert roberta xlm-roberta camembert data2vec-text ernie megatron-bert mpnet rembert "
         "albert esm", _BERT),
        ("electra roformer distilbert deberta-v2", _BERT | {"pooler": False}),
        ("modernbert", {"kind": "encoder", "gated": True, "head": "dense"}),
        ("eurobert", {"kind": "encoder", "gated": True}),
        ("nomic_bert", {"kind": "encoder", "gated": True, "head": "transform"}),
        ("llama mistral ministral qwen2 qwen3 gemma gemma2 gemma3_text phi3 stablelm olmo olmo2 "
         "olmo3 cohere cohere2 granite smollm3 glm glm4 helium exaone4 seed_oss ernie4_5", _GATED),
        ("mixtral qwen2_moe qwen3_moe olmoe granitemoe", _GATED),
        ("gpt2 gpt_neo gptj gpt_neox gpt_bigcode opt bloom phi starcoder2 falcon codegen persimmon "
         "nemotron arcee apertus biogpt xglm mpt openai-gpt", {"kind": "decoder"}),
        ("t5 mt5 umt5 bart mbart pegasus marian blenderbot m2m_100", {"kind": "both"}),
    )
    for family in families.split()
}  # fmt: skip
_BIASED = "t5", "mt5", "umt5"  # a bias that is learned goes into the scores
_JOINT = "gpt2", "modernbert"  # one matrix for queries, keys and values


def _first(config: Any, *names: str, default: Any = None) -> Any:
    """The first of some fields that the config gives."""
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if value is not None), default)


def describe(config: Any, has_head: bool = False) -> Description | None:
    """Read the sizes of a model of transformers; None for a family that is not described.

    ``has_head``: whether it is the class that predicts tokens (``...ForMaskedLM``,
    ``...ForCausalLM``), not the base model.
    """
    family = FAMILIES.get(getattr(config, "model_type", ""))
    if family is None or not _is_covered(config):
        return None
    width, vocabulary = int(config.hidden_size), int(config.vocab_size)
    stack = _stack(config, family)
    stacks = _both(config, stack) if family["kind"] == "both" else (stack,)
    narrow = _first(config, "embedding_size", "input_embedding_size", "word_embed_proj_dim")
    narrow = int(narrow or width)
    maps = narrow != width or config.model_type in ("albert", "rembert")
    out = int(_first(config, "output_embedding_size", default=narrow))
    embedding: tuple[tuple[int, int], ...] = ((narrow, width),) * maps
    head: tuple[tuple[int, int], ...] = ()
    if has_head:
        middle = {"transform": ((width, out),), "dense": ((width, width),)}
        head = (*middle.get(family.get("head", ""), ()), (out, vocabulary))
    if config.model_type == "opt":  # which maps back before the head, in the base model too
        head = ((width, narrow),) * maps + ((narrow, vocabulary),) * has_head
    pooled = ((width, width),) * bool(family.get("pooler") and not has_head)
    shares_keys = config.model_type == "falcon" and stack.key_heads == 1
    fuses = not (_dropout(config) or config.model_type in _BIASED or shares_keys)
    return Description(
        stacks, embedding, head, pooled, _first(config, "max_position_embeddings"), fuses,
        "joint" if config.model_type in _JOINT else "separate",
    )  # fmt: skip


def _is_covered(config: Any) -> bool:
    """Whether the config leaves its family's usual ways, which the table does not follow."""
    mixed = _first(config, "decoder_sparse_step", default=1) != 1 or _first(
        config, "mlp_only_layers"
    )
    return not (mixed or getattr(config, "relative_attention", False))


def _dropout(config: Any) -> float:
    names = "attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "dropout_rate"
    found = _first(config, *names)
    nested = getattr(config, "attn_config", None)  # MPT
    return float(_first(nested, "attn_pdrop", default=0.0) if found is None else found)


def _stack(config: Any, family: dict[str, Any]) -> Stack:
    width, heads = int(config.hidden_size), int(config.num_attention_heads)
    key_heads = int(_first(config, "num_key_value_heads", "num_kv_heads", default=heads))
    if getattr(config, "multi_query", None) is not None and not _first(
        config, "new_decoder_architecture"
    ):
        key_heads = 1 if config.multi_query else heads
    head_size = int(_first(config, "head_dim", default=width // heads))
    names = "intermediate_size", "n_inner", "d_ff", "ffn_dim", "hidden_dim", "ffn_hidden_size"
    neurons = int(_first(config, "moe_intermediate_size", *names, default=4 * width))
    experts = int(_first(config, "num_experts", "num_local_experts", default=0))
    return Stack(
        int(config.num_hidden_layers), width, heads, key_heads, head_size, neurons,
        bool(family.get("gated")), experts=experts,
        active=int(_first(config, "num_experts_per_tok", default=1)),
        shared_neurons=int(_first(config, "shared_expert_intermediate_size", default=0)),
    )  # fmt: skip


def _both(config: Any, stack: Stack) -> tuple[Stack, ...]:
    """The encoder and the decoder of a model that has two."""
    if hasattr(config, "encoder_ffn_dim"):
        decoder = replace(
            stack, layers=int(config.decoder_layers), heads=int(config.decoder_attention_heads),
            key_heads=int(config.decoder_attention_heads), cross_width=stack.width,
            neurons=int(config.decoder_ffn_dim),
            head_size=stack.width // int(config.decoder_attention_heads),
        )  # fmt: skip
        return replace(stack, neurons=int(config.encoder_ffn_dim)), decoder
    stack = replace(stack, gated=bool(config.is_gated_act))
    return stack, replace(stack, layers=int(config.num_decoder_layers), cross_width=stack.width)
