"""How a budget becomes anchor queries."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.search.anchors import (
    MAX_ANCHORS,
    MIN_CALLS,
    anchor_plan,
    choose_queries,
    queries_from_texts,
)
from shoestring.text import tokenize

texts = st.lists(st.text(st.sampled_from("ab c"), max_size=4), max_size=30)


@settings(max_examples=50)
@given(st.integers(0, 10**7), st.integers(1, 10**5), st.integers(1, 50))
def test_a_plan_never_spends_more_than_the_budget_and_wastes_little(
    calls: int, n_items: int, n_at_hand: int
) -> None:
    n_queries, share = anchor_plan(calls, n_items, n_at_hand)
    assert 0 <= n_queries <= min(MAX_ANCHORS, n_at_hand) and 0 <= share <= n_items
    if calls:
        assert n_queries >= 1
        assert n_queries * share <= max(calls, share)
        assert share >= min(n_items, MIN_CALLS)
    if n_queries < min(MAX_ANCHORS, n_at_hand) and calls:
        assert calls - n_queries * share < share  # no whole query could be paid any more


@pytest.mark.parametrize(("calls", "n_items"), [(0, 100), (-5, 100), (100, 0)])
def test_nothing_buys_nothing(calls: int, n_items: int) -> None:
    assert anchor_plan(calls, n_items) == (0, 0)
    assert anchor_plan(100, 100, 0) == (0, 0)


@settings(max_examples=50)
@given(texts, st.integers(0, 40), st.integers(0, 1000))
def test_a_choice_has_no_repetition_and_only_grows(
    queries: list[str], n_queries: int, seed: int
) -> None:
    chosen = choose_queries(queries, n_queries, seed=seed)
    distinct = {query.strip() for query in queries} - {""}
    assert len(chosen) == len(set(chosen)) == min(n_queries, len(distinct))
    assert set(chosen) <= distinct
    assert choose_queries(queries, n_queries + 3, seed=seed)[: len(chosen)] == chosen


def test_another_seed_chooses_others() -> None:
    queries = [f"query {i}" for i in range(100)]
    assert choose_queries(queries, 10, seed=0) != choose_queries(queries, 10, seed=1)
    assert choose_queries(queries, 10, seed=0) != queries[:10]


def test_queries_are_first_sentences_in_every_language() -> None:
    made = queries_from_texts(
        ["Sort a list in place. Then rest.", "保险怎么理赔？请看第三条。", "12 4031 77", "no", ""]
    )
    assert made[0].startswith("Sort a list in place")
    assert "rest" not in made[0]
    assert made[1].startswith("保险怎么理赔") and "第三" not in made[1]
    assert made[2:] == ["12 4031 77"]


def test_a_long_text_makes_a_short_query() -> None:
    (made,) = queries_from_texts(["word " * 200_000])
    assert len(made) <= 200 and len(tokenize(made)) >= 3
