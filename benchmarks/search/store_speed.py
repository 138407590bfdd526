"""How fast records go into the store, and are found: ``python -m benchmarks.search.store_speed``.

And what a round of a query costs beside the scorer. The texts are synthetic: 12 words each, drawn
from a vocabulary with Zipf's frequencies, so that posting lists are as skewed as in language.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import output
from shoestring.search.cur import Rounds
from shoestring.search.features import JoinedFeatures, product
from shoestring.search.store import RecordStore
from shoestring.types import Record

N_WORDS = 12
VOCABULARY = 50_000
CHUNK = 10_000


def short_texts(n_records: int, seed: int) -> Iterator[Record]:
    """Records of 12 words each, made on the way, so that the memory is the store's."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{i}" for i in range(VOCABULARY)])
    for start in range(0, n_records, CHUNK):
        ranks = rng.zipf(1.3, size=(min(CHUNK, n_records - start), N_WORDS)) % VOCABULARY
        for i, row in enumerate(words[ranks].tolist(), start):
            yield Record(f"record-{i}", " ".join(row))


def measure(n_records: int, n_queries: int, folder: Path, seed: int) -> dict[str, object]:
    """Build a store, ask it, and say what that took."""
    records = list(short_texts(n_records, seed))
    store = RecordStore.create(folder / "index")
    begin, begin_cpu = time.perf_counter(), time.process_time()
    store.add(records)
    seconds, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu
    peak_mb = output.peak_bytes() / 2**20
    size_mb = sum(file.stat().st_size for file in store.path.rglob("*")) / 2**20
    queries = [record.text.split()[:6] for record in records[:: n_records // n_queries]]
    begin_cpu = time.process_time()
    for query in queries:
        with store.snapshot() as snapshot:
            snapshot.candidates(query, 100)
    query_ms = (time.process_time() - begin_cpu) / len(queries) * 1e3
    return {
        "records": n_records,
        "words_each": N_WORDS,
        "records_per_s": round(n_records / seconds),
        "records_per_cpu_s": round(n_records / cpu_s),
        "peak_rss_mb": round(peak_mb),
        "index_mb": round(size_mb, 1),
        "bm25_query_cpu_ms": round(query_ms, 2),
        "sqlite": sqlite3.sqlite_version,
    }


def of_a_round(seed: int, n_items: int = 10_000, n_dims: int = 512, n_rows: int = 42) -> float:
    """CPU milliseconds of a round: of the quickest, when nobody empties the caches."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((n_items, n_dims), dtype=np.float32)
    features = JoinedFeatures((), table)
    truth, guess = rng.standard_normal(n_items, dtype=np.float32), np.zeros(n_items, np.float32)
    rounds = Rounds(features, guess, np.ones(n_dims), 0.3, strengths=(0.3, 1.0, 3.0))

    def play() -> None:
        rows = rounds.propose(n_rows)
        rounds.observe(rows, truth[rows])

    return quickest_ms(play)


def of_a_product(seed: int, n_items: int = 1_000_000) -> float:
    """CPU milliseconds of a product with so many codes of 400 bits."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(256, size=(n_items, 50), dtype=np.uint8)
    weights = rng.normal(size=400)
    return quickest_ms(lambda: product(codes, weights), 5)


def quickest_ms(action: Callable[[], object], n_runs: int = 25) -> float:
    """CPU milliseconds of all threads in the quickest run but the first."""
    action()
    spans = []
    for _ in range(n_runs):
        began = time.process_time()
        action()
        spans.append(time.process_time() - began)
    return round(1e3 * min(spans), 2)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=50)
    output.options(parser, quick="a tenth of the records")
    options = parser.parse_args()
    if options.quick:
        options.records //= 10
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.records, options.queries, Path(folder), options.seed)
    result["round_cpu_ms"] = of_a_round(options.seed)
    result["million_codes_product_cpu_ms"] = of_a_product(options.seed)
    output.show(result)
    output.write(result, options)


if __name__ == "__main__":
    main()
