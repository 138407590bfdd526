"""How well word vectors agree with what people judged.

- **Similarity files**: Spearman's rank correlation of the vectors' similarities with the scores.
- **Words in context, scored** (SCWS): the same, once for the words alone, once in their sentences.
- **Words in context, same meaning or not** (WiC): the accuracy of "same where the similarity is at
  least t", for the words alone and in their sentences; t is chosen on other pairs, in ten folds of
  the file or on a file of its own.

Only pairs whose words are both known count; how many those are stands beside each figure.
Intervals are those of the bootstrap over pairs: 2.5 to 97.5 per cent of 1,000 resamples, which says
what other pairs of the same kind would give, not what another training would.

Not covered: analogies, categories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import ParameterError
from shoestring.text.segmentation import split_words
from shoestring.types import IntArray
from shoestring.words.judgements import (
    ContextPair,
    Occurrence,
    WordPair,
    read_in_context,
    read_similarity,
)

N_RESAMPLES = 1000
N_FOLDS = 10
STATIC, IN_CONTEXT = "static", "in context"

Floats: TypeAlias = NDArray[np.float64]
_HERE = "\ue000"  # stands for the word in its sentence; a token of its own in any script


class SimilarWords(Protocol):
    """What is scored: BinaryVectors, gensim's KeyedVectors, or anything with these two."""

    def __contains__(self, word: Any) -> bool:
        """Whether the word has a vector."""
        ...

    def similarity(self, a: Any, b: Any) -> Any:
        """How alike two words are; higher is more alike."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Parameters
    ----------
    file : str
        The judgements' name.
    way : {"static", "in context"}
        The words alone, or in their sentences.
    measure : {"spearman", "accuracy"}
    value : float or None
        None where it is not defined: fewer than three pairs are covered, or all are alike.
    low, high : float or None
        Its interval.
    n_pairs, n_covered : int
        Pairs of the file, and those whose words are both known.
    n_active : int or None
        Active bits of the codes; None for vectors that are not codes of one length.
    """

    file: str
    way: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    n_pairs: int
    n_covered: int
    n_active: int | None = None


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON can say them."""
    return [asdict(row) for row in rows]


def evaluate(
    vectors: SimilarWords,
    similarity: Sequence[str | Path] = (),
    in_context: Sequence[str | Path] = (),
    *,
    tune_on: str | Path | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[Row]:
    """Score word vectors on files of judgements.

    Parameters
    ----------
    vectors : BinaryVectors, or anything with ``in`` and ``similarity``
        Without a method ``in_context`` only the words alone are scored.
    similarity, in_context : sequence of paths
        Files that :mod:`shoestring.words.judgements` reads.
    tune_on : path, optional
        Pairs of WiC's kind to choose the threshold on, such as WiC's training part; by default ten
        folds of the file itself.
    n_resamples : int
        Of the bootstrap.
    seed : int
        Of folds and resamples.

    Returns
    -------
    list of Row
        One for each file of similarities, one or two for each with contexts.

    Raises
    ------
    ParameterError
        If no file is given.
    StorageError, FormatError
        If one is missing or cannot be read.

    Notes
    -----
    Cost: about a second for 3,000 pairs, most of it the bootstrap.
    """
    if not similarity and not in_context:
        raise ParameterError("There is nothing to score on: name a file of judgements.")
    tuning = None if tune_on is None else read_in_context(tune_on)
    if tuning is not None and not isinstance(tuning[0].score, bool):
        want = "pairs with answers, same or not, as WiC has them"
        raise ParameterError.of("tune_on", "evaluate", want, str(tune_on))
    rng = np.random.default_rng(seed)
    rows = []
    for file in similarity:
        pairs = read_similarity(file)
        values = np.array([_static(vectors, pair.a, pair.b) for pair in pairs])
        rows.append(_correlation(_name(file), STATIC, values, _scores(pairs), n_resamples, rng))
    for file in in_context:
        judged = read_in_context(file)
        for way, compare in _ways(vectors):
            values = np.array([compare(pair) for pair in judged])
            if isinstance(judged[0].score, bool):
                known = None
                if tuning is not None:
                    known = np.array([compare(pair) for pair in tuning]), _scores(tuning)
                rows.append(
                    _accuracy(_name(file), way, values, _scores(judged), known, n_resamples, rng)
                )
            else:
                rows.append(
                    _correlation(_name(file), way, values, _scores(judged), n_resamples, rng)
                )
    return rows


def _name(file: str | Path) -> str:
    return Path(file).name


def _scores(pairs: Sequence[WordPair] | Sequence[ContextPair]) -> Floats:
    return np.array([pair.score for pair in pairs], dtype=np.float64)


def _ways(vectors: SimilarWords) -> list[tuple[str, Callable[[ContextPair], float]]]:
    """The words alone, and in their sentences where the vectors can do that."""
    ways = [(STATIC, lambda pair: _static_in_text(vectors, pair))]
    if getattr(vectors, "knows_context", False):
        ways.append((IN_CONTEXT, lambda pair: _in_text(vectors, pair)))
    return ways


def known_form(vectors: SimilarWords, *forms: str) -> str | None:
    """The first of the forms that has a vector: as written, or as a text's words are folded."""
    for form in forms:
        if form in vectors:
            return form
        folded = [word for sentence in split_words(form) for word in sentence]
        if len(folded) == 1 and folded[0] in vectors:
            return folded[0]
    return None


def _static(vectors: SimilarWords, a: str, b: str) -> float:
    first, second = known_form(vectors, a), known_form(vectors, b)
    if first is None or second is None:
        return np.nan
    return float(vectors.similarity(first, second))


def _static_in_text(vectors: SimilarWords, pair: ContextPair) -> float:
    words = [known_form(vectors, at.word, at.lemma) for at in (pair.a, pair.b)]
    return np.nan if None in words else float(vectors.similarity(*words))


def _in_text(vectors: Any, pair: ContextPair) -> float:
    if np.isnan(_static_in_text(vectors, pair)):
        return np.nan  # so that both ways are scored on the same pairs
    codes = [vectors.in_context(*_tokens_of(vectors, at)) for at in (pair.a, pair.b)]
    return float(vectors.similarity(*codes))


def _tokens_of(vectors: Any, at: Occurrence) -> tuple[list[str], int]:
    """The sentence of an occurrence as tokens, and the position of the word in it."""
    word = known_form(vectors, at.word, at.lemma)
    for tokens in vectors.sentences(f"{at.before} {_HERE} {at.after}"):
        if _HERE in tokens:
            position = tokens.index(_HERE)
            return [*tokens[:position], word, *tokens[position + 1 :]], position
    raise AssertionError("the mark is a token, so it is in a sentence")


def _correlation(
    file: str, way: str, values: Floats, scores: Floats, n_resamples: int, rng: np.random.Generator
) -> Row:
    covered = ~np.isnan(values)
    known, judged = values[covered], scores[covered]
    value, low, high = None, None, None
    if len(known) >= 3 and np.ptp(known) > 0 and np.ptp(judged) > 0:
        value = float(rank_correlations(known[None], judged[None])[0])
        resamples = _resamples(len(known), n_resamples, rng)
        low, high = _interval(rank_correlations(known[resamples], judged[resamples]))
    return Row(file, way, "spearman", value, low, high, len(values), len(known))


def rank_correlations(a: Floats, b: Floats) -> Floats:
    """Spearman's correlation of each row: arrays (R, n) to (R,), NaN where a row is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(array, axis=1) for array in (a, b)]
    x, y = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norms = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    products = (x * y).sum(axis=1)
    correlations = np.full(len(x), np.nan)
    np.divide(products, norms, out=correlations, where=norms > 0)
    return correlations


def _resamples(n: int, n_resamples: int, rng: np.random.Generator) -> IntArray:
    return rng.integers(0, n, (n_resamples, n))


def _interval(values: Floats) -> tuple[float | None, float | None]:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def _accuracy(
    file: str,
    way: str,
    values: Floats,
    answers: Floats,
    tuning: tuple[Floats, Floats] | None,
    n_resamples: int,
    rng: np.random.Generator,
) -> Row:
    covered = ~np.isnan(values)
    known, same = values[covered], answers[covered] > 0
    value, low, high = None, None, None
    if len(known) >= 3:
        thresholds = _thresholds(known, same, tuning, rng)
        right = (known >= thresholds) == same
        value = float(right.mean())
        low, high = _interval(right[_resamples(len(right), n_resamples, rng)].mean(axis=1))
    return Row(file, way, "accuracy", value, low, high, len(values), len(known))


def _thresholds(
    values: Floats,
    same: NDArray[np.bool_],
    tuning: tuple[Floats, Floats] | None,
    rng: np.random.Generator,
) -> Floats:
    """The threshold of each pair, chosen without looking at its answer."""
    if tuning is not None:
        covered = ~np.isnan(tuning[0])
        return np.full(len(values), best_threshold(tuning[0][covered], tuning[1][covered] > 0))
    folds = rng.permutation(len(values)) % min(N_FOLDS, len(values))
    thresholds = np.empty(len(values))
    for fold in range(folds.max() + 1):
        others = folds != fold
        thresholds[~others] = best_threshold(values[others], same[others])
    return thresholds


def best_threshold(values: Floats, same: NDArray[np.bool_]) -> float:
    """The t for which "same where the value is at least t" is right most often.

    Half way between two values; of several that are equally good the middle one.

    Examples
    --------
    >>> best_threshold(np.array([0.1, 0.3, 0.5, 0.9]), np.array([False, False, True, True]))
    0.4
    """
    if not len(values):
        return 0.0
    levels = np.unique(values)
    cuts = np.concatenate([[levels[0] - 1], (levels[1:] + levels[:-1]) / 2, [levels[-1] + 1]])
    n_same = np.searchsorted(np.sort(values[same]), cuts)  # wrongly below each cut
    n_other = (~same).sum() - np.searchsorted(np.sort(values[~same]), cuts)  # wrongly above
    wrong = n_same + n_other
    best = np.flatnonzero(wrong == wrong.min())
    return float(cuts[best[len(best) // 2]])
