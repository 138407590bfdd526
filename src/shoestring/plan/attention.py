"""Softmax against linear attention: what either costs, and from which length the linear one pays.

    softmax   softmax(Q K' / sqrt(d)) V               2 n^2 d multiply-adds a head
    linear    phi(Q) (phi(K)' V) / phi(Q) sum(phi(K))    2 n d'^2 + n d'

phi(x) = elu(x) + 1 (Katharopoulos et al. 2020, arXiv 2006.16236). A decoder's sums run over the
past alone: we compute them in chunks of C tokens, 2 n C d' more, the form of Hua et al. 2022
(arXiv 2202.10447). By multiply-adds linear attention is cheaper from n > d on with heads of the
same size, and from n > 16 d with heads of d' = 4 d, which equal quality needs (Su,
https://kexue.fm/archives/8610). Time and memory are other matters: both are measured here.

Where we leave the post: its wider heads come without wider projections, so does ours; counting
those too moves the crossover further out. Not covered: other feature maps, and quality itself.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as nnf

from shoestring import checks
from shoestring.errors import ParameterError
from shoestring.plan.cost import FAMILIES, Stack, describe
from shoestring.plan.job import OWNER, class_and_config
from shoestring.plan.machine import measure_machine, quickest_s
from shoestring.plan.trace import Operator, Trace

CHUNK = 128
WIDER = 4  # d' / d, for about equal quality
SHORT = 1 << 11
LONGEST = 1 << 16  # where the search for a crossover ends


def linear_attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """The same shapes, by sums over phi(k) v'; where it is causal, in chunks of ``CHUNK``."""
    q, k = nnf.elu(q) + 1, nnf.elu(k) + 1
    if not is_causal:  # v is turned, not k: k's gradient then comes as elu reads it
        mixed = q @ (v.transpose(-1, -2) @ k).transpose(-1, -2)
        return mixed * (q @ k.sum(-2, keepdim=True).transpose(-1, -2)).reciprocal()
    n = q.shape[-2]
    v = torch.cat((v, torch.ones_like(v[..., :1])), -1)  # the last channel sums the weights
    pad = -n % CHUNK
    q, k, v = (nnf.pad(x, (0, 0, 0, pad)).unflatten(-2, (-1, CHUNK)) for x in (q, k, v))
    sums = (v.transpose(-1, -2) @ k).cumsum(-3)
    before = nnf.pad(sums[..., :-1, :, :], (0, 0, 0, 0, 1, 0)).transpose(-1, -2)
    mixed = (q @ before + (q @ k.transpose(-1, -2)).tril() @ v).flatten(-3, -2)[..., :n, :]
    return mixed[..., :-1] * mixed[..., -1:].reciprocal()


def compare_attention(
    model: Any, *, lengths: tuple[int, ...] = (512, 2048, 8192)
) -> dict[str, Any]:
    """Say whether linear attention would pay in a layer of a model, in training, and from where.

    Parameters
    ----------
    model : str, Path, config or model of transformers
        As :func:`estimate` takes it; only its sizes are read.
    lengths : tuple of int
        Tokens at which the kernels are run, also beyond the positions that the model has.

    Returns
    -------
    dict
        "lengths": for each a dict of "length", "width" of the softmax layer that is as quick as
        this one with linear attention, the layer's own where that saves no time, and of each
        kernel, "softmax" (torch's) and "linear", a dict of "flops" (forward), "bytes" (peak),
        "seconds" (predicted) and "measured". "crossovers": from which length on linear attention
        needs less, by "flops", "seconds" (predicted) and "bytes"; None beyond 65,536. "advice": a
        sentence.

    Raises
    ------
    ParameterError
        For a model without a description, or lengths below 1.
    """
    _, config = class_and_config(model, OWNER)
    described = describe(config)
    if described is None:
        want = f"a model of one of the families {', '.join(FAMILIES)}"
        raise ParameterError.of("model", OWNER, want, config.model_type)
    want = "tokens, at least one length"
    given = checks.checked_items("lengths", lengths, OWNER, want)
    lengths = tuple(checks.checked_int("lengths", n, 1, LONGEST, OWNER) for n in given)
    if not lengths:
        raise ParameterError.of("lengths", OWNER, want, lengths)
    stack, on = described.stacks[-1], measure_machine()
    is_causal = FAMILIES[config.model_type]["kind"] != "encoder"

    def kernel(name: str, n: int) -> Callable[[], Tensor]:
        """Attention over inputs of its own, summed to go backward from."""
        attend: Any = linear_attention if name == "linear" else nnf.scaled_dot_product_attention
        size = stack.head_size * (WIDER if name == "linear" else 1)
        qkv = [torch.randn(1, stack.heads, n, size, requires_grad=True) for _ in range(3)]
        return lambda: attend(*qkv, is_causal=is_causal).sum()

    def measured_s(name: str, n: int) -> float:
        forward = kernel(name, n)
        times = 1 + 4 * (n <= SHORT)  # a call is a second or more beyond
        return min(quickest_s(lambda: forward().backward(), ends=0.0) for _ in range(times))

    @cache
    def costs(name: str, n: int) -> dict[str, Any]:
        """FLOPs forward; peak bytes and seconds of forward and backward, without running it."""
        with FakeTensorMode(), Trace() as trace:
            trace.phase = "inputs"
            forward = kernel(name, n)
            trace.phase = "forward"
            summed = forward()
            trace.phase = "backward"
            summed.backward()
        seconds = sum(on.seconds(trace.operators[p], True) for p in ("forward", "backward"))
        return {"flops": trace.flops["forward"], "bytes": trace.peak, "seconds": seconds}

    def crossover(what: str) -> int | None:
        def pays(n: int) -> bool:
            return bool(costs("linear", n)[what] < costs("softmax", n)[what])

        below = bisect(range(1, LONGEST + 1), False, key=pays)
        return below + 1 if below < LONGEST else None

    rows = []
    for n in lengths:
        row: dict[str, Any] = {
            name: costs(name, n) | {"measured": measured_s(name, n)}
            for name in ("softmax", "linear")
        }
        shape, weights = (n, stack.width, stack.width), stack.projections + stack.feed_forward
        matrices_s = on.seconds({Operator("mm", "float32", 3 * n * weights, shape): 1}, True)
        took_s = [row[name]["measured"] for name in ("softmax", "linear")]
        rows.append({"length": n, "width": _as_quick(stack, matrices_s, *took_s), **row})
    crossovers = {what: crossover(what) for what in ("flops", "seconds", "bytes")}
    advice = _advice(rows[-1], stack, crossovers["seconds"])
    return {"lengths": rows, "crossovers": crossovers, "advice": advice}


def _as_quick(stack: Stack, matrices_s: float, softmax_s: float, linear_s: float) -> int:
    """Width of the softmax layer that takes as long as this one with linear attention.

    At a share s of the width the matrices take s^2 of their time, softmax attention s of its own.
    """
    most = matrices_s + linear_s
    share = 2 * most / (softmax_s + math.sqrt(softmax_s**2 + 4 * matrices_s * most))
    return stack.width * max(1, int(min(1, share) * stack.heads)) // stack.heads


def _advice(row: dict[str, Any], stack: Stack, least: int | None) -> str:
    n, words = row["length"], "at no length up to 65,536" if least is None else f"from {least:,} on"
    if row["width"] == stack.width:
        return f"Linear attention does not pay at {n:,} tokens; by prediction it does {words}."
    return (
        f"At {n:,} tokens linear attention saves time (by prediction {words}); a softmax model of "
        f"width {row['width']} in place of {stack.width} is as quick."
    )
