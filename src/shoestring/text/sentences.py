"""Where the sentences of a text end, in English and Chinese.

A sentence ends at ``。！？｡．`` (with the closing quotes that follow), at ``. ! ?`` before white
space, and at an empty line. A full stop after an abbreviation or an initial, or before a small
letter, ends none. No dictionary and no model: a text without punctuation is one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from shoestring.checks import checked_str

_CLOSING = "\"'”’»)）\\]】」』》"
_END = re.compile(  # one set of first characters: three times as fast as three alternatives
    r"[\n。！？｡．.!?](?:(?<=\n)[ \t]*\n"
    rf"|(?<=[。！？｡．])[。！？｡．]*[{_CLOSING}]*|(?<=[.!?])[.!?]*[{_CLOSING}]*(?=\s|$))"
)
_AT_ONCE = re.compile(r"[。！？｡．]|\n[ \t]*\n")  # ends a sentence whatever follows
_NEXT = re.compile(r"\s*(\S)")
_ABBREVIATIONS = frozenset(
    (
        *("e.g", "i.e", "cf", "vs", "viz", "al", "approx", "resp", "ca", "fig", "eq", "sec", "ch"),
        *("vol", "ed", "eds", "no", "nr", "pp", "st", "mr", "mrs", "ms", "dr", "prof", "jr", "sr"),
        *("inc", "ltd", "co", "corp", "u.s", "u.k", "a.m", "p.m"),
    )
)


def split_first_sentence(text: str) -> tuple[str, str]:
    r"""The first sentence, with single blanks for white space, and the rest of the text unchanged.

    Examples
    --------
    >>> split_first_sentence("Use a mapping, e.g.\n    a dict.  It is fast.")
    ('Use a mapping, e.g. a dict.', 'It is fast.')
    >>> split_first_sentence("怎样打开文件？先看文档。")
    ('怎样打开文件？', '先看文档。')
    """
    text = checked_str("text", text, "split_first_sentence").strip()
    end = next(sentence_ends(text), len(text))
    return " ".join(text[:end].split()), text[end:].strip()


def split_sentences(text: str) -> list[str]:
    """All sentences of a text, stripped of the white space around them.

    Parameters
    ----------
    text : str
        A single line feed is white space, an empty line ends a sentence.

    Returns
    -------
    list of str
        Without empty ones; nothing but white space is lost.

    Notes
    -----
    Cost: about 4 microseconds for an English sentence of 20 words.

    Examples
    --------
    >>> split_sentences("Ask Dr. Who. He knows!  Really")
    ['Ask Dr. Who.', 'He knows!', 'Really']
    >>> split_sentences("他说：“好。”然后走了。")
    ['他说：“好。”', '然后走了。']
    """
    checked_str("text", text, "split_sentences")
    cuts = [0, *sentence_ends(text), len(text)]
    sentences = (text[start:end].strip() for start, end in pairwise(cuts))
    return [sentence for sentence in sentences if sentence]


def sentence_ends(text: str) -> Iterator[int]:
    """The positions where sentences end; the last one may lack an end.

    Examples
    --------
    >>> list(sentence_ends("One. Two! Three"))
    [4, 9]
    """
    for candidate in _END.finditer(text):
        start, stop = candidate.span()
        if text[start] != "." or _full_stop_ends(text, start, stop):
            yield stop


def _full_stop_ends(text: str, start: int, stop: int) -> bool:
    """Whether the full stop at ``start`` ends a sentence, not just an abbreviation."""
    following = _NEXT.match(text, stop)
    if following is None:
        return True
    if following[1].islower():
        return False
    before = _AT_ONCE.split(text[max(0, start - 40) : start])[-1].rsplit(None, 1)
    word = before[-1].lstrip("([{“‘" + _CLOSING).lower() if before else ""
    initial = len(word) == 1 and word.isalpha() and word != "i"
    return not (initial or word in _ABBREVIATIONS)
