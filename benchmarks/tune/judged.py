"""What scorers are asked: collections with judged queries, on which nothing is trained or chosen.

The documentation of the standard library, where a first sentence asks for the rest; SciFact's
validation claims and Cranfield; CACM and CISI (titles and abstracts of computer and library
science, 52 and 76 queries), NPL (electronics, 93 queries, all in one case); NFCorpus' test half
(nutrition, titles that ask for medical abstracts without their stop words); questions and the
sentences that answer them of WikiQA's and TREC QA's test halves; LiveQA (medical questions, whose
answers are right from grade 3 of 4 on). Elsewhere any grade above 0 is relevant. Each query is
asked for the first 30 texts by MiniLM's vectors.
"""

from __future__ import annotations

import csv
import gzip
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np

from benchmarks.data import require
from benchmarks.search import corpora
from benchmarks.search.corpora import smart_records
from benchmarks.tune.lists import DEPTH, first_places, known_answers

MEASURES = (ir_measures.RR @ DEPTH, ir_measures.nDCG @ 10)
LIBRARY = "standard library"
Judged = tuple[list[str], list[str], dict[int, set[int]]]  # queries, texts, the right ones


@dataclass(frozen=True)
class Asked:
    """Questions, texts, the first ones by vectors (questions, DEPTH), and which are right."""

    questions: list[str]
    texts: list[str]
    places: np.ndarray
    right: dict[int, set[int]]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each question with each of its first texts, one question after the other."""
        rows = enumerate(self.places)
        return [(self.questions[i], self.texts[place]) for i, row in rows for place in row]

    def figures(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reciprocal ranks and nDCG@10 by scores (questions, DEPTH)."""
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(self.places, order, 1)
        run = {
            str(i): {str(place): -rank for rank, place in enumerate(row)}
            for i, row in enumerate(ranked)
        }
        qrels = {key: {str(place): 1 for place in self.right[int(key)]} for key in run}
        found = {measure: np.zeros(len(scores)) for measure in MEASURES}
        for value in ir_measures.iter_calc(MEASURES, qrels, run):
            found[value.measure][int(value.query_id)] = value.value
        ranks, ndcg = found.values()
        return ranks, ndcg


def smart(texts: str, queries: str, judgements: str) -> Judged:
    """A collection in files of SMART: records by number, ``query text`` in lines."""
    with gzip.open(require(texts), "rt", encoding="utf-8", errors="replace") as file:
        records = file.read()
    titles, abstracts = smart_records(records, "T"), smart_records(records, "W")
    asked = smart_records(require(queries).read_text("utf-8", errors="replace"), "W")
    right: dict[str, set[int]] = {}
    for line in require(judgements).read_text("utf-8").splitlines():
        query, text = line.split()[:2]
        right.setdefault(str(int(query)), set()).add(int(text) - 1)
    whole = [f"{title}. {rest}".strip() for title, rest in zip(titles, abstracts, strict=True)]
    return _with_answers({str(i): query for i, query in enumerate(asked, 1)}, whole, right)


def npl() -> Judged:
    """The NPL collection, in files of TREC."""
    folder = "retrieval/npl-vaswani"
    with gzip.open(require(f"{folder}/doc-text.trec.gz"), "rt", encoding="utf-8") as file:
        documents = re.findall(r"<DOCNO>\s*(\S+)\s*</DOCNO>(.*?)</DOC>", file.read(), re.S | re.I)
    place = {name: i for i, (name, _) in enumerate(documents)}
    texts = [re.sub(r"<[^>]+>", "", text).strip() for _, text in documents]
    asked = re.findall(
        r"<num>\s*(\S+?)\s*</num>\s*<title>(.*?)</title>",
        require(f"{folder}/query-text.trec").read_text("utf-8"),
        re.S | re.I,
    )
    right = _of_trec(f"{folder}/qrels", place)
    return _with_answers({name: query.strip() for name, query in asked}, texts, right)


def nfcorpus() -> Judged:
    """NFCorpus: ``id TAB text`` in lines, judgements of TREC."""
    folder = "retrieval/nfcorpus/test"
    with gzip.open(require(f"{folder}.docs.gz"), "rt", encoding="utf-8") as file:
        documents = [line.rstrip("\n").split("\t", 1) for line in file]
    place = {name: i for i, (name, _) in enumerate(documents)}
    lines = require(f"{folder}.titles.queries").read_text("utf-8").splitlines()
    asked = dict(line.split("\t", 1) for line in lines)
    right = _of_trec(f"{folder}.2-1-0.qrel", place)
    return _with_answers(asked, [text for _, text in documents], right)


def wikiqa() -> Judged:
    """WikiQA: a file each for questions, sentences and labels."""
    files = [require(f"retrieval/wikiqa/test/{name}") for name in ("a.toks", "b.toks", "sim.txt")]
    rows = zip(*(file.read_text("utf-8").splitlines() for file in files), strict=True)
    return of_rows((a.strip(), b.strip(), label.strip() == "1") for a, b, label in rows)


def trecqa() -> Judged:
    """TREC QA: a table."""
    with require("retrieval/trecqa-wang/test.csv").open(newline="", encoding="utf-8") as file:
        return of_rows((r["qtext"], r["atext"], r["label"] == "1") for r in csv.DictReader(file))


def liveqa() -> Judged:
    """LiveQA: questions in XML with their short forms, answers and grades in an archive."""
    folder = "retrieval/medquad-liveqa"
    file = require(f"{folder}/TREC-2017-LiveQA-Medical-Test-Questions-w-summaries.xml")
    asked = {
        str(question.get("qid")).lstrip("TQ"): (question.findtext("NLM-Summary") or "").strip()
        for question in ET.parse(file).getroot().iter("NLM-QUESTION")
    }
    archive = require(f"{folder}/QA-TestSet-LiveQA-Med-Qrels-2479-Answers.zip")
    with zipfile.ZipFile(archive) as files:
        names = [name for name in files.namelist() if not name.startswith("__")]
        table, grades = (
            files.read(next(n for n in names if n.endswith(end))).decode("utf-8", "replace")
            for end in (".csv", ".txt")
        )
    answers = {row[0]: row[1] for row in csv.reader(table.splitlines(keepends=True))}
    rows = (line.split() for line in grades.splitlines())
    return of_rows((asked[n], answers[name], int(grade[0]) >= 3) for n, grade, name in rows)


def of_rows(rows: Iterable[tuple[str, str, bool]]) -> Judged:
    """Of questions with a text, and whether it is right."""
    places: dict[str, int] = {}
    right: dict[str, set[int]] = {}
    for question, text, is_right in rows:
        place = places.setdefault(text, len(places))
        mine = right.setdefault(question, set())
        if is_right:
            mine.add(place)
    return _with_answers({question: question for question in right}, list(places), right)


def collections() -> dict[str, Asked]:
    """All of them."""
    questions, texts = known_answers(())
    found = {LIBRARY: (questions, texts, {i: {i} for i in range(len(questions))})}
    rng = np.random.default_rng(0)
    for name, n_texts in (("scifact", 10**5), ("cranfield", 1_400)):
        given = getattr(corpora, name)(n_texts, rng, n_test=10**5)
        asked = dict(enumerate(given.queries))
        found[name] = _with_answers(asked, given.texts, given.relevant)
    cacm, cisi = "retrieval/cacm", "retrieval/cisi"
    found["CACM"] = smart(f"{cacm}/cacm.all.gz", f"{cacm}/query.text", f"{cacm}/qrels.text")
    found["CISI"] = smart(f"{cisi}/CISI.ALL.gz", f"{cisi}/CISI.QRY", f"{cisi}/CISI.REL")
    found |= {"NPL": npl(), "NFCorpus": nfcorpus(), "WikiQA": wikiqa(), "TREC QA": trecqa()}
    found["LiveQA"] = liveqa()
    return {
        name: Asked(questions, texts, first_places(questions, texts), right)
        for name, (questions, texts, right) in found.items()
    }


def _of_trec(judgements: str, place: Mapping[str, int]) -> dict[str, set[int]]:
    """The right texts of each query, in a file of TREC."""
    right: dict[str, set[int]] = {}
    for judged in ir_measures.read_trec_qrels(str(require(judgements))):
        if judged.relevance > 0 and judged.doc_id in place:
            right.setdefault(judged.query_id, set()).add(place[judged.doc_id])
    return right


def _with_answers(asked: dict[Any, str], texts: list[str], right: Mapping[Any, set[int]]) -> Judged:
    """Queries with a right text, in their order."""
    kept = [name for name in asked if right.get(name)]
    return [asked[name] for name in kept], texts, {i: right[name] for i, name in enumerate(kept)}
