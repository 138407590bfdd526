"""Search in collections as large as they are: ``python -m benchmarks.search.sizes``.

Recall of the judge's own top 10 at 30, 60, 100 and 200 calls, whatever the size: SciFact, NPL,
NFCorpus, E.SUN, and the docstrings of this Python with its packages. The truth is the judge's order
of a pool: each query's best 1,000 by BM25, the best 1,000 by vectors, and the best 1,000 by token
interaction of the 3,000 that those find first. What that leaves out is told on E.SUN, whose texts
are all scored: the share of the true top 10 that stands in the pool.

Ours has 0, 1 and 4 calls a text for its anchors, once for all queries. ``rerank`` gets the best
1,000 by vectors, with their scores, and keeps nothing. Needs the judges
(``benchmarks.search.judge``). Each score is kept in ``.cache/sizes.sqlite``; a run goes on from
what it finds. Some 400,000 pairs in all: two hours of a core. Bar, mean over the collections of
5,000 texts and more, at 100 calls: 8 points above vectors-then-rerank with 4 calls a text, 4 points
with none, and never below it.
"""

from __future__ import annotations

import argparse
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import output
from benchmarks.data import CACHE, require
from benchmarks.search import judge
from benchmarks.search.corpora import N_ANCHORS, Collection, esun, mixed, scifact
from benchmarks.train_scorer import read_lines
from shoestring import SearchIndex, rerank, score_with
from shoestring.search.cur import top_rows
from shoestring.search.query import search_rounds
from shoestring.search.score_cache import ScoreCache
from shoestring.text.records import text_digests

K, CALLS, ANCHOR_CALLS = 10, (30, 60, 100, 200), (0, 1, 4)
N_TEST, POOL, LARGE = 20, 1_000, 5_000
EVERYTHING = 1 << 30


def npl(n_items: int, rng: np.random.Generator, n_test: int) -> Collection:
    """NPL's abstracts, in lower case."""
    folder = "retrieval/npl-vaswani"
    whole = "".join(read_lines(require(f"{folder}/doc-text.trec.gz")))
    found = re.findall(r"<DOCNO>(\d+)</DOCNO>(.*?)</DOC>", whole, re.S)
    texts = [" ".join(text.split()) for _, text in found]
    at = {number: i for i, (number, _) in enumerate(found)}
    topics = re.findall(
        r"<num>(\d+)</num><title>(.*?)</title>",
        require(f"{folder}/query-text.trec").read_text(),
        re.S,
    )
    queries = {number: " ".join(title.split()).lower() for number, title in topics}
    relevant: dict[str, set[int]] = {}
    for line in read_lines(require(f"{folder}/qrels")):
        query, _, text, grade = line.split()
        if int(grade) > 0 and text in at:
            relevant.setdefault(query, set()).add(at[text])
    return _cut("npl", "en", texts, queries, relevant, rng, n_test)


def nfcorpus(n_items: int, rng: np.random.Generator, n_test: int) -> Collection:
    """NFCorpus's test texts, and its titles as queries."""
    queries, texts = judge.nfcorpus("test", 1)
    names = {query: query for query, _ in queries}
    return _cut("nfcorpus", "en", texts, names, dict(queries), rng, n_test)


def packages(n_items: int, rng: np.random.Generator, n_test: int) -> Collection:
    """The docstrings of this Python and of its packages: a first sentence asks for the rest."""
    from shoestring.text.pydocs import docstrings, known_items, python_docs

    site = Path(sysconfig.get_path("purelib"))
    texts: dict[str, Any] = {record.text: record for record in python_docs()}
    texts |= {record.text: record for record in docstrings(site)}
    items = list(known_items(iter(texts.values())))
    chosen = [items[i] for i in rng.permutation(len(items))]
    asked, others = chosen[:n_test], chosen[n_test : n_test + N_ANCHORS]
    return Collection(
        "packages", "en", [item.record.text for item in chosen], [item.question for item in asked],
        {i: {i} for i in range(len(asked))}, [item.question for item in others],
    )  # fmt: skip


def _cut(
    name: str, language: str, texts: list[str], queries: dict[str, str],
    relevant: dict[str, set[int]], rng: np.random.Generator, n_test: int,
) -> Collection:  # fmt: skip
    keys = [key for key in queries if key in relevant]
    keys = [keys[i] for i in rng.permutation(len(keys))]
    return Collection(
        name, language, texts, [queries[key] for key in keys[:n_test]],
        {i: relevant[key] for i, key in enumerate(keys[:n_test])},
        [queries[key] for key in keys[n_test : n_test + N_ANCHORS]],
    )  # fmt: skip


COLLECTIONS: dict[str, Callable[[int, np.random.Generator, int], Collection]] = {
    "esun": esun, "nfcorpus": nfcorpus, "scifact": scifact, "npl": npl, "packages": packages,
}  # fmt: skip
SIZES = {"esun": 1_260, "scifact": 5_183}  # of those that are cut elsewhere


class Judge:
    """The judge of a language, whose scores are kept."""

    def __init__(self, language: str) -> None:
        self.name, self._load = f"judge-{language}", cache(lambda: judge.load_judge(language))
        self.scores = ScoreCache(CACHE / "sizes.sqlite")

    def __call__(self, query: str, texts: Sequence[str]) -> np.ndarray:
        digests = text_digests(texts)
        found = self.scores.get(self.name, query, digests)
        new = np.flatnonzero(np.isnan(found))
        for some in np.array_split(new, -(-len(new) // 512) or 1):
            if len(some):
                found[some] = self._load()([(query, texts[i]) for i in some])
                self.scores.put(self.name, query, digests[some], found[some])
        return found

    def predict(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """As a scorer of the library, of pairs with one query."""
        return self(pairs[0][0], [text for _, text in pairs]).tolist()


class Known(NamedTuple):
    """What is known of a test query."""

    query: str
    texts: Sequence[str]  # as the rows of the index
    look: Any
    first: dict[str, np.ndarray]  # the scores of vectors and BM25
    vectors: np.ndarray
    vector: np.ndarray
    judge: Judge

    def score(self, rows: np.ndarray) -> np.ndarray:
        return self.judge(self.query, [self.texts[i] for i in rows])

    def best_of(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.argsort(-self.score(rows), kind="stable")[:K]]


def looks(index: SearchIndex, collection: Collection, judge: Judge) -> Iterator[Known]:
    """What an index knows of each query before it calls."""
    with index.snapshot() as snapshot:
        order = np.array([int(id) for id in snapshot.ids(snapshot.keys)])
        texts = [collection.texts[i] for i in order]
        vectors = snapshot.view.arrays["vectors"]
        for query in collection.queries:
            look = index.first_look(snapshot, query)
            first = {"vectors": look.features[:, 0], "BM25": look.features[:, 1]}
            vector = index.models.encode([query], snapshot.encoder)[0]
            yield Known(query, texts, look, first, vectors, vector, judge)


def wide_of(known: Known) -> np.ndarray:
    """The rows that token interaction orders: the best by vectors and by BM25."""
    return np.unique([top_rows(scores, 3 * POOL // 2) for scores in known.first.values()])


def pools_of(all_known: Sequence[Known], encoder: Any) -> Iterator[np.ndarray]:
    """For each query the rows among which the truth is looked for; each text is encoded once."""
    rows = np.unique(np.concatenate([wide_of(known) for known in all_known]))
    texts = [all_known[0].texts[row] for row in rows]
    encoded = {rows[i]: v.astype(np.float16) for i, v in encoder.encode(texts)} if encoder else {}
    for known in all_known:
        tops = [top_rows(scores, POOL) for scores in known.first.values()]
        if encoder:
            wide = wide_of(known)
            (query,) = (vectors for _, vectors in encoder.encode([known.query]))
            alike = [(query @ encoded[row].T).max(axis=1, initial=0.0).sum() for row in wide]
            tops.append(wide[top_rows(np.array(alike), POOL)])
        yield np.unique(np.concatenate(tops))


def ours(known: Known, calls: int) -> np.ndarray:
    """The library's rounds, among the candidates that a query has by default."""
    some = np.sort(top_rows(known.look.guess, 10_000))
    nothing = np.empty(0, dtype=np.int64), np.empty(0)
    rounds = search_rounds(
        known.look.narrowed(some), nothing, calls, lambda at: known.score(some[at])
    )
    return some[rounds.ranking(K)[0]]


def reranked(known: Known, calls: int) -> np.ndarray:
    """The library without an index, over the best of the vectors."""
    rows = top_rows(known.first["vectors"], POOL)
    hits = rerank(
        known.query, [known.texts[i] for i in rows], calls=calls, top_k=K,
        scorer=score_with(known.judge.predict, name=known.judge.name), vectors=known.vectors[rows],
        query_vector=known.vector, first_scores=known.first["BM25"][rows],
    )  # fmt: skip
    return rows[[hit["corpus_id"] for hit in hits]]


def measure(name: str, seed: int, n_test: int) -> dict[str, Any]:
    """The recalls of one collection."""
    from shoestring.models.token_encoder import TokenEncoder

    rng = np.random.default_rng(seed)
    made = mixed(COLLECTIONS[name](SIZES.get(name, EVERYTHING), rng, n_test))
    scores = Judge(made.language)
    encoder = TokenEncoder() if made.language == "en" else None
    scorer = score_with(scores.predict, name=scores.name)
    table: dict[str, list[list[float]]] = {}
    held, truths = [], []
    with TemporaryDirectory() as folder:
        records = [{"id": str(i), "text": text} for i, text in enumerate(made.texts)]
        index = SearchIndex.build(
            f"{folder}/index", records, scorer=scorer, on_duplicate="skip",
            encoder="minilm" if made.language == "en" else "lsa",
        )  # fmt: skip
        known_of = list(looks(index, made, scores))
        pools = zip(known_of, pools_of(known_of, encoder), strict=True)
        for known, pool in tqdm(pools, desc=f"{name}: truth", unit="query", total=len(known_of)):
            truths.append(set(known.best_of(pool).tolist()))
            if name == "esun":
                whole = known.best_of(np.arange(len(known.texts)))
                held.append(len(truths[-1] & set(whole.tolist())) / K)
        for known, truth in zip(known_of, truths, strict=True):
            ways: dict[str, Callable[[int], np.ndarray]] = {
                "random": lambda n, k=known: k.best_of(rng.permutation(len(k.texts))[:n]),
                **{
                    f"{what}, then rerank": lambda n, k=known, s=scores: k.best_of(top_rows(s, n))
                    for what, scores in known.first.items()
                },
                "rerank of 1,000": lambda n, k=known: reranked(k, n),
            }
            for way, choose in ways.items():
                shares = [len(truth & set(choose(n).tolist())) / K for n in CALLS]
                table.setdefault(way, []).append(shares)
        for calls, before in zip(ANCHOR_CALLS, (0, *ANCHOR_CALLS), strict=False):
            if calls:  # those that were paid for before count
                more = (calls - before) * len(known_of[0].texts)
                index.calibrate(more, queries=made.anchors, progress=True)
            for known, truth in zip(looks(index, made, scores), truths, strict=True):
                shares = [len(truth & set(ours(known, n).tolist())) / K for n in CALLS]
                table.setdefault(f"ours, {calls} calls a text", []).append(shares)
    recalls = {way: np.mean(rows, axis=0).round(4).tolist() for way, rows in table.items()}
    found = {"texts": len(known_of[0].texts), "queries": len(known_of), "recall": recalls}
    return found | ({"in the pool": round(float(np.mean(held)), 4)} if held else {})


def main() -> None:
    """All collections, the smallest first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collections", default=",".join(COLLECTIONS))
    output.options(parser, quick="the smallest collection, four queries")
    options = parser.parse_args()
    names = options.collections.split(",")[: 1 if options.quick else None]
    found: dict[str, Any] = {}
    for name in names:
        found[name] = measure(name, options.seed, 4 if options.quick else N_TEST)
        output.show(found[name]["recall"])
        large = [one["recall"] for one in found.values() if one["texts"] >= LARGE]
        mean = {
            way: np.mean([one[way] for one in large], axis=0).round(4).tolist()
            for way in (large[0] if large else ())
        }
        output.write({"calls": CALLS, "collections": found, "mean": mean}, options)


if __name__ == "__main__":
    main()
