"""The loaders of the words benchmark, on the real data."""

from __future__ import annotations

import pytest
from benchmarks.words import data

from shoestring.text import split_words


@pytest.mark.usefixtures("data_dir")
def test_the_similarity_sets_are_whole():
    sizes = {
        name: len(pairs)
        for language in ("en", "zh")
        for name, pairs in data.similarity_sets(language).items()
    }
    assert sizes == {
        "WS353": 353,
        "SimLex": 999,
        "MEN": 3000,
        "RW": 2034,
        "MTurk-287": 287,
        "wordsim-240": 240,
        "COS960": 960,
    }
    assert data.similarity_sets("en")["WS353"][0] == ("love", "sex", 6.77)
    assert data.similarity_sets("zh")["COS960"][1] == ("繁琐", "烦琐", 4.0)


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(("split", "n_rows"), [("dev", 638), ("test", 1400)])
def test_words_in_context_are_marked_where_they_stand(split, n_rows):
    rows = data.wic(split)
    assert len(rows) == n_rows
    assert sum(same for *_, same in rows) == n_rows / 2
    both = [side for row in rows for side in row[:2]]
    # the others are irregular: held for hold
    found = sum(side.tokens[side.position].startswith(side.word[:2]) for side in both)
    assert found > 0.98 * len(both)
    board = rows[0][0] if split == "dev" else None
    assert board is None or (board.tokens, board.position) == (["room", "and", "board"], 2)


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_smaller_training_text_is_the_start_of_a_larger_one(language):
    small, large = (list(data.training_texts(language, n)) for n in (100_000, 300_000))
    assert large[: len(small)] == small
    n_tokens = sum(len(words) for text in small for words in split_words(text))
    assert 100_000 <= n_tokens < 150_000
