"""Files of labelled texts and pairs: what is read, what is refused."""

import csv
import io
import json
import sys

import pytest

from shoestring.errors import FormatError
from shoestring.text.records import Labelled, read_labelled, read_texts


def written(path, names, *rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows([names, *rows])
        else:
            lines = (dict(zip(names, row, strict=True)) for row in rows)
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return str(path)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_texts_and_labels_are_read(tmp_path, ending):
    rows = ("open the file", "io"), ("排序列表", "表")
    path = written(tmp_path / f"t.{ending}", ("body", "topic"), *rows)
    found = read_labelled(path, text="body", label="topic")
    assert found == Labelled(["open the file", "排序列表"], ["io", "表"])
    assert len(found) == 2


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_pairs_are_read_from_two_columns(tmp_path, ending):
    rows = ("打开", "文件", "1"), ("a", "b", "0")
    path = written(tmp_path / f"t.{ending}", ("q", "d", "y"), *rows)
    found = read_labelled(path, text="q", second="d", label="y")
    assert found == Labelled(["打开", "a"], ["1", "0"], ["文件", "b"])


def test_a_number_is_a_label(tmp_path):
    path = written(tmp_path / "t.jsonl", ("text", "label"), ("a", 1), ("b", 0.5))
    assert read_labelled(path, text="text", label="label").labels == ["1", "0.5"]


def test_skipped_texts_take_the_other_of_their_pair_with_them(tmp_path):
    rows = [("a1", "b1", "1"), ("", "b2", "1"), ("a3", " ", "0"), ("a4", "b4", "0")]
    path = written(tmp_path / "t.csv", ("a", "b", "label"), *rows)
    found = read_labelled(path, text="a", second="b", label="label", on_empty="skip")
    assert found == Labelled(["a1", "a4"], ["1", "0"], ["b1", "b4"])
    pairs = [(a.id, a.text, b) for a, b in read_texts(path, text="a", second="b", on_empty="skip")]
    assert pairs == [("1", "a1", "b1"), ("4", "a4", "b4")]


def test_texts_without_labels_are_read_to_be_answered(tmp_path):
    path = written(tmp_path / "t.csv", ("id", "a", "b"), ("x", "打开", "文件"), ("y", "c", "d"))
    for second, want in (("b", [("x", "打开", "文件"), ("y", "c", "d")]), (None, None)):
        found = [(a.id, a.text, b) for a, b in read_texts(path, text="a", second=second)]
        assert found == (want or [("x", "打开", None), ("y", "c", None)])


@pytest.mark.parametrize("empty", ["", "  "])
def test_a_record_without_its_label_is_named(tmp_path, empty):
    path = written(tmp_path / "t.csv", ("text", "label"), ("a", "x"), ("b", empty))
    with pytest.raises(FormatError, match=r"t\.csv:3: no value in the column 'label'"):
        read_labelled(path, text="text", label="label")
    path = written(tmp_path / "t.jsonl", ("a", "b", "label"), ("a", "x", "1"), ("b", "y", None))
    with pytest.raises(FormatError, match=r"t\.jsonl:2: no value"):
        read_labelled(path, text="a", second="b", label="label")


def test_columns_that_are_not_there_are_named(tmp_path):
    path = written(tmp_path / "t.csv", ("a", "b"), ("x", "y"))
    with pytest.raises(FormatError, match=r"no column 'label'. Name one of: 'a', 'b'"):
        read_labelled(path, text="a", second="b", label="label")
    with pytest.raises(FormatError, match="no column 'c'"):
        read_labelled(path, text="a", second="c", label="b")


def test_pairs_are_read_from_standard_input(monkeypatch):
    content = "a;b;label\n打开;文件;1\nx;y;0\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_labelled("-", text="a", second="b") == Labelled(
        ["打开", "x"], ["1", "0"], ["文件", "y"]
    )


def test_texts_of_two_files_come_one_after_the_other():
    one, two = Labelled(["a"], ["1"], ["b"]), Labelled(["c"], ["0"], ["d"])
    assert one + two == Labelled(["a", "c"], ["1", "0"], ["b", "d"])
    assert Labelled(["a"], ["x"]) + Labelled(["b"], ["y"]) == Labelled(["a", "b"], ["x", "y"])


def test_other_content_has_another_digest():
    contents = [
        Labelled(["a", "b"], ["x", "y"]),
        Labelled(["a", "b"], ["y", "x"]),
        Labelled(["ab", ""], ["x", "y"]),
        Labelled(["a", "b"], ["x", "y"], ["c", "d"]),
        Labelled(["a", "b"], ["x", "y"], ["d", "c"]),
        Labelled(["甲", "b"], ["x", "y"]),
    ]
    assert len({content.digest for content in contents}) == len(contents)
    assert Labelled(["a", "b"], ["x", "y"]).digest == contents[0].digest
