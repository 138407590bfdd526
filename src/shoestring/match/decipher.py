"""Which public token each secret token stands for, from the texts of both sides alone.

A text whose tokens were replaced by numbers is a substitution cipher: co-occurrence survives the
renaming. The problem is quadratic assignment between two bigram graphs of different texts; the way
there is that of unsupervised bilingual lexicons: a start from what no renaming can change (Artetxe,
Labaka & Agirre 2018, arXiv 1805.06297, section 3.2), then self-learning with anchors, compared by
CSLS (Conneau et al. 2018, arXiv 1710.04087, equation 3). Where we leave them:

* no embeddings: the rows are positive pointwise mutual information (PPMI) with the neighbours on
  either side at distance 1 and 2, smoothed; a row is compared over the anchors' columns alone;
* the start is not their sorted similarities (which find next to nothing here) but a signature of
  positions in the text, neighbour statistics and the neighbours' own (as Weisfeiler & Leman refine
  colours), standardised on each side, the larger side thinned to the size of the smaller;
* the assignment is one to one (Hungarian), on a head that grows from the most frequent tokens; an
  anchor weighs what its margin over the best rival says; the start stays in the score, fading.

Not covered: homophones (several numbers for a token), tokens that the public side does not have,
and tokens too rare to be among its counts.

N kept secret tokens, M kept public tokens, n of them in the head, K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, softmax

from shoestring.types import FloatArray, IntArray

SECRET_TOKENS, PUBLIC_TOKENS = 1_500, 2_500  # kept, of the most frequent; rarer ones say too little

# Chosen on public text against public text of another source (docs/log.md)
_N_GROWING, _N_FULL = 16, 3  # iterations on a growing head, then on all kept tokens
_FIRST_HEAD = 150
_SMOOTHING = 0.2  # added to a bigram's count and to what chance expects, on the smaller side
_N_STARTS, _NOISE = 4, 0.3  # all but the first with noise of this deviation
_CONTEXT = 2.0  # weight of the context's similarity beside the start's
_FADING = 0.7  # of the start's weight, from the first iteration to the last
_N_NEIGHBOURS = 10  # of CSLS
_N_CANDIDATES = 8
_TOP = (1, 2, 3, 5, 8, 12, 20, 30, 50)  # ranks of the sorted statistics in the signature
_BINS = (0, 10, 30, 100, 300, 1_000)  # frequency ranks between which a neighbour's mass is summed
_SHARPNESS = 0.7  # of the softmax that makes the candidates' weights
# Of a logistic: constant, margin, agreement, median margin of the most frequent tokens
_CONFIDENCE, _FREQUENT = (-12.08, 0.54, 21.56, 0.715), 300


@dataclass(frozen=True)
class TokenCounts:
    """What :func:`decipher` needs of one side; made by :func:`count_tokens`."""

    tokens: IntArray  # (N,) the kept ones, most frequent first
    counts: FloatArray  # (N,)
    bigrams: FloatArray  # (2, N, N): column after row, next to it and one further
    positions: FloatArray  # (N, 4): how often first, second, last, second last of a text
    n_running: int  # tokens of all texts, kept or not


@dataclass(frozen=True)
class Decipherment:
    """Which public token each secret token stands for, as far as the texts tell.

    Both are places among the kept tokens of their side. The agreement is the mean cosine of the
    contexts of the assigned tokens, by frequency: above 0.35 where it worked, 0.25 and less where
    the texts have nothing in common.
    """

    assignment: IntArray  # (N,) -1 where the public side has fewer tokens
    confidence: FloatArray  # (N,) estimated probability that it is right
    candidates: IntArray  # (N, K) the best, the assigned one first
    weights: FloatArray  # (N, K) of the candidates; they sum to 1
    agreement: float


def count_tokens(ids: IntArray, starts: IntArray, max_tokens: int = PUBLIC_TOKENS) -> TokenCounts:
    """Count the tokens, bigrams and positions of one side.

    Parameters
    ----------
    ids : (T,) int64
        The tokens of all texts, one text after the other, numbered in any order.
    starts : (S + 1,) int64
        Where each text begins, and T.
    max_tokens : int
        How many are kept, of the most frequent.

    Notes
    -----
    Cost: O(T + max_tokens²); some 2 s for ten million tokens. Pass each text once: a copy says
    nothing new. Equally frequent tokens are ordered by where in a text they are,
    so that a renaming changes nothing.
    """
    lengths = np.diff(starts)
    counts = np.bincount(ids)
    edges = (starts[:-1][lengths > 0], starts[:-1][lengths > 1] + 1,
             starts[1:][lengths > 0] - 1, starts[1:][lengths > 1] - 2)  # fmt: skip
    positions = np.stack([np.bincount(ids[at], minlength=len(counts)) for at in edges], axis=1)
    tokens = np.lexsort((*-positions.T, -counts))[:max_tokens]
    tokens = tokens[counts[tokens] > 0]
    n = len(tokens)
    rank = np.full(len(counts), n)
    rank[tokens] = np.arange(n)
    ranks, text = rank[ids], np.repeat(np.arange(len(lengths)), lengths)
    bigrams = np.zeros((2, n, n), np.float32)
    for distance in (1, 2):
        left, right = ranks[:-distance], ranks[distance:]
        kept = (text[:-distance] == text[distance:]) & (left < n) & (right < n)
        pairs = np.bincount(left[kept] * n + right[kept], minlength=n * n)
        bigrams[distance - 1] = pairs.reshape(n, n)
    kept_counts, kept_positions = counts[tokens].astype(float), positions[tokens].astype(float)
    return TokenCounts(tokens, kept_counts, bigrams, kept_positions, len(ids))


def decipher(
    secret: TokenCounts, public: TokenCounts, *, known: IntArray | None = None, seed: int = 0
) -> Decipherment:
    """Assign a public token to each secret token, without a key.

    Parameters
    ----------
    secret, public : TokenCounts
        Of texts, each once; the closer the public text is to the secret one, the better. Neither is
        empty.
    known : (n, 2) int64, optional
        Secret and public tokens, by their places, of which the identity is known: kept, and anchors
        from the start. None is there twice.
    seed : int

    Notes
    -----
    Cost: O(N M n) for each of 19 iterations from each of 4 starts; some 20 s on one core for 1,500
    against 2,500. The confidence is fitted on vocabularies of that size:
    among some dozens of tokens chance alone finds likenesses, and it says too much.

    Examples
    --------
    >>> text = np.random.default_rng(0).zipf(1.5, 9_000) % 40
    >>> starts = np.arange(0, 9_001, 9)
    >>> plain, secret = count_tokens(text, starts), count_tokens(39 - text, starts)
    >>> found = plain.tokens[decipher(secret, plain).assignment]
    >>> (secret.tokens + found)[:10].tolist()
    [39, 39, 39, 39, 39, 39, 39, 39, 39, 39]
    """
    rows, columns = np.zeros((2, 0), np.int64) if known is None else known.T
    generator = np.random.default_rng(seed)
    ratio = secret.counts.sum() / public.counts.sum()
    sides = _thinned(secret, 1 / ratio, seed), _thinned(public, ratio, seed)
    left, right = map(_signature, sides)
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)
    start = _csls(left @ right.T - squares / 2).astype(np.float32)  # by distance
    start /= _deviation(start)
    smoothing = _SMOOTHING * max(1, ratio), _SMOOTHING * max(1, 1 / ratio)  # alike in shares
    contexts = [
        [_ppmi(relation, smoothed) for relation in _relations(side)]
        for side, smoothed in zip((secret, public), smoothing, strict=True)
    ]
    heads = _heads(*start.shape)
    refine = partial(_refined, contexts=contexts, known=(rows, columns), counts=secret.counts)
    runs = []
    for i in range(_N_STARTS):
        perturbed = start + (_NOISE if i else 0.0) * generator.standard_normal(
            start.shape, np.float32
        )
        runs.append(refine(perturbed, perturbed, heads))
    mean = np.mean([run.score / _deviation(run.score) for run in runs], axis=0)
    runs.append(refine(mean, start, heads[-_N_FULL:]))
    score, found, of, margin, agreement = max(runs, key=attrgetter("agreement"))
    # the assigned token is the first candidate
    score = score.astype(np.float64)
    score[found, of] = score.max(1)[found] + 1e-9
    candidates = np.argsort(-score, axis=1, kind="stable")[:, :_N_CANDIDATES]
    weights = softmax(_SHARPNESS * np.take_along_axis(score, candidates, axis=1), axis=1)
    # how sure that is
    margin = np.clip(margin, -4, 8)
    typical = float(np.median(margin[found < _FREQUENT]))
    constant, of_margin, of_agreement, of_typical = _CONFIDENCE
    logit = constant + of_margin * margin + of_agreement * agreement + of_typical * typical
    assignment, confidence = np.full(len(score), -1), np.zeros(len(score))
    assignment[found], confidence[found], confidence[rows] = of, expit(logit), 1.0
    return Decipherment(assignment, confidence, candidates, weights, agreement)


class _Run(NamedTuple):
    score: FloatArray
    found: IntArray  # assigned secret tokens, by rank
    of: IntArray  # and their public tokens
    margin: FloatArray
    agreement: float


def _refined(
    score: FloatArray, start: FloatArray, heads: list[tuple[int, int]],
    contexts: list[list[FloatArray]], known: tuple[IntArray, IntArray], counts: FloatArray,
) -> _Run:  # fmt: skip
    """Anchors from the score, a score from the anchors' contexts, and so on, on growing heads."""
    score = score[: heads[0][0], : heads[0][1]]
    for i, (n, m) in enumerate(heads[1:], start=_N_GROWING + _N_FULL - len(heads)):
        found, of, margin = _anchors(score, *known)
        root = np.sqrt(expit(2 * margin / _deviation(margin))).astype(np.float32)
        left = _unit_rows(np.concatenate([at[:n, found] * root for at in contexts[0]], axis=1))
        right = _unit_rows(np.concatenate([at[:m, of] * root for at in contexts[1]], axis=1))
        cosine = left @ right.T
        context = _csls(cosine)
        fading = 1 - _FADING * i / (_N_GROWING + _N_FULL - 2)
        score = _CONTEXT / _deviation(context) * context + fading * start[:n, :m]
    found, of, margin = _anchors(score, *known)
    agreement = float(np.average(cosine[found, of], weights=counts[found]))
    return _Run(score, found, of, margin, agreement)


def _heads(n: int, m: int) -> list[tuple[int, int]]:
    """How many of the most frequent tokens of either side are compared, from first to last."""
    heads = np.geomspace(min(n, _FIRST_HEAD), n, _N_GROWING).astype(int)
    return [(h, min(m, max(400, int(1.7 * h)))) for h in heads.tolist()] + [(n, m)] * _N_FULL


def _relations(side: TokenCounts) -> list[FloatArray]:
    """Counts of the neighbours to the right and left, at distance 1 and 2."""
    return [relation for bigrams in side.bigrams for relation in (bigrams, bigrams.T)]


def _ppmi(counts: FloatArray, smoothing: float) -> FloatArray:
    """Smoothed positive pointwise mutual information, float32."""
    total = counts.sum(dtype=np.float64)
    by_chance = np.outer(counts.sum(1, dtype=np.float64), counts.sum(0, dtype=np.float64))
    by_chance /= max(total, 1)
    ratio = np.log((counts + smoothing) / (by_chance + smoothing))
    return np.maximum(ratio, 0).astype(np.float32)


def _signature(side: TokenCounts) -> FloatArray:
    """(N, some 150) columns that no renaming can change, weighted."""
    n = len(side.tokens)
    shares = [relation / side.counts[:, None] for relation in _relations(side)]
    mass = [s[:, low:high].sum(1) for s in shares for low, high in pairwise(_BINS)]
    shares = [share / np.maximum(share.sum(1, keepdims=True), 1e-12) for share in shares]
    entropy = _standard([-(share * np.log(share + 1e-12)).sum(1) for share in shares])
    rates = [*side.positions.T, *(bigrams.diagonal() for bigrams in side.bigrams)]
    edges = _standard([np.log((rate + 0.5) / (side.counts + 1)) for rate in rates])
    own = np.concatenate([_standard([np.log(side.counts)]), edges, entropy], axis=1)
    near = _standard([*np.concatenate([share @ own for share in shares], axis=1).T])
    further = _standard([*np.concatenate([share @ near for share in shares[:2]], axis=1).T])
    types = _standard([np.log((relation > 0).sum(1) + 1) for relation in _relations(side)])
    top = np.minimum(_TOP, n - 1)
    ppmi = [np.sort(_ppmi(relation, 1.0), axis=1)[:, -1 - top] for relation in _relations(side)]
    highest = _standard([*np.concatenate(ppmi, axis=1).T])
    by_rank = _standard([np.log(m + 1e-3) for m in mass])
    # Weights by which true pairs are nearest on public text against public text
    blocks = (1.5 * edges, 1.5 * entropy, 2 * types, 0.5 * highest, 0.75 * by_rank)
    return np.concatenate([*blocks, near, 0.9 * further], axis=1)


def _standard(columns: list[FloatArray]) -> FloatArray:
    """Standardised over the most frequent tokens and clipped."""
    table = np.stack(columns, axis=1)
    head = table[:1_000]
    return np.clip((table - head.mean(0)) / (head.std(0) + 1e-9), -4, 4)  # type: ignore[no-any-return]


def _thinned(side: TokenCounts, ratio: float, seed: int) -> TokenCounts:
    """As if a part of the text had been counted: few counts look uneven by chance alone."""
    if ratio >= 1:
        return side
    generator = np.random.default_rng(seed)
    bigrams = generator.poisson(side.bigrams * ratio).astype(np.float32)
    positions = generator.poisson(side.positions * ratio).astype(float)
    return replace(side, counts=side.counts * ratio, bigrams=bigrams, positions=positions)


def _csls(similarity: FloatArray) -> FloatArray:
    """Twice the similarity, less the mean of the nearest neighbours on either side."""
    near_row, near_column = (min(_N_NEIGHBOURS, size) for size in similarity.shape[::-1])
    row = np.partition(similarity, -near_row, axis=1)[:, -near_row:].mean(1, keepdims=True)
    column = np.partition(similarity, -near_column, axis=0)[-near_column:].mean(0)
    return 2 * similarity - row - column  # type: ignore[no-any-return]


def _anchors(
    score: FloatArray, rows: IntArray, columns: IntArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """The best one-to-one assignment, the known pairs among it, and the margins.

    A margin is the score less that of the best rival in the row and the column.
    """
    among = [
        np.setdiff1d(np.arange(size), known)
        for size, known in zip(score.shape, (rows, columns), strict=True)
    ]
    part = score[np.ix_(*among)]
    left, right = linear_sum_assignment(part, maximize=True)
    rivals = part.copy()
    rivals[left, right] = -np.inf
    best_rival = np.maximum(rivals.max(1, initial=-9.0)[left], rivals.max(0, initial=-9.0)[right])
    margin = np.concatenate([part[left, right] - best_rival, np.full(len(rows), 9.0)])
    return np.append(among[0][left], rows), np.append(among[1][right], columns), margin


def _deviation(values: FloatArray) -> float:
    return float(values.std(dtype=np.float64)) + 1e-9


def _unit_rows(matrix: FloatArray) -> FloatArray:
    return matrix / (np.linalg.norm(matrix, axis=1, keepdims=True) + 1e-9)  # type: ignore[no-any-return]
