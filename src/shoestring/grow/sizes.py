"""How large a model is on each axis, how large it may become exactly, and by which rule."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shoestring import checks
from shoestring.errors import ParameterError
from shoestring.grow.families import Family

OWNER = "grow"
EXACT, STACKED = "exact", "not exact: stacked"
PLAIN_ROTARY = ("default", "linear")  # whose frequencies are those of the head size alone


@dataclass(frozen=True)
class Sizes:
    """Numbers of channels, heads, layers, tokens and positions."""

    hidden: int
    heads: int
    key_heads: int
    head_size: int
    intermediate: int
    layers: int
    vocab: int
    positions: int  # 0 without a table or limit of positions

    @classmethod
    def of(cls, config: Any, family: Family) -> Sizes:
        """Of a model's config."""
        heads, width = config.num_attention_heads, config.hidden_size
        return cls(
            width,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or width // heads,
            getattr(config, family.neurons) or 4 * width,
            config.num_hidden_layers,
            config.vocab_size,
            getattr(config, "max_position_embeddings", None) or 0,
        )

    def set_in(self, config: Any, family: Family) -> Any:
        """A copy of the config with these sizes."""
        new = copy.deepcopy(config)
        new.hidden_size, new.num_attention_heads = self.hidden, self.heads
        new.num_hidden_layers, new.vocab_size = self.layers, self.vocab
        setattr(new, family.neurons, self.intermediate)
        if hasattr(config, "num_key_value_heads"):
            new.num_key_value_heads = self.key_heads
        if family.free_head_size:
            new.head_dim = self.head_size
        if self.positions:
            new.max_position_embeddings = self.positions
        if getattr(config, "num_decoder_layers", None):
            new.num_decoder_layers = self.layers
        return new


def layer_sources(n: int, new: int) -> list[int]:
    """From which layer each of n' layers comes; its first one is the old one.

    The first layer is never repeated where there is another: some families have it different.
    """
    if n == 1:
        return [0] * new
    return [0, *(1 + (i - 1) * (n - 1) // (new - 1) for i in range(1, new))]


def planned(
    config: Any, family: Family, wanted: Mapping[str, int | None], *, stack: bool = False
) -> tuple[Sizes, dict[str, str]]:
    """The new sizes, and for each axis that grows the rule by which it does.

    ParameterError, with the nearest size that is exact, where none of the rules is.
    """
    old = Sizes.of(config, family)
    sizes = asdict(old)
    for axis, value in wanted.items():
        if value is not None:
            sizes[axis] = checks.checked_int(axis, value, sizes[axis], 2**31, OWNER)
    if wanted.get("key_heads") is not None and not hasattr(config, "num_key_value_heads"):
        _refuse("key_heads", "left out: they are the heads here", wanted["key_heads"])
    if wanted.get("key_heads") is None and old.key_heads == old.heads:
        sizes["key_heads"] = sizes["heads"]
    if not family.free_head_size:
        if wanted.get("head_size") is not None:
            _refuse("head_size", "left out: it is hidden / heads here", wanted["head_size"])
        if sizes["hidden"] % sizes["heads"]:
            most = sizes["hidden"] // old.head_size
            fit = [n for n in range(old.heads, most + 1) if sizes["hidden"] % n == 0]
            _refuse(
                "heads", "a divisor of the width", sizes["heads"], _nearest(fit, sizes["heads"])
            )
        sizes["head_size"] = sizes["hidden"] // sizes["heads"]
        if sizes["head_size"] < old.head_size:
            want = f"at most {sizes['hidden'] // old.head_size} at this width: heads do not shrink"
            _refuse("heads", want, sizes["heads"], "Or grow the width (hidden) with them.")
    new = Sizes(**sizes)
    rules = {
        axis: _RULES[axis](old, new, config, family, stack)
        for axis in sizes
        if sizes[axis] > getattr(old, axis)
    }
    return new, rules


def _hidden(old: Sizes, new: Sizes, config: Any, family: Family, _: bool) -> str:
    whole = new.hidden % old.hidden == 0
    if getattr(config, "embedding_size", new.hidden) == old.hidden < new.hidden:
        _refuse("hidden", f"{old.hidden}, the size of its embeddings", new.hidden)
    if not whole and (family.is_post_norm or family.writes_first_norm):
        times = new.hidden // old.hidden * old.hidden
        want = f"a multiple of {old.hidden}: a norm's output is the residual stream here"
        _refuse("hidden", want, new.hidden, _nearest([times, times + old.hidden], new.hidden))
    if whole:
        return "whole copies of the stream; its readers' weights go to one copy each"
    pad = "their mean" if family.norm == "layer" else "zeros"
    return f"copies of the stream and {pad}; gamma x sqrt(rho), epsilon x rho"


def _heads(old: Sizes, new: Sizes, *_: Any) -> str:
    if new.heads % new.key_heads:
        nearest = [n for n in range(old.heads, 4 * new.heads) if n % new.key_heads == 0]
        want = f"a multiple of the {new.key_heads} heads of keys and values"
        _refuse("heads", want, new.heads, _nearest(nearest, new.heads))
    return "copies of heads; the outputs' weights go to one copy each"


def _key_heads(old: Sizes, new: Sizes, *_: Any) -> str:
    if new.heads % new.key_heads:
        nearest = [n for n in range(old.key_heads, new.heads + 1) if new.heads % n == 0]
        want = f"a divisor of the {new.heads} heads"
        _refuse("key_heads", want, new.key_heads, _nearest(nearest, new.key_heads))
    return "copies; each query head keeps its keys"


def _head_size(old: Sizes, new: Sizes, config: Any, family: Family, _: bool) -> str:
    if not family.is_rotary:
        return "queries x sqrt(new / old), new ones 0; new keys and values free"
    if new.head_size % old.head_size:
        times = new.head_size // old.head_size * old.head_size
        want = f"a multiple of {old.head_size}, for rotary pairs of the same frequencies"
        nearest = _nearest([times, times + old.head_size], new.head_size)
        _refuse("head_size", want, new.head_size, nearest)
    kinds = rotary_kinds(config)
    if not kinds <= {*PLAIN_ROTARY}:
        want = f"{old.head_size} with rotary positions of type {min(kinds - {*PLAIN_ROTARY})}"
        hint = "Their frequencies depend on the head size: grow the heads instead."
        _refuse("head_size", want, new.head_size, hint)
    return "rotary pair j becomes pair k j; queries x sqrt(k), new ones 0; new keys free"


def _intermediate(*_: Any) -> str:
    return "copies of neurons; the outputs' weights go to one copy each"


def _layers(old: Sizes, new: Sizes, config: Any, family: Family, stack: bool) -> str:
    if family.is_post_norm and not stack:
        want = f"{old.layers}: no layer after a norm is the identity"
        hint = "Or stack copies, which is not exact (stack)."
        _refuse("layers", want, new.layers, hint)
    if old.layers == 1 and family.first_layer_differs:
        _refuse("layers", "1: its only layer is unlike the others", new.layers)
    if getattr(config, "scale_attn_by_inverse_layer_idx", False):
        _refuse("layers", f"{old.layers}: its attention is scaled by the layer", new.layers)
    if stack:
        return f"{STACKED} copies"
    return "identity layers: copies that add nothing yet"


def _vocab(*_: Any) -> str:
    return "new tokens begin as the mean; old logits stay"


def _positions(old: Sizes, new: Sizes, config: Any, family: Family, _: bool) -> str:
    kinds = rotary_kinds(config)
    if family.is_rotary and not kinds <= {*PLAIN_ROTARY}:
        _refuse("positions", f"{old.positions} with rotary positions scaled by it", new.positions)
    return "rotary: no weights" if family.is_rotary else "new positions begin as the mean"


_RULES: dict[str, Any] = {
    "hidden": _hidden, "heads": _heads, "key_heads": _key_heads, "head_size": _head_size,
    "intermediate": _intermediate, "layers": _layers, "vocab": _vocab, "positions": _positions,
}  # fmt: skip


def rotary_kinds(config: Any) -> set[str]:
    """Types of a config's rotary positions; more than one where layers have their own."""
    found = getattr(config, "rope_parameters", None) or {}
    each = found.values() if all(isinstance(v, dict) for v in found.values()) else [found]
    return {one.get("rope_type", "default") for one in each}


def _nearest(exact: list[int], wanted: int) -> str:
    ranked = sorted({n for n in exact if n > 0}, key=lambda n: abs(n - wanted))[:3]
    return f"The nearest that are exact: {', '.join(map(str, sorted(ranked)))}." if ranked else ""


def _refuse(axis: str, want: str, got: object, hint: str = "") -> None:
    raise ParameterError.of(axis, OWNER, want, got, hint)


def root_of_share(old: Sizes, new: Sizes) -> float:
    """The root of rho, the share of the stream's channels that hold something."""
    return math.sqrt(new.hidden // old.hidden * old.hidden / new.hidden)
