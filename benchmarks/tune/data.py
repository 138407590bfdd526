"""The tasks of the tune benchmark, as the files that the command line takes.

English, on MiniLM. Texts: banking77, TREC-50, SST-2, with their training and test halves. Pairs:
STS-B (numbers, by five), MRPC, and Quora's development questions, tested on its test questions.

Chinese, on a small BERT that ``shoestring tune mlm`` has trained on the Chinese Wikipedia, as no
Chinese model is in the package registry. Texts: titles of news (10 classes), reviews of hotels
(halves drawn by the seed). Pairs: OPPO's questions.

Of pairs at most 10,000 are learnt and 3,000 are tested, drawn by the seed.
"""

from __future__ import annotations

import csv
import gzip
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.classify import data as classification
from benchmarks.data import CACHE, ROOT, require
from benchmarks.train_scorer import read_lines
from shoestring.artifacts import written_aside

Row = tuple[str, ...]
MOST_LEARNT, MOST = 10_000, 3_000
CHINESE_BERT = ("--layers", "4", "--hidden", "256", "--epochs", "2")  # an hour of a core


@dataclass(frozen=True)
class Task:
    """Files of one task.

    Parameters
    ----------
    name : str
    kind : {"classify", "regress"}
        What is learnt: a class, or a number.
    figure : str
        What is compared.
    train, test : Path
        Columns a, label, and b for pairs.
    """

    name: str
    kind: str
    figure: str
    train: Path
    test: Path

    @property
    def is_of_pairs(self) -> bool:
        """Whether there are two texts."""
        return self.name in PAIRS

    @property
    def backbone(self) -> str:
        """What ``--backbone`` is: minilm, or the folder of the Chinese BERT, made when asked."""
        return str(chinese_bert()) if self.name in CHINESE else "minilm"


def stsb(half: str) -> list[Row]:
    with require(f"pairs/stsb-multi-mt/stsb-en-{half}.csv").open(encoding="utf-8") as file:
        return [(a, b, str(float(score) / 5)) for a, b, score in csv.reader(file)]


def mrpc(half: str) -> list[Row]:
    text = require(f"pairs/mrpc/msr_paraphrase_{half}.txt").read_text("utf-8-sig")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return [(row[3], row[4], row[0]) for row in rows if len(row) >= 5]


def quora(half: str) -> list[Row]:
    path = require(f"pairs/quora-qp/{'dev' if half == 'train' else 'test'}.tsv.gz")
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    found = [(row[1], row[2], row[0]) for row in rows if len(row) >= 3]
    return [row for row in found if row[0].strip() and row[1].strip()]


def oppo(half: str) -> list[Row]:
    name = "train-100k.txt.gz" if half == "train" else "dev-clean.txt"
    path = require(f"pairs/oppo-xiaobu-plain/{name}")
    rows = [line.rstrip("\n").split("\t") for line in read_lines(path)]
    return [(row[0], row[1], row[2]) for row in rows if len(row) >= 3]


PAIRS = {
    "STS-B": (stsb, "regress", "spearman"),
    "MRPC": (mrpc, "classify", "accuracy"),
    "Quora": (quora, "classify", "accuracy"),
    "OPPO": (oppo, "classify", "accuracy"),
}
ENGLISH = ("banking77", "TREC-50", "SST-2", "STS-B", "MRPC", "Quora")
CHINESE = ("THUCNews", "hotel", "OPPO")
TASKS = (*ENGLISH, *CHINESE)


def tuned(arguments: Sequence[str], out: Path) -> str:
    """Run ``shoestring tune``, or go on where it was interrupted: what it printed."""
    call = [sys.executable, "-m", "shoestring.cli", "tune", *arguments, "--out", str(out)]
    resume = ["--resume"] if out.with_name(out.name + ".run").exists() else []
    done = subprocess.run(
        [*call, *resume], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )  # fmt: skip
    return done.stdout


def chinese_bert() -> Path:
    """The folder of the Chinese backbone, trained if it is not there."""
    folder = CACHE / "tune" / "backbone-zh"
    if not (folder / "config.json").exists():
        tuned(["mlm", str(require("text/zhwiki-part")), *CHINESE_BERT], folder)
    return folder


def task(name: str, seed: int = 0) -> Task:
    """Write the files of a task, once."""
    folder = CACHE / "tune" / name
    files = folder / "train.csv", folder / "test.csv"
    kind, figure = PAIRS[name][1:] if name in PAIRS else ("classify", "accuracy")
    if not files[1].exists():
        if name not in PAIRS:
            found = classification.TASKS[name]()
            halves: list[list[Row]] = [list(found.train), list(found.test)]
            columns: Row = ("a", "label")
        else:
            columns = ("a", "b", "label")
            halves = [
                some(PAIRS[name][0](half), most, seed)
                for half, most in (("train", MOST_LEARNT), ("test", MOST))
            ]
        folder.mkdir(parents=True, exist_ok=True)
        for file, rows in zip(files, halves, strict=True):
            with written_aside(file) as raw:
                out = io.TextIOWrapper(raw, encoding="utf-8", newline="")
                csv.writer(out).writerows([columns, *rows])
                out.detach()  # flushed, and left open
    return Task(name, kind, figure, *files)


def some(rows: list[Row], most: int, seed: int) -> list[Row]:
    """At most so many rows, in their order."""
    order = np.random.default_rng(seed).permutation(len(rows))[:most]
    return [rows[i] for i in np.sort(order)]


def read(file: Path) -> dict[str, list[str]]:
    """The columns of a task's file."""
    with file.open(newline="", encoding="utf-8") as rows:
        found = list(csv.DictReader(rows))
    return {name: [row[name] for row in found] for name in found[0]}


def controls(task: Task) -> dict[str, float]:
    """What needs no training: the most frequent class; the similarity of MiniLM, untrained."""
    rows = read(task.test)
    labels = rows["label"]
    if task.kind != "regress":
        most = max(labels.count(label) for label in set(labels))
        frequent = {"most frequent class": round(100 * most / len(labels), 2)}
        if not task.is_of_pairs:
            return frequent
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    from shoestring.match import TokenInteraction

    pairs = list(zip(rows["a"], rows["b"], strict=True))
    scorer = TokenInteraction(None if task.backbone == "minilm" else task.backbone)
    likeness, truth = scorer.predict(pairs), [float(label) for label in labels]
    if task.kind == "regress":
        rank = float(spearmanr(likeness, truth).statistic)
        return {"token interaction, untrained": round(100 * rank, 2), "random": 0.0}
    area = float(roc_auc_score(truth, likeness))
    return {**frequent, "token interaction, untrained, area under ROC": round(100 * area, 2)}
