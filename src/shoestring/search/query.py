"""One query: the first guess from cheap features, then rounds of calls.

Letters: N rows, m anchor queries, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.parallel import one_blas_thread
from shoestring.search.cur import Rounds, top_rows
from shoestring.search.features import IndexRows, JoinedFeatures, cheap_features
from shoestring.search.first_guess import ScoreModel
from shoestring.search.snapshot import Snapshot
from shoestring.text import tokenize
from shoestring.types import FloatArray, IntArray

N_ROUNDS = 12
MIN_BATCH = 4
DEFAULT_STRENGTHS = (0.3, 1.0, 3.0)  # with a score model the anchors' residuals give the variance
# Prior variances in units of the residual variance; flat within a factor of three (docs/log.md).
VECTORS, ANCHORS, CONSTANT, SLOPE, NOISE = 0.3, 0.5, 0.3, 0.3, 0.3
# What the cheap features count while nothing is known of the scorer: the vectors decide where they
# come from a model, BM25 where they are lexical. See features.cheap_features for their order.
DEFAULT_WEIGHTS = {False: np.array([1.0, 0.05, 0.0, 0.0]), True: np.array([0.3, 1.0, 0.0, 0.0])}
MIN_CANDIDATES = 1_000
OBSERVE_BATCH = 512  # scores taken in at once: an update costs the cube of them


@dataclass(frozen=True, slots=True)
class IndexModel:
    """What was fitted for an index, stored with its arrays (``attrs``).

    Parameters
    ----------
    score_model : ScoreModel or None
        None before any anchor was scored.
    anchors : tuple of str
        The queries whose residuals are item features.
    vector_mean : array (D,)
    vector_power : float
        Mean squared length of the centred vectors.
    """

    score_model: ScoreModel | None
    anchors: tuple[str, ...]
    vector_mean: NDArray[np.float64]
    vector_power: float

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> IndexModel:
        """Read what :meth:`to_attrs` wrote; of an index that was never finished, nothing."""
        fitted = attrs.get("score_model")
        return cls(
            ScoreModel(
                np.asarray(fitted["weights"]),
                fitted["constant"],
                fitted["residual_variance"],
                np.asarray(fitted["loadings"]),
            )
            if fitted
            else None,
            tuple(attrs.get("anchors", ())),
            np.asarray(attrs.get("vector_mean", ()), dtype=np.float64),
            float(attrs.get("vector_power", 1.0)),
        )

    def to_attrs(self) -> dict[str, Any]:
        """As the store keeps it."""
        return asdict(self)


@one_blas_thread()
def pair_features(
    snapshot: Snapshot, rows: IndexRows, text: str, vector: NDArray[Any]
) -> NDArray[np.float32]:
    """The cheap features of a query, and its row of the encoder, with every row: float32 (N, 4)."""
    near = rows.nearness("vectors", vector)
    n_candidates = max(MIN_CANDIDATES, len(rows) // 10)
    keys, scores = snapshot.candidates(tokenize(text), n_candidates)
    lexical = np.zeros(len(rows), dtype=np.float32)
    lexical[rows.rows_of(keys)] = np.maximum(scores, 0.0)
    return cheap_features(near, lexical)


@one_blas_thread()
def first_guess(
    rows: IndexRows, model: IndexModel, features: NDArray[np.float32], *, lexical: bool
) -> NDArray[np.float32]:
    """The first guess (N,): in the units of the scorer, or of unit variance."""
    if model.score_model is None:
        return default_guess(features, lexical=lexical)
    item_bias = rows.column("item_bias", np.float32)
    return model.score_model.guess(features, item_bias).astype(np.float32)


def default_guess(features: NDArray[np.float32], *, lexical: bool) -> NDArray[np.float32]:
    """A first guess while nothing is known of the scorer, of unit variance."""
    mixed = features @ DEFAULT_WEIGHTS[lexical].astype(np.float32)
    return np.asarray((mixed - mixed.mean()) / max(float(mixed.std()), 1e-9), dtype=np.float32)


@one_blas_thread()
def begin_rounds(
    rows: IndexRows,
    model: IndexModel,
    features: NDArray[np.float32],
    guess: NDArray[np.float32],
    residual_variance: float,
) -> Rounds:
    """The rounds of one query, from its first guess in the units of the scorer."""
    blocks, variances = [], []
    if len(model.vector_mean):
        blocks.append(("vectors", model.vector_mean))
        width = len(model.vector_mean)
        variances.append(np.full(width, VECTORS / model.vector_power))
    if model.anchors:  # a row of m residuals that are all known has m times their variance
        m = len(model.anchors)
        blocks.append(("residuals", np.zeros(m)))
        variances.append(np.full(m, ANCHORS / (m * residual_variance)))
    if model.score_model:
        along = model.score_model.deviations(features, rows.column("item_bias", np.float32))
        variances.append(np.array([CONSTANT, *np.ones(along.shape[1])]))
    else:
        along = ((guess - guess.mean()) / max(float(guess.std()), 1e-9))[:, None]
        variances.append(np.array([CONSTANT, SLOPE]))
    return Rounds(
        JoinedFeatures(rows, blocks, np.hstack([np.ones_like(along[:, :1]), along])),
        guess,
        np.concatenate(variances) * residual_variance,
        NOISE * residual_variance,
        strengths=(1.0,) if model.score_model else DEFAULT_STRENGTHS,
        deleted=rows.deleted,
    )


def calibrated(
    guess: NDArray[np.float32], at: IntArray, scores: FloatArray
) -> tuple[NDArray[np.float32], float]:
    """A default guess in the units of the first scores, and the variance around it."""
    spread = max(float(np.std(scores)), 1e-3 * abs(float(np.mean(scores))), 1e-9)
    shifted = float(np.mean(scores)) + spread * (guess - float(guess[at].mean()))
    return shifted.astype(np.float32), spread**2


def search_rounds(
    rows: IndexRows,
    model: IndexModel,
    features: NDArray[np.float32],
    guess: NDArray[np.float32],
    known: tuple[IntArray, FloatArray],
    calls: int,
    score: Callable[[IntArray], FloatArray] | None,
) -> Rounds:
    """Spend a budget of calls on one query, most promising rows first.

    Parameters
    ----------
    features : float32 array (N, c)
        Of :func:`pair_features`.
    guess : float32 array (N,)
        In the units of the scorer where ``model`` has a score model, of unit variance otherwise.
    known : (rows, scores)
        What was paid for before; it counts towards ``calls``.
    calls : int
        Pairs to score, those that are known included.
    score : callable
        Rows to their exact scores; None when there is no scorer.
    """
    at, scores = known
    calls = calls if score else 0
    batch = max(MIN_BATCH, -(-calls // N_ROUNDS))
    # Without a score model the first batch gives the units of the scores.
    if score and model.score_model is None and not len(at) and calls > 0:
        at = top_rows(np.where(rows.deleted, -np.inf, guess), min(batch, calls, rows.n_live))
        scores = score(at)
    if model.score_model is not None:
        variance = model.score_model.residual_variance
    elif len(at):
        guess, variance = calibrated(guess, at, scores)
    else:
        variance = 1.0
    rounds = begin_rounds(rows, model, features, guess, variance)
    # Scores paid for before come first, then rounds of new ones.
    for start in range(0, len(at), OBSERVE_BATCH):
        span = slice(start, start + OBSERVE_BATCH)
        rounds.observe(at[span], scores[span])
    spent = len(at)
    while score and spent < calls and rounds.n_open:
        chosen = rounds.propose(min(batch, calls - spent))
        rounds.observe(chosen, score(chosen))
        spent += len(chosen)
    return rounds
