"""Pairs per second of a scorer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timed:
    """A scorer that counts its pairs and seconds.

    Examples
    --------
    >>> scorer = Timed()
    >>> with scorer.timing(100):
    ...     pass
    >>> scorer.n_scored, scorer.pairs_per_second > 0
    (100, True)
    """

    n_scored = 0
    scoring_s = 0.0

    @property
    def pairs_per_second(self) -> float:
        """Mean over every call so far; 0 before the first."""
        return self.n_scored / self.scoring_s if self.scoring_s else 0.0

    @contextmanager
    def timing(self, n_pairs: int) -> Iterator[None]:
        """Count ``n_pairs`` and the time of the block, unless the block raises."""
        began = time.perf_counter()
        yield
        self.scoring_s += time.perf_counter() - began
        self.n_scored += n_pairs
