"""Exact scores of every query with every text: the truth that the search benchmark measures against.

``python -m benchmarks.search.matrices`` scores what is missing, a query at a time, and can be stopped
and started at will; the matrices go to ``.cache/matrices``, outside git (float32, one row a query: the
test queries first, then the pool of anchor queries). Rows are filled in an order that makes every
collection usable early.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.data import CACHE
from benchmarks.search.corpora import COLLECTIONS, Collection, load
from benchmarks.train_scorer import model_folder

SCORERS = ("cross-encoder", "token-interaction")
STAGES = ((24, 32), (40, 48))  # test queries and anchor queries scored up to each stage


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


def make_scorer(scorer: str, language: str):
    """The pair scorer of a benchmark, by name."""
    from shoestring.match import TokenInteraction, load_scorer

    return TokenInteraction() if scorer == "token-interaction" else load_scorer(model_folder(language))


def fill(name: str, scorer: str, stage: int) -> None:
    """Score the rows of one collection up to a stage."""
    collection = load(name)
    matrix = open_matrix(collection, scorer)
    n_test, n_anchors = STAGES[stage]
    first = len(collection.queries)
    rows = [*range(min(n_test, first)), *range(first, min(first + n_anchors, len(matrix)))]
    rows = [row for row in rows if np.isnan(matrix[row]).any()]
    if not rows:
        return
    queries = [*collection.queries, *collection.anchors]
    model = make_scorer(scorer, collection.language)
    for row in tqdm(rows, desc=f"{name} {scorer}", mininterval=10):
        matrix[row] = model.predict([(queries[row], text) for text in collection.texts])
        matrix.flush()


def main() -> None:
    """Fill every matrix, stage by stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collections", default=",".join(COLLECTIONS))
    parser.add_argument("--scorers", default=",".join(SCORERS))
    options = parser.parse_args()
    for stage in range(len(STAGES)):
        for scorer in options.scorers.split(","):
            for name in options.collections.split(","):
                fill(name, scorer, stage)


if __name__ == "__main__":
    main()
