"""Sentences of words, in every script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.errors import ParameterError
from shoestring.text.segmentation import Lexicon, split_words
from shoestring.text.sentences import split_sentences

MIXED = st.text(alphabet='abZ. \n。！?"Ae.g中国人é0９٣_-ß\u3099か\u0e01\u0e34\u200b')


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("The cat sat. It SLEPT!", [["the", "cat", "sat"], ["it", "slept"]]),
        ("it's e-mail, snake_case", [["it", "s", "e", "mail", "snake", "case"]]),
        ("In 1984 a 3D café", [["in", "<num>", "a", "<num>", "café"]]),
        ("In 1984 a 3D cafe", [["in", "<num>", "a", "<num>", "cafe"]]),
        ("٣ मील १२", [["<num>", "मील", "<num>"]]),
        ("怎样打开？先看。", [["怎", "样", "打", "开"], ["先", "看"]]),
        ("用Python 3打印3D模型", [["用", "python", "<num>", "打", "印", "<num>", "模", "型"]]),
        ("ＡＢＣ Straße ΟΔΟΣ", [["abc", "straße", "οδος"]]),
        ("二〇二一年", [["二", "〇", "二", "一", "年"]]),
        ("กินข้าว", [["กิ", "น", "ข้", "า", "ว"]]),
        ("か\u3099く", [["が", "く"]]),
        ("co\u00adoperate", [["cooperate"]]),
        ("İ\u0332", [["i\u0332"]]),
        ("... --- !!! 。。。", []),
        ("", []),
    ],
)
def test_sentences_of_words(text, sentences):
    assert split_words(text) == sentences


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_words_in_ascii_equal_the_general_path(text):
    assert split_words(f"né. Zz\n\n{text}")[2:] == split_words(text)


@given(MIXED | st.text())
def test_words_are_folded_and_hold_no_blank_no_digit_and_no_sign(text):
    for word in (word for sentence in split_words(text) for word in sentence):
        assert word == "<num>" or all(
            unicodedata.category(c)[0] in "LMN" or unicodedata.category(c) == "Co" for c in word
        )
        assert not any(unicodedata.category(c) == "Nd" for c in word)
        assert word == "<num>" or word == unicodedata.normalize("NFKC", word)


@given(MIXED)
def test_every_sentence_of_the_text_is_one_of_words_if_it_has_any(text):
    one_by_one = [words for part in split_sentences(text) for words in split_words(part)]
    assert split_words(text) == one_by_one


def test_segmented_text_is_taken_as_it_is():
    text = "我 爱 北京 。 你 呢\n\nThe CAT's 3 mats .\n12 4031 77"
    assert split_words(text, segmented=True) == [
        ["我", "爱", "北京", "。", "你", "呢"],
        ["The", "CAT's", "3", "mats", "."],
        ["12", "4031", "77"],
    ]


def test_a_lexicon_keeps_the_longest_word_from_the_left():
    lexicon = Lexicon(["北京", "北京大学", "大学生", "大学", "ＡＢ", "生活"])
    assert split_words("北京大学生活动,北京人", lexicon=lexicon) == [
        ["北京大学", "生活", "动", "北京", "人"]
    ]


def test_a_lexicon_leaves_thai_marks_with_their_characters():
    assert split_words("กินข้าว", lexicon=Lexicon(["ข้าว"])) == [["กิ", "น", "ข้าว"]]


@given(MIXED, st.lists(st.text(alphabet="中国人か", min_size=1, max_size=3)))
def test_a_lexicon_loses_no_character(text, words):
    whole = ["".join(words) for words in split_words(text, lexicon=Lexicon(words))]
    assert whole == ["".join(words) for words in split_words(text)]


@given(MIXED)
def test_a_lexicon_without_words_changes_nothing(text):
    assert split_words(text, lexicon=Lexicon([])) == split_words(text)


def test_a_lexicon_for_segmented_text_is_refused():
    with pytest.raises(ParameterError, match=r"'lexicon' .* must be None where the text is segm"):
        split_words("a b", segmented=True, lexicon=Lexicon(["中国"]))


def test_a_str_is_no_list_of_words():
    with pytest.raises(ParameterError, match=r"words, not one str. Got '中国'"):
        Lexicon("中国")
