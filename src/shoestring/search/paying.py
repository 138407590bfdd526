"""Paying for the scores of one query: asks the scorer and keeps every answer at once."""

from __future__ import annotations

import threading
import time

import numpy as np

from shoestring.match.scorer import checked_scores, scorer_name
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

    def __call__(self, rows: IntArray) -> FloatArray:
        """The scores (n,) of n rows; ScorerError if the scorer fails."""
        texts = self._snapshot.texts(self._keys[rows])
        digests = text_digests(texts)
        scores = self._ledger.get(self._name, self._query, digests)
        unpaid = np.flatnonzero(np.isnan(scores))
        if len(unpaid):
            pairs = [(self._query, texts[i]) for i in unpaid]
            began = time.perf_counter()
            with self._lock:
                scores[unpaid] = checked_scores(self._scorer, pairs)
            self.seconds += time.perf_counter() - began
            self._ledger.put(self._name, self._query, digests[unpaid], scores[unpaid])
            self.calls += len(unpaid)
        return scores
