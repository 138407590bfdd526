r"""Collocations: pairs of words that follow each other more often than chance has it.

Words a and b make a phrase where

    (count(a b) - min_count) * N / (count(a) * count(b)) > threshold

with N the number of different words plus the number of different pairs: gensim's default
(``Phrases`` of gensim 4; Mikolov et al., 2013, arXiv:1310.4546, equation 6, has no N). In a
sentence, phrases are joined from the left, and a word is in one phrase at most, as in gensim.

What differs from gensim: pairs across the end of a sentence never count; the table of pairs forgets
the rarest pairs above :data:`MAX_PAIRS`.

Arrays in, arrays out. Letters: T tokens, S sentences, P pairs. A pair is one integer, the first
word's id times ``n_words`` plus the second's; an id of -1 is in no pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoestring.types import IntArray

Ids = NDArray[np.int32]

MAX_PAIRS = 1 << 23
"""Different pairs that are counted before the rarest are forgotten: 128 MB."""


class PairCounts:
    """How often words and pairs of words occur, for at most ``max_pairs`` different pairs.

    Ids are below ``n_words``. Above ``max_pairs`` the pairs that occurred at most once are
    forgotten, then at most twice, and so on.
    """

    def __init__(self, n_words: int, max_pairs: int = MAX_PAIRS) -> None:
        self.n_words = n_words
        self.pairs: IntArray = np.empty(0, np.int64)  # (P,): ascending
        self.counts: IntArray = np.empty(0, np.int64)
        self.word_counts: IntArray = np.zeros(n_words, np.int64)
        self._max_pairs = max_pairs

    def add(self, ids: Ids, lengths: Ids) -> None:
        """Count the words and pairs of S sentences, one after the other: lengths (S,) sum to T."""
        self.word_counts += np.bincount(ids[ids >= 0], minlength=self.n_words)
        codes = (ids[:-1].astype(np.int64) * self.n_words + ids[1:])[_pairs_inside(ids, lengths)]
        found, n_found = np.unique(codes, return_counts=True)
        pairs = np.concatenate([self.pairs, found])
        counts = np.concatenate([self.counts, n_found])
        order = np.argsort(pairs, kind="stable")  # two sorted runs: a merge
        pairs = pairs[order]
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        self.pairs = pairs[starts]
        self.counts = np.add.reduceat(counts[order], starts) if len(starts) else counts
        forgotten = 0
        while len(self.pairs) > self._max_pairs:
            forgotten += 1
            kept = self.counts > forgotten
            self.pairs, self.counts = self.pairs[kept], self.counts[kept]

    def phrases(self, min_count: int, threshold: float) -> IntArray:
        """The pairs that are phrases by the formula above, ascending."""
        n_different = np.count_nonzero(self.word_counts) + len(self.pairs)
        first, second = np.divmod(self.pairs, self.n_words)
        chance = self.word_counts[first].astype(np.float64) * self.word_counts[second]
        score = (self.counts - min_count) / chance * n_different
        return self.pairs[score > threshold]


def join_phrases(
    ids: Ids, lengths: Ids, phrases: IntArray, phrase_ids: Ids, n_words: int
) -> tuple[Ids, Ids]:
    """Replace the pairs that are phrases by one token each, from the left of every sentence.

    Ids and lengths are as :meth:`PairCounts.add` takes them; phrases (P,) are pairs, ascending,
    phrase_ids (P,) what replaces each. Returns the new ids (T',) and lengths (S,).

    Examples
    --------
    >>> ids, lengths = np.array([0, 1, 1, 2, 0, 1], np.int32), np.array([4, 2], np.int32)
    >>> phrases, names = np.array([0 * 3 + 1, 1 * 3 + 1]), np.array([7, 8], np.int32)
    >>> join_phrases(ids, lengths, phrases, names, 3)
    (array([7, 1, 2, 7], dtype=int32), array([3, 1], dtype=int32))
    """
    index = _phrase_starts(ids, lengths, phrases, n_words)
    is_phrase = index >= 0
    # Of a b c with the phrases a b and b c, the first wins: every second one of a run is taken.
    position = np.arange(len(index))
    run_starts = is_phrase & ~np.concatenate([[False], is_phrase[:-1]])
    in_run = position - np.maximum.accumulate(np.where(run_starts, position, 0))
    taken = is_phrase & (in_run % 2 == 0)
    # The first word of a phrase becomes the phrase, the second goes.
    joined = ids.copy()
    joined[:-1][taken] = phrase_ids[index[taken]]
    kept = np.concatenate([[True] * min(1, len(ids)), ~taken])
    ends = np.concatenate([[0], np.cumsum(kept)])[np.cumsum(lengths)]
    return joined[kept], np.diff(ends, prepend=0).astype(np.int32)


def _phrase_starts(ids: Ids, lengths: Ids, phrases: IntArray, n_words: int) -> IntArray:
    """The index of the phrase that starts at each token but the last, (T - 1,); -1 for none."""
    first, second = np.divmod(phrases, n_words)
    starts, follows = np.zeros(n_words + 1, np.bool_), np.zeros(n_words + 1, np.bool_)
    starts[first], follows[second] = True, True  # the entry at the end is for the id -1
    maybe = np.flatnonzero(starts[ids[:-1]] & follows[ids[1:]] & _pairs_inside(ids, lengths))
    pairs = ids[maybe].astype(np.int64) * n_words + ids[maybe + 1]
    found = np.minimum(np.searchsorted(phrases, pairs), max(0, len(phrases) - 1))
    hit = phrases[found] == pairs
    index = np.full(max(0, len(ids) - 1), -1, np.int64)
    index[maybe[hit]] = found[hit]
    return index


def _pairs_inside(ids: Ids, lengths: Ids) -> NDArray[np.bool_]:
    """Which tokens but the last make a pair with the next one, (T - 1,)."""
    inside = (ids[:-1] >= 0) & (ids[1:] >= 0)
    inside[(np.cumsum(lengths) - 1)[:-1]] = False
    return inside
