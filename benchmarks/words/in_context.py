"""Words in their sentences, beside the same words alone: SCWS and WiC.

- **SCWS** (Huang et al., ACL 2012): Spearman's correlation with the mean score.
- **WiC** (Pilehvar & Camacho-Collados, NAACL 2019): the accuracy of "same meaning where the
  similarity is at least t"; t is chosen on WiC's training part.

Only pairs whose words are both known count, for both ways.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from shoestring import BinaryVectors
from shoestring.words.evaluate import known_form

STATIC, IN_CONTEXT = "static", "in context"
_MARKED = re.compile(r"<b>(.*?)</b>", re.DOTALL)
_HERE = "\ue000"  # stands for the word in its sentence; a token of its own in any script


@dataclass(frozen=True)
class Occurrence:
    """A word where it stands in a text; ``lemma`` is the word that was asked about."""

    before: str
    word: str
    after: str
    lemma: str


@dataclass(frozen=True)
class ContextPair:
    """Two words in their texts: how alike people find them, or whether they mean the same."""

    a: Occurrence
    b: Occurrence
    score: float


def scores(vectors: BinaryVectors, file: Path, tune_on: Path | None = None) -> dict[str, float]:
    """Spearman's correlation, or the accuracy with a threshold of another file, of both ways."""
    pairs = read_scws(file) if tune_on is None else read_wic(file)
    tuning = [] if tune_on is None else read_wic(tune_on)
    found = {}
    for way in (STATIC, IN_CONTEXT):
        values, judged = _similarities(vectors, pairs, way)
        if tune_on is None:
            found[way] = float(spearmanr(values, judged).statistic)
        else:
            threshold = best_threshold(*_similarities(vectors, tuning, way))
            found[way] = float(((values >= threshold) == judged).mean())
    return found


def read_scws(file: Path) -> list[ContextPair]:
    """Lines of id, word and part of speech twice, two texts with the word marked, the score."""
    pairs = []
    for line in _lines(file):
        fields = line.split("\t")
        texts = [_MARKED.split(text, maxsplit=1) for text in fields[5:7]]
        a, b = (
            Occurrence(before, word.strip(), after, lemma)
            for (before, word, after), lemma in zip(texts, (fields[1], fields[3]), strict=True)
        )
        pairs.append(ContextPair(a, b, float(fields[7])))
    return pairs


def read_wic(file: Path) -> list[ContextPair]:
    """Lines of word, part of speech, places i-j, two texts; T or F are in ``.gold.txt`` beside."""
    pairs = []
    answers = _lines(file.with_name(file.name.replace(".data.", ".gold.")))
    for line, answer in zip(_lines(file), answers, strict=True):
        lemma, _, places, *texts = line.split("\t")
        a, b = (
            _at(text, int(place), lemma)
            for text, place in zip(texts, places.split("-"), strict=True)
        )
        pairs.append(ContextPair(a, b, float(answer == "T")))
    return pairs


def best_threshold(values: np.ndarray, same: np.ndarray) -> float:
    """The t for which "same where the value is at least t" is right most often.

    Half way between two values; of several that are equally good the middle one.
    """
    levels, same = np.unique(values), same > 0
    cuts = np.concatenate([[levels[0] - 1], (levels[1:] + levels[:-1]) / 2, [levels[-1] + 1]])
    n_same = np.searchsorted(np.sort(values[same]), cuts)  # wrongly below each cut
    n_other = (~same).sum() - np.searchsorted(np.sort(values[~same]), cuts)  # wrongly above
    wrong = n_same + n_other
    best = np.flatnonzero(wrong == wrong.min())
    return float(cuts[best[len(best) // 2]])


def _similarities(
    vectors: BinaryVectors, pairs: list[ContextPair], way: str
) -> tuple[np.ndarray, np.ndarray]:
    """The similarity and the judgement of each pair whose words are both known."""
    found, judged = [], []
    for pair in pairs:
        words = [_known(vectors, at) for at in (pair.a, pair.b)]
        if None in words:
            continue
        if way == STATIC:
            found.append(vectors.similarity(*words))
        else:
            codes = [vectors.in_context(*tokens_of(vectors, at)) for at in (pair.a, pair.b)]
            found.append(vectors.similarity(*codes))
        judged.append(pair.score)
    return np.array(found), np.array(judged)


def _known(vectors: BinaryVectors, at: Occurrence) -> str | None:
    forms = (known_form(vectors, form) for form in (at.word, at.lemma))
    return next(filter(None, forms), None)


def tokens_of(vectors: BinaryVectors, at: Occurrence) -> tuple[list[str], int]:
    """The sentence of an occurrence as tokens, and the position of the word in it."""
    word = _known(vectors, at)
    for tokens in vectors.sentences(f"{at.before} {_HERE} {at.after}"):
        if _HERE in tokens:
            position = tokens.index(_HERE)
            return [*tokens[:position], word, *tokens[position + 1 :]], position
    raise AssertionError("the mark is a token, so it is in a sentence")


def _at(text: str, place: int, lemma: str) -> Occurrence:
    tokens = text.split()
    before, after = " ".join(tokens[:place]), " ".join(tokens[place + 1 :])
    return Occurrence(before, tokens[place], after, lemma)


def _lines(file: Path) -> list[str]:
    data = file.read_bytes()
    text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
    return [line for line in text.split("\n") if line.strip()]
