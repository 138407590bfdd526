"""The memory of a process that does nothing but train, by size of the corpus.

A fresh process opens an encoded corpus (memory-mapped), trains, and ends; from outside,
``/proc/PID/status`` is read every 5 ms. **Private** is its anonymous memory (RssAnon): what it
allocated itself, the interpreter, numpy and numba included. **Mapped** is RssFile, libraries and
pages of the corpus, which the system takes back when it needs them. **Peak** is VmHWM, of both
together. The bar for the published rule: private memory is two arrays of weights and at most 200
MB, whatever the corpus. gensim's word2vec trains from a corpus file, one epoch, two workers.

Linux alone; elsewhere nothing is measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data import ROOT
from benchmarks.words import data, models

EVERY = 0.005  # seconds
BESIDE_WEIGHTS = 200  # MB
N_NEURONS = 400
WORD2VEC = "word2vec CBOW"
LEARNERS = ("published", "counts", WORD2VEC)
SIZES = (models.M, 30 * models.M)  # tokens; of the larger there are 24.7 million
FIELDS = {"private": "RssAnon", "mapped": "RssFile", "peak": "VmHWM"}
Megabytes = dict[str, float]


def measure(quick: bool) -> dict[str, Any]:
    """MB of each learner at each size, and whether the bar holds."""
    if not Path("/proc/self/status").exists():
        return {"skipped": "no /proc on this system"}
    table: dict[str, dict[str, Megabytes]] = {}
    weights: Megabytes = {}
    for size in SIZES[:1] if quick else SIZES:
        text = models.corpus("en", size)
        tokens = f"{text.encoded.n_tokens / models.M:.1f} M tokens"
        weights[tokens] = round(2 * len(text.encoded.words) * N_NEURONS * 4 / 1e6, 1)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "corpus.txt"
            with file.open("w", encoding="utf-8") as stream:
                stream.writelines(" ".join(s) + "\n" for s in data.known_sentences(text.encoded))
            for learner in LEARNERS:
                place = file if learner == WORD2VEC else text.encoded.folder
                found = table.setdefault(learner, {})[tokens] = watched(learner, place)
                print(f"memory, {learner}, {tokens}: {found}", flush=True)
    private = {tokens: row["private"] for tokens, row in table["published"].items()}
    return {
        "MB": table,
        "an array of weights, MB": weights,
        f"published, private: two arrays of weights and at most {BESIDE_WEIGHTS} MB": all(
            private[tokens] <= 2 * weights[tokens] + BESIDE_WEIGHTS for tokens in private
        ),
    }


def watched(learner: str, place: Path) -> Megabytes:
    """The largest of each kind that is seen while a process trains."""
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, learner, str(place)]
    largest = dict.fromkeys(FIELDS, 0)
    with subprocess.Popen(command, cwd=ROOT) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            for name, kilobytes in _read(status).items():
                largest[name] = max(largest[name], kilobytes)
            time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"The process that trains {learner} ended with {process.returncode}.")
    return {name: round(kilobytes * 1024 / 1e6, 1) for name, kilobytes in largest.items()}


def _read(status: Path) -> dict[str, int]:
    """Kilobytes now; nothing once the process has given its memory back."""
    rows = (line.partition(":") for line in status.read_text().splitlines())
    fields = {name: value.split()[0] for name, _, value in rows if value.strip()}
    return {name: int(fields[field]) for name, field in FIELDS.items() if field in fields}


def train(learner: str, place: str) -> None:
    """What the process does."""
    if learner == WORD2VEC:
        from gensim.models import Word2Vec

        Word2Vec(
            corpus_file=place, vector_size=300, window=5, min_count=1, sample=1e-4, epochs=1,
            workers=2,
        )  # fmt: skip
        return
    from shoestring import BinaryVectors
    from shoestring.words.corpus import EncodedCorpus

    vectors = BinaryVectors(N_NEURONS, 50, models.WINDOW, rule=learner, n_epochs=1, random_state=0)
    vectors.fit(EncodedCorpus.open(place))


if __name__ == "__main__":
    train(*sys.argv[1:])
