"""Positive PMI by blocks of rows against its definition written down naively."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.words import ppmi
from shoestring.words.ppmi import joined, pmi_blocks

N_WORDS = 12


def corpus(lengths, seed=0):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rng = np.random.default_rng(seed)
    return rng.integers(-1, N_WORDS, size=offsets[-1], dtype=np.int32), offsets


def positive_pmi(ids, offsets, n_words, radius=5, **options):
    return joined(list(pmi_blocks(ids, offsets, n_words, radius=radius, **options)))


def pmi_by_definition(ids, offsets, radius, power=0.75):
    together = np.zeros((N_WORDS, N_WORDS))
    for first, last in pairwise(offsets):
        for t in range(first, last):
            for u in range(first, last):
                if t != u and abs(t - u) <= radius and ids[t] >= 0 and ids[u] >= 0:
                    together[ids[t], ids[u]] += 1 / abs(t - u)
    rows = together.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = rows[:, None] * (rows**power / (rows**power).sum())
        pmi = np.log(together / chance)
    return np.where(together > 0, np.maximum(pmi, 0), 0)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=20), st.integers(1, 4))
def test_positive_pmi_equals_its_definition(lengths, radius):
    ids, offsets = corpus(lengths, seed=sum(lengths))
    matrix = positive_pmi(ids, offsets, N_WORDS, radius=radius)
    expected = pmi_by_definition(ids, offsets, radius)
    assert np.allclose(matrix.toarray(), expected, atol=1e-6)


def test_blocks_and_threads_change_no_bit(monkeypatch):
    ids, offsets = corpus([30] * 40)
    whole = positive_pmi(ids, offsets, N_WORDS)
    monkeypatch.setattr(ppmi, "BLOCK_BYTES", 8 * N_WORDS * 2)  # two rows
    parts = positive_pmi(ids, offsets, N_WORDS, n_threads=3)
    assert whole.nnz > 20
    for name in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_of_too_many_contexts_the_largest_stay():
    ids, offsets = corpus([30] * 40)
    whole = positive_pmi(ids, offsets, N_WORDS).toarray()
    few = positive_pmi(ids, offsets, N_WORDS, max_contexts=3).toarray()
    assert (np.count_nonzero(whole, axis=1) > 3).any()
    for all_of_row, kept in zip(whole, few, strict=True):
        assert np.array_equal(np.sort(kept)[-3:], np.sort(all_of_row)[-3:])
        assert np.count_nonzero(kept) == min(3, np.count_nonzero(all_of_row))


def test_of_equal_contexts_no_more_stay_than_asked():
    ids = np.array([0, 1, 0, 2, 0, 3, 0, 4, 5, 6], dtype=np.int32)
    matrix = positive_pmi(ids, np.array([0, 2, 4, 6, 8, 10]), 7, max_contexts=2)
    assert matrix[[0]].indices.tolist() == [1, 2]


@pytest.mark.parametrize("ids", [[], [-1, -1], [3]])
def test_a_corpus_without_pairs_gives_an_empty_matrix(ids):
    array = np.array(ids, dtype=np.int32)
    matrix = positive_pmi(array, np.array([0, len(ids)]), 5)
    assert matrix.shape == (5, 5)
    assert matrix.nnz == 0
