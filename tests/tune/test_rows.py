"""Files of labelled texts and pairs: what is read, what is refused, what is held out."""

import csv
import json
import time
import warnings

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.tune.config import LadderConfig
from shoestring.tune.examples import Examples
from shoestring.tune.rows import (
    Rows,
    Source,
    digest_of,
    examples_of,
    numbers_of,
    read_pairs,
    read_rows,
    split,
)
from shoestring.tune.tokens import Tokens

SCORE = LadderConfig(task="score", pairs="apart", max_length=20)


def written(path, names, *rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows([names, *rows])
        else:
            lines = (dict(zip(names, row, strict=True)) for row in rows)
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return str(path)


def pair_rows(*triples):
    first, second, labels = (list(column) for column in zip(*triples, strict=True))
    return Rows(first, second, labels)


def examples(rows, frozen, config=SCORE, n_train=None):
    n = len(rows.labels) if n_train is None else n_train
    return examples_of(rows, n, [float(label) for label in rows.labels], frozen, config)


def quiet_examples(units):
    """Examples of which the rows matter alone."""
    n = sum(map(len, units))
    return Examples([Tokens([1], [0], None)] * n, None, [0] * n, units)


# ---- reading ----


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_texts_and_labels_are_read(tmp_path, ending):
    path = written(
        tmp_path / f"t.{ending}", ("body", "topic"), ("open the file", "io"), ("排序列表", "表")
    )
    rows = read_rows(Source(path, "body", "topic"))
    assert rows == Rows(["open the file", "排序列表"], None, ["io", "表"])


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_pairs_are_read_from_two_columns(tmp_path, ending):
    path = written(
        tmp_path / f"t.{ending}", ("q", "d", "y"), ("打开", "文件", "1"), ("a", "b", "0")
    )
    rows = read_rows(Source(path, "q", "y", "d"))
    assert rows == Rows(["打开", "a"], ["文件", "b"], ["1", "0"])


def test_a_number_is_a_label(tmp_path):
    path = written(tmp_path / "t.jsonl", ("text", "label"), ("a", 1), ("b", 0.5))
    assert read_rows(Source(path, "text", "label")).labels == ["1", "0.5"]


def test_pairs_of_one_id_stay_as_they_are_in_the_file(tmp_path):
    rows = [("q1", "open", "read", "1"), ("q1", "open", "sort", "0"), ("q2", "a", "b", "1")]
    path = written(tmp_path / "t.csv", ("id", "a", "b", "label"), *rows)
    try:
        found = read_rows(Source(path, "a", "label", "b"))
    except FormatError:  # an id that comes twice may be refused
        return
    assert found.second == ["read", "sort", "b"]


def test_skipped_texts_take_the_other_of_their_pair_with_them(tmp_path):
    rows = [("a1", "b1", "1"), ("", "b2", "1"), ("a3", " ", "0"), ("a4", "b4", "0")]
    path = written(tmp_path / "t.csv", ("a", "b", "label"), *rows)
    found = read_rows(Source(path, "a", "label", "b", "skip"))
    assert found == Rows(["a1", "a4"], ["b1", "b4"], ["1", "0"])
    pairs = list(read_pairs(path, "a", "b", "skip"))
    assert pairs == [("1", "a1", "b1"), ("4", "a4", "b4")]


def test_pairs_without_labels_are_read_to_be_answered(tmp_path):
    path = written(tmp_path / "t.csv", ("id", "a", "b"), ("x", "打开", "文件"), ("y", "c", "d"))
    assert list(read_pairs(path, "a", "b", "error")) == [("x", "打开", "文件"), ("y", "c", "d")]
    assert list(read_pairs(path, "a", None, "error")) == [("x", "打开", None), ("y", "c", None)]


@pytest.mark.parametrize("empty", ["", "  "])
def test_a_record_without_its_label_is_named(tmp_path, empty):
    path = written(tmp_path / "t.csv", ("text", "label"), ("a", "x"), ("b", empty))
    with pytest.raises(FormatError, match=r"t\.csv: record 2 has no value in the column 'label'"):
        read_rows(Source(path, "text", "label"))
    path = written(tmp_path / "t.jsonl", ("a", "b", "label"), ("a", "x", "1"), ("b", "y", None))
    with pytest.raises(FormatError, match=r"t\.jsonl: record 2 has no value"):
        read_rows(Source(path, "a", "label", "b"))


def test_pairs_without_labels_or_a_column_are_refused(tmp_path):
    path = written(tmp_path / "t.csv", ("a", "b"), ("x", "y"))
    with pytest.raises(FormatError, match=r"no column 'label'. Name one of: 'a', 'b'"):
        read_rows(Source(path, "a", "label", "b"))
    with pytest.raises(FormatError, match="no column 'c'"):
        read_rows(Source(path, "a", "b", "c"))


def test_pairs_from_standard_input_are_refused():
    with pytest.raises(ParameterError, match=r"from a file, not from standard input. Name a file"):
        read_rows(Source("-", "a", "label", "b"))
    with pytest.raises(ParameterError, match="Name a file"):
        list(read_pairs("-", "a", "b", "error"))


def test_rows_of_two_files_come_one_after_the_other():
    one, two = pair_rows(("a", "b", "1")), pair_rows(("c", "d", "0"))
    assert one + two == pair_rows(("a", "b", "1"), ("c", "d", "0"))
    assert Rows(["a"], None, ["x"]) + Rows(["b"], None, ["y"]) == Rows(["a", "b"], None, ["x", "y"])


# ---- labels ----


def test_labels_become_numbers():
    rows = Rows(["a"] * 3, None, ["1", " 0.5 ", "-2e1"])
    assert numbers_of(rows, Source("t.csv", "text", "label")) == [1.0, 0.5, -20.0]


@pytest.mark.parametrize("label", ["yes", "是", "nan", "inf"])
def test_labels_that_are_no_numbers_are_named(label):
    with pytest.raises(FormatError, match=rf"t\.csv: record 2 has.*{label}"):
        numbers_of(Rows(["a"] * 2, None, ["1", label]), Source("t.csv", "text", "label"))


def test_files_of_other_content_have_other_digests():
    rows = [
        Rows(["a", "b"], None, ["x", "y"]),
        Rows(["a", "b"], None, ["y", "x"]),
        Rows(["ab", ""], None, ["x", "y"]),
        Rows(["a", "b"], ["c", "d"], ["x", "y"]),
        Rows(["a", "b"], ["d", "c"], ["x", "y"]),
        Rows(["甲", "b"], None, ["x", "y"]),
    ]
    digests = [digest_of(row) for row in rows]
    assert len(set(digests)) == len(rows)
    assert digest_of(Rows(["a", "b"], None, ["x", "y"])) == digests[0]


# ---- examples ----


def test_texts_are_read_as_the_method_reads_them(backbone):
    rows, frozen = pair_rows(("open file", "read", "1"), ("sort", "list", "0")), backbone()
    apart = examples(rows, frozen)
    assert [len(text.ids) for text in apart.first] == [4, 3]
    assert [len(text.ids) for text in apart.second] == [3, 3]
    joint = examples(rows, frozen, LadderConfig(task="score", pairs="joint", max_length=20))
    assert joint.second is None
    assert joint.first[0].segments == [0, 0, 0, 0, 1, 1]
    assert (joint.labels, joint.units) == ([1.0, 0.0], [[0], [1]])


def lengths(*n):
    return Rows([" ".join(["open"] * length) for length in n], None, ["1"] * len(n))


def test_texts_that_are_cut_are_noted(backbone):
    config = LadderConfig(max_length=10)
    with pytest.warns(ShoestringWarning, match=r"1 of 3 texts are longer than 10 tokens"):
        found = examples(lengths(3, 30, 2), backbone(), config)
    assert max(len(text.ids) for text in found.first) == 10


def test_texts_as_long_as_what_is_read_are_not_cut(backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        examples(lengths(8, 7), backbone(), LadderConfig(max_length=10))  # 10 with special tokens


def test_a_longer_length_is_not_advised_where_the_backbone_has_no_positions(backbone):
    with pytest.warns(ShoestringWarning, match="longer than 40 tokens") as said:
        examples(lengths(60, 2), backbone(), LadderConfig(max_length=128))
    assert "Pass a larger --max-length" not in str(said[0].message)


def test_texts_that_the_backbone_does_not_know_are_noted(backbone):
    rows = Rows(["open зачем", "read как"], None, ["1", "0"])
    with pytest.warns(ShoestringWarning, match=r"does not know 50% of these texts\..*tune mlm"):
        examples(rows, backbone(), LadderConfig(max_length=10))


def test_second_texts_that_are_cut_are_noted(backbone):
    rows = pair_rows(("open", "read " * 50, "1"), ("sort", "list " * 50, "0"))
    with pytest.warns(ShoestringWarning, match="are longer than 20 tokens"):
        examples(rows, backbone())


# ---- lists ----


def test_pairs_of_a_query_are_one_unit_where_most_have_right_and_wrong_ones(backbone):
    rows = pair_rows(
        ("open", "read", "1"), ("sort", "read", "0"), ("open", "list", "0"), ("sort", "list", "1"),
        ("join", "file", "1"),
    )  # fmt: skip
    found = examples(rows, backbone())
    assert found.units == [[0, 2], [1, 3], [4]]
    assert found.grouped


@pytest.mark.parametrize("lists_learn", [True, False])
def test_what_is_held_out_comes_as_what_is_learnt(backbone, lists_learn):
    """Else a loss of lists would be asked of single pairs, which is nothing."""
    lists = [(a, b, str(int(a == b))) for a in ("open", "sort") for b in ("open", "sort")]
    alone = [("join", "file", "1"), ("read", "list", "0")]
    first, second = (lists, alone) if lists_learn else (alone, lists)
    rows = pair_rows(*first, *second)
    labels = [float(label) for label in rows.labels]
    config = LadderConfig(task="score", pairs="apart", max_length=20)
    found = examples_of(rows, len(first), labels, backbone(), config)
    train, held_out = split(found, len(first), True, 0)
    assert train.grouped == lists_learn
    assert held_out.grouped is False
    assert len(held_out) == (2 if lists_learn else 4)


@pytest.mark.parametrize(
    "triples",
    [
        [("open", "read", "1"), ("open", "list", "1"), ("sort", "read", "0")],
        [
            ("open", "read", "1"),
            ("open", "list", "0"),
            ("sort", "read", "1"),
            ("join", "list", "0"),
        ],
        [("open", "read", "0.2"), ("open", "list", "0.9")],
    ],
)
def test_other_pairs_are_learnt_one_by_one(backbone, triples):
    rows = pair_rows(*triples)
    assert examples(rows, backbone()).units == [[row] for row in range(len(triples))]


def test_numbers_of_pairs_are_learnt_one_by_one(backbone):
    rows = pair_rows(("open", "read", "1"), ("open", "list", "0"))
    config = LadderConfig(task="regress", pairs="apart", max_length=20)
    assert examples(rows, backbone(), config).units == [[0], [1]]


# ---- held out ----


def test_a_tenth_is_held_out_by_the_seed():
    whole = quiet_examples([[row] for row in range(50)])
    train, held = split(whole, 50, False, 3)
    assert (len(train), len(held)) == (45, 5)
    assert sorted(train.units + held.units) == whole.units
    assert split(whole, 50, False, 3) == (train, held)
    assert split(whole, 50, False, 4)[1].units != held.units


def test_whole_queries_are_held_out():
    units = [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(10)]
    train, held = split(quiet_examples(units), 30, False, 0)
    assert (len(train), len(held)) == (9, 1)
    assert sorted(train.units + held.units) == units


def test_two_examples_are_one_and_one_and_a_single_one_is_refused():
    train, held = split(quiet_examples([[0], [1]]), 2, False, 0)
    assert (len(train), len(held)) == (1, 1)
    with pytest.raises(ParameterError, match=r"at least two examples\. Got 1"):
        split(quiet_examples([[0]]), 1, False, 0)


def test_no_more_than_two_thousand_are_held_out():
    assert len(split(quiet_examples([[row] for row in range(30_000)]), 30_000, False, 0)[1]) == 2000


def test_a_file_to_measure_on_is_held_out_as_it_is():
    whole = quiet_examples([[row] for row in range(7)])
    train, held = split(whole, 5, True, 0)
    assert (train.units, held.units) == ([[0], [1], [2], [3], [4]], [[5], [6]])


def test_no_row_of_the_second_file_is_trained_on(backbone):
    train_rows = pair_rows(
        ("open", "read", "1"), ("open", "list", "0"), ("sort", "read", "0"), ("sort", "list", "1")
    )
    eval_rows = pair_rows(("open", "file", "1"), ("open", "write", "0"), ("join", "read", "1"))
    found = examples(train_rows + eval_rows, backbone(), n_train=4)
    train, held = split(found, 4, True, 0)
    assert sorted(row for unit in train.units for row in unit) == [0, 1, 2, 3]
    assert sorted(row for unit in held.units for row in unit) == [4, 5, 6]


def test_the_time_of_a_split_does_not_grow_with_the_square():
    whole = quiet_examples([[row] for row in range(12_000)])
    began = time.perf_counter()
    split(whole, 6_000, True, 0)
    assert time.perf_counter() - began < 0.3  # 10 ms if it grows with the number
