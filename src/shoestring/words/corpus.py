"""Text to the ids that word vectors are trained on: a folder of memory-mapped arrays.

:func:`encode_corpus` reads the text once and writes its tokens as ids in the order of first
occurrences; then the vocabulary is chosen, and the ids are written again as those of the
vocabulary. What is not in it keeps its place with the id -1, as stop words did in the published
training of BioWord.

Memory: up to :data:`MAX_WORDS` different words (250 MB); with more, the rarest so far are
forgotten, and one that comes back is counted from there on. Disk: 4 bytes a token, and as much
again while it works.

Not covered: resuming an encoding that was interrupted; more than one process; collocations, which
gensim's ``Phrases`` joins in lists of tokens.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import weakref
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import ArtifactKind, digest, write_npy_header
from shoestring.errors import FormatError, ParameterError, ShoestringError, short
from shoestring.jobs import Clock
from shoestring.progress import Progress
from shoestring.text.corpus import Corpus, affordable_fraction, drawn, note_share
from shoestring.text.records import read_records
from shoestring.text.segmentation import Lexicon, split_words
from shoestring.text.tokens import MAX_TOKEN_CHARS
from shoestring.types import IntArray

MAX_WORDS = 1_000_000  # different ones that are counted before the rarest are forgotten
PART_TOKENS = 1 << 21  # between two counts of them
SHARE_OF_BUDGET = 0.25  # for reading; ids and the pairs of words take about three times as long
_ENCODED = ArtifactKind(
    "shoestring-corpus", "an encoded corpus", "encode_corpus", "Encode the text again.", version=3
)

Ids: TypeAlias = NDArray[np.int32]
Sentences: TypeAlias = list[list[str]]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EncodedCorpus:
    """A corpus as ids, memory-mapped from its folder; -1 is a token outside the vocabulary.

    A folder that nobody named is removed with the last reference to the corpus.
    """

    ids: Ids  # (n_tokens,): one sentence after the other
    offsets: IntArray  # (n_sentences + 1,): sentence i is ids[offsets[i] : offsets[i + 1]]
    words: list[str]  # the most frequent first, equal counts in the order of code points
    counts: IntArray  # how often each word occurs in the corpus
    segmented: bool  # texts came with blanks between their tokens
    folder: Path

    @property
    def n_tokens(self) -> int:
        """Tokens, those outside the vocabulary too."""
        return len(self.ids)

    @property
    def longest_sentence(self) -> int:
        """In tokens."""
        return int(np.diff(self.offsets).max(initial=0))

    @classmethod
    def open(cls, folder: str | Path) -> EncodedCorpus:
        """Open the folder that :func:`encode_corpus` wrote.

        The errors of :meth:`ArtifactKind.read`.
        """
        saved = _ENCODED.read(folder := Path(folder))
        words = saved.strings("vocabulary.json")
        with saved.decoding():
            # the kernels look up sentences by offsets and counts by ids
            ids, offsets = saved.array("ids.npy", "<i4"), saved.array("offsets.npy", "<i8")
            lengths, n_words = np.diff(offsets), len(words)
            if offsets[0] != 0 or offsets[-1] != len(ids) or lengths.min(initial=0) < 0:
                raise saved.damaged(saved.path("offsets.npy"), "its sentences are no tokens")
            if ids.ndim > 1 or not -1 <= ids.min(initial=0) <= ids.max(initial=0) < max(n_words, 1):
                raise saved.damaged(saved.path("ids.npy"), "its ids are no words")
            counts = saved.loaded_array("counts.npy", "<i8", (n_words,))
            return cls(ids, offsets, words, counts, bool(saved.config["segmented"]), folder)


def encode_corpus(
    source: Any,
    folder: str | Path | None = None,
    *,
    vocab_size: int = 20_000,
    min_count: int = 5,
    skip_top: int = 0,
    segmented: bool = False,
    lexicon: Iterable[str] | None = None,
    sample_fraction: float = 1.0,
    seed: int = 0,
    progress: bool = False,
) -> EncodedCorpus:
    """Encode a corpus of any size as the ids of its most frequent words.

    The parameters that are not named here are those of :class:`shoestring.words.BinaryVectors`.

    Parameters
    ----------
    source : path, iterable of Path, iterable of texts, iterable of lists of str, or data frame
        A str or Path is a file or folder (:mod:`shoestring.text.documents` says of what kinds); an
        iterable has Path objects, or what ``read_records`` takes (texts, mappings, records), or
        sentences that are lists of tokens, which are taken as they are. It is read once. A record
        or a row has its text in the column "text".
    folder : str or Path, optional
        New, empty, or of an encoded corpus, which is replaced; by default a temporary folder.
    sample_fraction : float
        Of the documents that are read, drawn at random by the seed; a larger fraction has all
        documents of a smaller one.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ParameterError, StorageError, FormatError
        No text; a file that is missing, a full disk; a file that is not text, a record without the
        column, a corpus without a word.

    Notes
    -----
    Cost: about a microsecond a token on one core of a busy machine, English or Chinese; two with
    a lexicon.

    Examples
    --------
    >>> corpus = encode_corpus(["The cat sat. The dog sat, too!"], min_count=2)
    >>> corpus.words, corpus.ids.tolist(), corpus.offsets.tolist()
    (['sat', 'the'], [1, -1, 0, 1, -1, 0, -1], [0, 3, 7])
    """
    split = _splitter(segmented, lexicon)
    documents = _documents(source, split, sample_fraction, seed, progress)
    # A temporary folder lives as long as the corpus.
    target = Path(tempfile.mkdtemp(prefix="shoestring-corpus-") if folder is None else folder)
    try:
        with _ENCODED.saving(target) as writer, tempfile.TemporaryFile(dir=target) as raw:
            with (writer.folder / "offsets.npy").open("wb") as file:
                id_of, counts = _write_tokens(documents, raw, file)
            if not id_of:
                drawn_only = f"documents that were drawn, {sample_fraction:.2g} of all"
                raise FormatError(
                    f"There is no word in the {'text' if sample_fraction == 1 else drawn_only}. "
                    "Check that it is the right text, or give more of it."
                )
            words = choose_vocabulary(
                {word: int(counts[i]) for word, i in id_of.items()},
                vocab_size=vocab_size,
                min_count=min_count,
                skip_top=skip_top,
            )
            known = np.array([id_of[word] for word in words])
            table = np.full(len(counts), -1, np.int32)  # from ids of all words to the vocabulary's
            table[known] = np.arange(len(words), dtype=np.int32)
            with (writer.folder / "ids.npy").open("wb") as file:
                write_npy_header(file, np.int32, (raw.tell() // 4,))
                raw.seek(0)
                while part := raw.read(4 * PART_TOKENS):
                    file.write(table[np.frombuffer(part, np.int32)].data)
            writer.array("counts.npy", counts[known])
            writer.strings("vocabulary.json", words)
            writer.config["segmented"] = segmented
        corpus = EncodedCorpus.open(target)
    except BaseException:
        if folder is None:
            shutil.rmtree(target, ignore_errors=True)
        raise
    if folder is None:
        weakref.finalize(corpus, shutil.rmtree, target, ignore_errors=True)
    return corpus


def choose_vocabulary(
    counts: Mapping[str, int],
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
    skip_top: int = 0,
) -> list[str]:
    """The words of a vocabulary, the most frequent first; equal counts by their code points.

    Left out are words that occur less than ``min_count`` times, the ``skip_top`` most frequent,
    empty ones and those above ``MAX_TOKEN_CHARS`` characters. ParameterError if no word is left.

    Examples
    --------
    >>> choose_vocabulary({"b": 2, "a": 2, "the": 9, "rare": 1}, min_count=2, skip_top=1)
    ['a', 'b']
    """
    often = [word for word, count in counts.items() if count >= min_count]
    often.sort(key=lambda word: (-counts[word], word))
    words = [word for word in often[skip_top:] if 0 < len(word) <= MAX_TOKEN_CHARS]
    if not words:
        top, n_most = max(counts.items(), key=lambda item: item[1], default=("", 0))
        raise ParameterError(
            f"No word is left of {len(counts)}: the most frequent word, {top!r}, occurs {n_most} "
            "times. Lower min_count or skip_top, or give more text."
        )
    return words[:vocab_size]


def corpus_of(
    texts: Any, folder: Path | None, clock: Clock, *, progress: bool = False, **options: Any
) -> EncodedCorpus:
    """The corpus of a training: as it is given, as an interrupted run left it, or encoded.

    Files are encoded into the run's ``folder``, and not read again when it goes on with the same
    files (names, sizes, times) and options; texts in memory are encoded again. Reading files may
    take :data:`SHARE_OF_BUDGET` of the time that is left. Where that is enough for a fraction of
    the documents, a ShoestringWarning says so; for less than a hundredth it is a BudgetError.
    """
    if isinstance(texts, EncodedCorpus):
        return texts
    files, fraction, place = _regular_files(texts), 1.0, None
    if folder is not None and files is not None:
        made_of = json.dumps([files.identity(), options], default=str)
        place = folder / f"corpus-{digest(made_of)[:12]}"
        with suppress(ShoestringError):
            return EncodedCorpus.open(place)
        shutil.rmtree(place, ignore_errors=True)  # damaged, or cut short
    if files is not None and clock.seconds < math.inf:
        split = _splitter(options["segmented"], options["lexicon"])
        fraction = affordable_fraction(files, partial(_sentences, split), clock, SHARE_OF_BUDGET)
    corpus = encode_corpus(texts, place, sample_fraction=fraction, progress=progress, **options)
    if fraction < 1:
        note_share(fraction, "the documents were read")
    return corpus


def _regular_files(texts: Any) -> Corpus | None:
    """The files that a user named, if it is files that can be read twice."""
    texts = [Path(texts)] if isinstance(texts, str | Path) else texts
    is_list = isinstance(texts, list | tuple) and len(texts) > 0
    if not is_list or not all(isinstance(text, Path) for text in texts):
        return None
    files = Corpus.of(texts)
    return files if all(file.is_file() for file in files.files) else None


def _splitter(segmented: bool, lexicon: Iterable[str] | None) -> partial[Sentences]:
    whole_words = None if lexicon is None else Lexicon(lexicon)
    return partial(split_words, segmented=segmented, lexicon=whole_words)


def _sentences(split: Callable[[str], Sentences], paragraphs: Iterable[str]) -> Sentences:
    return [sentence for paragraph in paragraphs for sentence in split(paragraph)]


def _documents(
    source: Any, split: partial[Sentences], fraction: float, seed: int, progress: bool
) -> Iterator[Sentences]:
    """The documents of whatever the user gave, of which a fraction is drawn."""
    source, first = [Path(source)] if isinstance(source, str | Path) else source, None
    if isinstance(source, Iterable) and not hasattr(source, "columns"):  # no data frame
        items = iter(source)
        first = next(items, None)
        if first is None:
            raise ParameterError("There are no texts to read. Give at least one.")
        source = chain([first], items)
    show = partial(Progress, desc="texts to tokens", disable=not progress)
    if isinstance(first, Path):
        found = Corpus.of(source).read("texts to tokens", progress=progress)
        yield from map(partial(_sentences, split), drawn(found, fraction, seed))
        return
    if isinstance(first, str) and os.path.isfile(first):  # noqa: PTH113  # which any text may ask
        raise ParameterError(
            f"The first text, {first!r}, is the name of a file. To read the files, give Path "
            "objects: [Path(name) for name in names]."
        )
    if isinstance(first, list | tuple):
        if split.keywords["lexicon"] is not None:
            raise ParameterError("The tokens are given, so the lexicon would do nothing: leave it.")
        yield from drawn(show(_token_lists(source), unit="text"), fraction, seed, 0)
    else:
        records = show(read_records(source, on_empty="skip"), unit="text")
        for record in drawn(records, fraction, seed, 0):
            yield split(record.text)


def _token_lists(items: Iterable[Sequence[str]]) -> Iterator[Sentences]:
    for number, item in enumerate(items, start=1):
        if not isinstance(item, list | tuple) or not all(isinstance(token, str) for token in item):
            raise FormatError(
                f"item {number} must be a list of tokens, each a str. Got {short(item)} instead."
            )
        yield [list(item)] if item else []


def _write_tokens(
    documents: Iterable[Sentences], raw: IO[bytes], offsets: BinaryIO
) -> tuple[dict[str, int], IntArray]:
    """Write the ids of all tokens and where sentences begin; the ids of words, counts of ids."""
    id_of: dict[str, int] = defaultdict(count().__next__)  # a new word gets the next id
    counts, n_tokens, n_sentences = np.zeros(0, np.int64), 0, 0
    write_npy_header(offsets, np.int64, (0,))
    offsets.write(np.zeros(1, np.int64).data)
    for ids, lengths in _parts(documents, id_of):
        raw.write(ids.data)
        offsets.write((n_tokens + np.cumsum(lengths, dtype=np.int64)).data)
        n_tokens, n_sentences = n_tokens + len(ids), n_sentences + len(lengths)
        before, counts = counts, np.bincount(ids, minlength=len(counts))
        counts[: len(before)] += before
        forgotten = 0
        while len(id_of) > MAX_WORDS:
            forgotten += 1
            for word in [word for word, i in id_of.items() if counts[i] <= forgotten]:
                del id_of[word]
    offsets.seek(0)
    write_npy_header(offsets, np.int64, (n_sentences + 1,))
    return id_of, counts


def _parts(documents: Iterable[Sentences], id_of: Mapping[str, int]) -> Iterator[tuple[Ids, Ids]]:
    """The ids of documents, some at a time, and the lengths of their sentences."""
    ids, lengths = array("i"), array("i")
    for sentences in documents:
        for sentence in sentences:
            ids.extend(map(id_of.__getitem__, sentence))
            lengths.append(len(sentence))
        if len(ids) >= PART_TOKENS:
            yield np.array(ids, np.int32), np.array(lengths, np.int32)
            del ids[:], lengths[:]
    yield np.array(ids, np.int32), np.array(lengths, np.int32)
