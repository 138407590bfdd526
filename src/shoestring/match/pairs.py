"""Pairs of texts with labels 0 and 1, read from files with a header or without.

Without one, as the public files of this field come, a row is ``text TAB text`` or ``text TAB text
TAB 0/1``, and quotes are characters like others. With one, or in JSON lines, the columns are "a",
"b" and "label", or those that are named.

Letters: N pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from shoestring.artifacts import digest
from shoestring.checks import checked_path
from shoestring.errors import FormatError, short
from shoestring.text.documents import read_documents, text_files
from shoestring.text.records import Reading, read_texts
from shoestring.types import FloatArray


@dataclass(frozen=True, slots=True)
class Pairs:
    """N pairs of texts; ``labels`` (N,) float64, NaN where a pair has none."""

    a: list[str]
    b: list[str]
    labels: FloatArray

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, numbers: Any) -> Pairs:
        """Some of the pairs, by an array of numbers or a mask."""
        chosen = np.arange(len(self))[numbers]
        return Pairs([self.a[i] for i in chosen], [self.b[i] for i in chosen], self.labels[chosen])

    def __add__(self, other: Pairs) -> Pairs:
        labels = np.concatenate([self.labels, other.labels])
        return Pairs(self.a + other.a, self.b + other.b, labels)

    @property
    def both(self) -> list[tuple[str, str]]:
        """As a pair scorer takes them."""
        return list(zip(self.a, self.b, strict=True))

    @property
    def digest(self) -> str:
        """Of all of it."""
        return digest(*self.a, "", *self.b, "", self.labels.tobytes().hex())

    @classmethod
    def of(cls, pairs: Iterable[Sequence[Any]]) -> Pairs:
        """Pairs of tuples (a, b) or (a, b, label)."""
        found = list(pairs)
        labels = [float(pair[2]) if len(pair) > 2 else math.nan for pair in found]
        return cls([p[0] for p in found], [p[1] for p in found], np.array(labels, np.float64))


def read_pairs(
    source: str | Path,
    *,
    second: str = "b",
    needs_label: bool = False,
    **reading: Unpack[Reading],
) -> Pairs:
    r"""Read pairs of texts.

    Parameters
    ----------
    source : str or Path
        A file; ``"-"`` for standard input.
    second : str
        Column of the second texts; that of the first is ``text``, "a" by default.
    needs_label : bool
        Whether a pair without a label is an error.
    **reading
        Settings of :func:`~shoestring.read_records`.

    Raises
    ------
    FormatError
        For a row of one column, a label other than 0 and 1, an empty side, no pair at all.

    Examples
    --------
    >>> file = getfixture("tmp_path") / "pairs.tsv"
    >>> _ = file.write_text("打开灯\t开灯\t1\n打开灯\t关灯\t0\n", encoding="utf-8")
    >>> read_pairs(file).labels
    array([1., 0.])
    """
    reading = {"text": "a", **reading}
    read = read_texts(source, second=second, needs_label=needs_label, header=False, **reading)
    return Pairs.of(
        (record.text, str(other), _label(record.label, n, str(source)))
        for n, (record, other) in enumerate(read, start=1)
    )


def read_plain_texts(source: str | Path, **reading: Unpack[Reading]) -> list[str]:
    """Read texts: those of records, or both sides of pairs in a table without a header."""
    read = read_texts(source, header=False, **reading)
    return [text for record, _ in read for text in record.text.split("\t")]


def read_public(paths: str | Path | Sequence[str | Path]) -> list[str]:
    """Read running text of files and folders: their paragraphs, each once."""
    one_or_more = [paths] if isinstance(paths, str | Path) else paths
    files = text_files([checked_path("public", path, "match") for path in one_or_more])
    paragraphs = (text for file in files for document in read_documents(file) for text in document)
    return list(dict.fromkeys(paragraphs))


def _label(value: str | None, number: int, file: str) -> float:
    if value is None or not value.strip():
        return math.nan
    if value.strip() not in ("0", "1", "0.0", "1.0"):
        want = "A label is 0 or 1; leave it out where there is none."
        raise FormatError(f"the label {short(value)} of pair {number}. {want}", file=file)
    return float(value)
