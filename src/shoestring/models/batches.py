"""How texts are cut and batched for a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# No tokeniser in use averages more characters a token than this; what lies beyond cannot be read
# within max_length tokens, and a text of a megabyte is cut before it is tokenised.
CHARACTERS_PER_TOKEN = 20
TOKENS_PER_BATCH = 480  # one thread's work: its activations stay in the caches


def batches_by_length(lengths: Sequence[int], n_tokens: int) -> Iterator[list[int]]:
    """Cut rows, shortest first, into batches of at most ``n_tokens`` tokens after padding.

    Examples
    --------
    >>> list(batches_by_length([5, 1, 2, 9], n_tokens=6))
    [[1, 2], [0], [3]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[row] * (len(batch) + 1) > n_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
