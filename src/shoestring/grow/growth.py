"""One growth, tensor by tensor: by a family's table (:mod:`~shoestring.models.layer_layout`).

A tensor of the small model becomes one of the large, or several: a layer's that is repeated. An
added layer in a pre-norm model adds nothing to the stream yet: what writes to the stream is 0.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Generator, Tensor

from shoestring.errors import ParameterError
from shoestring.grow import rules
from shoestring.grow.sizes import OWNER, Sizes, family_of, layer_sources, planned, root_of_share
from shoestring.models.layer_layout import Family

Weights = Mapping[str, Callable[[], Tensor]]  # by name, read when they are called

KINDS = {  # of the sources of an axis, where they are not the axis's own
    **dict.fromkeys(("embedding", "<normed", "norm", "last_norm"), "stream"),
    **dict.fromkeys(("norm_bias", "last_norm_bias"), "stream"),
    "<context": "context",
    "<neurons": "neurons",
    "query_head_norm": "channels",
    "key_head_norm": "copied channels",
}


@dataclass(frozen=True)
class Growth:
    """From old sizes to new ones; ``is_tied``: the head's matrix is the embedding."""

    config: Any
    family: Family
    old: Sizes
    new: Sizes
    is_tied: bool
    has_head_norms: bool
    is_stacked: bool = False
    is_symmetric: bool = False  # equal shares for the copies, for comparison
    seed: int = 0

    @classmethod
    def of(
        cls, config: Any, names: list[str], is_tied: bool, sizes: Mapping[str, int | None], *,
        is_stacked: bool = False, file: str | None = None, **options: Any,
    ) -> tuple[Growth, dict[str, str]]:  # fmt: skip
        """By a model's config and the names of its tensors; and the rules of its axes."""
        family = family_of(config, names, file)
        new, rules = planned(config, family, sizes, stack=is_stacked)
        if not rules:
            raise ParameterError.of("hidden", OWNER, "larger, or another size", new.hidden)
        norms = any(name.endswith("q_norm.weight") for name in names)
        old = Sizes.of(config, family)
        return cls(config, family, old, new, is_tied, norms, is_stacked, **options), rules

    def new_config(self) -> Any:
        """The config of the large model."""
        config = self.new.set_in(self.config, self.family)
        name = self.family.epsilon
        setattr(config, name, getattr(config, name) * root_of_share(self.old, self.new) ** 2)
        if kinds := getattr(config, "layer_types", None):
            config.layer_types = [kinds[i] for i in self.layers]
        return config

    @cached_property
    def layers(self) -> list[int]:
        """The old layer that each new one comes from."""
        if self.is_stacked:  # one small model on the other
            return [i % self.old.layers for i in range(self.new.layers)]
        return layer_sources(self.old.layers, self.new.layers)

    @cached_property
    def sources(self) -> dict[str, Tensor]:
        """Old channels by new ones, for each kind of axis."""
        old, new = self.old, self.new
        queries, keys = rules.grouped_heads(old.heads, old.key_heads, new.heads, new.key_heads)
        if self.family.is_rotary:
            within = rules.rotary_channels(old.head_size, new.head_size)
        else:
            within = rules.padded_channels(old.head_size, new.head_size)
        values = rules.padded_channels(old.head_size, new.head_size)
        copied = within
        if self.has_head_norms:  # whose mean square copies keep, and zeros do not
            pair = torch.arange(new.head_size // 2) * old.head_size // new.head_size
            copied = torch.cat([pair, pair + old.head_size // 2])
        return {
            "stream": rules.repeated(old.hidden, new.hidden),
            "neurons": rules.copied(old.intermediate, new.intermediate),
            "heads": queries,
            "channels": within,
            "copied channels": copied,
            "query": rules.in_heads(queries, copied, old.head_size),
            "key": rules.in_heads(keys, copied, old.head_size),
            "value": rules.in_heads(keys, values, old.head_size),
            "context": rules.in_heads(queries, values, old.head_size),
        }

    def names(self, name: str) -> list[tuple[str, bool]]:
        """The names of a tensor in the large model, and whether it is that of an added layer."""
        before, found, after = name.partition(f"{self.family.layers}.")
        number, dot, rest = after.partition(".")
        if not found or not number.isdigit() or not dot:
            return [(name, False)]
        at = [i for i, layer in enumerate(self.layers) if layer == int(number)]
        return [(f"{before}{found}{i}.{rest}", i != at[0]) for i in at]

    def weights(self, small: Weights, dtype: torch.dtype | None = None) -> Weights:
        """The large model's tensors by name, each grown when it is asked for, in a type."""

        def grown(name: str, new: str, is_added: bool) -> Tensor:
            weight = small[name]()
            return self.grown(name, new, weight if dtype is None else weight.to(dtype), is_added)

        return {
            new: partial(grown, name, new, is_added)
            for name in small
            for new, is_added in self.names(name)
        }

    def grown(
        self, name: str, new: str, tensor: Tensor, is_added: bool, power: int = 0
    ) -> Tensor:  # fmt: skip
        """What becomes of a tensor; with a power of 1 or 2, of Adam's moments of it."""
        axes = self.family.axes(name)
        assert axes is not None  # names were checked
        is_new = is_added and not self.is_stacked
        writes = any("stream" in axis for axis in axes)
        generator = Generator().manual_seed(zlib.crc32(new.encode()) ^ self.seed)
        grown = tensor
        for axis, sections in enumerate(axes):
            parts = grown.split([self._old_size(s, grown, axis) for s in sections], dim=axis)
            each = zip(sections, parts, strict=True)
            grown = torch.cat([self._axis(s, p, axis, generator, power) for s, p in each], axis)
        is_silent = is_new and (power == 1 or (writes and power == 0))
        return torch.zeros_like(grown) if is_silent else grown.contiguous()

    def _old_size(self, kind: str, tensor: Tensor, axis: int) -> int:
        old = self.old
        sizes = {
            "query": old.heads * old.head_size,
            "key": old.key_heads * old.head_size,
            "value": old.key_heads * old.head_size,
            "neurons": old.intermediate,
        }
        return sizes.get(kind, int(tensor.shape[axis]))

    def _axis(self, kind: str, part: Tensor, axis: int, draws: Generator, power: int) -> Tensor:
        """A section of a tensor, grown along one axis."""
        family, sources = self.family, self.sources
        if kind == "_":
            return part
        if kind in ("vocabulary", "positions"):
            n = self.new.vocab if kind == "vocabulary" else self.new.positions
            held = part.shape[axis]
            extra = max(0, n - (self.old.vocab if kind == "vocabulary" else self.old.positions))
            source = torch.cat([torch.arange(held), torch.full((extra,), -1)])
            return rules.write(part, axis, source, "mean", draws, power)
        source, factor = sources[KINDS.get(kind, kind)], self._factor(kind)
        if kind.startswith("<"):
            pad = "zero" if kind == "<context" else "random"
            return rules.read(part, axis, source, pad, draws, power, even=self.is_symmetric)
        pad = "random" if kind in ("key", "value") else "zero"
        if kind in ("norm", "last_norm") or (
            kind in ("stream", "embedding") and family.norm == "layer"
        ):
            pad = "mean"
        shift = float(family.one_plus_gamma and kind.endswith("norm") and not power)
        grown = rules.write(part + shift, axis, source, pad, draws, power)
        return grown * factor ** (-power or 1) - shift

    def _factor(self, kind: str) -> float:
        """What weights of a kind are multiplied by."""
        old, new = self.old, self.new
        share = root_of_share(old, new)
        size = math.sqrt(new.head_size / old.head_size) if self.family.scales_scores else 1.0
        width = math.sqrt(new.hidden / old.hidden)
        last = 1 / (new.hidden // old.hidden) if self.is_tied else 1.0
        if self.family.scales_embedding and self.is_tied:
            last *= width
        if getattr(self.config, "scale_decoder_outputs", False):
            last *= width
        inner = share if self.has_head_norms else 1.0  # their epsilon shrinks with the others'
        return {
            "embedding": 1 / width if self.family.scales_embedding else 1.0,
            "norm": share,
            "last_norm": share * last,
            "last_norm_bias": last,
            "query_head_norm": size,
            "query": inner if self.has_head_norms else size,
            "key": inner,
        }.get(kind, 1.0)
