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

from shoestring.doctor.signal import _ANGLES, Stack, _moments

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


def _outputs(stack: Stack, part: str, n: int, r: float, memory: float) -> tuple[float, float]:
    if part != "feed-forward":
        factor, m = _passed(stack), memory if part == "cross-attention" else r
        return factor * (m + (1 - m) * _sharp(stack, n, m) / n), factor * (m + (1 - m) / n)
    inner = stack.width * stack.read**2
    value = _moments(stack.activation, inner, False)
    one, two = _at(value, 1.0), _at(value, r)
    if stack.is_gated:
        one, two = one * inner, two * inner * r
    return stack.neurons * stack.write**2 * one, stack.neurons * stack.write**2 * two


def _passed(stack: Stack) -> float:
    """By how much values and outputs of an attention multiply."""
    return stack.heads * stack.head_size * stack.output**2 * stack.width * stack.read**2


def _sharp(stack: Stack, n: int, r: float) -> float:
    """By how much a softmax is sharper than a mean."""
    deviation = stack.width * stack.query * stack.read * stack.scale
    return math.exp(min(deviation**2 * stack.head_size * (1 - r), math.log(n)))


def _forward(stack: Stack, n: int, same: float, memory: float) -> tuple:
    q = stack.tokens**2 + stack.positions**2 + stack.types**2
    c = same * stack.tokens**2 + stack.types**2
    q, c = (1.0, c / q) if stack.is_post_norm else (q, c)
    steps = []
    for part in stack.parts * stack.layers:
        r = c / q
        out, shared = _outputs(stack, part, n, r, memory)
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
    rows, memory = [], [0.0, 0.0]
    for part, r, out, scale, m in reversed(steps):
        if stack.is_post_norm:
            g, c = g / scale, c / scale
        rows.append((math.sqrt(out), math.sqrt(g), r))
        if part != "feed-forward":
            a, seen = _passed(stack), m if part == "cross-attention" else r
            sharp = _sharp(stack, n, seen)
            one, two = a * (g * sharp + (n - 1) * c) / n, a * (g + (n - 1) * c) / n
            if part == "cross-attention":
                memory = [memory[0] + one, memory[1] + two]
                one = two = 0.0
        else:
            inner = stack.width * stack.read**2
            slope = _moments(stack.activation, inner, True)
            value = _moments(stack.activation, inner, False)
            a = stack.neurons * stack.read**2 * stack.width * stack.write**2
            pair = [_at(slope, 1.0), _at(slope, r)]
            if stack.is_gated:
                pair = [pair[0] * inner + _at(value, 1.0), pair[1] * inner * r + _at(value, r)]
            one, two = a * g * pair[0], a * c * pair[1]
        factor = 1.0 if stack.is_post_norm else scale
        g, c = g + one / factor, c + two / factor
    return rows[::-1], *memory
