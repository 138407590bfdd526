"""Paying for the scores of one query: asks the scorer and keeps every answer at once."""

from __future__ import annotations

import threading

from shoestring.match.scorer import checked_scores, scorer_name
from shoestring.search.ledger import ScoreLedger, text_digests
from shoestring.search.snapshot import Snapshot
from shoestring.types import FloatArray, IntArray, PairScorer


class Payer:
    """Rows of a snapshot to a query's exact scores with them.

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
        Pairs asked for so far.
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
        self.calls = 0
        self._scorer, self._name, self._lock = scorer, scorer_name(scorer), lock
        self._snapshot, self._keys, self._query, self._ledger = snapshot, keys, query, ledger

    def __call__(self, rows: IntArray) -> FloatArray:
        """The scores (n,) of n rows; ScorerError if the scorer fails."""
        texts = self._snapshot.texts(self._keys[rows])
        with self._lock:
            scores = checked_scores(self._scorer, [(self._query, text) for text in texts])
        self._ledger.put(self._name, self._query, text_digests(texts), scores)
        self.calls += len(rows)
        return scores
