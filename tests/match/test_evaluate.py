"""Splits without leakage, figures of scores, the score that means "match"."""

from __future__ import annotations

import numpy as np
import pytest

from shoestring.errors import ShoestringWarning
from shoestring.match.evaluate import components, leakage, split_by_components
from shoestring.match.pairs import Pairs


def random_pairs(n: int, n_texts: int, seed: int = 0) -> Pairs:
    numbers = np.random.default_rng(seed).integers(n_texts, size=(n, 2))
    return Pairs.of([(f"text {a}", f"text {b}", int(a + b) % 2) for a, b in numbers])


@pytest.mark.parametrize("seed", range(5))
def test_no_text_is_on_both_sides_and_no_pair_is_lost(seed: int) -> None:
    pairs = random_pairs(400, 900, seed)
    train, held_out = split_by_components(pairs, 0.2, seed)
    assert leakage(train, held_out) == {"texts": 0, "pairs": 0, "rows": 0}
    assert len(held_out) == 80
    assert sorted(train.both + held_out.both) == sorted(pairs.both)


def test_components_are_those_of_a_search_through_the_graph() -> None:
    pairs = random_pairs(60, 70)
    parent = {text: text for pair in pairs.both for text in pair}

    def root(text: str) -> str:
        return text if parent[text] == text else root(parent[text])

    for a, b in pairs.both:
        parent[root(a)] = root(b)
    found = components(pairs)
    same = np.array([[root(a) == root(b) for b in pairs.a] for a in pairs.a])
    assert ((found[:, None] == found) == same).all()


def test_the_same_seed_holds_out_the_same_pairs_and_another_seed_others() -> None:
    pairs = random_pairs(400, 900)
    first, again, other = (split_by_components(pairs, 0.2, seed)[1].both for seed in (1, 1, 2))
    assert first == again != other


def test_a_giant_component_is_told_and_trained_on() -> None:
    star = Pairs.of([("hub", f"text {n}", n % 2) for n in range(95)])
    rest = Pairs.of([(f"a{n}", f"b{n}", n % 2) for n in range(5)])
    with pytest.warns(ShoestringWarning, match="95 of all 100 pairs"):
        train, held_out = split_by_components(star + rest, 0.2)
    assert len(train) == 95 and len(held_out) == 5


def test_where_all_pairs_are_connected_nothing_is_held_out() -> None:
    with pytest.warns(ShoestringWarning, match="Only 0 pairs are held out of 1"):
        train, held_out = split_by_components(Pairs.of([("a", "b", 1), ("b", "c", 0)]))
    assert len(train) == 2 and len(held_out) == 0


def test_leakage_sees_pairs_in_either_order_and_other_writing() -> None:
    train = Pairs.of([("Turn it  on", "turn it off", 0)])
    test = Pairs.of([("turn it off", "turn it on", 0), ("turn it on", "new", 1), ("x", "y", 1)])
    assert leakage(train, test) == {"texts": 2, "pairs": 1, "rows": 2}
