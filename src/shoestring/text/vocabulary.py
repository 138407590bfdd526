"""Counting words in bounded memory, and which of them make the vocabulary.

Not covered: document frequencies, which whoever knows the documents turns into ``excluded``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shoestring.errors import ParameterError
from shoestring.text.tokens import MAX_TOKEN_CHARS

MAX_WORDS = 1_000_000
"""Different words that are counted before the rarest are forgotten: about 150 MB."""


class WordCounts:
    """How often each word occurs, for at most ``max_words`` different words.

    When there are more, the words that occurred at most once are forgotten, then at most twice, and
    so on until they fit. A word that comes back starts anew, so its count is never too high.

    Examples
    --------
    >>> counts = WordCounts(max_words=2)
    >>> counts.add({"the": 9, "cat": 2, "sat": 1})
    >>> counts.counts
    {'the': 9, 'cat': 2}
    """

    def __init__(self, max_words: int = MAX_WORDS) -> None:
        self.counts: dict[str, int] = {}
        self._max_words = max_words

    def add(self, counts: Mapping[str, int]) -> None:
        """Add the counts of one more piece of text."""
        known = self.counts
        for word, count in counts.items():
            known[word] = known.get(word, 0) + count
        forgotten = 0
        while len(self.counts) > self._max_words:
            forgotten += 1
            self.counts = {w: n for w, n in self.counts.items() if n > forgotten}


def choose_vocabulary(
    counts: Mapping[str, int],
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
    excluded: Collection[str] = (),
    skip_top: int = 0,
) -> list[str]:
    """The words of a vocabulary, the most frequent first; equal counts by their code points.

    Left out are words that occur less than ``min_count`` times, the ``skip_top`` most frequent
    (``excluded`` or not), those excluded, empty ones and those above ``MAX_TOKEN_CHARS``
    characters. ParameterError if no word is left.

    Examples
    --------
    >>> choose_vocabulary({"b": 2, "a": 2, "the": 9, "rare": 1}, min_count=2, skip_top=1)
    ['a', 'b']
    """
    often = [word for word, count in counts.items() if count >= min_count]
    often.sort(key=lambda word: (-counts[word], word))
    words = [
        word
        for word in often[skip_top:]
        if word not in excluded and 0 < len(word) <= MAX_TOKEN_CHARS
    ]
    if not words and often:
        raise ParameterError(
            "The vocabulary is empty: every word that occurs often enough is left out. Skip fewer "
            "words, or raise max_share."
        )
    if not words:
        top, n_most = max(counts.items(), key=lambda item: item[1], default=("", 0))
        raise ParameterError(
            f"The 'min_count' parameter must let some words pass. Got {min_count}, but the most "
            f"frequent word, {top!r}, occurs {n_most} times. Lower min_count or give more text."
        )
    return words[:vocab_size]
