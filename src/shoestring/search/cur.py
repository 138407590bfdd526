r"""What a pair scorer would rank first, from few of its scores: the mathematics alone.

After ADACUR (Yadav et al., arXiv 2305.02996). The query's scores are modelled as
:math:`y_i = f_i + x_i^T w + \varepsilon`: a first guess f, a linear correction on the item features
x, noise. Anchor scores as features make it CUR; dense vectors, the guess itself and a constant may
stand beside them. With a Gaussian prior on w the posterior after b more scores is a rank-b update,
so nothing is ever refitted. Each round pays for the most promising items. Where we leave ADACUR: a
prior (ridge with a scale per feature) in place of a pseudo-inverse, features beside the anchors', a
first guess.

How wrong the first guess is cannot be known before the query is seen. :class:`Rounds` therefore
carries the same posterior under several prior strengths and weighs them by how well each predicted
the scores that came (Bayesian evidence, exact, a by-product of the updates).

Letters: N items, D features, b items of a batch, S strengths.

Not covered: which queries to take as anchors (:mod:`~shoestring.search.anchors`), what the first
guess is made of (:mod:`~shoestring.search.first_guess`), exploration (a variance bonus was no
better).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import IntegrityError
from shoestring.parallel import one_blas_thread
from shoestring.search.arrays import REBUILD
from shoestring.types import FloatArray, IntArray

Floats = NDArray[np.float64]
_LOG_2PI = float(np.log(2.0 * np.pi))
REJECT = 1e2  # times as far off as the other scores are large: no score on their scale
_DAMAGED = f"An array of the index holds values that cannot be. {REBUILD}"
LARGEST = 1e15  # of a score that is fitted: its square is well within float32


class GaussianWeights:
    """The posterior of D weights under a Gaussian prior, updated a batch at a time.

    Parameters
    ----------
    prior_variance : array (D,)
        Of each weight; the prior mean is zero and the weights are independent.
    noise : float
        Variance of a score around the model.

    Notes
    -----
    Equal to refitting ridge regression on all batches together (tests hold it to 1e-8). Cost of a
    batch: O(b D^2 + b^3). ``log_evidence`` sums the log density of each batch as predicted
    from the batches before it, which is the exact marginal likelihood of all scores so far.
    Source: recursive least squares in covariance form (Rasmussen & Williams 2006, chapter 2.1).
    """

    def __init__(self, prior_variance: Floats, noise: float) -> None:
        self.mean = np.zeros(len(prior_variance))  # (D,)
        self.covariance = np.diag(prior_variance.astype(np.float64))  # (D, D)
        self._change = np.empty_like(self.covariance)  # its pages are touched once
        self.noise = noise
        self.log_evidence = 0.0

    def observe(self, features: Floats, residuals: Floats) -> None:
        """Take in a batch: features (b, D), scores less the first guess (b,)."""
        spread = features @ self.covariance  # (b, D)
        predicted = spread @ features.T  # (b, b)
        predicted[np.diag_indices_from(predicted)] += self.noise
        factor = np.linalg.cholesky(predicted)
        inverse = np.linalg.inv(factor)  # (b, b) is small, and a product is quicker than a solve
        surprise = inverse @ (residuals - features @ self.mean)
        gain = inverse.T @ (inverse @ spread)  # (b, D)
        self.mean += (inverse.T @ surprise) @ spread
        self.covariance -= np.matmul(spread.T, gain, out=self._change)
        log_volume = float(np.log(np.diag(factor)).sum())
        self.log_evidence -= 0.5 * (float(surprise @ surprise) + len(surprise) * _LOG_2PI)
        self.log_evidence -= log_volume


class Rounds:
    """One query's search in rounds: propose rows, observe their scores, rank.

    Parameters
    ----------
    features : array (N, D)
        Or what has its ``dot`` and rows, and need not be in memory.
    guess : array (N,)
        The first guess f, in the units of the scores.
    prior_variance : array (D,)
        How far each weight may be from zero, in squared units of the scores over the feature.
    noise : float
        Variance of the scores around the model.
    strengths : sequence of float
        The prior variance is tried times each of these; the evidence weighs them.
    deleted : bool array (N,), optional
        Rows never to propose or rank.

    Examples
    --------
    >>> truth = np.array([0.1, 0.9, 0.3, 0.8])
    >>> rounds = Rounds(np.eye(4), np.zeros(4), np.ones(4), noise=0.01)
    >>> for _ in range(2):
    ...     rows = rounds.propose(2)
    ...     rounds.observe(rows, truth[rows])
    >>> rows, scores, exact = rounds.ranking(2)
    >>> rows.tolist(), scores.tolist(), exact.tolist()
    ([1, 3], [0.9, 0.8], [True, True])

    Notes
    -----
    Cost of a round: O(S b D^2) for the weights and one pass over the features. Memory besides the
    features: two float32 and one bool per item.
    """

    def __init__(
        self,
        features: Any,
        guess: FloatArray,
        prior_variance: Floats,
        noise: float,
        *,
        strengths: Sequence[float] = (1.0,),
        deleted: NDArray[np.bool_] | None = None,
    ) -> None:
        n_items = len(guess)
        self.features = features
        self.guess = guess.astype(np.float32)
        self.estimate = _checked_numbers(self.guess.copy())
        self.posteriors = [GaussianWeights(prior_variance * s, noise) for s in strengths]
        self._never = np.zeros(n_items, dtype=bool) if deleted is None else deleted
        self._closed = self._never.copy()
        self.scored = np.empty(0, dtype=np.int64)  # rows, in the order in which their scores came
        self._scores = np.empty(0, dtype=np.float64)

    def propose(self, n_rows: int, among: NDArray[np.bool_] | None = None) -> IntArray:
        """The unscored rows with the highest estimates, best first; the lower row wins a tie.

        Of those in ``among`` (N,) if it is given; none where there are none left.
        """
        is_open = ~self._closed if among is None else among & ~self._closed
        candidate = np.where(is_open, self.estimate, -np.inf)
        return top_rows(candidate, min(n_rows, int(np.count_nonzero(is_open))))

    @one_blas_thread()
    @np.errstate(over="ignore", invalid="ignore")  # what comes of damage is told
    def observe(self, rows: IntArray, scores: FloatArray, fitted: FloatArray | None = None) -> None:
        """Take in what the scorer said of some rows; the model is fitted to ``fitted`` instead."""
        batch = np.asarray(scores, dtype=np.float64)
        features = np.asarray(self.features[rows], dtype=np.float64)
        target = batch if fitted is None else np.asarray(fitted, dtype=np.float64)
        residuals = target - self.guess[rows]
        try:
            for posterior in self.posteriors:
                posterior.observe(features, residuals)
        except np.linalg.LinAlgError as error:
            raise IntegrityError(_DAMAGED) from error
        self._closed[rows] = True
        self.scored = np.concatenate([self.scored, rows])
        self._scores = np.concatenate([self._scores, batch])
        evidence = np.array([posterior.log_evidence for posterior in self.posteriors])
        shares = np.exp(evidence - evidence.max())  # of the prior strengths
        pairs = zip(shares / shares.sum(), self.posteriors, strict=True)
        weights = np.sum([share * posterior.mean for share, posterior in pairs], axis=0)
        np.add(self.guess, self.features.dot(weights), out=self.estimate)
        _checked_numbers(self.estimate)

    def ranking(self, k: int, mix: float = 0.0) -> tuple[IntArray, Floats, NDArray[np.bool_]]:
        """The k best: rows whose score was paid for first, by their own score; then estimates.

        With a ``mix`` above 0 all rows together, by that share of the first guess and the rest of
        the score or its estimate; 1 is the first guess alone.

        Returns
        -------
        rows : int64 array (k,)
        scores : float64 array (k,)
            Exact where the third array says so, else estimated.
        exact : bool array (k,)
        """
        if not mix:
            order = np.lexsort((self.scored, -self._scores))
            order = order[~self._never[self.scored[order]]][:k]
            rest = self.propose(k - len(order))
            rows = np.concatenate([self.scored[order], rest])
            scores = np.concatenate([self._scores[order], self.estimate[rest].astype(np.float64)])
            return rows, scores, np.arange(len(rows)) < len(order)
        scores, exact = self.estimate.astype(np.float64), np.zeros(len(self.guess), bool)
        scores[self.scored], exact[self.scored] = self._scores, True
        mixed = (1 - mix) * without_rejects(scores) + mix * self.guess
        rows = top_rows(np.where(self._never, -np.inf, mixed), k)
        return rows, scores[rows], exact[rows]


def without_rejects(scores: FloatArray, usual: Sequence[float] = ()) -> Floats:
    """Scores as a model is fitted to them: a huge reject counts as a little below the others.

    A scorer that answers -1e9 for what must not be found would otherwise leave nothing of the
    differences among the others. A reject is negative, and at least :data:`REJECT` times as far
    below two or more different scores as those are large; ``usual`` scores are known to be none.
    All of them come back, float64 (n,), within :data:`LARGEST`.

    Examples
    --------
    >>> without_rejects(np.array([0.5, -1e39, 0.75]))
    array([0.5 , 0.25, 0.75])
    """
    values = np.unique(np.append(scores, usual))[::-1]
    size = np.maximum.accumulate(np.abs(values))
    least = -LARGEST
    with np.errstate(over="ignore"):  # an infinite gap is one as well
        gaps = values[1:-1] - values[2:]  # below one score alone the scale is not known
        is_reject = (values[2:] < 0) & (gaps > REJECT * size[1:-1])
        if is_reject.any():
            last = values[1 + int(np.argmax(is_reject))]  # of the others
            least = max(2 * last - values[0], least)
    return np.clip(scores, least, LARGEST)


def _checked_numbers(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise IntegrityError(_DAMAGED)
    return values


def top_rows(values: FloatArray, n_rows: int) -> IntArray:
    """The rows of the largest values, largest first; the lower row wins a tie."""
    if n_rows <= 0:
        return np.empty(0, dtype=np.int64)
    if n_rows < len(values):
        bound = np.partition(values, len(values) - n_rows)[len(values) - n_rows]
        rows = np.flatnonzero(values >= bound)
    else:
        rows = np.arange(len(values))
    return rows[np.argsort(-values[rows], kind="stable")][:n_rows]
