"""The ways to search that are compared, each with every call of the scorer counted.

Everything here reads scores from a cached exact matrix instead of calling the scorer: a look-up is
a call. Ours runs the library's own index and rounds; the peers are written from their sources.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.search.anncur import anncur_estimate
from benchmarks.search.corpora import Collection
from shoestring import SearchIndex, score_with
from shoestring.search.cur import top_rows
from shoestring.search.query import search_rounds

K = 10
ANNCUR_SPLITS = (0.25, 0.5, 0.75)  # share of a budget that goes to anchor items
Choose = Callable[[int, int], np.ndarray]  # (test query, calls) -> rows in the order of the answer


@dataclass(frozen=True)
class Bench:
    """A collection with its exact scores, and indexes of it without any anchor scores."""

    collection: Collection
    tests: np.ndarray  # (queries, N): exact scores
    anchors: np.ndarray  # (pool, N)
    folder: Path  # of the indexes

    @property
    def index(self) -> Path:
        """The index that the library would make: vectors and words."""
        return self.index_of("minilm" if self.collection.language == "en" else "lsa")

    def index_of(self, encoder: str) -> Path:
        """An index of an encoder, built where it is first asked for."""
        path = self.folder / encoder
        if not path.exists():
            texts = self.collection.texts
            records = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
            scorer = score_with(lambda pairs: np.zeros(len(pairs)), name="matrix")
            SearchIndex.build(path, records, scorer=scorer, encoder=encoder, progress=False)
        return path

    @property
    def n_items(self) -> int:
        """Texts."""
        return self.tests.shape[1]


@contextmanager
def bench(collection: Collection, matrix: np.ndarray) -> Iterator[Bench]:
    """Where an index is built once for each encoder; variants are made of copies of it."""
    n_test = len(collection.queries)
    whole = ~np.isnan(matrix).any(axis=1)
    tests, anchors = matrix[:n_test][whole[:n_test]], matrix[n_test:][whole[n_test:]]
    queries = [q for q, ok in zip(collection.queries, whole[:n_test], strict=True) if ok]
    pool = [q for q, ok in zip(collection.anchors, whole[n_test:], strict=True) if ok]
    kept = Collection(
        collection.name,
        collection.language,
        collection.texts,
        queries,
        {i: collection.relevant[i] for i in range(len(queries))},
        pool,
    )
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(kept, tests, anchors, Path(folder))


def chosen_anchors(bench: Bench, n_anchors: int, seed: int) -> np.ndarray:
    """Anchor queries drawn at random from the pool: the same for every way."""
    return np.random.default_rng(seed).permutation(len(bench.anchors))[:n_anchors]


def ours(
    bench: Bench,
    anchors: np.ndarray,
    calls: int,
    *,
    shuffled: bool = False,
    seed: int = 0,
    encoder: str | None = None,
) -> Choose:
    """The library: an index with so many calls spent on these anchor queries, then the rounds."""
    texts = {text: i for i, text in enumerate(bench.collection.texts)}
    rows = {bench.collection.anchors[i]: bench.anchors[i] for i in anchors}
    if shuffled:  # the control: anchor scores that belong to other texts
        rng = np.random.default_rng(seed)
        rows = {query: rng.permutation(row) for query, row in rows.items()}

    def look_up(pairs: list[tuple[str, str]]) -> list[float]:
        return [float(rows[query][texts[text]]) for query, text in pairs]

    path = bench.folder / f"variant-{np.random.default_rng().integers(1 << 40)}"
    shutil.copytree(bench.index_of(encoder) if encoder else bench.index, path)
    index = SearchIndex.build(
        path,
        scorer=score_with(look_up, name="matrix"),
        queries=[bench.collection.anchors[i] for i in anchors],
        calls=calls,
        resume=True,
        progress=False,
    )
    looks = {}
    with index.snapshot() as snapshot:
        ids = np.array([int(id) for id in snapshot.ids(snapshot.keys)])
        for test, query in enumerate(bench.collection.queries):
            looks[test] = index.first_look(snapshot, query)

    def choose(test: int, budget: int) -> np.ndarray:
        nothing = np.empty(0, dtype=np.int64), np.empty(0)
        exact = bench.tests[test][ids]
        rounds = search_rounds(looks[test], nothing, budget, lambda at: exact[at])
        return ids[rounds.ranking(K)[0]]

    return choose


def first_scores(bench: Bench) -> dict[str, np.ndarray]:
    """What the vectors and BM25 say of every pair, (queries, N)."""
    index = SearchIndex.open(bench.index)
    cheap = np.empty((len(bench.tests), bench.n_items, 4), dtype=np.float32)
    with index.snapshot() as snapshot:
        ids = np.array([int(id) for id in snapshot.ids(snapshot.keys)])
        for test, query in enumerate(bench.collection.queries):
            cheap[test, ids] = index.first_look(snapshot, query)[2]

    return {"BM25": cheap[..., 1], "vectors": cheap[..., 0]}


def first_stages(bench: Bench) -> dict[str, Choose]:
    """BM25 and the vectors, each followed by a rerank of as many texts as there are calls."""

    def rerank(scores: np.ndarray) -> Choose:
        return lambda test, budget: best_of(bench, test, top_rows(scores[test], budget))

    return {f"{name}, then rerank": rerank(of) for name, of in first_scores(bench).items()}


def ndcg(bench: Bench, scores: np.ndarray) -> float:
    """nDCG@10 of scores (queries, N) by the collection's judgements, every relevant text alike."""
    found = []
    for row, relevant in zip(scores, bench.collection.relevant.values(), strict=True):
        gains = [1 / np.log2(place + 2) for place in range(K)]
        best = top_rows(row, K)
        reached = sum(g for g, text in zip(gains, best, strict=False) if int(text) in relevant)
        if relevant:
            found.append(reached / sum(gains[: len(relevant)]))
    return round(float(np.mean(found)), 4)


def best_of(bench: Bench, test: int, rows: np.ndarray) -> np.ndarray:
    """The scored rows in the order of their exact scores."""
    return rows[np.argsort(-bench.tests[test][rows], kind="stable")][:K]


def anncur(bench: Bench, anchors: np.ndarray, method: str, share: float, seed: int) -> Choose:
    """ANNCUR: random anchor items, one estimate, the rest of the calls on a rerank of its best."""
    known = bench.anchors[anchors].astype(np.float64)

    def choose(test: int, budget: int) -> np.ndarray:
        rng = np.random.default_rng([seed, test])
        n_items = max(1, round(share * budget))
        items = np.sort(rng.choice(bench.n_items, n_items, replace=False))
        estimate = anncur_estimate(bench.tests[test][items], known, items, method=method)
        estimate[items] = -np.inf
        chosen = np.concatenate([items, top_rows(estimate, budget - n_items)])
        return best_of(bench, test, chosen)

    return choose


def random_rows(bench: Bench, seed: int) -> Choose:
    """The control: score random texts."""

    def choose(test: int, budget: int) -> np.ndarray:
        rng = np.random.default_rng([seed, test])
        return best_of(bench, test, rng.choice(bench.n_items, budget, replace=False))

    return choose


def recall(bench: Bench, choose: Choose, budget: int) -> float:
    """Mean share of the scorer's own first K that the way's first K holds."""
    shares = []
    for test, exact in enumerate(bench.tests):
        truth = set(np.argsort(-exact, kind="stable")[:K].tolist())
        shares.append(len(truth & set(choose(test, budget).tolist())) / K)
    return float(np.mean(shares))
