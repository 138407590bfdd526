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

from bisect import bisect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as nnf

from shoestring import checks
from shoestring.errors import ParameterError
from shoestring.plan.cost import layer_weights
from shoestring.plan.families import FAMILIES, Stack, describe
from shoestring.plan.job import OWNER, class_and_config
from shoestring.plan.machine import measure_machine, quickest_s
from shoestring.plan.trace import Operator, Trace

CHUNK = 64
WIDER = 4  # d' / d
LONGEST = 1 << 16  # where the search for a crossover ends


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


def crossover(ratio: Callable[[int], float]) -> int | None:
    """The length from which a ratio that falls is below 1; None where that is beyond 65,536.

    Examples
    --------
    >>> crossover(lambda n: 1000 / n)
    1001
    """
    lengths = range(1, LONGEST + 1)
    found = bisect(lengths, False, key=lambda n: ratio(n) < 1)
    return lengths[found] if found < LONGEST else None


def compare_attention(
    model: Any, *, lengths: tuple[int, ...] = (512, 2048, 8192), wider: int = WIDER
) -> dict[str, Any]:
    """Say whether linear attention would pay in a layer of a model, in training, and from where.

    Parameters
    ----------
    model : str, Path, config or model of transformers
        As :func:`estimate` takes it; only its sizes are read.
    lengths : tuple of int
        Tokens at which the kernels are run, also beyond the positions that the model has.
    wider : int
        How much wider the heads of linear attention are: 4 for about equal quality, by the post.

    Returns
    -------
    dict
        "lengths": for each a dict of "length", "share" of the attention matrix in the layer's work,
        "width" of the softmax layer that is as quick as this one with linear attention (None where
        that saves no time), and of each kernel, "softmax" (torch's) and "linear", a dict of
        "flops", "bytes" (peak), "seconds" (predicted) and "measured". "crossovers": from which
        length on linear attention needs less, by "flops", "seconds" (predicted) and "bytes"; None
        beyond 65,536. "advice": a sentence.

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
    wider = checks.checked_int("wider", wider, 1, 16, OWNER)
    stack, on = described.stacks[-1], measure_machine()
    is_causal = FAMILIES[config.model_type]["kind"] != "encoder"

    def step(name: str, n: int) -> Callable[[], None]:
        is_linear = name == "linear"
        attend: Any = linear_attention if is_linear else nnf.scaled_dot_product_attention
        size = wider * stack.head_size if is_linear else stack.head_size
        inputs = [torch.randn(1, stack.heads, n, size, requires_grad=True) for _ in range(3)]
        return lambda: attend(*inputs, is_causal=is_causal).sum().backward()

    @cache
    def costs(name: str, n: int) -> dict[str, Any]:
        """FLOPs forward; peak bytes and seconds of forward and backward, without running it."""
        macs = 2 * n * n * stack.head_size
        if name == "linear":
            macs = linear_macs(n, wider * stack.head_size, is_causal)
        with FakeTensorMode(), Trace() as trace:
            trace.phase = "before"
            run = step(name, n)
            trace.phase = "forward"
            run()
        seconds = on.seconds(trace.operators["forward"], True)
        return {"flops": 2 * stack.heads * macs, "bytes": trace.peak, "seconds": seconds}

    def ratio(what: str, n: int) -> float:
        return float(costs("linear", n)[what] / costs("softmax", n)[what])

    rows = []
    for n in lengths:
        row: dict[str, Any] = {
            name: costs(name, n) | {"measured": quickest_s(step(name, n), ends=0.0)}
            for name in ("softmax", "linear")
        }
        attention, weights = row["softmax"]["flops"], sum(layer_weights(stack))
        one = Operator("mm", (1, n, stack.width, stack.width), 0, "float32")
        matrices_s = 3 * weights / stack.width**2 * on.seconds({one: 1}, True)
        took_s = [row[name]["measured"] for name in ("softmax", "linear")]
        width = _as_quick(stack, matrices_s, *took_s)
        share = attention / (attention + 2 * n * weights)
        rows.append({"length": n, "share": share, "width": width, **row})
    crossovers = {w: crossover(partial(ratio, w)) for w in ("flops", "seconds", "bytes")}
    advice = _advice(rows[-1], stack, crossovers["seconds"])
    return {"lengths": rows, "crossovers": crossovers, "advice": advice}


def _as_quick(stack: Stack, matrices_s: float, softmax_s: float, linear_s: float) -> int | None:
    """Width of the softmax layer that takes as long as this one with linear attention.

    Time of the matrices falls with the square of the width, that of attention with the heads.
    """
    if linear_s >= softmax_s:
        return None
    for width in range(stack.width - stack.head_size, 0, -stack.head_size):
        share = width / stack.width
        if share**2 * matrices_s + share * softmax_s <= matrices_s + linear_s:
            return width
    return None


def _advice(row: dict[str, Any], stack: Stack, least: int | None) -> str:
    n, words = row["length"], "at no length up to 65,536" if least is None else f"from {least:,} on"
    if row["width"] is None:
        return f"Linear attention does not pay at {n:,} tokens; by prediction it does {words}."
    return (
        f"At {n:,} tokens linear attention saves time (by prediction {words}); a softmax model of "
        f"width {row['width']} in place of {stack.width} is as quick."
    )
