"""Text to the ids that word vectors are trained on: a folder of memory-mapped arrays.

:func:`encode_corpus` works in two steps. First each file is read and cut into words once, and its
tokens are written to shards: pieces of about :data:`SHARD_TOKENS` tokens, as ids in the order of
the shard's own first occurrences, with its words. Then the shards are read one at a time: to count
words, to join phrases, to choose the vocabulary, to write the ids. What is not in the vocabulary
keeps its place with the id -1, as stop words did in the published training of BioWord.

Memory: up to :data:`~shoestring.text.vocabulary.MAX_WORDS` different words are counted (250 MB)
and, for phrases, :data:`~shoestring.words.phrases.MAX_PAIRS` pairs (some 400 MB while they are
merged); with more, the rarest are forgotten first. The stored counts are exact all the same. Disk:
4 bytes a token, and as much again while it works.

Not covered: resuming an encoding that was interrupted; more than one process.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from shoestring.artifacts import ArtifactKind, ArtifactWriter, digest, write_npy_header
from shoestring.checks import checked_int, checked_number
from shoestring.errors import (
    FormatError,
    ParameterError,
    ShoestringError,
    ShoestringWarning,
    StorageError,
)
from shoestring.jobs import Clock
from shoestring.progress import Progress
from shoestring.text.corpus import Corpus, affordable_fraction, drawn
from shoestring.text.records import read_records
from shoestring.text.segmentation import Lexicon, join_words, split_words
from shoestring.text.vocabulary import WordCounts, choose_vocabulary
from shoestring.types import IntArray
from shoestring.words.phrases import Ids, PairCounts, join_phrases

USUAL_VOCABULARY = 20_000
SHARD_TOKENS = 1 << 21
SHARE_OF_BUDGET = 0.25  # for reading; to count words and write ids takes about as long again
_BLOCK_TOKENS = 1 << 13  # few enough for the words to be still in the cache
_OWNER = "encode_corpus"
_ENCODED = ArtifactKind(
    "shoestring-corpus", "an encoded corpus", _OWNER, "Encode the text again.", version=2
)

T = TypeVar("T")
Sentences: TypeAlias = list[list[str]]
Joins: TypeAlias = list[tuple[IntArray, Ids, int]]  # of each round: the arguments of join_phrases


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EncodedCorpus:
    """A corpus as ids, memory-mapped from its folder; -1 is a token outside the vocabulary.

    A folder that nobody named is removed with the last reference to the corpus.
    """

    ids: Ids  # (n_tokens,): one sentence after the other
    offsets: IntArray  # (n_sentences + 1,): sentence i is ids[offsets[i] : offsets[i + 1]]
    words: list[str]  # the most frequent first, equal counts in the order of code points
    counts: IntArray  # how often each word occurs in the corpus, exactly
    n_documents: int
    longest_sentence: int  # in tokens
    fingerprint: str  # digest of the settings and the content
    settings: dict[str, Any]  # how the text was read and the vocabulary chosen
    folder: Path

    @property
    def n_tokens(self) -> int:
        """Tokens, those outside the vocabulary too."""
        return len(self.ids)

    def check_window(self, window: int) -> None:
        """Check that at least one sentence is as long as a window, or raise a ParameterError."""
        if self.longest_sentence < window:
            want = f"at most the longest sentence, {self.longest_sentence} tokens"
            hint = "Pass a smaller one, or text with longer sentences."
            raise ParameterError.of("window", "BinaryVectors", want, window, hint)

    @classmethod
    def open(cls, folder: str | Path) -> EncodedCorpus:
        """Open the folder that :func:`encode_corpus` wrote.

        A StorageError if there is none; else the errors of :meth:`ArtifactKind.read`.
        """
        folder = Path(folder)
        missing = StorageError(f"There is no corpus in {folder}. Encode the text first.")
        saved = _ENCODED.read(folder, missing)
        words = saved.strings("vocabulary.json")
        with saved.decoding():
            # the kernels look up sentences by offsets and counts by ids
            ids, offsets = saved.array("ids.npy", "<i4"), saved.array("offsets.npy", "<i8")
            lengths, n_words = np.diff(offsets), len(words)
            if offsets[0] != 0 or offsets[-1] != len(ids) or lengths.min(initial=0) < 0:
                raise saved.damaged(saved.path("offsets.npy").name, "its sentences are no tokens")
            if ids.ndim > 1 or not -1 <= ids.min(initial=0) <= ids.max(initial=0) < max(n_words, 1):
                raise saved.damaged(saved.path("ids.npy").name, "its ids are no words")
            counts = saved.loaded_array("counts.npy", "<i8", (n_words,))
            about = saved.config["about"]
            is_dict = isinstance(about["settings"]["reading"], dict)
            if not is_dict or about["longest_sentence"] != lengths.max(initial=0):
                raise ValueError(f"the longest sentence has {lengths.max(initial=0)} tokens")
            return cls(ids=ids, offsets=offsets, words=words, counts=counts, folder=folder, **about)


@dataclass(frozen=True, slots=True)
class TokenizeOptions:
    """Which documents are read and how they are cut; parameters as of :func:`encode_corpus`."""

    segmented: bool
    lexicon: Lexicon | None
    sample_fraction: float = 1.0
    seed: int = 0

    def drawn(self, documents: Iterable[T], number: int = 0) -> Iterator[T]:
        """The documents of file ``number`` that are read."""
        return drawn(documents, self.sample_fraction, self.seed, number)

    def sentences(self, paragraphs: Iterable[str]) -> Sentences:
        """The sentences of a document."""
        split = partial(split_words, segmented=self.segmented, lexicon=self.lexicon)
        return [words for paragraph in paragraphs for words in split(paragraph)]

    def settings(self) -> dict[str, object]:
        """What a config says about it; of a lexicon its size and a digest."""
        found: dict[str, object] = {"segmented": self.segmented, "lexicon": None}
        if self.lexicon is not None:
            words = sorted(self.lexicon.words)
            found["lexicon"] = f"{len(words):,} words ({digest(*words)[:16]})"
        if self.sample_fraction < 1:
            found |= {"sample_fraction": self.sample_fraction, "seed": self.seed}
        return found


@dataclass(slots=True)
class VocabularyOptions:
    """Which words are in the vocabulary; parameters as of :func:`encode_corpus`."""

    vocab_size: int | None
    min_count: int
    max_share: float
    skip_top: int
    phrases: int
    phrase_threshold: float

    def __post_init__(self) -> None:
        for name, least in (("vocab_size", 1), ("min_count", 1), ("skip_top", 0), ("phrases", 0)):
            value = getattr(self, name)
            if name != "vocab_size" or value is not None:
                setattr(self, name, checked_int(name, value, least, None, _OWNER))
        want = "a number above 0"
        self.phrase_threshold = checked_number(
            "phrase_threshold", self.phrase_threshold, _OWNER, want, 0
        )
        want += " and at most 1"
        self.max_share = checked_number("max_share", self.max_share, _OWNER, want, 0, 1)


def encode_corpus(
    source: Any,
    folder: str | Path | None = None,
    *,
    vocab_size: int | None = None,
    min_count: int = 5,
    max_share: float = 1.0,
    skip_top: int = 0,
    phrases: int = 0,
    phrase_threshold: float = 10.0,
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
    vocab_size : int, optional
        The most frequent words that are kept; by default all.
    max_share : float
        Of the documents (gensim's ``no_above``): articles, records, lines, items of the iterable.
    sample_fraction : float
        Of the documents that are read, drawn at random by the seed; a larger fraction has all
        documents of a smaller one.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ParameterError, StorageError, FormatError
        A parameter that cannot be; a file that is missing, a full disk; a file that is not text, a
        record without the column, a corpus without a word. A ShoestringWarning says that the
        vocabulary is smaller than ``vocab_size``.

    Notes
    -----
    Cost: about a microsecond a token on one core of a busy machine, English or Chinese; two with
    a lexicon or phrases.

    Examples
    --------
    >>> corpus = encode_corpus(["The cat sat. The dog sat, too!"], min_count=2)
    >>> corpus.words, corpus.ids.tolist(), corpus.offsets.tolist()
    (['sat', 'the'], [1, -1, 0, 1, -1, 0, -1], [0, 3, 7])
    """
    want = "a number above 0 and at most 1"
    checked_number("sample_fraction", sample_fraction, _OWNER, want, above=0, most=1)
    vocabulary = VocabularyOptions(
        vocab_size, min_count, max_share, skip_top, phrases, phrase_threshold
    )
    whole_words = None if lexicon is None else Lexicon(lexicon)
    tokenize = TokenizeOptions(segmented, whole_words, sample_fraction, seed)
    write = partial(_write_shards, _documents(source, tokenize, progress))
    # A temporary folder lives as long as the corpus.
    target = Path(tempfile.mkdtemp(prefix="shoestring-corpus-") if folder is None else folder)
    try:
        with _ENCODED.saving(target) as writer:
            shards = sorted(writer.library("shards", write).iterdir())
            if not shards:
                drawn_only = f"documents that were drawn, {sample_fraction:.2g} of all"
                raise FormatError(
                    f"There is no word in the {'text' if sample_fraction == 1 else drawn_only}. "
                    "Check that it is the right text, or give more of it."
                )
            _encode(writer, shards, vocabulary, tokenize.settings())
            del writer.files["shards"]  # so that they go at the end of the block
        corpus = EncodedCorpus.open(target)
    except BaseException:
        if folder is None:
            shutil.rmtree(target, ignore_errors=True)
        raise
    if folder is None:
        weakref.finalize(corpus, shutil.rmtree, target, ignore_errors=True)
    if vocab_size is not None and len(corpus.words) < vocab_size:
        warnings.warn(
            f"The vocabulary has {len(corpus.words)} words, not the {vocab_size} asked for: no "
            f"more occur {min_count} times and are not left out. Lower min_count, or give more "
            "text.",
            ShoestringWarning,
            stacklevel=2,
        )
    return corpus


def corpus_of(
    texts: Any,
    vocab_size: int | None,
    folder: Path | None,
    clock: Clock,
    *,
    segmented: bool = False,
    lexicon: Sequence[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> EncodedCorpus:
    """The corpus of a training: as it is given, as an interrupted run left it, or encoded.

    Files are encoded into the run's ``folder``, and not read again when it goes on with the same
    files (names, sizes, times) and options; texts in memory are encoded again. Reading files may
    take :data:`SHARE_OF_BUDGET` of the time that is left. Where that is enough for a fraction of
    the documents, a ShoestringWarning says so; for less than a hundredth it is a BudgetError.
    Without a ``vocab_size`` it is :data:`USUAL_VOCABULARY`, or as many words as there are.
    """
    if isinstance(texts, EncodedCorpus):
        return texts
    files, fraction, place = _regular_files(texts), 1.0, None
    options |= {"segmented": segmented, "lexicon": lexicon}
    if folder is not None and files is not None:
        made_of = json.dumps([files.identity(), vocab_size, options], default=str)
        place = folder / f"corpus-{digest(made_of)[:12]}"
        with suppress(ShoestringError):
            return EncodedCorpus.open(place)
        shutil.rmtree(place, ignore_errors=True)  # damaged, or cut short
    if files is not None and clock.seconds < math.inf:
        tokenize = TokenizeOptions(segmented, None if lexicon is None else Lexicon(lexicon))
        fraction = affordable_fraction(files, tokenize.sentences, clock, SHARE_OF_BUDGET)
    with warnings.catch_warnings():
        if vocab_size is None:  # then nobody asked for that many
            warnings.filterwarnings("ignore", "The vocabulary has ")
        options |= {"sample_fraction": fraction, "progress": progress}
        corpus = encode_corpus(texts, place, vocab_size=vocab_size or USUAL_VOCABULARY, **options)
    if fraction < 1:
        warnings.warn(
            f"To keep to the minutes, {fraction:.2g} of the documents were read, drawn at random. "
            "With more minutes it is more of them.",
            ShoestringWarning,
            stacklevel=2,
        )
    return corpus


def _regular_files(texts: Any) -> Corpus | None:
    """The files that a user named, if it is files that can be read twice."""
    texts = [Path(texts)] if isinstance(texts, str | Path) else texts
    is_list = isinstance(texts, list | tuple) and len(texts) > 0
    if not is_list or not all(isinstance(text, Path) for text in texts):
        return None
    files = Corpus.of(texts)
    return files if all(file.is_file() for file in files.files) else None


# ---- texts to shards


def _documents(source: Any, tokenize: TokenizeOptions, progress: bool) -> Iterator[Sentences]:
    """The documents of whatever the user gave."""
    source, first = [Path(source)] if isinstance(source, str | Path) else source, None
    if isinstance(source, Iterable) and not hasattr(source, "columns"):  # no data frame
        items = iter(source)
        first = next(items, None)
        if first is None:
            raise ParameterError("There are no texts to read. Give at least one.")
        source = chain([first], items)
    show = partial(Progress, desc="texts to tokens", disable=not progress)
    if isinstance(first, Path):
        files = Corpus.of(source)
        with show(total=files.n_bytes, unit="B", unit_scale=True) as bar:
            for number, file in enumerate(files.files):
                found = tokenize.drawn(files.documents(file, bar.update), number)
                yield from map(tokenize.sentences, found)
        return
    if isinstance(first, str) and os.path.isfile(first):  # noqa: PTH113  # which any text may ask
        raise ParameterError(
            f"The first text, {first!r}, is the name of a file. To read the files, give Path "
            "objects: [Path(name) for name in names]."
        )
    if isinstance(first, list | tuple):
        if tokenize.lexicon is not None:
            raise ParameterError("The tokens are given, so the lexicon would do nothing: leave it.")
        yield from tokenize.drawn(show(_token_lists(source), unit="text"))
    else:
        for record in tokenize.drawn(show(read_records(source, on_empty="skip"), unit="text")):
            yield tokenize.sentences([record.text])


def _token_lists(items: Iterable[Sequence[str]]) -> Iterator[Sentences]:
    for number, item in enumerate(items, start=1):
        if not isinstance(item, list | tuple):
            kind = type(item).__name__
            raise FormatError(f"item {number} is of type {kind}. It must be a list of tokens.")
        for token in item:
            if not isinstance(token, str):
                raise FormatError(
                    f"item {number}: a token must be a str, and {token!r} is of type "
                    f"{type(token).__name__}. Convert the tokens first."
                )
        yield [list(item)] if item else []


def _write_shards(documents: Iterator[Sentences], folder: Path) -> None:
    """Write shards to a new folder; a document without words is none."""
    folder.mkdir()
    documents = filter(None, documents)
    for number in count():
        id_of: defaultdict[str, int] = defaultdict()
        id_of.default_factory = id_of.__len__  # a new word gets the next id
        blocks: list[Ids] = []
        lengths: list[int] = []
        n_sentences: list[int] = []
        words: list[str] = []
        for sentences in documents:
            for sentence in sentences:
                words += sentence
                lengths.append(len(sentence))
            n_sentences.append(len(sentences))
            if len(words) >= _BLOCK_TOKENS:
                blocks.append(_ids_of(words, id_of))
                words = []
                if sum(map(len, blocks)) >= SHARD_TOKENS:
                    break
        if not n_sentences:
            return
        np.savez(
            folder / f"{number:08d}.npz",
            ids=np.concatenate([*blocks, _ids_of(words, id_of)]),
            words=np.frombuffer(_json_of(list(id_of)), np.uint8),
            lengths=np.array(lengths, np.int32),
            documents=np.array(n_sentences, np.int32),
        )


def _ids_of(words: list[str], id_of: dict[str, int]) -> Ids:
    return np.fromiter(map(id_of.__getitem__, words), np.int32, len(words))


def _read_shard(path: Path) -> tuple[list[str], Ids, Ids, Ids]:
    """Words, ids of the tokens, tokens of each sentence, sentences of each document."""
    with np.load(path) as file:
        words: list[str] = json.loads(file["words"].tobytes().decode("utf-8", "surrogatepass"))
        return words, file["ids"], file["lengths"], file["documents"]


def _json_of(words: list[str]) -> bytes:
    return json.dumps(words, ensure_ascii=False).encode("utf-8", "surrogatepass")


# ---- shards to a corpus


def _encode(
    writer: ArtifactWriter,
    shards: list[Path],
    options: VocabularyOptions,
    reading: dict[str, object],
) -> None:
    """Choose the vocabulary and write the files of a corpus."""
    # Which words there are; if too many, the rarest are forgotten.
    known = WordCounts()
    for words, ids, _, _ in map(_read_shard, shards):
        known.add(dict(zip(words, np.bincount(ids).tolist(), strict=True)))
    id_of = {word: i for i, word in enumerate(known.counts)}
    del known
    words, joins = _phrases(shards, id_of, options)

    # How often each word occurs, and in how many documents.
    n_words = len(words)
    counts, frequencies = np.zeros(n_words, np.int64), np.zeros(n_words, np.int64)
    n: Counter[str] = Counter()
    longest = 0
    for ids, lengths, documents in _sentences(shards, id_of, joins):
        counts += np.bincount(ids[ids >= 0], minlength=n_words)
        if options.max_share < 1:
            frequencies += _document_frequencies(ids, lengths, documents, n_words)
        n.update(tokens=len(ids), sentences=len(lengths), documents=len(documents))
        longest = max(longest, int(lengths.max()))
    limit = options.max_share * n["documents"]
    widespread = {words[i] for i in np.flatnonzero(frequencies > limit)}
    often = np.flatnonzero(counts >= min(options.min_count, counts.max(initial=0)))
    count_of = {words[i]: int(counts[i]) for i in often}
    chosen = choose_vocabulary(
        count_of,
        vocab_size=options.vocab_size,
        min_count=options.min_count,
        excluded=widespread,
        skip_top=options.skip_top,
    )

    # From ids of all words to those of the vocabulary; the entry at the end is for the id -1.
    index_of = {word: i for i, word in enumerate(chosen)}
    table = np.array([*(index_of.get(word, -1) for word in words), -1], np.int32)
    end, hashes = 0, (hashlib.blake2b(), hashlib.blake2b())
    with writer.stream("ids.npy") as ids_file, writer.stream("offsets.npy") as offsets_file:
        write_npy_header(ids_file, np.int32, (n["tokens"],))
        write_npy_header(offsets_file, np.int64, (n["sentences"] + 1,))
        offsets_file.write(np.zeros(1, np.int64).tobytes())
        for ids, lengths, _ in _sentences(shards, id_of, joins):
            offsets = end + np.cumsum(lengths, dtype=np.int64)
            end = int(offsets[-1])
            parts = table[ids].tobytes(), offsets.tobytes()
            for file, part, hashed in zip((ids_file, offsets_file), parts, hashes, strict=True):
                file.write(part)
                hashed.update(part)
    writer.array("counts.npy", np.array([count_of[word] for word in chosen], np.int64))
    writer.data("vocabulary.json", _json_of(chosen))
    settings = {"reading": reading, "vocabulary": asdict(options)}
    writer.config["about"] = {
        "settings": settings,
        "n_documents": n["documents"],
        "longest_sentence": longest,
        "fingerprint": digest(
            json.dumps(settings), _json_of(chosen), *(h.digest() for h in hashes)
        ),
    }


def _phrases(
    shards: list[Path], id_of: dict[str, int], options: VocabularyOptions
) -> tuple[list[str], Joins]:
    """All words and phrases in the order of their ids, and how to join them, round by round."""
    words, joins = list(id_of), Joins()
    new: dict[str, int] = {}
    for _ in range(options.phrases):
        pairs = PairCounts(len(words))
        for ids, lengths, _ in _sentences(shards, id_of, joins):
            pairs.add(ids, lengths)
        found = pairs.phrases(min(options.min_count, 1 << 62), options.phrase_threshold)
        if not len(found):
            break
        phrase_ids = np.empty(len(found), np.int32)
        for i, (first, second) in enumerate(zip(*np.divmod(found, pairs.n_words), strict=True)):
            name = join_words(words[first], words[second])
            if name not in id_of and name not in new:
                new[name] = len(words)
                words.append(name)
            phrase_ids[i] = id_of.get(name, new.get(name, -1))
        joins.append((found, phrase_ids, pairs.n_words))
    return words, joins


def _sentences(
    shards: Iterable[Path], id_of: dict[str, int], joins: Joins
) -> Iterator[tuple[Ids, Ids, Ids]]:
    """Ids, lengths and documents of each shard, with one id for a word in all; -1 for unknown."""
    for shard in shards:
        words, ids, lengths, documents = _read_shard(shard)
        ids = np.array([id_of.get(word, -1) for word in words], np.int32)[ids]
        for join in joins:
            ids, lengths = join_phrases(ids, lengths, *join)
        yield ids, lengths, documents


def _document_frequencies(ids: Ids, lengths: Ids, documents: Ids, n_words: int) -> IntArray:
    """In how many documents of a shard each word occurs, (n_words,)."""
    document = np.repeat(np.repeat(np.arange(len(documents)), documents), lengths)
    known = ids >= 0
    once = np.unique(document[known] * n_words + ids[known])
    return np.bincount(once % n_words, minlength=n_words)
