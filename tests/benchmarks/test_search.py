"""What the benchmarks of search rest on: mixed texts, their judgements, a plain similarity."""

from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.search import ways
from benchmarks.search.corpora import Collection, mixed
from benchmarks.search.judge import Similarity, of_pairs


def test_mixed_texts_keep_their_judgements():
    texts = [f"text {i}" for i in range(20)]
    plain = Collection("c", "en", texts, ["a", "b"], {0: {0, 1}, 1: {7}}, [])
    found = mixed(plain)
    assert found.texts != texts
    assert sorted(found.texts) == sorted(texts)
    for query, relevant in plain.relevant.items():
        assert {found.texts[i] for i in found.relevant[query]} == {texts[i] for i in relevant}
    assert mixed(plain) == found


def test_ndcg_of_the_benchmark_is_that_of_ir_measures():
    import ir_measures

    rng = np.random.default_rng(0)
    relevant = {0: {3, 5}, 1: {1}, 2: {8, 9, 10, 11}}
    scores = rng.random((3, 40))
    bench = SimpleNamespace(collection=SimpleNamespace(relevant=relevant))
    qrels = {str(q): {str(t): 1 for t in texts} for q, texts in relevant.items()}
    run = {str(q): {str(t): float(s) for t, s in enumerate(row)} for q, row in enumerate(scores)}
    expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)
    assert ways.ndcg(bench, scores) == pytest.approx(*expected.values(), abs=1e-4)


def test_rare_words_of_a_query_weigh_more_than_common_ones():
    similar = Similarity.fitted("zh", ["the red hat", "the blue hat", "the red shoe", "a shoe"])
    rare, common = similar([("the red", "red"), ("the red", "the")])
    assert 0 < common < rare < 1
    assert similar([("the red", "the red")])[0] == pytest.approx(1.0)


def test_pairs_without_a_relevant_text_are_no_queries():
    queries, texts = of_pairs([("q", "a", 1.0), ("q", "b", 0.0), ("r", "b", 0.0), ("q", "c", 1.0)])
    assert texts == ["a", "b", "c"]
    assert queries == [("q", {0, 2})]
