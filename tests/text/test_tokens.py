"""Tokens of every script, and their way through FTS5."""

from __future__ import annotations

import sqlite3
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.text.tokens import FTS5_TOKENIZER, MAX_TOKEN_CHARS, tokenize


def through_fts5(documents: list[list[str]]) -> list[list[str]]:
    """The tokens that FTS5 makes of documents whose tokens are joined by spaces."""
    with sqlite3.connect(":memory:") as db:
        db.execute(f'CREATE VIRTUAL TABLE t USING fts5(body, tokenize="{FTS5_TOKENIZER}")')
        db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(t, 'instance')")
        rows = [(i, " ".join(tokens)) for i, tokens in enumerate(documents)]
        db.executemany("INSERT INTO t(rowid, body) VALUES (?, ?)", rows)
        found: list[list[str]] = [[] for _ in documents]
        for term, document in db.execute('SELECT term, doc FROM terms ORDER BY doc, "offset"'):
            found[document].append(term)
    db.close()
    return found


@settings(deadline=None, max_examples=150)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_tokens_pass_through_fts5_unchanged(texts):
    documents = [tokenize(text) for text in texts]
    assert through_fts5(documents) == documents


def test_every_character_of_a_token_survives_fts5_alone_and_inside_a_word():
    # FTS5's tables are older than Python's: a character they do not know must not separate.
    # The planes above hold Han characters, which all fall into one range, and private ones.
    kept = [tokenize(f"{chr(code)} q{chr(code)}q") for code in range(1, 0x20000)]
    assert through_fts5(kept) == kept


@settings(deadline=None, max_examples=150)
@given(st.text())
def test_tokens_are_letters_marks_numbers_or_private_and_folded(text):
    for token in tokenize(text):
        assert 1 <= len(token) <= MAX_TOKEN_CHARS
        for character in token:
            category = unicodedata.category(character)
            assert category[0] in "LMN" or category == "Co"
        assert unicodedata.normalize("NFKC", token.casefold()) == token


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("How do I open a file?", ["how", "do", "i", "open", "a", "file"]),
        ("怎样打开", ["怎", "样", "打", "开", "怎样", "样打", "打开"]),
        ("字", ["字"]),
        ("第3章", ["第", "3", "章"]),
        ("ﾃｽﾄ", ["テ", "ス", "ト", "テス", "スト"]),
        ("か\u3099く", ["が", "く", "がく"]),
        ("ＡＢＣ１２３", ["abc123"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("กิน", ["กิ", "น", "กิน"]),
        ("한국어 토큰", ["한국어", "토큰"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("co\u00adoperate", ["cooperate"]),
        ("ไป\u200bมา", ["ไ", "ป", "ไป", "ม", "า", "มา"]),
        ("葛\U000e0100城", ["葛", "城", "葛城"]),
        ("itertools.chain_from", ["itertools", "chain", "from"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("读 OrderedDict", ["读", "ordereddict", "ordered", "dict"]),
        ("URLs iPhones", ["urls", "iphones", "i", "phones"]),
        ("\u2028a\u2029b\x00c\ud800d", ["a", "b", "c", "d"]),
        ("", []),
        (" \n。！?", []),
    ],
)
def test_tokens_of_each_script(text, tokens):
    assert tokenize(text) == tokens


@given(st.lists(st.integers(min_value=0, max_value=10**9)))
def test_integer_ids_pass_through_as_one_token_each(ids):
    assert tokenize(" ".join(map(str, ids))) == [str(number) for number in ids]


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_ascii_path_equals_the_general_one(text):
    plain = tokenize(text.lower())
    camel_parts = tokenize(text)[len(plain) :]
    assert tokenize(f"{text} ø") == [*plain, "ø", *camel_parts]


@pytest.mark.parametrize("character", ["a", "ø", "A"])
def test_a_run_without_end_is_cut_and_nothing_is_lost(character):
    tokens = tokenize(character * 1000)
    assert "".join(tokens) == character.lower() * 1000
    assert max(map(len, tokens)) == MAX_TOKEN_CHARS


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("Un café, s'il vous plaît", "cafe plait"),
        ("cafe\u0301 au lait", "café"),
        ("İstanbul", "istanbul"),
        ("istanbul", "İSTANBUL"),
        ("Việt Nam", "viet"),
        ("ёлка в лесу", "елка"),
        ("ΑΘΉΝΑ", "αθηνα"),
    ],
)
def test_a_word_is_found_with_and_without_its_accents(written, asked):
    assert set(tokenize(asked)) & set(tokenize(written))


@pytest.mark.parametrize(
    "text", ["हिन्दी", "ภาษาไทย", "がくせい", "한국어", "עִבְרִית", "打开", "naive"]
)
def test_marks_that_are_no_accents_stay(text):
    assert [token for token in tokenize(text) if token not in text] == []


def test_traditional_characters_find_simplified_ones():
    assert tokenize("電腦壞了") == tokenize("电脑坏了")
    assert tokenize("𠁞") and tokenize("the 圖 of") == tokenize("the 图 of")
