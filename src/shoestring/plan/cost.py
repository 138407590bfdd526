"""What a Transformer multiplies, in closed form, from the sizes of its config alone.

A product of m x k and k x n has m k n multiply-adds (MACs) and 2 m k n FLOPs; both are integers
here, and named. All else that a model computes (norms, softmax, activations) is no product: it
takes time, which :mod:`shoestring.plan.machine` predicts, and no FLOPs by the common definition.

For B texts of n tokens, width D, H heads of size d, G heads of keys and values, F neurons, a layer
has, in multiply-adds:

    projections    B n D (H d + 2 G d) + B n H d D
    attention      2 B H n m d            m keys: n itself, the encoder's tokens, or the cache
    feed-forward   2 B n D F, or 3 B n D F where it is gated; of experts the active ones

so 12 n D^2 + 2 n^2 D where H d = D and F = 4 D: the attention matrix is n / (n + 6 D) of the layer
(Su, https://kexue.fm/archives/8610). Backward, y = x W costs a product for the gradient of x and
one for that of W, each as large as forward; a fused attention kernel computes the scores anew, five
products for two.

A family of transformers is a line of :data:`FAMILIES`, which says what its configs do not: whether
texts are read by an encoder or a decoder, how the feed-forward layer is gated, which head follows;
:func:`describe` finds the sizes under the names that configs share.

Where we leave the post: the head size d is never D / H by assumption; masked products are counted,
as kernels on a CPU compute them (a causal mask or a window saves nothing).

Not covered, so counted by operators (:mod:`shoestring.plan.trace`): disentangled attention (DeBERTa
with relative positions), latent attention (DeepSeek), convolutions, recurrences, experts in some of
the layers only, heads for classification, training with checkpoints or of some weights alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stack:
    """Layers of one kind."""

    layers: int
    width: int  # D, channels
    heads: int  # H
    head_size: int  # d, channels, which need not be D / H
    neurons: int  # F of a feed-forward layer, or of an expert
    gated: bool  # whether that has three matrices, not two
    crosses: bool  # whether a second attention reads the encoder's states
    projections: int  # elements of a layer's matrices that a token meets
    feed_forward: int  # and of these, with the gate of experts
    idle: int  # elements of the experts that it is not sent to


@dataclass(frozen=True)
class Description:
    """What a model multiplies: its layers, and the elements of the matrices around them."""

    stacks: tuple[Stack, ...]  # the encoder before the decoder
    embedding: int  # between the lookup table and the layers
    token_head: int  # after the layers, for every token
    text_head: int  # and for every text


_BERT = {"kind": "encoder", "transform": True, "pooler": True}
_GATED = {"kind": "decoder", "gated": True}
FAMILIES: dict[str, dict[str, Any]] = {
    family: line
    for families, line in (
        ("bert roberta xlm-roberta camembert data2vec-text ernie megatron-bert mpnet rembert "
         "albert esm", _BERT),
        ("electra roformer distilbert deberta-v2", _BERT | {"pooler": False}),
        ("modernbert nomic_bert", {"kind": "encoder", "gated": True, "transform": True}),
        ("eurobert", {"kind": "encoder", "gated": True}),
        ("llama mistral ministral qwen2 qwen3 gemma gemma2 gemma3_text phi3 stablelm olmo olmo2 "
         "olmo3 cohere cohere2 granite smollm3 glm glm4 helium exaone4 seed_oss ernie4_5 "
         "mixtral qwen2_moe qwen3_moe olmoe granitemoe", _GATED),
        ("gpt2 gpt_neo gptj gpt_neox gpt_bigcode opt bloom phi starcoder2 falcon codegen persimmon "
         "nemotron arcee apertus biogpt xglm mpt openai-gpt", {"kind": "decoder"}),
        ("t5 mt5 umt5 bart mbart pegasus marian blenderbot m2m_100", {"kind": "both"}),
    )
    for family in families.split()
}  # fmt: skip


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
    if family is None:
        return None
    width = int(config.hidden_size)
    names = ("embedding_size", "input_embedding_size", "word_embed_proj_dim")
    narrow = int(_first(config, *names, default=width))
    maps = narrow != width or config.model_type in ("albert", "rembert")
    embedding = narrow * width if maps else 0
    out = int(_first(config, "output_embedding_size", default=narrow))
    head = pooled = 0
    if has_head:
        head = out * (int(config.vocab_size) + (width if "transform" in family else 0))
    elif family.get("pooler"):
        pooled = width * width
    if config.model_type == "opt":  # which maps back before the head, in the base model too
        head += embedding
    sides = ("encoder", "decoder") if family["kind"] == "both" else ("",)
    stacks = tuple(_stack(config, family, side) for side in sides)
    return Description(stacks, embedding, head, pooled)


def _stack(config: Any, family: dict[str, Any], side: str) -> Stack:
    width = int(config.hidden_size)
    layers = int(_first(config, f"{side}_layers", f"num_{side}_layers", "num_hidden_layers"))
    heads = int(_first(config, f"{side}_attention_heads", "num_attention_heads"))
    key_heads = int(_first(config, "num_key_value_heads", "num_kv_heads", default=heads))
    if hasattr(config, "multi_query") and not getattr(config, "new_decoder_architecture", False):
        key_heads = 1 if config.multi_query else heads
    head_size = int(_first(config, "head_dim", default=width // heads))
    crosses = side == "decoder"
    projections = (1 + crosses) * 2 * (heads + key_heads) * head_size * width
    names = (
        *("moe_intermediate_size", "intermediate_size", "n_inner", "d_ff", "ffn_dim"),
        *(f"{side}_ffn_dim", "hidden_dim", "ffn_hidden_size"),
    )
    neurons = int(_first(config, *names, default=4 * width))
    gated = bool(_first(config, "is_gated_act", default="gated" in family))
    expert = (2 + gated) * width * neurons
    experts = int(_first(config, "num_experts", "num_local_experts", default=0))
    active = int(_first(config, "num_experts_per_tok", default=1)) if experts else 1
    # An expert may read every token, behind a gate of one column
    shared = int(_first(config, "shared_expert_intermediate_size", default=0))
    feed_forward = active * expert + width * (experts + 3 * shared + (shared > 0))
    return Stack(
        layers, width, heads, head_size, neurons, gated, crosses, projections, feed_forward,
        idle=(max(1, experts) - active) * expert,
    )  # fmt: skip


def macs(
    model: Description, batch: int, length: int, *, cached: int = 0,
    is_trained: bool = False, is_fused: bool = True,
) -> dict[str, tuple[int, int]]:  # fmt: skip
    """Multiply-adds forward and backward, by component; twice that are the FLOPs.

    ``cached``: tokens of a decoder whose keys and values are kept from before. ``is_trained``:
    whether all weights are; ``is_fused``: whether attention is then one kernel.
    """
    rows, stacks = batch * length, model.stacks
    channels = sum(one.layers * (1 + one.crosses) * one.heads * one.head_size for one in stacks)
    forward = {
        "projections": rows * sum(one.layers * one.projections for one in stacks),
        "attention": 2 * rows * (cached + length) * channels,
        "feed-forward": rows * sum(one.layers * one.feed_forward for one in stacks),
        "embeddings": rows * model.embedding,
        "logits": rows * model.token_head + batch * model.text_head,
    }
    backward = {part: 2 * n if is_trained else 0 for part, n in forward.items()}
    if is_fused:
        backward["attention"] = backward["attention"] * 5 // 4
    return {part: (n, backward[part]) for part, n in forward.items()}


def weights(model: Description) -> dict[str, int]:
    """Elements of the matrices, by component: all experts, no biases, norms or lookup tables."""
    sums = {part: forward for part, (forward, _) in macs(model, 1, 1).items()} | {"attention": 0}
    sums["feed-forward"] += sum(stack.layers * stack.idle for stack in model.stacks)
    return sums
