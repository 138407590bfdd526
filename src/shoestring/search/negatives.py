"""Hard negatives: what the first stage finds for a query, and is not right.

A pair scorer learns most from texts that the cheap stage mistakes for answers, as these are what it
will be asked about. Each query comes with its right texts and some wrong ones of the first places,
drawn at random, as pairs for ``shoestring tune score``, which learns them as lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from shoestring.artifacts import written_aside
from shoestring.checks import checked_int
from shoestring.errors import ParameterError
from shoestring.progress import Progress
from shoestring.search.index import SearchIndex
from shoestring.types import Record

DEPTH = 30  # places of the first stage that wrong texts are drawn from


def write_negatives(
    index: SearchIndex,
    queries: Iterable[Record],
    qrels: Mapping[str, Mapping[str, int]],
    out: Path,
    *,
    n: int = 3,
    seed: int = 0,
) -> int:
    """Write the right texts of each judged query, and wrong ones that the first stage likes.

    The index's scorer is never called. A grade above 0 is right, and nothing that was judged is
    drawn; queries without a right text in the index are left out. ``n`` is the number of wrong
    texts for each right one. Each line is ``{"a": query, "b": text, "label": 1 or 0}``; returns how
    many there are. ParameterError if n is below 1, or no query has a right text in the index.
    """
    n, count = checked_int("n", n, 1, None, "search negatives"), 0
    rng = np.random.default_rng(seed)
    with written_aside(out) as file:
        for query in Progress(queries, desc="queries", unit="query", disable=None):
            judged = qrels.get(query.id, {})
            with index.snapshot() as snapshot:
                keys = (snapshot.key_of(id) for id, grade in judged.items() if grade > 0)
                right = snapshot.texts([key for key in keys if key is not None])
            if not right:
                continue
            hits = index.query(query.text, k=DEPTH + len(judged), calls=0)
            wrong = [hit.text for hit in hits if hit.id not in judged][:DEPTH]
            chosen = np.sort(rng.permutation(len(wrong))[: n * len(right)])
            for text, label in [*((t, 1) for t in right), *((wrong[i], 0) for i in chosen)]:
                pair = {"a": query.text, "b": text, "label": label}
                file.write(json.dumps(pair, ensure_ascii=False).encode() + b"\n")
                count += 1
        if not count:
            want = "queries with a right text that is in the index"
            raise ParameterError.of("queries", "search negatives", want, "none such")
    return count
