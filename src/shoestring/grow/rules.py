"""How weights grow so that the function stays: tensors in, tensors out.

An axis of n channels grows to n' by its sources: new channel i holds what old channel ``source[i]``
held, or nothing (-1). A matrix that *writes* to a grown axis takes its rows by source. One that
*reads* a grown axis must give the same sums: each weight goes whole to one of the copies of its
channel, drawn at random, and the others get 0. That is exact in every number format, and breaks
the symmetry of the copies, which otherwise learn the same for ever. A reader's weights for channels
that hold nothing are free: they get random numbers, so that they learn at once.

Sources: Chen, Goodfellow & Shlens 2016 (arXiv 1511.05641: copies, split among the readers); Wang et
al. 2023 (LEMON, arXiv 2310.07999: uneven widths in pre-norm models); Su (kexue.fm/archives/8444),
whose table has three errors (docs/grow.md). Ours: rotary heads of k times the size, where old pair
j becomes pair k j, of the same frequency.

Let ρ be the share of the new channels that hold something: RMSNorm and LayerNorm of the grown
stream have ρ times the mean square, so that γ' = √ρ γ and ε' = ρ ε are exact. LayerNorm also needs
the mean unchanged: channels that hold nothing carry the mean of the others.

Moments of Adam (``power`` 1 and 2): a copy's gradient is the share of its readers, 1 / copies, of
the old one's; a factor s on a weight is 1 / s on its gradient.

Letters: n channels, d head size, H heads, G heads of keys and values, k a whole factor.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

ROWS_AT_ONCE = 4_000_000  # weights that are drawn at once


def repeated(n: int, new: int) -> Tensor:
    """Sources of a stream of width n: whole copies, then channels that hold nothing."""
    source = torch.arange(new) % n
    source[new // n * n :] = -1
    return source


def grouped_heads(heads: int, key_heads: int, new: int, new_key: int) -> tuple[Tensor, Tensor]:
    """Sources of H' query heads and G' heads of keys, each query with the keys that it had."""
    key_source = torch.arange(new_key) * key_heads // new_key
    per, new_per = heads // key_heads, new // new_key
    first = torch.searchsorted(key_source, key_source)  # of the copies of each key head
    slot = (torch.arange(new_key) - first)[:, None] * new_per + torch.arange(new_per)
    return (key_source[:, None] * per + slot % per).flatten(), key_source


def rotary_channels(d: int, new: int) -> Tensor:
    """Sources of a rotary head: pair j, channels j and j + d / 2, is k j; the rest hold nothing."""
    source = torch.full((new,), -1)
    pairs = torch.arange(d // 2)
    source[pairs * (new // d)] = pairs
    source[pairs * (new // d) + new // 2] = pairs + d // 2
    return source


def padded_channels(d: int, new: int) -> Tensor:
    """Sources of a head without rotation: the old channels, then some that hold nothing."""
    return torch.cat([torch.arange(d), torch.full((new - d,), -1)])


def in_heads(heads: Tensor, channels: Tensor, d: int) -> Tensor:
    """Sources of all heads' channels, from those of heads and those within one."""
    return torch.where(channels < 0, -1, heads[:, None] * d + channels).flatten()


def copies(source: Tensor, n: int) -> Tensor:
    """How many copies each old channel has (n,)."""
    return torch.bincount(source[source >= 0], minlength=n)


def write(
    weight: Tensor, axis: int, source: Tensor, pad: str, generator: Generator, power: int = 0
) -> Tensor:
    """Grow the axis of what is computed; ``pad`` is "zero", "mean" or "random"."""
    index, view = source.clamp(min=0), [1] * weight.ndim
    grown = weight.index_select(axis, index)
    if power:
        view[axis] = -1
        shares = 1.0 / copies(source, weight.shape[axis])[index] ** power
        grown = grown * shares.to(grown.dtype).view(view)
    return _filled(grown, weight, axis, source, pad, generator, power)


def read(
    weight: Tensor, axis: int, source: Tensor, pad: str, generator: Generator, power: int = 0
) -> Tensor:
    """Grow the axis that is summed over."""
    weight = weight.movedim(axis, -1)
    if power:
        grown = weight.index_select(-1, source.clamp(min=0))
    else:
        grown = shared(weight, source, generator)
    grown = _filled(grown, weight, -1, source, pad, generator, power)
    return grown.movedim(-1, axis).contiguous()


def _filled(
    grown: Tensor, weight: Tensor, axis: int, source: Tensor, pad: str, generator: Generator,
    power: int,
) -> Tensor:  # fmt: skip
    """Set the channels that hold nothing: of first moments to 0, of second ones to the mean."""
    where = (source < 0).nonzero().flatten()
    if not len(where):
        return grown
    if power:
        pad = {1: "zero", 2: "mean"}[power]
    if weight.ndim == 1:
        grown[where] = weight.double().mean().to(weight.dtype) if pad == "mean" else 0
        return grown
    rows, new = weight.movedim(axis, -1), grown.movedim(axis, -1)
    scale = _deviation(weight) if pad == "random" else 0.0
    step = max(1, ROWS_AT_ONCE // new.shape[-1])  # some rows at a time, for the memory
    for part, old in zip(new.split(step), rows.split(step), strict=True):
        if pad == "mean":
            part[..., where] = old.double().mean(-1, keepdim=True).to(old.dtype)
        elif pad == "random":
            drawn = torch.randn(*old.shape[:-1], len(where), generator=generator)
            part[..., where] = drawn.mul_(scale).to(old.dtype)
        else:
            part[..., where] = 0
    return grown


def _deviation(weight: Tensor) -> float:
    """Of all numbers, in float64, some rows at a time: a whole copy would be the largest of all."""
    total = squares = 0.0
    for part in weight.flatten().split(ROWS_AT_ONCE):
        wide = part.double()
        total, squares = total + float(wide.sum()), squares + float(wide.square().sum())
    n = weight.numel()
    return math.sqrt(max(squares - total**2 / n, 0.0) / max(n - 1, 1))


def shared(weight: Tensor, source: Tensor, generator: Generator) -> Tensor:
    """Each weight of the last axis at one of the copies of its channel."""
    n = weight.shape[-1]
    index, n_copies = source.clamp(min=0), copies(source, n)
    order = torch.argsort(source, stable=True)
    rank = torch.empty_like(source)  # which of the copies of its channel a new channel is
    rank[order] = torch.arange(len(source)) - torch.searchsorted(source[order], source[order])
    rank = torch.where(source < 0, -1, rank)
    rows = weight.reshape(-1, n)
    grown = rows.new_empty(len(rows), len(source))
    for first in range(0, len(rows), step := max(1, ROWS_AT_ONCE // len(source))):
        part = rows[first : first + step]
        chosen = (torch.rand(part.shape, generator=generator) * n_copies).int()
        grown[first : first + step] = part[:, index] * (chosen[:, index] == rank)
    return grown.view(*weight.shape[:-1], len(source))
