"""The line in front of the scorer: shared pairs, deadlines, late scores, failures. No server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.serve.conftest import within

from shoestring import score_with
from shoestring.errors import DeadlineError, ScorerError
from shoestring.serve.scorer_queue import QueuedScorer, asked


def wait_for(condition):
    for _ in range(10_000):
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError("it does not happen")


def n_waiters(scorer, pair):
    score = scorer._scores.get(pair)
    return score.n_waiting if score else 0


def test_the_scores_are_those_of_the_scorer(held):
    pairs = [("a b", "b c"), ("a b", "a b"), ("x", "b c"), ("a b", "b c")]
    scorer = QueuedScorer(held.scorer)
    assert scorer.predict(pairs).tolist() == held.scorer.predict(pairs).tolist()
    assert scorer.name == "shared words"


def test_a_scorer_that_takes_lists_gets_them():
    lengths = score_with(lambda pairs: [len(text) for _, text in pairs], name="lengths")
    assert QueuedScorer(lengths).predict([("a", "b" * n) for n in range(5)]).tolist() == [*range(5)]


def test_identical_pairs_in_flight_are_scored_once(held):
    scorer, pairs = QueuedScorer(held.scorer), [("a", "x"), ("a", "y"), ("a", "z")]
    held.hold()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(scorer.predict, pairs) for _ in range(8)]
        wait_for(lambda: n_waiters(scorer, ("a", "z")) == 8)
        held.is_free.set()
        found = [answer.result().tolist() for answer in answers]
    assert sorted(held.pairs) == pairs and found == [[0.0] * 3] * 8
    assert not scorer._scores  # nothing is kept of what was handed out


def test_a_deadline_ends_the_waiting_and_tells_what_was_scored(held):
    def last_waits(query, text):
        if text == "last":
            held(query, text)
        return len(text)

    scorer = QueuedScorer(score_with(last_waits, name="n", single=True))
    held.hold()
    within(0.3)
    parts = []
    with pytest.raises(DeadlineError):
        for part in scorer.parts([("a", "x"), ("a", "last"), ("a", "never")]):
            parts += [part]
    assert [at.tolist() for at, _ in parts] == [[0]]


def test_what_nobody_waits_for_is_not_scored(held):
    scorer = QueuedScorer(held.scorer)
    held.hold()
    within(0.05)
    with pytest.raises(DeadlineError):
        scorer.predict([("a", "first"), ("a", "second")])
    asked.set(None)
    held.is_free.set()
    scorer.predict([("b", "third")])
    assert held.pairs == [("a", "first"), ("b", "third")]


def test_a_score_that_came_too_late_is_kept_for_who_asks_next(held):
    scorer = QueuedScorer(held.scorer)
    held.hold()
    within(0.05)
    with pytest.raises(DeadlineError):
        scorer.predict([("a", "a")])
    asked.set(None)
    held.is_free.set()
    scorer.predict([("b", "b")])  # after which the first is there
    assert scorer.predict([("a", "a")]).tolist() == [1.0]
    assert held.pairs == [("a", "a"), ("b", "b")] and not scorer._scores


def test_late_scores_do_not_grow_without_end(held, monkeypatch):
    monkeypatch.setattr("shoestring.serve.scorer_queue.MAX_KEPT", 3)
    scorer = QueuedScorer(held.scorer)
    for n in range(10):
        held.hold()
        within(0.02)
        with pytest.raises(DeadlineError):
            scorer.predict([("a", str(n))])
        asked.set(None)
        held.is_free.set()
        scorer.predict([("b", "b")])
    assert len(scorer._scores) <= 4


def test_a_failure_reaches_all_that_wait_and_the_next_asks_again():
    is_broken, may_answer = threading.Event(), threading.Event()
    is_broken.set()

    def sometimes(query, text):
        may_answer.wait(60)
        if is_broken.is_set():
            raise RuntimeError("no connection")
        return 1.0

    scorer = QueuedScorer(score_with(sometimes, name="s", single=True))
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(scorer.predict, [("a", "x")]) for _ in range(2)]
        wait_for(lambda: n_waiters(scorer, ("a", "x")) == 2)
        may_answer.set()
        for answer in answers:
            with pytest.raises(ScorerError, match="no connection"):
                answer.result()
    is_broken.clear()
    assert scorer.predict([("a", "x")]).tolist() == [1.0]


def test_a_scorer_of_ones_own_that_answers_nan_is_an_error_and_the_thread_goes_on():
    class Own:
        def predict(self, pairs):
            return np.full(len(pairs), np.nan if pairs[0][1] == "bad" else 2.0)

    scorer = QueuedScorer(Own())
    with pytest.raises(ScorerError, match="finite"):
        scorer.predict([("a", "bad")])
    assert scorer.predict([("a", "good")]).tolist() == [2.0]
