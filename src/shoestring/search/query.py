"""One query: the first guess from cheap features, then rounds of calls.

Letters: N rows of a view, m anchor queries, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import IntegrityError
from shoestring.parallel import one_blas_thread
from shoestring.search.arrays import REBUILD
from shoestring.search.cur import Rounds, without_rejects
from shoestring.search.features import JoinedFeatures, cheap_features, nearness
from shoestring.search.first_guess import ScoreModel
from shoestring.search.snapshot import Snapshot, View
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
MAX_NEARNESS = 1.01  # a cosine, rounded
MAX_CHARACTERS, MAX_WORDS = 10_000, 512  # of a query that are searched for
OBSERVE_BATCH = 512  # scores taken in at once: an update costs the cube of them


@dataclass(frozen=True, slots=True)
class IndexModel:
    """What was fitted for an index, stored with its arrays (``attrs``)."""

    score_model: ScoreModel | None  # None before any anchor was scored
    anchors: tuple[str, ...]  # the queries whose residuals are item features
    vector_mean: NDArray[np.float64]  # (D,)
    vector_power: float  # mean squared length of the centred vectors

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> IndexModel:
        """Read what the store has kept; of an index that was never finished, nothing."""
        fitted = attrs.get("score_model")
        if fitted:
            arrays = {name: np.asarray(fitted[name]) for name in ("weights", "loadings")}
            fitted = ScoreModel(**(fitted | arrays))
        return cls(
            fitted,
            tuple(attrs.get("anchors", ())),
            np.asarray(attrs.get("vector_mean", ()), dtype=np.float64),
            float(attrs.get("vector_power", 1.0)),
        )


class FirstLook(NamedTuple):
    """What is known of a query and the rows of a view before the scorer is asked."""

    view: View
    model: IndexModel
    features: NDArray[np.float32]  # (N, 4): see features.cheap_features
    guess: NDArray[np.float32]  # (N,): in the units of the scorer, or of unit variance

    def narrowed(self, rows: IntArray) -> FirstLook:
        """Some rows, ascending, as if there were no others."""
        view, guess = self.view.narrowed(rows), self.guess[rows]
        return self._replace(view=view, features=self.features[rows], guess=guess)


@one_blas_thread()
@np.errstate(over="ignore", invalid="ignore")  # what comes of damage is told
def pair_features(snapshot: Snapshot, text: str, vector: NDArray[Any]) -> NDArray[np.float32]:
    """The cheap features of a query, and its row of the encoder, with every row: float32 (N, 4)."""
    view = snapshot.view
    near = nearness(view.arrays["vectors"], vector) if len(view) else np.zeros(0, np.float32)
    if not np.abs(near).max(initial=0.0) <= MAX_NEARNESS:  # nor is NaN
        file = getattr(view.arrays["vectors"], "filename", "an array")
        raise IntegrityError(f"{file} is damaged: a vector is not of unit length. {REBUILD}")
    n_candidates = max(MIN_CANDIDATES, len(view) // 10)
    words = list(dict.fromkeys(tokenize(text[:MAX_CHARACTERS])))[:MAX_WORDS]
    keys, scores = snapshot.candidates(words, n_candidates)
    lexical = np.zeros(len(view), dtype=np.float32)
    rows = np.searchsorted(view.row_keys, keys)
    has_row = rows < len(view)
    lexical[rows[has_row]] = np.maximum(scores[has_row], 0.0)
    return cheap_features(near, lexical)


@one_blas_thread()
@np.errstate(over="ignore", invalid="ignore")
def first_look(
    view: View, model: IndexModel, features: NDArray[np.float32], *, lexical: bool
) -> FirstLook:
    """Make the first guess of cheap features."""
    if model.score_model is None:
        guess = default_guess(features, DEFAULT_WEIGHTS[lexical])
    else:
        item_bias = view.column("item_bias", np.float32)
        guess = model.score_model.guess(features, item_bias).astype(np.float32)
    return FirstLook(view, model, features, guess)


def default_guess(
    features: NDArray[np.float32], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A first guess while nothing is known of the scorer, of unit variance."""
    mixed = features @ weights.astype(np.float32)
    return np.asarray((mixed - mixed.mean()) / max(float(mixed.std()), 1e-9), dtype=np.float32)


@one_blas_thread()
@np.errstate(over="ignore", invalid="ignore")
def begin_rounds(look: FirstLook, at: IntArray, scores: FloatArray, fitted: FloatArray) -> Rounds:
    """The rounds of a query some of whose scores are known: rows, scores, and scores to fit to."""
    view, model, features, guess = look
    residual_variance = model.score_model.residual_variance if model.score_model else 1.0
    if not model.score_model and len(at):  # the first scores give a default guess their units
        level = float(np.mean(fitted))
        spread = max(float(np.std(fitted)), 1e-3 * abs(level), 1e-9)
        guess = (level + spread * (guess - float(guess[at].mean()))).astype(np.float32)
        residual_variance = spread**2
    blocks, variances = [], []
    if len(model.vector_mean):
        blocks.append((view.arrays["vectors"], model.vector_mean))
        width = len(model.vector_mean)
        variances.append(np.full(width, VECTORS / model.vector_power))
    if model.anchors:  # a row of m residuals that are all known has m times their variance
        m = len(model.anchors)
        blocks.append((view.arrays["residuals"], np.zeros(m)))
        variances.append(np.full(m, ANCHORS / (m * residual_variance)))
    if model.score_model:
        along = model.score_model.deviations(features, view.column("item_bias", np.float32))
        variances.append(np.array([CONSTANT, *np.ones(along.shape[1])]))
    else:
        along = ((guess - guess.mean()) / max(float(guess.std()), 1e-9))[:, None]
        variances.append(np.array([CONSTANT, SLOPE]))
    rounds = Rounds(
        JoinedFeatures(blocks, np.hstack([np.ones_like(along[:, :1]), along])),
        guess,
        np.concatenate(variances) * residual_variance,
        NOISE * residual_variance,
        strengths=(1.0,) if model.score_model else DEFAULT_STRENGTHS,
        deleted=view.deleted,
    )
    for start in range(0, len(at), OBSERVE_BATCH):
        span = slice(start, start + OBSERVE_BATCH)
        rounds.observe(at[span], scores[span], fitted[span])
    return rounds


def search_rounds(
    look: FirstLook,
    known: tuple[IntArray, FloatArray],  # rows and scores that were paid for before; free
    calls: int,  # pairs to score at most, beside those
    score: Callable[[IntArray], FloatArray] | None,  # None when there is no scorer
    *,
    first: NDArray[np.bool_] | None = None,  # (N,): rows to score before any other
    max_rounds: int = N_ROUNDS,  # batches at most, those of ``first`` one more
) -> Rounds:
    """Spend a budget of calls on one query, most promising rows first.

    ``score`` gives the exact scores of rows, NaN for those that it has failed on, which ends it.
    """
    at, scores = known
    # With a score model the units of the scorer are known; else the first batch gives them.
    has_scale = look.model.score_model is not None
    usual = (look.guess.min(), look.guess.max()) if has_scale and len(look.guess) else ()
    fitted = without_rejects(scores, usual)
    rounds = begin_rounds(look, at, scores, fitted)
    batch, spent = max(MIN_BATCH, -(-calls // max_rounds)), 0
    for among in (first, None) if first is not None else (None,):
        while score and spent < calls:
            chosen = rounds.propose(min(batch, calls - spent), among)
            if not len(chosen):
                break
            answer = score(chosen)
            is_answered = np.isfinite(answer)
            spent += len(chosen)
            at = np.concatenate([at, chosen[is_answered]])
            scores = np.concatenate([scores, answer[is_answered]])
            before, fitted = fitted, without_rejects(scores, usual)
            n = len(before)
            if np.array_equal(before, fitted[:n]) and (n or has_scale):
                rounds.observe(at[n:], scores[n:], fitted[n:])
            else:  # only now is the scale of the scores known
                rounds = begin_rounds(look, at, scores, fitted)
            if not is_answered.all():
                return rounds
    return rounds
