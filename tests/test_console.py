"""What commands print: one JSON document, or lines and tables for people."""

import json
from typing import get_args

import numpy as np
import pytest

from shoestring import console
from shoestring.console import emit, emit_json, emit_rows, shown

FOUND = {
    "n_texts": 12345,
    "accuracy": 0.81234567,
    "held_out": None,
    "seconds": {"reading_texts": 1.5, "deep": {"fit": 12345.678}},
    "标签": "[bold]红",
    "is_final": True,
}


def test_what_was_found_is_a_line_each_for_people(capsys):
    emit(FOUND, as_json=False)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "n texts                 12,345",
        "accuracy                0.8123",
        "seconds: reading texts  1.5",
        "seconds: deep: fit      1.235e+04",
        "标签                      [bold]红",
        "is final                True",
    ]
    assert err == ""
    emit({}, as_json=False)
    assert capsys.readouterr().out == ""


def test_json_is_one_document_with_all_that_was_found(capsys):
    emit(FOUND, as_json=True)
    out, _ = capsys.readouterr()
    assert json.loads(out) == FOUND and "红" in out
    rows = [{"word": "红", "score": None}]
    emit_rows(iter(rows), as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    emit_json({"score": np.float32(0.5), "n": np.int64(3)})
    assert json.loads(capsys.readouterr().out) == {"score": 0.5, "n": 3}


def test_a_table_has_a_column_for_each_name_and_brackets_are_no_markup(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"word_pair": "[red]x[/red]", "score": 0.25}, {"word_pair": "红", "score": None}]
    emit_rows(rows, as_json=False, numbered=True)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["word", "pair", "score"], ["1", "[red]x[/red]", "0.25"], ["2", "红", "-"]]
    emit_rows(rows, as_json=False)
    assert capsys.readouterr().out.splitlines()[1].split() == ["[red]x[/red]", "0.25"]
    emit_rows([], as_json=False)
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, "-"),
        (1234567, "1,234,567"),
        (True, "True"),
        (0.123456, "0.1235"),
        (float("nan"), "nan"),
        ("1234567", "1234567"),
    ],
)
def test_values_are_shown_for_people(value, want):
    assert shown(value) == want


def test_every_shared_option_has_its_help():
    options = "Source Out OnDuplicate Encoder Minutes Jobs Resume Seed Json"
    shared = {name: getattr(console, name) for name in options.split()}
    for name, option in (shared | console.READING).items():
        assert get_args(option)[1].help, name
    assert console.room_app("Helps.").info.help == "Helps."
