"""The prediction with one variance and one correlation for all tokens, as a peer.

In the manner of DeepScaleLM (Kedia et al. 2024, arXiv 2403.09635): each sublayer takes a variance
and a correlation r to others, in closed form; softmax by the mean of an exponential, which gives
r + (1 - r) exp((1 - r) s^2) / n for scores of variance s^2 and n tokens. Masks, rotations and which
words repeat are not seen; biases are 0. The formulas are ours to that description, not its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shoestring.doctor.signal import _ANGLES, Attention, FeedForward, Stack, _moments

Row = tuple[float, float, float]


def closed_forms(stacks: Sequence[Stack], n: int, same: float) -> list[Row]:
    """Deviation, gradient and correlation of each sublayer; ``same``: the share of equal pairs."""
    passes = []
    memory = 0.0
    for stack in stacks:
        passes.append(_forward(stack, n, same, memory))
        memory = passes[-1][2]
    rows, (g, c) = [], (1.0, 0.0)
    for stack, (steps, last, _) in zip(reversed(stacks), reversed(passes), strict=True):
        found, g, c = _backward(stack, n, steps, g / last, c / last)
        rows = found + rows
    return rows


def _at(table: np.ndarray, r: float) -> float:
    return float(np.interp(math.acos(min(1.0, max(-1.0, r))), _ANGLES, table))


def _outputs(part: Attention | FeedForward, d: int, n: int, r: float, memory: float) -> tuple:
    if isinstance(part, Attention):
        channels = part.heads * part.head_size
        factor, m = channels * part.output**2 * d * part.value**2, memory if part.is_cross else r
        s2 = (d * part.query * part.key * part.scale) ** 2 * part.head_size * (1 - m)
        sharp = math.exp(min(s2, math.log(n)))
        return factor * (m + (1 - m) * sharp / n), factor * (m + (1 - m) / n)
    inner = d * part.read**2
    value = _moments(part.activation, inner, False)
    one, two = _at(value, 1.0), _at(value, r)
    if part.is_gated:
        one, two = one * inner, two * inner * r
    return part.neurons * part.write**2 * one, part.neurons * part.write**2 * two


def _forward(stack: Stack, n: int, same: float, memory: float) -> tuple:
    q = stack.tokens**2 + stack.positions**2 + stack.types**2
    c = same * stack.tokens**2 + stack.types**2
    q, c = (1.0, c / q) if stack.is_post_norm else (q, c)
    steps = []
    for number in range(stack.layers * len(stack.parts)):
        part = stack.parts[number % len(stack.parts)]
        r = c / q
        out, shared = _outputs(part, stack.width, n, r, memory)
        scale = q + stack.epsilon
        q, c = q + out, c + shared
        if stack.is_post_norm:
            scale = q + stack.epsilon
            q, c = 1.0, c / q
        steps.append((part, r, out, scale, memory))
    last = 1.0 if stack.is_post_norm else q + stack.epsilon
    return steps, last, c / q


def _backward(stack: Stack, n: int, steps: list, g: float, c: float) -> tuple:
    """Rows of a stack, and the gradient of its memory."""
    d, rows, memory = stack.width, [], [0.0, 0.0]
    for part, r, out, scale, m in reversed(steps):
        if stack.is_post_norm:
            g, c = g / scale, c / scale
        rows.append((math.sqrt(out), math.sqrt(g), r))
        if isinstance(part, Attention):
            a = d * part.output**2 * part.heads * part.head_size * part.value**2
            seen = m if part.is_cross else r
            s2 = (d * part.query * part.key * part.scale) ** 2 * part.head_size * (1 - seen)
            sharp = math.exp(min(s2, math.log(n)))
            one, two = a * (g * sharp + (n - 1) * c) / n, a * (g + (n - 1) * c) / n
            if part.is_cross:
                memory = [memory[0] + one, memory[1] + two]
                one = two = 0.0
        else:
            inner = d * part.read**2
            slope = _moments(part.activation, inner, True)
            value = _moments(part.activation, inner, False)
            a = part.neurons * part.read**2 * d * part.write**2
            pair = [_at(slope, 1.0), _at(slope, r)]
            if part.is_gated:
                pair = [pair[0] * inner + _at(value, 1.0), pair[1] * inner * r + _at(value, r)]
            one, two = a * g * pair[0], a * c * pair[1]
        factor = 1.0 if stack.is_post_norm else scale
        g, c = g + one / factor, c + two / factor
    return rows[::-1], *memory
