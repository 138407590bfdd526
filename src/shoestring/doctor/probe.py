"""The same quantities measured on a real module: one forward and one backward, with hooks.

A sublayer is found by what runs. Matrices called query, key or value, and the first after them that
is not, are an attention; the matrices of the layer that follow are its feed-forward part, of which
the first reads and the last writes. So models of transformers with such names are measured, and
torch's own layers. Scores are seen where softmax or fused attention gets them. The gradient begins
at the last hidden state, as standard normal numbers, independent for each token and channel.

Nothing is left in the model: hooks go, weights get no gradients, modes are restored.

Not covered: experts, attention without matrices of such names.

Letters: B texts, N tokens, M tokens that are attended to, D width, H heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from shoestring.checks import checked_seed
from shoestring.doctor.signal import Signal, Sublayer, spread
from shoestring.errors import ParameterError, ShoestringError

READS = {
    *("query", "key", "value", "query_proj", "key_proj", "value_proj", "q_proj", "k_proj"),
    *("v_proj", "q_lin", "k_lin", "v_lin", "q", "k", "v", "c_attn", "Wqkv", "qkv_proj"),
    *("query_key_value", "qkv"),
}
UNSEEN = -1e4  # scores below it are masked
_LAYER = re.compile(r"(.*?)\b\d+\.")  # a list of layers, and the number of one


@dataclass
class _Ran:
    """A matrix that ran, or a whole attention of torch: what it read and wrote (B, N, D)."""

    name: str
    read: Tensor
    wrote: Tensor
    scores: float | None  # of the last softmax before its end
    is_whole: bool = False
    is_cross: bool = False

    @property
    def in_decoder(self) -> bool:
        return "decoder" in self.name


def measure(model: Any, inputs: Mapping[str, Tensor], seed: int = 0) -> Signal:
    """Measure every sublayer of a module on a batch.

    Parameters
    ----------
    model : torch.nn.Module
        Any model of transformers whose attentions have matrices of the usual names, or
        ``nn.Transformer``, its encoder or its decoder.
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
        If there are no sublayers that can be told, or the inputs are no numbers.
    ShoestringError
        If the model does not run on the inputs, or gives NaN.
    """
    inputs, seed = _checked(model, inputs), checked_seed("seed", seed, "measure")
    ran: list[_Ran] = []
    with _watched(model, ran), torch.enable_grad():
        last, head = _called(model, inputs)
        found = _sublayers(ran)
        if not any(place.endswith("attention") for place, _ in found):
            want = "a Transformer whose attentions have matrices for queries, keys and values"
            raise ParameterError.of("model", "measure", want, type(model).__name__)
        if not torch.isfinite(last).all():
            raise ShoestringError("The last hidden state is not finite. Check the weights for NaN.")
        top = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed)).to(last)
        top = top * _real(last, inputs, found[-1][1])
        back = torch.autograd.grad(last, [part.wrote for _, part in found], top)
    turned = any(not getattr(module, "batch_first", True) for module in model.modules())

    def tokens(x: Tensor, part: _Ran) -> Tensor:
        x = x.detach().double()
        x = x.view(*last.shape[:2], -1) if x.ndim == 2 else x  # flattened, as in OPT
        x = x.transpose(0, 1) if turned else x
        return x * _real(x, inputs, part)

    rows: list[Sublayer] = []
    first: dict[bool, Tensor] = {}
    for (place, part), gradient in zip(found, back, strict=True):
        read = tokens(part.read, part)
        start = first.setdefault(part.in_decoder, read)
        sizes = _rms(tokens(part.wrote, part)), _rms(tokens(gradient, part))
        rows.append(Sublayer(place, sizes[0], _cosine(start, read), sizes[1], _pairs(read),
                             part.scores))  # fmt: skip
    end, start = tokens(last, found[-1][1]), first[found[-1][1].in_decoder]
    logits = None
    if head is not None and head.ndim == 3 and head.shape[-1] == model.config.vocab_size:
        logits = float(head.detach().double().std(-1).mean())
    return Signal(tuple(rows), _cosine(start, end), _pairs(end), logits)


def _checked(model: Any, inputs: Any) -> dict[str, Tensor]:
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:
        raise ParameterError.of("model", "measure", "a torch.nn.Module with weights", model)
    is_batch = isinstance(inputs, Mapping) and bool(inputs)
    if not is_batch or not all(isinstance(v, Tensor) and v.numel() for v in inputs.values()):
        want = "a mapping of names to Tensors that are not empty"
        raise ParameterError.of("inputs", "measure", want, inputs)
    for name, value in inputs.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ParameterError.of("inputs", "measure", "finite numbers", f"NaN in {name}")
    device = next(model.parameters()).device
    return {str(name): value.to(device) for name, value in inputs.items()}


def _called(model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """The last hidden state and the logits."""
    bodies = [getattr(model, "base_model", model)]
    if hasattr(model, "get_decoder"):  # T5 has no body, and OPT passes its own by
        bodies.append(model.get_decoder())
    outputs: list[Any] = []
    handles = [
        body.register_forward_hook(lambda module, args, out: outputs.append(out))
        for body in bodies
        if body is not model and not isinstance(body, nn.Linear)  # which ModernBERT gives
    ]
    try:
        answer = model(**inputs)
        last = outputs[-1] if outputs else answer
        return last if isinstance(last, Tensor) else last[0], getattr(answer, "logits", None)
    except (TypeError, ValueError, LookupError, RuntimeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ShoestringError(f"The model does not run on the inputs: {reason}.") from error
    finally:
        for handle in handles:
            handle.remove()


def _sublayers(ran: list[_Ran]) -> list[tuple[str, _Ran]]:
    """The sublayers in the order in which they ran, and the place of each."""
    found: list[tuple[str, _Ran]] = []
    reading: list[_Ran] = []  # of an attention that began
    inner: list[_Ran] = []  # of a feed-forward part
    at, stack, number, seen = "", "", -1, set[str]()
    has_both = {one.in_decoder for one in ran if _LAYER.match(one.name)} == {False, True}

    def add(kind: str, first: _Ran, last: _Ran, scores: float | None) -> None:
        prefix = "decoder " if has_both and first.in_decoder else ""
        found.append((f"{prefix}{number}.{kind}", _Ran(last.name, first.read, last.wrote, scores)))

    def close() -> None:
        if inner:
            add("feed-forward", inner[0], inner[-1], None)
        inner.clear()

    for one in ran:
        if not (layer := _LAYER.match(one.name)):
            continue
        if layer[0] != at or one.name in seen:  # the next layer, or a shared one again
            close()
            number = number + 1 if layer[1] == stack else 0
            at, stack, seen = layer[0], layer[1], set()
        seen.add(one.name)
        if one.name.rpartition(".")[2] in READS:
            close()
            reading.append(one)
        elif reading or one.is_whole:
            close()
            is_cross = one.is_cross or any(r.read is not reading[0].read for r in reading)
            first = reading[0] if reading else one
            add("cross-attention" if is_cross else "attention", first, one, one.scores)
            reading.clear()
        else:
            inner.append(one)
    close()
    return found


class _Scores(TorchDispatchMode):  # type: ignore[misc]
    """Sees the scores of each attention."""

    last: float | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False))
        given |= kwargs or {}
        if name in ("_softmax", "_safe_softmax") and given["self"].ndim >= 3:
            self.last = _spread(given["self"])
        elif name.startswith("_scaled_dot_product") and "backward" not in name:
            self.last = _spread(_scores_of(given))
        return func(*args, **(kwargs or {}))


def _scores_of(given: Mapping[str, Any]) -> Tensor:
    """The scores of a fused attention (B, H, N, M)."""
    q, k, scale = given["query"], given["key"], given.get("scale")
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    mask = given.get("attn_mask", given.get("attn_bias"))
    if given.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is None:
        return scores
    return scores.masked_fill(~mask if mask.dtype == torch.bool else mask < UNSEEN, -math.inf)


def _spread(scores: Tensor) -> float:
    seen = scores > UNSEEN
    return spread(torch.where(seen, scores, 0.0).double().cpu().numpy(), seen.cpu().numpy())


@contextmanager
def _watched(model: nn.Module, ran: list[_Ran]) -> Iterator[None]:
    """Note every matrix that runs, in evaluation mode and without torch's fast path."""
    scores, handles, modes = _Scores(), [], [(m, m.training) for m in model.modules()]

    def watch(name: str, module: nn.Module) -> None:
        is_whole = isinstance(module, nn.MultiheadAttention)

        def hook(_: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
            given = [*args, *kwargs.values()]
            wrote = out[0] if is_whole else out
            if not wrote.requires_grad:  # weights are frozen
                wrote = wrote.detach().requires_grad_()
            is_cross = is_whole and given[1] is not given[0]
            ran.append(_Ran(name, given[0], wrote, scores.last, is_whole, is_cross))
            return (wrote, *out[1:]) if is_whole else wrote

        handles.append(module.register_forward_hook(hook, with_kwargs=True))

    for name, module in model.named_modules():
        is_matrix = isinstance(module, nn.Linear | nn.MultiheadAttention)
        if is_matrix or type(module).__name__ == "Conv1D":
            watch(name, module)
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        model.eval()
        with scores:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode


def _real(x: Tensor, inputs: Mapping[str, Tensor], part: _Ran) -> Tensor:
    """1 for tokens and 0 for padding (B, N, 1)."""
    mask = inputs.get("attention_mask")
    if part.in_decoder and "decoder_input_ids" in inputs:
        mask = inputs.get("decoder_attention_mask")
    if mask is None or mask.shape != x.shape[:2]:
        return torch.ones_like(x[..., :1])
    return mask[..., None].to(x)


def _rms(x: Tensor) -> float:
    n = int((x != 0).any(-1).sum()) * x.shape[-1]
    return math.sqrt(float(x.square().sum()) / max(1, n))


def _cosine(x: Tensor, y: Tensor) -> float:
    real = (x != 0).any(-1) & (y != 0).any(-1)
    return float(torch.cosine_similarity(x[real], y[real], dim=-1).mean())


def _pairs(x: Tensor) -> float:
    """Mean cosine of two different tokens of a text."""
    unit = nn.functional.normalize(x, dim=-1)
    n = (unit != 0).any(-1).sum(-1)
    counted = float((n * (n - 1)).sum())
    return float((unit.sum(1).square().sum(-1) - n).sum()) / counted if counted else 1.0
