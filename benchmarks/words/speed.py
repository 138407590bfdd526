"""How fast word vectors train, and in how much memory: both rules beside gensim's word2vec.

``python -m benchmarks.words.speed``: 10 million tokens of English. The published rule as
:class:`~shoestring.BinaryVectors` runs it (20,000 words, 400 neurons, windows of 11, mini-batches
of 10,000 shuffled windows), on two threads and on one; gensim's CBOW and skip-gram (300 dimensions,
5 words each side, two workers, frequent words thinned out at 1e-4, which makes them faster) from a
corpus file, which is gensim's fastest input; the rule of counts, which reads its text once. The
bar: 500,000 windows a second on two cores.

Windows a second are what whole mini-batches take, drawing the windows included, of a run that goes
on from turn to turn. A window is one position of one sentence; for **tokens a second** the same
sentences are counted for all, those that have windows (11 to 213 tokens), without the words outside
the vocabulary, which gensim does not have in its file. All run in turns; a ratio is the median over
the turns of the ratio within a turn, so that other work on the machine hits both. How long a whole
training takes is worked out from that: 15 epochs of windows, 5 of word2vec.

For memory see :mod:`benchmarks.words.memory`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.words import memory, models
from shoestring.parallel import KernelPool
from shoestring.words.corpus import EncodedCorpus
from shoestring.words.counts_rule import train_on_counts
from shoestring.words.published import MAX_LENGTH, PublishedSettings, PublishedTraining
from shoestring.words.windows import windows_of

BAR = 500_000  # windows a second on two cores
WIDTH = 300  # of word2vec
WORD2VEC_EPOCHS = 5
PEER_TOKENS = 1_500_000  # of the corpus file, read once a turn
PUBLISHED, COUNTS = "published rule", "rule of counts, whole training"
PEERS = {"word2vec CBOW": 0, "word2vec skip-gram": 1}
Measured = dict[str, list[float]]  # tokens a second, turn by turn


class Text:
    """The corpus and what of it is counted."""

    def __init__(self, encoded: EncodedCorpus) -> None:
        self.encoded = encoded
        self.settings = PublishedSettings()
        lengths = np.diff(encoded.offsets)
        self.with_windows = (self.settings.window <= lengths) & (lengths < MAX_LENGTH)
        known = np.add.reduceat(encoded.ids >= 0, encoded.offsets[:-1], dtype=np.int64)
        self.n_windows = int((lengths[self.with_windows] - self.settings.window + 1).sum())
        self.n_known, self.n_counted = int(known.sum()), int(known[self.with_windows].sum())

    def write(self, file: Path, n_tokens: int) -> int:
        """Write known words of sentences with windows, one a line; how many there are."""
        words, ids = np.array(self.encoded.words, dtype=object), self.encoded.ids
        sentences = np.array(list(pairwise(self.encoded.offsets.tolist())))[self.with_windows]
        n_written = 0
        with file.open("w", encoding="utf-8") as stream:
            for start, stop in sentences.tolist():
                sentence = ids[start:stop]
                sentence = sentence[sentence >= 0]
                stream.write(" ".join(words[sentence]) + "\n")
                n_written += len(sentence)
                if n_written >= n_tokens:
                    break
        return n_written


def published(text: Text, n_threads: int, seconds: float, seed: int) -> Callable[[], float]:
    """A training that goes on for so many seconds a turn; windows a second."""
    encoded, settings = text.encoded, PublishedSettings(seed=seed)
    n_words = len(encoded.words)
    windows = windows_of(encoded.ids, encoded.offsets, n_words, settings.window, MAX_LENGTH)
    training = PublishedTraining(settings, windows, encoded.counts, KernelPool(n_threads))
    training.advance()  # compiled before the clock runs

    def turn() -> float:
        before, start = training.windows_seen, time.perf_counter()
        while time.perf_counter() - start < seconds and training.windows_left:
            training.advance()
        return (training.windows_seen - before) / (time.perf_counter() - start)

    return turn


def word2vec(text: Text, skip_gram: int, file: Path, n_tokens: int, seed: int) -> Callable:
    """An epoch over the corpus file a turn; tokens a second."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=WIDTH, window=models.WINDOW // 2, min_count=1, sg=skip_gram, sample=1e-4,
        seed=seed, workers=2,
    )  # fmt: skip
    counts = dict(zip(text.encoded.words, text.encoded.counts.tolist(), strict=True))
    model.build_vocab_from_freq(counts)

    def turn() -> float:
        start = time.perf_counter()
        model.train(corpus_file=str(file), total_words=n_tokens, epochs=1, report_delay=1e9)
        return n_tokens / (time.perf_counter() - start)

    return turn


def counts(text: Text, seed: int) -> Callable[[], float]:
    """The whole training a turn; tokens of the whole corpus a second."""
    encoded = text.encoded

    def turn() -> float:
        start = time.perf_counter()
        arrays = encoded.ids, encoded.offsets, encoded.counts
        train_on_counts(*arrays, seed=seed, n_threads=2)
        return text.n_known / (time.perf_counter() - start)

    return turn


def in_turns(text: Text, options: argparse.Namespace) -> Measured:
    """Tokens a second of everyone."""
    a_window = text.n_counted / text.n_windows  # tokens
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corpus.txt"
        n_tokens = text.write(file, PEER_TOKENS // (5 if options.quick else 1))
        everyone: dict[str, Callable[[], float]] = {}
        for n_threads in (2, 1):
            windows = published(text, n_threads, options.seconds, options.seed)
            everyone[_threads(n_threads)] = lambda run=windows: a_window * run()
        for name, skip_gram in PEERS.items():
            everyone[name] = word2vec(text, skip_gram, file, n_tokens, options.seed)
        everyone[COUNTS] = counts(text, options.seed)
        measured: Measured = {name: [] for name in everyone}
        for number in range(options.turns):
            for name, turn in everyone.items():
                measured[name].append(turn())
                print(f"turn {number + 1}: {name} {measured[name][-1]:,.0f} tokens/s", flush=True)
    return measured


def _threads(n: int) -> str:
    return f"{PUBLISHED}, {n} thread{'s' * (n > 1)}"


def figures(text: Text, measured: Measured) -> dict[str, Any]:
    """Medians, ratios, the bar, and how long a whole training takes."""
    medians = {name: statistics.median(speeds) for name, speeds in measured.items()}
    a_window = text.n_counted / text.n_windows
    windows = {_threads(n): medians[_threads(n)] / a_window for n in (2, 1)}
    minutes = {
        f"{PUBLISHED}, 15 epochs": 15 * text.n_windows / windows[_threads(2)] / 60,
        COUNTS: text.n_known / medians[COUNTS] / 60,
        **{
            f"{peer}, {WORD2VEC_EPOCHS} epochs": WORD2VEC_EPOCHS * text.n_known / medians[peer] / 60
            for peer in PEERS
        },
    }
    return {
        "tokens a second": {name: round(speed) for name, speed in medians.items()},
        "tokens a second, lowest and highest turn": {
            name: [round(min(speeds)), round(max(speeds))] for name, speeds in measured.items()
        },
        "windows a second": {name: round(speed) for name, speed in windows.items()},
        f"at least {BAR:,} windows a second on 2 threads": windows[_threads(2)] >= BAR,
        "times as fast, median of turns": {
            f"{name} / {peer}": round(_ratio(measured[name], measured[peer]), 2)
            for name in (_threads(2), COUNTS)
            for peer in PEERS
        },
        "two threads / one": round(_ratio(measured[_threads(2)], measured[_threads(1)]), 2),
        "whole training, minutes": {name: round(value, 2) for name, value in minutes.items()},
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Speed in turns, then memory."""
    text = Text(models.corpus("en", models.QUICK_TOKENS if options.quick else 10_000_000).encoded)
    speed = figures(text, in_turns(text, options))
    for name, value in speed.items():
        print(f"{name}: {value}")
    return {
        "tokens": text.encoded.n_tokens,
        "words": len(text.encoded.words),
        "windows": text.n_windows,
        "tokens counted": text.n_counted,
        "turns": options.turns,
        **output.versions("gensim"),
        **speed,
        "memory": memory.measure(options.quick),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the published rule a turn")
    output.options(parser, quick="a million tokens, three short turns: a minute")
    options = parser.parse_args()
    if options.quick:
        options.turns, options.seconds = min(3, options.turns), min(2.0, options.seconds)
    output.write(measure(options), options)


if __name__ == "__main__":
    main()
