"""What the config of a family says of the weights at initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shoestring.doctor.signal import Attention, FeedForward, Part, Stack
from shoestring.errors import ParameterError
from shoestring.models.layer_layout import FAMILIES as LAYOUTS
from shoestring.plan.cost import describe

FAMILIES = {name: name for name in ("bert", "roberta", "electra", "gpt2", "t5", "llama", "qwen2")}
FAMILIES |= {"xlm-roberta": "roberta", "camembert": "roberta", "mistral": "llama"}  # laid out alike
DEVIATIONS = ("query", "key", "value", "output", "read", "write")  # of the matrices of a part


def stacks_of(config: Any) -> list[Stack]:
    """The stack of a config, or encoder and decoder; empty for a family without a description."""
    from transformers.activations import ACT2FN

    if getattr(config, "model_type", "") not in FAMILIES:
        return []
    try:
        stacks = _of_config(config)
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


def _of_config(config: Any) -> list[Stack]:
    kind, layout = config.model_type, LAYOUTS[FAMILIES[config.model_type]]
    sizes, *decoder = describe(config).stacks  # type: ignore[union-attr]
    d, size, is_post_norm = sizes.width, sizes.head_size, layout.is_post_norm
    if kind == "t5":
        tokens = config.initializer_factor
        w = tokens * d**-0.5
        query, output = w * size**-0.5, tokens * (sizes.heads * size) ** -0.5
        write, head = tokens * sizes.neurons**-0.5, w if config.scale_decoder_outputs else tokens
    else:
        w = tokens = query = output = write = head = config.initializer_range
    if kind == "gpt2":
        output = write = w / math.sqrt(2 * sizes.layers)
    names = ("hidden_act", "activation_function", "dense_act_fn")
    activation = next(getattr(config, name) for name in names if hasattr(config, name))
    attention = Attention(
        query, w, w, output, sizes.heads, size, size**-0.5 if layout.scales_scores else 1.0,
        is_causal=getattr(config, "is_decoder", False) if is_post_norm else not decoder,
        rotary_base=config.rope_parameters.get("rope_theta", 1e4) if layout.is_rotary else 0.0,
    )  # fmt: skip
    feed_forward = FeedForward(sizes.neurons, w, write, activation, sizes.gated)
    narrow = getattr(config, "embedding_size", d)
    stack = Stack(
        d, sizes.layers, (attention, feed_forward), is_post_norm, getattr(config, layout.epsilon),
        tokens=tokens, positions=w * (is_post_norm or kind == "gpt2"), types=w * is_post_norm,
        projection=1.0 if narrow == d else narrow * w**2, head=head,
    )  # fmt: skip
    if not decoder:
        return [stack]
    own, cross = replace(attention, is_causal=True), replace(attention, is_cross=True)
    parts = (own, cross, feed_forward)
    return [stack, replace(stack, layers=decoder[0].layers, parts=parts, prefix="decoder ")]
