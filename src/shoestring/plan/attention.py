"""Softmax against linear attention: what either costs, and from which length the linear one pays.

    softmax   softmax(Q K' / sqrt(d)) V               2 n^2 d multiply-adds a head
    linear    phi(Q) (phi(K)' V) / phi(Q) sum(phi(K))    2 n d'^2

phi(x) = elu(x) + 1 (Katharopoulos et al. 2020, arXiv 2006.16236). A decoder's sums run over the
past alone: we compute them in chunks of C tokens, 2 n d'^2 + 2 n C d', the form of Hua et al. 2022
(arXiv 2202.10447). By multiply-adds linear attention is cheaper from n > d on with heads of the
same size, and from n > 16 d with heads of d' = 4 d, which equal quality needs (Su,
https://kexue.fm/archives/8610). Time and memory are other matters: both are measured here.

Where we leave the post: its wider heads come without wider projections, so does ours; counting
those too moves the crossover further out. Not covered: other feature maps, and quality itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as nnf

from shoestring import checks
from shoestring.errors import ParameterError
from shoestring.plan.families import FAMILIES, Stack, describe
from shoestring.plan.job import OWNER, class_and_config
from shoestring.plan.machine import (
    Machine,
    checked_machine,
    measure_machine,
    operators_of,
    quickest_s,
    small_config,
)
from shoestring.plan.trace import Trace

CHUNK = 64
WIDER = 4  # d' / d
LONGEST = 1 << 16  # where the search for a crossover ends


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """Of queries, keys and values (B, H, n, d), by torch's kernel."""
    return nnf.scaled_dot_product_attention(q, k, v, is_causal=is_causal)


def eager_attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """The same by products and a softmax, which keeps all n^2 weights for backward."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if is_causal:
        future = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    return torch.softmax(scores, -1) @ v


def linear_attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """The same shapes, by sums over phi(k) v'; where it is causal, in chunks of ``CHUNK``."""
    q, k = nnf.elu(q) + 1, nnf.elu(k) + 1
    if not is_causal:
        return (q @ (k.transpose(-1, -2) @ v)) / (q @ k.sum(-2, keepdim=True).transpose(-1, -2))
    n = q.shape[-2]
    v = torch.cat((v, torch.ones_like(v[..., :1])), -1)  # the last channel sums the weights
    pad = -n % CHUNK
    q, k, v = (nnf.pad(x, (0, 0, 0, pad)).unflatten(-2, (-1, CHUNK)) for x in (q, k, v))
    sums = (k.transpose(-1, -2) @ v).cumsum(-3)
    before = nnf.pad(sums[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
    mixed = (q @ before + (q @ k.transpose(-1, -2)).tril() @ v).flatten(-3, -2)[..., :n, :]
    return mixed[..., :-1] / mixed[..., -1:]


def linear_macs(n: int, size: int, is_causal: bool) -> int:
    """Multiply-adds of a head of ``size`` channels over n tokens, without the weights' sums."""
    return 2 * n * size * size + (2 * n * CHUNK * size if is_causal else 0)


def _inputs(stack: Stack, n: int, wider: int) -> list[Tensor]:
    shape = (1, stack.heads, n, wider * stack.head_size)
    return [torch.randn(shape, requires_grad=True) for _ in range(3)]


Kernel = tuple[Any, int]  # a function of q, k, v and whether it is causal; how much wider


def _predicted(kernel: Kernel, stack: Stack, n: int, is_causal: bool, on: Machine) -> Any:
    """Seconds and peak bytes of forward and backward, without running it."""
    with FakeTensorMode(), Trace() as trace:
        trace.phase = "before"
        inputs = _inputs(stack, n, kernel[1])
        trace.phase = "forward"
        kernel[0](*inputs, is_causal).sum().backward()
    return on.seconds(trace.operators["forward"], True), trace.peak


def _measured(kernel: Kernel, stack: Stack, n: int, is_causal: bool) -> float:
    """Seconds of forward and backward."""
    inputs = _inputs(stack, n, kernel[1])
    return quickest_s(lambda: kernel[0](*inputs, is_causal).sum().backward(), ends=0.0)


def crossover(ratio: Callable[[int], float], within: float = 0.0) -> int | None:
    """The length from which a ratio that falls is below 1; None where that is beyond 65,536.

    ``within``: how far above it the answer may be, as a share of it.

    Examples
    --------
    >>> crossover(lambda n: 1000 / n)
    1001
    """
    if ratio(LONGEST) >= 1:
        return None
    low, high = 1, LONGEST
    while high - low > max(1, within * low):
        middle = (low + high) // 2
        low, high = (low, middle) if ratio(middle) < 1 else (middle, high)
    return high


def compare_attention(
    model: Any, *, lengths: tuple[int, ...] = (512, 2048, 8192), wider: int = WIDER,
    measure: bool = True, on: Machine | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Say whether linear attention would pay in a layer of a model, in training, and from where.

    Parameters
    ----------
    model : str, Path, config or model of transformers
        As :func:`estimate` takes it; only its sizes are read.
    lengths : tuple of int
        Tokens, also beyond the positions that the model has.
    wider : int
        How much wider the heads of linear attention are: 4 for about equal quality, by the post.
    measure : bool
        Whether to run the kernels at these lengths, and not only to predict.
    on : Machine, optional
        By default this one.

    Returns
    -------
    dict
        "lengths": for each a dict of "length", "share" of the attention matrix in the layer's work,
        "width" of the softmax layer that is as quick as this one with linear attention (None where
        that saves no time), and of each kernel, "softmax", "eager" and "linear", a dict of "flops",
        "bytes" (peak), "seconds" (predicted) and "measured". "crossovers": from which length on
        linear attention needs less, by "flops", "seconds", and "bytes", beside "softmax" and
        "eager"; None beyond 65,536. "advice": a sentence.

    Raises
    ------
    ParameterError
        For a model without a description, or lengths below 1.
    """
    _, config = class_and_config(model)
    described = describe(config)
    if described is None:
        want = f"a model of one of the families {', '.join(FAMILIES)}"
        raise ParameterError.of("model", OWNER, want, config.model_type)
    want = "tokens, at least one length"
    given = checks.checked_items("lengths", lengths, OWNER, want)
    lengths = tuple(checks.checked_int("lengths", n, 1, LONGEST, OWNER) for n in given)
    if not lengths:
        raise ParameterError.of("lengths", OWNER, want, lengths)
    wider = checks.checked_int("wider", wider, 1, 16, OWNER)
    measure = checks.checked_bool("measure", measure, OWNER)
    stack, on = described.stacks[-1], checked_machine(on, OWNER) or measure_machine()
    is_causal = FAMILIES[config.model_type]["kind"] != "encoder"
    kernels: dict[str, Kernel] = {
        "softmax": (softmax_attention, 1),
        "eager": (eager_attention, 1),
        "linear": (linear_attention, wider),
    }

    def flops(name: str, n: int) -> int:
        linear = linear_macs(n, wider * stack.head_size, is_causal)
        return 2 * stack.heads * (linear if name == "linear" else 2 * n * n * stack.head_size)

    @cache
    def costs(name: str, n: int) -> dict[str, Any]:
        seconds, n_bytes = _predicted(kernels[name], stack, n, is_causal, on)
        return {"flops": flops(name, n), "bytes": n_bytes, "seconds": seconds}

    rows = []
    for n in lengths:
        row: dict[str, Any] = {name: dict(costs(name, n)) for name in kernels}
        if measure:
            for name, kernel in kernels.items():
                row[name]["measured"] = _measured(kernel, stack, n, is_causal)
        by = "measured" if measure else "seconds"
        saved = row["softmax"][by] - row["linear"][by]
        attention = row["softmax"]["flops"]
        share = attention / (attention + 2 * n * _weights(stack))
        rows.append({"length": n, "share": share, "width": _as_quick(stack, n, saved, on), **row})

    def ratio(what: str, other: str, n: int) -> float:
        if what == "flops":
            return flops("linear", n) / flops(other, n)
        return float(costs("linear", n)[what] / costs(other, n)[what])

    crossovers = {
        what: {
            other: crossover(partial(ratio, what, other), within) for other in ("softmax", "eager")
        }
        for what, within in (("flops", 0.0), ("seconds", 0.02), ("bytes", 0.02))
    }
    advice = _advice(rows[-1], stack, crossovers["seconds"]["softmax"])
    return {"lengths": rows, "crossovers": crossovers, "advice": advice}


def _weights(stack: Stack) -> int:
    """Elements of the matrices that a token of a layer meets."""
    of_heads = 2 * (stack.heads + stack.key_heads) * stack.head_size
    return stack.width * (of_heads + (2 + stack.gated) * stack.neurons * stack.active)


def _as_quick(stack: Stack, n: int, saved_s: float, on: Machine) -> int | None:
    """Width of the softmax layer that takes as long as this one with linear attention."""

    def seconds(width: int) -> float:
        neurons = max(1, stack.neurons * stack.active * width // stack.width)
        config = small_config(width, 1, stack.gated, stack.head_size, neurons)
        return on.seconds(operators_of(config, 1, n, True), True)

    if saved_s <= 0:
        return None
    least = seconds(stack.width) - saved_s
    widths = range(stack.width - stack.head_size, 0, -stack.head_size)
    return next((width for width in widths if seconds(width) <= least), None)


def _advice(row: dict[str, Any], stack: Stack, least: int | None) -> str:
    n, words = row["length"], "at no length up to 65,536" if least is None else f"from {least:,} on"
    if row["linear"].get("measured", 0) > row["softmax"].get("measured", 0) or row["width"] is None:
        return f"Linear attention does not pay at {n:,} tokens; by prediction it does {words}."
    return (
        f"At {n:,} tokens linear attention saves time (by prediction {words}); a softmax model of "
        f"width {row['width']} in place of {stack.width} is as quick."
    )
