"""The certificate of a growth: how far the large model's answers are from the small one's.

Both are built anew and asked the same random tokens, some padded, some as long as the model reads,
in float64 and in float32, without dropout. transformers computes norms, softmax and rotary
frequencies in float32 even where all weights are float64; here they are computed in float64 too,
as else the difference would be that of float32.

The weights of a large checkpoint are made when the module that holds them is reached, and dropped
after it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from shoestring.errors import ShoestringError
from shoestring.grow.growth import Growth, Weights

# Relative to the largest answer, and to what float32 costs the small model by itself
LIMITS = {torch.float64: (1e-12, 2.0**-29), torch.float32: (1e-5, 1.0)}
MANY = 10
MOST_TOKENS, TEXTS = 512, 2  # of a text; of a batch
LARGE = 200_000_000  # parameters from which weights are made each time


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
    small = {name: value.detach for name, value in growth.small.items()}
    asked = {each: _asked(growth, config, small, each) for each in (wide, narrow)}
    own, largest = _difference(asked[wide], asked[narrow], inputs)  # what float32 costs by itself
    found = {}
    for grown in dict.fromkeys((wide, narrow, dtype)):
        computed = wide if grown == wide else narrow
        large = _asked(growth, growth.new_config(), growth.weights(grown), computed)
        found[grown], _ = _difference(asked[computed], large, inputs)
        relative, rounding = LIMITS.get(grown, (math.inf, 1.0))
        limit = max(relative * largest, MANY * own * rounding)
        if not growth.is_stacked and not found[grown] <= limit:  # NaN too
            raise ShoestringError(
                f"The large model is not the small one: its answers differ by {found[grown]:.1e} "
                f"in {str(grown)[6:]}, where {limit:.0e} is allowed. Nothing was written."
            )
    float64, float32, saved = (found[of] / largest for of in (wide, narrow, dtype))
    tokens = sum(one["input_ids"].numel() for one in inputs)
    seconds = round(time.monotonic() - began, 2)
    return Certificate(
        found[wide], float64, float32, saved, batches, tokens, not growth.is_stacked, growth.rules,
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
    """A model that answers in a type, also where transformers would compute in float32.

    A module's weights are there while it works; those of a large model are made each time.
    """
    from accelerate.hooks import attach_align_device_hook

    with _Computing(dtype):
        model = empty(type(growth.model), config, dtype=dtype, attn_implementation="eager")
    if model.num_parameters() < LARGE:
        weights = {name: cache(read) for name, read in weights.items()}
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    read = _Read({name: weights[own] for name, own in tied.items() if own in weights} | weights)
    attach_align_device_hook(model, execution_device="cpu", offload=True, weights_map=read)
    return model


@torch.no_grad()
def _answers(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Every tensor of numbers that a model returns, for the tokens that are no padding."""
    with _Computing(model.dtype):
        found = model(**inputs, return_dict=True).values()
    answers = [a for a in found if isinstance(a, Tensor) and a.is_floating_point()]
    real, length = inputs["attention_mask"].bool(), inputs["input_ids"].shape[1]
    return [a[real] if a.ndim == 3 and a.shape[1] == length else a for a in answers]


class _Computing(TorchFunctionMode):  # type: ignore[misc]
    """Computes in a type what is asked for in float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.float:
            func, kwargs = Tensor.to, {"dtype": self.dtype}
        given = {name: self._meant(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._meant, args), **given)

    def _meant(self, value: Any) -> Any:
        return self.dtype if value is torch.float32 else value


def empty(kind: Any, config: Any, **settings: Any) -> Any:
    """A model without numbers."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        return kind._from_config(copy.deepcopy(config), **settings).eval()


class _Read(dict[str, Callable[[], Tensor]]):
    """Weights that are read when they are asked for, as what they are."""

    def __getitem__(self, name: str) -> Any:
        with torch._C.DisableTorchFunction():
            return super().__getitem__(name)()


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
