r"""A text as symbols, the units that pseudonymised text has a number for.

"characters": each character, a run of white space as one blank; for Chinese. "words": runs of
letters and digits, and every other character that is no white space, each; for English. "integers":
pseudonymised text, numbers between blanks. All are in lower case, as pretrained models read them.

Not covered: what the white space between words was, capital letters, accents apart from letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from shoestring.checks import checked_choice, checked_str
from shoestring.errors import ParameterError

UNITS = ("characters", "words", "integers")
_WORD = re.compile(r"\w+|[^\w\s]")
_INTEGERS = re.compile(r"\s*\d{1,18}(?:\s+\d{1,18})*\s*\Z", re.ASCII)
_NO_INTEGER = re.compile(r"\S*[^\s\d]\S*", re.ASCII)
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PART = re.compile(r"\w+(?: +\w+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
_SAMPLE = 1_000  # texts by which the unit is chosen


def split_symbols(text: str, unit: str) -> list[str]:
    """The symbols of a text.

    Parameters
    ----------
    text : str
    unit : {"characters", "words", "integers"}

    Returns
    -------
    list of str

    Raises
    ------
    ParameterError
        If the text is no str, there is no such unit, or a text of integers has something else.

    Examples
    --------
    >>> split_symbols("打开 WiFi", "characters")
    ['打', '开', ' ', 'w', 'i', 'f', 'i']
    >>> split_symbols("Don't panic!", "words")
    ['don', "'", 't', 'panic', '!']
    """
    text = checked_str("text", text, "split_symbols")
    checked_choice("unit", unit, UNITS, "split_symbols")
    if unit == "characters":
        return list(" ".join(text.lower().split()))
    if unit == "words":
        return _WORD.findall(text.lower())
    if text.strip() and not _INTEGERS.match(text):
        found = _NO_INTEGER.search(text)
        hint = "Pseudonymise all texts, or none."
        got = found[0] if found else text
        raise ParameterError.of("texts", "match", "all text or all integers", got, hint)
    return text.split()


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
    """The unit that fits texts: what the first thousand of them are.

    Examples
    --------
    >>> unit_of(["12 5 239"]), unit_of(["怎么打开wifi"]), unit_of(["how do I open it"])
    ('integers', 'characters', 'words')
    """
    sample = [text for text in islice(texts, _SAMPLE) if text.strip()]
    if sample and all(map(_INTEGERS.match, sample)):
        return "integers"
    others, n_ideographs = _IDEOGRAPH.subn(" ", "\n".join(sample))
    return "characters" if n_ideographs > len(_LETTERS.findall(others)) else "words"
