"""The overlap index beside faiss IndexBinaryFlat, usearch and scipy.sparse.

``python -m benchmarks.words.overlap``: codes of 50 in 400 bits and of 64 in 4,096, with equal bit
frequencies and with skewed ones (weight of the bit of rank r: r^-0.7, so that some neurons are
active in most codes), fingerprints of 10 to 90 in 2,048 bits, and 256 bits of which about half are
active, as sign projections make them, for which posting lists are not meant. Queries are codes of
the collection with a third of their bits drawn anew; random queries, which have no neighbour, are
the control. Every engine gets packed bits.

Truth is numpy: AND, popcount and a sort over all codes. Recall is the share of the n best whose
score is no worse than the n-th best true score, as engines break ties in their own ways; ours must
also give the very ids (of equal scores the lowest). The engines run in turns, and a ratio is the
median over the turns of the ratio within a turn, so that other work on the machine hits both.
Memory is what an index says of itself or, for those that hold nothing else, the bytes of its
arrays. The bar: at 64 of 4,096 at least 3 times as fast as IndexBinaryFlat on one thread, a batch
or a single query at a time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import output
from shoestring.overlap.codes import read_codes
from shoestring.overlap.index import OverlapIndex

N_BEST = 10
N_SINGLE = 24
ROWS = 5_000  # drawn or compared at a time
OURS, FAISS = "shoestring OverlapIndex", "faiss IndexBinaryFlat"
THREADS = (1, 2)
BAR, BAR_AT = 3.0, "64 of 4,096"  # times as fast as faiss
BAR_FOR = ("batch, 1 thread", "single, 1 thread")
HNSW_AT = BAR_AT  # building the graph takes minutes; it is another kind of peer, approximate


@dataclass(frozen=True)
class Collection:
    """How the codes of a collection are drawn, and what is asked."""

    n: int
    n_bits: int
    sizes: tuple[int, int]  # active bits, from and to
    skew: float
    metric: str


COLLECTIONS = {
    "50 of 400": Collection(1_000_000, 400, (50, 50), 0.0, "hamming"),
    "50 of 400, skewed": Collection(1_000_000, 400, (50, 50), 0.7, "hamming"),
    "64 of 4,096": Collection(200_000, 4096, (64, 64), 0.0, "hamming"),
    "64 of 4,096, skewed": Collection(200_000, 4096, (64, 64), 0.7, "hamming"),
    "about 128 of 256": Collection(1_000_000, 256, (112, 144), 0.0, "hamming"),
    "fingerprints, 10 to 90 of 2,048, skewed": Collection(200_000, 2048, (10, 90), 0.7, "jaccard"),
}


@dataclass
class Engine:
    """Something that searches: (queries, n, threads) to scores, best first, and maybe ids."""

    search: Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]
    build_s: float
    memory_mb: float
    n_queries: int = 64  # of a batch
    times: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def pack_codes(codes: Sequence[np.ndarray], n_bits: int) -> np.ndarray:
    """Active bits to packed ones."""
    truths = np.zeros((len(codes), n_bits), bool)
    for row, bits in zip(truths, codes, strict=True):
        row[bits] = True
    return np.packbits(truths, axis=1, bitorder="little")


def draw(c: Collection, n: int, rng: np.random.Generator) -> np.ndarray:
    """Packed codes (n, n_bits / 8): k bits without replacement, by weight (Gumbel's trick)."""
    weights = np.arange(1, c.n_bits + 1, dtype=np.float32) ** -c.skew
    most = c.sizes[1]
    parts = []
    for start in range(0, n, ROWS):
        keys = rng.standard_exponential((min(ROWS, n - start), c.n_bits), np.float32)
        keys /= weights
        bits = np.argpartition(keys, most, axis=1)[:, :most]
        sizes = rng.integers(c.sizes[0], most + 1, len(keys))
        in_order = rng.permuted(bits, axis=1) if c.sizes[0] < most else bits
        parts.append(pack_codes([b[:s] for b, s in zip(in_order, sizes, strict=True)], c.n_bits))
    return np.concatenate(parts)


def noisy_copies(c: Collection, codes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Codes of the collection, a third of the bits of each drawn anew."""
    chosen = codes[rng.choice(len(codes), n, replace=False)]
    bits, fresh = (read_codes(packed, c.n_bits, "") for packed in (chosen, draw(c, n, rng)))
    queries = []
    for i in range(n):
        old = rng.permutation(bits.bits[bits.starts[i] : bits.starts[i + 1]])
        new = rng.permutation(fresh.bits[fresh.starts[i] : fresh.starts[i + 1]])
        kept = old[: len(old) - len(old) // 3]
        queries.append(np.concatenate([kept, np.setdiff1d(new, kept)[: len(old) - len(kept)]]))
    return pack_codes(queries, c.n_bits)


def truth(codes: np.ndarray, queries: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances (Q, n) by brute force, of equal distances the lowest ids."""
    ids, distances = [], []
    sizes = np.bitwise_count(codes).sum(axis=1, dtype=np.int64)
    for query in queries:
        shared = np.concatenate(
            [
                np.bitwise_count(codes[i : i + ROWS] & query).sum(axis=1, dtype=np.int64)
                for i in range(0, len(codes), ROWS)
            ]
        )
        union = sizes + int(np.bitwise_count(query).sum()) - shared
        distance = union - shared if metric == "hamming" else 1 - shared / np.maximum(union, 1)
        order = np.argsort(distance, kind="stable")[:N_BEST]
        ids.append(order)
        distances.append(distance[order])
    return np.array(ids), np.array(distances)


def ours(codes: np.ndarray, c: Collection) -> Engine:
    """Our index, once for each number of threads."""
    indexes = {t: OverlapIndex(c.n_bits, n_threads=t) for t in THREADS}
    indexes[2].add(codes[:100])
    indexes[2].search(codes[:2])  # compiled before the clock runs
    indexes[2] = OverlapIndex(c.n_bits, n_threads=2)
    seconds = [timed(lambda index=index: index.add(codes)) for index in indexes.values()]

    def search(queries: np.ndarray, n: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
        ids, scores = indexes[threads].search(queries, n, c.metric)
        return (1 - scores if c.metric == "jaccard" else scores), ids

    engine = Engine(search, min(seconds), indexes[1].memory_mb)
    with tempfile.TemporaryDirectory() as folder:
        engine.figures["save, seconds"] = round(timed(lambda: indexes[1].save(folder)), 2)
        opening = timed(lambda: OverlapIndex.open(folder))
        engine.figures["open, ms"] = round(1e3 * opening, 1)
        mapped = OverlapIndex.open(folder, n_threads=1)
        mapped.search(codes[:N_SINGLE], N_BEST)
        each = [timed(lambda q=q: mapped.search(q[None], N_BEST)) for q in codes[:N_SINGLE]]
        engine.figures["opened: single, 1 thread, ms"] = milliseconds(statistics.median(each))
    return engine


def faiss_flat(codes: np.ndarray, c: Collection) -> Engine:
    """Faiss' exhaustive search: Hamming alone."""
    import faiss

    index = faiss.IndexBinaryFlat(c.n_bits)
    seconds = timed(lambda: index.add(codes))

    def search(queries: np.ndarray, n: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(threads)
        return index.search(queries, n)

    return Engine(search, seconds, codes.nbytes / 1e6)


def usearch_exact(codes: np.ndarray, c: Collection) -> Engine:
    """The exhaustive search of usearch, without an index."""
    from usearch.index import MetricKind, search

    metric = {"hamming": MetricKind.Hamming, "jaccard": MetricKind.Tanimoto}[c.metric]

    def run(queries: np.ndarray, n: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
        found = search(codes, queries, n, metric, exact=True, threads=threads)
        return np.atleast_2d(found.distances), np.atleast_2d(found.keys)

    return Engine(run, 0.0, codes.nbytes / 1e6, n_queries=16)


def usearch_hnsw(codes: np.ndarray, c: Collection) -> Engine:
    """The graph of usearch, with its default settings: approximate."""
    from usearch.index import Index, MetricKind, ScalarKind

    metric = {"hamming": MetricKind.Hamming, "jaccard": MetricKind.Tanimoto}[c.metric]
    index = Index(ndim=c.n_bits, metric=metric, dtype=ScalarKind.B1)
    seconds = timed(lambda: index.add(np.arange(len(codes)), codes, threads=THREADS[-1]))

    def run(queries: np.ndarray, n: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
        found = index.search(queries, n, threads=threads)
        return np.atleast_2d(found.distances), np.atleast_2d(found.keys)

    return Engine(run, seconds, index.memory_usage / 1e6)


def scipy_sparse(codes: np.ndarray, c: Collection) -> Engine:
    """What one writes with scipy: a sparse product, then a partition. One thread."""
    import scipy.sparse as sp

    def matrix(packed: np.ndarray) -> Any:
        read = read_codes(packed, c.n_bits, "")
        ones = np.ones(len(read.bits), np.int32)
        return sp.csr_matrix((ones, read.bits, read.starts), shape=(len(read), c.n_bits))

    start = time.perf_counter()
    items = matrix(codes)
    columns, sizes = items.T.tocsr(), np.diff(items.indptr)
    seconds = time.perf_counter() - start

    def run(queries: np.ndarray, n: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
        asked = matrix(queries)
        shared = (asked @ columns).toarray()
        union = np.diff(asked.indptr)[:, None] + sizes - shared
        distance = union - shared if c.metric == "hamming" else 1 - shared / union
        best = np.argpartition(distance, n, axis=1)[:, :n]
        distance = np.take_along_axis(distance, best, 1)
        order = np.argsort(distance, axis=1)
        return np.take_along_axis(distance, order, 1), np.take_along_axis(best, order, 1)

    memory = sum(a.nbytes for a in (columns.data, columns.indices, columns.indptr, sizes))
    return Engine(run, seconds, memory / 1e6, n_queries=16)


def timed(run: Callable[[], object]) -> float:
    """Seconds on the wall."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def milliseconds(seconds: float) -> float:
    """To three digits."""
    return float(f"{1e3 * seconds:.3g}")


def take_turn(engine: Engine, queries: np.ndarray, control: np.ndarray) -> None:
    """Time an engine once, in all ways."""
    batch, single = queries[: engine.n_queries], queries[:N_SINGLE]

    def note(name: str, seconds: float) -> None:
        engine.times.setdefault(name, []).append(seconds)

    for t in THREADS:
        name = f"{t} thread{'s' * (t > 1)}"
        cpu = time.process_time()
        note(f"batch, {name}", timed(lambda t=t: engine.search(batch, N_BEST, t)) / len(batch))
        between = time.process_time()
        each = [timed(lambda q=q, t=t: engine.search(q[None], N_BEST, t)) for q in single]
        note(f"single, {name}", statistics.median(each))
        if t == 1:  # what other work on the machine does not change
            note(f"batch, {name}, CPU", (between - cpu) / len(batch))
            note(f"single, {name}, CPU", (time.process_time() - between) / len(single))
    random = control[: engine.n_queries]
    note(
        "batch of random queries, 1 thread",
        timed(lambda: engine.search(random, N_BEST, 1)) / len(random),
    )


def measure(c: Collection, n_turns: int, with_hnsw: bool, seed: int) -> dict[str, Any]:
    """Build all engines over a collection, check what they find, and time them in turns."""
    rng = np.random.default_rng(seed)
    codes = draw(c, c.n, rng)
    queries, control = noisy_copies(c, codes, 64, rng), draw(c, 64, rng)
    makers = {OURS: ours, FAISS: faiss_flat, "usearch exact": usearch_exact}
    makers["scipy.sparse product"] = scipy_sparse
    if with_hnsw:
        makers["usearch HNSW"] = usearch_hnsw
    if c.metric != "hamming":
        del makers[FAISS]
    engines = {name: make(codes, c) for name, make in makers.items()}
    expected = truth(codes, queries[:16], c.metric)
    for name, engine in engines.items():
        found = [engine.search(queries[:16], N_BEST, t) for t in THREADS]
        recall = [float(np.mean(d <= expected[1][:, -1:] + 1e-6)) for d, _ in found]
        engine.figures["recall"] = round(min(recall), 4)
        if name == OURS:
            same = [np.array_equal(ids, expected[0]) for _, ids in found]
            engine.figures["the very ids of brute force"] = all(same)
    for _ in range(n_turns):
        for engine in engines.values():
            take_turn(engine, queries, control)
    return {
        "codes": c.n,
        "bits": c.n_bits,
        "metric": c.metric,
        "bit shares, largest and median": bit_shares(codes[:50_000], c.n_bits),
        "engines": {name: row(engine) for name, engine in engines.items()},
        "times faster than": {
            name: ratios(engines[OURS], engine) for name, engine in engines.items() if name != OURS
        },
    }


def bit_shares(codes: np.ndarray, n_bits: int) -> list[float]:
    """In what share of the codes the commonest and the middle bit are active."""
    shares = np.bincount(read_codes(codes, n_bits, "").bits, minlength=n_bits) / len(codes)
    return [round(float(shares.max()), 4), round(float(np.median(shares)), 4)]


def row(engine: Engine) -> dict[str, Any]:
    """The figures of an engine."""
    return {
        "build, seconds": round(engine.build_s, 2),
        "memory, MB": round(engine.memory_mb, 1),
        **engine.figures,
        **{f"{k}, ms": milliseconds(statistics.median(v)) for k, v in engine.times.items()},
    }


def ratios(ours: Engine, peer: Engine) -> dict[str, float]:
    """How often faster ours is: median over the turns."""
    return {
        name: float(
            f"{statistics.median(p / o for o, p in zip(times, peer.times[name], strict=True)):.3g}"
        )
        for name, times in ours.times.items()
    }


def show(name: str, result: dict[str, Any]) -> None:
    """Print a table of engines."""
    print(f"\n{name}: {result['codes']:,} codes, {result['metric']}")
    engines = result["engines"]
    rows = list(dict.fromkeys(key for figures in engines.values() for key in figures))
    print(" " * 42 + "".join(f"{engine:>25}" for engine in engines))
    for key in rows:
        values = [str(figures.get(key, "")) for figures in engines.values()]
        print(f"{key:>42}" + "".join(f"{value:>25}" for value in values))
    for peer, speed in result["times faster than"].items():
        print(f"times faster than {peer}: {speed}")


def bar(results: dict[str, Any]) -> dict[str, Any]:
    """How much faster than faiss, and whether that is enough."""
    times = results[BAR_AT]["times faster than"][FAISS]
    found = {name: times[name] for name in BAR_FOR}
    return {"times as fast": found, f"at least {BAR:g}": min(found.values()) >= BAR}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    output.options(parser, quick="a tenth of the codes, no HNSW, about a minute")
    options = parser.parse_args()
    results = {}
    n_turns = min(3, options.turns) if options.quick else options.turns
    for name, c in COLLECTIONS.items():
        if options.quick:
            c = Collection(c.n // 10, c.n_bits, c.sizes, c.skew, c.metric)
        with_hnsw = name == HNSW_AT and not options.quick
        results[name] = measure(c, n_turns, with_hnsw, options.seed)
        show(name, results[name])
    held = bar(results)
    print(f"\n{BAR_AT}, beside {FAISS}: {held}")
    figures = {"n": N_BEST, "turns": n_turns, **output.versions("faiss-cpu", "usearch", "scipy")}
    output.write({**figures, f"bar at {BAR_AT}": held, "collections": results}, options)


if __name__ == "__main__":
    main()
