"""Hard negatives: what the first stage finds for a query, and is not right.

A pair scorer learns most from texts that the cheap stage mistakes for answers, as these are what it
will be asked about. Each query comes with its right texts and some wrong ones of the first places,
drawn at random, as pairs for ``shoestring tune score``, which learns them as lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.artifacts import written_aside
from shoestring.checks import checked_int
from shoestring.errors import ParameterError
from shoestring.progress import Progress
from shoestring.search.index import SearchIndex
from shoestring.types import Record

DEPTH = 30  # places of the first stage that wrong texts are drawn from
_OWNER = "search negatives"


def hard_negatives(
    index: SearchIndex,
    queries: Iterable[Record],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    n: int = 3,
    depth: int = DEPTH,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Pairs of each judged query: its right texts, and wrong ones that the first stage likes.

    Parameters
    ----------
    index : SearchIndex
        Its scorer is never called.
    queries : iterable of Record
        Those without a right text in the index are left out.
    qrels : mapping
        Query id to text id to grade; above 0 is right, and nothing that was judged is drawn.
    n : int
        Wrong texts for each right one.
    depth : int
        Places that they are drawn from.
    seed : int

    Yields
    ------
    dict
        ``a`` the query, ``b`` the text, ``label`` 1 or 0.

    Raises
    ------
    ParameterError
        If n or depth cannot be; if no query has a right text in the index.
    """
    n, depth = checked_int("n", n, 1, None, _OWNER), checked_int("depth", depth, 1, None, _OWNER)
    rng = np.random.default_rng(seed)
    found = 0
    for query in queries:
        judged = qrels.get(query.id, {})
        right = [key for key, grade in judged.items() if grade > 0]
        with index.snapshot() as snapshot:
            keys = (snapshot.key_of(id) for id in right)
            texts = snapshot.texts([key for key in keys if key is not None])
        if not texts:
            continue
        hits = index.query(query.text, k=depth + len(judged), calls=0)
        wrong = [hit.text for hit in hits if hit.id not in judged][:depth]
        chosen = rng.permutation(len(wrong))[: n * len(texts)]
        found += 1
        for text in texts:
            yield {"a": query.text, "b": text, "label": 1}
        for rank in np.sort(chosen):
            yield {"a": query.text, "b": wrong[rank], "label": 0}
    if not found:
        want = "queries with a right text that is in the index"
        raise ParameterError.of("queries", _OWNER, want, "none such")


def write_negatives(pairs: Iterable[dict[str, Any]], out: Path, *, progress: bool = True) -> int:
    """Write pairs as lines of JSON; returns how many."""
    count = 0
    with written_aside(out) as file:
        for pair in Progress(pairs, desc="pairs", unit="pair", disable=None if progress else True):
            file.write(json.dumps(pair, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count
