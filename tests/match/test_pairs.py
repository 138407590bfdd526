"""Pairs of texts from files as they come, with a header or without."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest

from shoestring.errors import FormatError, ShoestringWarning
from shoestring.match.pairs import Pairs, read_pairs, read_plain_texts, read_public


def file_of(folder: Path, content: str, name: str = "pairs.tsv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_rows_without_a_header_keep_their_first_line_and_their_quotes(tmp_path: Path) -> None:
    file = file_of(tmp_path, '开灯\t打开"灯\t1\nturn it on\tturn it off\t0\n')
    found = read_pairs(file)
    assert found.both == [("开灯", '打开"灯'), ("turn it on", "turn it off")]
    assert found.labels.tolist() == [1.0, 0.0]


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    found = read_pairs(file_of(tmp_path, "12 5\t7 9\n3 4\t5 6\t1\n"))
    assert math.isnan(found.labels[0]) and found.labels[1] == 1.0


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.txt", "pairs"])
def test_a_header_is_recognised_by_the_name_of_the_column(tmp_path: Path, name: str) -> None:
    found = read_pairs(file_of(tmp_path, "a\tb\tlabel\n开灯\t关灯\t0\n", name))
    assert found.both == [("开灯", "关灯")]


def test_columns_can_be_named(tmp_path: Path) -> None:
    file = file_of(tmp_path, '{"q": "x", "t": "y", "same": 1}\n', "pairs.jsonl")
    found = read_pairs(file, text="q", second="t", label="same")
    assert found.both == [("x", "y")] and found.labels.tolist() == [1.0]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a b c\nd e f\n", "no column"),
        ("x\ty\t1\nonly one\n", "one column"),
        ("x\ty\t1\t9\n", "4 columns"),
        ("x\ty\t2\n", "'2'"),
        ("x\ty\tyes\n", "'yes'"),
        ("x\t\t1\n", "empty text"),
        ("", "no records"),
    ],
)
def test_a_bad_row_is_told_with_its_file(tmp_path: Path, content: str, fault: str) -> None:
    file = file_of(tmp_path, content)
    with pytest.raises(FormatError, match=fault) as told:
        read_pairs(file)
    assert file.name in str(told.value)


def test_bad_rows_can_be_skipped(tmp_path: Path) -> None:
    file = file_of(tmp_path, "x\ty\t1\nonly one\n\nu\tv\t0\n")
    with pytest.warns(ShoestringWarning, match=r"1 bad row.*one column"):
        assert len(read_pairs(file, on_bad="skip")) == 2


def test_a_label_can_be_needed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="label"):
        read_pairs(file_of(tmp_path, "x\ty\n"), needs_label=True)


def test_standard_input_is_read_as_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO("开灯\t关灯\t0\n".encode())

    monkeypatch.setattr("sys.stdin", Stdin())
    assert read_pairs("-").both == [("开灯", "关灯")]


def test_plain_texts_are_both_sides_of_pairs_or_the_texts_of_records(tmp_path: Path) -> None:
    assert read_plain_texts(file_of(tmp_path, "1 2\t3 4\n5\t6\t0\n")) == ["1 2", "3 4", "5", "6"]
    assert read_plain_texts(file_of(tmp_path, "开灯\n关灯\n", "t.txt")) == ["开灯", "关灯"]
    jsonl = file_of(tmp_path, '{"text": "1 2"}\n{"a": "3", "b": "4"}\n', "t.jsonl")
    assert read_plain_texts(jsonl) == ["1 2", "3", "4"]


def test_public_paragraphs_come_once(tmp_path: Path) -> None:
    assert read_public([file_of(tmp_path, "开灯\n\n关灯\n开灯\n", "p.txt")]) == ["开灯", "关灯"]


def test_pairs_are_chosen_and_joined() -> None:
    pairs = Pairs.of([("a", "b", 1), ("c", "d")])
    both = pairs[np.array([1])] + pairs[:1]
    assert both.both == [("c", "d"), ("a", "b")]
    assert both.digest != pairs.digest
