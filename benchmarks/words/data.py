"""The text that word vectors are trained on and the sets they are scored with, from real data.

Training text is one fixed random order of all documents of a language, cut at a number of tokens,
so the smaller texts are parts of the larger ones. English: two parts of Wikipedia, newsgroups
(bodies without headers, quotes and signatures), the news, chat and speeches of NLTK. Chinese: a
part of Wikipedia, reviews of shops, hotels and more, descriptions of apps, titles, questions, and
the first sentences of PAWS-X; traditional characters are mapped to simplified ones one by one.
Left out: the Brown corpus (it is tagged) and the collections of the search benchmark.

The formats are described in the data folder's README, section 4.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.data import require
from shoestring.text import read_documents, split_words
from shoestring.words.corpus import EncodedCorpus

Pair = tuple[str, str, float]

SIMILARITY = {
    "en": {
        "WS353": "en/EN-WS-353-ALL.txt",
        "SimLex": "en/EN-SIMLEX-999.txt",
        "MEN": "en/EN-MEN-TR-3k.txt",
        "RW": "en/EN-RW-STANFORD.txt",
        "MTurk-287": "en/EN-MTurk-287.txt",
    },
    "zh": {"wordsim-240": "zh/wordsim-240.txt", "COS960": "zh/COS960_all.txt"},
}

_MARK = "qzxqz"  # stands for the target word while its context is cut into words
_NO_PROSE = re.compile(r"\s*(\w*[>|:}]|.*writes:$|\S{40})")  # quotes, who wrote them, binaries
_TARGET = re.compile(r"<b>(.*?)</b>")


def training_texts(language: str, n_tokens: int) -> Iterator[str]:
    """Documents of English ("en") or Chinese ("zh"), about so many tokens of them.

    A Chinese token is a character. All there is if that is less: 24.7 million tokens of English
    and 14.7 million of Chinese.
    """
    documents = list(_SOURCES[language]())
    n_left = n_tokens
    for i in np.random.default_rng(0).permutation(len(documents)):
        if n_left <= 0:
            return
        n_left -= sum(map(len, split_words(documents[i])))
        yield documents[i]


def _english() -> Iterator[str]:
    yield from articles("text/enwiki-part")
    yield from articles("text/simplewiki-part")
    yield from _newsgroups()
    for name in ("abc", "webtext", "inaugural", "state_union"):
        yield from _zipped_lines(f"text/nltk/{name}.zip")


def _chinese() -> Iterator[str]:
    simplified = to_simplified()
    seen = set()
    for text in _chinese_as_it_is():
        text = text.translate(simplified)
        if text not in seen:
            seen.add(text)
            yield text


def _chinese_as_it_is() -> Iterator[str]:
    yield from articles("text/zhwiki-part")
    folder = "classification"
    shop = member(f"{folder}/online-shopping-10/online_shopping_10_cats.zip", ".csv")
    yield from (row["review"] for row in csv.DictReader(io.StringIO(shop)))
    hotels = read(f"{folder}/chnsenticorp-htl/ChnSentiCorp_htl_all.csv.gz")
    yield from (row["review"] for row in csv.DictReader(io.StringIO(hotels)))
    with zipfile.ZipFile(require(f"{folder}/bojone-sentiment/sentiment.zip")) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/"):
                yield from columns(archive.read(name).decode(), 1)
    for name in ("train_few_all", "dev_few_all", "test_public"):
        yield from json_field(f"{folder}/fewclue-iflytek/{name}.json.gz", "sentence")
    for name in ("train_few_all.json", "dev_few_all.json", "unlabeled.json.gz"):
        yield from json_field(f"{folder}/fewclue-tnews/{name}", "sentence")
    for name in ("dev.txt", "test.txt"):
        yield from columns(read(f"{folder}/thucnews-titles/{name}"), 1)
    for name in ("oppo-xiaobu-plain/train-100k.txt.gz", "afqmc/train.txt.gz", "lcqmc/dev.txt"):
        yield from columns(read(f"pairs/{name}"), 2)
    yield from columns(read("pairs/paws-x-zh/all-minus-dev-test.tsv.gz"), 1)


_SOURCES: dict[str, Callable[[], Iterator[str]]] = {"en": _english, "zh": _chinese}


def articles(folder: str) -> Iterator[str]:
    for file in sorted(require(folder).glob("*.gz")):
        for paragraphs in read_documents(file):
            yield "\n\n".join(paragraphs)


def _newsgroups() -> Iterator[str]:
    for text in json_field("classification/20newsgroups/20newsgroups.jsonl.gz", "text"):
        body = text.partition("\n\n")[2].partition("\n-- \n")[0]
        yield "\n".join(line for line in body.split("\n") if not _NO_PROSE.match(line))


def _zipped_lines(path: str) -> Iterator[str]:
    """The lines of the members of a zip, in UTF-8 or, where they are not, Latin-1."""
    with zipfile.ZipFile(require(path)) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith("/") or "README" in name:
                continue
            data = archive.read(name)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                text = data.decode("latin-1")
            yield from (line for line in text.splitlines() if line.strip())


def read(path: str) -> str:
    data = require(path).read_bytes()
    return (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8-sig")


def member(path: str, ending: str) -> str:
    with zipfile.ZipFile(require(path)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(ending))
        return archive.read(name).decode("utf-8-sig")


def columns(text: str, n_columns: int) -> Iterator[str]:
    for line in text.splitlines():
        yield from line.split("\t")[:n_columns]


def json_field(path: str, field: str) -> Iterator[str]:
    return (json.loads(line)[field] for line in read(path).split("\n") if line.strip())


def _package_file(package: str, relative: str) -> Path:
    """A data file of a package of the extra bench; the package itself is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"skipped: {package} is not installed. Install it: pip install 'shoestring[bench]'"
        )
    return Path(spec.origin).parent / relative


@lru_cache(maxsize=1)
def to_simplified() -> dict[int, str]:
    """Traditional characters to simplified ones: OpenCC's table, the first of several choices."""
    table = _package_file("opencc", "dictionary/TSCharacters.txt").read_text("utf-8")
    rows = (line.split() for line in table.splitlines() if line.strip())
    return {ord(traditional): first for traditional, first, *_ in rows}


def chinese_lexicon() -> list[str]:
    """The words of jieba's dictionary, for longest-match segmentation; 349,046 of them."""
    lines = _package_file("jieba", "dict.txt").read_text("utf-8").splitlines()
    return [line.split()[0] for line in lines]


def similarity_sets(language: str) -> dict[str, list[Pair]]:
    """The word-similarity sets of a language: two words in lower case, people's mean score."""
    return {
        name: [_pair(line) for line in read(f"wordsim/{file}").splitlines() if line.strip()]
        for name, file in SIMILARITY[language].items()
    }


def _pair(line: str) -> Pair:
    first, second, score = line.split()[:3]
    return first.lower(), second.lower(), float(score)


@dataclass(frozen=True)
class InContext:
    """A word in its sentence: ``tokens[position]`` is the word as it stands there."""

    word: str
    tokens: list[str]
    position: int


def scws() -> list[tuple[InContext, InContext, float]]:
    """SCWS: pairs of words, each in a context, and people's mean score of their similarity."""
    rows = []
    for line in read("wordsim/scws/ratings.txt.gz").split("\n"):
        if line.strip():
            _, word1, _, word2, _, context1, context2, mean, *_ = line.split("\t")
            rows.append((_marked(word1, context1), _marked(word2, context2), float(mean)))
    return rows


def _marked(word: str, context: str) -> InContext:
    before, target, after = _TARGET.split(context, maxsplit=1)
    return _in_context(word, before, target, after)


def wic(split: str) -> list[tuple[InContext, InContext, bool]]:
    """WiC, "train", "dev" or "test": a word in two contexts, and whether the sense is the same."""
    gold = read(f"wordsim/wic/{split}.gold.txt").split()
    lines = read(f"wordsim/wic/{split}.data.txt").splitlines()
    rows = []
    for line, answer in zip(lines, gold, strict=True):
        word, _, places, *contexts = line.split("\t")
        first, second = (
            _at(word, int(place), context)
            for place, context in zip(places.split("-"), contexts, strict=True)
        )
        rows.append((first, second, answer == "T"))
    return rows


def _at(word: str, place: int, context: str) -> InContext:
    tokens = context.split()
    return _in_context(word, " ".join(tokens[:place]), tokens[place], " ".join(tokens[place + 1 :]))


def _in_context(word: str, before: str, target: str, after: str) -> InContext:
    """The sentence that the target is in, cut as the training text is."""
    sentences = split_words(f"{before} {_MARK} {after}")
    sentence = next(words for words in sentences if _MARK in words)
    position = sentence.index(_MARK)
    parts = [part for words in split_words(target) for part in words] or [target.lower()]
    sentence[position : position + 1] = parts
    return InContext(word.lower(), sentence, position)


def known_sentences(corpus: EncodedCorpus) -> Iterator[list[str]]:
    """The sentences of an encoded corpus as words, without the unknown ones: text for the peers."""
    for start, stop in pairwise(corpus.offsets.tolist()):
        yield [corpus.words[i] for i in corpus.ids[start:stop].tolist() if i >= 0]
