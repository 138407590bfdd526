"""The jobs that are timed, each in a process of its own that waits for its turn.

``python -m benchmarks.neighbour.jobs JOB FOLDER SIZE SEED`` prepares itself, says so in a line of
JSON, runs the job once for each line on its standard input, and answers each with seconds and CPU
seconds. What is prepared (models, an index, texts) is not timed.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import shoestring  # its names are loaded when a job asks for them
from shoestring.parallel import n_cores

Job = Callable[[], None]
CALLS = 60


def texts_of(n_texts: int, seed: int) -> list[str]:
    """Docstrings of this Python, drawn at random."""
    from shoestring.text import python_docs

    records = list(python_docs(()))
    order = np.random.default_rng(seed).permutation(len(records))[:n_texts]
    return [records[i].text for i in order]


def questions_of(n_questions: int, seed: int) -> list[str]:
    """First sentences of docstrings, as the demo asks them."""
    from shoestring.text import known_items, python_docs

    items = list(known_items(list(python_docs(()))))
    order = np.random.default_rng(seed + 1).permutation(len(items))[:n_questions]
    return [items[i].question for i in order]


def build_index(folder: Path, n_texts: int, seed: int) -> None:
    """The index that :func:`query` asks."""
    shoestring.SearchIndex.build(
        folder, texts_of(n_texts, seed), scorer="minilm-weighted", encoder="minilm",
        calls=2 * n_texts, progress=False, seed=seed,
    )  # fmt: skip


def query(folder: Path, size: int, seed: int) -> Job:
    """Questions of 60 calls; each time to a new copy of the index, in which none is paid for."""
    questions, place = questions_of(size, seed), folder.with_name("asked")

    def copied() -> shoestring.SearchIndex:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)
        index = shoestring.SearchIndex.open(place)
        index.query("what is read once is warm", calls=5)
        return index

    waiting = [copied()]

    def job() -> None:
        index = waiting.pop()
        for question in questions:
            index.query(question, calls=CALLS)

    job.again = lambda: waiting.append(copied())  # type: ignore[attr-defined]
    return job


def fit(folder: Path, size: int, seed: int) -> Job:
    """A classifier of 20 classes fitted to as many vectors as wide as MiniLM's."""
    rng = np.random.default_rng(seed)
    y = rng.integers(20, size=size)
    X = (rng.standard_normal((size, 384)) + rng.standard_normal((20, 384))[y]).astype(np.float32)
    return lambda: void(shoestring.AnalyticSoftmax().fit(X, y))


def train(folder: Path, size: int, seed: int) -> Job:
    """Word vectors of 400 neurons by the rule of counts."""
    texts = texts_of(size, seed)
    return lambda: void(shoestring.BinaryVectors(random_state=seed).fit(texts))


def encode(folder: Path, size: int, seed: int) -> Job:
    """MiniLM's vectors of texts."""
    from shoestring.models import SentenceEncoder

    texts, encoder = texts_of(size, seed), SentenceEncoder()
    return lambda: void(encoder.encode(texts))


def start(folder: Path, size: int, seed: int) -> Job:
    """``shoestring --help``, so many times, each in a process of its own."""
    command = [sys.executable, "-c", "from shoestring.cli import main; main()", "--help"]

    def job() -> None:
        for _ in range(size):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return job


def void(_: object) -> None:
    """Forget a result."""


JOBS = {"query": query, "fit": fit, "train": train, "encode": encode, "help": start}


def cpu_seconds() -> float:
    """Of this process and those that it has ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def main() -> None:
    """Prepare; then the job, once for each line that comes."""
    name, folder, size, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    warnings.simplefilter("ignore")
    job = JOBS[name](folder, size, seed)
    again = getattr(job, "again", lambda: None)
    job()  # compiles what is compiled
    again()
    print(json.dumps({"cores": n_cores()}), flush=True)
    for _ in sys.stdin:
        began, spent = time.perf_counter(), cpu_seconds()
        job()
        figures = {"s": time.perf_counter() - began, "cpu_s": cpu_seconds() - spent}
        again()
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
