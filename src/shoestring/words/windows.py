"""The windows of a corpus in a new random order for each epoch.

A window is W tokens of one sentence, stride 1; only sentences of W <= length < ``max_length`` have
any (the published preprocessing). Window number n is looked up among the numbers of windows before
each sentence; sentence offsets and ids may be memory-mapped.

The order is a permutation of [0, N) that is computed, not stored: a Feistel network of six rounds
permutes the integers of as many bits as N - 1 has, and a number that comes out at N or above is
put in again until it does not (cycle walking; fewer than two goes on average). Feistel networks:
Luby & Rackoff (1988). The published program shuffles an array of all windows instead.

Letters: T tokens, S sentences, N windows, V vocabulary, W window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoestring.compiled import njit
from shoestring.overlap.codes import starts_of
from shoestring.parallel import KernelPool
from shoestring.splitmix import splitmix64
from shoestring.types import IntArray

N_ROUNDS = 6


class Windows:
    """The N windows of ``width`` tokens of a corpus, each with the target in its middle.

    Ids (T,) are words 0 to V - 1, -1 is skipped; offsets (S + 1,) are where sentences begin, with a
    leading 0 and a trailing T; sentences of ``max_length`` tokens and more have no windows.
    None of it is checked. Memory: 8 bytes a sentence.

    Examples
    --------
    >>> ids = np.array([0, 1, 2, 1, 0, 2], dtype=np.int32)
    >>> windows = Windows(ids, np.array([0, 4, 6]), n_words=3, width=3, max_length=214)
    >>> windows.n_windows  # the second sentence is too short
    2
    >>> windows.rows(0, 2, order_keys(seed=0, epoch=0))
    array([[1, 5, 1], [0, 4, 2]], dtype=int32)
    """

    def __init__(
        self, ids: NDArray[np.int32], offsets: IntArray, n_words: int, width: int, max_length: int
    ) -> None:
        ids, offsets = ids.view(np.ndarray), offsets.view(np.ndarray)  # numba knows no memory map
        self.ids, self.offsets, self.n_words = ids, offsets, n_words
        self.width = width
        lengths = np.diff(offsets)
        has_windows = (lengths >= width) & (lengths < max_length)
        self.starts = starts_of(np.where(has_windows, lengths - width + 1, 0))  # (S + 1,)
        self.n_windows = int(self.starts[-1])

    def rows(
        self, first: int, last: int, keys: NDArray[np.uint64], pool: KernelPool | None = None
    ) -> NDArray[np.int32]:
        """The windows that have their turns from ``first`` to ``last`` in the order of ``keys``.

        int32 (last - first, W): w for a context word, V + w for the target, -1 for what is skipped.
        """
        rows = np.empty((last - first, self.width), dtype=np.int32)
        corpus = self.starts, self.ids, self.offsets, self.n_words
        (pool or KernelPool()).run(_fill, len(rows), first, keys, *corpus, rows)
        return rows


def order_keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    """The keys of the order of an epoch, uint64 (6,)."""
    sequence = np.random.SeedSequence([seed, epoch])
    return sequence.generate_state(N_ROUNDS, np.uint64).astype(np.uint64, copy=False)


@njit(nogil=True, cache=True)
def _window_in_turn(turn: int, n: int, keys: NDArray[np.uint64]) -> int:
    """The permutation of [0, n): which window has its turn."""
    n_bits = np.uint64(1)
    while n > 1 << n_bits:
        n_bits += np.uint64(1)
    low_bits = n_bits // np.uint64(2)
    high_bits = n_bits - low_bits
    number = np.uint64(turn)
    while True:
        high, low = number >> low_bits, number & ((np.uint64(1) << low_bits) - np.uint64(1))
        for i in range(len(keys)):  # each half is changed by the other in turn
            mixed = splitmix64((low if i % 2 else high) + keys[i])
            if i % 2:
                high ^= mixed & ((np.uint64(1) << high_bits) - np.uint64(1))
            else:
                low ^= mixed & ((np.uint64(1) << low_bits) - np.uint64(1))
        number = (high << low_bits) | low
        if number < np.uint64(n):
            return int(number)


@njit(nogil=True, cache=True)
def _fill(
    part: int,
    begin: int,
    stop: int,
    first: int,
    keys: NDArray[np.uint64],
    window_starts: IntArray,
    ids: NDArray[np.int32],
    offsets: IntArray,
    n_words: int,
    out: NDArray[np.int32],
) -> None:
    """Fill rows [begin, stop) of ``out``."""
    width = out.shape[1]
    for a in range(begin, stop):
        window = _window_in_turn(first + a, window_starts[-1], keys)
        sentence = np.searchsorted(window_starts, window, side="right") - 1
        start = offsets[sentence] + window - window_starts[sentence]
        for p in range(width):
            out[a, p] = ids[start + p]
        if out[a, width // 2] >= 0:  # the target
            out[a, width // 2] += n_words
