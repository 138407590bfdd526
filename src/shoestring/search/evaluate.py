"""How good the answers are for their calls, beside the usual ways to search.

Every way is asked the same judged queries on the same index with the same scorer: BM25 and the
vectors alone, each with a rerank of its first B texts, and the rounds with B calls. Calls and time
are counted as if each way were alone, although scores that several ways need are paid for once.

Measures come from ir-measures: recall@k and nDCG@k of the judged texts, reciprocal rank@k.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from shoestring.artifacts import written_aside
from shoestring.checks import checked_path
from shoestring.errors import FormatError, NotFittedError, ParameterError, ShoestringWarning, short
from shoestring.lazy import require
from shoestring.progress import Progress
from shoestring.search.cur import top_rows
from shoestring.search.query import search_rounds
from shoestring.search.score_cache import ScoreCache
from shoestring.text.files import read_lines
from shoestring.types import FloatArray, Hits, IntArray, Record

if TYPE_CHECKING:
    from shoestring.search.index import SearchIndex

GRADES = {
    *("grade", "score", "relevance", "relevant", "rel", "label", "judgement", "rating"),
    *("等级", "分数", "得分", "评分", "相关性", "标签", "等級", "分數", "評分", "相關性", "標籤"),
}
"""Names of the last column of judgements, by which a first line is told to be a header."""

NEAR, LEXICAL = 0, 1  # columns of the cheap features
OURS = "shoestring"


@dataclass(frozen=True, slots=True)
class Row:
    """One way of searching with one budget: means over the queries, None without judgements."""

    way: str
    calls: int
    recall: float | None
    ndcg: float | None
    mrr: float | None
    own: float  # recall of the best k of all texts that any way had the scorer score
    changed: float  # how often the first answer is another than the vectors'
    gain: float | None  # nDCG above the first guess, from which the rounds begin, in points
    low: float | None  # of the gain's 95 % interval (paired, Student's)
    high: float | None
    milliseconds: float  # of a query, each of its calls at the scorer's mean time for a pair


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found: means, the figures of each query, and what they say."""

    rows: list[Row]
    queries: list[dict[str, Any]]
    verdict: str
    mix: float | None = None  # the best share of the first guess, for the most calls


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
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    *,
    calls: Sequence[int] = (25, 50, 100, 200),
    k: int = 10,
    mixes: Sequence[float] = (),
    progress: bool = True,
) -> Evaluation:
    """Compare the ways to search an index, and say what calls of its scorer are worth.

    Parameters
    ----------
    queries : iterable of Record
        Those without judgements are left out, where there are any.
    qrels : mapping, optional
        Query id to text id to grade; above 0 is relevant.
    calls : sequence of int
        Budgets.
    k : int
        Depth of every measure.
    mixes : sequence of float
        Shares of the first guess in the order, of which the best is found for each query from the
        others: a way of its own.

    Raises
    ------
    ParameterError
        If there is no query, or none has a judgement.
    NotFittedError
        If the index has no scorer.
    MissingExtraError
        If ir-measures is not installed.
    """
    require("search eval", "eval", "ir_measures")
    import ir_measures

    by_name = {"recall": ir_measures.R, "ndcg": ir_measures.nDCG, "mrr": ir_measures.RR}
    measures = {name: measure @ k for name, measure in by_name.items()}
    if not (calls := sorted({*calls} - {0})):
        raise ParameterError.of("calls", "evaluate", "numbers above 0", calls)
    queries = list(queries)
    asked = [query for query in queries if qrels is None or query.id in qrels]
    if not asked:
        want = "queries" if qrels is None else "queries whose ids are in the judgements"
        raise ParameterError.of("queries", "evaluate", want, "none such")
    if index.models.scorer is None:
        raise NotFittedError("The index has no scorer to compare with; name one: scorer=...")
    if qrels is not None:
        note_unknown(index, queries, qrels)
    figures: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for query in Progress(asked, desc="queries", unit="query", disable=not progress):
        found, own = answers(index, query.text, calls, k, mixes)
        firsts = {way: next(iter(ranking), "") for way, _, ranking, _ in found if way == "vectors"}
        for way, budget, ranking, seconds in found:
            one: dict[str, Any] = {"query": query.id, "way": way, "calls": budget}
            if qrels is not None:
                run, judged = {query.id: ranking}, {query.id: dict(qrels[query.id])}
                scores = ir_measures.calc_aggregate([*measures.values()], judged, run)
                one |= {name: float(scores[measure]) for name, measure in measures.items()}
            one["own"] = len({*ranking} & {*own}) / max(1, len(own))
            one["changed"] = float(next(iter(ranking), "") != firsts["vectors"])
            one["milliseconds"] = 1000 * seconds
            figures.setdefault((way, budget), []).append(one)
    mix = _choose_mix(figures, calls, mixes) if mixes and qrels is not None else None
    first = [one.get("ndcg", math.nan) for one in figures[OURS, 0]]
    rows = [_row(way, budget, each, first) for (way, budget), each in figures.items()]
    every = [one for each in figures.values() for one in each]
    return Evaluation(rows, every, _verdict(rows, figures, k), mix)


def _choose_mix(
    figures: dict[tuple[str, int], list[dict[str, Any]]], calls: Sequence[int],
    mixes: Sequence[float],
) -> float:  # fmt: skip
    """Put one way in place of those of all shares, and return the share that is best."""
    shares, best = [0.0, *mixes], 0
    for budget in calls:
        each = [figures[OURS, budget], *(figures.pop((f"mixed {m}", budget)) for m in mixes)]
        ndcg = np.array([[one["ndcg"] for one in of] for of in each])  # (shares, queries)
        others = ndcg.sum(axis=1, keepdims=True) - ndcg
        chosen = np.argmax(others.round(9), axis=0)
        best = int(np.argmax(ndcg.mean(axis=1).round(9)))
        name = "shoestring, mixed with the first guess"
        figures[name, budget] = [
            each[m][query] | {"way": name} for query, m in enumerate(chosen.tolist())
        ]
    return shares[best]


def _row(way: str, calls: int, figures: list[dict[str, Any]], first: list[float]) -> Row:
    """The means of one way, and its gain over the first guess."""
    means: dict[str, float | None] = dict.fromkeys(("recall", "ndcg", "mrr", "gain", "low", "high"))
    for name in (name for name in figures[0] if name not in ("query", "way", "calls")):
        means[name] = round(float(np.mean([one[name] for one in figures])), 4)
    if "ndcg" in figures[0]:
        gains = 100 * (np.array([one["ndcg"] for one in figures]) - first)
        means |= dict(zip(("gain", "low", "high"), _interval(gains), strict=True))
    return Row(way, calls, **means)  # type: ignore[arg-type]


def _interval(values: FloatArray) -> tuple[float, float, float]:
    """Mean and its 95 % interval (Student's); of one value the whole line."""
    mean, n = float(values.mean()), len(values)
    half = math.inf
    if n > 1:
        half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))
    return round(mean, 2), round(mean - half, 2), round(mean + half, 2)


def _verdict(
    rows: list[Row], figures: Mapping[tuple[str, int], list[dict[str, Any]]], k: int
) -> str:
    """What calls are worth, in a sentence."""
    ours = [row for row in rows if row.way == OURS and row.calls]
    if ours[0].ndcg is None:
        return (
            f"With {ours[-1].calls} calls the scorer changes the vectors' first answer for "
            f"{ours[-1].changed:.0%} of the queries. Only judgements can tell if that is better."
        )

    def points(row: Row) -> str:
        return f"{row.gain:+.1f} points of nDCG@{k} ({row.low:+.1f} to {row.high:+.1f})"

    enough = None
    for row in ours:  # the least calls that more calls are not clearly better than
        one, other = (
            np.array([each["ndcg"] for each in figures[OURS, calls]])
            for calls in (row.calls, enough.calls if enough else 0)
        )
        enough = row if _interval(one - other)[1] > 0 else enough
    if enough:
        more = "; more calls add nothing that can be told" * (enough is not ours[-1])
        return f"{enough.calls} calls are worth {points(enough)} here{more}."
    worst = min(ours, key=lambda row: row.high or 0.0)
    if (worst.high or 0.0) < 0:
        told = f"makes the answers worse: {worst.calls} calls cost {points(worst)}"
    else:
        told = f"adds nothing that can be told: {ours[-1].calls} calls are worth {points(ours[-1])}"
    return f"This scorer {told}. Search with 0 calls, or take a better scorer."


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
        known = snapshot.keys_of(texts)
    unknown = [text for text in texts if text not in known]
    if unknown:
        which = f"{len(unknown):,} of {len(texts):,} judged texts, {short(unknown[0])} for example"
        warnings.warn(f"{which}, are not in the index.", ShoestringWarning, stacklevel=3)
    if missing := len(qrels) - len(asked):
        which = f"{missing:,} of {len(qrels):,} judged queries"
        warnings.warn(f"{which} have no text.", ShoestringWarning, stacklevel=3)


Answer = tuple[str, int, dict[str, float], float]


def answers(
    index: SearchIndex, text: str, budgets: Sequence[int], k: int, mixes: Sequence[float] = ()
) -> tuple[list[Answer], list[str]]:
    """Every way's answers to one query: way, calls, text ids to scores, seconds.

    And the ids of the best k of all texts that were scored.
    """
    found: list[Answer] = []
    with index.snapshot() as snapshot, ScoreCache(index.path) as cache:
        began = time.perf_counter()
        view, _, features, guess = look = index.first_look(snapshot, text)
        looked, n = time.perf_counter() - began, len(view.keys)

        def add(way: str, calls: int, order: IntArray, seconds: float = 0.0) -> None:
            ids = snapshot.ids(view.row_keys[order[:k]])  # scores keep the order: ties go by id
            found.append((way, calls, {id: float(-n) for n, id in enumerate(ids)}, seconds))

        def now() -> float:  # without the scorer's time
            return time.perf_counter() - score.seconds

        score = index.models.cached_scorer(snapshot, view, text, cache)
        stages = {"BM25": features[:, LEXICAL], "vectors": features[:, NEAR], OURS: guess}
        for way, values in stages.items():
            stages[way] = np.where(view.deleted, -np.inf, values)
            add(way, 0, top_rows(stages[way], min(k, n)))
        del stages[OURS]
        for budget in budgets:
            for way, values in stages.items():
                began = now()
                order = top_rows(values, min(budget, n))
                best = order[np.argsort(-score(order), kind="stable")]
                add(f"{way}, then rerank", budget, best, now() - began)
            began = now()
            nothing = np.empty(0, dtype=np.int64), np.empty(0)
            rounds = search_rounds(look, nothing, budget, score)
            best, _, _ = rounds.ranking(min(k, n))
            spent = now() - began
            add(OURS, budget, best, spent)
            for mix in mixes:
                add(f"mixed {mix}", budget, rounds.ranking(min(k, n), mix)[0], spent)
        at, scores = view.known_scores(*cache.row(score.name, text))
        own = snapshot.ids(view.row_keys[at[np.argsort(-scores, kind="stable")[:k]]])
    a_call = score.seconds / max(1, score.calls)
    return [(way, n, best, looked + s + n * a_call) for way, n, best, s in found], own
