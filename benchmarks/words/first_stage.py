"""Text codes as the first stage of a search: what they find, how fast, in how many bytes.

``python -m benchmarks.words.first_stage``: recall of the judged texts at 100 and 10 and nDCG at 10
on four collections in full (documentation of Python, SciFact, Cranfield, E.SUN's FAQ and insurance
pages), beside BM25, MiniLM's vectors (English) and LSA.

- **codes**: 50 of 400 bits, of word vectors trained on the collection itself as ``--encoder
  words`` does; mean over the seeds.
- **codes of Wikipedia**: the same of word vectors trained on 10 million tokens of other English.
- **BM25 + ...**: the first guess of an index before it has learnt from a scorer
  (``default_guess``). With random codes it is BM25 whose ties are broken by chance.
- **random codes**: the control.

Milliseconds are of one query on one thread, CPU and wall: its vector and a score for each text.
Build seconds are CPU: the encoder, where it is trained on the collection, and all texts. What an
encoder takes once (MiniLM's weights, LSA's and the words' vectors) is beside the bytes of a text.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import output
from benchmarks.search.corpora import COLLECTIONS, Collection
from benchmarks.words import models
from shoestring import BinaryVectors
from shoestring.models import LsaEncoder, SentenceEncoder
from shoestring.search.cur import top_rows
from shoestring.search.features import cheap_features, nearness
from shoestring.search.query import DEFAULT_WEIGHTS, MIN_CANDIDATES, default_guess
from shoestring.search.store import RecordStore
from shoestring.text import tokenize
from shoestring.types import Record
from shoestring.words.table import CodeTable
from shoestring.words.vectors import ENCODER_WINDOW, train_encoder

WHOLE, N_QUERIES, DEPTH = 1_000_000, 300, 100
WIKIPEDIA_TOKENS = 10_000_000
MEASURES = {
    "recall@100": ir_measures.R @ 100,
    "recall@10": ir_measures.R @ 10,
    "nDCG@10": ir_measures.nDCG @ 10,
}
Scores = Callable[[str], np.ndarray]  # a query to a score for each text
Figures = dict[str, float]


@dataclass(frozen=True)
class Stage:
    """A way to find candidates, built for a collection."""

    scores: Scores
    costs: Figures = field(default_factory=dict)


@contextmanager
def bm25(texts: list[str]) -> Iterator[Stage]:
    """The words of the index's own store."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        began = time.process_time()
        store = RecordStore.create(Path(folder) / "index")
        store.add(Record(str(i), text) for i, text in enumerate(texts))
        seconds = time.process_time() - began
        with store.snapshot() as snapshot:
            rows = np.zeros(int(snapshot.pending_keys.max()) + 1, np.int64)
            rows[snapshot.pending_keys] = [int(i) for i in snapshot.ids(snapshot.pending_keys)]

            def scores(query: str) -> np.ndarray:
                limit = max(MIN_CANDIDATES, len(texts) // 10)
                keys, found = snapshot.candidates(tokenize(query), limit)
                lexical = np.zeros(len(texts), np.float32)
                lexical[rows[keys]] = np.maximum(found, 0.0)
                return lexical

            yield Stage(scores, {"build s": seconds})


def vectors(make: Callable[[], Any], texts: list[str], n_bytes_once: Callable[[Any], int]) -> Stage:
    """An encoder, trained or loaded by ``make``, and the nearness of its vectors."""
    with threadpool_limits(1):
        began = time.process_time()
        encoder = make()
        encode = getattr(encoder, "codes_of_texts", encoder.encode)
        stored = encode(texts)
        seconds = time.process_time() - began

    def scores(query: str) -> np.ndarray:
        return nearness(stored, encode([query])[0])

    costs = {"bytes a text": stored[0].nbytes, "MB once": n_bytes_once(encoder) / 1e6}
    return Stage(scores, {"build s": seconds, **costs})


def codes(seed: int, texts: list[str]) -> Stage:
    """Trained on the texts."""
    return vectors(lambda: train_encoder(texts, seed), texts, _activation_bytes)


@cache
def wikipedia() -> CodeTable:
    """Trained on other English text; its cost is no part of a collection's."""
    text = models.corpus("en", WIKIPEDIA_TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        BinaryVectors(window=ENCODER_WINDOW).fit(text.encoded).save(folder)
        return CodeTable.load(Path(folder))[0]


def _activation_bytes(encoder: CodeTable) -> int:
    return encoder.for_texts().activations.nbytes


def _lsa_bytes(encoder: LsaEncoder) -> int:
    return encoder.components_.nbytes + encoder.idf_.nbytes


def _weights_bytes(encoder: SentenceEncoder) -> int:
    return sum(path.stat().st_size for path in encoder.folder.rglob("*.safetensors"))


class RandomCodes:
    """As many active bits, anywhere."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def encode(self, texts: list[str]) -> np.ndarray:
        bits = models.active_bits(self.rng.random((len(texts), 400), np.float32), 50)
        return np.packbits(bits, axis=1, bitorder="little")


def first_guess(near: Stage, words: Stage, *, lexical: bool) -> Stage:
    """What an index ranks by before it has learnt from a scorer."""

    def scores(query: str) -> np.ndarray:
        features = cheap_features(near.scores(query), words.scores(query))
        return default_guess(features, DEFAULT_WEIGHTS[lexical])

    return Stage(scores)


def stages(
    collection: Collection, words: Stage, seeds: range, quick: bool
) -> Iterator[tuple[str, Stage]]:
    """Every way by name; those that a seed decides come once for each."""
    texts = collection.texts
    yield "BM25", words
    lsa = vectors(lambda: LsaEncoder(128).fit(texts), texts, _lsa_bytes)
    yield "LSA", lsa
    yield "BM25 + LSA", first_guess(lsa, words, lexical=True)
    if collection.language == "en" and not quick:
        minilm = vectors(SentenceEncoder, texts, _weights_bytes)
        yield "MiniLM", minilm
        yield "MiniLM + BM25", first_guess(minilm, words, lexical=False)
        trained = wikipedia()
        others = vectors(lambda: trained, texts, _activation_bytes)
        yield "codes of Wikipedia", others
        yield "BM25 + codes of Wikipedia", first_guess(others, words, lexical=True)
    for seed in seeds:
        own = codes(seed, texts)
        yield "codes", own
        yield "BM25 + codes", first_guess(own, words, lexical=True)
        random = vectors(lambda seed=seed: RandomCodes(seed), texts, lambda _: 0)
        yield "random codes", random
        yield "BM25 + random codes", first_guess(random, words, lexical=True)


def measure(stage: Stage, queries: list[str], relevant: list[set[int]]) -> Figures:
    """What a stage finds, and what a query costs."""
    run: dict[str, dict[str, float]] = {}
    with threadpool_limits(1):
        stage.scores(queries[0])  # what is compiled or read once
        cpu, wall = time.process_time(), time.perf_counter()
        found = [stage.scores(query) for query in queries]
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    for i, scores in enumerate(found):
        best = top_rows(scores, min(DEPTH, len(scores)))
        run[str(i)] = {str(row): -float(rank) for rank, row in enumerate(best)}
    judged = {str(i): {str(row): 1 for row in rows} for i, rows in enumerate(relevant)}
    values = ir_measures.calc_aggregate(list(MEASURES.values()), judged, run)
    milliseconds = {
        "ms a query, CPU": 1000 * cpu / len(queries),
        "ms a query, wall": 1000 * wall / len(queries),
    }
    return {name: float(values[m]) for name, m in MEASURES.items()} | milliseconds | stage.costs


def on_collection(name: str, seeds: range, quick: bool) -> dict[str, Any]:
    """Every way on one collection: means over the seeds."""
    rng = np.random.default_rng(0)
    collection = COLLECTIONS[name](WHOLE, rng, n_test=60 if quick else N_QUERIES)
    asked = [i for i in range(len(collection.queries)) if collection.relevant[i]]
    queries = [collection.queries[i] for i in asked]
    relevant = [collection.relevant[i] for i in asked]
    rows: dict[str, list[Figures]] = {}
    with bm25(collection.texts) as words:
        for way, stage in stages(collection, words, seeds, quick):
            rows.setdefault(way, []).append(measure(stage, queries, relevant))
    ways = {
        way: {key: round(float(np.mean([row[key] for row in found])), 4) for key in found[0]}
        for way, found in rows.items()
    }
    for way, found in rows.items():
        if len(found) > 1:
            ways[way]["spread"] = round(float(np.std([row["recall@100"] for row in found])), 4)
    return {"texts": len(collection.texts), "queries": len(queries), "ways": ways}


def warm_up() -> None:
    """What is imported and compiled once is no part of a collection's cost."""
    texts = ["red shoes and a red hat", "a hat of wool", "warm shoes of wool"] * 3
    LsaEncoder(2).fit(texts)
    train_encoder(texts)


def show(name: str, table: dict[str, Any]) -> None:
    """Print a row for each way."""
    columns = list(dict.fromkeys(key for row in table["ways"].values() for key in row))
    print(f"\n{name}: {table['texts']:,} texts, {table['queries']} queries")
    print(" " * 26, *(f"{column:>16}" for column in columns))
    for way, row in table["ways"].items():
        cells = (f"{row[column]:16.3f}" if column in row else " " * 16 for column in columns)
        print(f"{way:26}", *cells, flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="two collections, 60 queries, one seed, no MiniLM: a minute")
    options = parser.parse_args()
    names = ["cranfield", "esun"] if options.quick else list(COLLECTIONS)
    seeds = range(options.seed, options.seed + (1 if options.quick else 3))
    warm_up()
    result: dict[str, Any] = {"seeds": len(seeds), "collections": {}}
    for name in names:
        result["collections"][name] = on_collection(name, seeds, options.quick)
        show(name, result["collections"][name])
        output.write(result, options)


if __name__ == "__main__":
    main()
