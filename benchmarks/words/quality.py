"""How well binary word vectors agree with people: both rules beside word2vec made binary.

``python -m benchmarks.words.quality``, English and Chinese: Spearman's correlation on the
similarity sets, in per cent, by active bits, by stored bytes a word and by size of the corpus; SCWS
and WiC for words in context beside the same words alone; shuffled and random codes as controls.
Codes are compared by the share of equal bits, (n11 + n00) / n. Pairs with an unknown word are left
out, for all in the same way, and the share of the pairs that is covered stands beside the figures.

- **Same hash length**, the paper's convention: k active bits of ours beside k bits of a projection.
- **Same stored bytes**: packed bits, or the indices of the active bits if that is less.
- **WiC**: "same meaning" where the similarity is at least t; t is chosen on the training half. A
  word alone has one code in both sentences, so it tells nothing but what its forms do.

Trained models are kept outside git (``.cache/words``): a run that was interrupted goes on. The full
run trains for some hours on two cores. ``--vectors`` adds a GloVe or word2vec file to the English
tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks import output
from benchmarks.data import require
from benchmarks.words import data, models
from shoestring import BinaryVectors
from shoestring.words.evaluate import evaluate
from shoestring.words.interchange import read_vectors
from shoestring.words.recipes import RULES

N_ACTIVE = (4, 8, 16, 32, 64, 128)
BYTES = {8: (7, 400), 12: (10, 400), 16: (14, 400), 24: (21, 400), 32: (28, 400), 50: (50, 400)}
WIDER = (12, 1024)  # active bits and neurons that take 15 bytes
IN_CONTEXT = ((50, 400), (64, 1024))
KINDS = ("skip-gram", "CBOW")
M = 1_000_000

Scores = dict[str, float]
Judged = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # rows of both words, scores


def judgements(text: models.Corpus) -> tuple[Judged, Scores]:
    """The pairs of each set whose words are known, and the share of them."""
    rows = {word: i for i, word in enumerate(text.encoded.words)}
    judged, coverage = {}, {}
    for name, pairs in data.similarity_sets(text.language).items():
        known = [(rows[a], rows[b], s) for a, b, s in pairs if a in rows and b in rows]
        coverage[name] = round(len(known) / len(pairs), 3)
        if len(known) >= 30:
            a, b, s = zip(*known, strict=True)
            judged[name] = np.array(a), np.array(b), np.array(s)
    return judged, coverage


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
    """What is compared on one corpus; each entry gives codes for a number of bits and a seed."""

    def __init__(self, text: models.Corpus, options: argparse.Namespace, file: str | None = None):
        self.text, self.options, self.file = text, options, file
        self.judged, self.coverage = judgements(text)
        self.seeds = range(options.seed, options.seed + options.seeds)

    def ours(self, rule: str, n_neurons: int, seed: int) -> BinaryVectors:
        return models.ours(self.text, rule, n_neurons, seed, self.options.epochs)

    def targets(self, rule: str, n_neurons: int, seed: int) -> np.ndarray:
        """Activations of the words themselves (V, K)."""
        return self.ours(rule, n_neurons, seed).activations_[-len(self.text.encoded.words) :]

    def peers(self) -> dict[str, Callable[[int], np.ndarray]]:
        """Dense vectors by seed; word2vec once, as it takes longest: seeds are the projections'."""
        epochs = max(5, min(20, 20 * M // self.text.encoded.n_tokens))
        dense = {
            f"word2vec {kind} {width}": partial(self._word2vec, kind, width, epochs)
            for kind, width in product(KINDS, models.WIDTHS)
        }
        if self.file:
            dense["file"] = lambda _: self._from_file()
        return dense

    def _word2vec(self, kind: str, width: int, epochs: int, _: int) -> np.ndarray:
        return models.word2vec(self.text, kind, width, self.options.seed, epochs)

    def _from_file(self) -> np.ndarray:
        vectors = read_vectors(self.file)
        rows = {word: i for i, word in enumerate(vectors.words)}
        of_words = [rows.get(word, -1) for word in self.text.encoded.words]
        return np.concatenate([vectors.vectors, 0 * vectors.vectors[:1]])[of_words]

    def score(self, codes: Callable[[int], np.ndarray]) -> Scores:
        return over_seeds(correlations(codes(seed), self.judged) for seed in self.seeds)

    def by_active_bits(self) -> dict[str, dict[int, Scores]]:
        """k active bits of ours, k bits of a projection."""
        table: dict[str, dict[int, Scores]] = {}
        for k in N_ACTIVE:
            for rule in RULES:
                codes = partial(self._ours, rule, 400, k)
                table.setdefault(f"{rule}, k of 400", {})[k] = self.score(codes)
            for name, dense in self.peers().items():
                for way, codes in binarised(dense, k, lambda _, k=k: k).items():
                    table.setdefault(f"{name}, {way}", {})[k] = self.score(codes)
        return table

    def by_bytes(self) -> dict[str, dict[int, Scores]]:
        """What a word costs to store."""
        table: dict[str, dict[int, Scores]] = {}
        for size, (k, n_neurons) in BYTES.items():
            assert models.stored_bytes(n_neurons, k) <= size
            for rule in RULES:
                codes = partial(self._ours, rule, n_neurons, k)
                table.setdefault(f"{rule}, of {n_neurons}", {})[size] = self.score(codes)
            for name, dense in self.peers().items():
                for way, codes in stored_in(dense, size).items():
                    table.setdefault(f"{name}, {way}", {})[size] = self.score(codes)
        k, n_neurons = WIDER
        codes = partial(self._ours, "counts", n_neurons, k)
        table[f"counts, of {n_neurons:,}"] = {16: self.score(codes)}
        return table

    def _ours(self, rule: str, n_neurons: int, k: int, seed: int) -> np.ndarray:
        return models.active_bits(self.targets(rule, n_neurons, seed), k)

    def best_at_16_bytes(self) -> dict[str, Scores]:
        """Both rules and every way to make word2vec binary, for the table of sizes."""
        k, n_neurons = BYTES[16]
        table = {rule: self.score(partial(self._ours, rule, n_neurons, k)) for rule in RULES}
        for name, dense in self.peers().items():
            for way, codes in stored_in(dense, 16).items():
                table[f"{name}, {way}"] = self.score(codes)
        return table

    def controls(self) -> dict[str, Scores]:
        """What codes are worth that know nothing."""
        k, n_neurons = BYTES[16]
        n_words = len(self.text.encoded.words)

        def shuffled(seed: int) -> np.ndarray:
            bits = self._ours("counts", n_neurons, k, seed)
            return bits[np.random.default_rng(seed).permutation(n_words)]

        def random(seed: int) -> np.ndarray:
            return models.active_bits(
                np.random.default_rng(seed).random((n_words, n_neurons), np.float32), k
            )

        return {"shuffled codes": self.score(shuffled), "random codes": self.score(random)}

    def in_context(self) -> dict[str, dict[str, float]]:
        """SCWS and WiC, the words alone and in their sentences; the mean over the seeds, in %."""
        files = [require(f"wordsim/{f}") for f in ("scws/ratings.txt.gz", "wic/dev.data.txt")]
        files.append(require("wordsim/wic/test.data.txt"))
        tune_on = require("wordsim/wic/train.data.txt")
        table: dict[str, dict[str, float]] = {}
        for rule, (k, n_neurons) in product(RULES, IN_CONTEXT):
            if rule == "published" and n_neurons != 400:
                continue
            found: dict[str, list[float]] = {}
            for seed in self.seeds:
                vectors = self.ours(rule, n_neurons, seed).with_active(k)
                rows = evaluate(vectors, in_context=files, tune_on=tune_on, n_resamples=2)
                for row in rows:
                    name = f"{row.file.partition('.')[0]}, {row.way}"
                    found.setdefault(name, []).append(100 * row.value)
            table[f"{rule}, {k} of {n_neurons:,}"] = {
                name: round(float(np.mean(values)), 1) for name, values in found.items()
            }
        return table


def stored_in(
    dense: Callable[[int], np.ndarray], n_bytes: int
) -> dict[str, Callable[[int], np.ndarray]]:
    """Dense vectors made binary, so many bytes a word."""
    return binarised(dense, 8 * n_bytes, lambda width: models.affordable(width, n_bytes))


def binarised(
    dense: Callable[[int], np.ndarray], n_bits: int, n_active: Callable[[int], int]
) -> dict[str, Callable[[int], np.ndarray]]:
    """The ways to make dense vectors binary; at most half of the dimensions are active."""

    def largest(seed: int) -> np.ndarray:
        vectors = dense(seed)
        width = vectors.shape[1]
        return models.active_bits(vectors, min(n_active(width), width // 2))

    return {
        "signs": lambda seed: models.sign_bits(dense(seed), n_bits, seed),
        "medians": lambda seed: models.median_bits(dense(seed), n_bits, seed),
        "top k": largest,
    }


def show(title: str, table: dict[str, dict[Any, Any]]) -> None:
    """Print a table: a row for each entry, means where there are several figures."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    width = max(map(len, table))
    print(f"\n{title}")
    heads = [str(c) for c in columns]
    print(" " * width, *(f"{head:>{max(6, len(head))}}" for head in heads), sep="  ")
    for name, row in table.items():
        cells = [row.get(column, "") for column in columns]
        cells = [cell["mean"] if isinstance(cell, dict) else cell for cell in cells]
        fitted = (f"{c:>{max(6, len(h))}}" for c, h in zip(cells, heads, strict=True))
        print(f"{name:<{width}}", *fitted, sep="  ", flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every table; what can be said early is printed early."""
    result: dict[str, Any] = {"seeds": options.seeds, "epochs": options.epochs, "corpora": {}}
    for language in options.languages:
        sizes = options.sizes
        by_size: dict[str, dict[str, Scores]] = {}
        for size in sizes:
            text = models.corpus(language, size)
            contest = Contest(text, options, options.vectors if language == "en" else None)
            encoded = text.encoded
            result["corpora"][text.name] = {
                "tokens": encoded.n_tokens,
                "words": len(encoded.words),
                "coverage": contest.coverage,
            }
            tokens = f"{encoded.n_tokens / M:.1f} M"
            for name, scores in contest.best_at_16_bytes().items():
                by_size.setdefault(name, {})[tokens] = scores
            if size == sizes[-1]:
                result[language] = last_tables(contest, language, tokens)
        result[language]["by corpus size"] = by_size
        show(f"{language}, mean Spearman at 16 bytes a word by tokens of the corpus", by_size)
    return result


def last_tables(contest: Contest, language: str, tokens: str) -> dict[str, Any]:
    """The tables of the largest corpus."""
    tables: dict[str, Any] = {"coverage": contest.coverage}
    print(f"\n{language}, {tokens} tokens, share of the pairs covered: {contest.coverage}")
    tables["by active bits"] = contest.by_active_bits()
    show(f"{language}: mean Spearman, %, at the same hash length", tables["by active bits"])
    tables["by stored bytes"] = contest.by_bytes()
    show(f"{language}: mean Spearman, %, at the same stored bytes", tables["by stored bytes"])
    at_16 = {name: row[16] for name, row in tables["by stored bytes"].items()}
    show(f"{language}: each set at 16 bytes a word", at_16)
    tables["controls"] = contest.controls()
    show(f"{language}: controls", tables["controls"])
    if language == "en":
        tables["in context"] = contest.in_context()
        show("words in context: SCWS Spearman, WiC accuracy, %", tables["in context"])
    return tables


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="300,000 tokens, one seed, 3 epochs: some minutes")
    parser.add_argument("--vectors", metavar="FILE", help="GloVe or word2vec file to compare with")
    parser.add_argument("--languages", nargs="+", default=["en", "zh"], choices=["en", "zh"])
    parser.add_argument(
        "--tokens", nargs="+", type=int, metavar="N", help="sizes of the corpora, ascending"
    )
    options = parser.parse_args()
    sizes = [300_000] if options.quick else [M, 3 * M, 10 * M, 30 * M]
    options.sizes = options.tokens or sizes
    options.seeds, options.epochs = (1, 3) if options.quick else (3, 15)
    output.write(measure(options), options)


if __name__ == "__main__":
    main()
