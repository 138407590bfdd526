r"""A text as symbols, the units that pseudonymised text has a number for.

"characters": each character, a run of white space as one blank; for Chinese. "words": runs of
letters and digits, and every other character that is no white space, each; for English. "integers":
pseudonymised text, numbers between blanks. All are in lower case, as pretrained models read them.

Not covered: what the white space between words was, capital letters, accents apart from letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shoestring.errors import ParameterError

UNITS = ("characters", "words", "integers")
_WORD = re.compile(r"\w+|[^\w\s]")
_INTEGER = re.compile(r"[0-9]+")
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PART = re.compile(r"\w+(?: +\w+)*")
_LETTERS = re.compile(r"[^\W\d_]+")


def split_symbols(text: str, unit: str) -> list[str]:
    """The symbols of a text; ParameterError if one of integers has something else.

    Examples
    --------
    >>> split_symbols("打开 WiFi", "characters")
    ['打', '开', ' ', 'w', 'i', 'f', 'i']
    >>> split_symbols("Don't panic!", "words")
    ['don', "'", 't', 'panic', '!']
    """
    if unit == "words":
        return _WORD.findall(text.lower())
    if unit == "characters":
        return list(" ".join(text.lower().split()))
    symbols = text.split()
    if others := [symbol for symbol in symbols if not _INTEGER.fullmatch(symbol)]:
        hint = "Pseudonymise all texts, or none."
        raise ParameterError.of("texts", "match", "all text or all integers", others[0], hint)
    return symbols


def with_parts(texts: Iterable[str]) -> list[str]:
    """Public texts, each once, then their parts between punctuation marks, each once.

    Long public text is compared with short secret ones, whose edges are like those of the parts.

    Examples
    --------
    >>> with_parts(["Yes, of course.", "Yes, of course."])
    ['Yes, of course.', 'Yes', 'of course']
    """
    whole = list(dict.fromkeys(texts))
    return whole + list(dict.fromkeys(part for text in whole for part in _PART.findall(text)))


def unit_of(texts: Sequence[str]) -> str:
    """The unit that fits texts: what the first thousand of them are."""
    sample = "\n".join(texts[:1_000])
    symbols = sample.split()
    if symbols and all(map(_INTEGER.fullmatch, symbols)):
        return "integers"
    others, n_ideographs = _IDEOGRAPH.subn(" ", sample)
    return "characters" if n_ideographs > len(_LETTERS.findall(others)) else "words"
