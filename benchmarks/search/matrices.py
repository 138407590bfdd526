"""Exact scores of every query with every text: the truth of the search benchmark.

``python -m benchmarks.search.matrices`` scores what is missing, a query at a time, and can be
stopped and started at will; the matrices go to ``.cache/matrices``, outside git (float32, one row
a query: the test queries first, then the pool of anchor queries). Rows are filled in an order
that makes every collection usable early.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.data import CACHE
from benchmarks.search.corpora import COLLECTIONS, SIZES, Collection, load
from benchmarks.search.judge import load_judge
from benchmarks.train_scorer import model_folder

STAGES = ((24, 32), (24, 40), (40, 40), (40, 48))  # test and anchor queries of each stage


def matrix_path(collection: Collection, scorer: str) -> Path:
    """Where the scores of a collection by a scorer are cached."""
    return CACHE / "matrices" / f"{collection.name}-{len(collection.texts)}-{scorer}.npy"


def open_matrix(collection: Collection, scorer: str) -> np.memmap:
    """The cached matrix (queries + anchors, texts), NaN where it has not been scored."""
    path = matrix_path(collection, scorer)
    shape = (len(collection.queries) + len(collection.anchors), len(collection.texts))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full(shape, np.nan, dtype=np.float32))
    return np.load(path, mmap_mode="r+")


def row_scorer(scorer: str, collection: Collection) -> Callable[[str], np.ndarray]:
    """A function from a query to its exact scores with every text."""
    from shoestring.match.scorer import load_scorer

    if scorer == "judge":
        judge = load_judge(collection.language)
        return lambda query: judge([(query, text) for text in collection.texts])
    is_plain = scorer == "token-interaction"
    model = load_scorer("minilm" if is_plain else model_folder(collection.language))
    return lambda query: model.predict([(query, text) for text in collection.texts])


def fill(name: str, scorer: str, stage: int) -> None:
    """Score the rows of one collection up to a stage."""
    collection = load(name, scorer)
    matrix = open_matrix(collection, scorer)
    n_test, n_anchors = STAGES[stage]
    first = len(collection.queries)
    rows = [*range(min(n_test, first)), *range(first, min(first + n_anchors, len(matrix)))]
    rows = [row for row in rows if np.isnan(matrix[row]).any()]
    if not rows:
        return
    queries = [*collection.queries, *collection.anchors]
    score = row_scorer(scorer, collection)
    for row in tqdm(rows, desc=f"{name} {scorer}", mininterval=10):
        if np.isnan(matrix[row]).any():  # another process may have scored it meanwhile
            matrix[row] = score(queries[row])
            matrix.flush()


def main() -> None:
    """Fill every matrix, stage by stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collections", default=",".join(COLLECTIONS))
    parser.add_argument("--scorers", default=",".join(SIZES))
    options = parser.parse_args()
    for stage in range(len(STAGES)):
        for scorer in options.scorers.split(","):
            for name in options.collections.split(","):
                if name in SIZES[scorer]:
                    fill(name, scorer, stage)


if __name__ == "__main__":
    main()
