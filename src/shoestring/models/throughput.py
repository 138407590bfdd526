"""Pairs per second of a scorer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Throughput:
    """Counts pairs and seconds over the life of a scorer.

    Examples
    --------
    >>> throughput = Throughput()
    >>> with throughput.timing(100):
    ...     pass
    >>> throughput.pairs, throughput.pairs_per_second > 0
    (100, True)
    """

    pairs: int = 0
    seconds: float = 0.0

    @property
    def pairs_per_second(self) -> float:
        """Mean over every call so far; 0 before the first."""
        return self.pairs / self.seconds if self.seconds else 0.0

    @contextmanager
    def timing(self, n_pairs: int) -> Iterator[None]:
        """Count ``n_pairs`` and the time of the block, unless the block raises."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start
        self.pairs += n_pairs


class Timed:
    """A scorer that counts its pairs and seconds in ``throughput``."""

    throughput: Throughput

    @property
    def pairs_per_second(self) -> float:
        """Mean over every call so far; 0 before the first."""
        return self.throughput.pairs_per_second
