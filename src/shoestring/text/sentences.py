"""Where the first sentence of a text ends, in English and Chinese.

A sentence ends at ``。！？｡．`` (with the closing quotes that follow), at ``. ! ?`` before white
space unless an abbreviation or an initial stands before the full stop or a small letter follows,
and at an empty line. No dictionary and no model: a text without punctuation is one sentence.
"""

from __future__ import annotations

import re

_CLOSING = "\"'”’»)）\\]】」』》"
_END = re.compile(rf"(?P<blank>\n[ \t]*\n)|[。！？｡．]+[{_CLOSING}]*|[.!?]+[{_CLOSING}]*(?=\s|$)")
_ABBREVIATIONS = frozenset(
    (
        *("e.g", "i.e", "cf", "vs", "viz", "al", "approx", "resp", "ca", "fig", "eq", "sec", "ch"),
        *("vol", "ed", "eds", "no", "nr", "pp", "st", "mr", "mrs", "ms", "dr", "prof", "jr", "sr"),
        *("inc", "ltd", "co", "corp", "u.s", "u.k", "a.m", "p.m"),
    )
)


def first_sentence(text: str) -> str:
    """The first sentence of a text, white space made single.

    Parameters
    ----------
    text : str
        Any text; leading white space does not count.

    Returns
    -------
    str
        Empty only if the text is empty or white space.

    Examples
    --------
    >>> first_sentence("Use a mapping, e.g. a dict. It is fast.")
    'Use a mapping, e.g. a dict.'
    >>> first_sentence("怎样打开文件？先看文档。")
    '怎样打开文件？'
    """
    return split_first_sentence(text)[0]


def split_first_sentence(text: str) -> tuple[str, str]:
    r"""The first sentence, white space made single, and the rest of the text as it stands.

    Examples
    --------
    >>> split_first_sentence("Return the\n    count.  Raises nothing.")
    ('Return the count.', 'Raises nothing.')
    """
    text = text.strip()
    for end in _END.finditer(text):
        if end["blank"] is not None or _ends_sentence(text, end):
            return " ".join(text[: end.end()].split()), text[end.end() :].strip()
    return " ".join(text.split()), ""


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    """Whether a candidate is the end and no abbreviation; a blank line always is."""
    if not end[0].startswith(".") or end.end() == len(text):
        return True
    following = text[end.end() : end.end() + 200].lstrip()
    if following[:1].islower():
        return False
    before = text[max(0, end.start() - 40) : end.start()].split()
    word = before[-1].lstrip("([{\"'“‘").lower() if before else ""
    initial = len(word) == 1 and word.isalpha() and word != "i"
    return not (initial or word in _ABBREVIATIONS)
