"""Counting words in bounded memory, and the choice of a vocabulary."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.errors import ParameterError
from shoestring.text.vocabulary import WordCounts, choose_vocabulary

PIECES = st.lists(st.dictionaries(st.sampled_from("abcdefgh中"), st.integers(1, 5)), max_size=12)


@given(PIECES)
def test_counts_of_pieces_add_up_while_they_fit(pieces):
    counts, expected = WordCounts(max_words=9), Counter()
    for piece in pieces:
        counts.add(piece)
        expected.update(piece)
    assert counts.counts == expected


@given(PIECES, st.integers(1, 5))
def test_a_full_table_forgets_rare_words_and_never_counts_too_many(pieces, max_words):
    counts, expected = WordCounts(max_words), Counter()
    for piece in pieces:
        counts.add(piece)
        expected.update(piece)
        assert len(counts.counts) <= max_words
    for word, true in expected.items():
        assert counts.counts.get(word, 0) <= true


def test_the_most_frequent_words_come_first_and_ties_in_alphabetical_order():
    counts = {"b": 3, "中": 3, "a": 3, "the": 9, "rare": 1, "Z": 3}
    assert choose_vocabulary(counts, min_count=2) == ["the", "Z", "a", "b", "中"]
    assert choose_vocabulary(counts, vocab_size=2) == ["the", "Z"]
    assert choose_vocabulary(counts, skip_top=2, excluded={"a"}, vocab_size=2) == ["b", "中"]


def test_empty_and_endless_words_are_in_no_vocabulary():
    assert choose_vocabulary({"": 9, "x" * 256: 9, "x" * 255: 1}) == ["x" * 255]


def test_no_word_often_enough_names_the_most_frequent():
    with pytest.raises(ParameterError, match=r"Got 5, but the most frequent word, 'b', occurs 4 t"):
        choose_vocabulary({"a": 1, "b": 4}, min_count=5)


def test_every_word_left_out_is_said():
    with pytest.raises(ParameterError, match=r"every word that occurs often enough is left out"):
        choose_vocabulary({"a": 1, "b": 4}, excluded={"a"}, skip_top=1)
