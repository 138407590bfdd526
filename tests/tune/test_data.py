"""Files of labelled texts and pairs: what is read, what is refused, what is held out."""

import warnings

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.text.records import Labelled
from shoestring.tune.config import LadderConfig
from shoestring.tune.examples import Examples, Tokens, examples_of, label_numbers, split

SCORE = LadderConfig(task="score", pairs="apart", max_length=20)


def pair_rows(*triples):
    first, second, labels = (list(column) for column in zip(*triples, strict=True))
    return Labelled(first, labels, second)


def examples(rows, frozen, config=SCORE, n_train=None):
    n = len(rows.labels) if n_train is None else n_train
    return examples_of(rows, n, [float(label) for label in rows.labels], frozen, config)


def quiet_examples(units):
    """Examples of which the rows matter alone."""
    n = sum(map(len, units))
    return Examples([Tokens([1], [0], None)] * n, None, [0] * n, units)


# ---- labels ----


def numbers_of(*labels):
    config = LadderConfig(task="regress", n_labels=1)
    return label_numbers(config, "label", ("t.csv", Labelled(["a"] * len(labels), list(labels))))[1]


def test_labels_become_numbers():
    assert numbers_of("1", " 0.5 ", "-2e1") == [1.0, 0.5, -20.0]


@pytest.mark.parametrize("label", ["yes", "是", "nan", "inf"])
def test_labels_that_are_no_numbers_are_named(label):
    with pytest.raises(FormatError, match=rf"t\.csv: record 2 has.*{label}"):
        numbers_of("1", label)


# ---- examples ----


def test_texts_are_read_as_the_method_reads_them(backbone):
    rows, frozen = pair_rows(("open file", "read", "1"), ("sort", "list", "0")), backbone()
    apart = examples(rows, frozen)
    assert [len(text.ids) for text in apart.first] == [4, 3]
    assert [len(text.ids) for text in apart.second] == [3, 3]
    joint = examples(rows, frozen, LadderConfig(task="score", pairs="joint", max_length=20))
    assert joint.second is None
    assert joint.first[0].segments == [0, 0, 0, 0, 1, 1]
    assert (joint.labels, joint.groups) == ([1.0, 0.0], [[0], [1]])


def lengths(*n):
    return Labelled([" ".join(["open"] * length) for length in n], ["1"] * len(n))


def test_texts_that_are_cut_are_noted(backbone):
    config = LadderConfig(max_length=10)
    with pytest.warns(ShoestringWarning, match=r"1 of 3 texts \(33 %\).* than the 10 tokens"):
        found = examples(lengths(3, 30, 2), backbone(), config)
    assert max(len(text.ids) for text in found.first) == 10


def test_texts_within_what_is_read_are_not_cut(backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        examples(lengths(7, 6), backbone(), LadderConfig(max_length=10))  # 9 with special tokens


def test_a_longer_length_is_not_advised_where_the_backbone_has_no_positions(backbone):
    with pytest.warns(ShoestringWarning, match="longer than the 40 tokens") as said:
        examples(lengths(60, 2), backbone(), LadderConfig(max_length=128))
    assert "--max-length" not in str(said[0].message)


def test_texts_that_the_backbone_does_not_know_are_noted(backbone):
    rows = Labelled(["open зачем", "read как"], ["1", "0"])
    with pytest.warns(ShoestringWarning, match=r"does not know 50% of these texts\..*tune mlm"):
        examples(rows, backbone(), LadderConfig(max_length=10))


def test_second_texts_that_are_cut_are_noted(backbone):
    rows = pair_rows(("open", "read " * 50, "1"), ("sort", "list " * 50, "0"))
    with pytest.warns(ShoestringWarning, match="longer than the 20 tokens"):
        examples(rows, backbone())


# ---- lists ----


def test_pairs_of_a_query_are_one_unit_where_most_have_right_and_wrong_ones(backbone):
    rows = pair_rows(
        ("open", "read", "1"), ("sort", "read", "0"), ("open", "list", "0"), ("sort", "list", "1"),
        ("join", "file", "1"),
    )  # fmt: skip
    found = examples(rows, backbone())
    assert found.groups == [[0, 2], [1, 3], [4]]
    assert found.are_lists


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
    assert train.are_lists == lists_learn
    assert held_out.are_lists is False
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
    assert examples(rows, backbone()).groups == [[row] for row in range(len(triples))]


def test_numbers_of_pairs_are_learnt_one_by_one(backbone):
    rows = pair_rows(("open", "read", "1"), ("open", "list", "0"))
    config = LadderConfig(task="regress", pairs="apart", max_length=20)
    assert examples(rows, backbone(), config).groups == [[0], [1]]


# ---- held out ----


def test_a_tenth_is_held_out_by_the_seed():
    whole = quiet_examples([[row] for row in range(50)])
    train, held = split(whole, 50, False, 3)
    assert (len(train), len(held)) == (45, 5)
    assert sorted(train.groups + held.groups) == whole.groups
    assert split(whole, 50, False, 3) == (train, held)
    assert split(whole, 50, False, 4)[1].groups != held.groups


def test_whole_queries_are_held_out():
    units = [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(10)]
    train, held = split(quiet_examples(units), 30, False, 0)
    assert (len(train), len(held)) == (9, 1)
    assert sorted(train.groups + held.groups) == units


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
    assert (train.groups, held.groups) == ([[0], [1], [2], [3], [4]], [[5], [6]])


def test_no_row_of_the_second_file_is_trained_on(backbone):
    train_rows = pair_rows(
        ("open", "read", "1"), ("open", "list", "0"), ("sort", "read", "0"), ("sort", "list", "1")
    )
    eval_rows = pair_rows(("open", "file", "1"), ("open", "write", "0"), ("join", "read", "1"))
    found = examples(train_rows + eval_rows, backbone(), n_train=4)
    train, held = split(found, 4, True, 0)
    assert sorted(row for unit in train.groups for row in unit) == [0, 1, 2, 3]
    assert sorted(row for unit in held.groups for row in unit) == [4, 5, 6]
