"""How well word vectors agree with what people judged: Spearman's rank correlation.

Similarity files (WordSim-353, SimLex-999, MEN, RW, COS960, ...) have two words and a score on each
line, between tabs or blanks; the score is the first number after the words, and what follows is
passed over, as are a header and lines with ``#`` in front. They may be gzip'd.

Only pairs whose words are both known count; how many those are stands beside each figure.
Intervals are those of the bootstrap over pairs: 2.5 to 97.5 per cent of 1,000 resamples, which says
what other pairs of the same kind would give, not what another training would.

Not covered: words in context (``benchmarks/words/in_context.py`` has SCWS and WiC), analogies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import FormatError, ParameterError
from shoestring.text.files import read_lines
from shoestring.text.segmentation import split_words
from shoestring.words.vectors import BinaryVectors
from shoestring.words.word2vec_io import WordVectors, read_vectors

N_RESAMPLES = 1000
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: Spearman's correlation and its interval, None where it is not defined.

    That is where fewer than three pairs are covered, or all are alike.
    """

    file: str
    n_active: int | None  # active bits; None for vectors that are not codes of one length
    spearman: float | None
    low: float | None
    high: float | None
    n_pairs: int
    n_covered: int  # pairs of which both words are known


def evaluate(
    vectors: Any,
    files: Sequence[str | Path],
) -> list[Row]:
    """Score word vectors on files of judgements, a row for each.

    The vectors are BinaryVectors, gensim's KeyedVectors, or anything with ``in`` and
    ``similarity``. About a second for 3,000 pairs, most of it the bootstrap. A ParameterError if no
    file is given; the errors of :func:`read_similarity`.
    """
    if not files:
        raise ParameterError("There is nothing to score on: name a file of judgements.")
    rng = np.random.default_rng(0)
    rows = []
    for file in files:
        pairs = read_similarity(file)
        similarities = np.array([_similarity(vectors, a, b) for a, b, _ in pairs])
        covered = ~np.isnan(similarities)
        found, judged = similarities[covered], np.array([score for _, _, score in pairs])[covered]
        figures: tuple[float | None, float | None, float | None] = (None, None, None)
        if len(found) >= 3 and np.ptp(found) > 0 and np.ptp(judged) > 0:
            (value,) = rank_correlations(found[None], judged[None])
            drawn = rng.integers(0, len(found), (N_RESAMPLES, len(found)))
            resampled = rank_correlations(found[drawn], judged[drawn])
            low, high = np.nanquantile(resampled, (0.025, 0.975)).tolist()
            figures = float(value), low, high
        shown = getattr(vectors, "n_active", None)
        rows.append(Row(Path(file).name, shown, *figures, len(pairs), len(found)))
    return rows


def evaluate_at(
    path: str | Path, files: Sequence[str | Path], n_active: Sequence[int] = ()
) -> list[Row]:
    """Score a folder of saved vectors, with codes of several lengths or as they are, or a file.

    That is of word2vec text or binary or GloVe's text, whose rows are compared by their cosine.
    """
    path = Path(path)
    if path.is_file():
        return evaluate(CosineWords(read_vectors(path)), files)
    saved = BinaryVectors.load(path)
    scored = [saved.with_active(length) for length in n_active] or [saved]
    return [row for vectors in scored for row in evaluate(vectors, files)]


class CosineWords:
    """Dense vectors, compared by their cosine."""

    def __init__(self, read: WordVectors) -> None:
        self._vectors = read.vectors
        self._norms = np.maximum(np.linalg.norm(read.vectors, axis=1), 1e-12)
        self._rows = {word: row for row, word in enumerate(read.words)}

    def __contains__(self, word: object) -> bool:
        return word in self._rows

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words' vectors."""
        i, j = self._rows[a], self._rows[b]
        return float(self._vectors[i] @ self._vectors[j] / (self._norms[i] * self._norms[j]))


def read_similarity(path: str | Path) -> list[tuple[str, str, float]]:
    r"""Read pairs of words with a score.

    FormatError if a line is not two words and a number, or there is none.

    Examples
    --------
    >>> file = getfixture("tmp_path") / "pairs.txt"
    >>> _ = file.write_text("tiger\tcat\t7.35\n", encoding="utf-8")
    >>> read_similarity(file)
    [('tiger', 'cat', 7.35)]
    """
    path = Path(path)
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        words = [field.strip() for field in fields[:2]]
        scores = list(filter(_NUMBER.fullmatch, fields[2:]))
        if len(words) == 2 and all(words) and scores:
            pairs.append((words[0], words[1], float(scores[0])))
        elif number > 1:
            raise FormatError(
                f"a judgement must be two words and a score. Got {line.rstrip()[:60]!r}.",
                file=path,
                line=number,
            )
    if not pairs:
        raise FormatError("there are no judgements in it.", file=path)
    return pairs


def known_form(vectors: Any, word: str) -> str | None:
    """A word with a vector: as it is written, or as a text's words are folded."""
    folded = [token for sentence in split_words(word) for token in sentence]
    forms = [word, *folded] if len(folded) == 1 else [word]
    return next((form for form in forms if form in vectors), None)


def rank_correlations(a: Floats, b: Floats) -> Floats:
    """Spearman's correlation of each row: arrays (R, n) to (R,), NaN where a row is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(array, axis=1) for array in (a, b)]
    x, y = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norms = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    correlations = np.full(len(x), np.nan)
    np.divide((x * y).sum(axis=1), norms, out=correlations, where=norms > 0)
    return correlations


def _similarity(vectors: Any, a: str, b: str) -> float:
    words = known_form(vectors, a), known_form(vectors, b)
    return np.nan if None in words else float(vectors.similarity(*words))
