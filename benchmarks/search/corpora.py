"""The real collections of the search benchmark, cut to the sizes that two cores can score in full.

A collection has texts, test queries with their judgements, and a disjoint pool of anchor queries.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.data import require

N_TEST = 40
N_ANCHORS = 64


@dataclass(frozen=True)
class Collection:
    """Texts, test queries, judgements (query number to text numbers) and anchor queries."""

    name: str
    language: str
    texts: list[str]
    queries: list[str]
    relevant: dict[int, set[int]]
    anchors: list[str]


def scifact_corpus() -> dict[str, str]:
    """Abstracts by id: the title and the sentences of the printed list."""
    csv.field_size_limit(10**9)
    path = require("retrieval/scifact/corpus_train.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return {row["doc_id"]: f"{row['title']} {_sentences(row['abstract'])}" for row in rows}


def _sentences(printed: str) -> str:
    return re.sub(r"['\"]\s*\n\s*['\"]", " ", printed.strip("[]'\"")).replace("\n", " ")


def scifact_claims(split: str) -> list[tuple[str, set[str]]]:
    """Claims with the ids of the abstracts they cite, one entry per claim."""
    path = require(f"retrieval/scifact/claims_{split}.csv.gz")
    claims: dict[str, tuple[str, set[str]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cited = set(re.findall(r"\d+", row["cited_doc_ids"]))
            claims.setdefault(row["id"], (row["claim"], set()))[1].update(cited)
    return list(claims.values())


def scifact(n_items: int, rng: np.random.Generator, n_test: int = N_TEST) -> Collection:
    """Validation claims as test queries, training claims as anchors; all cited abstracts stay."""
    corpus, claims = scifact_corpus(), scifact_claims("validation")
    tests = [claims[i] for i in rng.permutation(len(claims))[:n_test]]
    train = scifact_claims("train")
    anchors = [train[i][0] for i in rng.permutation(len(train))[:N_ANCHORS]]
    cited = sorted(set().union(*(keys for _, keys in tests)) & set(corpus))
    others = [key for key in corpus if key not in set(cited)]
    keep = cited + [others[i] for i in rng.permutation(len(others))[: n_items - len(cited)]]
    place = {key: i for i, key in enumerate(keep)}
    return Collection(
        "scifact",
        "en",
        [corpus[key] for key in keep],
        [claim for claim, _ in tests],
        {i: {place[k] for k in keys if k in place} for i, (_, keys) in enumerate(tests)},
        anchors,
    )


def smart_records(text: str, field: str) -> list[str]:
    """One field of every record in a SMART file (.I number, .T title, .W words ...)."""
    records = []
    for record in re.split(r"^\.I .*\n", text, flags=re.M)[1:]:
        parts = dict(re.findall(r"^\.([A-Z])\n(.*?)(?=^\.[A-Z]\n|\Z)", record, flags=re.M | re.S))
        records.append(" ".join(parts.get(field, "").split()))
    return records


def cranfield(n_items: int, rng: np.random.Generator, n_test: int = N_TEST) -> Collection:
    """Cranfield's abstracts; judgements count queries by position, grades 1 to 4 are relevant."""
    folder = "retrieval/cranfield"
    with gzip.open(require(f"{folder}/cran.all.1400.gz"), "rt", encoding="utf-8") as file:
        abstracts = file.read()
    texts = [text or "(no abstract)" for text in smart_records(abstracts, "W")]  # two are empty
    queries = smart_records(require(f"{folder}/cran.qry").read_text("utf-8"), "W")
    judged: dict[int, set[int]] = {}
    for line in require(f"{folder}/cranqrel").read_text("utf-8").splitlines():
        query, text, grade = line.split()[:3]
        if int(grade) > 0:
            judged.setdefault(int(query) - 1, set()).add(int(text) - 1)
    order = rng.permutation(len(queries))
    tests = order[:n_test]
    texts = texts[:n_items]
    return Collection(
        "cranfield",
        "en",
        texts,
        [queries[i] for i in tests],
        {n: {t for t in judged.get(int(i), set()) if t < n_items} for n, i in enumerate(tests)},
        [queries[i] for i in order[n_test : n_test + N_ANCHORS]],
    )


def esun(n_items: int, rng: np.random.Generator, n_test: int = N_TEST) -> Collection:
    """E.SUN bank: FAQ entries and insurance policy pages; the other questions are anchors."""
    folder = "retrieval/esun-bank-zh"
    faq = json.loads(require(f"{folder}/faq_pid_map_content.json").read_text("utf-8"))
    with gzip.open(require(f"{folder}/insurance.json.gz"), "rt", encoding="utf-8") as file:
        insurance = json.load(file)
    texts = {("faq", key): _faq_text(entries) for key, entries in faq.items()}
    texts |= {("insurance", key): " ".join(page.split()) for key, page in insurance.items()}
    questions = json.loads(require(f"{folder}/questions_example.json").read_text("utf-8"))
    truths = json.loads(require(f"{folder}/ground_truths_example.json").read_text("utf-8"))
    answer = {t["qid"]: (t["category"], str(t["retrieve"])) for t in truths["ground_truths"]}
    keys = list(texts)
    cited = sorted(set(answer.values()) & set(keys))
    others = [key for key in keys if key not in set(cited)]
    keep = cited + [others[i] for i in rng.permutation(len(others))[: n_items - len(cited)]]
    place = {key: i for i, key in enumerate(keep)}
    order = [questions["questions"][i] for i in rng.permutation(len(questions["questions"]))]
    tests = [q for q in order if q["category"] in ("faq", "insurance")][:n_test]
    anchors = [q["query"].strip() for q in order if q not in tests][:N_ANCHORS]
    return Collection(
        "esun",
        "zh",
        [texts[key] for key in keep],
        [q["query"].strip() for q in tests],
        {i: {place[answer[q["qid"]]]} for i, q in enumerate(tests)},
        anchors,
    )


def _faq_text(entries: list[dict]) -> str:
    return " ".join(f"{entry['question']} {' '.join(entry['answers'])}" for entry in entries)


def python_docs(n_items: int, rng: np.random.Generator, n_test: int = N_TEST) -> Collection:
    """Docstrings of the standard library: the first sentence asks for the rest."""
    from shoestring.text.pydocs import known_items
    from shoestring.text.pydocs import python_docs as records

    items = list(known_items(records()))
    chosen = [items[i] for i in rng.permutation(len(items))]
    kept, anchors = chosen[:n_items], chosen[n_items : n_items + N_ANCHORS]
    return Collection(
        "pydocs",
        "en",
        [item.record.text for item in kept],
        [item.question for item in kept[:n_test]],
        {i: {i} for i in range(min(n_test, len(kept)))},
        [item.question for item in anchors],
    )


COLLECTIONS: dict[str, Callable[..., Collection]] = {
    "pydocs": python_docs,
    "scifact": scifact,
    "cranfield": cranfield,
    "esun": esun,
}
SIZES = {  # what two cores can score in full with each scorer
    "judge": {"pydocs": 1000, "scifact": 1000, "cranfield": 1000, "esun": 1000},
    "cross-encoder": {"pydocs": 1000, "scifact": 1000, "cranfield": 1000, "esun": 1000},
    "token-interaction": {"pydocs": 2000, "scifact": 5000, "cranfield": 1400},
}


def load(name: str, scorer: str) -> Collection:
    """A collection by name, cut for a scorer; the same cut every time."""
    return mixed(COLLECTIONS[name](SIZES[scorer][name], np.random.default_rng(0)))


def mixed(found: Collection) -> Collection:
    """The texts in another order: equal scores else go to the relevant ones, which come first."""
    order = np.random.default_rng(0).permutation(len(found.texts))
    place = np.argsort(order)
    relevant = {query: {int(place[i]) for i in of} for query, of in found.relevant.items()}
    return replace(found, texts=[found.texts[i] for i in order], relevant=relevant)
