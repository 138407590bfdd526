"""What the config of a family, or torch's own layers, say of the weights at initialisation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from shoestring.doctor.signal import ACTIVATIONS, TRUNCATED, Attention, FeedForward, Stack
from shoestring.errors import ParameterError

_POST_NORM = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
_ROTARY = ("llama", "mistral", "qwen2")
FAMILIES = (*_POST_NORM, "gpt2", "t5", *_ROTARY)
_SAME = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu", "swish": "silu"}


def stacks_of(config: Any, truncated: bool = False) -> list[Stack]:
    """The stack of a config of transformers, or encoder and decoder; empty for another family."""
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        return []
    make = {"gpt2": _gpt2, "t5": _t5}.get(kind, _rotary if kind in _ROTARY else _post_norm)
    try:
        stacks = make(config)
        if (least := min(min(s.width, s.layers) for s in stacks)) < 1:
            raise ValueError(f"{least} for a width or a number of layers")
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ParameterError(f"The config has sizes that no model has: {error}.") from error
    return [scaled(s, TRUNCATED) for s in stacks] if truncated else stacks


def scaled(stack: Stack, factor: float) -> Stack:
    """A stack whose matrices deviate by so much more."""
    names = {
        Attention: ("query", "key", "value", "output"),
        FeedForward: ("read", "write", "read_bias", "write_bias"),
    }
    parts = tuple(
        replace(part, **{name: factor * getattr(part, name) for name in names[type(part)]})
        for part in stack.parts
    )
    return replace(stack, parts=parts)


def _activation(name: str) -> str:
    name = _SAME.get(name, name)
    if name not in ACTIVATIONS:
        want = f"one of {', '.join(ACTIVATIONS)}"
        raise ParameterError.of("activation", "a config", want, name)
    return name


def _post_norm(config: Any) -> list[Stack]:
    w, heads, d = config.initializer_range, config.num_attention_heads, config.hidden_size
    size = d // heads
    attention = Attention(w, w, w, w, heads, size, size**-0.5, getattr(config, "is_decoder", False))
    ffn = FeedForward(config.intermediate_size, w, w, _activation(config.hidden_act))
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
    ffn = FeedForward(config.n_inner or 4 * d, w, out, _activation(config.activation_function))
    return [
        Stack(d, config.n_layer, (attention, ffn), False, config.layer_norm_epsilon,
              tokens=w, positions=w, has_last_norm=True, head=w)
    ]  # fmt: skip


def _t5(config: Any) -> list[Stack]:
    f, d, size, heads = config.initializer_factor, config.d_model, config.d_kv, config.num_heads
    w = f * d**-0.5
    given = (w * size**-0.5, w, w, f * (heads * size) ** -0.5, heads, size, 1.0)
    own, causal = Attention(*given), Attention(*given, is_causal=True)
    cross = Attention(*given, is_cross=True, name="cross-attention")
    ffn = FeedForward(
        config.d_ff, w, f * config.d_ff**-0.5, _activation(config.dense_act_fn), config.is_gated_act
    )
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
    ffn = FeedForward(config.intermediate_size, w, w, _activation(config.hidden_act), is_gated=True)
    return [
        Stack(d, config.num_hidden_layers, (attention, ffn), False, config.rms_norm_eps,
              tokens=w, has_last_norm=True, head=w)
    ]  # fmt: skip


def stacks_of_module(module: Any) -> list[Stack]:
    """The same of ``nn.Transformer`` or its encoder, from its own weights; empty for another."""
    from torch import nn

    if isinstance(module, nn.Transformer):
        return _of_torch(module.encoder, "") + _of_torch(module.decoder, "decoder ")
    return _of_torch(module, "") if isinstance(module, nn.TransformerEncoder) else []


def _of_torch(stack: Any, prefix: str) -> list[Stack]:
    layer = stack.layers[0]

    def rms(weight: Any) -> float:
        return 0.0 if weight is None else float(weight.detach().square().mean().sqrt())

    def attention(module: Any, is_cross: bool = False) -> Attention:
        query, key, value = map(rms, module.in_proj_weight.chunk(3))
        size, out = module.head_dim, rms(module.out_proj.weight)
        name = "cross-attention" if is_cross else "attention"
        return Attention(query, key, value, out, module.num_heads, size, size**-0.5,
                         is_cross=is_cross, name=name)  # fmt: skip

    cross = [attention(layer.multihead_attn, True)] if hasattr(layer, "multihead_attn") else []
    function = getattr(layer.activation, "__name__", type(layer.activation).__name__).lower()
    read, write = layer.linear1, layer.linear2
    ffn = FeedForward(read.out_features, rms(read.weight), rms(write.weight),
                      _activation(function), False, rms(read.bias), rms(write.bias))  # fmt: skip
    parts: tuple[Attention | FeedForward, ...] = (attention(layer.self_attn), *cross, ffn)
    return [
        Stack(layer.linear1.in_features, len(stack.layers), parts, not layer.norm_first,
              layer.norm1.eps, has_last_norm=stack.norm is not None, prefix=prefix)
    ]  # fmt: skip
