r"""How good scores of pairs are: splits without leakage, figures, the score that means "match".

Pairs that share a text are one component of a graph whose nodes are the texts (capital letters and
white space aside). A split by pairs leaks: a text of the test half was read, with a label, in
training. Splits and the bootstrap go by components.

A threshold is chosen by an exact bound of its precision (Clopper & Pearson 1934). The lowest score
whose measured precision suffices is the luckiest of many: on new pairs it fell short in 48-68 % of
simulations. A bound at 0.05 fell short in 2-17 %, most where pairs share texts; at 0.01, which is
used, in 0-10 %. Probabilities are Platt's (1999), by cross-validation.

Letters: N pairs.

Not covered: texts that are nearly the same; isotonic calibration.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_number
from shoestring.classify.calibration import calibration_error
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.match.pairs import Pairs
from shoestring.types import FloatArray, IntArray

RISK = 0.01  # probability of so good a count where the precision is just the target
N_SAMPLES, INTERVAL = 200, (2.5, 97.5)  # of the bootstrap; percentiles
Doubles = NDArray[np.float64]


def split_by_components(pairs: Pairs, share: float = 0.1, seed: int = 0) -> tuple[Pairs, Pairs]:
    """Pairs to train on and a share that is held out, with no text on both sides.

    A component larger than the held-out part may be is trained on, but for the smallest one where
    all are; where little is left, a warning.
    """
    groups = components(pairs)
    sizes = np.bincount(groups)
    room = n_wanted = max(1, round(share * len(pairs)))
    chosen = np.zeros(len(sizes), np.bool_)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        if sizes[group] <= room:
            chosen[group], room = True, room - sizes[group]
    if not chosen.any() and len(sizes) > 1:
        chosen[sizes.argmin()] = True
    held_out = chosen[groups]
    if 2 * (n := held_out.sum()) < n_wanted:
        largest = f"one component of texts has {sizes.max(initial=0):,} of all {len(pairs):,} pairs"
        message = f"Only {n:,} pairs are held out of {n_wanted:,}: {largest}."
        warnings.warn(message, ShoestringWarning, stacklevel=2)
    return pairs[~held_out], pairs[held_out]


def components(pairs: Pairs) -> IntArray:
    """The component (N,) of each pair, numbered from 0: pairs that texts connect share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = defaultdict[str, int](count().__next__)
    a, b = ([number[_key(text)] for text in side] for side in (pairs.a, pairs.b))
    edges = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(len(number),) * 2)
    return np.asarray(connected_components(edges, directed=False)[1][a], np.int64)


def leakage(train: Pairs, test: Pairs) -> dict[str, int]:
    """Texts and unordered pairs of the test half that are in training, and rows with such a text.

    ShoestringWarning if there are any.
    """
    seen, asked = ([frozenset(map(_key, pair)) for pair in half.both] for half in (train, test))
    shared = frozenset().union(*seen) & frozenset().union(*asked)
    n_rows, n_pairs = sum(not shared.isdisjoint(pair) for pair in asked), len({*seen} & {*asked})
    if n_rows:
        message = (
            f"{n_rows:,} of these {len(test):,} pairs have a text that was trained on, {n_pairs:,} "
            "as the same pair: new pairs will score worse than these figures say."
        )
        warnings.warn(message, ShoestringWarning, stacklevel=2)
    return {"texts": len(shared), "pairs": n_pairs, "rows": n_rows}


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def figures(scores: Doubles, labels: Doubles, groups: IntArray) -> dict[str, Any]:
    """AUC with an interval, accuracy, F1 and calibration of N scores.

    "accuracy" and "f1" are where the cross-validated probability is above 0.5; "calibration" is of
    that probability, and of the scores as they are (of their logistic function, if they leave
    [0, 1]). ``groups`` are :func:`components`.
    """
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score, roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    y = checked_labels(labels, "match eval")
    folds = StratifiedKFold(min(5, np.bincount(y).min()), shuffle=True, random_state=0)
    x = scores / max(np.abs(scores).max(), 1e-300)
    x = ((x - x.mean()) / (x.std() or 1.0))[:, None]
    p = cross_val_predict(LogisticRegression(), x, y, cv=folds, method="predict_proba")[:, 1]
    found: dict[str, Any] = {"pairs": len(y), "matches": int(y.sum())}
    found |= _with_intervals(
        lambda weights: {"auc": roc_auc_score(y, scores, sample_weight=weights)}, y, groups
    )
    found |= {"accuracy": float(((p > 0.5) == y).mean()), "f1": float(f1_score(y, p > 0.5))}
    as_is = scores if 0 <= scores.min() <= scores.max() <= 1 else expit(scores)
    for name, q in (("as_it_is", as_is), ("cross_validated", p)):
        error = calibration_error(np.column_stack([1 - q, q]), y)
        found[f"calibration_{name}"] = {"error": error, "brier": float(((q - y) ** 2).mean())}
    return found


def threshold(
    scores: Doubles, labels: Doubles, groups: IntArray, precision: float = 0.95
) -> dict[str, Any]:
    """The score that means "match": the lowest that is sure to reach a precision on new pairs.

    With precision and recall as measured there, and an interval of each: of the threshold by
    choosing it again in every sample, infinite where there is none. ParameterError if no threshold
    is sure to reach it.

    Examples
    --------
    >>> found = threshold(np.arange(800.0), np.arange(800) >= 400, np.arange(800), precision=0.9)
    >>> found["threshold"], round(found["precision"], 3)
    (372.0, 0.935)
    """
    from scipy.special import betainc, betaincinv

    want = "a number in (0, 1)"
    target = checked_number("precision", precision, "threshold", want, above=0, most=1 - 1e-9)
    y, order = checked_labels(labels, "match threshold"), np.argsort(-scores)
    scores, y, groups = scores[order], y[order], groups[order]
    last = np.append(np.diff(scores) != 0, True)  # of equal scores
    values = np.append(scores[last], np.inf)

    def choose(weights: Doubles) -> tuple[int, Doubles, Doubles]:
        """The lowest sure value by number, or -1; the matches and pairs from each value up."""
        hits, n = np.cumsum(weights * y)[last], np.cumsum(weights)[last]
        sure = np.flatnonzero(betainc(hits, n - hits + 1, target) <= RISK)
        return int(sure[-1]) if len(sure) else -1, hits, n

    chosen, hits, n = choose(np.ones(len(y)))
    if chosen < 0:
        most = np.nanmax(betaincinv(hits, n - hits + 1, RISK))
        want = f"at most {most:.3f}, which is what these pairs can prove"
        hint = "Ask for less, label more pairs, or take a better matcher."
        raise ParameterError.of("precision", "threshold", want, target, hint)

    def measure(weights: Doubles) -> dict[str, float]:
        again, hits, n = choose(weights)
        precision, recall = hits[chosen] / (n[chosen] or np.nan), hits[chosen] / hits[-1]
        return {"threshold": values[again], "precision": precision, "recall": recall}

    return _with_intervals(measure, y, groups)


def _with_intervals(
    measure: Callable[[Doubles], dict[str, float]], y: IntArray, groups: IntArray
) -> dict[str, Any]:
    """What is measured of weighted pairs; an interval of each figure by a bootstrap of groups.

    Where most pairs are in one group, of pairs. Samples without a match, or with nothing else, are
    left out.
    """
    sizes = np.bincount(groups)
    if 2 * sizes.max() > len(groups):
        groups, sizes = np.arange(len(groups)), np.ones(len(groups), np.int64)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(N_SAMPLES):
        sample = rng.integers(len(sizes), size=len(sizes))
        weights = np.bincount(sample, minlength=len(sizes))[groups].astype(np.float64)
        if np.ptp(y[weights > 0]):
            drawn.append(measure(weights))
    found = dict[str, Any]()
    for name, value in measure(np.ones(len(groups))).items():
        ends = np.nanpercentile([one[name] for one in drawn], INTERVAL, method="nearest")
        found |= {name: float(value), f"{name}_interval": [float(f"{end:.4g}") for end in ends]}
    return found


def checked_labels(labels: FloatArray, owner: str) -> IntArray:
    """The labels as integers; ParameterError unless they are 0 and 1, two or more of each."""
    counts = [int((labels == label).sum()) for label in (0, 1)]
    if min(counts) < 2 or sum(counts) < len(labels):
        got = f"{counts[0]} zeros, {counts[1]} ones, {len(labels) - sum(counts)} others"
        raise ParameterError.of("pairs", owner, "pairs labelled 0 and 1, at least two of each", got)
    return labels.astype(np.int64)
