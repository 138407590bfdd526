"""The same quantities measured on a real module: one forward and one backward, with hooks.

A sublayer is found by what runs. The matrices of a layer before a softmax and the first after it
are an attention, and those that follow are its feed-forward part, of which the first reads and the
last writes. So models of transformers are measured, and torch's own layers. Fused attention is
computed in steps, so that its softmax is seen. The gradient begins at the last hidden state, as
standard normal numbers, independent for each token and channel.

What runs is a copy over the same weights, so nothing is left in the model.

Not covered: experts, attention without matrices, a feed-forward part before its attention.

Letters: B texts, N tokens, D width.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from shoestring.checks import checked_seed
from shoestring.doctor.signal import Signal, Sublayer, spread
from shoestring.errors import ParameterError, ShoestringError

UNSEEN = -1e4  # scores below it are masked
_LAYER = re.compile(r"(.*?)\b\d+\.")  # a list of layers, and the number of one


@dataclass(frozen=True)
class _Ran:
    """A matrix that ran, or a sublayer: what it read and wrote (B, N, D)."""

    name: str
    read: Tensor
    wrote: Tensor
    scores: float | None  # of a softmax since the matrix before it
    place: str = ""  # of a sublayer

    @property
    def in_decoder(self) -> bool:
        return "decoder" in self.name


@torch.enable_grad()
def measure(model: Any, inputs: Mapping[str, Tensor], seed: int = 0) -> Signal:
    """Measure every sublayer of a module on a batch.

    Parameters
    ----------
    model : torch.nn.Module
        Any model of transformers, ``nn.Transformer``, its encoder or its decoder.
    inputs : mapping of str to Tensor
        What the module is called with; tokens where ``attention_mask`` is 0 do not count.
    seed : int
        Of the gradient at the last hidden state.

    Returns
    -------
    Signal
        As :func:`shoestring.doctor.predict` gives it.

    Raises
    ------
    ParameterError
        If there are no sublayers that can be told, or the inputs are no tensors.
    ShoestringError
        If the model does not run on the inputs, or gives NaN.
    """
    inputs, seed = _checked(model, inputs), checked_seed("seed", seed, "measure")
    # Without their weights copied: those of the copy share their numbers, and all take gradients
    weights = {
        id(weight): nn.Parameter(weight.detach(), requires_grad=weight.is_floating_point())
        for weight in model.parameters()
    }
    twin = copy.deepcopy(model, weights).eval()
    is_turned = any(not getattr(module, "batch_first", True) for module in model.modules())
    with sdpa_kernel(SDPBackend.MATH), _Watch(twin) as watch:
        last, logits = _called(twin, inputs)
    found = _sublayers(watch.ran)
    if not any(part.place.endswith("attention") for part in found):
        want = "a Transformer whose attentions have matrices for queries, keys and values"
        raise ParameterError.of("model", "measure", want, type(model).__name__)
    if not torch.isfinite(last).all():
        raise ShoestringError("The last hidden state has NaN: it is in the inputs or weights.")

    def texts(x: Tensor, in_decoder: bool) -> list[Tensor]:
        """The tokens of each text that are no padding (N, D)."""
        x = x.view(*last.shape[:2], -1) if x.ndim == 2 else x  # flattened, as in OPT
        x = x.double().transpose(0, 1) if is_turned else x.double()
        is_own = in_decoder and "decoder_input_ids" in inputs
        mask = inputs.get("decoder_attention_mask" if is_own else "attention_mask")
        if mask is None or mask.shape != x.shape[:2]:
            return list(x)
        return [text[keep] for text, keep in zip(x, mask.bool(), strict=True)]

    in_decoder = found[-1].in_decoder
    top = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed)).to(last)
    ends, tops = (torch.cat(texts(x, in_decoder)) for x in (last, top))
    back = torch.autograd.grad(ends, [part.wrote for part in found], tops)
    rows: list[Sublayer] = []
    first: dict[bool, list[Tensor]] = {}
    with torch.no_grad():
        for part, gradient in zip(found, back, strict=True):
            read = texts(part.read, part.in_decoder)
            start = first.setdefault(part.in_decoder, read)
            wrote, went_back = (_rms(texts(x, part.in_decoder)) for x in (part.wrote, gradient))
            gain, correlation = _cosine(start, read), _pairs(read)
            rows.append(Sublayer(part.place, wrote, gain, went_back, correlation, part.scores))
        end = texts(last, in_decoder)
        spread_of_logits = None if logits is None else float(logits.double().std(-1).mean())
        return Signal(tuple(rows), _cosine(first[in_decoder], end), _pairs(end), spread_of_logits)


def _checked(model: Any, inputs: Any) -> dict[str, Tensor]:
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:
        raise ParameterError.of("model", "measure", "a torch.nn.Module with weights", model)
    is_batch = isinstance(inputs, Mapping) and bool(inputs)
    if not is_batch or not all(isinstance(v, Tensor) and v.numel() for v in inputs.values()):
        want = "a mapping of names to Tensors that are not empty"
        raise ParameterError.of("inputs", "measure", want, inputs)
    device = next(model.parameters()).device
    return {str(name): value.to(device) for name, value in inputs.items()}


class _Watch(TorchDispatchMode):  # type: ignore[misc]
    """Notes every matrix that runs, and the scores of each attention where softmax gets them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.ran: list[_Ran] = []
        self.scores: float | None = None
        for name, module in model.named_modules():
            is_matrix = isinstance(module, nn.Linear | nn.MultiheadAttention)
            if is_matrix or type(module).__name__ == "Conv1D":
                module.register_forward_hook(partial(self.note, name), with_kwargs=True)

    def note(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        given = [*args, *kwargs.values()]
        if isinstance(module, nn.MultiheadAttention):  # whose matrices are no modules
            self.ran += [_Ran(f"{name}.{i}", x, x, None) for i, x in enumerate(given[:2])]
            out = out[0]
        self.ran.append(_Ran(name, given[0], out, self.scores))
        self.scores = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in ("aten::_softmax", "aten::_safe_softmax") and args[0].ndim >= 3:
            seen = args[0] > UNSEEN
            scores = torch.where(seen, args[0], 0.0).double()
            self.scores = spread(scores.cpu().numpy(), seen.cpu().numpy())
        return func(*args, **(kwargs or {}))


def _called(model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """The last hidden state and the logits."""
    of_transformers = {"output_hidden_states": True, "return_dict": True}
    try:
        answer = model(**inputs, **(of_transformers if hasattr(model, "config") else {}))
        if isinstance(answer, Tensor):
            return answer, None
        states = getattr(answer, "decoder_hidden_states", None) or answer.hidden_states
        logits = getattr(answer, "logits", None)
        is_of_tokens = logits is not None and logits.shape[-1] == model.config.vocab_size
        return states[-1], logits if is_of_tokens else None
    except Exception as error:  # a model raises anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ShoestringError(f"The model does not run on the inputs: {reason}.") from error


def _sublayers(ran: list[_Ran]) -> list[_Ran]:
    """The sublayers in the order in which they ran."""
    found: list[_Ran] = []
    begun: list[_Ran] = []  # matrices of the sublayer that began
    at, stack, number, seen = "", "", 0, set[str]()
    for one in ran:
        layer = _LAYER.match(one.name)
        if layer is None or any(one.name == other.name for other in begun):
            continue  # of no layer; or reads positions too
        if layer[0] != at or one.name in seen:  # the next layer, or a shared one again
            number = number + 1 if layer[1] == stack else 0
            at, stack, seen, begun = layer[0], layer[1], set(), []
        if begun:
            found.pop()
        seen.add(one.name)
        begun.append(one)
        kind = "feed-forward"
        if is_attention := one.scores is not None and len(begun) > 1:
            is_cross = any(other.read is not begun[0].read for other in begun[:-1])
            kind = "cross-attention" if is_cross else "attention"
        prefix = "decoder " if one.in_decoder and found and not found[0].in_decoder else ""
        found.append(replace(one, read=begun[0].read, place=f"{prefix}{number}.{kind}"))
        if is_attention:
            begun = []
    return found


def _rms(texts: list[Tensor]) -> float:
    return float(torch.cat(texts).square().mean().sqrt())


def _cosine(xs: list[Tensor], ys: list[Tensor]) -> float:
    return float(torch.cosine_similarity(torch.cat(xs), torch.cat(ys), dim=-1).mean())


def _pairs(texts: list[Tensor]) -> float:
    """Mean cosine of two different tokens of a text."""
    units = [nn.functional.normalize(text, dim=-1) for text in texts]
    summed = sum(float(unit.sum(0).square().sum()) - len(unit) for unit in units)
    counted = sum(len(unit) * (len(unit) - 1) for unit in units)
    return summed / counted if counted else 1.0
