"""Which queries to take as anchors, which texts they are scored with, and how many calls each gets.

Measured (``python -m benchmarks.search.anchors_per_call``, see the results): calls on up to 32
queries with their most promising texts buy about as much as on few queries with every text: a
little less at 2 calls a text, a little more from 8 on. Random texts beside the promising ones
bought nothing (docs/log.md). Which queries are taken counts most where they are few: those that
cover the others best gain one to five points over random ones.
So: the user's own queries where there are any, first sentences of random texts otherwise; up to 32
of them, each the one that brings the others nearest to a chosen one (greedy facility location,
which is within 1 - 1/e of the best: Nemhauser, Wolsey & Fisher 1978); and an even share of all
calls, those of earlier builds included.

Letters: N items, m anchor queries, P queries at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from shoestring.text import split_first_sentence, tokenize
from shoestring.types import FloatArray

MAX_ANCHORS = 32
MIN_CALLS = 20  # fewer of one query teach next to nothing
MIN_TOKENS, MAX_CHARACTERS = 3, 200
POOL = 512  # queries that are chosen from at the most: each costs a vector


def anchor_plan(calls: int, n_items: int, paid: Sequence[int]) -> list[int]:
    """The new calls of each anchor query: as even as can be once they are added to the old ones.

    ``paid`` is what each query at hand has been paid for before, those begun first; none can use
    more than ``n_items``. The first queries get a share of the ``calls``: at most 32, and as many
    as come to :data:`MIN_CALLS`.

    Examples
    --------
    >>> anchor_plan(2_000, 6_500, [0] * 40) == [63] * 16 + [62] * 16
    True
    >>> anchor_plan(50, 6_500, [0] * 40), anchor_plan(10**9, 1_000, [0, 400])
    ([25, 25], [1000, 600])
    >>> anchor_plan(100, 6_500, [60, 10, 0, 0, 0, 0])  # a second budget evens out the first
    [0, 12, 22, 22, 22, 22]
    """
    if calls <= 0 or n_items <= 0 or not paid:
        return []
    begun = list(paid[:MAX_ANCHORS])
    while len(begun) > 1 and _level(calls, begun) < min(MIN_CALLS, n_items):
        begun.pop()
    level = min(_level(calls, begun), n_items)
    plan = [max(0, level - before) for before in begun]
    can_take = [j for j, before in enumerate(begun) if before <= level < n_items]
    for j in can_take[: max(0, calls - sum(plan))]:
        plan[j] += 1
    return plan


def _level(calls: int, paid: Sequence[int]) -> int:
    """What every query can be brought to, those that have more already left out."""
    sums = accumulate(sorted(paid))
    return min((calls + spent) // n for n, spent in enumerate(sums, start=1))


def choose_queries(queries: Sequence[str], n_queries: int, *, seed: int) -> list[str]:
    """A random choice without repetition, the same for the same seed, longer for a larger n."""
    distinct = list(dict.fromkeys(query.strip() for query in queries if query.strip()))
    order = np.random.default_rng(seed).permutation(len(distinct))
    return [distinct[i] for i in order[:n_queries]]


def covering_order(nearness: FloatArray, n_begun: int, n_queries: int) -> list[int]:
    """At most ``n_queries`` that bring all others nearest to a chosen one, best first.

    ``nearness`` (P, P) is that of each query with each, as the encoder says it; the first
    ``n_begun`` are chosen already, and stand first.

    Examples
    --------
    >>> near = np.array([[1, 0.9, 0, 0], [0.9, 1, 0.9, 0], [0, 0.9, 1, 0], [0, 0, 0, 1.0]])
    >>> covering_order(near, 0, 2), covering_order(near, 1, 3)
    ([1, 3], [0, 1, 3])
    """
    order = list(range(min(n_begun, n_queries)))
    covered = nearness[order].max(axis=0, initial=-1.0)
    while len(order) < min(n_queries, len(nearness)):
        gains = np.maximum(nearness - covered, 0.0).sum(axis=1, dtype=np.float64)
        gains[order] = -1.0
        order.append(int(gains.argmax()))
        covered = np.maximum(covered, nearness[order[-1]])
    return order


def queries_from_texts(texts: Sequence[str]) -> list[str]:
    """First sentences that could be queries: at least three tokens, at most 200 characters."""
    sentences = (split_first_sentence(text)[0][:MAX_CHARACTERS].strip() for text in texts)
    return [sentence for sentence in sentences if len(tokenize(sentence)) >= MIN_TOKENS]
