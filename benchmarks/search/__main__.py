"""Recall of the scorer's own top 10 against its calls, ours beside the usual ways.

``python -m benchmarks.search`` needs the cached exact scores (``benchmarks.train_scorer``, then
``benchmarks.search.matrices``: an hour or two, once) and takes some minutes; ``--quick`` takes two
collections, one seed; ``--json FILE`` writes the figures, after every collection.
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from benchmarks import output
from benchmarks.search import ways
from benchmarks.search.corpora import SIZES, load
from benchmarks.search.matrices import matrix_path

FRACTIONS = (0.01, 0.025, 0.05, 0.1, 0.2)
N_ANCHORS = 32
SPARSE = 8  # calls per text that the sparse variant spends on the same anchors


def methods(bench: ways.Bench, seed: int, with_variants: bool) -> dict[str, ways.Choose]:
    """Every way of the table, on the same anchors; the variants of ours take most of the time."""
    anchors = ways.chosen_anchors(bench, N_ANCHORS, seed)
    n_items = bench.n_items
    found = {
        "random": ways.random_rows(bench, seed),
        **ways.first_stages(bench),
        "ours, 32 anchors": ways.ours(bench, anchors, N_ANCHORS * n_items),
        "ours, no anchors": ways.ours(bench, anchors[:0], 0),
    }
    if with_variants:
        sparse = ways.ours(bench, anchors, SPARSE * n_items)
        whole = N_ANCHORS * n_items
        found |= {
            "ours, word codes as first stage, 32 anchors": ways.ours(
                bench, anchors, whole, encoder="words"
            ),
            "ours, word codes as first stage, no anchors": ways.ours(
                bench, anchors[:0], 0, encoder="words"
            ),
            "ours, 8 anchors": ways.ours(bench, anchors[:SPARSE], SPARSE * n_items),
            f"ours, 32 sparse anchors ({SPARSE} calls a text)": sparse,
            "ours, 32 shuffled anchors": ways.ours(bench, anchors, whole, shuffled=True, seed=seed),
        }
    for method, name in (("pinv", "ANNCUR, as published"), ("ridge", "ANNCUR, ridge")):
        for share in ways.ANNCUR_SPLITS:
            found[f"{name} {share}"] = ways.anncur(bench, anchors, method, share, seed)
    return found


Table = dict[str, list[float]]


def measure(name: str, scorer: str, seeds: range) -> tuple[Table, dict[str, float]]:
    """Recall of each way at each budget, mean over the seeds, on one collection; nDCG@10."""
    collection = load(name, scorer)
    matrix = np.load(matrix_path(collection, scorer))
    table: dict[str, list[list[float]]] = {}
    with ways.bench(collection, matrix) as bench:
        judges = {scorer: bench.tests} | ways.first_scores(bench)
        judged = {one: ways.ndcg(bench, scores) for one, scores in judges.items()}
        budgets = [max(1, round(fraction * bench.n_items)) for fraction in FRACTIONS]
        for seed in tqdm(seeds, desc=f"{name}, {scorer}", unit="seed"):
            for way, choose in methods(bench, seed, scorer != "token-interaction").items():
                recalls = [ways.recall(bench, choose, budget) for budget in budgets]
                table.setdefault(way, []).append(recalls)
        print(f"{name}: {len(bench.tests)} test queries, {len(bench.anchors)} in the pool")
    means = {way: np.mean(rows, axis=0).tolist() for way, rows in table.items()}
    return _best_splits(means), judged


def _best_splits(means: Table) -> Table:
    """ANNCUR at its best split for each budget: generous to the peer."""
    merged: Table = {}
    for way, recalls in means.items():
        name = way.rpartition(" ")[0] if way.startswith("ANNCUR") else way
        merged[name] = np.maximum(merged.get(name, [0.0] * len(recalls)), recalls).tolist()
    return merged


def run(options: argparse.Namespace) -> None:
    """The whole benchmark; the document is written after every collection."""
    results: dict[str, dict[str, Table]] = {}
    judged: dict[str, dict[str, float]] = {}
    seeds = range(options.seed, options.seed + (1 if options.quick else 3))
    for scorer in options.scorers.split(","):
        for name in list(SIZES[scorer])[: 2 if options.quick else None]:
            path = matrix_path(load(name, scorer), scorer)
            if not path.exists():
                print(f"skipped: {name} with {scorer} has no matrix ({path.name}); see --help")
                continue
            table, judged[name] = measure(name, scorer, seeds)
            results.setdefault(scorer, {})[name] = table
            _print(f"{name}, {scorer}", table)
            print(f"nDCG@{ways.K}: {judged[name]}")
            figures = {
                "seeds": len(seeds),
                "items": {scorer: SIZES[scorer] for scorer in results},
                "fractions": FRACTIONS,
                "k": ways.K,
                "recall": results,
                "nDCG": judged,
            }
            output.write(figures, options)
        if scorer in results:
            _print(f"mean, {scorer}", _mean(results[scorer]))


def _mean(tables: dict[str, Table]) -> Table:
    names = next(iter(tables.values()))
    return {
        way: np.mean([table[way] for table in tables.values()], axis=0).tolist() for way in names
    }


def _print(title: str, table: Table) -> None:
    print(f"\n{title}: recall@10 of the scorer's own top 10 at calls / texts =")
    print(f"{'':44}" + "".join(f"{fraction:>8.1%}" for fraction in FRACTIONS))
    for way, recalls in table.items():
        print(f"{way:44}" + "".join(f"{value:8.3f}" for value in recalls), flush=True)


def main() -> None:
    """Parse the command line, run, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scorers", default=",".join(SIZES), help="separated by commas")
    output.options(parser, quick="two collections, one seed")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
