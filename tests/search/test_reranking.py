"""Reranking the candidates of somebody else's retriever."""

import inspect

import numpy as np
import pytest

from shoestring import score_with
from shoestring.errors import ParameterError, ScorerError, ShoestringWarning
from shoestring.search import Reranker, rerank

N, WIDTH = 300, 16
TEXTS = [f"text {i} {'甲乙丙丁'[i % 4]}" for i in range(N)]
NUMBER = {text: i for i, text in enumerate(TEXTS)}


class Planted:
    """A scorer whose scores are linear in vectors, for any query, and counts its calls."""

    name = "planted"

    def __init__(self, seed=0, noise=0.0):
        rng = np.random.default_rng(seed)
        self.vectors = rng.normal(size=(N, WIDTH))
        self.taste = rng.normal(size=WIDTH)
        self.truth = self.vectors @ self.taste + noise * rng.normal(size=N)
        self.asked = []

    def predict(self, pairs):
        self.asked += [text for _, text in pairs]
        return [self.truth[NUMBER[text]] for _, text in pairs]

    def recall(self, hits):
        return len({hit["corpus_id"] for hit in hits} & {*np.argsort(-self.truth)[:10]}) / 10


@pytest.fixture
def planted():
    return Planted()


def test_with_calls_for_all_it_is_what_the_scorer_ranks(planted):
    hits = rerank("which", TEXTS, planted, calls=N)
    assert [hit["corpus_id"] for hit in hits] == np.argsort(-planted.truth).tolist()
    assert [hit["score"] for hit in hits] == sorted(planted.truth, reverse=True)
    assert all(hit["exact"] for hit in hits)


def test_it_answers_as_a_cross_encoder_does():
    theirs = pytest.importorskip("sentence_transformers").CrossEncoder.rank
    parameters = inspect.signature(rerank).parameters
    shared = ("query", "documents", "top_k", "return_documents")
    assert {*shared} <= {*parameters} & {*inspect.signature(theirs).parameters}
    (hit,) = rerank("红", ["红 鞋"], score_with(lambda q, d: 1, name="one", single=True), top_k=1,
                    return_documents=True)  # fmt: skip
    assert hit == {"corpus_id": 0, "score": 1.0, "exact": True, "text": "红 鞋"}


def test_few_calls_find_what_vectors_tell_of_the_scorer(planted):
    first = np.random.default_rng(1).normal(size=N)  # knows nothing
    hits = rerank("which", TEXTS, planted, 60, 10, vectors=planted.vectors, first_scores=first)
    assert len(planted.asked) == 60
    assert planted.recall(hits) >= 0.9
    blind = rerank("which", TEXTS, Planted(), 60, 10, first_scores=first)
    assert planted.recall(blind) <= 0.6


def test_the_retrievers_scores_say_where_to_begin(planted):
    first = planted.truth + np.random.default_rng(1).normal(size=N)
    hits = rerank("which", TEXTS, planted, 20, 10, first_scores=5 - 1e-6 * -first)  # any scale
    assert planted.recall(hits) >= 0.8
    turned = rerank("which", TEXTS, Planted(), 20, 10, first_scores=-first)
    assert planted.recall(turned) <= 0.3


def test_vectors_of_any_length_and_query_vector_count(planted):
    scales = np.random.default_rng(2).uniform(0.5, 9, (N, 1))
    of_length_1 = planted.vectors / np.linalg.norm(planted.vectors, axis=1, keepdims=True)
    one, other = (
        rerank("which", TEXTS, planted, 0, 5, vectors=vectors, query_vector=planted.taste)
        for vectors in (planted.vectors, scales * planted.vectors)
    )
    assert [hit["corpus_id"] for hit in one] == [hit["corpus_id"] for hit in other]
    near = of_length_1 @ planted.taste
    assert one[0]["corpus_id"] == np.argmax(near)
    assert not any(hit["exact"] for hit in one)


def test_words_are_enough(planted):
    texts = ["open a file", "close the door", "打开 一个 文件", "sort a list", "write it down"]
    scorer = score_with(lambda q, d: float(d == "打开 一个 文件"), name="one", single=True)
    assert rerank("怎么打开文件", texts, scorer, calls=1, top_k=1)[0]["corpus_id"] == 2
    assert rerank("file", texts, scorer, calls=0, top_k=1)[0]["corpus_id"] == 0


def test_equal_texts_are_paid_for_once(planted):
    hits = rerank("which", [TEXTS[0]] * 5, planted, calls=5)
    assert planted.asked == [TEXTS[0]]
    assert [hit["score"] for hit in hits] == [planted.truth[0]] * 5


def test_what_the_memory_has_is_free_and_survives(planted, tmp_path):
    memory, known = tmp_path / "scores.sqlite", {"vectors": planted.vectors}
    first = Reranker(planted, memory).rank("which", TEXTS, 30, 10, **known)
    assert Reranker(planted, memory).rank("which", TEXTS, 0, 10, **known) == first
    assert len(planted.asked) == 30
    Reranker(planted, memory).rank("which", TEXTS, 10, 10, **known)
    assert len(planted.asked) == len({*planted.asked}) == 40


def test_the_scorers_taste_is_learnt_over_queries(planted, tmp_path):
    rng = np.random.default_rng(3)

    def answer(reranker, query):  # nearness says much less of this scorer than first_scores
        known = {"vectors": rng.normal(size=(N, WIDTH)), "query_vector": rng.normal(size=WIDTH)}
        first = planted.truth + rng.normal(size=N)
        return planted.recall(reranker.rank(query, TEXTS, 0, 10, first_scores=first, **known))

    reranker = Reranker(planted, tmp_path / "scores.sqlite")
    before = np.mean([answer(reranker, f"before {i}") for i in range(20)])
    for i in range(15):
        first = planted.truth + rng.normal(size=N)
        known = {"vectors": rng.normal(size=(N, WIDTH)), "query_vector": rng.normal(size=WIDTH)}
        reranker.rank(f"which {i}", TEXTS, 30, 10, first_scores=first, **known)
    after = np.mean([answer(reranker, f"after {i}") for i in range(20)])
    assert after > before + 0.1


def test_it_is_the_same_each_time():
    one, other = (rerank("which", TEXTS, Planted(noise=1.0), 40, vectors=Planted().vectors)
                  for _ in range(2))  # fmt: skip
    assert one == other


def test_a_scorer_that_fails_leaves_a_partial_answer(planted):
    def fails(pairs):
        if len(planted.asked) >= 20:
            raise OSError("no more")
        return planted.predict(pairs)

    with pytest.warns(ShoestringWarning, match="rests on the 2"):
        hits = rerank("which", TEXTS, score_with(fails, name="f", max_batch=5), 60, 10)
    assert hits[0]["exact"]
    with pytest.raises(ScorerError, match="no more"):
        rerank("which", TEXTS, score_with(fails, name="g"), 60, 10)


def test_no_candidates_no_hits(planted):
    assert rerank("which", [], planted) == []
    assert rerank("which", [TEXTS[3]], planted, vectors=np.zeros((1, 4)))[0]["exact"]
    assert len(rerank("!", ["?", "..."], score_with(lambda q, d: 1, name="1", single=True), 0)) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"documents": "one text"}, "documents"),
        ({"query": 3}, "query"),
        ({"calls": -1}, "calls"),
        ({"top_k": 0}, "top_k"),
        ({"vectors": np.ones((4, 3))}, r"vectors.*\(300, D\).*\(4, 3\)"),
        ({"vectors": np.full((N, 3), np.nan)}, "NaN"),
        ({"vectors": np.ones((N, 3)), "query_vector": np.ones(4)}, r"query_vector.*\(3,\)"),
        ({"query_vector": np.ones(4)}, "left out without vectors"),
        ({"first_scores": [1, "a"]}, "first_scores"),
        ({"first_scores": np.ones((N, 1))}, r"first_scores.*\(300,\)"),
        ({"scorer": "no-such-model"}, "scorer"),
    ],
)
def test_wrong_values_are_told(planted, wrong, told):
    given = {"query": "which", "documents": TEXTS, "scorer": planted} | wrong
    with pytest.raises(ParameterError, match=told):
        rerank(**given)


def test_a_memory_is_a_file_of_sqlite(planted, tmp_path):
    with pytest.raises(ParameterError, match=r"\.sqlite"):
        Reranker(planted, tmp_path)
    with pytest.raises(ParameterError, match="place"):
        Reranker(planted, tmp_path / "no" / "s.sqlite").rank("which", TEXTS)


def test_a_function_without_a_name_is_refused_only_where_its_scores_are_kept(tmp_path):
    texts = ["blue", "red shoes"]
    assert rerank("red", texts, lambda pairs: [len(t) for _, t in pairs])[0]["corpus_id"] == 1
    with pytest.raises(ParameterError, match="a function with a name"):
        Reranker(lambda pairs: [0.0] * len(pairs), memory=tmp_path / "kept.sqlite")
