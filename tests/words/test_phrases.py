"""Collocations, beside gensim's and by a literal port of its rule."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.words.phrases import PairCounts, join_phrases

SENTENCES = st.lists(st.lists(st.integers(-1, 4), min_size=1, max_size=9), min_size=1, max_size=9)


def flat(sentences):
    ids = np.array([token for sentence in sentences for token in sentence], np.int32)
    return ids, np.array([len(sentence) for sentence in sentences], np.int32)


def unflat(ids, lengths):
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


def joined_one_by_one(sentence, names, n_words):
    """Gensim's walk through a sentence."""
    out, start = [], None
    for token in sentence:
        if start is None:
            start = token
        elif start >= 0 and token >= 0 and start * n_words + token in names:
            out.append(names[start * n_words + token])
            start = None
        else:
            out.append(start)
            start = token
    return out if start is None else [*out, start]


@given(st.lists(SENTENCES, max_size=4))
def test_pairs_are_counted_within_sentences_over_all_pieces(pieces):
    pairs, words, expected = PairCounts(5), Counter(), Counter()
    for sentences in pieces:
        pairs.add(*flat(sentences))
        words.update(id for sentence in sentences for id in sentence if id >= 0)
        expected.update(
            first * 5 + second
            for sentence in sentences
            for first, second in pairwise(sentence)
            if first >= 0 and second >= 0
        )
    assert dict(zip(pairs.pairs.tolist(), pairs.counts.tolist(), strict=True)) == expected
    assert (np.diff(pairs.pairs) > 0).all()
    assert pairs.word_counts.tolist() == [words[id] for id in range(5)]


def test_a_full_table_of_pairs_forgets_the_rarest():
    pairs = PairCounts(10, max_pairs=2)
    pairs.add(*flat([[0, 1], [0, 1], [0, 1], [2, 3], [4, 5], [4, 5]]))
    assert pairs.pairs.tolist() == [1, 45]
    assert pairs.counts.tolist() == [3, 2]


@given(SENTENCES, st.sets(st.integers(0, 24)))
def test_phrases_are_joined_as_one_by_one(sentences, phrases):
    names = {pair: 5 + i for i, pair in enumerate(sorted(phrases))}
    array = np.array(sorted(phrases), np.int64)
    ids, lengths = join_phrases(
        *flat(sentences), array, np.arange(5, 5 + len(array), dtype=np.int32), 5
    )
    assert unflat(ids, lengths) == [joined_one_by_one(s, names, 5) for s in sentences]


@pytest.mark.parametrize("threshold", [1.0, 3.0])
def test_phrases_equal_gensims(threshold):
    gensim = pytest.importorskip("gensim.models.phrases", reason="needs the extra bench")
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, 41)
    sentences = [
        [f"w{i}" for i in rng.choice(40, rng.integers(1, 30), p=chances / chances.sum())]
        for _ in range(500)
    ]
    for sentence in sentences[::5]:
        sentence[len(sentence) // 2 : len(sentence) // 2] = ["new", "york", "city"]
    theirs = gensim.Phrases(sentences, min_count=3, threshold=threshold)
    expected = [theirs[sentence] for sentence in sentences]

    words = list(dict.fromkeys(word for sentence in sentences for word in sentence))
    id_of = {word: i for i, word in enumerate(words)}
    ids, lengths = flat([[id_of[word] for word in sentence] for sentence in sentences])
    pairs = PairCounts(len(words))
    pairs.add(ids, lengths)
    phrases = pairs.phrases(3, threshold)
    first, second = np.divmod(phrases, len(words))
    names = words + [f"{words[a]}_{words[b]}" for a, b in zip(first, second, strict=True)]
    new = np.arange(len(words), len(names), dtype=np.int32)
    joined = unflat(*join_phrases(ids, lengths, phrases, new, len(words)))
    assert [[names[i] for i in sentence] for sentence in joined] == expected
    assert "new_york" in names
    assert 0 < len(phrases) < len(pairs.pairs)
