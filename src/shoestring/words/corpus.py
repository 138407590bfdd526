"""Text to the ids that word vectors are trained on: a folder of memory-mapped arrays.

:func:`encode_corpus` reads and cuts the text once, counts, joins phrases if asked to, chooses the
vocabulary and writes the ids; no step holds the corpus in memory. What is not in the vocabulary
keeps its place with the id -1, as stop words did in the published training of BioWord.

Memory: up to :data:`~shoestring.text.vocabulary.MAX_WORDS` different words are counted (150 MB)
and, for phrases, :data:`~shoestring.words.phrases.MAX_PAIRS` pairs (some 400 MB while they are
merged); with more, the rarest are forgotten first. The stored counts are exact all the same. Disk:
4 bytes a token, and as much again while it works.

Not covered: resuming an encoding that was interrupted; it leaves nothing and starts anew.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.artifacts import map_array
from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError
from shoestring.parallel import n_cores
from shoestring.text.documents import text_files
from shoestring.text.numbered import checked_config
from shoestring.text.records import read_records
from shoestring.text.segmentation import Lexicon
from shoestring.types import IntArray
from shoestring.words.encoding import (
    FORMAT,
    FORMAT_VERSION,
    Choice,
    checked_int,
    new_folder,
    write_corpus,
)
from shoestring.words.phrases import Ids
from shoestring.words.shards import (
    Reading,
    Sentences,
    Shard,
    counted,
    read_words,
    shards_of_documents,
    shards_of_files,
    shards_of_sentences,
)

_OWNER = "encode_corpus"
_REBUILD = "Encode the text again."


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EncodedCorpus:
    """A corpus as ids, memory-mapped from its folder.

    Parameters
    ----------
    ids : int32 array (n_tokens,)
        Tokens of all sentences, one sentence after the other; -1 is outside the vocabulary.
    offsets : int64 array (n_sentences + 1,)
        Sentence i is ``ids[offsets[i] : offsets[i + 1]]``: a leading 0, n_tokens at the end.
    words : list of str (n_words,)
        The vocabulary, the most frequent word first, equal counts in the order of code points.
    counts : int64 array (n_words,)
        How often each word occurs in the corpus, exactly.
    n_documents : int
    longest_sentence : int
        Tokens of the longest sentence.
    fingerprint : str
        32 hexadecimal digits of the settings and the content.
    settings : dict
        How the text was read and the vocabulary chosen.
    folder : Path
        Where it lies; where none was given, it is removed with the last reference.
    """

    ids: Ids
    offsets: IntArray
    words: list[str]
    counts: IntArray
    n_documents: int
    longest_sentence: int
    fingerprint: str
    settings: dict[str, Any]
    folder: Path

    @property
    def n_tokens(self) -> int:
        """Tokens, those outside the vocabulary too."""
        return len(self.ids)

    @property
    def n_sentences(self) -> int:
        """Sentences; each has a token."""
        return len(self.offsets) - 1

    @property
    def unknown_share(self) -> float:
        """Share of the tokens that are outside the vocabulary."""
        return 1 - int(self.counts.sum()) / self.n_tokens

    def check_window(self, window: int) -> None:
        """See that at least one sentence is as long as a window.

        Raises
        ------
        ParameterError
            If none is.
        """
        if self.longest_sentence < window:
            raise ParameterError(
                f"The 'window' parameter must be at most the length of the longest sentence, "
                f"{self.longest_sentence} tokens. Got {window} instead. Pass a smaller window, or "
                "text with longer sentences."
            )

    @classmethod
    def open(cls, folder: str | Path) -> EncodedCorpus:
        """Open the folder that :func:`encode_corpus` wrote.

        Raises
        ------
        StorageError
            If there is none.
        FormatError
            If the folder is something else or of another format version.
        IntegrityError
            If a file is damaged or cut off.
        """
        folder = Path(folder)
        missing = StorageError(f"There is no corpus in {folder}. Encode the text first.")
        config = checked_config(
            folder, FORMAT, (FORMAT_VERSION,), what="an encoded corpus", remedy=_REBUILD,
            missing=missing,
        )  # fmt: skip
        try:
            n_tokens, n_sentences, n_words = (
                config[name] for name in ("n_tokens", "n_sentences", "n_words")
            )
            about = {name: config[name] for name in _ABOUT}
        except KeyError as error:
            raise IntegrityError(f"{folder / 'config.json'} lacks {error}. {_REBUILD}") from error
        offsets = map_array(folder / "offsets.npy", "<i8", (n_sentences + 1,), _REBUILD)
        if offsets[0] != 0 or offsets[-1] != n_tokens:
            raise IntegrityError(
                f"{folder / 'offsets.npy'} must go from 0 to {n_tokens}, not from {offsets[0]} to "
                f"{offsets[-1]}. {_REBUILD}"
            )
        return cls(
            ids=map_array(folder / "ids.npy", "<i4", (n_tokens,), _REBUILD),
            offsets=offsets,
            words=_words(folder / "vocabulary.json", n_words),
            counts=np.array(map_array(folder / "counts.npy", "<i8", (n_words,), _REBUILD)),
            folder=folder,
            **about,
        )


_ABOUT = ("n_documents", "longest_sentence", "fingerprint", "settings")


def encode_corpus(
    source: Any,
    folder: str | Path | None = None,
    *,
    vocab_size: int | None = None,
    min_count: int = 5,
    max_share: float = 1.0,
    skip_words: Iterable[str] = (),
    skip_top: int = 0,
    phrases: int = 0,
    phrase_threshold: float = 10.0,
    segmented: bool = False,
    lexicon: Iterable[str] | None = None,
    wrapped: bool = False,
    text: str = "text",
    share: float = 1.0,
    seed: int = 0,
    n_jobs: int = 1,
    progress: bool = False,
) -> EncodedCorpus:
    """Encode a corpus of any size as the ids of its most frequent words.

    Parameters
    ----------
    source : path, iterable of Path, iterable of texts, iterable of lists of str, or data frame
        A str or Path is a file or folder (:mod:`shoestring.text.documents` says of what kinds); an
        iterable has Path objects, or what ``read_records`` takes (texts, mappings, records), or
        sentences that are lists of tokens, which are taken as they are. It is read once.
    folder : str or Path, optional
        Where the arrays go, new or empty; by default a temporary folder.
    vocab_size : int, optional
        At most so many words, the most frequent; by default all.
    min_count : int
        Words that occur less often are left out; also the ``min_count`` of phrases.
    max_share : float
        Words that are in more than this share of the documents are left out (gensim's
        ``no_above``). A document is an article, a record, a line, an item of the iterable.
    skip_words : iterable of str
        Words to leave out, such as stop words.
    skip_top : int
        So many of the most frequent words are left out.
    phrases : int
        Rounds of joining pairs (:mod:`shoestring.words.phrases`): with 1 ``new_york``, with 2 up to
        four words. Characters join to words: 中国.
    phrase_threshold : float
        Above 0; a higher one gives fewer phrases.
    segmented : bool
        Texts have one sentence a line and their tokens between blanks, taken as they are.
    lexicon : iterable of str, optional
        Words to keep whole, for Chinese above all: see :class:`shoestring.text.Lexicon`.
    wrapped : bool
        Plain text files have short lines, and paragraphs end at an empty line.
    text : str
        Column of the text, in records.
    share : float
        Of the documents that are read, drawn at random by the seed; a larger share has all
        documents of a smaller one.
    seed : int
    n_jobs : int
        Processes that read files; -1 for as many as there are cores. The result is the same. More
        than one needs ``if __name__ == "__main__":`` in a script.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    EncodedCorpus

    Raises
    ------
    ParameterError, StorageError
        A parameter that cannot be; a file that is missing; a full disk.
    FormatError
        A file that is not text, a record without the column, a corpus without a word.

    Warns
    -----
    ShoestringWarning
        If the vocabulary is smaller than ``vocab_size``.

    Notes
    -----
    Cost: about a microsecond a token, English or Chinese, on one core of a busy machine; two with
    a lexicon or phrases. ``n_jobs`` shares out the files.

    Examples
    --------
    >>> corpus = encode_corpus(["The cat sat. The dog sat, too!"], min_count=2)
    >>> corpus.words, corpus.ids.tolist(), corpus.offsets.tolist()
    (['sat', 'the'], [1, -1, 0, 1, -1, 0, -1], [0, 3, 7])
    """
    if isinstance(skip_words, str):
        raise ParameterError.of("skip_words", _OWNER, "words, not one str", skip_words)
    skipped = tuple(sorted(set(skip_words)))
    choice = Choice(
        vocab_size, min_count, max_share, skipped, skip_top, int(phrases), phrase_threshold
    )
    if not 0 < share <= 1:
        raise ParameterError.of("share", _OWNER, "above 0 and at most 1", share)
    words = None if lexicon is None else Lexicon(lexicon)
    reading = Reading(text, wrapped, segmented, words, share, seed)
    n_jobs = n_cores() if n_jobs == -1 else checked_int("n_jobs", n_jobs, 1)
    target = Path(tempfile.mkdtemp(prefix="shoestring-corpus-") if folder is None else folder)
    try:
        with new_folder(target) as aside:
            (aside / "shards").mkdir()
            shards = _shards(source, aside / "shards", reading, n_jobs, progress)
            if not shards and share < 1:
                raise FormatError(
                    f"There is no word in the documents that were drawn, {share:.2g} of all. Give "
                    "more text, a larger share or more minutes."
                )
            if not shards:
                raise FormatError("There is no word in the text. Check that it is the right one.")
            write_corpus(aside, shards, choice, reading.settings())
            shutil.rmtree(aside / "shards")
        corpus = EncodedCorpus.open(target)
    except BaseException:
        if folder is None:
            shutil.rmtree(target, ignore_errors=True)
        raise
    if folder is None:
        weakref.finalize(corpus, shutil.rmtree, target, ignore_errors=True)
    return corpus


def _shards(
    source: Any, folder: Path, reading: Reading, n_jobs: int, progress: bool
) -> list[Shard]:
    """The shards of whatever the user gave."""
    if isinstance(source, (str, Path)):
        return shards_of_files(text_files([source]), folder, reading, n_jobs, progress)
    if hasattr(source, "columns") or not isinstance(source, Iterable):
        return _shards_of_records(source, folder, reading, progress)  # says what is wrong with it
    items = iter(source)
    first = next(items, None)
    items = chain([first], items)
    if first is None:
        raise ParameterError("There are no texts to read. Give at least one.")
    if isinstance(first, Path):
        return shards_of_files(text_files(items), folder, reading, n_jobs, progress)
    if isinstance(first, (list, tuple)):
        if reading.lexicon is not None:
            raise ParameterError("The tokens are given, so the lexicon would do nothing: leave it.")
        drawn = reading.drawn(counted(_given_sentences(items), progress))
        return shards_of_sentences(drawn, folder)
    if isinstance(first, str) and _is_file(first):
        raise ParameterError(
            f"The first text, {first!r}, is the name of a file. To read the files, give Path "
            "objects: [Path(name) for name in names]."
        )
    return _shards_of_records(items, folder, reading, progress)


def _shards_of_records(source: Any, folder: Path, reading: Reading, progress: bool) -> list[Shard]:
    records = read_records(source, reading.text, on_empty="skip")
    return shards_of_documents(([record.text] for record in records), folder, reading, progress)


def _is_file(text: str) -> bool:
    return len(text) < 256 and "\n" not in text and "\0" not in text and Path(text).is_file()


def _given_sentences(items: Iterable[Sequence[str]]) -> Iterator[Sentences]:
    for number, item in enumerate(items, start=1):
        if not isinstance(item, (list, tuple)):
            kind = type(item).__name__
            raise FormatError(f"item {number} is of type {kind}. It must be a list of tokens.")
        yield [list(item)] if item else []


def _words(path: Path, n_words: int) -> list[str]:
    try:
        words = read_words(path)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} is damaged: {error}. {_REBUILD}") from error
    if len(words) != n_words:
        raise IntegrityError(f"{path} has {len(words)} words, not {n_words}. {_REBUILD}")
    return words
