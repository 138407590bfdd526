"""How good the answers are for their calls, beside the usual ways to search.

Every way is asked the same judged queries on the same index with the same scorer: BM25 and the
vectors alone, each with a rerank of its first B texts, and the rounds with B calls. Calls and time
are counted as if each way were alone, although scores that several ways need are paid for once.

Measures come from ir-measures: recall@k and nDCG@k of the judged texts, reciprocal rank@k.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shoestring.artifacts import written_aside
from shoestring.checks import checked_path
from shoestring.errors import (
    FormatError,
    MissingExtraError,
    NotFittedError,
    ParameterError,
    ShoestringWarning,
    short,
)
from shoestring.progress import Progress
from shoestring.search.cur import top_rows
from shoestring.search.features import IndexRows
from shoestring.search.query import search_rounds
from shoestring.search.score_cache import CachedScorer, ScoreCache
from shoestring.search.snapshot import Snapshot
from shoestring.text.files import read_lines
from shoestring.types import Hits, IntArray, Record

if TYPE_CHECKING:
    from shoestring.search.index import SearchIndex

GRADES = frozenset(
    (
        *("grade", "score", "relevance", "relevant", "rel", "label", "judgement", "rating"),
        *("等级", "分数", "得分", "评分", "相关性", "标签"),
        *("等級", "分數", "評分", "相關性", "標籤"),
    )
)
"""Names of the last column of judgements, by which a first line is told to be a header."""

NEAR, LEXICAL = 0, 1  # columns of the cheap features


@dataclass(frozen=True, slots=True)
class Row:
    """One way of searching with one budget: means over the queries.

    ``milliseconds`` is a query's wall-clock time; for a score that another way had paid for before,
    the scorer's mean time for a pair is added.
    """

    way: str
    calls: float
    recall: float
    ndcg: float
    mrr: float
    milliseconds: float


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements: TREC (``query 0 text grade``), or three columns (``query text grade``).

    A header line is skipped, if its last column has one of the names :data:`GRADES`. Raises
    StorageError if the file cannot be read, FormatError with the line where one cannot.
    """
    path = checked_path("path", path, "read_qrels")
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        parts = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        is_row = len(parts) in (3, 4)
        if not line.strip() or (number == 1 and is_row and parts[-1].casefold() in GRADES):
            continue
        if not is_row or not re.fullmatch(r"-?\d+", parts[-1]):
            want = "query, text, grade (or query, 0, text, grade), the grade a whole number"
            header = " If it is a header, remove it." * (number == 1)
            message = f"a judgement must be {want}. Got {short(line.strip())}.{header}"
            raise FormatError(message, file=path, line=number)
        qrels.setdefault(parts[0], {})[parts[-2]] = int(parts[-1])
    if not qrels:
        raise FormatError("there are no judgements in it.", file=path)
    return qrels


def evaluate(
    index: SearchIndex,
    queries: Iterable[Record],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    calls: Sequence[int] = (25, 50, 100, 200),
    k: int = 10,
    progress: bool = True,
) -> list[Row]:
    """Compare the ways to search an index on judged queries.

    Parameters
    ----------
    queries : iterable of Record
        Those without judgements are left out.
    qrels : mapping
        Query id to text id to grade; above 0 is relevant.
    calls : sequence of int
        Budgets.
    k : int
        Depth of every measure.

    Raises
    ------
    ParameterError
        If no query has a judgement.
    NotFittedError
        If the index has no scorer.
    MissingExtraError
        If ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtraError("ir-measures", extra="eval", purpose="search eval") from error
    measures = ir_measures.R @ k, ir_measures.nDCG @ k, ir_measures.RR @ k
    judged = [query for query in queries if query.id in qrels]
    if not judged:
        want = "queries whose ids are in the judgements"
        raise ParameterError.of("queries", "evaluate", want, "none such")
    if index.models.scorer is None:
        raise NotFittedError("The index has no scorer to compare with; name one: scorer=...")
    runs: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    seconds: dict[tuple[str, int], float] = {}
    note_unknown(index, judged, qrels)
    for query in Progress(judged, desc="queries", unit="query", disable=not progress):
        for way, budget, ranking, spent in answers(index, query.text, calls, k):
            runs.setdefault((way, budget), {})[query.id] = ranking
            seconds[way, budget] = seconds.get((way, budget), 0.0) + spent
    rows = []
    relevant = {query.id: dict(qrels[query.id]) for query in judged}
    for (way, budget), run in runs.items():
        found = ir_measures.calc_aggregate(measures, relevant, run)
        recall, ndcg, mrr = (round(float(found[measure]), 4) for measure in measures)
        milliseconds = round(1000 * seconds[way, budget] / len(judged), 1)
        rows.append(Row(way, budget, recall, ndcg, mrr, milliseconds))
    return rows


def write_run(answers: Iterable[tuple[Record, Hits]], path: Path) -> int:
    """Write queries and their hits as a TREC run file; returns how many queries there were.

    Scores fall with the rank, as estimates and exact scores do not compare; FormatError for an id
    with white space, which the format cannot hold.
    """
    n = 0
    with written_aside(path) as file:
        for query, hits in answers:
            n += 1
            for rank, hit in enumerate(hits, start=1):
                cells = (query.id, "Q0", hit.id, str(rank), str(len(hits) - rank + 1), "shoestring")
                if strange := [cell for cell in cells if cell.split() != [cell]]:
                    message = f"the id {short(strange[0])} has white space. Give it another id."
                    raise FormatError(message, file=path)
                file.write((" ".join(cells) + "\n").encode())
    return n


def note_unknown(
    index: SearchIndex, queries: Iterable[Record], qrels: Mapping[str, Mapping[str, int]]
) -> None:
    """Say how many judged texts are not in the index, and judged queries not among these."""
    asked = {query.id for query in queries} & qrels.keys()
    with index.snapshot() as snapshot:
        texts = sorted({text for id in asked for text in qrels[id]})
        unknown = [text for text in texts if snapshot.key_of(text) is None]
    notes = []
    if unknown:
        which = f"{len(unknown):,} of {len(texts):,} judged texts, {short(unknown[0])} for example"
        notes.append(f"{which}, are not in the index.")
    if missing := len(qrels) - len(asked):
        notes.append(f"{missing:,} of {len(qrels):,} judged queries have no text.")
    if notes:
        warnings.warn(" ".join(notes), ShoestringWarning, stacklevel=3)


def answers(
    index: SearchIndex, text: str, budgets: Sequence[int], k: int
) -> Iterable[tuple[str, int, dict[str, float], float]]:
    """Every way's answers to one query: way, calls, text ids to scores, seconds."""
    with index.snapshot() as snapshot, ScoreCache(index.path) as cache:
        began = time.perf_counter()
        rows, model, features, guess = index.first_look(snapshot, text)
        looked = time.perf_counter() - began
        score = CachedScorer(index.models, lambda at: snapshot.texts(rows.keys[at]), text, cache)
        stages = {
            name: np.where(rows.deleted, -np.inf, features[:, column])
            for name, column in (("BM25", LEXICAL), ("vectors", NEAR))
        }
        for name, values in stages.items():
            yield name, 0, _named(snapshot, rows, top_rows(values, min(k, rows.n_live))), looked
        for budget in budgets:
            for name, values in stages.items():
                clock = _CallClock(score, budget, looked)
                order = top_rows(values, min(budget, rows.n_live))
                best = np.argsort(-score(order), kind="stable")[:k]
                spent = clock.seconds()
                yield f"{name}, then rerank", budget, _named(snapshot, rows, order[best]), spent
            clock = _CallClock(score, budget, looked)
            nothing = np.empty(0, dtype=np.int64), np.empty(0)
            rounds = search_rounds(rows, model, features, guess, nothing, budget, score)
            best, _, _ = rounds.ranking(min(k, rows.n_live))
            spent = clock.seconds()
            yield "shoestring", budget, _named(snapshot, rows, best), spent


class _CallClock:
    """Seconds since it was made, as if every one of the calls had been paid for now."""

    def __init__(self, score: CachedScorer, calls: int, before: float) -> None:
        self.score, self.calls, self.paid, self.before = score, calls, score.calls, before
        self.began = time.perf_counter()

    def seconds(self) -> float:
        n_saved = self.calls - (self.score.calls - self.paid)
        saved = n_saved * self.score.seconds / max(1, self.score.calls)
        return self.before + time.perf_counter() - self.began + saved


def _named(snapshot: Snapshot, rows: IndexRows, order: IntArray) -> dict[str, float]:
    """Text ids to scores that keep the order (ties would be broken by id)."""
    ids = snapshot.ids(rows.keys[order])
    return {id: float(-rank) for rank, id in enumerate(ids)}
