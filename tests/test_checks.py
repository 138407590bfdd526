"""The one helper for what comes from outside: what it takes, and its sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring import checks
from shoestring.errors import ParameterError, short


def test_numpy_numbers_are_numbers_and_a_bool_is_none() -> None:
    assert checks.checked_int("k", np.int64(3), 1, None, "f") == 3
    assert type(checks.checked_int("k", np.uint8(3), 1, None, "f")) is int
    assert type(checks.checked_number("x", np.float32(2), "f", "a number", 0)) is float
    for wrong in (True, np.True_, "5", None, 3.0, 0):
        with pytest.raises(ParameterError, match="an int of at least 1"):
            checks.checked_int("k", wrong, 1, None, "f")
    for wrong in (True, "x", float("nan"), float("inf"), 0, None, 1j, 10**400):
        with pytest.raises(ParameterError, match="a number above 0"):
            checks.checked_number("minutes", wrong, "f", "a number above 0", 0)


@pytest.mark.parametrize("seed", [-1, 1 << 63, "1", 1.5, True, None])
def test_a_seed_is_an_int_that_generators_take(seed: object) -> None:
    with pytest.raises(ParameterError):
        checks.checked_seed("seed", seed, "f")


def test_texts_come_from_anything_ordered() -> None:
    for texts in (["a", "好"], ("a", "好"), np.array(["a", "好"]), pd.Series(["a", "好"])):
        found = checks.checked_texts("texts", texts, "f")
        assert found == ["a", "好"] and {type(text) for text in found} == {str}
    assert checks.checked_texts("texts", [], "f") == []


@pytest.mark.parametrize("texts", ["abc", b"abc", None, 3, {"a": 1}, {"a"}, np.array("a")])
def test_one_text_is_not_a_list_of_its_letters(texts: object) -> None:
    with pytest.raises(ParameterError, match="must be a list of texts"):
        checks.checked_texts("texts", texts, "f")


@pytest.mark.parametrize("text", [None, float("nan"), 3, ["a"], b"a", "\ud83d"])
def test_the_sentence_names_the_item(text: object) -> None:
    with pytest.raises(ParameterError, match="item 2"):
        checks.checked_texts("texts", ["a", text], "f")


def test_labels_are_words_numbers_or_bools() -> None:
    for labels in (["a", "好"], np.array([1, 2]), [True, np.False_], pd.Series([0.5, 1.0])):
        assert checks.checked_labels("labels", labels, "f") == list(labels)
    for wrong in (None, float("nan"), float("inf"), 1j, b"a", "\ud83d", [1], 10**400):
        with pytest.raises(ParameterError, match="item 2"):
            checks.checked_labels("labels", ["a", wrong], "f")
    for wrong in ("ab", None, 3, {"a": 1}, {"a"}):
        with pytest.raises(ParameterError, match="a sequence of labels"):
            checks.checked_labels("labels", wrong, "f")


def test_pairs_are_two_texts() -> None:
    assert checks.checked_pairs("pairs", [["a", "b"], ("c", "d")], "f") == [("a", "b"), ("c", "d")]
    assert checks.checked_pairs("pairs", np.array([["a", "b"]]), "f") == [("a", "b")]
    for wrong in ("ab", ("a", "b", "c"), ("a", None), 3, ("a",), {"a": 1, "b": 2}):
        with pytest.raises(ParameterError, match="item 2"):
            checks.checked_pairs("pairs", [("a", "b"), wrong], "f")
    for wrong in (("red", "shoes"), np.array([1.0]), np.array(["ab"])):
        with pytest.raises(ParameterError):
            checks.checked_pairs("pairs", wrong, "f")


@pytest.mark.parametrize("path", ["", "a\0b", 3, None, b"a", ["a"]])
def test_a_path_is_one_that_the_system_can_open(path: object) -> None:
    with pytest.raises(ParameterError):
        checks.checked_path("path", path, "f")
    assert checks.checked_path("path", "a", "f") == Path("a")


def test_a_choice_names_all() -> None:
    with pytest.raises(ParameterError, match=r"'a', 'b' or 'c'\. Got 3"):
        checks.checked_choice("x", 3, ("a", "b", "c"), "f")


def test_values_in_messages_are_short_and_plain() -> None:
    assert short(np.float64(1.5)) == "1.5"
    assert len(short(list(range(10**6)))) < 60
    assert len(short({"a" * 10**7: "b"})) < 150
