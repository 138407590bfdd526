"""What the rows and columns of each parameter of a Transformer's layer stand for.

:func:`layout_of` gives the layout of one layer: how many channels of each kind it has, and which
kinds run along the axes of each parameter. An axis is a sequence of kinds: ``("query",)`` for the
outputs of a query matrix, ``("query", "key", "value")`` for those of a fused one,
``("neurons", "neurons")`` for a gated feed-forward layer's.
:func:`rotary_pairs` says which channels of a head a rotary embedding rotates together.

    layout = layout_of(layers_of(model)[0], model.config)
    layout.sizes["neurons"]                           # F
    layout.parameters["attention.self.query.weight"]  # AxisKinds((("query",), ("hidden",)), 1)

No family of models is known by name here. Query, key and value are told by the names of their
modules, of which transformers has few; the rest by shape and position: the other matrix beside them
projects the heads back to the width, the last matrix outside of attention projects the neurons
back. Rotary pairs come from the family's own function ``rotate_half``: given the numbers of the
channels, it returns those of their partners.

Not covered, so without an entry in ``parameters``: projections fused head by head
("query_key_value" of BLOOM, Falcon and GPT-NeoX), mixtures of experts, norms within a head
(Qwen 3), several attentions or feed-forward parts that cannot be told apart. Where only a part of a
head is rotated (Phi), or by frequencies that are no buffer (GPT-J), :func:`rotary_pairs` is None.

Letters: D width, H heads, G heads of keys and values, F neurons.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Sections = tuple[str, ...]  # kinds of channels along an axis, one after the other

_NAMES: dict[str, Sections] = {
    **dict.fromkeys(("query", "query_proj", "q_proj", "q_lin", "q", "q_norm"), ("query",)),
    **dict.fromkeys(("key", "key_proj", "k_proj", "k_lin", "k", "k_norm"), ("key",)),
    **dict.fromkeys(("value", "value_proj", "v_proj", "v_lin", "v"), ("value",)),
    **dict.fromkeys(("c_attn", "Wqkv", "qkv_proj"), ("query", "key", "value")),
}


class AxisKinds(NamedTuple):
    """Kinds of channels along the axes of a parameter."""

    kinds: tuple[Sections, ...]  # for each axis, in order
    summed_axis: int | None = None  # that of a matrix's inputs; None for biases and norms


@dataclass(frozen=True)
class LayerLayout:
    """The layout of a layer.

    Sizes are numbers of channels of each kind: "hidden" D, "query" and "context" (the heads'
    outputs) H x head size, "key" and "value" G x head size, "neurons" F where they were found.
    """

    sizes: dict[str, int]
    heads: int
    key_heads: int
    head_size: int
    parameters: dict[str, AxisKinds]  # by the name within the layer; those that could be told


def layout_of(layer: nn.Module, config: Any) -> LayerLayout:
    """Find out what the parameters of one of :func:`layers_of` are for, by its model's config."""
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    sizes = {
        "hidden": config.hidden_size,
        **dict.fromkeys(("query", "context"), heads * head_size),
        **dict.fromkeys(("key", "value"), key_heads * head_size),
    }
    matrices = _matrices(layer)
    attentions = {_part(name) for name in matrices if _leaf(name) in _NAMES}
    outside = [name for name in matrices if _part(name) not in attentions]
    if n_neurons := _neurons([matrices[name] for name in outside], sizes["hidden"]):
        sizes["neurons"] = n_neurons
    sides = _outputs_and_inputs(matrices, outside, sizes)
    return LayerLayout(sizes, heads, key_heads, head_size, _kinds(layer, sides, attentions, sizes))


def rotary_pairs(model: Any, head_size: int) -> Tensor | None:
    """With which channel the rotary embedding rotates each of a head's channels (head_size,).

    Without rotary embedding each channel is its own partner; None if it cannot be told.
    """
    if hasattr(model.config, "rotary_value"):  # RoFormer keeps no buffer of its frequencies
        return None
    n_rotated = {2 * b.numel() for name, b in model.named_buffers() if name.endswith("inv_freq")}
    if not n_rotated and not getattr(model.config, "rotary_dim", None):
        return torch.arange(head_size)
    rotate = getattr(sys.modules[type(model).__module__], "rotate_half", None)
    if n_rotated != {head_size} or rotate is None:
        return None
    numbers = torch.arange(1.0, head_size + 1).reshape(1, 1, 1, -1)  # 0 has no sign
    partners: Tensor = rotate(numbers).abs().long().flatten() - 1
    return partners


def _matrices(layer: nn.Module) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each matrix, by its module's name, in the layer's own order."""
    found = {}
    for name, module in layer.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding):
            n_out, n_in = weight.shape[::-1] if _is_transposed(module) else weight.shape
            found[name] = (n_out, n_in)
    return found


def _is_transposed(module: nn.Module) -> bool:
    """Whether the weight is stored (in, out), as GPT-2's is."""
    return type(module).__name__ == "Conv1D"


def _neurons(shapes: list[tuple[int, int]], width: int) -> int:
    """F, if exactly one matrix (outputs, inputs) brings neurons back to the width; else 0."""
    if not shapes or shapes[-1][0] != width:
        return 0
    n = shapes[-1][1]
    return n if n == width or shapes.count((width, n)) == 1 else 0


def _outputs_and_inputs(
    matrices: dict[str, tuple[int, int]], outside: list[str], sizes: dict[str, int]
) -> dict[str, tuple[Sections, Sections]]:
    """Kinds of outputs and inputs of the matrices whose sizes fit."""
    rest = [n for n in matrices if n not in outside and _leaf(n) not in _NAMES]
    parts = [_part(name) for name in rest]
    sides: dict[str, tuple[Sections, Sections]] = {}
    for name, (n_out, n_in) in matrices.items():
        if name in outside:
            back = name == outside[-1]
            neurons = ("neurons",) * (2 if n_out == 2 * sizes.get("neurons", 0) else 1)
            pair = (("hidden",), ("neurons",)) if back else (neurons, ("hidden",))
        elif name in rest:
            pair = (("hidden",), ("context",) if parts.count(_part(name)) == 1 else ("",))
        else:
            pair = (_NAMES[_leaf(name)], ("hidden",))
        if (_size(pair[0], sizes), _size(pair[1], sizes)) == (n_out, n_in):
            sides[name] = pair
    return sides


def _kinds(
    layer: nn.Module,
    sides: dict[str, tuple[Sections, Sections]],
    attentions: set[str],
    sizes: dict[str, int],
) -> dict[str, AxisKinds]:
    """Of the parameters: weights and biases of those matrices, then norms."""
    matrices = _matrices(layer)
    found: dict[str, AxisKinds] = {}
    for name, parameter in layer.named_parameters():
        owner = name.rpartition(".")[0]
        if parameter.ndim == 2 and owner in sides:
            transposed = _is_transposed(layer.get_submodule(owner))
            out, into = sides[owner]
            found[name] = AxisKinds((into, out), 0) if transposed else AxisKinds((out, into), 1)
        elif parameter.ndim == 1 and (owner in sides or owner not in matrices):
            is_named = _part(owner) in attentions and _leaf(owner) in _NAMES
            sections = _NAMES[_leaf(owner)] if is_named else ("hidden",)
            sections = sides[owner][0] if owner in sides else sections
            if _size(sections, sizes) == len(parameter):
                found[name] = AxisKinds((sections,))
    return found


def _size(sections: Sections, sizes: dict[str, int]) -> int:
    """Channels of sections; -1 where one is not known."""
    return sum(sizes[kind] for kind in sections) if all(k in sizes for k in sections) else -1


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _part(name: str) -> str:
    return name.partition(".")[0]
