"""How large a model is on each axis, how large it may become exactly, and by which rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shoestring import checks
from shoestring.errors import FormatError, ParameterError
from shoestring.models.layer_layout import FAMILIES, Family

OWNER = "grow"


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
        found = {a: getattr(config, name, None) or 0 for a, name in fields_of(family).items()}
        found["key_heads"] = found["key_heads"] or found["heads"]
        found["head_size"] = found["head_size"] or found["hidden"] // found["heads"]
        found["intermediate"] = found["intermediate"] or 4 * found["hidden"]
        return cls(**found)


def fields_of(family: Family) -> dict[str, str]:
    """The field of a config for each axis."""
    return {
        "hidden": "hidden_size", "heads": "num_attention_heads", "key_heads": "num_key_value_heads",
        "head_size": "head_dim", "intermediate": family.neurons, "layers": "num_hidden_layers",
        "vocab": "vocab_size", "positions": "max_position_embeddings",
    }  # fmt: skip


def planned(
    old: Sizes, config: Any, family: Family, wanted: Mapping[str, int | None], *, stack: bool
) -> tuple[Sizes, dict[str, str]]:
    """The new sizes, and for each axis that grows the rule by which it does.

    ParameterError, with the nearest sizes that are exact, where none of the rules is.
    """
    given = {axis: value for axis, value in wanted.items() if value is not None}
    for axis, value in given.items():
        most = 4_096 if axis == "layers" else 2**24
        given[axis] = checks.checked_int(axis, value, getattr(old, axis, 1), most, OWNER)
    sizes = asdict(Sizes(**{**asdict(old), **given}))
    if "key_heads" not in given and old.key_heads == old.heads:
        sizes["key_heads"] = sizes["heads"]
    if "head_size" not in given and not family.free_head_size:
        sizes["head_size"] = sizes["hidden"] // sizes["heads"]
    new = Sizes(**sizes)
    if refusal := _refusal(old, new, given, config, family, stack):
        axis, want, hint = refusal
        raise ParameterError.of(axis, OWNER, want, sizes[axis], hint)
    rules = {axis: _RULES[axis] for axis in sizes if sizes[axis] > getattr(old, axis)}
    if stack and "layers" in rules:
        rules["layers"] = "not exact: copies"
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


def _refusal(
    old: Sizes, new: Sizes, given: Mapping[str, int], config: Any, family: Family, stack: bool
) -> tuple[str, str, str] | None:
    """Why there is no exact growth: an axis, what it must be, and a hint."""
    if "key_heads" in given and not hasattr(config, "num_key_value_heads"):
        return "key_heads", "left out: they are the heads here", ""
    if new.positions and not old.positions:
        return "positions", "left out: its positions have no limit", ""
    if not family.free_head_size:
        most = new.hidden // old.head_size
        if "head_size" in given:
            return "head_size", "left out: it is hidden / heads here", ""
        if new.hidden % new.heads:
            exact = (n for n in range(old.heads, most + 1) if new.hidden % n == 0)
            return "heads", "a divisor of the width", _nearest(new.heads, exact)
        if new.head_size < old.head_size:
            want = f"at most {most} at this width: heads do not shrink"
            return "heads", want, "Or grow the width (hidden) with them."
    if new.hidden > old.hidden:
        if getattr(config, "embedding_size", 0) == old.hidden:
            return "hidden", f"{old.hidden}, the size of its embeddings", ""
        if new.hidden % old.hidden and (family.is_post_norm or family.writes_first_norm):
            want = f"a multiple of {old.hidden}: a norm's output is the residual stream here"
            return "hidden", want, _nearest(new.hidden, range(old.hidden, 2**20, old.hidden))
    if new.heads % new.key_heads:
        if new.key_heads > old.key_heads:
            divisors = (n for n in range(old.key_heads, new.heads + 1) if new.heads % n == 0)
            want = f"a divisor of the {new.heads} heads"
            return "key_heads", want, _nearest(new.key_heads, divisors)
        multiples = range(old.heads, 4 * new.heads, new.key_heads)
        want = f"a multiple of the {new.key_heads} key_heads"
        return "heads", want, _nearest(new.heads, multiples)
    rotary = getattr(config, "rope_parameters", None) or {}
    each = rotary.values() if all(isinstance(v, dict) for v in rotary.values()) else [rotary]
    kinds = {one.get("rope_type", "default") for one in each}  # some layers have their own
    kinds -= {"default", "linear"}  # frequencies of others depend on more
    if new.head_size > old.head_size and family.is_rotary:
        if new.head_size % old.head_size:
            want = f"a multiple of {old.head_size}, for rotary pairs of the same frequencies"
            multiples = range(old.head_size, 2**16, old.head_size)
            return "head_size", want, _nearest(new.head_size, multiples)
        if kinds:
            want = f"{old.head_size} with rotary positions of type {min(kinds)}"
            return "head_size", want, "Grow the heads instead."
    if new.positions > old.positions and kinds:
        return "positions", f"{old.positions} with rotary positions of type {min(kinds)}", ""
    if new.layers > old.layers:
        if family.is_post_norm and not stack:
            want = f"{old.layers}: no layer after a norm is the identity"
            return "layers", want, "Or stack copies, which is not exact (stack)."
        if family.first_layer_differs and (stack or old.layers == 1):
            return "layers", f"{old.layers}: its first layer is unlike the others", ""
        if getattr(config, "scale_attn_by_inverse_layer_idx", False):
            return "layers", f"{old.layers}: its attention is scaled by the layer", ""
    return None


def _nearest(got: int, exact: Iterable[int]) -> str:
    found = sorted(sorted(exact, key=lambda n: abs(n - got))[:2])
    return f"The nearest that are exact: {', '.join(map(str, found))}." if found else ""
