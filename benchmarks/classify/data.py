"""The labelled texts of the classify benchmark, and their vectors, which are kept outside git.

Where a set has a training and a test half they are used; validation halves are not. Sets without
halves (MR, CR, 20 Newsgroups, hotel, shopping) are cut at random, seeded, four to one; near copies
are left as they are. Of 20 Newsgroups headers, quoted lines and signatures are dropped, which give
the group away; of online shopping 20,000 reviews are taken, and the label is the kind of product.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import CACHE, require

Rows = list[tuple[str, str]]  # text, label
FOLDER = "classification"


@dataclass(frozen=True)
class Task:
    """Training and test rows of one set."""

    name: str
    language: str
    train: Rows
    test: Rows
    outside: tuple[str, ...] = ()  # texts of no class


def _read(relative: str, encoding: str = "utf-8") -> str:
    path = require(f"{FOLDER}/{relative}")
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode(encoding)


def _csv(text: str, columns: tuple[str, str]) -> Rows:
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    return [(row[columns[0]], row[columns[1]]) for row in rows if row[columns[0]].strip()]


def _labelled_lines(text: str) -> Rows:
    # not splitlines: in latin-1 it would also cut at a next-line character, which ends no line here
    split = (line.split(" ", 1) for line in text.split("\n") if " " in line)
    return [(words, label) for label, words in split]


def halves(rows: Rows, seed: int = 0, most: int | None = None) -> tuple[Rows, Rows]:
    """Four fifths and one fifth, at random."""
    order = np.random.default_rng(seed).permutation(len(rows))[:most]
    cut = len(order) * 4 // 5
    return [rows[i] for i in order[:cut]], [rows[i] for i in order[cut:]]


def banking77() -> Task:
    halves_ = (_csv(_read(f"banking77/{h}.csv"), ("text", "category")) for h in ("train", "test"))
    return Task("banking77", "en", *halves_)


def clinc150() -> Task:
    whole = json.loads(_read("clinc150/data_full.json.gz"))
    train, test = ([(t, c) for t, c in whole[half]] for half in ("train", "test"))
    return Task("CLINC150", "en", train, test, tuple(t for t, _ in whole["oos_test"]))


HALVES = ("train", "test")


def trec(fine: bool) -> Task:
    if not fine:
        rows = (_labelled_lines(_read(f"trec-qc/TREC.{h}.all", "latin-1")) for h in HALVES)
        return Task("TREC-6", "en", *rows)
    lines = (_labelled_lines(_read(f"trec-qc/{h}.txt", "latin-1")) for h in HALVES)
    return Task("TREC-50", "en", *lines)


def sst2() -> Task:
    rows = (_labelled_lines(_read(f"sst/stsa.binary.{half}")) for half in HALVES)
    return Task("SST-2", "en", *rows)


def movie_reviews() -> Task:
    rows = _labelled_lines(_read("mr-cr-mpqa/rt-polarity.all.gz", "latin-1"))
    return Task("MR", "en", *halves(rows))


def customer_reviews() -> Task:
    return Task("CR", "en", *halves(_labelled_lines(_read("mr-cr-mpqa/custrev.all", "latin-1"))))


def _body(message: str) -> str:
    """Without headers, quotes and what follows the signature's dashes."""
    body = message.partition("\n\n")[2]
    body = re.split(r"^--+\s*$", body, flags=re.MULTILINE)[0]
    quoted = re.compile(r"^\s*([>|:]|.{0,60}(writes|wrote|says|said):|In article)")
    return "\n".join(line for line in body.splitlines() if not quoted.match(line)).strip()


def newsgroups() -> Task:
    lines = map(json.loads, _read("20newsgroups/20newsgroups.jsonl.gz").splitlines())
    rows = [(_body(line["text"])[:2_000], line["group"]) for line in lines]
    return Task("20 Newsgroups", "en", *halves([row for row in rows if row[0]]))


def atis() -> Task:
    def half(name: str) -> Rows:
        texts, labels = (_read(f"atis/{name}/{f}").splitlines() for f in ("seq.in", "label"))
        return list(zip(texts, labels, strict=True))

    return Task("ATIS", "en", half("train"), half("test"))


def snips() -> Task:
    def half(name: str) -> Rows:
        texts, labels = (_read(f"snips/{name}/{f}").splitlines() for f in ("seq.in", "label"))
        return list(zip(texts, labels, strict=True))

    return Task("SNIPS", "en", half("train"), half("test"))


def sentiment() -> Task:
    with zipfile.ZipFile(require(f"{FOLDER}/bojone-sentiment/sentiment.zip")) as z:
        whole = [z.read(f"sentiment/sentiment.{h}.data").decode("utf-8") for h in HALVES]
    train, test = (
        [(text, label) for text, _, label in (line.rpartition("\t") for line in half.splitlines())]
        for half in whole
    )
    return Task("sentiment", "zh", train, test)


def iflytek() -> Task:
    def half(name: str) -> Rows:
        whole = _read(f"fewclue-iflytek/{name}.json.gz")  # texts hold other ends of lines
        lines = [json.loads(line) for line in whole.split("\n") if line]
        return [(line["sentence"], line["label_des"]) for line in lines]

    train = half("train_few_all") + half("dev_few_all")
    return Task("iflytek", "zh", train, half("test_public"))


def hotel() -> Task:
    rows = _csv(_read("chnsenticorp-htl/ChnSentiCorp_htl_all.csv.gz"), ("review", "label"))
    return Task("hotel", "zh", *halves(rows))


def shopping() -> Task:
    with zipfile.ZipFile(require(f"{FOLDER}/online-shopping-10/online_shopping_10_cats.zip")) as z:
        text = z.read(next(n for n in z.namelist() if n.endswith(".csv"))).decode("utf-8")
    return Task("shopping", "zh", *halves(_csv(text, ("review", "cat")), most=20_000))


def tnews() -> Task:
    def half(name: str) -> Rows:
        lines = map(json.loads, _read(f"fewclue-tnews/{name}.json").splitlines())
        return [(line["sentence"], line["label_desc"]) for line in lines]

    train = half("train_few_all") + half("dev_few_all")
    return Task("TNEWS", "zh", train, half("test_public"))


def thucnews() -> Task:
    def half(name: str) -> Rows:
        split = (line.rsplit("\t", 1) for line in _read(f"thucnews-titles/{name}.txt").splitlines())
        return [(title, label) for title, label in split]

    return Task("THUCNews", "zh", half("dev"), half("test"))


TASKS: dict[str, Callable[[], Task]] = {
    "banking77": banking77,
    "CLINC150": clinc150,
    "TREC-6": lambda: trec(fine=False),
    "TREC-50": lambda: trec(fine=True),
    "SST-2": sst2,
    "MR": movie_reviews,
    "CR": customer_reviews,
    "20 Newsgroups": newsgroups,
    "ATIS": atis,
    "SNIPS": snips,
    "hotel": hotel,
    "shopping": shopping,
    "TNEWS": tnews,
    "THUCNews": thucnews,
    "sentiment": sentiment,
    "iflytek": iflytek,
}
TFIDF = ", TF-IDF"
CHINESE = ("hotel", "shopping", "TNEWS", "THUCNews", "sentiment", "iflytek")
SETS = (*TASKS, *(name + TFIDF for name in TASKS if name not in CHINESE))


@dataclass(frozen=True)
class Vectors:
    """A task as arrays."""

    task: Task
    X: np.ndarray  # float32 (N, D)
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    X_outside: np.ndarray


def vectors(name: str) -> Vectors:
    """MiniLM's vectors; of Chinese, or "SET, TF-IDF", TF-IDF and SVD of the training half; kept."""
    task = TASKS[name.removesuffix(TFIDF)]()
    folder = CACHE / "classify"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [[text for text, _ in half] for half in (task.train, task.test)] + [list(task.outside)]
    file = folder / f"{name.replace(',', '').replace(' ', '-')}-{sum(map(len, parts))}.npz"
    if not file.exists():
        _write(file, encoded(task.language == "en" and TFIDF not in name, parts))
    with np.load(file) as kept:
        X, X_test, X_outside = (kept[part] for part in ("train", "test", "outside"))
    y, y_test = (np.array([label for _, label in half]) for half in (task.train, task.test))
    return Vectors(task, X, y, X_test, y_test, X_outside)


def encoded(by_minilm: bool, parts: list[list[str]]) -> list[np.ndarray]:
    """The vectors of lists of texts; what has to be fitted is fitted on the first."""
    if by_minilm:
        from shoestring.models.token_encoder import SentenceEncoder

        encoder = SentenceEncoder()
        return [np.asarray(encoder.encode(part)) for part in parts]
    from shoestring.models.lsa import LsaEncoder

    lsa = LsaEncoder(384).fit(parts[0])
    return [lsa.encode(part) for part in parts]


def _write(file: Path, arrays: Iterable[np.ndarray]) -> None:
    aside = file.with_suffix(".part.npz")
    np.savez(aside, **dict(zip(("train", "test", "outside"), arrays, strict=True)))
    aside.replace(file)
