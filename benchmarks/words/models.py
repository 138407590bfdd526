"""The vectors that the quality benchmark compares, each trained once and kept outside git.

Ours by either rule are :class:`shoestring.BinaryVectors`. The peers are gensim's word2vec with the
same corpus, vocabulary and window, made binary in three ways: signs of Gaussian projections,
medians of rotated dimensions, the largest k of the dimensions themselves. What is kept is named
after a digest of the corpus' words and counts and the settings; delete the folder ``.cache/words``
to train anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import CACHE
from benchmarks.words import data
from shoestring import BinaryVectors
from shoestring.artifacts import digest
from shoestring.words.corpus import EncodedCorpus, encode_corpus

VOCABULARY = 20_000
WINDOW = 11
SKIPPED = 150  # words that the published rule is also tried without
RECIPES: dict[str, dict[str, Any]] = {
    "counts": {"rule": "counts"},
    "published": {"rule": "published"},
    f"published, rate 0.1, without {SKIPPED} words": {
        "rule": "published", "learning_rate": 0.1, "skip_top": SKIPPED,
    },
}  # fmt: skip
WIDTHS = (128, 300)  # of word2vec: as many dimensions as bits in 16 bytes, and its usual number
M = 1_000_000
QUICK_TOKENS = M  # of a quick run
Bits = np.ndarray  # bool (V, bits)


@dataclass(frozen=True)
class Corpus:
    """A training text, encoded; of about so many tokens or of all there are."""

    language: str
    n_tokens: int
    encoded: EncodedCorpus

    @property
    def name(self) -> str:
        return f"{self.language}-{self.n_tokens}"

    def without_frequent(self) -> Corpus:
        """The same text without its most frequent words."""
        return corpus(self.language, self.n_tokens, SKIPPED)

    def place(self, *settings: object) -> Path:
        """Where something that was trained on it is kept."""
        parts = [
            self.name,
            digest(self.encoded.counts, *self.encoded.words)[:8],
            *map(str, settings),
        ]
        return CACHE / "words" / "-".join(parts)


def corpus(language: str, n_tokens: int, skip_top: int = 0) -> Corpus:
    """About so many tokens of a language; all there are where that is less."""
    name = f"{language}-{n_tokens}" + f"-skip{skip_top}" * bool(skip_top)
    folder = CACHE / "words" / name
    if not (folder / "config.json").exists():
        lexicon = data.chinese_lexicon() if language == "zh" else None
        texts = data.training_texts(language, n_tokens)
        encode_corpus(texts, folder, vocab_size=VOCABULARY, lexicon=lexicon, skip_top=skip_top)
    return Corpus(language, n_tokens, EncodedCorpus.open(folder))


def ours(text: Corpus, recipe: str, n_neurons: int, seed: int, n_epochs: int) -> BinaryVectors:
    """Our vectors by one of the recipes; epochs are the published rule's."""
    settings = dict(RECIPES[recipe])
    read = text.without_frequent() if settings.pop("skip_top", 0) else text
    rate = (settings["learning_rate"],) if "learning_rate" in settings else ()
    epochs = (n_epochs, *rate) if settings["rule"] == "published" else ()
    folder = read.place(settings["rule"], n_neurons, *epochs, seed)
    if not folder.exists():
        k = min(50, n_neurons)
        vectors = BinaryVectors(
            n_neurons, k, WINDOW, n_epochs=n_epochs, random_state=seed, **settings
        )
        started = time.monotonic()
        vectors.fit(read.encoded).save(folder)
        say(text, f"{recipe}, {n_neurons} neurons, seed {seed}", time.monotonic() - started)
    return BinaryVectors.load(folder)


def word2vec_ahead(
    text: Corpus, trainings: list[tuple[str, int, int, int]], n_processes: int
) -> None:
    """Train what is not there yet, so many at once: one training uses one core."""
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(_word2vec_of, text.language, text.n_tokens, *settings)
            for settings in trainings
            if not _word2vec_file(text, *settings).exists()
        ]
        for job in jobs:
            job.result()


def _word2vec_of(language: str, n_tokens: int, *settings: Any) -> None:
    word2vec(corpus(language, n_tokens), *settings)


def _word2vec_file(text: Corpus, kind: str, width: int, seed: int, n_epochs: int) -> Path:
    return text.place(kind, width, n_epochs, seed).with_suffix(".npy")


def word2vec(text: Corpus, kind: str, width: int, seed: int, n_epochs: int) -> np.ndarray:
    """gensim's vectors (V, width), "skip-gram" or "CBOW"; one thread, so that the seed decides."""
    file = _word2vec_file(text, kind, width, seed, n_epochs)
    if not file.exists():
        from gensim.models import Word2Vec

        started = time.monotonic()
        model = Word2Vec(
            _Sentences(text.encoded), vector_size=width, window=WINDOW // 2, min_count=1,
            sg=int(kind == "skip-gram"), sample=1e-4, epochs=n_epochs, seed=seed, workers=1,
        )  # fmt: skip
        known = [word in model.wv for word in text.encoded.words]
        vectors = np.zeros((len(known), width), np.float32)  # zeros: all its sentences were short
        vectors[known] = model.wv[np.array(text.encoded.words, dtype=object)[known].tolist()]
        aside = file.with_suffix(".partial.npy")
        np.save(aside, vectors)
        aside.replace(file)
        say(text, f"word2vec {kind}, {width}, seed {seed}", time.monotonic() - started)
    return np.load(file)


class _Sentences:
    """gensim reads the sentences once for each epoch."""

    def __init__(self, encoded: EncodedCorpus) -> None:
        self.encoded = encoded

    def __iter__(self) -> Iterator[list[str]]:
        return data.known_sentences(self.encoded)


def say(text: Corpus, what: str, seconds: float) -> None:
    print(f"{text.name}: {what} in {seconds:.0f} s", flush=True)


def active_bits(activations: np.ndarray, k: int) -> Bits:
    """The k largest of each row."""
    largest = np.argpartition(-activations, k - 1, axis=1)[:, :k]
    bits = np.zeros(activations.shape, dtype=bool)
    np.put_along_axis(bits, largest, True, axis=1)
    return bits


def sign_bits(vectors: np.ndarray, n_bits: int, seed: int) -> Bits:
    """Signs of Gaussian projections (Charikar, STOC 2002)."""
    rng = np.random.default_rng(seed)
    return vectors @ rng.standard_normal((vectors.shape[1], n_bits), np.float32) > 0


def median_bits(vectors: np.ndarray, n_bits: int, seed: int) -> Bits:
    """Above or below the median of each dimension, of so many randomly rotated ones."""
    rng = np.random.default_rng(seed)
    width = vectors.shape[1]
    n_turns = -(-n_bits // width)
    turns = [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(n_turns)]
    turn = np.concatenate(turns, axis=1)[:, :n_bits].astype(np.float32)
    turned = turn.T @ vectors.T  # (bits, V): medians of what lies together
    return (turned > np.median(turned, axis=1, keepdims=True)).T


def stored_bytes(n_bits: int, n_active: int) -> int:
    """Of a code: packed bits or indices of its active bits, whichever is less."""
    index_bits = max(1, (n_bits - 1).bit_length())
    return min(-(-n_bits // 8), -(-n_active * index_bits // 8))


def affordable(n_bits: int, n_bytes: int) -> int:
    """Active bits of a top-k code in so many bytes; a third of the bits where all of them fit."""
    if -(-n_bits // 8) <= n_bytes:
        return n_bits // 3
    return 8 * n_bytes // max(1, (n_bits - 1).bit_length())
