"""Texts as symbols: characters, words, integers."""

from __future__ import annotations

import pytest

from shoestring.errors import ParameterError
from shoestring.match.symbols import split_symbols, unit_of


@pytest.mark.parametrize(
    ("text", "unit", "symbols"),
    [
        ("打开  Wi-Fi\n吗", "characters", [*"打开 wi-fi 吗"]),
        ("Turn it ON, now.", "words", ["turn", "it", "on", ",", "now", "."]),
        ("12 5\t239", "integers", ["12", "5", "239"]),
        ("", "integers", []),
    ],
)
def test_a_text_is_cut_into_the_symbols_of_its_unit(
    text: str, unit: str, symbols: list[str]
) -> None:
    assert split_symbols(text, unit) == symbols


@pytest.mark.parametrize("text", ["12 a5", "12 -5", "打 开", "1.5", "٣ ٤"])
def test_other_text_among_integers_is_told(text: str) -> None:
    with pytest.raises(ParameterError, match="all integers"):
        split_symbols(text, "integers")


def test_the_unit_is_that_of_most_letters() -> None:
    assert unit_of(["打开wifi怎么办", "how"]) == "characters"
    assert unit_of(["how do I say 你好", "in Chinese"]) == "words"
    assert unit_of(["12 3", "", "4"]) == "integers"
    assert unit_of(["12 3", "four"]) == "words"
    assert unit_of([]) == "words"
