"""From shards to a folder of arrays: phrases, the choice of the vocabulary, the ids.

Every step goes through the shards one after the other, so memory does not grow with the corpus.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from shoestring.artifacts import ASIDE, sync_folder, written_aside
from shoestring.errors import ParameterError, ShoestringWarning, StorageError
from shoestring.text.segmentation import join_words
from shoestring.text.vocabulary import choose_vocabulary
from shoestring.types import IntArray
from shoestring.words.phrases import PairCounts, join_phrases
from shoestring.words.shards import (
    Shard,
    count_words,
    document_frequencies,
    with_ids_of,
    write_shard,
    write_words,
)

FORMAT = "shoestring-corpus"
FORMAT_VERSION = 1

_OWNER = "encode_corpus"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which words are in the vocabulary; see :func:`shoestring.words.corpus.encode_corpus`.

    Parameters
    ----------
    vocab_size : int, optional
    min_count : int
    max_share : float
        Of the documents.
    skip_words : tuple of str
        Sorted and different.
    skip_top : int
    phrases : int
        Rounds.
    phrase_threshold : float
    """

    vocab_size: int | None
    min_count: int
    max_share: float
    skip_words: tuple[str, ...]
    skip_top: int
    phrases: int
    phrase_threshold: float

    def __post_init__(self) -> None:
        """See that each has a value that it can have."""
        if self.vocab_size is not None:
            checked_int("vocab_size", self.vocab_size, 1)
        checked_int("min_count", self.min_count, 1)
        checked_int("skip_top", self.skip_top, 0)
        checked_int("phrases", self.phrases, 0)
        if not 0 < self.max_share <= 1:
            raise ParameterError.of("max_share", _OWNER, "above 0 and at most 1", self.max_share)
        if not self.phrase_threshold > 0:
            want = "above 0"
            raise ParameterError.of("phrase_threshold", _OWNER, want, self.phrase_threshold)


def checked_int(name: str, value: int, least: int) -> int:
    """A parameter of :func:`shoestring.words.corpus.encode_corpus` that must be an int."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ParameterError.of(name, _OWNER, f"an int of at least {least}", value)
    return int(value)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill that gets its name when the block has ended well.

    Raises
    ------
    ParameterError
        If there is something in the folder, or a file of that name.
    StorageError
        If the disk is full or cannot be written; nothing is left behind.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ParameterError.of(
            "folder", _OWNER, "a new or empty folder", str(folder), "Choose another one."
        )
    aside = folder.with_name(folder.name + ASIDE)
    try:
        shutil.rmtree(aside, ignore_errors=True)  # a killed process may have left it
        aside.mkdir(parents=True)
        yield aside
        if folder.is_dir():
            folder.rmdir()
        aside.replace(folder)
        sync_folder(folder.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}. Free some space or check its "
            "permissions, and run again."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_corpus(
    folder: Path, shards: list[Shard], choice: Choice, reading: Mapping[str, object]
) -> None:
    """Choose the vocabulary and write the files of an encoded corpus.

    Parameters
    ----------
    folder : Path
        That :func:`new_folder` gave.
    shards : list of Shard
        All of the corpus, at least one.
    choice : Choice
    reading : mapping
        How the text was read; goes into the settings and the fingerprint.
    """
    counts = count_words(shards).counts
    if choice.phrases:
        shards, counts = _joined(shards, counts, folder / "shards", choice)
    words = choose_vocabulary(
        counts,
        vocab_size=choice.vocab_size,
        min_count=choice.min_count,
        excluded=set(choice.skip_words) | _too_widespread(shards, counts, choice.max_share),
        skip_top=choice.skip_top,
    )
    if choice.vocab_size is not None and len(words) < choice.vocab_size:
        warnings.warn(
            f"The vocabulary has {len(words)} words, not the {choice.vocab_size} asked for: no "
            f"more occur {choice.min_count} times and are not left out. Lower min_count, or give "
            "more text.",
            ShoestringWarning,
            stacklevel=3,
        )
    settings = {"reading": dict(reading), "choice": asdict(choice)}
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    longest = _write_arrays(folder, shards, words, digest)
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": settings,
        "n_documents": sum(shard.n_documents for shard in shards),
        "n_sentences": sum(shard.n_sentences for shard in shards),
        "n_tokens": sum(shard.n_tokens for shard in shards),
        "n_words": len(words),
        "longest_sentence": longest,
        "fingerprint": digest.hexdigest(),
    }
    with written_aside(folder / "config.json") as file:
        file.write((json.dumps(config, ensure_ascii=False, indent=2) + "\n").encode())


def _joined(
    shards: list[Shard], counts: dict[str, int], folder: Path, choice: Choice
) -> tuple[list[Shard], dict[str, int]]:
    """The shards with phrases as single tokens, round by round, and how often each word is left."""
    words = list(counts)
    id_of = {word: i for i, word in enumerate(words)}
    for number in range(choice.phrases):
        n_words = len(words)
        pairs, word_counts = PairCounts(n_words), np.zeros(n_words, np.int64)
        for shard, ids in with_ids_of(shards, id_of):
            pairs.add(ids, shard.lengths)
            word_counts += np.bincount(ids[ids >= 0], minlength=n_words)
        phrases = pairs.phrases(word_counts, choice.min_count, choice.phrase_threshold)
        phrase_ids = np.empty(len(phrases), np.int32)
        for i, (first, second) in enumerate(zip(*np.divmod(phrases, n_words), strict=True)):
            name = join_words(words[first], words[second])
            phrase_ids[i] = id_of.setdefault(name, len(words))
            if phrase_ids[i] == len(words):
                words.append(name)
        words_file = write_words(folder / f"phrases-{number}.words.json", words)
        rewritten = []
        for shard, ids in with_ids_of(shards, id_of):
            arrays = join_phrases(ids, shard.lengths, phrases, phrase_ids, n_words)
            stem = f"{shard.stem}-{number}"
            rewritten.append(write_shard(stem, words_file, *arrays, shard.documents))
            Path(f"{shard.stem}.ids.npy").unlink()
        shards = rewritten
    return shards, count_words(shards).counts


def _too_widespread(
    shards: list[Shard], counts: dict[str, int], max_share: float
) -> frozenset[str]:
    """The words that occur in more than a share of the documents."""
    limit = max_share * sum(shard.n_documents for shard in shards)
    maybe = [word for word, count in counts.items() if count > limit] if max_share < 1 else []
    frequencies = document_frequencies(shards, {word: i for i, word in enumerate(maybe)})
    return frozenset(maybe[i] for i in np.flatnonzero(frequencies > limit))


def _write_arrays(
    folder: Path, shards: list[Shard], words: list[str], digest: hashlib.blake2b
) -> int:
    """Write ids, offsets, counts and words, all of them into the digest; the longest sentence."""
    n_tokens = sum(shard.n_tokens for shard in shards)
    n_sentences = sum(shard.n_sentences for shard in shards)
    counts = np.zeros(len(words), np.int64)
    digests = hashlib.blake2b(), hashlib.blake2b()  # one a file: where a shard ends must not count
    end = longest = 0
    with (
        _npy(folder / "ids.npy", np.int32, n_tokens) as ids_file,
        _npy(folder / "offsets.npy", np.int64, n_sentences + 1) as offsets_file,
    ):
        offsets_file.write(np.zeros(1, np.int64).tobytes())
        for shard, ids in with_ids_of(shards, {word: i for i, word in enumerate(words)}):
            offsets: IntArray = end + np.cumsum(shard.lengths, dtype=np.int64)
            end, longest = int(offsets[-1]), max(longest, int(shard.lengths.max()))
            counts += np.bincount(ids[ids >= 0], minlength=len(words))
            files, arrays = (ids_file, offsets_file), (ids.tobytes(), offsets.tobytes())
            for file, array, part in zip(files, arrays, digests, strict=True):
                file.write(array)
                part.update(array)
    with _npy(folder / "counts.npy", np.int64, len(words)) as counts_file:
        counts_file.write(counts.tobytes())
    vocabulary = Path(write_words(folder / "vocabulary.json", words))
    for part in (*digests, hashlib.blake2b(vocabulary.read_bytes())):
        digest.update(part.digest())
    return longest


@contextmanager
def _npy(path: Path, dtype: DTypeLike, length: int) -> Iterator[BinaryIO]:
    """Give a .npy file to append the data of a vector to."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": (length,)}
    with written_aside(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield file
