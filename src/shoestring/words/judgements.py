"""What people judged: pairs of words, and pairs of words in sentences, read from the usual files.

- **Similarity** (WordSim-353, SimLex-999, MEN, RW, COS960, ...): two words and a score on a line,
  between tabs or blanks; the score is the first number after the words, what follows is passed
  over, and so are lines with ``#`` in front and a header.
- **SCWS** (Huang et al., ACL 2012): between tabs an id, word and part of speech twice, two texts
  with ``<b> word </b>`` in them, the mean score, the single scores.
- **WiC** (Pilehvar & Camacho-Collados, NAACL 2019): between tabs a word, its part of speech, the
  places ``i-j`` of the word in two texts of tokens between blanks, the texts; ``name.data.txt`` has
  the answers, T or F, line by line in ``name.gold.txt`` beside it.

All may be gzip'd.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from shoestring.errors import FormatError
from shoestring.text.files import check_readable, decoded_lines, open_unpacked

_MARKED = re.compile(r"<b>(.*?)</b>", re.DOTALL)
_PLACES = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True, slots=True)
class WordPair:
    """Two words and how alike people find them."""

    a: str
    b: str
    score: float


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A word where it stands in a text.

    Parameters
    ----------
    before, word, after : str
        Together the text; ``word`` as it is written there.
    lemma : str
        The word that was asked about.
    """

    before: str
    word: str
    after: str
    lemma: str


@dataclass(frozen=True, slots=True)
class ContextPair:
    """Two words in their texts: how alike people find them, or whether they mean the same."""

    a: Occurrence
    b: Occurrence
    score: float | bool


_Pair = TypeVar("_Pair", WordPair, ContextPair)


def read_similarity(path: str | Path) -> list[WordPair]:
    r"""Read pairs of words with a score.

    Raises
    ------
    StorageError
        If the file is missing or may not be read.
    FormatError
        If a line is not two words and a number, or there is none: file and line.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "pairs.txt"
    ...     _ = file.write_text("tiger\tcat\t7.35\n", encoding="utf-8")
    ...     read_similarity(file)
    [WordPair(a='tiger', b='cat', score=7.35)]
    """
    path = Path(path)
    pairs = []
    for number, line in _lines(path):
        fields = line.split("\t") if "\t" in line else line.split()
        words = [field.strip() for field in fields[:2]]
        scores = [score for field in fields[2:] if (score := _number(field)) is not None]
        if len(words) == 2 and all(words) and scores:
            pairs.append(WordPair(words[0], words[1], scores[0]))
        elif number > 1:
            raise FormatError(
                f"a judgement must be two words and a score. Got {_excerpt(line)}.",
                file=path,
                line=number,
            )
    return _some(pairs, path)


def read_in_context(path: str | Path) -> list[ContextPair]:
    """Read pairs of words in sentences, SCWS's or WiC's.

    Returns
    -------
    list of ContextPair
        With numbers as scores (SCWS), or truths (WiC).

    Raises
    ------
    StorageError
        If the file, or the answers of WiC, are missing.
    FormatError
        If a line is neither: file and line.
    """
    path = Path(path)
    pairs: list[ContextPair] = []
    answers: list[str] = []
    for number, line in _lines(path):
        fields = line.split("\t")
        if len(fields) == 5 and _PLACES.fullmatch(fields[2]):
            answers = answers or _wic_answers(path)
            pair = _wic_pair(fields, answers[len(pairs)] if len(pairs) < len(answers) else "")
        else:
            pair = _scws_pair(fields) if not answers else None
        if pair is None:
            raise FormatError(
                "neither a line of SCWS (id, word, part of speech, word, part of speech, two texts "
                "with <b> word </b>, score) nor of WiC (word, part of speech, i-j, two texts, and "
                f"T or F in the .gold.txt beside it). Got {_excerpt(line)}.",
                file=path,
                line=number,
            )
        pairs.append(pair)
    if answers and len(answers) != len(pairs):
        raise FormatError(
            f"{len(pairs)} pairs, but {len(answers)} answers in the .gold.txt.", file=path
        )
    return _some(pairs, path)


def _scws_pair(fields: list[str]) -> ContextPair | None:
    score = _number(fields[7]) if len(fields) >= 8 else None
    if score is None:
        return None
    a, b = _marked(fields[5], fields[1]), _marked(fields[6], fields[3])
    return None if a is None or b is None else ContextPair(a, b, score)


def _marked(text: str, lemma: str) -> Occurrence | None:
    parts = _MARKED.split(text, maxsplit=1)
    if len(parts) != 3 or not parts[1].strip():
        return None
    return Occurrence(parts[0], parts[1].strip(), parts[2], lemma)


def _wic_pair(fields: list[str], answer: str) -> ContextPair | None:
    lemma, _, places, first, second = fields
    place_a, place_b = map(int, places.split("-"))
    a, b = _at(first, place_a, lemma), _at(second, place_b, lemma)
    if a is None or b is None or answer not in ("T", "F"):
        return None
    return ContextPair(a, b, answer == "T")


def _at(text: str, place: int, lemma: str) -> Occurrence | None:
    tokens = text.split()
    if place >= len(tokens):
        return None
    before, after = " ".join(tokens[:place]), " ".join(tokens[place + 1 :])
    return Occurrence(before, tokens[place], after, lemma)


def _wic_answers(path: Path) -> list[str]:
    gold = path.with_name(path.name.replace(".data.", ".gold."))
    if gold == path:
        raise FormatError(
            "the pairs of WiC have their answers in a second file: name.data.txt has them in "
            "name.gold.txt beside it. Rename the two files so.",
            file=path,
        )
    return [line.strip() for _, line in _lines(gold)]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank and no comment, with their numbers."""
    check_readable(path)
    with open_unpacked(path, path.suffix == ".gz") as stream:
        for number, line in enumerate(decoded_lines(stream, str(path)), start=1):
            if line.strip() and not line.startswith("#"):
                yield number, line.rstrip("\r\n")


def _number(field: str) -> float | None:
    try:
        number = float(field)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _excerpt(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}...")


def _some(pairs: list[_Pair], path: Path) -> list[_Pair]:
    if not pairs:
        raise FormatError("there are no judgements in it.", file=path)
    return pairs
