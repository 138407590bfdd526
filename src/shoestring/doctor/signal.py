"""Signal and gradient at initialisation, through every sublayer, from numbers alone.

A token's vector at a place of a network with fresh random weights is, for large width, Gaussian in
every channel, so all that matters is the Gram matrix of the tokens K[s, t] = E[x_s x_t], the mean
over channels: its diagonal is the variance, its cosines are the correlations of tokens. The
gradients have one too, G. Weights of deviation w that read n channels multiply by n w^2:

    norm            K / sqrt((K_ss + eps)(K_tt + eps))
    feed-forward    F w2^2 E[g(a) g(b)],          (a, b) Gaussian of covariance D w1^2 K
    attention       H d wo^2 E[A K A'] D wv^2,    A = softmax(q k' scale), q and k Gaussian
    pre-norm        K + K_F
    post-norm       norm(alpha^2 K + K_F)         alpha is 1, or DeepNorm's

and backwards, with weights taken as drawn anew (for large width that is exact), G of a sublayer's
output gives that of its input: E[g'(a) g'(b)] for the activation, E[A' G A] for values, and the
gradient of the scores through softmax. The softmax has no closed moments: it is averaged over a few
heads that are drawn, q and k in N x d, which also brings in finite heads, masks and rotations.

Two numbers (one variance, one correlation) would do for tokens that are all alike. Real ones are
not: words repeat, and in a decoder the first tokens see few others, so the whole matrix is carried.

Sources: Su, kexue.fm/archives/8747 (the variance of post-norm layers); Kedia et al. 2024
(DeepScaleLM, arXiv 2403.09635: closed forms for one variance and one correlation); Wang et al. 2022
(DeepNorm, arXiv 2203.00555); Cho & Saul 2009 and Lee et al. 2018 for the Gram matrices. Ours: the
Gram matrix of the tokens of a real text, the drawn heads, the gradient through the scores.

Not covered: dropout, trained weights, gammas other than 1, mixtures of experts.

Letters: N tokens, D width, F neurons, H heads, d head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import erf

from shoestring.parallel import one_blas_thread
from shoestring.types import FloatArray, IntArray

TRUNCATED = 0.8796256610342398  # deviation of a normal that is cut at two deviations
HEADS = 4  # drawn for the mean of a softmax
UNSEEN = -1e9  # score of a token that is not seen


@dataclass(frozen=True)
class Attention:
    """An attention, by the deviations of its matrices (queries, keys, values, output)."""

    query: float
    key: float
    value: float
    output: float
    heads: int
    head_size: int
    scale: float  # of the scores
    is_causal: bool = False
    is_cross: bool = False  # reads keys and values from the encoder
    rotary_base: float = 0.0  # 0 without rotation
    name: str = "attention"


@dataclass(frozen=True)
class FeedForward:
    """A feed-forward part: F neurons, deviations of what reads and of what writes."""

    neurons: int
    read: float
    write: float
    activation: str = "gelu"
    is_gated: bool = False
    read_bias: float = 0.0  # deviations of biases, which all tokens share
    write_bias: float = 0.0
    name: str = "feed-forward"


@dataclass(frozen=True)
class Stack:
    """Layers that are all alike, what goes into the first, and what comes after the last."""

    width: int
    layers: int
    parts: tuple[Attention | FeedForward, ...]
    is_post_norm: bool
    epsilon: float
    tokens: float = 1.0  # deviation of the embeddings of tokens, positions and types
    positions: float = 0.0
    types: float = 0.0
    has_first_norm: bool = False
    projection: float = 1.0  # by what a matrix after it multiplies the variance, as in ELECTRA
    has_last_norm: bool = False
    residual: float = 1.0  # alpha of DeepNorm
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


# ---- feed-forward

ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "silu": lambda x: 0.5 * x * (1 + np.tanh(x / 2)),
    "relu": lambda x: np.maximum(x, 0.0),
}
_Z = np.linspace(-6, 6, 121)  # standard normal numbers, and how likely they are
_P = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
_ANGLES = np.linspace(0, np.pi, 33)  # of correlations: the moments are smooth in them, also at 1


@lru_cache(maxsize=64)
def _moments(activation: str, variance: float, is_slope: bool) -> FloatArray:
    """E[f(a) f(b)] of Gaussian a and b of this variance whose cosines are of 33 angles (33,)."""
    f = ACTIVATIONS[activation]

    def function(x: FloatArray) -> FloatArray:
        return (f(x + 1e-4) - f(x - 1e-4)) / 2e-4 if is_slope else f(x)

    a = math.sqrt(variance) * _Z
    cosine, sine = np.cos(_ANGLES)[:, None, None], np.sin(_ANGLES)[:, None, None]
    b = cosine * a[:, None] + sine * a  # (33, 121, 121)
    found: FloatArray = (function(b) @ _P) @ (_P * function(a))
    return found


def _feed_forward(
    part: FeedForward, width: int, read: FloatArray, g: FloatArray | None = None
) -> FloatArray:
    """The output's Gram matrix, or with ``g`` of its gradient that of the gradient of ``read``."""
    size = float(f"{read.diagonal().mean():.2g}")  # few tables
    inner = width * part.read**2 * size + part.read_bias**2
    c = (width * part.read**2 * size * _cosines(read) + part.read_bias**2) / inner
    angle = np.arccos(np.clip(c, -1, 1))
    value = np.interp(angle, _ANGLES, _moments(part.activation, inner, False))
    if g is None:
        out: FloatArray = value * inner * c if part.is_gated else value
        return part.neurons * part.write**2 * out + part.write_bias**2
    slope = np.interp(angle, _ANGLES, _moments(part.activation, inner, True))
    back: FloatArray = slope * inner * c + value if part.is_gated else slope
    return part.neurons * part.read**2 * width * part.write**2 * g * back


# ---- attention


class _Heads:
    """Drawn heads of an attention: q (heads, N, d), k (heads, M, d), a (heads, N, M)."""

    def __init__(
        self, part: Attention, width: int, reads: FloatArray, memory: FloatArray, seed: int
    ) -> None:
        self.part, self.width, self.memory = part, width, memory
        self.draws = np.random.default_rng(seed)
        root = math.sqrt(width)
        self.q = self._rotated(part.query * root * self._drawn(reads))
        self.k = self._rotated(part.key * root * self._drawn(memory))
        scores = self.q @ self.k.transpose(0, 2, 1) * part.scale
        seen = np.tri(*scores.shape[1:]) > 0 if part.is_causal else np.ones((1, 1), dtype=bool)
        self.scores = spread(scores, np.broadcast_to(seen, scores.shape))
        scores = np.where(seen, scores, UNSEEN)
        a = np.exp(scores - scores.max(-1, keepdims=True))
        self.a = a / a.sum(-1, keepdims=True)

    def _drawn(self, gram: FloatArray) -> FloatArray:
        """Gaussian vectors of tokens (heads, N, d) that have this Gram matrix."""
        jitter = 1e-5 * gram.diagonal().mean() + 1e-30  # equal tokens make it singular
        try:
            root = np.linalg.cholesky(gram + jitter * np.eye(len(gram)))
        except np.linalg.LinAlgError:  # a little below 0, by interpolation
            values, vectors = np.linalg.eigh(gram)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
        shape = (HEADS, len(gram), self.part.head_size)
        return root.astype(np.float32) @ self.draws.standard_normal(shape, dtype=np.float32)

    def _rotated(self, x: FloatArray) -> FloatArray:
        if not self.part.rotary_base:
            return x
        half = x.shape[-1] // 2
        angles = np.outer(np.arange(x.shape[1]), self.part.rotary_base ** (-np.arange(half) / half))
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self) -> FloatArray:
        """Of the output."""
        part, values = self.part, (self.width * self.part.value**2 * self.memory).astype(np.float32)
        mixed = (self.a @ values @ self.a.transpose(0, 2, 1)).mean(0, dtype=float)
        out: FloatArray = part.heads * part.head_size * part.output**2 * mixed
        return out

    def backward(self, g: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of the gradients of what it reads and of its memory, from that of its output."""
        part, a, g = self.part, self.a, self.width * self.part.output**2 * g
        values = part.value * math.sqrt(self.width) * self._drawn(self.memory)
        at_a = self._drawn(g) @ values.transpose(0, 2, 1)
        at_scores = a * (at_a - (a * at_a).sum(-1, keepdims=True)) * part.scale
        at_q, at_k = at_scores @ self.k, at_scores.transpose(0, 2, 1) @ self.q
        at_v = (a.transpose(0, 2, 1) @ g.astype(np.float32) @ a).mean(0, dtype=float)
        channels = part.heads * part.head_size
        to_memory = channels * (part.value**2 * at_v + part.key**2 * _gram(at_k))
        return channels * part.query**2 * _gram(at_q), to_memory


def _gram(x: FloatArray) -> FloatArray:
    """Products of tokens (N, N), the mean over heads and channels."""
    flat = x.transpose(1, 0, 2).reshape(x.shape[1], -1).astype(float)
    gram: FloatArray = flat @ flat.T / flat.shape[1]
    return gram


def spread(scores: FloatArray, seen: FloatArray) -> float:
    """Deviation of the scores (..., N, M) over the tokens that are seen, the mean over rows."""
    n = seen.sum(-1)
    mean = (scores * seen).sum(-1) / n
    square = (scores**2 * seen).sum(-1) / n
    return math.sqrt(max(0.0, float((square - mean**2)[n > 1].mean())))


# ---- the stacks


@one_blas_thread()
def through_stacks(
    stacks: Sequence[Stack], texts: Sequence[Sequence[int]], seed: int = 0
) -> Signal:
    """Predict every sublayer of an encoder, a decoder, or both, as the mean over texts.

    Of the ids of tokens it only matters which are equal; a decoder reads those of its encoder.
    Cost: O(N^3) for a sublayer and text, some 5 ms for N of 128.
    """
    each = [_through(stacks, np.asarray(ids), seed) for ids in texts]
    rows = np.mean([rows for rows, _ in each], axis=0)
    gain, correlation = np.mean([end for _, end in each], axis=0).tolist()
    rows[:, [0, 2, 4]] = np.sqrt(rows[:, [0, 2, 4]])  # mean squares
    places = [
        (f"{stack.prefix}{layer}.{part.name}", isinstance(part, Attention))
        for stack in stacks
        for layer in range(stack.layers)
        for part in stack.parts
    ]
    sublayers = tuple(
        Sublayer(place, row[0], row[1], row[2], row[3], row[4] if has_scores else None)
        for (place, has_scores), row in zip(places, rows.tolist(), strict=True)
    )
    logits = stacks[-1].head * math.sqrt(stacks[-1].width)
    return Signal(sublayers, gain, correlation, logits or None)


def _through(
    stacks: Sequence[Stack], ids: IntArray, seed: int
) -> tuple[FloatArray, tuple[float, float]]:
    """A row for each sublayer, and the ends of the last stack."""
    passes: list[_Pass] = []
    for stack in stacks:
        passes.append(_Pass(stack, ids, passes[-1].last if passes else None, seed))
    g: FloatArray = np.eye(len(ids))
    for one in reversed(passes):
        g = one.backward(g)
    return np.array([row for one in passes for row in one.rows]), passes[-1].end


class _Pass:
    """A stack on one text, forward as it is made; a row is as a :class:`Sublayer`, squared."""

    def __init__(self, stack: Stack, ids: IntArray, memory: FloatArray | None, seed: int) -> None:
        self.stack, self.memory, self.seed = stack, memory, seed
        self.rows: list[list[float]] = []
        self.reads: list[FloatArray] = []
        self.scales: list[FloatArray] = []  # by which the norm of a sublayer divided
        k: FloatArray = stack.tokens**2 * (ids[:, None] == ids) + stack.types**2
        k = k + stack.positions**2 * np.eye(len(ids))
        if stack.has_first_norm:
            k = stack.projection * _normed(k, stack.epsilon)[0]
        share = k.diagonal()  # variance of the first layer's input that is left
        for number in range(stack.layers * len(stack.parts)):
            read, scale = (k, k) if stack.is_post_norm else _normed(k, stack.epsilon)
            gain, correlation, scores = _left(share, k), _pairs(read), 0.0
            part = self._part(number)
            if isinstance(part, Attention):
                heads = self._heads(part, number, read)
                out, scores = heads.forward(), heads.scores
            else:
                out = _feed_forward(part, stack.width, read)
            self.rows.append([float(out.diagonal().mean()), gain, 0.0, correlation, scores**2])
            k, share = stack.residual**2 * k, stack.residual**2 * share
            if stack.is_post_norm:
                # The cosine of stream and output is not 0 but of variance 1 / D, and 1 / (stream +
                # output) is convex: a norm keeps a little more of what differs, and of gradients
                ratio = float((out.diagonal() / k.diagonal()).mean())
                kept = 1 + 4 * ratio / (1 + ratio) ** 2 / stack.width
                k, scale = _normed(k + out, stack.epsilon)
                k, share, scale = 1 - (1 - k) * kept, share / scale.diagonal(), scale / kept
            else:
                k = k + out
            self.reads.append(read)
            self.scales.append(scale)
        self.end = _left(share, k), _pairs(k)
        normed, scale = _normed(k, stack.epsilon)
        has_norm = stack.has_last_norm
        self.last, self.last_scale = (normed, scale) if has_norm else (k, np.ones_like(k))

    def _part(self, number: int) -> Attention | FeedForward:
        return self.stack.parts[number % len(self.stack.parts)]

    def _heads(self, part: Attention, number: int, read: FloatArray) -> _Heads:
        memory = self.memory if part.is_cross and self.memory is not None else read
        return _Heads(part, self.stack.width, read, memory, self.seed + number)  # backwards too

    def backward(self, g: FloatArray) -> FloatArray:
        """Complete the rows; return the gradient of the memory (M, M)."""
        stack, to_memory = self.stack, np.zeros_like(self.last)
        g = g / self.last_scale
        for number in reversed(range(len(self.rows))):
            read, scale, part = self.reads[number], self.scales[number], self._part(number)
            if stack.is_post_norm:
                g = g / scale
            self.rows[number][2] = float(g.diagonal().mean())
            if isinstance(part, Attention):
                back, other = self._heads(part, number, read).backward(g)
                if part.is_cross:
                    to_memory = to_memory + other
                else:
                    back = back + other
            else:
                back = _feed_forward(part, stack.width, read, g)
            g = stack.residual**2 * g + (back if stack.is_post_norm else back / scale)
        return to_memory


def _normed(k: FloatArray, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """The Gram matrix after a norm, and by what each element was divided."""
    root = np.sqrt(k.diagonal() + epsilon)
    scale = np.outer(root, root)
    return k / scale, scale


def _cosines(k: FloatArray) -> FloatArray:
    return _normed(k, 0.0)[0]


def _left(share: FloatArray, k: FloatArray) -> float:
    return float(np.sqrt(share / k.diagonal()).mean())


def _pairs(k: FloatArray) -> float:
    """Mean cosine of two different tokens."""
    c, n = _cosines(k), len(k)
    return float((c.sum() - np.trace(c)) / (n * (n - 1)))
