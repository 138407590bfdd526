"""The corpus of a training: encoded, kept beside the checkpoint, read within a budget.

What was encoded for a training with a checkpoint stays there until the training is done, so that
going on reads no text again, as long as the files are the same (names, sizes, times) and are read
in the same way. Texts in memory are encoded again; so are files whose reading was interrupted.

With a budget, reading files may take :data:`SHARE_OF_BUDGET` of it: the first documents of some of
them are timed, and if all would take longer, a share of the documents is read, drawn at random.

Not covered: going on in the middle of reading, at about a million tokens a second; a budget for
reading texts that are in memory already, or come from a pipe.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from shoestring.artifacts import written_aside
from shoestring.errors import BudgetError, ShoestringError, ShoestringWarning
from shoestring.text.documents import read_documents, text_files
from shoestring.text.segmentation import Lexicon
from shoestring.words.corpus import EncodedCorpus, encode_corpus
from shoestring.words.shards import Reading

USUAL_VOCABULARY = 20_000
SHARE_OF_BUDGET = 0.25  # for reading; to count words and write ids takes about as long again
LEAST_SHARE = 0.01
PROBED_FILES = 3
PROBE_SECONDS = 1.0
PACKED = 3  # times smaller is a file that is packed

WEIGHTS = "weights"  # in the folder of the checkpoint
CORPUS = "corpus"
SOURCE = "source.json"


@contextmanager
def corpus_of(
    texts: Any, vocab_size: int | None, checkpoint: Path | None, seconds: float, **reading: Any
) -> Iterator[EncodedCorpus]:
    """Give the corpus as it is, from the checkpoint, or encoded.

    Parameters
    ----------
    texts : path, iterable of Path, of texts, of lists of tokens, data frame, EncodedCorpus
    vocab_size : int or None
        None for the usual one, or fewer words.
    checkpoint : Path or None
        Its folder. The corpus stays there when the block is left by Ctrl-C, or for want of time.
    seconds : float
        Of the whole budget; infinity without one.
    **reading
        Of :func:`~shoestring.words.corpus.encode_corpus`.

    Raises
    ------
    BudgetError
        If the time is not enough to read a hundredth of the files.
    """
    if isinstance(texts, EncodedCorpus):
        yield texts
        return
    files = None if checkpoint is None and seconds == math.inf else _files_of(texts)
    source = Source(files, checkpoint, {**reading, "vocab_size": vocab_size})
    try:
        corpus = source.kept()
        if corpus is None:
            share = source.share(seconds)
            if source.folder is not None:
                shutil.rmtree(source.folder, ignore_errors=True)  # of a run that was killed
            corpus = _encoded(texts, source.folder, vocab_size, {**reading, "share": share})
            source.keep(share)
        yield corpus
    except BaseException as error:
        if checkpoint is not None:
            useless = isinstance(error, ShoestringError) and not isinstance(error, BudgetError)
            if useless and not (checkpoint / WEIGHTS).exists():
                shutil.rmtree(checkpoint / CORPUS, ignore_errors=True)
                with suppress(OSError):
                    (checkpoint / SOURCE).unlink()
            with suppress(OSError):  # not made, or there is something to go on with
                checkpoint.rmdir()
        raise
    if checkpoint is not None:
        shutil.rmtree(checkpoint / CORPUS, ignore_errors=True)


class Source:
    """Where a corpus comes from, and what is known of it beside the checkpoint.

    Parameters
    ----------
    files : list of Path or None
        None where texts are in memory, or nobody asks.
    checkpoint : Path or None
    params : dict
        Of :func:`~shoestring.words.corpus.encode_corpus`.
    """

    def __init__(
        self, files: list[Path] | None, checkpoint: Path | None, params: dict[str, Any]
    ) -> None:
        self._files, self._checkpoint = files, checkpoint
        lexicon = params.pop("lexicon")
        params.pop("progress")
        self._reading = Reading(
            segmented=params["segmented"], lexicon=None if lexicon is None else Lexicon(lexicon)
        )
        self._how = {"reading": self._reading.settings(), **params, "files": []}
        for file in files or ():
            stat = file.stat()
            self._how["files"].append([str(file.resolve()), stat.st_size, stat.st_mtime_ns])

    @cached_property
    def _known(self) -> dict[str, Any]:
        """What was noted beside the checkpoint, of this source or another."""
        if self._checkpoint is None or self._files is None:
            return {}
        try:
            known = json.loads((self._checkpoint / SOURCE).read_bytes())
            return {"share": float(known["share"]), "how": known["how"]}
        except (OSError, ValueError, KeyError, TypeError):  # then the text is read again
            return {}

    @property
    def _is_known(self) -> bool:
        return self._known.get("how") == self._how

    @property
    def _may_be_chosen_anew(self) -> bool:
        """Whether a share of the documents was read, and nothing was learnt from it yet."""
        assert self._checkpoint is not None
        return bool(self._known["share"] < 1) and not (self._checkpoint / WEIGHTS).exists()

    @property
    def folder(self) -> Path | None:
        """Where the corpus goes: aside, while that of a run that has begun otherwise is there."""
        if self._checkpoint is None:
            return None
        if self._known and not self._is_known and (self._checkpoint / WEIGHTS).exists():
            return None
        return self._checkpoint / CORPUS

    def kept(self) -> EncodedCorpus | None:
        """The corpus beside the checkpoint, if it is this one."""
        if self._checkpoint is None or not self._is_known or self._may_be_chosen_anew:
            return None
        try:
            return EncodedCorpus.open(self._checkpoint / CORPUS)
        except ShoestringError:
            return None

    def share(self, seconds: float) -> float:
        """The share of the documents to read: as it was begun, or as a budget affords it."""
        if self._is_known and not self._may_be_chosen_anew:
            return float(self._known["share"])
        if self._files is None or seconds == math.inf:
            return 1.0
        return affordable_share(self._files, self._reading, SHARE_OF_BUDGET * seconds)

    def keep(self, share: float) -> None:
        """Note of what the corpus is, so that it is read once."""
        if self._files is not None and self._checkpoint is not None and self.folder is not None:
            with written_aside(self._checkpoint / SOURCE) as file:
                file.write(json.dumps({"share": share, "how": self._how}).encode())


def affordable_share(files: list[Path], reading: Reading, seconds: float) -> float:
    """The share of the documents of files that can be cut into words in so many seconds.

    Parameters
    ----------
    files : list of Path
    reading : Reading
    seconds : float

    Raises
    ------
    BudgetError
        If it is less than :data:`LEAST_SHARE`.

    Notes
    -----
    Cost: about a second, less for small files.
    """
    total = sum(file.stat().st_size for file in files)
    reading_s, cutting_s = (total * each for each in _seconds_a_byte(files, reading))
    share = (seconds - reading_s) / cutting_s
    if share < LEAST_SHARE:
        needed = (reading_s + LEAST_SHARE * cutting_s) / SHARE_OF_BUDGET / 60
        raise BudgetError(
            f"{seconds / SHARE_OF_BUDGET / 60:.2g} minutes are not enough to read "
            f"{LEAST_SHARE:.0%} of {total / 1e6:,.0f} MB of text. Pass {needed:.2g} minutes or "
            "more, or fewer files."
        )
    return min(1.0, share)


def _seconds_a_byte(files: list[Path], reading: Reading) -> tuple[float, float]:
    """To read the documents, and to cut them into words; seen from some of the files."""
    n_bytes = read_s = cut_s = 1e-9
    probed = files[:: max(1, -(-len(files) // PROBED_FILES))]
    for file in probed:
        packed = PACKED if file.suffix in (".gz", ".zip") else 1
        began = read_from = time.monotonic()
        with closing(read_documents(file, reading.text, wrapped=reading.wrapped)) as documents:
            for paragraphs in documents:
                cut_from = time.monotonic()
                reading.sentences(paragraphs)
                n_bytes += sum(len(p.encode("utf-8", "surrogatepass")) for p in paragraphs) / packed
                read_s += cut_from - read_from
                read_from = time.monotonic()
                cut_s += read_from - cut_from
                if read_from - began > PROBE_SECONDS / len(probed):
                    break
    return read_s / n_bytes, cut_s / n_bytes


def _files_of(texts: Any) -> list[Path] | None:
    """The files that a user named, if it is files."""
    if isinstance(texts, str | Path):
        texts = [Path(texts)]
    if not isinstance(texts, list | tuple) or not all(isinstance(t, Path) for t in texts):
        return None
    files = text_files(texts)
    return files if all(file.is_file() for file in files) else None  # a pipe is read once


def _encoded(
    texts: Any, folder: Path | None, vocab_size: int | None, reading: dict[str, Any]
) -> EncodedCorpus:
    with warnings.catch_warnings():
        if vocab_size is None:  # then nobody asked for that many
            warnings.filterwarnings("ignore", "The vocabulary has ")
        size = USUAL_VOCABULARY if vocab_size is None else vocab_size
        corpus = encode_corpus(texts, folder, vocab_size=size, **reading)
    if reading["share"] < 1:
        warnings.warn(
            f"To keep to the minutes, {reading['share']:.2g} of the documents were read, drawn at "
            "random. With more minutes it is more of them.",
            ShoestringWarning,
            stacklevel=2,
        )
    return corpus
