"""Files of running text as one corpus: which files, how much text, how long reading it takes.

A long job puts :meth:`Corpus.identity` into the settings of its run folder, so that it is not
resumed on other text. Of the documents it reads the fraction that fits into its minutes
(:func:`affordable_fraction`, then :func:`drawn`).

Files are told apart by path, size and time of change, as reading them all would take long. Rates
are seconds per byte of text; a compressed file has :data:`COMPRESSION` times its size in text.

Not covered: texts in memory; the fraction of what comes through a pipe, which can be read once.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from shoestring.artifacts import digest
from shoestring.errors import ShoestringWarning
from shoestring.jobs import Clock, too_short
from shoestring.progress import Progress
from shoestring.text.documents import Document, documents_of, read_documents, text_files
from shoestring.text.files import ending_of

COMPRESSION = 3  # of English and Chinese text by gzip, roughly
LEAST_FRACTION = 0.01  # of the documents; with less nothing is worth training
PROBE_FILES, PROBE_S = 3, 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Corpus:
    r"""Files that are read as documents.

    Examples
    --------
    >>> file = getfixture("tmp_path") / "rain.txt"
    >>> _ = file.write_text("It rains.\nIt pours.\n")
    >>> corpus = Corpus.of([file])
    >>> corpus.n_bytes, list(corpus.read("rain", progress=False))
    (20, [['It rains.'], ['It pours.']])
    """

    files: tuple[Path, ...]
    text: str = "text"  # column of the text, for records

    @classmethod
    def of(cls, paths: Iterable[str | Path], text: str = "text") -> Corpus:
        """The corpus of files and folders; the errors of :func:`text_files`."""
        return cls(tuple(text_files(paths)), text)

    @property
    def n_bytes(self) -> int:
        """Size of the files on the disk."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def text_bytes(self) -> int:
        """Size of the text in them, estimated where they are compressed."""
        packed = sum(file.stat().st_size for file in self.files if ending_of(file)[1])
        return self.n_bytes + (COMPRESSION - 1) * packed

    def identity(self) -> dict[str, object]:
        """What tells this corpus from others, for the settings of a run: small, fit for JSON."""
        stats = [(str(file.resolve()), file.stat()) for file in self.files]
        found = digest(json.dumps([[name, s.st_size, s.st_mtime_ns] for name, s in stats]))
        files = f"{len(stats)} of {self.n_bytes:,} bytes in all ({found[:12]})"
        return {"files": files, "text": self.text}

    def read(self, what: str, *, progress: bool = True) -> Iterator[Document]:
        """Read all documents, with a bar that says ``what`` is made of them.

        The errors of :func:`read_documents`.
        """
        hidden = None if progress else True  # None: where there is no terminal
        size = {"total": self.n_bytes, "unit": "B", "unit_scale": True}
        with Progress(desc=what, disable=hidden, **size) as bar:
            for path in self.files:
                before = bar.n
                with path.open("rb") as file:
                    for document in documents_of(file, path, self.text):
                        yield document
                        bar.update(before + file.raw.tell() - bar.n if file.seekable() else 0)


def affordable_fraction(
    corpus: Corpus, process: Callable[[Document], object], clock: Clock, share: float = 1.0
) -> float:
    """The fraction of the documents that can be read and processed in time.

    The first documents of some files are timed, for about a second. All documents have to be read,
    as only the one behind another tells where that one ends; those that are drawn are processed.
    A share of the time left is for reading. 1 without a time limit, and for pipes; BudgetError if
    it would be less than :data:`LEAST_FRACTION`.
    """
    if clock.seconds == math.inf or not all(file.is_file() for file in corpus.files):
        return 1.0
    rates = _seconds_per_byte(corpus, process, clock)
    read_s, process_s = (corpus.text_bytes * rate for rate in rates)
    fraction = (share * clock.left_s - read_s) / process_s
    if fraction < LEAST_FRACTION:
        needed = read_s + LEAST_FRACTION * process_s
        reading = f"Reading {LEAST_FRACTION:.0%} of {corpus.n_bytes / 1e6:,.1f} MB"
        raise too_short(reading, needed, clock.used_s + needed / share, "or fewer files")
    return min(1.0, fraction)


def _seconds_per_byte(
    corpus: Corpus, process: Callable[[Document], object], clock: Clock
) -> tuple[float, float]:
    """Time to read a byte of text, and to process it, measured on some of the files."""
    n_bytes = read_s = process_s = 1e-9
    probed = corpus.files[:: max(1, -(-len(corpus.files) // PROBE_FILES))]
    for file in probed:
        began = now = clock.used_s
        for document in read_documents(file, corpus.text):
            read_at = clock.used_s
            process(document)
            read_s, now = read_s + read_at - now, clock.used_s
            process_s += now - read_at
            n_bytes += sum(len(part.encode("utf-8", "surrogatepass")) for part in document)
            if now - began > PROBE_S / len(probed):
                break
    return read_s / n_bytes, process_s / n_bytes


def note_share(fraction: float, done: str) -> None:
    """Warn that the minutes were enough for a fraction only; ``done`` says of what."""
    message = f"To keep to the minutes, {fraction:.2g} of {done}, drawn at random. "
    warnings.warn(f"{message}With more minutes it is more.", ShoestringWarning, stacklevel=3)


def drawn(documents: Iterable[T], fraction: float, *seed: int) -> Iterator[T]:
    """A random sample of documents; a larger fraction has all of a smaller one.

    Examples
    --------
    >>> few, more = (list(drawn(range(50), fraction, 0)) for fraction in (0.1, 0.2))
    >>> few, set(few) < set(more)
    ([2, 3, 11, 13, 20, 48], True)
    """
    if fraction >= 1:
        return iter(documents)
    draw = np.random.default_rng(seed).random
    return (document for document in documents if draw() < fraction)
