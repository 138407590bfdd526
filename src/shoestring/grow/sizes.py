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


def family_of(config: Any, names: list[str], file: str | None = None) -> Family:
    """The family of a model, by its config and the names of its tensors.

    ParameterError for a family, FormatError for tensors that no growth is known for.
    """
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        want = f"a model of one of the families {', '.join(FAMILIES)}"
        raise ParameterError.of("model", OWNER, want, kind)
    if getattr(config, "quantization_config", None):
        raise FormatError("is quantised. Grow the model as it was before.", file=file)
    if unknown := [name for name in names if FAMILIES[kind].axes(name) is None]:
        shown = ", ".join(unknown[:3]) + " ..." * (len(unknown) > 3)
        hint = "Remove what was added to the model, and grow it without."
        message = f"{len(unknown)} tensors that no growth is known for: {shown}. {hint}"
        raise FormatError(message, file=file)
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

    ParameterError, with the nearest sizes that are exact, where none of the rules is.
    """
    old = Sizes.of(config, family)
    sizes = asdict(old)
    for axis, value in wanted.items():
        if value is not None:
            most = 4_096 if axis == "layers" else 2**24
            sizes[axis] = checks.checked_int(axis, value, sizes[axis], most, OWNER)
    if not hasattr(config, "num_key_value_heads") and wanted.get("key_heads") is not None:
        _refuse("key_heads", "left out: they are the heads here", sizes)
    if wanted.get("key_heads") is None and old.key_heads == old.heads:
        sizes["key_heads"] = sizes["heads"]
    if not old.positions and sizes["positions"]:
        _refuse("positions", "left out: its positions have no limit", sizes)
    if not family.free_head_size:
        if wanted.get("head_size") is not None:
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
