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
from shoestring.errors import FormatError, short
from shoestring.text.documents import read_documents, text_files
from shoestring.text.files import read_rows
from shoestring.text.records import Reading, read_texts
from shoestring.types import FloatArray


@dataclass(frozen=True, slots=True)
class Pairs:
    """N pairs of texts."""

    a: list[str]
    b: list[str]
    labels: FloatArray  # (N,), NaN where a pair has none

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
        return digest(*self.a, "", *self.b, "", self.labels)

    @classmethod
    def of(cls, pairs: Iterable[Sequence[Any]]) -> Pairs:
        """Pairs of tuples (a, b) or (a, b, label)."""
        rows = [(*pair, math.nan)[:3] for pair in pairs]
        labels = np.array([label for *_, label in rows], np.float64)
        return cls([a for a, *_ in rows], [b for _, b, _ in rows], labels)


def read_pairs(
    source: str | Path, *, second: str = "b", needs_label: bool = False, **reading: Unpack[Reading]
) -> Pairs:
    """Read pairs from a file, or standard input ("-"), with the settings of ``read_records``.

    ``second`` is the column of the second texts; that of the first is ``text``, "a" by default.
    FormatError for a row of one column, a label other than 0 and 1 (or none, where it is needed),
    an empty side, no pair at all.
    """
    reading = {"text": "a", **reading}
    read = read_texts(source, second=second, needs_label=needs_label, header=False, **reading)
    return Pairs.of(
        (record.text, str(other), _label(record.label, n, str(source)))
        for n, (record, other) in enumerate(read, start=1)
    )


def read_cells(
    source: str | Path, text: Sequence[str] = ("text", "a", "b"), **reading: Any
) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], str]]]:
    """Read records or pairs as rows, and where their texts are: a row and its column each.

    ``reading`` are the settings of ``read_rows``; FormatError for a bad row, a column of something
    else than text, no text at all.
    """
    rows, cells = [], []
    for line, row in read_rows(source, text, without_header=("a", "b", "label"), **reading):
        if isinstance(row, FormatError):
            raise row
        if not row:
            continue
        rows.append(dict(row))
        for name in (name for name in text if name in row):
            if not isinstance(row[name], str):
                message = f"column {name!r} holds {short(row[name])}. It must be text."
                raise FormatError(message, file=source, line=line)
            cells.append((rows[-1], name))
    if not cells:
        raise FormatError(f"no column {' or '.join(text)}. Name the column.", file=source)
    return rows, cells


def read_plain_texts(source: str | Path, **reading: Any) -> list[str]:
    """Read the texts of records, or both sides of pairs."""
    return [row[name] for row, name in read_cells(source, **reading)[1]]


def read_public(paths: Iterable[str | Path]) -> list[str]:
    """Read running text of files and folders: their paragraphs, each once."""
    documents = (document for file in text_files(paths) for document in read_documents(file))
    return list(dict.fromkeys(paragraph for document in documents for paragraph in document))


def _label(value: str | None, number: int, file: str) -> float:
    label = (value or "").strip()
    if label not in ("", "0", "1", "0.0", "1.0"):
        want = "A label is 0 or 1; leave it out where there is none."
        raise FormatError(f"the label {short(label)} of pair {number}. {want}", file=file)
    return float(label or "nan")
