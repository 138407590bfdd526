"""Which queries to take as anchors, which texts they are scored with, and how many calls each gets.

Measured (``python -m benchmarks.search.anchors_per_call``, docs/results.md): from 4 calls a text on
it hardly matters whether they are spent on few queries with every text or on up to 32 with their
most promising texts; at one call a text one whole row is better, and below that no anchor at all.
Random texts beside the promising ones bought nothing (docs/log.md). Rules for choosing among real
queries (k-means medoids, farthest first) gain no more than the choice of the seed moves. So: the
user's own queries where there are any, first sentences of random texts otherwise, up to 32 of them,
and an even share of the calls.

Not covered yet: fewer queries for budgets under 4 calls a text.

Letters: N items, m anchor queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shoestring.text import first_sentence, tokenize

MAX_ANCHORS = 32
MIN_CALLS = 20  # fewer of one query teach too little
MIN_TOKENS, MAX_CHARACTERS = 3, 200


def anchor_plan(calls: int, n_items: int, n_queries: int = MAX_ANCHORS) -> tuple[int, int]:
    """How many of the queries at hand a budget makes anchors, and the calls of each.

    Examples
    --------
    >>> anchor_plan(2_000, 6_500), anchor_plan(100, 6_500), anchor_plan(10**9, 1_000, 4)
    ((32, 62), (5, 20), (4, 1000))
    """
    n_most = min(MAX_ANCHORS, n_queries)
    if calls <= 0 or n_items <= 0 or n_most <= 0:
        return 0, 0
    share = min(n_items, max(MIN_CALLS, calls // n_most))
    return min(n_most, max(1, calls // share)), share


def choose_queries(queries: Sequence[str], n_queries: int, *, seed: int) -> list[str]:
    """A random choice without repetition, the same for the same seed, longer for a larger n."""
    distinct = list(dict.fromkeys(query.strip() for query in queries if query.strip()))
    order = np.random.default_rng(seed).permutation(len(distinct))
    return [distinct[i] for i in order[:n_queries]]


def queries_from_texts(texts: Sequence[str]) -> list[str]:
    """First sentences that could be queries: at least three tokens, at most 200 characters."""
    sentences = (first_sentence(text)[:MAX_CHARACTERS].strip() for text in texts)
    return [sentence for sentence in sentences if len(tokenize(sentence)) >= MIN_TOKENS]
