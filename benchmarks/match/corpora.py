"""The public text and the secret text of the match benchmarks, from real data.

Public Chinese text, by source: "wiki" (a part of Wikipedia), "reviews" (shops, hotels and others),
"titles" (headlines, descriptions of apps), "questions" (LCQMC, AFQMC, ATEC, PAWS-X). Traditional
characters are mapped to simplified ones. OPPO's texts are never among them: they are the secret
side. Public English text is that of the word vectors; Quora's dev questions are the secret side.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from benchmarks.data import CACHE
from benchmarks.words import data as words_data

Pair = tuple[str, str, float]  # the label NaN where there is none

OPPO = "pairs/oppo-xiaobu-plain"
QUESTIONS = ("lcqmc", "afqmc", "atec", "paws")


def chinese(*sources: str) -> list[str]:
    """Public Chinese texts of these sources, each once, in their order."""
    table = words_data.to_simplified()
    lines = (text.translate(table) for name in sources for text in _CHINESE[name]())
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


@lru_cache(maxsize=1)
def english() -> list[str]:
    """Public English texts: 24.5 million words of Wikipedia, newsgroups, news, chat, speeches."""
    return list(words_data.training_texts("en", 10**9))


def corpus_file(name: str, texts: Callable[[], list[str]]) -> Path:
    """A file with a text a line, written once into the cache of the benchmarks."""
    path = CACHE / "match" / f"{name}.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text("\n".join(text.replace("\n", " ") for text in texts()) + "\n", "utf-8")
        aside.rename(path)
    return path


def oppo(part: str) -> list[Pair]:
    """OPPO's pairs: "train-100k", "dev", "dev-clean" or "test-unlabelled"."""
    zipped = part in ("train-100k", "test-unlabelled")
    return pairs(f"{OPPO}/{part}.txt{'.gz' if zipped else ''}")


def quora(part: str) -> list[Pair]:
    """Quora's pairs: "dev" (to train on) or "test"; bytes that are no UTF-8 are replaced."""
    import gzip

    from benchmarks.data import require

    data = gzip.decompress(require(f"pairs/quora-qp/{part}.tsv.gz").read_bytes())
    rows = (line.split("\t") for line in data.decode("utf-8", "replace").splitlines())
    return [(row[1], row[2], float(row[0])) for row in rows if len(row) >= 3]


def pairs(path: str, first: int = 0) -> list[Pair]:
    """The pairs of a file: two columns and maybe a label, from the column ``first`` on."""
    lines = words_data.read(path).splitlines()
    rows = (line.split("\t")[first:] for line in lines if line.strip())
    return [(row[0], row[1], float(row[2]) if len(row) > 2 else float("nan")) for row in rows]


def _reviews() -> Iterator[str]:
    folder = "classification"
    shop = words_data.member(f"{folder}/online-shopping-10/online_shopping_10_cats.zip", ".csv")
    yield from (row["review"] for row in csv.DictReader(io.StringIO(shop)))
    yield from hotels()
    with zipfile.ZipFile(words_data.require(f"{folder}/bojone-sentiment/sentiment.zip")) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/"):
                yield from words_data.columns(archive.read(name).decode(), 1)


def hotels() -> Iterator[str]:
    """Reviews of hotels."""
    table = words_data.read("classification/chnsenticorp-htl/ChnSentiCorp_htl_all.csv.gz")
    yield from (row["review"] for row in csv.DictReader(io.StringIO(table)))


def _titles() -> Iterator[str]:
    folder = "classification"
    for name in ("train_few_all", "dev_few_all", "test_public"):
        yield from words_data.json_field(f"{folder}/fewclue-iflytek/{name}.json.gz", "sentence")
    for name in ("train_few_all.json", "dev_few_all.json", "unlabeled.json.gz"):
        yield from words_data.json_field(f"{folder}/fewclue-tnews/{name}", "sentence")
    for name in ("dev.txt", "test.txt"):
        yield from words_data.columns(words_data.read(f"{folder}/thucnews-titles/{name}"), 1)


def _lcqmc() -> Iterator[str]:
    for name in ("dev.txt", "test.txt"):
        yield from words_data.columns(words_data.read(f"pairs/lcqmc/{name}"), 2)


def afqmc() -> Iterator[str]:
    """AFQMC's training questions."""
    yield from words_data.columns(words_data.read("pairs/afqmc/train.txt.gz"), 2)


def _atec() -> Iterator[str]:
    for line in words_data.read("pairs/atec/atec_nlp_sim_train.tsv.gz").splitlines():
        yield from line.split("\t")[1:3]


def _paws() -> Iterator[str]:
    yield from words_data.columns(words_data.read("pairs/paws-x-zh/all-minus-dev-test.tsv.gz"), 1)


_CHINESE: dict[str, Callable[[], Iterator[str]]] = {
    "wiki": lambda: words_data.articles("text/zhwiki-part"),
    "reviews": _reviews,
    "titles": _titles,
    "lcqmc": _lcqmc,
    "afqmc": afqmc,
    "atec": _atec,
    "paws": _paws,
}
