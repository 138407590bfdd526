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
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_number, checked_seed
from shoestring.classify.calibration import calibration_error
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.match.pairs import Pairs
from shoestring.types import FloatArray, IntArray

RISK = 0.01  # probability of so good a count where the precision is just the target
N_SAMPLES, INTERVAL = 200, (2.5, 97.5)  # of the bootstrap; percentiles
Doubles = NDArray[np.float64]


def split_by_components(pairs: Pairs, share: float = 0.1, seed: int = 0) -> tuple[Pairs, Pairs]:
    """Pairs to train on and a share that is held out, with no text on both sides.

    A component larger than the held-out part may be is trained on; where little is left, a warning.

    Examples
    --------
    >>> pairs = Pairs.of([("a", "b", 1), ("B", "c", 0), ("x", "y", 1), ("p", "q", 0)])
    >>> train, held_out = split_by_components(pairs, share=0.5)
    >>> len(held_out), leakage(train, held_out)["texts"]
    (2, 0)
    """
    owner = "split_by_components"
    share = checked_number("share", share, owner, "a number in (0, 1)", above=0, most=1 - 1e-9)
    groups = components(pairs)
    sizes = np.bincount(groups)
    room = n_wanted = max(1, round(share * len(pairs)))
    chosen = np.zeros(len(sizes), np.bool_)
    for group in np.random.default_rng(checked_seed("seed", seed, owner)).permutation(len(sizes)):
        if sizes[group] <= room and sizes[group] < len(pairs):
            chosen[group], room = True, room - sizes[group]
    if room > n_wanted / 2:
        largest = f"one component of texts has {sizes.max(initial=0):,} of all {len(pairs):,} pairs"
        message = f"Only {n_wanted - room:,} pairs are held out of {n_wanted:,}: {largest}."
        warnings.warn(message, ShoestringWarning, stacklevel=2)
    held_out = chosen[groups]
    return pairs[~held_out], pairs[held_out]


def components(pairs: Pairs) -> IntArray:
    """The component (N,) of each pair, numbered from 0: pairs that texts connect share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known: dict[str, int] = {}
    a, b = ([known.setdefault(_key(t), len(known)) for t in side] for side in (pairs.a, pairs.b))
    edges = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(len(known),) * 2)
    of_text = connected_components(edges, directed=False)[1]
    return np.unique(of_text[a], return_inverse=True)[1].astype(np.int64)


def leakage(train: Pairs, test: Pairs) -> dict[str, int]:
    """Texts and unordered pairs of the test half that are in training, and rows with such a text.

    ShoestringWarning if there are any.

    Examples
    --------
    >>> leakage(Pairs.of([("a", "b")]), Pairs.of([("x", "y")]))
    {'texts': 0, 'pairs': 0, 'rows': 0}
    """
    seen, asked = ([frozenset((_key(a), _key(b))) for a, b in p.both] for p in (train, test))
    texts = frozenset().union(*seen)
    n_texts, n_pairs = len(texts & frozenset().union(*asked)), len({*seen} & {*asked})
    n_rows = sum(not texts.isdisjoint(pair) for pair in asked)
    if n_rows:
        message = f"{n_rows:,} of these {len(test):,} pairs have a text that was trained on, "
        message += (
            f"{n_pairs:,} as the same pair: new pairs will score worse than these figures say."
        )
        warnings.warn(message, ShoestringWarning, stacklevel=2)
    return {"texts": n_texts, "pairs": n_pairs, "rows": n_rows}


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def figures(scores: Doubles, labels: Doubles, groups: IntArray, seed: int = 0) -> dict[str, Any]:
    """AUC, average precision (with intervals), accuracy, F1 and calibration of N scores.

    "accuracy" and "f1" are where the cross-validated probability is above 0.5, "best" where the
    threshold is chosen on these labels; "calibration" is of that probability, and of the scores as
    they are (of their logistic function, if they leave [0, 1]). ``groups`` are :func:`components`.

    Examples
    --------
    >>> figures(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]), np.arange(4))["auc"]
    0.75
    """
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    y = checked_labels(labels, "match eval")
    folds = StratifiedKFold(min(5, np.bincount(y).min()), shuffle=True, random_state=seed % 2**32)
    x = scores / max(np.abs(scores).max(), 1e-300)
    x = ((x - x.mean()) / (x.std() or 1.0))[:, None]
    p = cross_val_predict(LogisticRegression(), x, y, cv=folds, method="predict_proba")[:, 1]
    found: dict[str, Any] = {"pairs": len(y), "matches": int(y.sum())}
    found |= (whole := _ranking(scores, y, np.ones(len(y))))
    drawn = [_ranking(scores, y, w) for w in _bootstrap(groups, seed) if np.ptp(y[w > 0])]
    found |= {f"{name}_interval": _interval([one[name] for one in drawn]) for name in whole}
    found |= {"accuracy": float(((p > 0.5) == y).mean()), "f1": float(f1_score(y, p > 0.5))}
    _, hits, n = _curve(scores, y, np.ones(len(y)))
    accuracy, f1 = 1 - (n - 2 * hits + y.sum()) / len(y), 2 * hits / (n + y.sum())
    found["best"] = {"accuracy": float(accuracy.max()), "f1": float(f1.max())}
    as_is = scores if 0 <= scores.min() <= scores.max() <= 1 else expit(scores)
    for name, q in (("as_it_is", as_is), ("cross_validated", p)):
        error = calibration_error(np.column_stack([1 - q, q]), y)
        found[f"calibration_{name}"] = {"error": error, "brier": float(((q - y) ** 2).mean())}
    return found


def threshold(
    scores: Doubles, labels: Doubles, groups: IntArray, precision: float = 0.95, seed: int = 0
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

    y = checked_labels(labels, "match threshold")
    want = "a number in (0, 1)"
    target = checked_number("precision", precision, "threshold", want, above=0, most=1 - 1e-9)

    def choose(weights: Doubles) -> float:
        values, hits, n = _curve(scores, y, weights)
        sure = np.flatnonzero(betainc(hits, n - hits + 1, target) <= RISK)
        return float(values[sure[-1]]) if len(sure) else np.inf

    chosen, drawn = choose(np.ones(len(y))), list(_bootstrap(groups, seed))
    above = scores >= chosen
    if not above.any():
        _, hits, n = _curve(scores, y, np.ones(len(y)))
        most = np.nanmax(betaincinv(hits, n - hits + 1, RISK))
        want = f"at most {most:.3f}, which is what these pairs can prove"
        hint = "Ask for less, label more pairs, or take a better matcher."
        raise ParameterError.of("precision", "threshold", want, target, hint)
    found = {"threshold": chosen, "threshold_interval": _interval([choose(w) for w in drawn])}
    for name, among in (("precision", above), ("recall", y > 0)):
        found[name] = float(y[above].sum() / among.sum())
        shares = [(w * y)[above].sum() / w[among].sum() for w in drawn if w[among].any()]
        found[f"{name}_interval"] = _interval(shares)
    return found


def _curve(scores: Doubles, y: IntArray, weights: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """The scores from the highest; the weights of matches and of pairs at or above each."""
    order = np.argsort(-scores)
    last = np.append(np.diff(scores[order]) != 0, True)
    hits, n_above = np.cumsum(weights[order] * y[order]), np.cumsum(weights[order])
    return scores[order][last], hits[last], n_above[last]


def _ranking(scores: Doubles, y: IntArray, weights: Doubles) -> dict[str, float]:
    """What the order of the scores is worth; equal scores count as half in order for the AUC."""
    _, hits, n = _curve(scores, y, weights)
    gained, others = np.diff(hits, prepend=0), np.diff(n - hits, prepend=0)
    auc = (hits - gained / 2) @ others / (hits[-1] * others.sum())
    mean_precision = gained @ (hits / np.maximum(n, 1)) / hits[-1]
    return {"auc": float(auc), "average_precision": float(mean_precision)}


def _bootstrap(groups: IntArray, seed: int) -> Iterator[Doubles]:
    """How often each pair is drawn in a sample of groups; of pairs, where most are in one group."""
    sizes = np.bincount(groups)
    if 2 * sizes.max() > len(groups):
        groups, sizes = np.arange(len(groups)), np.ones(len(groups), np.int64)
    rng = np.random.default_rng(seed)
    for _ in range(N_SAMPLES):
        drawn = rng.integers(len(sizes), size=len(sizes))
        yield np.bincount(drawn, minlength=len(sizes))[groups].astype(np.float64)


def _interval(values: list[float]) -> list[float]:
    return [float(f"{v:.4g}") for v in np.percentile(values, INTERVAL, method="nearest")]


def checked_labels(labels: FloatArray, owner: str) -> IntArray:
    """The labels as integers; ParameterError unless they are 0 and 1, two or more of each."""
    counts = [int((labels == label).sum()) for label in (0, 1)]
    if min(counts) < 2 or sum(counts) < len(labels):
        got = f"{counts[0]} zeros, {counts[1]} ones, {len(labels) - sum(counts)} others"
        raise ParameterError.of("pairs", owner, "pairs labelled 0 and 1, at least two of each", got)
    return labels.astype(np.int64)
