"""The main job on real input: search in the documentation of the Python that runs this.

Builds an index of the standard library's docstrings, answers five questions, and measures a hundred
held-out ones: a docstring's first sentence asks for the rest of it. The scorer is MiniLM's token
interaction. Every question is scored with every text beforehand, for the exact truth, and kept; a
call is counted as one all the same.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.console import echo, emit_json, emit_rows
from shoestring.match.interaction import DEFAULT
from shoestring.match.scorer import load_scorer
from shoestring.progress import Progress
from shoestring.search.evaluate import answers
from shoestring.search.index import SearchIndex
from shoestring.search.score_cache import ScoreCache
from shoestring.text import KnownItem, known_items, python_docs
from shoestring.text.records import text_digests
from shoestring.types import Hits, Record

QUESTIONS = (
    "how do I parse command line arguments",
    "run a function in another process and get its result",
    "compress a file with gzip",
    "difference between two dates",
    "send an email over a secure connection",
)
N_HELD_OUT, K, ANCHOR_CALLS = 100, 10, 4_000
BUDGETS = (30, 60, 130)
SEED = 0


def run(*, as_json: bool = False) -> None:
    """Run the whole demo and print it."""
    began = time.perf_counter()
    records, held_out = corpus()
    with tempfile.TemporaryDirectory(prefix="shoestring-demo-") as folder:
        index = SearchIndex.build(
            Path(folder) / "index", records, scorer=DEFAULT, calls=ANCHOR_CALLS
        )
        found = {question: index.query(question, k=3, calls=60) for question in QUESTIONS}
        scores_paid = index.info()["scores_paid"]
        pairs_per_second = black_box_speed(records)
        rows = measure(index, held_out, pairs_per_second)
    report = {
        "texts": len(records),
        "held_out_questions": len(held_out),
        "anchor_calls": ANCHOR_CALLS,
        "scorer_pairs_per_second": round(pairs_per_second, 1),
        "scores_paid": scores_paid,
        "rows": rows,
        "seconds": round(time.perf_counter() - began, 1),
    }
    if as_json:
        emit_json(report)
    else:
        show(found, report)


def corpus() -> tuple[list[Record], list[KnownItem]]:
    """All docstrings; those of the held-out questions without the sentence that asks for them."""
    records = list(Progress(python_docs(), desc="docstrings", unit="text"))
    items = list(known_items(records))
    chosen = np.random.default_rng(SEED).permutation(len(items))[:N_HELD_OUT]
    held_out = [items[i] for i in sorted(chosen)]
    rest = {item.record.id: item.record for item in held_out}
    return [rest.get(record.id, record) for record in records], held_out


def black_box_speed(records: Sequence[Record], n_pairs: int = 256) -> float:
    """Pairs a second of the scorer when nothing is kept of the texts."""
    scorer = load_scorer(DEFAULT)
    order = np.random.default_rng(SEED).permutation(len(records))[: n_pairs + 32]
    texts = [records[i].text for i in order]
    scorer.predict([(QUESTIONS[0], text) for text in texts[n_pairs:]])  # warm
    began = time.perf_counter()
    scorer.predict([(QUESTIONS[0], text) for text in texts[:n_pairs]])
    return n_pairs / (time.perf_counter() - began)


def measure(
    index: SearchIndex, held_out: Sequence[KnownItem], pairs_per_second: float
) -> list[dict[str, Any]]:
    """Each way's means: recall of the scorer's own first ten, reciprocal rank, calls, ms."""
    score_all(index, [item.question for item in held_out])
    sums: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for item in Progress(held_out, desc="questions", unit="question"):
        found, truth = answers(index, item.question, BUDGETS, K)
        for way, calls, ranking, seconds in found:
            names = list(ranking)
            recall = len({*truth} & {*names}) / K
            is_found = item.record.id in names
            reciprocal_rank = 1 / (names.index(item.record.id) + 1) if is_found else 0.0
            figures = (recall, reciprocal_rank, seconds + calls / pairs_per_second)
            sums.setdefault((way, calls), []).append(figures)
    rows = []
    for (way, calls), values in sorted(sums.items(), key=lambda entry: entry[0][1]):
        recall, mrr, seconds = np.mean(values, axis=0).tolist()
        means = {"way": way, "calls": calls, "recall": round(recall, 3), "mrr": round(mrr, 3)}
        rows.append({**means, "milliseconds": round(1000 * seconds)})
    return rows


def score_all(index: SearchIndex, questions: Sequence[str]) -> None:
    """Keep the scores of every question with every text in the index; each text is read once."""
    scorer, parts = load_scorer(DEFAULT), list[NDArray[np.float64]]()
    with index.snapshot() as snapshot:
        texts = snapshot.texts(snapshot.keys)
    for start in Progress(range(0, len(texts), 512), desc="exact scores", unit=" x 512 texts"):
        some = texts[start : start + 512]
        pairs = [(question, text) for question in questions for text in some]
        parts.append(np.reshape(scorer.predict(pairs), (-1, len(some))))
    digests = text_digests(texts)
    with ScoreCache(index.path) as cache:
        for question, scores in zip(questions, np.hstack(parts), strict=True):
            cache.put(index.models.scorer_name, question, digests, scores)


def show(found: dict[str, Hits], report: dict[str, Any]) -> None:
    """Print the five answers and the table."""
    for question, hits in found.items():
        echo(f"{question}   ({hits.calls} calls)")
        for hit in hits:
            line = " ".join(hit.text.split())[:70]
            echo(f"  {hit.score:.3f}  {hit.id}: {line}")
    echo(
        f"{report['held_out_questions']} held-out questions, {report['texts']:,} texts; "
        f"{report['anchor_calls']:,} calls went into the index"
    )
    recall = f"recall of the scorer's own top {K}"
    names = {"recall": recall, "mrr": "MRR", "milliseconds": "ms"}
    emit_rows(({names.get(n, n): v for n, v in row.items()} for row in report["rows"]), False)
    echo(
        "ms: a query's own time, and its calls at the "
        f"{report['scorer_pairs_per_second']:.0f} pairs a second that the scorer makes here when "
        "nothing is kept of the texts"
    )
    echo(f"{report['seconds']:.0f} s in all")
