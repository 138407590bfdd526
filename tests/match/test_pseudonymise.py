"""Texts as random numbers and back."""

from __future__ import annotations

import json
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoestring.cli import app
from shoestring.errors import FormatError, ParameterError, StorageError
from shoestring.match.pairs import read_pairs
from shoestring.match.pseudonymise import Key, pseudonymise_file, pseudonymise_texts

CHINESE = ["打开wifi", "打开 灯", "关灯!"]
ENGLISH = ["How do I open it ?", "open the door", "it is the door"]


@pytest.mark.parametrize("texts", [CHINESE, ENGLISH])
def test_texts_come_back_in_small_letters(texts: list[str]) -> None:
    numbers, key = pseudonymise_texts(texts)
    assert all(number.isdecimal() for text in numbers for number in text.split())
    assert key.decode(numbers) == [text.lower() for text in texts]


def test_equal_symbols_have_equal_numbers_and_others_have_others() -> None:
    numbers, key = pseudonymise_texts(["abba", "ba", "打开打开打开"])
    first, second = numbers[0].split(), numbers[1].split()
    assert first == [second[1], second[0], second[0], second[1]]
    assert len(set(key.numbers.values())) == len(key.numbers) == 4


def test_without_a_seed_nobody_can_foresee_the_numbers() -> None:
    assert pseudonymise_texts(CHINESE)[0] != pseudonymise_texts(CHINESE)[0]
    assert pseudonymise_texts(CHINESE, seed=3)[0] == pseudonymise_texts(CHINESE, seed=3)[0]
    assert pseudonymise_texts(CHINESE, seed=3)[0] != pseudonymise_texts(CHINESE, seed=4)[0]


def test_the_order_of_the_numbers_tells_nothing_of_the_order_of_the_symbols() -> None:
    _, key = pseudonymise_texts([chr(0x4E00 + i) for i in range(500)], seed=0)
    numbers = list(key.numbers.values())
    rising = sum(a < b for a, b in pairwise(numbers))
    assert 200 < rising < 300


def test_a_key_is_extended_without_touching_what_it_has() -> None:
    old, key = pseudonymise_texts(CHINESE, seed=0)
    again, longer = pseudonymise_texts([*CHINESE, "窗户也关上"], key, seed=0)
    assert again[:3] == old
    assert longer.numbers.items() > key.numbers.items()
    assert len({*longer.numbers.values()}) == len(longer.numbers)


def test_new_numbers_are_never_those_that_are_in_use() -> None:
    key = Key("words", {f"old{i}": i + 1 for i in range(20_000)})
    _, longer = pseudonymise_texts([" ".join(f"new{i}" for i in range(200))], key, seed=0)
    assert len({*longer.numbers.values()}) == len(longer.numbers) == 20_200


def test_more_symbols_than_five_digits_have_numbers_of_their_own() -> None:
    words = [f"w{i}" for i in range(120_000)]
    _, key = pseudonymise_texts([" ".join(words)], seed=0)
    assert len({*key.numbers.values()}) == 120_000


def test_numbers_are_refused_as_texts() -> None:
    with pytest.raises(ParameterError, match="not numbers"):
        pseudonymise_texts(["12 5", "7"])


def test_the_wrong_key_and_mixed_texts_are_told() -> None:
    _, key = pseudonymise_texts(CHINESE, seed=0)
    with pytest.raises(ParameterError, match=r"key of these texts. Got '1'"):
        key.decode(["1 2"])
    with pytest.raises(ParameterError, match="all text or all integers"):
        key.decode(["12 打开"])


def file_of(folder: Path, content: str, name: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("pairs.tsv", '开灯\t打开"灯\t1\n', [{"a": "开灯", "b": '打开"灯', "label": "1"}]),
        ("pairs.txt", "开灯\t打开灯\n", [{"a": "开灯", "b": "打开灯"}]),
        ("texts.txt", "开灯\n关灯\n", [{"text": "开灯"}, {"text": "关灯"}]),
        ("r.jsonl", '{"id": "x", "text": "灯", "n": [1]}\n', [{"id": "x", "text": "灯", "n": [1]}]),
        ("p.jsonl", '{"a": "开", "b": "灯", "label": 1}\n', [{"a": "开", "b": "灯", "label": 1}]),
        ("pairs.csv", "id,a,b\n7,开灯,关灯\n", [{"id": "7", "a": "开灯", "b": "关灯"}]),
    ],
)
def test_the_records_of_a_file_come_back_as_they_were(
    tmp_path: Path, name: str, content: str, rows: list[dict[str, object]]
) -> None:
    source, key = file_of(tmp_path, content, name), tmp_path / "key"
    numbers, back = tmp_path / "numbers.jsonl", tmp_path / "back.jsonl"
    pseudonymise_file(source, numbers, key)
    assert "灯" not in numbers.read_text("utf-8")
    pseudonymise_file(numbers, back, key, back=True)
    assert [json.loads(line) for line in back.read_text("utf-8").splitlines()] == rows


def test_a_table_with_a_header_becomes_json_lines(tmp_path: Path) -> None:
    source = file_of(tmp_path, "id\ta\tb\tlabel\n7\t开灯\t关灯\t0\n", "pairs.tsv")
    out, key = tmp_path / "out.jsonl", tmp_path / "key"
    with pytest.raises(ParameterError, match=r"\.jsonl"):
        pseudonymise_file(source, tmp_path / "out.tsv", key)
    assert not key.exists()
    pseudonymise_file(source, out, key)
    read = read_pairs(out)
    assert Key.load(key).decode(read.a) == ["开灯"] and read.labels.tolist() == [0.0]


def test_named_columns_are_replaced_and_no_others(tmp_path: Path) -> None:
    source = file_of(tmp_path, '{"q": "开灯", "text": "关灯"}\n', "in.jsonl")
    out = tmp_path / "out.jsonl"
    pseudonymise_file(source, out, tmp_path / "key", text=["q"])
    row = json.loads(out.read_text("utf-8"))
    assert row["text"] == "关灯" and row["q"] != "开灯"


def test_only_the_owner_may_read_the_key(tmp_path: Path) -> None:
    source, key = file_of(tmp_path, "开灯\n", "in.txt"), tmp_path / "key"
    pseudonymise_file(source, tmp_path / "out.jsonl", key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"title": "x"}\n', "no column text"),
        ('{"text": 7}\n', "holds 7"),
        ("", "no column"),
        ('{"text": "x"\n', "broken JSON"),
    ],
)
def test_bad_records_are_told_and_nothing_is_written(
    tmp_path: Path, content: str, fault: str
) -> None:
    source = file_of(tmp_path, content, "in.jsonl")
    with pytest.raises(FormatError, match=fault):
        pseudonymise_file(source, tmp_path / "out.jsonl", tmp_path / "key")
    assert sorted(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"unit": "integers", "numbers": {}}',
        '{"unit": "words", "numbers": {"a": 1, "b": 1}}',
        '{"unit": "words", "numbers": {"a": null}}',
        '{"unit": [], "numbers": {"a": 1}}',
    ],
)
def test_what_is_no_key_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    source, key = file_of(tmp_path, "open it\n", "in.txt"), file_of(tmp_path, content, "key")
    with pytest.raises(ParameterError, match="a file that match pseudonymise has written"):
        pseudonymise_file(source, tmp_path / "out.jsonl", key)
    assert key.read_text("utf-8") == content and not (tmp_path / "out.jsonl").exists()


def test_a_key_that_is_missing_is_told_on_the_way_back(tmp_path: Path) -> None:
    source = file_of(tmp_path, "1 2\n", "in.txt")
    with pytest.raises(StorageError, match=r"no file .*key"):
        pseudonymise_file(source, tmp_path / "out.jsonl", tmp_path / "key", back=True)


def test_the_key_is_never_overwritten_by_the_texts(tmp_path: Path) -> None:
    source = file_of(tmp_path, "开灯\n", "in.txt")
    with pytest.raises(ParameterError, match="other than the key"):
        pseudonymise_file(source, tmp_path / "k.jsonl", tmp_path / "k.jsonl")


def test_the_command_goes_there_and_back(tmp_path: Path) -> None:
    source, key = file_of(tmp_path, "开灯\t关灯\t0\n", "pairs.tsv"), str(tmp_path / "key")
    numbers, back = str(tmp_path / "n.jsonl"), str(tmp_path / "b.jsonl")
    run = CliRunner().invoke
    there = ["match", "pseudonymise", str(source), "--out", numbers, "--key", key, "--json"]
    assert json.loads(run(app, there).stdout)["symbols"] == 3
    assert "no key reads up to 0% of so much text" in json.loads(run(app, there).stdout)["risk"]
    again = ["match", "pseudonymise", numbers, "--out", back, "--key", key, "--back"]
    assert run(app, again).exit_code == 0
    found = json.loads(Path(back).read_text("utf-8"))
    assert found == {"a": "开灯", "b": "关灯", "label": "0"}
