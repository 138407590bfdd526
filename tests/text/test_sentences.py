"""First sentences, in both languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.text.sentences import split_first_sentence, split_sentences


@pytest.mark.parametrize(
    ("text", "first", "rest"),
    [
        ("Open a file. Then read.", "Open a file.", "Then read."),
        ("Return the\n  count.\n\nRest.", "Return the count.", "Rest."),
        ("Title without a stop\n\nThe body.", "Title without a stop", "The body."),
        ("Use e.g. Ada or C++. Done.", "Use e.g. Ada or C++.", "Done."),
        ("Ask Dr. Who (cf. Smith). Yes.", "Ask Dr. Who (cf. Smith).", "Yes."),
        ("By J. R. Smith. It is old.", "By J. R. Smith.", "It is old."),
        ("So do I. You too.", "So do I.", "You too."),
        ("Needs Python 3.11 or os.path here. Ok.", "Needs Python 3.11 or os.path here.", "Ok."),
        ("Really?! Yes.", "Really?!", "Yes."),
        ('He said "stop." Then left.', 'He said "stop."', "Then left."),
        ("怎样打开文件？先看文档。", "怎样打开文件？", "先看文档。"),
        ("他说：“好。”然后走了。", "他说：“好。”", "然后走了。"),
        ("没有标点的标题", "没有标点的标题", ""),
        ("  \n ", "", ""),
    ],
)
def test_the_first_sentence_and_the_rest(text, first, rest):
    assert split_first_sentence(text) == (first, rest)


@given(st.text(alphabet='ab. \n。！?"”Ae.g'))
def test_no_character_is_lost_in_the_split(text):
    first, rest = split_first_sentence(text)
    assert "".join((first + rest).split()) == "".join(text.split())
    assert bool(first) == bool(text.strip())


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Open a file. Then read.", ["Open a file.", "Then read."]),
        ("One!  Two?\nThree... four", ["One!", "Two?", "Three... four"]),
        ("A title\n\nThe body\nof Dr. Who.", ["A title", "The body\nof Dr. Who."]),
        ("怎样打开文件？先看文档。没有标点", ["怎样打开文件？", "先看文档。", "没有标点"]),
        ("他说：“好。”然后 he left. 完", ["他说：“好。”", "然后 he left.", "完"]),
        ("好。A. ?", ["好。", "A. ?"]),
        ("\n\n \n\n", []),
        ("", []),
    ],
)
def test_all_sentences_of_a_text(text, sentences):
    assert split_sentences(text) == sentences


@given(st.text(alphabet='ab. \n。！?"”Ae.g'))
def test_all_sentences_are_the_first_one_again_and_again(text):
    expected, rest = [], text.strip()
    while rest:
        first, rest = split_first_sentence(rest)
        expected.append(first)
    assert [" ".join(sentence.split()) for sentence in split_sentences(text)] == expected
