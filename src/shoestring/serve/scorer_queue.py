"""One thread that asks the scorer, for all requests of a server.

A pair that several requests want is scored once. Whoever waits leaves at the deadline of the
request; pairs that nobody waits for are not begun, and a score that comes too late is kept for who
asks next. A batch holds pairs of one request: batches over several are not known to help.

Not covered: several scorer threads; a scorer that can use several cores does so itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextvars import ContextVar
from math import inf
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import DeadlineError, ScorerError
from shoestring.match.scorer import FunctionScorer, Pair, answers_of, batch_size_of, scorer_name
from shoestring.types import IntArray, PairScorer

STEP_S = 0.25  # seconds of pairs that are scored at once, before it is looked who still waits
MAX_KEPT = 10_000  # scores that came too late


class Asked(NamedTuple):
    """What a request allows."""

    until: float = inf  # time.monotonic()
    slot: threading.Semaphore | None = None  # held at work, not while it waits for the scorer


asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


class _Score(Future[float]):
    """The score of a pair that somebody waits for."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair, self.n_waiting = pair, 0


class QueuedScorer(FunctionScorer):
    """A scorer that any number of threads may ask; the deadline is that of :data:`asked`."""

    is_thread_safe = True

    def __init__(self, scorer: PairScorer) -> None:
        name, size = scorer_name(scorer), batch_size_of(scorer)
        super().__init__(scorer.predict, name, size, single=False, threads=1)
        self.seconds_a_pair, self._scorer, self._least = 0.0, scorer, 1
        if isinstance(scorer, FunctionScorer):  # a call of it may cost the same for many pairs
            self._least = scorer.threads * (1 if scorer.single else scorer.max_batch)
        self._lock, self._jobs = threading.Lock(), SimpleQueue[list[_Score]]()
        self._scores: dict[Pair, _Score] = {}  # wanted, being made, or made too late
        threading.Thread(target=self._work, daemon=True, name="scorer").start()

    def parts(self, pairs: Sequence[Pair]) -> Iterator[tuple[IntArray, NDArray[np.float64]]]:
        """Scores as they come; DeadlineError when the time of the request is over."""
        request, scores, new = asked.get() or Asked(), list[_Score](), list[_Score]()
        with self._lock:
            if len(self._scores) > MAX_KEPT:
                self._scores = {p: s for p, s in self._scores.items() if not s.done()}
            for pair in pairs:
                score = self._scores.get(pair)
                if score is None or (score.done() and score.exception()):
                    score = self._scores[pair] = _Score(pair)
                    new.append(score)
                score.n_waiting += 1
                scores.append(score)
        self._jobs.put(new)
        left: set[Future[float]] = set(scores)
        try:
            while left:
                seconds = None if request.until == inf else request.until - time.monotonic()
                if request.slot:  # let others work meanwhile
                    request.slot.release()
                done, left = wait(left, seconds and max(0.0, seconds), FIRST_COMPLETED)
                if request.slot:
                    request.slot.acquire()
                if not done:
                    raise DeadlineError("The time for the answer ended before the calls did.")
                failed = [error for score in done if (error := score.exception())]
                at = [i for i, s in enumerate(scores) if s in done and not s.exception()]
                yield np.array(at, dtype=np.int64), np.array([scores[i].result() for i in at])
                if failed:
                    raise failed[0]
        finally:
            with self._lock:
                for score in scores:
                    score.n_waiting -= 1
                    if not score.n_waiting and (score.done() or score.cancel()):
                        self._scores.pop(score.pair, None)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            while job:
                n = max(self._least, int(STEP_S / max(self.seconds_a_pair or STEP_S, 1e-6)))
                with self._lock:
                    batch = [score for score in job[:n] if score.set_running_or_notify_cancel()]
                job = job[n:]
                if batch:
                    self._score(batch)

    def _score(self, batch: list[_Score]) -> None:
        began = time.perf_counter()
        try:
            for part, answer in answers_of(self._scorer, [score.pair for score in batch]):
                for i, number in zip(np.arange(len(batch))[part], answer.tolist(), strict=True):
                    batch[i].set_result(number)
        except Exception as error:
            told = error if isinstance(error, ScorerError) else ScorerError(f"The scorer: {error}")
            for score in batch:
                if not score.done():
                    score.set_exception(told)
        seconds = (time.perf_counter() - began) / len(batch)
        self.seconds_a_pair = 0.8 * (self.seconds_a_pair or seconds) + 0.2 * seconds
