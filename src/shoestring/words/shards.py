"""A corpus on its way from words to ids: pieces on the disk, each with ids of its own.

Words are read and cut once, because that is what costs. A shard holds the tokens of at most
:data:`SHARD_TOKENS` of a file as ids in the order of the shard's own first occurrences, with its
words; what the ids of the whole corpus are is settled when all shards are there. So shards
depend on nothing but their file, and any number of processes writes the same ones.

Not covered: splitting one file between processes.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from shoestring.errors import FormatError
from shoestring.text.documents import read_documents
from shoestring.text.segmentation import Lexicon, split_words
from shoestring.text.vocabulary import WordCounts
from shoestring.types import IntArray
from shoestring.words.phrases import Ids

SHARD_TOKENS = 1 << 21
_BLOCK_TOKENS = 1 << 13  # few enough for the words to be still in the cache

Sentences = list[list[str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become documents, and documents sentences of words.

    Parameters
    ----------
    text : str
        Column of the text, in files of records.
    wrapped : bool
        In plain text a paragraph ends at an empty line, not at every line.
    segmented : bool
        One sentence a line, its tokens between blanks.
    lexicon : Lexicon, optional
        Words to keep whole.
    share : float
        Of the documents that are read, drawn at random; a larger one has all of a smaller one.
    seed : int
        Which ones.
    """

    text: str = "text"
    wrapped: bool = False
    segmented: bool = False
    lexicon: Lexicon | None = None
    share: float = 1.0
    seed: int = 0

    def drawn(self, documents: Iterable[T], number: int = 0) -> Iterator[T]:
        """The documents of file ``number`` that are read."""
        if self.share >= 1:
            return iter(documents)
        draw = np.random.default_rng([self.seed, number]).random
        return (document for document in documents if draw() < self.share)

    def sentences(self, paragraphs: Iterable[str]) -> Sentences:
        """The sentences of a document."""
        return [
            words
            for paragraph in paragraphs
            for words in split_words(paragraph, segmented=self.segmented, lexicon=self.lexicon)
        ]

    def settings(self) -> dict[str, object]:
        """What a config says about it; of a lexicon its size and a digest."""
        said: dict[str, object] = {"text": self.text, "wrapped": self.wrapped}
        said |= {"segmented": self.segmented, "lexicon": None}
        if self.lexicon is not None:
            words = "\n".join(sorted(self.lexicon.words)).encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(words, digest_size=16).hexdigest()
            said["lexicon"] = {"n_words": len(self.lexicon.words), "digest": digest}
        if self.share < 1:
            said |= {"share": self.share, "seed": self.seed}
        return said


@dataclass(frozen=True, slots=True)
class Shard:
    """One piece of a corpus on the disk; -1 is a token outside ``words``.

    Parameters
    ----------
    stem : str
        What its files' names start with.
    words_file : str
        JSON list of words; several shards may share one.
    n_tokens, n_sentences, n_documents : int
    """

    stem: str
    words_file: str
    n_tokens: int
    n_sentences: int
    n_documents: int

    @property
    def words(self) -> list[str]:
        """The word of each id."""
        return read_words(Path(self.words_file))

    @property
    def ids(self) -> Ids:
        """Ids of the tokens, (n_tokens,)."""
        return np.asarray(np.load(f"{self.stem}.ids.npy"))

    @property
    def lengths(self) -> Ids:
        """Tokens of each sentence, (n_sentences,)."""
        return np.asarray(np.load(f"{self.stem}.lengths.npy"))

    @property
    def documents(self) -> Ids:
        """Sentences of each document, (n_documents,)."""
        return np.asarray(np.load(f"{self.stem}.documents.npy"))


def write_shard(stem: str, words_file: str, ids: Ids, lengths: Ids, documents: Ids) -> Shard:
    """Write the arrays of a shard; the file of its words is the caller's."""
    for name, array in (("ids", ids), ("lengths", lengths), ("documents", documents)):
        np.save(f"{stem}.{name}.npy", array.astype(np.int32, copy=False))
    return Shard(stem, words_file, len(ids), len(lengths), len(documents))


def write_words(path: Path, words: list[str]) -> str:
    """Write the words of a shard or a vocabulary, in the order of their ids."""
    path.write_bytes(json.dumps(words, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return str(path)


def read_words(path: Path) -> list[str]:
    """Read what :func:`write_words` wrote."""
    words: list[str] = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
    return words


class ShardWriter:
    """Makes shards of the documents of one file.

    Parameters
    ----------
    folder : Path
        Where the shards go.
    number : int
        Of the file; no two writers may have the same.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self._shards: list[Shard] = []
        self._start()

    def _start(self) -> None:
        self._id_of: defaultdict[str, int] = defaultdict()
        self._id_of.default_factory = self._id_of.__len__  # a new word gets the next id
        self._words: list[str] = []
        self._blocks: list[Ids] = []
        self._lengths: list[int] = []
        self._documents: list[int] = []

    def add(self, sentences: Sentences) -> None:
        """Add a document; one without words is no document."""
        if not sentences:
            return
        for words in sentences:
            self._words += words
            self._lengths.append(len(words))
        self._documents.append(len(sentences))
        if len(self._words) >= _BLOCK_TOKENS:
            self._encode()
            if sum(map(len, self._blocks)) >= SHARD_TOKENS:
                self._finish_shard()

    def finish(self) -> list[Shard]:
        """Write what is left; all shards in order."""
        if self._lengths:
            self._encode()
            self._finish_shard()
        return self._shards

    def _encode(self) -> None:
        ids = map(self._id_of.__getitem__, self._words)
        try:
            self._blocks.append(np.fromiter(ids, np.int32, len(self._words)))
        except TypeError as error:  # a list among the tokens
            raise FormatError(f"A token must be a str ({error}). Give lists of str.") from error
        self._words = []

    def _finish_shard(self) -> None:
        words = list(self._id_of)
        strange = next((word for word in words if not isinstance(word, str)), None)
        if strange is not None:
            raise FormatError(
                f"A token must be a str, and {strange!r} is of type {type(strange).__name__}. "
                "Convert the tokens first."
            )
        stem = str(self._folder / f"{self._number:06d}-{len(self._shards):06d}")
        words_file = write_words(Path(f"{stem}.words.json"), words)
        arrays = np.concatenate(self._blocks), np.array(self._lengths), np.array(self._documents)
        self._shards.append(write_shard(stem, words_file, *arrays))
        self._start()


def shards_of_documents(
    documents: Iterable[list[str]], folder: Path, reading: Reading, progress: bool
) -> list[Shard]:
    """Write the shards of documents in memory; each is a list of paragraphs."""
    drawn = reading.drawn(counted(documents, progress))
    return shards_of_sentences(map(reading.sentences, drawn), folder)


def shards_of_sentences(documents: Iterable[Sentences], folder: Path) -> list[Shard]:
    """Write the shards of documents whose sentences are cut already."""
    writer = ShardWriter(folder, 0)
    for sentences in documents:
        writer.add(sentences)
    return writer.finish()


def counted(documents: Iterable[T], progress: bool) -> Iterator[T]:
    """Documents that are in memory, with a bar that counts them."""
    return iter(tqdm(documents, desc="texts to tokens", unit="text", disable=not progress))


def shards_of_files(
    files: list[Path], folder: Path, reading: Reading, n_jobs: int, progress: bool
) -> list[Shard]:
    """Write the shards of files, in the order of the files whatever the number of processes."""
    sizes = [file.stat().st_size for file in files]
    bar = tqdm(
        total=sum(sizes), desc="text to tokens", unit="B", unit_scale=True, disable=not progress
    )
    shards: list[Shard] = []
    with bar:
        if n_jobs == 1 or len(files) == 1:
            for number, file in enumerate(files):
                shards += _shards_of_file(file, folder, number, reading, bar)
            return shards
        pool = ProcessPoolExecutor(min(n_jobs, len(files)), mp_context=get_context("spawn"))
        try:
            jobs = [
                pool.submit(_shards_of_file, file, folder, number, reading)
                for number, file in enumerate(files)
            ]
            for job, size in zip(jobs, sizes, strict=True):
                shards += job.result()
                bar.update(size)
        finally:
            pool.shutdown(cancel_futures=True)
    return shards


def _shards_of_file(
    file: Path, folder: Path, number: int, reading: Reading, bar: tqdm | None = None
) -> list[Shard]:
    writer = ShardWriter(folder, number)
    on_bytes = bar.update if bar is not None else lambda n_bytes: None
    documents = read_documents(file, reading.text, wrapped=reading.wrapped, on_bytes=on_bytes)
    with closing(documents):  # on an error, the file is closed now and not when it is collected
        for paragraphs in reading.drawn(documents, number):
            writer.add(reading.sentences(paragraphs))
    return writer.finish()


def count_words(shards: Iterable[Shard]) -> WordCounts:
    """How often each word occurs in all shards."""
    counts = WordCounts()
    for words_file, group in groupby(shards, key=lambda shard: shard.words_file):
        words = read_words(Path(words_file))
        n_each = np.zeros(len(words), np.int64)
        for shard in group:
            ids = shard.ids
            n_each += np.bincount(ids[ids >= 0], minlength=len(words))
        occur = zip(words, n_each.tolist(), strict=True)
        counts.add({word: count for word, count in occur if count})
    return counts


def with_ids_of(shards: Iterable[Shard], id_of: dict[str, int]) -> Iterator[tuple[Shard, Ids]]:
    """Each shard with the ids that a table of all words gives; -1 for words outside it."""
    words_file, table = "", np.empty(0, np.int32)
    for shard in shards:
        if shard.words_file != words_file:
            words_file = shard.words_file
            table = np.array([*(id_of.get(word, -1) for word in shard.words), -1], np.int32)
        yield shard, table[shard.ids]  # the place at the end is for the id -1


def document_frequencies(shards: Iterable[Shard], id_of: dict[str, int]) -> IntArray:
    """In how many documents each word of a table occurs, (len(id_of),)."""
    n_words = len(id_of)
    frequencies = np.zeros(n_words, np.int64)
    for shard, ids in with_ids_of(shards, id_of):
        document_of_sentence = np.repeat(np.arange(shard.n_documents), shard.documents)
        document = np.repeat(document_of_sentence, shard.lengths)
        known = ids >= 0
        once = np.unique(document[known] * n_words + ids[known])
        frequencies += np.bincount(once % n_words, minlength=n_words) if n_words else 0
    return frequencies
