"""What is compared on one corpus, and how well it agrees with people: ways to get codes, scores.

A *way* gives the codes of the words that the similarity sets ask for, by seed. Spearman's
correlation is in per cent. See :mod:`benchmarks.words.quality` for what is asked.

Letters: A words that are asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import product

import numpy as np
from scipy.stats import spearmanr

from benchmarks.data import require
from benchmarks.words import data, in_context, models
from shoestring import BinaryVectors
from shoestring.words.word2vec_io import read_vectors

N_ACTIVE = (4, 8, 16, 32, 64, 128)
BYTES = {
    4: (3, 400),
    8: (7, 400),
    12: (10, 400),
    16: (14, 400),
    24: (21, 400),
    32: (28, 400),
    50: (50, 400),
}  # bytes a word: active bits, neurons
WIDER = (12, 1024)  # active bits and neurons that take 15 bytes
IN_CONTEXT = ((50, 400), (64, 1024))
KINDS = ("skip-gram", "CBOW")

Scores = dict[str, float]
Table = dict[str, dict[int, Scores]]  # a row for each way, a column for each size
Judged = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # rows of both words, scores
Way = Callable[[int], np.ndarray]  # seed to bits (A, bits), or to vectors


def judgements(text: models.Corpus) -> tuple[Judged, np.ndarray, Scores]:
    """The pairs of each set whose words are known, the words asked for, the share of such pairs.

    The pairs hold places among the words asked for (A,), which are rows of the vocabulary. The
    most frequent words are not asked for: one recipe has no vectors of them.
    """
    rows = {word: i for i, word in enumerate(text.encoded.words) if i >= models.SKIPPED}
    judged, coverage = {}, {}
    for name, pairs in data.similarity_sets(text.language).items():
        known = [(rows[a], rows[b], s) for a, b, s in pairs if a in rows and b in rows]
        coverage[name] = round(len(known) / len(pairs), 3)
        if len(known) >= 30:
            a, b, s = zip(*known, strict=True)
            judged[name] = np.array(a), np.array(b), np.array(s)
    asked = np.unique([row for a, b, _ in judged.values() for row in (*a, *b)]).astype(int)
    places = {
        name: (np.searchsorted(asked, a), np.searchsorted(asked, b), scores)
        for name, (a, b, scores) in judged.items()
    }
    return places, asked, coverage


def correlations(bits: np.ndarray, judged: Judged) -> Scores:
    """Spearman, in per cent, of each set, and their mean."""
    found = {
        name: 100 * float(spearmanr((bits[a] == bits[b]).mean(axis=1), scores).statistic)
        for name, (a, b, scores) in judged.items()
    }
    return {**found, "mean": float(np.mean(list(found.values())))}


def over_seeds(scores: Iterable[Scores]) -> Scores:
    """The mean over the seeds, and how far the means over the sets spread."""
    rows = list(scores)
    means = {name: round(float(np.mean([row[name] for row in rows])), 1) for name in rows[0]}
    return {**means, "spread": round(float(np.std([row["mean"] for row in rows])), 1)}


class Contest:
    """What is compared on one corpus."""

    def __init__(self, text: models.Corpus, options: argparse.Namespace, file: str | None = None):
        self.text, self.options, self.file = text, options, file
        self.judged, self.asked, self.coverage = judgements(text)
        self._targets = lru_cache(maxsize=None)(self._read_targets)

    def seeds(self, rule: str = "") -> range:
        """Of ours and of projections; of the published rule perhaps fewer, as it takes longest."""
        options = self.options
        n = options.published_seeds if rule.startswith("published") else options.seeds
        return range(options.seed, options.seed + n)

    def score(self, codes: Way, rule: str = "") -> Scores:
        """Over the seeds."""
        return over_seeds(correlations(codes(seed), self.judged) for seed in self.seeds(rule))

    def vectors(self, rule: str, n_neurons: int, seed: int) -> BinaryVectors:
        """Ours, trained if they are not there yet."""
        return models.ours(self.text, rule, n_neurons, seed, self.options.epochs)

    def _read_targets(self, rule: str, n_neurons: int, seed: int) -> np.ndarray:
        vectors = self.vectors(rule, n_neurons, seed)
        targets = vectors.activations_[-len(vectors) :]
        asked = [self.text.encoded.words[row] for row in self.asked]
        return np.asarray(targets[[vectors.key_to_index[word] for word in asked]])

    def ours(self, rule: str, n_neurons: int, k: int) -> Scores:
        """The score of k active bits of a rule's neurons."""

        def codes(seed: int) -> np.ndarray:
            return models.active_bits(self._targets(rule, n_neurons, seed), k)

        return self.score(codes, rule)

    def trainings(self) -> list[tuple[str, int, int, int]]:
        """The settings of word2vec: once, not for each seed, as it takes longest."""
        epochs = max(5, min(20, 20 * models.M // self.text.encoded.n_tokens))
        settings = product(KINDS, sorted(models.WIDTHS, reverse=True))
        return [(kind, width, self.options.seed, epochs) for kind, width in settings]

    def peers(self) -> dict[str, Callable[[], np.ndarray]]:
        """Dense vectors (V, width)."""
        dense = {
            f"word2vec {kind} {width}": partial(models.word2vec, self.text, kind, width, *rest)
            for kind, width, *rest in self.trainings()
        }
        if self.file:
            dense["file"] = self._from_file
        return dense

    def _from_file(self) -> np.ndarray:
        vectors = read_vectors(self.file)
        rows = {word: i for i, word in enumerate(vectors.words)}
        of_words = [rows.get(word, -1) for word in self.text.encoded.words]
        return np.concatenate([vectors.vectors, 0 * vectors.vectors[:1]])[of_words]

    def binarised(
        self, vectors: np.ndarray, n_bits: int, n_active: Callable[[int], int]
    ) -> dict[str, Way]:
        """The ways to make dense vectors binary; at most half of the dimensions are active."""
        asked, width = vectors[self.asked], vectors.shape[1]
        k = min(n_active(width), width // 2)
        return {
            "signs": lambda seed: models.sign_bits(asked, n_bits, seed),
            "medians": lambda seed: models.median_bits(vectors, n_bits, seed)[self.asked],
            "top k": lambda _: models.active_bits(asked, k),
        }

    def by_active_bits(self) -> Table:
        """k active bits of ours, k bits of a projection."""
        table: Table = {}
        for rule in models.RECIPES:
            table[f"{rule}, k of 400"] = {k: self.ours(rule, 400, k) for k in N_ACTIVE}
        for name, dense in self.peers().items():
            vectors = dense()
            for k in N_ACTIVE:
                for way, codes in self.binarised(vectors, k, lambda _, k=k: k).items():
                    table.setdefault(f"{name}, {way}", {})[k] = self.score(codes)
        return table

    def by_bytes(self, sizes: Iterable[int] = tuple(BYTES)) -> Table:
        """What a word costs to store."""
        table: Table = {}
        for size in sizes:
            k, n_neurons = BYTES[size]
            assert models.stored_bytes(n_neurons, k) <= size
            for rule in models.RECIPES:
                row = table.setdefault(f"{rule}, of {n_neurons}", {})
                row[size] = self.ours(rule, n_neurons, k)
        for name, dense in self.peers().items():
            vectors = dense()
            for size in sizes:
                n_active = partial(models.affordable, n_bytes=size)
                for way, codes in self.binarised(vectors, 8 * size, n_active).items():
                    table.setdefault(f"{name}, {way}", {})[size] = self.score(codes)
        return table

    def controls(self) -> dict[str, Scores]:
        """What codes are worth that know nothing."""
        k, n_neurons = BYTES[16]
        shape = len(self.asked), n_neurons

        def shuffled(seed: int) -> np.ndarray:
            bits = models.active_bits(self._targets("counts", n_neurons, seed), k)
            return bits[np.random.default_rng(seed).permutation(len(bits))]

        def random(seed: int) -> np.ndarray:
            rng = np.random.default_rng(seed)
            return models.active_bits(rng.random(shape, np.float32), k)

        return {"shuffled codes": self.score(shuffled), "random codes": self.score(random)}

    def in_context(self) -> dict[str, Scores]:
        """SCWS and WiC, the words alone and in their sentences; the mean over the seeds, in %."""
        train = require("wordsim/wic/train.data.txt")
        files = {
            "SCWS": (require("wordsim/scws/ratings.txt.gz"), None),
            "WiC dev": (require("wordsim/wic/dev.data.txt"), train),
            "WiC test": (require("wordsim/wic/test.data.txt"), train),
        }
        table: dict[str, Scores] = {}
        for rule, (k, n_neurons) in product(models.RECIPES, IN_CONTEXT):
            if rule != "counts" and n_neurons != 400:
                continue
            found: dict[str, list[float]] = {}
            for seed in self.seeds(rule):
                vectors = self.vectors(rule, n_neurons, seed).with_active(k)
                for name, (file, tune_on) in files.items():
                    for way, value in in_context.scores(vectors, file, tune_on).items():
                        found.setdefault(f"{name}, {way}", []).append(100 * value)
            table[f"{rule}, {k} of {n_neurons:,}"] = {
                name: round(float(np.mean(values)), 1) for name, values in found.items()
            }
        return table
