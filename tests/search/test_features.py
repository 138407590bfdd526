"""Rows of numbers and of packed bits answer the rounds alike."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shoestring.search.features import nearness, numbers, product, sums


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 2**32))
def test_packed_rows_equal_the_same_bits_as_numbers(n_rows: int, n_bytes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    packed = rng.integers(256, size=(n_rows, n_bytes), dtype=np.uint8)
    dense = numbers(packed).astype(np.float32)
    weights = rng.normal(size=8 * n_bytes)
    np.testing.assert_allclose(product(packed, weights), product(dense, weights), atol=1e-4)
    assert np.array_equal(sums(packed)[0], sums(dense)[0])
    assert sums(packed)[1] == sums(dense)[1]


def test_nearness_of_codes_is_the_shared_bits_over_those_of_a_code() -> None:
    rng = np.random.default_rng(0)
    bits = np.zeros((50, 400), np.uint8)
    for row in bits[:49]:  # the last text has no known word
        row[rng.choice(400, 50, replace=False)] = 1
    codes = np.packbits(bits, axis=1, bitorder="little")
    for query in (codes[7], codes[49]):
        out = nearness(codes, query)
        shared = (numbers(query) & bits).sum(axis=1)
        assert np.array_equal(out, shared.astype(np.float32) / np.float32(50))  # to the last bit
    assert not out.any()


def test_a_product_is_the_same_whatever_the_rows_around(tmp_path) -> None:  # type: ignore[no-untyped-def]
    np.save(
        tmp_path / "codes.npy", np.random.default_rng(1).integers(256, size=(999, 50), dtype="u1")
    )
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    weights = np.random.default_rng(2).normal(size=400)
    parts = [product(mapped[start : start + 100], weights) for start in range(0, 999, 100)]
    assert np.array_equal(product(mapped, weights), np.concatenate(parts))
