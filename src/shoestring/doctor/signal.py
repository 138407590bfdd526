"""Signal and gradient at initialisation, through every sublayer, from numbers alone.

A token's vector at a place of a network with fresh random weights is, for large width, Gaussian in
every channel, so all that matters is the Gram matrix of the tokens K[s, t] = E[x_s x_t], the mean
over channels: its diagonal is the variance, its cosines are the correlations of tokens. The
gradients have one too, G. Weights of deviation w that read n channels multiply by n w^2:

    norm            K / sqrt((K_ss + eps)(K_tt + eps))
    feed-forward    F w2^2 E[g(a) g(b)],          (a, b) Gaussian of covariance D w1^2 K
    attention       H d wo^2 E[A K A'] D wv^2,    A = softmax(q k' scale), q and k Gaussian
    pre-norm        K + K_F
    post-norm       norm(K + K_F)

and backwards, with weights taken as drawn anew (for large width that is exact), G of a sublayer's
output gives that of its input: E[g'(a) g'(b)] for the activation, E[A' G A] for values, and the
gradient of the scores through softmax. The softmax has no closed moments: it is averaged over a few
heads that are drawn, q and k in N x d, which also brings in finite heads, masks and rotations.

Two numbers (one variance, one correlation) would do for tokens that are all alike. Real ones are
not: words repeat, and in a decoder the first tokens see few others, so the whole matrix is carried.

Sources: Su, kexue.fm/archives/8747 (the variance of post-norm layers); Kedia et al. 2024
(DeepScaleLM, arXiv 2403.09635: closed forms for one variance and one correlation); Cho & Saul 2009
and Lee et al. 2018 for the Gram matrices. Ours: the Gram matrix of the tokens of a real text, the
drawn heads, the gradient through the scores.

Not covered: dropout, trained weights, biases, gammas other than 1, DeepNorm's
alpha, mixtures of experts.

Letters: N tokens, D width, F neurons, H heads, d head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from shoestring.parallel import one_blas_thread
from shoestring.types import FloatArray, IntArray

TRUNCATED = 0.8796256610342398  # deviation of a normal that is cut at two deviations
HEADS = 4  # drawn for the mean of a softmax


@dataclass(frozen=True)
class Stack:
    """Layers that are all alike, what goes into the first, and what comes after the last.

    The norm around them is before the first layer of a post-norm stack, else after the last.
    Keys and values of a cross-attention are made of the encoder's last hidden states.
    """

    width: int
    layers: int
    heads: int
    head_size: int
    neurons: int
    scale: float  # of the scores
    is_post_norm: bool
    epsilon: float
    query: float  # deviation of the matrix of queries
    read: float  # of those of keys and values, and of what the feed-forward part reads with
    output: float  # of an attention's last matrix
    write: float  # of a feed-forward part's
    parts: tuple[str, ...] = ("attention", "feed-forward")  # or "cross-attention", of each layer
    activation: str = "gelu"
    is_gated: bool = False
    is_causal: bool = False
    rotary_base: float = 0.0  # 0 without rotation
    tokens: float = 1.0  # deviation of the embeddings of tokens, positions and types
    positions: float = 0.0
    types: float = 0.0
    projection: float = 1.0  # of the variance, by a matrix before the layers, as in ELECTRA
    head: float = 0.0  # deviation of the matrix that gives logits; 0 without one
    prefix: str = ""  # of the places of its sublayers


@dataclass(frozen=True)
class Sublayer:
    """What is predicted, or measured, of one sublayer."""

    place: str
    deviation: float  # root mean square of its output, before it is added to the stream
    gain: float  # share of the first layer's input in what it reads: their cosine
    gradient: float  # root mean square at its output, for a gradient of 1 at the last hidden state
    correlation: float  # of tokens in what it reads: mean cosine of two
    scores: float | None = None  # deviation of an attention's scores over the tokens that it sees


@dataclass(frozen=True)
class Signal:
    """What is predicted, or measured, of a model."""

    sublayers: tuple[Sublayer, ...]  # in the order in which they are computed
    gain: float  # share of the input in the last hidden state: their cosine
    correlation: float  # of tokens in the last hidden state
    logits: float | None  # deviation of the logits over the vocabulary; None without a head


# ---- the parts: each gives the Gram matrix of its output, and what goes back through it: from the
# gradient's at the output those at what it reads, and at its memory

Back = Callable[[FloatArray], tuple[FloatArray, FloatArray | float]]

_Z = np.linspace(-6, 6, 121)  # standard normal numbers, and how likely they are
_P = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
_ANGLES = np.linspace(0, np.pi, 33)  # of correlations: the moments are smooth in them, also at 1


@lru_cache(maxsize=64)
def _moments(activation: str, variance: float, is_slope: bool) -> FloatArray:
    """E[f(a) f(b)] of Gaussian a and b of this variance whose cosines are of 33 angles (33,)."""
    import torch
    from transformers.activations import ACT2FN

    def function(numbers: FloatArray) -> Any:
        f, x = ACT2FN[activation], torch.from_numpy(numbers)
        return ((f(x + 1e-4) - f(x - 1e-4)) / 2e-4 if is_slope else f(x)).numpy()

    a = math.sqrt(variance) * _Z
    cosine, sine = np.cos(_ANGLES)[:, None, None], np.sin(_ANGLES)[:, None, None]
    b = cosine * a[:, None] + sine * a  # (33, 121, 121)
    found: FloatArray = (function(b) @ _P) @ (_P * function(a))
    return found


def _feed_forward(stack: Stack, x: FloatArray) -> tuple[FloatArray, Back]:
    size = float(f"{x.diagonal().mean():.2g}")  # few tables
    inner, c = stack.width * stack.read**2 * size, _normed(x, 0.0)[0]
    angle = np.arccos(np.clip(c, -1, 1))
    value = np.interp(angle, _ANGLES, _moments(stack.activation, inner, False))
    out = value * inner * c if stack.is_gated else value

    def back(g: FloatArray) -> tuple[FloatArray, float]:
        slope = np.interp(angle, _ANGLES, _moments(stack.activation, inner, True))
        slope = slope * inner * c + value if stack.is_gated else slope
        return stack.neurons * stack.read**2 * stack.width * stack.write**2 * g * slope, 0.0

    return stack.neurons * stack.write**2 * out, back


def _attention(
    stack: Stack, x: FloatArray, memory: FloatArray | None, seed: int
) -> tuple[FloatArray, float, Back]:
    """With the spread of its scores; keys and values are made of ``memory``, or else of x."""
    source, is_causal = (x, stack.is_causal) if memory is None else (memory, False)
    draws, root = np.random.default_rng(seed), math.sqrt(stack.width)

    def drawn(gram: FloatArray) -> FloatArray:
        """Gaussian vectors of tokens (heads, N, d) that have this Gram matrix."""
        jitter = 1e-5 * gram.diagonal().mean() + 1e-30  # equal tokens make it singular
        try:
            root = np.linalg.cholesky(gram + jitter * np.eye(len(gram)))
        except np.linalg.LinAlgError:  # a little below 0, by interpolation
            values, vectors = np.linalg.eigh(gram)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
        shape = (HEADS, len(gram), stack.head_size)
        return root.astype(np.float32) @ draws.standard_normal(shape, dtype=np.float32)

    q = _rotated(stack.query * root * drawn(x), stack.rotary_base)  # (heads, N, d)
    k = _rotated(stack.read * root * drawn(source), stack.rotary_base)  # (heads, M, d)
    scores = q @ k.transpose(0, 2, 1) * stack.scale  # (heads, N, M)
    seen = np.ones(scores.shape[1:], dtype=bool)
    seen = np.tril(seen) if is_causal else seen
    a = softmax(np.where(seen, scores, -np.inf), axis=-1)
    values = (stack.width * stack.read**2 * source).astype(np.float32)
    mixed = (a @ values @ a.transpose(0, 2, 1)).mean(0, dtype=float)
    channels = stack.heads * stack.head_size

    def back(g: FloatArray) -> tuple[FloatArray, FloatArray | float]:
        g = stack.width * stack.output**2 * g
        values = stack.read * root * drawn(source)
        at_a = drawn(g) @ values.transpose(0, 2, 1)
        at_scores = a * (at_a - (a * at_a).sum(-1, keepdims=True)) * stack.scale
        at_q, at_k = at_scores @ k, at_scores.transpose(0, 2, 1) @ q
        at_v = (a.transpose(0, 2, 1) @ g.astype(np.float32) @ a).mean(0, dtype=float)
        to_x = channels * stack.query**2 * _gram(at_q)
        to_source = channels * stack.read**2 * (at_v + _gram(at_k))
        return (to_x + to_source, 0.0) if memory is None else (to_x, to_source)

    return channels * stack.output**2 * mixed, spread(scores, seen), back


def _rotated(x: FloatArray, base: float) -> FloatArray:
    if not base:
        return x
    half = x.shape[-1] // 2
    angles = np.outer(np.arange(x.shape[1]), base ** (-np.arange(half) / half))
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], -1).astype(np.float32)


def _gram(x: FloatArray) -> FloatArray:
    """Products of tokens (N, N), the mean over heads and channels."""
    flat = x.transpose(1, 0, 2).reshape(x.shape[1], -1).astype(float)
    gram: FloatArray = flat @ flat.T / flat.shape[1]
    return gram


def spread(scores: FloatArray, seen: NDArray[np.bool_]) -> float:
    """Deviation of the scores (..., N, M) over the tokens that are seen, the mean over rows."""
    seen = np.broadcast_to(seen, scores.shape)
    rows = seen.sum(-1) > 1
    return math.sqrt(scores[rows].var(-1, where=seen[rows]).mean()) if rows.any() else 0.0


# ---- the stacks


@one_blas_thread()
def through_stacks(stacks: Sequence[Stack], texts: Sequence[Sequence[int]]) -> Signal:
    """Predict every sublayer of an encoder, a decoder, or both, as the mean over texts.

    Of the ids of tokens it only matters which are equal; a decoder reads those of its encoder.
    Cost: O(N^3) for a sublayer and text, some 5 ms for N of 128.
    """
    each = [_through(stacks, np.asarray(ids)) for ids in texts]
    rows = np.mean([rows for rows, _ in each], axis=0)
    gain, correlation = np.mean([end for _, end in each], axis=0).tolist()
    rows[:, [0, 2, 4]] = np.sqrt(rows[:, [0, 2, 4]])  # mean squares
    places = [f"{s.prefix}{i}.{part}" for s in stacks for i in range(s.layers) for part in s.parts]
    sublayers = tuple(
        Sublayer(place, a, b, c, d, scores if place.endswith("attention") else None)
        for place, (a, b, c, d, scores) in zip(places, rows.tolist(), strict=True)
    )
    logits = stacks[-1].head * math.sqrt(stacks[-1].width)
    return Signal(sublayers, gain, correlation, logits or None)


def _through(stacks: Sequence[Stack], ids: IntArray) -> tuple[FloatArray, tuple[float, float]]:
    """A row for each sublayer, as a :class:`Sublayer` has it, squared; gain and correlation."""
    rows: list[list[float]] = []
    tape: list[Any] = []  # the row of each, by what norms after and before divide, the way back
    memory: FloatArray = np.eye(len(ids))
    for stack in stacks:
        k: FloatArray = stack.tokens**2 * (ids[:, None] == ids) + stack.types**2
        k = k + stack.positions**2 * np.eye(len(ids))
        if stack.is_post_norm:
            k = stack.projection * _normed(k, stack.epsilon)[0]
        share = k.diagonal()  # variance of the first layer's input that is left
        for number, part in enumerate(stack.parts * stack.layers):
            scores = 0.0
            x, scale = (k, 1.0) if stack.is_post_norm else _normed(k, stack.epsilon)
            if part == "feed-forward":
                out, back = _feed_forward(stack, x)
            else:
                source = memory if part == "cross-attention" else None
                out, scores, back = _attention(stack, x, source, number)
            size = float(out.diagonal().mean())
            rows.append([size, _left(share, k), 0.0, _pairs(x), scores**2])
            if stack.is_post_norm:
                # The cosine of stream and output is not 0 but of variance 1 / D, and 1 / (stream +
                # output) is convex: a norm keeps a little more of what differs, and of gradients
                ratio = float((out.diagonal() / k.diagonal()).mean())
                kept = 1 + 4 * ratio / (1 + ratio) ** 2 / stack.width
                k, total = _normed(k + out, stack.epsilon)
                k, share = 1 - (1 - k) * kept, share / total.diagonal()
                tape.append((rows[-1], total / kept, 1.0, back))
            else:
                k = k + out
                tape.append((rows[-1], 1.0, scale, back))
        end = _left(share, k), _pairs(k)
        memory, scale = (k, 1.0) if stack.is_post_norm else _normed(k, stack.epsilon)
        tape.append((None, scale, 1.0, None))
    # backwards: into a stack goes what its hidden states get as the memory of the next one
    to_memory: FloatArray | float = np.eye(len(ids))
    for row, after, before, back in reversed(tape):
        if row is None:
            g, to_memory = to_memory / after, 0.0
            continue
        g = g / after
        row[2] = float(g.diagonal().mean())
        to_x, more = back(g)
        g, to_memory = g + to_x / before, to_memory + more
    return np.array(rows), end


def _normed(k: FloatArray, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """The Gram matrix after a norm, and by what each element was divided."""
    root = np.sqrt(k.diagonal() + epsilon)
    scale = np.outer(root, root)
    return k / scale, scale


def _left(share: FloatArray, k: FloatArray) -> float:
    return float(np.sqrt(share / k.diagonal()).mean())


def _pairs(k: FloatArray) -> float:
    """Mean cosine of two different tokens."""
    c, n = _normed(k, 0.0)[0], len(k)
    return float((c.sum() - np.trace(c)) / (n * (n - 1)))
