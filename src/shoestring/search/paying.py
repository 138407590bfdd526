"""Paying for the scores of one query: asks the scorer and keeps every answer at once."""

from __future__ import annotations

import threading
import time

import numpy as np

from shoestring.match.scorer import FunctionScorer, checked_scores, scorer_name
from shoestring.search.ledger import ScoreLedger, text_digests
from shoestring.search.snapshot import Snapshot
from shoestring.types import FloatArray, IntArray, PairScorer


class Payer:
    """Rows of a snapshot to a query's exact scores with them; what was paid for before is free.

    Parameters
    ----------
    scorer : PairScorer
    snapshot : Snapshot
    keys : int64 array (N,)
        Of the rows.
    query : str
    ledger : ScoreLedger
        Where the scores are kept.
    lock : lock
        Held while the scorer works: a model is asked by one thread at a time.

    Attributes
    ----------
    calls : int
        Pairs that the scorer was asked for so far.
    seconds : float
        How long it took.
    batch_size : int
        Pairs that it is asked for at once at the most; their scores are kept together.
    """

    def __init__(
        self,
        scorer: PairScorer,
        snapshot: Snapshot,
        keys: IntArray,
        query: str,
        ledger: ScoreLedger,
        lock: threading.RLock,
    ) -> None:
        self.calls, self.seconds = 0, 0.0
        self._scorer, self._name, self._lock = scorer, scorer_name(scorer), lock
        self._snapshot, self._keys, self._query, self._ledger = snapshot, keys, query, ledger
        # A function is asked a batch at a time anyhow: so what it answered before it fails is kept.
        self.batch_size = scorer.batch_size if isinstance(scorer, FunctionScorer) else 1 << 62

    def __call__(self, rows: IntArray) -> FloatArray:
        """The scores (n,) of n rows; ScorerError if the scorer fails."""
        texts = self._snapshot.texts(self._keys[rows])
        digests, first, which = np.unique(
            text_digests(texts), return_index=True, return_inverse=True
        )  # equal texts are paid for once
        scores = self._ledger.get(self._name, self._query, digests)
        unpaid = np.flatnonzero(np.isnan(scores))
        unpaid = unpaid[np.argsort(first[unpaid])]
        for start in range(0, len(unpaid), self.batch_size):
            batch = unpaid[start : start + self.batch_size]
            scores[batch] = self._ask([(self._query, texts[i]) for i in first[batch]])
            self._ledger.put(self._name, self._query, digests[batch], scores[batch])
        return np.asarray(scores[which])

    def _ask(self, pairs: list[tuple[str, str]]) -> FloatArray:
        began = time.perf_counter()
        with self._lock:
            scores = checked_scores(self._scorer, pairs)
        self.seconds += time.perf_counter() - began
        self.calls += len(pairs)
        return scores
