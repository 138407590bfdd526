"""One growth, tensor by tensor: by a family's table (:mod:`~shoestring.models.layer_layout`).

A tensor of the small model becomes one of the large, or several: a layer's that is repeated. An
added layer in a pre-norm model adds nothing to the stream yet: what writes to the stream is 0.
"""

from __future__ import annotations

import copy
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor

from shoestring import checks
from shoestring.errors import FormatError, ParameterError
from shoestring.grow import rules
from shoestring.grow.sizes import OWNER, Sizes, family_of, fields_of, planned
from shoestring.models.layer_layout import Family

Weights = dict[str, Callable[[], Tensor]]  # by name, read when they are called

LAYER = re.compile(r"(.*?\b)(\d+)(\..+)")  # the first number in a tensor's name
PADS = {  # what is written to channels that hold nothing; 0 where it is not said
    **dict.fromkeys(("key", "value"), "random"),
    **dict.fromkeys(("norm", "last_norm", "vocabulary", "positions"), "mean"),
}


@dataclass(frozen=True)
class Growth:
    """Of a model of transformers, from old sizes to new ones."""

    model: Any
    small: dict[str, Tensor]  # its tensors, tied ones once
    family: Family
    old: Sizes
    new: Sizes
    rules: dict[str, str]  # of each axis that grows
    is_stacked: bool  # copies of layers, which change the function
    seed: int

    @classmethod
    def of(
        cls, model: Any, sizes: Mapping[str, int | None], *, stack: bool = False, seed: int = 0
    ) -> Growth:
        """Check a model, and the sizes that it shall have."""
        family, seed = family_of(model.config), checks.checked_seed("seed", seed, OWNER)
        small = {name: value.detach() for name, value in model.named_parameters()}
        if unknown := [name for name in small if family.axes(name) is None]:
            hint = "Remove what was added to the model, and grow it without."
            message = f"{len(unknown)} tensors that no growth is known for: "
            raise FormatError(f"{message}{', '.join(unknown[:3])}. {hint}")
        if broken := [name for name, value in small.items() if not bool(value.isfinite().all())]:
            raise FormatError(f"Weights that are not finite: {', '.join(broken[:3])}.")
        old = Sizes.of(model.config, family)
        new, found = planned(old, model.config, family, sizes, stack=stack)
        if not found:
            raise ParameterError.of("hidden", OWNER, "larger, or another size", new.hidden)
        return cls(model, small, family, old, new, found, stack and "layers" in found, seed)

    @cached_property
    def is_tied(self) -> bool:
        """Whether the head's matrix is the embedding."""
        head = self.model.get_output_embeddings()
        return head is not None and head.weight is self.model.get_input_embeddings().weight

    @cached_property
    def has_head_norms(self) -> bool:
        """Whether queries and keys are normalised within each head."""
        return any(name.endswith("q_norm.weight") for name in self.small)

    @property
    def share(self) -> float:
        """The share of the stream's channels that hold something: rho."""
        return self.new.hidden // self.old.hidden * self.old.hidden / self.new.hidden

    def new_config(self) -> Any:
        """The config of the large model."""
        config, family = copy.deepcopy(self.model.config), self.family
        for axis, name in fields_of(family).items():
            if hasattr(config, name) or (axis == "head_size" and family.free_head_size):
                setattr(config, name, getattr(self.new, axis))
        if hasattr(config, "num_decoder_layers"):
            config.num_decoder_layers = self.new.layers
        setattr(config, family.epsilon, getattr(config, family.epsilon) * self.share)
        if kinds := getattr(config, "layer_types", None):
            config.layer_types = [kinds[i] for i in self.layers]
        return config

    @cached_property
    def layers(self) -> list[int]:
        """The old layer that each new one comes from, of which the first is the old one itself.

        The first layer is never repeated where there is another: some families have it different.
        """
        n, new = self.old.layers, self.new.layers
        if self.is_stacked:  # one small model on the other
            return [i % n for i in range(new)]
        return [0, *(min(n - 1, 1 + (i - 1) * (n - 1) // (new - 1)) for i in range(1, new))]

    @cached_property
    def sources(self) -> dict[str, Tensor]:
        """Old channels by new ones, for each kind of axis."""
        old, new = self.old, self.new
        queries, keys = rules.grouped_heads(old.heads, old.key_heads, new.heads, new.key_heads)
        values = rules.padded_channels(old.head_size, new.head_size)
        within = rules.rotary_channels if self.family.is_rotary else rules.padded_channels
        copied = channels = within(old.head_size, new.head_size)
        if self.has_head_norms:  # whose mean square copies keep, and zeros do not
            pair = torch.arange(new.head_size // 2) * old.head_size // new.head_size
            copied = torch.cat([pair, pair + old.head_size // 2])
        norms = ("norm", "norm_bias", "last_norm", "last_norm_bias")
        stream = rules.repeated(old.hidden, new.hidden)
        neurons = torch.arange(new.intermediate) % old.intermediate  # each is a copy
        return {
            **dict.fromkeys(("stream", "embedding", "<normed", *norms), stream),
            **dict.fromkeys(("neurons", "<neurons"), neurons),
            "heads": queries,
            "query_head_norm": channels,
            "key_head_norm": copied,
            "query": rules.in_heads(queries, copied, old.head_size),
            "key": rules.in_heads(keys, copied, old.head_size),
            "value": rules.in_heads(keys, values, old.head_size),
            "<context": rules.in_heads(queries, values, old.head_size),
            "vocabulary": rules.padded_channels(old.vocab, new.vocab),
            "positions": rules.padded_channels(old.positions, new.positions),
        }

    def names(self, name: str) -> list[str]:
        """The names of a tensor in the large model; all but the first are of added layers."""
        found = LAYER.fullmatch(name)
        if not found:
            return [name]
        stack, number, rest = found.groups()
        return [f"{stack}{i}{rest}" for i, old in enumerate(self.layers) if old == int(number)]

    def weights(self, dtype: torch.dtype) -> Weights:
        """The large model's tensors by name, each grown when it is asked for, in a type."""

        def grown(name: str, new: str) -> Callable[[], Tensor]:
            return lambda: self.grown(name, new, self.small[name].to(dtype))

        return {new: grown(name, new) for name in self.small for new in self.names(name)}

    def grown(self, name: str, new: str, tensor: Tensor, power: int = 0) -> Tensor:
        """What becomes of a tensor; with a power of 1 or 2, of Adam's moments of it."""
        axes = self.family.axes(name)
        assert axes is not None  # names were checked
        generator = Generator().manual_seed(zlib.crc32(new.encode()) ^ self.seed)
        grown = tensor
        for axis, sections in enumerate(axes):
            each = zip(sections, grown.chunk(len(sections), axis), strict=True)  # as large
            parts = [self._axis(s, p, axis, generator, power) for s, p in each]
            grown = torch.cat(parts, axis) if len(parts) > 1 else parts[0]
        is_added = new != self.names(name)[0] and not self.is_stacked
        writes = any("stream" in axis for axis in axes)
        is_silent = is_added and (power == 1 or (writes and power == 0))
        if is_silent:
            return torch.zeros_like(grown)
        return grown.clone() if grown.data_ptr() == tensor.data_ptr() else grown.contiguous()

    def _axis(self, kind: str, part: Tensor, axis: int, draws: Generator, power: int) -> Tensor:
        """A section of a tensor, grown along one axis."""
        factor = self._factor(kind)
        if kind == "_" or (factor == 1 and len(self.sources[kind]) == part.shape[axis]):
            return part
        if kind.startswith("<"):
            pad = "zero" if kind == "<context" else "random"
            return rules.read(part, axis, self.sources[kind], pad, draws, power)
        is_stream = kind in ("stream", "embedding")
        pad = "mean" if is_stream and self.family.norm == "layer" else PADS.get(kind, "zero")
        shift = float(self.family.one_plus_gamma and kind.endswith("norm") and not power)
        part = part + shift if shift else part
        grown = rules.write(part, axis, self.sources[kind], pad, draws, power)
        return grown.mul_(factor ** (-power or 1)).sub_(shift)

    def _factor(self, kind: str) -> float:
        """What weights of a kind are multiplied by."""
        old, new = self.old, self.new
        share = math.sqrt(self.share)
        size = math.sqrt(new.head_size / old.head_size) if self.family.scales_scores else 1.0
        width = math.sqrt(new.hidden / old.hidden)
        last = 1 / (new.hidden // old.hidden) if self.is_tied else 1.0
        if self.family.scales_embedding and self.is_tied:
            last *= width
        if getattr(self.model.config, "scale_decoder_outputs", False):
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
