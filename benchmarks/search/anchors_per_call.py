"""What anchor scores buy for their calls: none, few and full, many and sparse, shuffled.

``python -m benchmarks.search.anchors_per_call`` needs the cached exact scores of the cross-encoder
(``benchmarks.train_scorer``, then ``benchmarks.search.matrices``). Recall of the scorer's own top
10, as in ``benchmarks.search``, against the anchor calls a text that the index was built with:

- *full*: c anchor queries scored with every text;
- *sparse*: as many as the library's own rule takes, each with its most promising texts;
- *between*: numbers of anchor queries between the two, for the same calls;
- *shuffled*: full, but the scores belong to other texts: the control;
- *rules*: a few numbers of anchors, chosen by other rules than at random.

A seed chooses the anchor queries from a pool of real queries; the test queries stay the same. A
seed's 4 anchors are the first of its 16, and the same however the calls are spent. What the choice
moves is measured with more seeds than the rest.

Each of some 450 results takes two to five seconds, and is a line of
``.cache/bench/anchors_per_call.jsonl`` as soon as it is there; a run goes on from what it finds.
A line is taken where all that keys it is the same: the SHA-256 of the matrix file, the anchors,
the calls a text, whether they are shuffled, the rule, the seed, and the calls of a query. It also
names its commit, which nobody compares: after a change of the library or of ``benchmarks.search``
start over with ``--fresh``.

Letters: N texts, c anchor calls a text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import output
from benchmarks.data import CACHE
from benchmarks.search import ways
from benchmarks.search.corpora import SIZES, load
from benchmarks.search.matrices import matrix_path
from shoestring import SearchIndex
from shoestring.search.anchors import MAX_ANCHORS, anchor_plan, covering_order

SCORER = "cross-encoder"
FRACTIONS = (0.025, 0.05, 0.1, 0.2)
CALLS_A_TEXT = (0.25, 0.5, 1, 2, 4, 8, 16, 32)
N_QUERIES = (1, 2, 4, 8, 16)  # the library's own rule says how many at the most
SHUFFLED = (8, 32)
RULES = ("covering", "medoids", "farthest", "answered")
WITHOUT_CHANCE = ("covering", "answered")
CHOSEN = ((1, 1), (4, 4), (16, 4), (16, 16))  # anchors, calls a text: where rules are tried
KINDS = ("none", "full", "sparse", "shuffled")  # of the main table
SEEDS, CHOICE_SEEDS = 2, 4
KEPT = CACHE / "bench" / "anchors_per_call.jsonl"


class Anchors(NamedTuple):
    """So many anchor queries that share so many calls for each text of the index."""

    n_queries: int
    calls_a_text: float
    shuffled: bool = False
    rule: str = "random"


class Task(NamedTuple):
    """One result that is wanted."""

    anchors: Anchors
    seed: int


class Result(NamedTuple):
    """Recall at each budget, and the commit that it was measured at."""

    recall: list[float]
    commit: str | None


class Table(NamedTuple):
    """Rows of cells under their names."""

    title: str
    columns: list[str]
    rows: dict[str, list[str]]


def splits(calls_a_text: float, n_items: int) -> list[Anchors]:
    """The ways to split the same calls, from few and full to the library's own rule.

    >>> [anchors.n_queries for anchors in splits(8, 1_000)]
    [8, 16, 32]
    >>> [anchors.n_queries for anchors in splits(0.25, 1_000)]
    [1, 2, 4, 8, 12]
    """
    n_most = len(anchor_plan(round(calls_a_text * n_items), n_items, [0] * MAX_ANCHORS))
    counts = [*(n for n in N_QUERIES if calls_a_text <= n < n_most), n_most]
    return [Anchors(n, calls_a_text) for n in counts]


def tasks(n_items: int, seed: int, *, quick: bool = False) -> list[Task]:
    """Everything that is measured on a collection; a seed is whole before the next begins."""
    split = [split for calls in CALLS_A_TEXT for split in splits(calls, n_items)]
    shuffled = [Anchors(n, n, shuffled=True) for n in SHUFFLED]
    chosen = [Anchors(n, calls) for n, calls in CHOSEN]
    ruled = [Anchors(n, calls, rule=rule) for rule in RULES for n, calls in CHOSEN if n > 1]
    found = [Task(Anchors(0, 0), 0)]  # nothing to choose
    for number in range(1 if quick else SEEDS):
        found += [Task(anchors, seed + number) for anchors in split + shuffled]
    for number in range(1 if quick else CHOICE_SEEDS):
        found += [Task(a, seed + number) for a in chosen + ruled if a.rule not in WITHOUT_CHANCE]
    found += [Task(a, 0) for a in ruled if a.rule in WITHOUT_CHANCE]
    return list(dict.fromkeys(found))


def choose(bench: ways.Bench, n_queries: int, rule: str, seed: int) -> np.ndarray:
    """Anchor queries of the pool by a rule; random ones are those of every other benchmark.

    "covering": the library's own, each brings the others nearest to a chosen one; "medoids":
    nearest to the centres of k-means of their vectors; "farthest": each farthest from
    those before, the first at random; "answered": nearest to any text.
    """
    if rule == "random":
        return ways.chosen_anchors(bench, n_queries, seed)
    index = SearchIndex.open(bench.index)
    vectors = np.asarray(index.models.encoder.encode(bench.collection.anchors), dtype=np.float64)
    if rule == "covering":
        return np.array(covering_order(vectors @ vectors.T, 0, n_queries))
    if rule == "answered":
        texts = np.asarray(index.models.encoder.encode(bench.collection.texts))
        return np.argsort(-(vectors @ texts.T).max(axis=1), kind="stable")[:n_queries]
    if rule == "medoids":
        return medoids(vectors, n_queries, seed)
    return farthest(vectors, n_queries, seed)


def medoids(vectors: np.ndarray, n_rows: int, seed: int) -> np.ndarray:
    """The row nearest to each centre of k-means, each row once."""
    from sklearn.cluster import KMeans

    centres = KMeans(n_rows, n_init=4, random_state=seed).fit(vectors).cluster_centers_
    distance = np.square(vectors[:, None] - centres).sum(axis=2)  # (rows, centres)
    chosen = []
    for centre in range(n_rows):
        chosen.append(int(distance[:, centre].argmin()))
        distance[chosen[-1]] = np.inf
    return np.array(chosen)


def farthest(vectors: np.ndarray, n_rows: int, seed: int) -> np.ndarray:
    """A random row, then again and again the one whose nearest chosen row is farthest.

    >>> farthest(np.array([[0.0], [1.0], [9.0], [10.0]]), 2, seed=0).tolist()
    [3, 0]
    """
    chosen = [int(np.random.default_rng(seed).integers(len(vectors)))]
    nearest = np.full(len(vectors), np.inf)
    while len(chosen) < n_rows:
        nearest = np.minimum(nearest, np.square(vectors - vectors[chosen[-1]]).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


def recalls_of(bench: ways.Bench, task: Task, budgets: list[int]) -> list[float]:
    """The library on an index whose calls were spent as the task says."""
    anchors, seed = task
    chosen = choose(bench, anchors.n_queries, anchors.rule, seed)
    calls = round(anchors.calls_a_text * bench.n_items)
    way = ways.ours(bench, chosen, calls, shuffled=anchors.shuffled, seed=seed)
    return [ways.recall(bench, way, budget) for budget in budgets]


def kept_results(path: Path) -> dict[str, Result]:
    """Results by the line that keys them; a line that a killed run left half-written is nothing."""
    found = {}
    for text in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            key = json.loads(text)
        except json.JSONDecodeError:
            continue
        result = Result(key.pop("recall"), key.pop("commit"))
        found[json.dumps(key)] = result
    return found


def keep(path: Path, key: dict[str, Any], result: Result) -> None:
    """Append one result; the break before it ends a line that was left half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({**key, **result._asdict()}))


def measure(name: str, options: argparse.Namespace) -> dict[Task, Result]:
    """Recall at each budget for every task on one collection; what is kept is not done again."""
    collection = load(name, SCORER)
    path = matrix_path(collection, SCORER)
    digest, n_items = hashlib.sha256(path.read_bytes()).hexdigest(), len(collection.texts)
    budgets = [round(fraction * n_items) for fraction in FRACTIONS]
    keys = {
        task: {"matrix": digest, **task.anchors._asdict(), "seed": task.seed, "calls": budgets}
        for task in tasks(n_items, options.seed, quick=options.quick)
    }
    kept = kept_results(KEPT)
    done = {task: kept.get(json.dumps(key)) for task, key in keys.items()}
    missing = [task for task, result in done.items() if result is None]
    with ExitStack() as stack:
        bar = tqdm(total=len(done), initial=len(done) - len(missing), desc=name, unit="result")
        stack.enter_context(bar)
        if missing:  # else no index is built
            bench = stack.enter_context(ways.bench(collection, np.load(path)))
        for task in missing:
            done[task] = Result(recalls_of(bench, task, budgets), options.provenance["commit"])
            keep(KEPT, keys[task], done[task])
            bar.update()
    return done


def kind(anchors: Anchors, n_items: int) -> str:
    """Which of the ways in the docstring of this module it is.

    >>> [kind(split, 1_000) for split in splits(8, 1_000)]
    ['full', 'between', 'sparse']
    """
    if not anchors.n_queries:
        return "none"
    if anchors.shuffled:
        return "shuffled"
    if anchors.rule != "random":
        return anchors.rule
    if anchors.n_queries == anchors.calls_a_text:
        return "full"
    return "sparse" if anchors == splits(anchors.calls_a_text, n_items)[-1] else "between"


def as_rows(done: dict[Task, list[float]], n_items: int) -> list[dict[str, Any]]:
    """Each way to spend the calls, few calls first, with its recalls (seeds, budgets)."""
    found: dict[Anchors, list[list[float]]] = {}
    for task in sorted(done, key=lambda task: (task.anchors.calls_a_text, task)):
        recalls = [round(recall, 4) for recall in done[task]]  # shares of 10 over 40 queries: exact
        found.setdefault(task.anchors, []).append(recalls)
    return [
        {"kind": kind(anchors, n_items), **anchors._asdict(), "recall": recalls}
        for anchors, recalls in found.items()
    ]


def mean_rows(collections: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The mean over the collections of every recall, seed by seed."""
    columns = zip(*collections.values(), strict=True)
    return [
        {**same[0], "recall": np.mean([row["recall"] for row in same], axis=0).tolist()}
        for same in columns
    ]


def label(row: dict[str, Any], kind: str) -> str:
    """The calls a text and the anchor queries of a row, as the tables name it."""
    return f"{row['calls_a_text']:g} a text: {row['n_queries']} {kind}"


def by_way(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Recall at each budget, mean over the seeds, of none, full, sparse and shuffled anchors.

    >>> by_way([{"kind": "full", "n_queries": 4, "calls_a_text": 4, "recall": [[0.5], [0.6]]}])
    {'4 a text: 4 full': ['0.550']}
    """
    table = {}
    kept = [row for row in rows if row["kind"] in KINDS]
    for row in sorted(kept, key=lambda row: KINDS.index(row["kind"])):
        way = label(row, row["kind"]) if row["n_queries"] else "no anchors"
        table[way] = [f"{value:.3f}" for value in np.mean(row["recall"][:SEEDS], axis=0)]
    return table


def by_split(rows: list[dict[str, Any]], at: int) -> dict[str, list[str]]:
    """Recall at one budget, mean over the seeds: calls a text down, numbers of anchors across.

    >>> by_split([{"kind": "full", "n_queries": 2, "calls_a_text": 2, "recall": [[0.5], [0.6]]}], 0)
    {'2 a text': ['', '0.550', '', '', '', '']}

    The last column has the most that there may be: 32, or as many as a small budget allows.
    """
    table: dict[str, list[str]] = {}
    for row in rows:
        if row["kind"] in ("full", "between", "sparse"):
            cells = table.setdefault(f"{row['calls_a_text']:g} a text", [""] * (len(N_QUERIES) + 1))
            column = N_QUERIES.index(row["n_queries"]) if row["n_queries"] in N_QUERIES else -1
            cells[column] = f"{np.mean([recalls[at] for recalls in row['recall'][:SEEDS]]):.3f}"
    return table


def by_choice(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Recall of CHOSEN anchors by the rule: mean over all seeds, and the lowest and the highest.

    >>> row = {"rule": "random", "shuffled": False, "recall": [[0.5], [0.6]]}
    >>> by_choice([{"n_queries": 4, "calls_a_text": 4, **row}])
    {'4 a text: 4 random': ['0.550 (0.500 to 0.600)']}
    """
    return {
        label(row, row["rule"]): [
            f"{np.mean(at):.3f} ({min(at):.3f} to {max(at):.3f})"
            for at in zip(*row["recall"], strict=True)
        ]
        for row in sorted(rows, key=lambda row: (row["calls_a_text"], row["n_queries"]))
        if (row["n_queries"], row["calls_a_text"]) in CHOSEN and not row["shuffled"]
    }


def tables(document: dict[str, Any]) -> list[Table]:
    """All that a run says, for the terminal and for ``benchmarks.report``."""
    collections, fractions = document["recall"], document["fractions"]
    budgets = [f"{fraction:.1%}" for fraction in fractions]
    mean = mean_rows(collections)
    choice = {
        f"{name}: {way}": cells
        for name, rows in {"mean": mean, **collections}.items()
        for way, cells in by_choice(rows).items()
    }
    counts = [*(f"{n} anchors" for n in N_QUERIES), "most"]
    return [
        Table("mean over the collections", budgets, by_way(mean)),
        *(
            Table(f"numbers of anchors for the same calls, at {budget}", counts, by_split(mean, at))
            for at, budget in enumerate(budgets)
        ),
        Table("which queries: mean, lowest and highest of the choices", budgets, choice),
        *(Table(name, budgets, by_way(rows)) for name, rows in collections.items()),
    ]


def show(table: Table) -> None:
    """Print one table."""
    width = max(map(len, table.rows))
    lines = {"": table.columns, **table.rows}
    cell_width = 2 + max(len(cell) for cells in lines.values() for cell in cells)
    print(f"\n{table.title}")
    for name, cells in lines.items():
        print(f"{name:{width}}" + "".join(f"{cell:>{cell_width}}" for cell in cells))


def run(options: argparse.Namespace) -> None:
    """The whole benchmark; the document is written after every collection."""
    found: dict[str, list[dict[str, Any]]] = {}
    commits: set[str] = set()
    for name, n_items in list(SIZES[SCORER].items())[: 2 if options.quick else None]:
        path = matrix_path(load(name, SCORER), SCORER)
        if not path.exists():
            print(f"skipped: {name} with {SCORER} has no matrix ({path.name}); see --help")
            continue
        results = measure(name, options)
        commits |= {result.commit or "unknown" for result in results.values()}
        found[name] = as_rows({task: result.recall for task, result in results.items()}, n_items)
        document = {
            "commit": ", ".join(sorted(commits)),  # of the results, which may be older than the run
            "seeds": 1 if options.quick else SEEDS,
            "seeds of the choice": 1 if options.quick else CHOICE_SEEDS,
            "items": {name: SIZES[SCORER][name] for name in found},
            "fractions": FRACTIONS,
            "k": ways.K,
            "recall": found,
        }
        output.write(document, options)
    if found:
        for table in tables(document):
            show(table)


def main() -> None:
    """Parse the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="forget the results that are kept")
    output.options(parser, quick="two collections, one seed")
    options = parser.parse_args()
    if options.fresh:
        KEPT.unlink(missing_ok=True)
    run(options)


if __name__ == "__main__":
    main()
