"""What the config of a family, or torch's own layers, say of the weights at initialisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from shoestring.doctor.signal import Attention, FeedForward, Part, Stack
from shoestring.errors import ParameterError

DEVIATIONS = ("query", "key", "value", "output", "read", "write")  # of the matrices of a part


def stacks_of(source: Any) -> list[Stack]:
    """The stack of a config or of torch's own layers, or encoder and decoder; else empty."""
    from torch import nn
    from transformers.activations import ACT2FN

    make = FAMILIES.get(getattr(source, "model_type", ""))
    if isinstance(source, nn.Transformer | nn.TransformerEncoder):
        make = _torchs
    if make is None:
        return []
    try:
        stacks = make(source)
        if (least := min(min(s.width, s.layers) for s in stacks)) < 1:
            raise ValueError(f"{least} for a width or a number of layers")
        for part in stacks[0].parts:
            if isinstance(part, FeedForward) and part.activation not in ACT2FN:
                raise ValueError(f"{part.activation} for an activation")
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ParameterError(f"The config has sizes that no model has: {error}.") from error
    return stacks


def scaled(stacks: Sequence[Stack], factor: float) -> list[Stack]:
    """Stacks whose matrices deviate by so much more."""

    def part_of(part: Part) -> Part:
        deviations = {n: factor * v for n, v in vars(part).items() if n in DEVIATIONS}
        return replace(part, **deviations)

    return [replace(stack, parts=tuple(map(part_of, stack.parts))) for stack in stacks]


def _post_norm(config: Any) -> list[Stack]:
    w, heads, d = config.initializer_range, config.num_attention_heads, config.hidden_size
    size = d // heads
    attention = Attention(w, w, w, w, heads, size, size**-0.5, getattr(config, "is_decoder", False))
    ffn = FeedForward(config.intermediate_size, w, w, config.hidden_act)
    embeddings = {"tokens": w, "positions": w, "types": w, "has_first_norm": True}
    if (size := getattr(config, "embedding_size", d)) != d:
        embeddings["projection"] = size * w**2
    return [
        Stack(d, config.num_hidden_layers, (attention, ffn), True, config.layer_norm_eps,
              **embeddings, head=w)
    ]  # fmt: skip


def _gpt2(config: Any) -> list[Stack]:
    w, heads, d = config.initializer_range, config.n_head, config.n_embd
    size, out = d // heads, w / math.sqrt(2 * config.n_layer)
    attention = Attention(w, w, w, out, heads, size, size**-0.5, is_causal=True)
    ffn = FeedForward(config.n_inner or 4 * d, w, out, config.activation_function)
    return [
        Stack(d, config.n_layer, (attention, ffn), False, config.layer_norm_epsilon,
              tokens=w, positions=w, has_last_norm=True, head=w)
    ]  # fmt: skip


def _t5(config: Any) -> list[Stack]:
    f, d, size, heads = config.initializer_factor, config.d_model, config.d_kv, config.num_heads
    w = f * d**-0.5
    given = (w * size**-0.5, w, w, f * (heads * size) ** -0.5, heads, size, 1.0)
    own, causal = Attention(*given), Attention(*given, is_causal=True)
    cross = Attention(*given, is_cross=True)
    ffn = FeedForward(config.d_ff, w, f * config.d_ff**-0.5, config.dense_act_fn,
                      config.is_gated_act)  # fmt: skip
    encoder = Stack(d, config.num_layers, (own, ffn), False, config.layer_norm_epsilon,
                    tokens=f, has_last_norm=True)  # fmt: skip
    head = f * (d**-0.5 if config.scale_decoder_outputs else 1.0)
    decoder = replace(encoder, layers=config.num_decoder_layers, parts=(causal, cross, ffn),
                      head=head, prefix="decoder ")  # fmt: skip
    return [encoder, decoder]


def _rotary(config: Any) -> list[Stack]:
    w, heads, d = config.initializer_range, config.num_attention_heads, config.hidden_size
    size = getattr(config, "head_dim", None) or d // heads
    base = (config.rope_parameters or {}).get("rope_theta", 1e4)
    attention = Attention(w, w, w, w, heads, size, size**-0.5, is_causal=True, rotary_base=base)
    ffn = FeedForward(config.intermediate_size, w, w, config.hidden_act, is_gated=True)
    return [
        Stack(d, config.num_hidden_layers, (attention, ffn), False, config.rms_norm_eps,
              tokens=w, has_last_norm=True, head=w)
    ]  # fmt: skip


def _torchs(module: Any) -> list[Stack]:
    """Of nn.Transformer or its encoder: the deviations of their own weights."""
    if hasattr(module, "decoder"):
        return [*_torchs(module.encoder), replace(_torchs(module.decoder)[0], prefix="decoder ")]
    layer = module.layers[0]

    def rms(weight: Any) -> float:
        return float(weight.detach().square().mean().sqrt())

    def attention(module: Any, is_cross: bool = False) -> Attention:
        query, key, value = map(rms, module.in_proj_weight.chunk(3))
        size, out = module.head_dim, rms(module.out_proj.weight)
        return Attention(query, key, value, out, module.num_heads, size, size**-0.5,
                         is_cross=is_cross)  # fmt: skip

    cross = [attention(layer.multihead_attn, True)] if hasattr(layer, "multihead_attn") else []
    function = getattr(layer.activation, "__name__", type(layer.activation).__name__).lower()
    read, write = layer.linear1, layer.linear2
    ffn = FeedForward(read.out_features, rms(read.weight), rms(write.weight), function)
    return [
        Stack(read.in_features, len(module.layers), (attention(layer.self_attn), *cross, ffn),
              not layer.norm_first, layer.norm1.eps, has_last_norm=module.norm is not None)
    ]  # fmt: skip


FAMILIES: dict[str, Callable[[Any], list[Stack]]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _post_norm),
    "gpt2": _gpt2,
    "t5": _t5,
    **dict.fromkeys(("llama", "mistral", "qwen2"), _rotary),
}
