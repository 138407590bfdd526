"""What to try first on pairs of short texts, and the floor of every other matcher.

"overlap": the Jaccard index of the symbols; "bm25": each text asked of the other, summed; neither
needs labels. "boosting": gradient boosted trees (LightGBM's histograms, in scikit-learn) on nine
features of overlap. All ask only which symbols are equal and how rare they are, in an order that
does not depend on what they are: pseudonymised text has the scores of its plain text, to the bit.

Not covered: a text after its first 256 symbols.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.artifacts import ArtifactKind, digest
from shoestring.checks import checked_choice, checked_pairs, checked_path, checked_seed
from shoestring.match.evaluate import Doubles, checked_labels
from shoestring.match.pairs import Pairs
from shoestring.match.symbols import split_symbols, unit_of
from shoestring.types import IntArray

METHODS = ("overlap", "bm25", "boosting")
OWNER = "match train"
KIND = ArtifactKind("shoestring-match-baseline", "a baseline of match", OWNER, "Train it again.")
K1, B = 1.2, 0.75  # of BM25
N_SYMBOLS = 256
NODE = ["feature_idx", "num_threshold", "left", "right", "is_leaf", "value"]  # of scikit-learn


@dataclass
class Baseline:
    """A pair scorer of one of METHODS; made by :func:`train_baseline` or :func:`load_baseline`."""

    method: str
    unit: str
    mean_length: float
    idf: dict[str, float]  # inverse document frequency; of "" for symbols that are not there
    trees: list[list[Sequence[float]]]  # nodes, each with the fields of NODE

    @property
    def name(self) -> str:
        """By all that it has learnt."""
        return f"match-{self.method}:{digest(repr(asdict(self)))}"

    def predict(self, pairs: Sequence[tuple[str, str]]) -> Doubles:
        """Score B pairs: (B,); of boosting the log-odds of a match."""
        pairs = checked_pairs("pairs", pairs, "Baseline.predict")
        x = self.features(pairs)
        if self.method != "boosting":
            return x[:, METHODS.index(self.method)]
        return np.asarray(sum(_leaf_values(x, tree) for tree in self.trees))

    def features(self, pairs: Sequence[tuple[str, str]]) -> Doubles:
        """Nine features of pairs: (B, 9)."""
        return np.array([self._features(*pair) for pair in pairs]).reshape(-1, 9)

    def _features(self, *pair: str) -> list[float]:
        a, b = (split_symbols(text, self.unit)[:N_SYMBOLS] for text in pair)
        longest, symbols = max(len(a), len(b), 1), (Counter(a), Counter(b))
        bm25, rarest = 0.0, []
        for asked, found in (symbols, symbols[::-1]):
            size = K1 * (1 - B + B * found.total() / self.mean_length)
            idf = {s: self.idf.get(s, self.idf[""]) for s in asked}
            bm25 += sum(idf[s] * found[s] * (K1 + 1) / (found[s] + size) for s in asked)
            rarest.append(max((idf[s] for s in asked if s not in found), default=0.0))
        return [
            *(_jaccard(a, b), bm25, _jaccard(pairwise(a), pairwise(b))),
            *(longest, max(rarest), min(rarest)),
            SequenceMatcher(None, a, b, autojunk=False).ratio(),
            *(_n_equal(x, y) / longest for x, y in ((a, b), (a[::-1], b[::-1]))),
        ]


def _jaccard(a: Iterable[Any], b: Iterable[Any]) -> float:
    a, b = {*a}, {*b}
    return len(a & b) / max(1, len(a | b))


def _n_equal(a: list[str], b: list[str]) -> int:
    return sum(takewhile(bool, map(str.__eq__, a, b)))


def _leaf_values(x: Doubles, tree: list[Sequence[float]]) -> Doubles:
    feature, threshold, left, right, is_leaf, value = np.array(tree).T
    node = np.zeros(len(x), np.int64)
    while not is_leaf[node].all():
        asked = x[np.arange(len(x)), feature[node].astype(np.int64)]
        child = np.where(asked <= threshold[node], left[node], right[node])
        node = np.where(is_leaf[node], node, child).astype(np.int64)
    return np.asarray(value[node])


def train_baseline(
    pairs: Pairs, out: str | Path, method: str = "boosting", seed: int = 0
) -> dict[str, Any]:
    """Count the symbols of pairs, fit trees to those with labels, save; a report.

    ParameterError if there is no such method, or boosting has no two labels of each kind.
    """
    KIND.check(out := checked_path("out", out, OWNER))
    checked_choice("method", method, METHODS, OWNER)
    unit = unit_of(pairs.a + pairs.b)
    texts = {tuple(split_symbols(t, unit)[:N_SYMBOLS]): None for t in pairs.a + pairs.b}
    n_with = Counter(symbol for text in texts for symbol in dict.fromkeys(text))
    idf = {s: math.log1p((len(texts) - n + 0.5) / (n + 0.5)) for s, n in [*n_with.items(), ("", 0)]}
    scorer = Baseline(method, unit, sum(map(len, texts)) / len(texts), idf, [])
    known = pairs[~np.isnan(pairs.labels)]
    if method == "boosting":
        y = checked_labels(known.labels, OWNER)
        scorer.trees = _boosted(scorer.features(known.both), y, checked_seed("seed", seed, OWNER))
    with KIND.saving(out) as writer:
        writer.config |= asdict(scorer)
    return {"folder": str(out), "method": method, "symbols": len(n_with), "train_pairs": len(known)}


def _boosted(x: Doubles, y: IntArray, seed: int) -> list[list[Sequence[float]]]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    boosting = HistGradientBoostingClassifier(
        max_iter=300,
        max_leaf_nodes=16,
        early_stopping=bool(np.bincount(y).min() >= 10),
        random_state=seed % 2**32,
    ).fit(x, y)
    first = (0, 0, 0, 0, 1, boosting._baseline_prediction.item())  # a tree of one leaf
    return [[first], *(tree.nodes[NODE].tolist() for (tree,) in boosting._predictors)]


def load_baseline(folder: str | Path) -> Baseline:
    """Open what :func:`train_baseline` saved; FormatError or IntegrityError if it cannot be."""
    saved = KIND.read(checked_path("folder", folder, "load_scorer"))
    with saved.decoding():
        return Baseline(*(saved.config[name] for name in Baseline.__dataclass_fields__))
