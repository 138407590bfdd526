"""The certificate of a growth: how far the large model's answers are from the small one's.

Both are built anew and asked the same random tokens, some padded, some as long as the model reads,
in float64 and in float32, without dropout. transformers computes norms, softmax and rotary
frequencies in float32 even where all weights are float64; here they are computed in float64 too,
as else the difference would be that of float32.

A large checkpoint is asked layer by layer: a layer's weights are read when it is reached, and
dropped after it.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shoestring.errors import ShoestringError
from shoestring.grow.growth import Growth, Weights
from shoestring.models.backbone import quiet_loading

# Relative to the largest answer, and to what float32 costs the small model by itself
LIMITS = {torch.float64: (1e-12, 2.0**-29), torch.float32: (1e-5, 1.0)}
MANY = 10
MOST_TOKENS, TEXTS = 512, 2  # of a text; of a batch
LARGE = 200_000_000  # parameters from which layers are asked one by one


@dataclass(frozen=True)
class Certificate:
    """What was measured; saved beside the model."""

    max_logit_difference: float  # in float64
    relative_difference: float  # to the largest logit
    relative_difference_float32: float
    relative_difference_as_saved: float  # above float32's where a half type rounds the weights
    batches: int
    tokens: int
    exact: bool  # False where copies of layers were stacked, which changes the function
    rules: dict[str, str]  # of each axis that grew
    seconds: float


def certify(growth: Growth, dtype: torch.dtype, batches: int = 4) -> Certificate:
    """Compare the answers of the small model with those of the large one of ``dtype``.

    ShoestringError if they differ by more than :data:`LIMITS` where the growth is exact.
    """
    began, wide, narrow = time.monotonic(), torch.float64, torch.float32
    config = growth.model.config
    inputs = list(_batches(config, batches, growth.seed))
    asked = {each: _asked(growth, config, growth.small, each) for each in (wide, narrow)}
    own, largest = _difference(asked[wide], asked[narrow], inputs)  # what float32 costs by itself
    found = {}
    for grown in dict.fromkeys((wide, narrow, dtype)):
        computed = wide if grown == wide else narrow
        large = _asked(growth, growth.new_config(), growth.weights(grown), computed)
        found[grown], _ = _difference(asked[computed], large, inputs)
        relative, rounding = LIMITS.get(grown, (math.inf, 1.0))
        limit = max(relative * largest, MANY * own * rounding)
        if growth.is_exact and not found[grown] <= limit:  # NaN too
            raise ShoestringError(
                f"The large model is not the small one: its answers differ by {found[grown]:.1e} "
                f"in {str(grown)[6:]}, where {limit:.0e} is allowed. Nothing was written."
            )
    float64, float32, saved = (found[of] / largest for of in (wide, narrow, dtype))
    tokens = sum(one["input_ids"].numel() for one in inputs)
    seconds = round(time.monotonic() - began, 2)
    return Certificate(
        found[wide], float64, float32, saved, batches, tokens, growth.is_exact, growth.rules,
        seconds,
    )  # fmt: skip


def _difference(one: Any, other: Any, inputs: list[dict[str, Tensor]]) -> tuple[float, float]:
    """The largest difference of two models' answers, and the largest answer."""
    difference = largest = 0.0
    for batch in inputs:
        for a, b in zip(_answers(one, batch), _answers(other, batch), strict=True):
            largest = max(largest, float(a.abs().max()))
            difference = max(difference, float((a - b[..., : a.shape[-1]]).abs().max()))
    return difference, largest


def _asked(growth: Growth, config: Any, weights: Weights, dtype: torch.dtype) -> Any:
    """A model that answers in a type, also where transformers would compute in float32."""
    config = copy.deepcopy(config)
    config._attn_implementation = "eager"
    with _computing_in(dtype):
        return built(type(growth.model), config, weights, dtype, growth.family.layers)


@torch.no_grad()
def _answers(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Every tensor of numbers that a model returns, for the tokens that are no padding."""
    with _computing_in(model.dtype):
        found = model(**inputs, return_dict=True).values()
    answers = [a for a in found if isinstance(a, Tensor) and a.is_floating_point()]
    real, length = inputs["attention_mask"].bool(), inputs["input_ids"].shape[1]
    return [a[real] if a.ndim == 3 and a.shape[1] == length else a for a in answers]


class _Wide(TorchFunctionMode):  # type: ignore[misc]
    """Computes in float64 what is asked for in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = torch.Tensor.double if func is torch.Tensor.float else func
        given = {name: _widened(value) for name, value in (kwargs or {}).items()}
        return func(*map(_widened, args), **given)


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


@contextmanager
def _computing_in(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _Wide() if dtype == torch.float64 else nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)


def empty(kind: type, config: Any) -> Any:
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        return kind(config).eval()


def built(kind: type, config: Any, weights: Weights, dtype: torch.dtype, layers: str = "") -> Any:
    """A model with these weights; of a large one's list of layers, when they are reached."""
    model = empty(kind, config)
    missing = {*model.state_dict()} - {*weights}

    def read(*names: str) -> None:
        for name in names:
            with torch._C.DisableTorchFunction():  # weights are read as what they are
                _set(model, name, weights[name]().to(dtype))

    def drop(*names: str) -> None:
        for name in names:
            _set(model, name, torch.empty(0))

    is_large = bool(layers) and sum(p.numel() for p in model.parameters()) > LARGE
    within = re.compile(rf"(.*\b{layers}\.\d+)\..*")
    by_layer: dict[str, list[str]] = {}
    for name in weights:
        if is_large and (found := within.fullmatch(name)):
            by_layer.setdefault(found[1], []).append(name)
        else:
            read(name)
    for layer, names in by_layer.items():
        module = model.get_submodule(layer)
        module.register_forward_pre_hook(lambda *_, names=names: read(*names))
        module.register_forward_hook(lambda *_, names=names: drop(*names))
    with quiet_loading():
        model.tie_weights(missing_keys=missing)
    return model


def _set(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    parameter = nn.Parameter(value, requires_grad=False)
    model.get_submodule(owner)._parameters[leaf] = parameter


def _batches(config: Any, n: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Random tokens: the first batch as long as the model reads, one text of each is padded."""
    draws = torch.Generator().manual_seed(seed)
    most = min(MOST_TOKENS, (getattr(config, "max_position_embeddings", 0) or MOST_TOKENS) - 2)
    special = (getattr(config, name, None) for name in ("pad_token_id", "eos_token_id"))
    first = max([0, *(i for i in special if isinstance(i, int) and i < 10)]) + 1
    for batch in range(n):
        length = most if batch == 0 else int(torch.randint(2, most + 1, (), generator=draws))
        ids = torch.randint(first, config.vocab_size, (TEXTS, length), generator=draws)
        mask = torch.ones_like(ids)
        mask[-1, length - length // 4 :] = 0
        ids[mask == 0] = config.pad_token_id or 0
        inputs = {"input_ids": ids, "attention_mask": mask}
        if getattr(config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = ids[:, : max(1, length // 2)]
        yield inputs
