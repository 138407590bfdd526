"""What the config of a family says of the weights at initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shoestring.doctor.signal import Stack
from shoestring.errors import ParameterError
from shoestring.models.layer_layout import FAMILIES as LAYOUTS
from shoestring.plan.cost import describe

FAMILIES = {name: name for name in ("bert", "roberta", "electra", "gpt2", "t5", "llama", "qwen2")}
FAMILIES |= {"xlm-roberta": "roberta", "camembert": "roberta", "mistral": "llama"}  # laid out alike


def stacks_of(config: Any, owner: str = "predict") -> list[Stack]:
    """The stack of a config, or encoder and decoder; ParameterError if its family is not known."""
    from transformers.activations import ACT2FN

    family = getattr(config, "model_type", type(config).__name__)
    if family not in FAMILIES:
        raise ParameterError.of("config", owner, f"one of {', '.join(FAMILIES)}", family)
    try:
        stacks = _of_config(config)
        if (least := min(min(s.width, s.layers) for s in stacks)) < 1:
            raise ValueError(f"{least} for a width or a number of layers")
        if (deviation := min(min(s.query, s.read, s.output, s.write) for s in stacks)) <= 0:
            raise ValueError(f"{deviation} for the deviation of weights")
        if stacks[0].activation not in ACT2FN:
            raise ValueError(f"{stacks[0].activation} for an activation")
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ParameterError(f"The config has sizes that no model has: {error}.") from error
    return stacks


def scaled(stacks: Sequence[Stack], factor: float) -> list[Stack]:
    """Stacks whose matrices deviate by so much more."""
    names = ("query", "read", "output", "write")
    return [replace(s, **{name: factor * getattr(s, name) for name in names}) for s in stacks]


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
    narrow = getattr(config, "embedding_size", d)
    stack = Stack(
        d, sizes.layers, sizes.heads, size, sizes.neurons,
        size**-0.5 if layout.scales_scores else 1.0, is_post_norm, getattr(config, layout.epsilon),
        query=query, read=w, output=output, write=write,
        activation=next(getattr(config, name) for name in names if hasattr(config, name)),
        is_gated=sizes.gated,
        is_causal=getattr(config, "is_decoder", False) if is_post_norm else not decoder,
        rotary_base=config.rope_parameters.get("rope_theta", 1e4) if layout.is_rotary else 0.0,
        tokens=tokens, positions=w * (is_post_norm or kind == "gpt2"), types=w * is_post_norm,
        projection=1.0 if narrow == d else narrow * w**2, head=head,
    )  # fmt: skip
    if not decoder:
        return [stack]
    parts = ("attention", "cross-attention", "feed-forward")
    second = replace(stack, layers=decoder[0].layers, parts=parts, is_causal=True)
    return [stack, replace(second, prefix="decoder ")]
