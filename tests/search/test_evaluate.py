"""The verdict on a scorer: whether its calls are worth anything."""

import json

import numpy as np
import pytest

pytest.importorskip("ir_measures")

from shoestring import Record, SearchIndex, score_with
from shoestring.errors import ParameterError
from shoestring.search.evaluate import evaluate

N = 60
TEXTS = [f"{['red', 'blue', 'green'][i % 3]} thing number {i}" for i in range(N)]
QUERIES = [Record(f"q{i}", f"thing number {i}") for i in range(20)]
RIGHT = {f"q{i}": {str(i + 31): 1} for i in range(20)}  # not what words would say
NUMBER = {text: i for i, text in enumerate(TEXTS)}


def found(tmp_path, scores, qrels=RIGHT, calls=(20, 60), mixes=()):
    def judge(query, text):
        return scores(int(query.split()[-1]), NUMBER[text])

    records = [Record(str(i), text) for i, text in enumerate(TEXTS)]
    scorer = score_with(judge, name="judge", single=True)
    index = SearchIndex.build(tmp_path / "i", records, scorer=scorer, encoder="lsa", progress=False)
    return evaluate(index, QUERIES, qrels, calls=calls, mixes=mixes, progress=False)


def test_a_scorer_that_knows_is_worth_its_calls(tmp_path):
    told = found(tmp_path, lambda query, text: -abs(query + 31.2 - text))
    assert "60 calls are worth +" in told.verdict or "20 calls are worth +" in told.verdict
    rows = {(row.way, row.calls): row for row in told.rows}
    ours = rows["shoestring", 60]
    assert ours.recall == 1.0 and ours.own == 1.0 and ours.low > 0
    assert rows["shoestring", 0].gain == 0.0
    assert {row.way for row in told.rows} == {
        *("BM25", "vectors", "shoestring", "BM25, then rerank", "vectors, then rerank")
    }
    assert len(told.queries) == 20 * len(told.rows)


def test_a_scorer_that_knows_nothing_is_told(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(N, N))
    right = {f"q{i}": {str(i): 1} for i in range(20)}
    told = found(tmp_path, lambda query, text: noise[query, text], right)
    assert "makes the answers worse" in told.verdict
    assert "Search with 0 calls" in told.verdict


def test_a_scorer_that_says_what_the_words_say_adds_nothing(tmp_path):
    right = {f"q{i}": {str(i): 1} for i in range(20)}
    told = found(tmp_path, lambda query, text: -abs(query - text), right)
    assert "adds nothing that can be told" in told.verdict


def test_without_judgements_it_says_how_often_the_first_answer_changes(tmp_path):
    told = found(tmp_path, lambda query, text: -abs(query + 31.2 - text), None)
    assert "changes the vectors' first answer for 100% of the queries" in told.verdict
    assert all(row.ndcg is None and row.gain is None for row in told.rows)
    assert told.rows[-1].own == 1.0
    same = found(tmp_path / "j", lambda query, text: -abs(query - text), None)
    assert "for 0% of the queries" in same.verdict


def test_the_first_guess_is_mixed_in_where_the_scorer_harms(tmp_path):
    noise = np.random.default_rng(0).normal(size=(N, N))
    right = {f"q{i}": {str(i): 1} for i in range(20)}
    told = found(tmp_path, lambda query, text: noise[query, text], right, (60,), (0.5, 1.0))
    rows = {(row.way, row.calls): row for row in told.rows}
    assert told.mix > 0
    assert rows["shoestring, mixed with the first guess", 60].gain == 0.0
    assert rows["shoestring", 60].gain < -20
    good = found(tmp_path / "j", lambda query, text: -abs(query - text), right, (60,), (0.5, 1.0))
    assert good.mix == 0.0  # the scorer alone, as nothing is better
    index = SearchIndex.open(
        tmp_path / "i", scorer=score_with(lambda pairs: [0.0] * len(pairs), "0")
    )
    index.set_mix(1.0)
    first = [hit.id for hit in index.query("thing number 3", calls=0)]
    assert [hit.id for hit in index.query("thing number 3", calls=20)] == first
    assert index.info()["mix"] == 1.0


def test_numbers_of_calls_are_above_0(tmp_path):
    with pytest.raises(ParameterError, match="above 0"):
        found(tmp_path, lambda query, text: 0.0, calls=(0,))


def test_the_command_ends_in_the_verdict(tmp_path, run_command):
    found(tmp_path, lambda query, text: 0.0)
    queries = tmp_path / "q.jsonl"
    lines = [json.dumps({"id": q.id, "text": q.text}) for q in QUERIES]
    queries.write_text("\n".join(lines))
    code, out, err = run_command("search", "eval", tmp_path / "i", queries, "--scorer", "minilm",
                                 "--calls", "2")  # fmt: skip
    assert code == 0, err
    assert "Only judgements can tell" in out
