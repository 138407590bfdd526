"""Sparse binary codes: made, read, packed, counted."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from shoestring.errors import ParameterError, ShapeError
from shoestring.overlap.codes import (
    MAX_ACTIVE,
    join_codes,
    read_codes,
    top_k_codes,
)


def code_lists(n_bits, max_codes=8):
    return st.lists(st.sets(st.integers(0, n_bits - 1)).map(sorted), max_size=max_codes)


def top_of(values, k):
    return as_lists(read_codes(top_k_codes(values, k), values.shape[1], "a test"))


def as_lists(codes):
    return [sorted(codes.bits[a:b].tolist()) for a, b in pairwise(codes.starts)]


@given(
    st.lists(st.integers(-2, 2), min_size=1, max_size=12).flatmap(
        lambda row: st.tuples(st.just(row), st.integers(1, len(row)))
    ),
    st.sampled_from(["float32", "float64", "int16"]),
)
def test_top_k_takes_the_largest_and_of_equal_ones_the_lowest(case, dtype):
    row, k = case
    expected = sorted(sorted(range(len(row)), key=lambda i: (-row[i], i))[:k])
    assert top_of(np.array([row, row], dtype), k) == [expected, expected]


def test_top_k_takes_infinities_and_many_rows():
    values = np.random.default_rng(0).integers(0, 5, (20_000, 9)).astype(np.float32)
    values[0, :3] = np.inf, -np.inf, np.inf
    expected = np.sort(np.argsort(-values, axis=1, kind="stable")[:, :4], axis=1)
    assert top_of(values, 4) == expected.tolist()


@given(
    st.sampled_from([1, 7, 8, 64, 65, 300]).flatmap(lambda n: st.tuples(st.just(n), code_lists(n)))
)
def test_every_form_of_the_same_codes_reads_the_same(case):
    n_bits, lists = case
    truths = np.zeros((len(lists), n_bits), bool)
    for row, bits in zip(truths, lists, strict=True):
        row[bits] = True
    forms = [
        lists,
        [np.array(bits, np.int64) for bits in lists],
        truths,
        sp.csr_matrix(truths.astype(np.float32)),
        sp.coo_array(truths),
        np.packbits(truths, axis=1, bitorder="little"),
    ]
    for form in forms:
        assert as_lists(read_codes(form, n_bits, "a test")) == lists


def test_a_row_of_active_bits_is_read_whatever_its_order_and_type():
    expected = [[1, 4, 9], [0, 2, 3]]
    for dtype in (np.int8, np.int32, np.int64, np.uint16):
        codes = read_codes(np.array([[9, 1, 4], [2, 3, 0]], dtype), 10, "a test")
        assert np.sort(codes.bits.reshape(2, 3)).tolist() == expected


def test_wide_codes_keep_their_bits():
    lists = [[0, 65_535, 65_536, 1_000_000], [7]]
    assert as_lists(read_codes(lists, 1 << 20, "a test")) == lists
    packed = np.zeros((2, 1 << 17), np.uint8)
    packed[0, [0, 8191, 8192, 125_000]] = 1, 128, 1, 1
    packed[1, 0] = 128
    assert as_lists(read_codes(packed, 1 << 20, "a test")) == lists


def test_explicit_zeros_of_a_sparse_matrix_are_not_active():
    matrix = sp.csr_matrix((np.array([1, 0, 1]), [2, 3, 1], [0, 2, 3]), shape=(2, 5))
    assert as_lists(read_codes(matrix, 5, "a test")) == [[2], [1]]
    assert matrix.nnz == 3  # the caller's matrix is as it was


def test_a_fault_is_found_wherever_it_is_in_many_codes():
    lists = np.random.default_rng(0).permuted(np.tile(np.arange(300), (9_000, 1)), axis=1)
    assert as_lists(read_codes(lists, 300, "a test")) == [list(range(300))] * 9_000
    for row in (0, 3_500, 8_999):
        faulty = lists.copy()
        faulty[row, 299] = faulty[row, 0]
        with pytest.raises(ParameterError, match=f"twice in code {row}'"):
            read_codes(faulty, 300, "a test")


def test_joined_codes_are_one_after_the_other():
    parts = [read_codes(lists, 9, "a test") for lists in ([[1], []], [[2, 8]])]
    assert as_lists(join_codes(parts)) == [[1], [], [2, 8]]


@pytest.mark.parametrize(
    ("codes", "error", "sentence"),
    [
        ([[0, 10]], ParameterError, r"bits in \[0, 10\). Got 'bit 10 in code 0'"),
        ([[0], [3, -1]], ParameterError, "Got 'bit -1 in code 1'"),
        (np.array([[1, 2], [5, 5]]), ParameterError, "Got 'bit 5 twice in code 1'"),
        (np.zeros((2, 3), np.uint8), ShapeError, "have a byte for eight: a test needs 2. Got 3"),
        (np.array([[0, 4]], np.uint8), ParameterError, "Got 'bit 10 in code 0'"),
        (np.zeros((2, 9), bool), ShapeError, "a column for each bit: a test needs 10. Got 9"),
        (sp.csr_matrix((1, 9)), ShapeError, "a column for each bit: a test needs 10. Got 9"),
        (sp.csr_matrix([[0, 2] + [0] * 8]), ParameterError, "0 and 1. Got 2 instead"),
        (sp.csr_matrix([[np.nan] + [0] * 9]), ParameterError, "0 and 1. Got nan instead"),
        (np.zeros((2, 3)), ShapeError, "Got float64"),
        (np.array([1, 2, 3]), ShapeError, r"Got int64 \(3,\)"),
        ([1, 2, 3], ShapeError, r"Got int64 \(\) at position 0 of a list"),
        ([[1], [0.5]], ShapeError, r"Got float64 \(1,\) at position 1 of a list"),
        ([[1], [float("nan")]], ShapeError, "at position 1 of a list"),
        (["ab"], ShapeError, "at position 0 of a list"),
        (7, ShapeError, "Got int instead"),
        ([range(10), range(12)], ParameterError, "bit 10 in code 1"),
    ],
)
def test_what_is_no_code_is_named_in_a_sentence(codes, error, sentence):
    with pytest.raises(error, match=sentence):
        read_codes(codes, 10, "a test")


def test_a_code_of_too_many_bits_is_refused():
    with pytest.raises(ParameterError, match=f"at most {MAX_ACTIVE} active bits"):
        read_codes([[1], np.arange(MAX_ACTIVE + 1)], 1 << 20, "a test")
