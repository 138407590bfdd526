"""How good the answers are for their calls, beside the usual ways to search.

Every way is asked the same judged queries on the same index with the same scorer: BM25 and the
vectors alone, each with a rerank of its first B texts, and the rounds with B calls. Calls and time
are counted as if each way were alone, although scores that several ways need are paid for once.

Measures come from ir-measures: recall@k and nDCG@k of the judged texts, reciprocal rank@k.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from shoestring.errors import FormatError, MissingExtraError, NotFittedError, ParameterError
from shoestring.search import querying
from shoestring.search.cur import top_rows
from shoestring.search.features import IndexRows
from shoestring.search.ledger import ScoreLedger
from shoestring.search.paying import Payer
from shoestring.search.snapshot import Snapshot
from shoestring.types import IntArray, Record

if TYPE_CHECKING:
    from shoestring.search.engine import SearchIndex

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

    A header line is skipped. Raises FormatError with the line where one cannot be read.
    """
    qrels: dict[str, dict[str, int]] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"the judgements cannot be read ({error}).", file=path) from error
    for number, line in enumerate(lines, start=1):
        parts = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            continue
        is_number = len(parts) in (3, 4) and re.fullmatch(r"-?\d+", parts[-1].strip())
        if not is_number and number == 1:
            continue
        if not is_number:
            want = "query, text, grade (or query, 0, text, grade), the grade a whole number"
            raise FormatError(f"a judgement must be {want}. Got {line!r}.", file=path, line=number)
        qrels.setdefault(parts[0].strip(), {})[parts[-2].strip()] = int(parts[-1])
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
    measures = _measures(k)
    judged = [query for query in queries if query.id in qrels]
    if not judged:
        raise ParameterError.of(
            "queries", "evaluate", "queries whose ids are in the judgements", "none such"
        )
    if index.models.scorer is None:
        raise NotFittedError("The index has no scorer to compare with; name one: scorer=...")
    runs: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    seconds: dict[tuple[str, int], float] = {}
    for query in tqdm(judged, desc="queries", unit="query", disable=not progress):
        for way, budget, ranking, spent in answers(index, query.text, calls, k):
            runs.setdefault((way, budget), {})[query.id] = ranking
            seconds[way, budget] = seconds.get((way, budget), 0.0) + spent
    rows = []
    for (way, budget), run in runs.items():
        recall, ndcg, mrr = (round(value, 4) for value in _measured(measures, qrels, judged, run))
        milliseconds = round(1000 * seconds[way, budget] / len(judged), 1)
        rows.append(Row(way, budget, recall, ndcg, mrr, milliseconds))
    return rows


def _measures(k: int) -> tuple[Any, ...]:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtraError("ir-measures", extra="eval", purpose="search eval") from error
    return ir_measures.R @ k, ir_measures.nDCG @ k, ir_measures.RR @ k


def _measured(
    measures: Sequence[Any],
    qrels: Mapping[str, Mapping[str, int]],
    judged: Sequence[Record],
    run: Mapping[str, Mapping[str, float]],
) -> list[float]:
    import ir_measures

    asked = {query.id: dict(qrels[query.id]) for query in judged}
    values = ir_measures.calc_aggregate(list(measures), asked, dict(run))
    return [float(values[measure]) for measure in measures]


def answers(
    index: SearchIndex, text: str, budgets: Sequence[int], k: int
) -> Iterable[tuple[str, int, dict[str, float], float]]:
    """Every way's answers to one query: way, calls, text ids to scores, seconds."""
    scorer = index.models.scorer
    assert scorer is not None
    with index.snapshot() as snapshot, ScoreLedger(index.path) as ledger:
        began = time.perf_counter()
        rows, learnt, features, guess = index.first_look(snapshot, text)
        looked = time.perf_counter() - began
        payer = Payer(scorer, snapshot, rows.keys, text, ledger, index.models.lock)
        stages = {"BM25": features[:, LEXICAL], "vectors": features[:, NEAR]}
        for name, values in stages.items():
            order = top_rows(np.where(rows.dead, -np.inf, values), min(k, rows.n_live))
            yield name, 0, _named(snapshot, rows, order), looked
        for budget in budgets:
            for name, values in stages.items():
                clock = _Clock(payer, budget, looked)
                order = top_rows(np.where(rows.dead, -np.inf, values), min(budget, rows.n_live))
                best = np.argsort(-payer(order), kind="stable")[:k]
                yield f"{name}, then rerank", budget, _named(snapshot, rows, order[best]), clock()
            clock = _Clock(payer, budget, looked)
            nothing = np.empty(0, dtype=np.int64), np.empty(0)
            rounds = querying.search_rounds(rows, learnt, features, guess, nothing, budget, payer)
            best, _, _ = rounds.ranking(min(k, rows.n_live))
            yield "shoestring", budget, _named(snapshot, rows, best), clock()


class _Clock:
    """Seconds since it was made, as if every one of the calls had been paid for now."""

    def __init__(self, payer: Payer, calls: int, before: float) -> None:
        self.payer, self.calls, self.paid, self.before = payer, calls, payer.calls, before
        self.began = time.perf_counter()

    def __call__(self) -> float:
        n_saved = self.calls - (self.payer.calls - self.paid)
        saved = n_saved * self.payer.seconds / max(1, self.payer.calls)
        return self.before + time.perf_counter() - self.began + saved


def _named(snapshot: Snapshot, rows: IndexRows, order: IntArray) -> dict[str, float]:
    """Text ids to scores that keep the order (ties would be broken by id)."""
    ids = snapshot.ids(rows.keys[order])
    return {id: float(-rank) for rank, id in enumerate(ids)}


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The table as JSON can say it."""
    return [asdict(row) for row in rows]
