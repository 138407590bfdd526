"""How large a model is on each axis, how large it may become exactly, and by which rule."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shoestring import checks
from shoestring.errors import FormatError, ParameterError
from shoestring.models.layer_layout import FAMILIES, Family

OWNER = "grow"
FIELDS = {  # of configs; the family says that of "intermediate"
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "key_heads": "num_key_value_heads",
    "head_size": "head_dim",
    "layers": "num_hidden_layers",
    "vocab": "vocab_size",
    "positions": "max_position_embeddings",
}


def family_of(config: Any) -> Family:
    """The family of a model; ParameterError for another one, FormatError for a quantised model."""
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        want = f"a model of one of the families {', '.join(FAMILIES)}"
        raise ParameterError.of("model", OWNER, want, kind)
    if getattr(config, "quantization_config", None):
        raise FormatError("The model is quantised. Grow it as it was before.")
    return FAMILIES[kind]


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
        fields = FIELDS | {"intermediate": family.neurons}
        found = {axis: getattr(config, name, None) or 0 for axis, name in fields.items()}
        found["key_heads"] = found["key_heads"] or found["heads"]
        found["head_size"] = found["head_size"] or found["hidden"] // found["heads"]
        found["intermediate"] = found["intermediate"] or 4 * found["hidden"]
        return cls(**found)

    def set_in(self, config: Any, family: Family) -> Any:
        """A copy of the config with these sizes."""
        new = copy.deepcopy(config)
        for axis, name in (FIELDS | {"intermediate": family.neurons}).items():
            if hasattr(config, name) or (axis == "head_size" and family.free_head_size):
                setattr(new, name, getattr(self, axis))
        if hasattr(config, "num_decoder_layers"):
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

    ParameterError, with the nearest sizes that are exact, where none of the rules is.
    """
    old = Sizes.of(config, family)
    given = {axis: value for axis, value in wanted.items() if value is not None}
    for axis, value in given.items():
        most = 4_096 if axis == "layers" else 2**24
        given[axis] = checks.checked_int(axis, value, getattr(old, axis, 1), most, OWNER)
    sizes = asdict(Sizes(**{**asdict(old), **given}))
    if not hasattr(config, "num_key_value_heads") and "key_heads" in given:
        _refuse("key_heads", "left out: they are the heads here", sizes)
    if "key_heads" not in given and old.key_heads == old.heads:
        sizes["key_heads"] = sizes["heads"]
    if not old.positions and sizes["positions"]:
        _refuse("positions", "left out: its positions have no limit", sizes)
    if not family.free_head_size:
        if "head_size" in given:
            _refuse("head_size", "left out: it is hidden / heads here", sizes)
        _check_bound_heads(old, sizes)
    new = Sizes(**sizes)
    rules = {axis: _RULES[axis] for axis in sizes if sizes[axis] > getattr(old, axis)}
    if "hidden" in rules:
        _check_width(old, sizes, config, family)
    if new.heads % new.key_heads:
        axis, other = ("key_heads", "heads") if "key_heads" in rules else ("heads", "key_heads")
        exact = [n for n in range(getattr(old, axis), 4 * new.heads)
                 if max(n, sizes[other]) % min(n, sizes[other]) == 0]  # fmt: skip
        want = (
            f"{'a divisor' if axis == 'key_heads' else 'a multiple'} of the {sizes[other]} {other}"
        )
        _refuse(axis, want, sizes, exact)
    kinds = rotary_kinds(config) - {"default", "linear"}  # of which frequencies depend on more
    if "head_size" in rules and family.is_rotary:
        if new.head_size % old.head_size:
            want = f"a multiple of {old.head_size}, for rotary pairs of the same frequencies"
            _refuse("head_size", want, sizes, range(old.head_size, 2**16, old.head_size))
        if kinds:
            want = f"{old.head_size} with rotary positions of type {min(kinds)}"
            _refuse("head_size", want, sizes, hint="Grow the heads instead.")
    if "positions" in rules and kinds:
        want = f"{old.positions} with rotary positions of type {min(kinds)}"
        _refuse("positions", want, sizes)
    if "layers" in rules:
        _check_depth(old, sizes, config, family, stack)
        rules["layers"] = STACKED if stack else rules["layers"]
    return new, rules


_RULES = {
    "hidden": "copies of the stream, in the rest its mean or 0; gamma x sqrt(rho), epsilon x rho; "
    "readers' weights go to one copy each",
    "heads": "copies; the outputs' weights go to one copy each",
    "key_heads": "copies; each query head keeps its keys",
    "head_size": "queries x sqrt(new / old), new ones 0, new keys free; rotary pair j becomes k j",
    "intermediate": "copies; the outputs' weights go to one copy each",
    "layers": "copies that add nothing yet",
    "vocab": "new tokens begin as the mean; the old logits stay",
    "positions": "new ones begin as the mean; none where positions are rotary",
}
STACKED = "not exact: copies"


def _check_bound_heads(old: Sizes, sizes: dict[str, int]) -> None:
    """Set the head size of a family in which it is the width over the heads."""
    most = sizes["hidden"] // old.head_size
    exact = [n for n in range(old.heads, most + 1) if sizes["hidden"] % n == 0]
    if sizes["hidden"] % sizes["heads"]:
        _refuse("heads", "a divisor of the width", sizes, exact)
    sizes["head_size"] = sizes["hidden"] // sizes["heads"]
    if sizes["head_size"] < old.head_size:
        want = f"at most {most} at this width: heads do not shrink"
        _refuse("heads", want, sizes, hint="Or grow the width (hidden) with them.")


def _check_width(old: Sizes, sizes: dict[str, int], config: Any, family: Family) -> None:
    if getattr(config, "embedding_size", 0) == old.hidden:
        _refuse("hidden", f"{old.hidden}, the size of its embeddings", sizes)
    if sizes["hidden"] % old.hidden and (family.is_post_norm or family.writes_first_norm):
        want = f"a multiple of {old.hidden}: a norm's output is the residual stream here"
        _refuse("hidden", want, sizes, range(old.hidden, 2**20, old.hidden))


def _check_depth(
    old: Sizes, sizes: dict[str, int], config: Any, family: Family, stack: bool
) -> None:
    if family.is_post_norm and not stack:
        want = f"{old.layers}: no layer after a norm is the identity"
        _refuse("layers", want, sizes, hint="Or stack copies, which is not exact (stack).")
    if family.first_layer_differs and (stack or old.layers == 1):
        _refuse("layers", f"{old.layers}: its first layer is unlike the others", sizes)
    if getattr(config, "scale_attn_by_inverse_layer_idx", False):
        _refuse("layers", f"{old.layers}: its attention is scaled by the layer", sizes)


def rotary_kinds(config: Any) -> set[str]:
    """Types of a config's rotary positions; more than one where layers have their own."""
    found = getattr(config, "rope_parameters", None) or {}
    each = found.values() if all(isinstance(v, dict) for v in found.values()) else [found]
    return {one.get("rope_type", "default") for one in each}


def _refuse(
    axis: str, want: str, sizes: dict[str, int], exact: Iterable[int] = (), hint: str = ""
) -> None:
    got = sizes[axis]
    if nearest := sorted(sorted(exact, key=lambda n: abs(n - got))[:2]):
        hint = f"The nearest that are exact: {', '.join(map(str, nearest))}."
    raise ParameterError.of(axis, OWNER, want, got, hint)


def root_of_share(old: Sizes, new: Sizes) -> float:
    """The root of rho, the share of the stream's channels that hold something."""
    return math.sqrt(new.hidden // old.hidden * old.hidden / new.hidden)
