"""How a budget becomes anchor queries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.search.anchors import (
    MAX_ANCHORS,
    MIN_CALLS,
    anchor_plan,
    choose_queries,
    covering_order,
    queries_from_texts,
)
from shoestring.text import tokenize

texts = st.lists(st.text(st.sampled_from("ab c"), max_size=4), max_size=30)


@settings(max_examples=100)
@given(st.integers(1, 10**6), st.integers(1, 10**5), st.lists(st.integers(0, 10**4), max_size=50))
def test_a_plan_spends_the_budget_evenly(calls: int, n_items: int, paid: list[int]) -> None:
    paid = [min(before, n_items) for before in paid]
    plan = anchor_plan(calls, n_items, paid)
    assert len(plan) <= min(MAX_ANCHORS, len(paid)) and bool(plan) == bool(paid)
    totals = [new + before for new, before in zip(plan, paid, strict=False)]
    assert sum(plan) == min(calls, sum(n_items - before for before in paid[: len(plan)]))
    moved = [total for total, new in zip(totals, plan, strict=True) if new]
    if moved:
        assert max(moved) <= n_items and max(moved) - min(moved) <= 1
        assert all(total >= max(moved) - 1 for total in totals)
    if len(plan) > 1:
        assert min(totals) >= min(MIN_CALLS, n_items)


def test_a_second_budget_goes_on_to_queries_that_the_first_could_not_begin() -> None:
    first = anchor_plan(50, 1_000, [0] * 40)
    assert first == [25, 25]
    second = anchor_plan(600, 1_000, [*first, *[0] * 38])
    assert len(second) == MAX_ANCHORS and second[:2] == [0, 0] and max(second) == 20


@pytest.mark.parametrize(("calls", "n_items"), [(0, 100), (-5, 100), (100, 0)])
def test_nothing_buys_nothing(calls: int, n_items: int) -> None:
    assert anchor_plan(calls, n_items, [0]) == []
    assert anchor_plan(100, 100, []) == []


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


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(0, 5), st.integers(0, 20))
def test_each_query_covers_the_others_better_than_any_other_would(
    seed: int, n_pool: int, n_begun: int, n_queries: int
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n_pool, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near, n_begun = vectors @ vectors.T, min(n_begun, n_pool)
    order = covering_order(near, n_begun, n_queries)
    assert len(order) == len(set(order)) == min(n_queries, n_pool)
    assert order[:n_begun] == list(range(n_begun))[: len(order)]
    assert covering_order(near, n_begun, n_queries + 2)[: len(order)] == order

    def coverage(chosen: list[int]) -> float:
        return float(near[chosen].max(axis=0, initial=-1.0).sum())

    for place in range(n_begun, len(order)):
        others = [coverage([*order[:place], other]) for other in range(n_pool)]
        assert coverage(order[: place + 1]) >= max(others) - 1e-9


def test_anchors_cover_the_topics_of_the_queries() -> None:
    topics = np.repeat(np.eye(4), [20, 10, 6, 2], axis=0)
    order = covering_order(topics @ topics.T, 0, 4)
    assert sorted(int(topics[i].argmax()) for i in order) == [0, 1, 2, 3]


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
