"""Labelled texts and pairs of texts, read from a file and checked once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shoestring.artifacts import digest
from shoestring.errors import FormatError, ParameterError
from shoestring.text.files import read_rows
from shoestring.text.records import read_records
from shoestring.types import Record


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts or pairs, each with its label as it is written."""

    texts: list[str]
    labels: list[str]
    seconds: list[str] | None = None  # the second text of each pair

    def __len__(self) -> int:
        return len(self.texts)

    def __add__(self, other: Labelled) -> Labelled:
        seconds = None if self.seconds is None else self.seconds + (other.seconds or [])
        return Labelled(self.texts + other.texts, self.labels + other.labels, seconds)

    @property
    def digest(self) -> str:
        """Of all of it."""
        return digest(*self.texts, "", *(self.seconds or ()), "", *self.labels)


def read_labelled(
    source: str, *, text: str, label: str, second: str | None = None, on_empty: str = "error"
) -> Labelled:
    """Read texts and labels, and the second texts of pairs; all but ``source`` are columns.

    The errors of :func:`~shoestring.text.read_records`; FormatError if a record lacks its label.
    """
    read = list(read_texts(source, text=text, second=second, label=label, on_empty=on_empty))
    for number, (record, _) in enumerate(read, start=1):
        if record.label is None or not record.label.strip():
            raise FormatError(
                f"record {number} has no value in the column {label!r}. Fill it in or leave the "
                "record out.",
                file=source,
            )
    texts, labels = [record.text for record, _ in read], [str(record.label) for record, _ in read]
    return Labelled(texts, labels, None if second is None else [str(other) for _, other in read])


def read_texts(
    source: str, *, text: str, second: str | None, label: str | None = None, on_empty: str = "error"
) -> Iterator[tuple[Record, str | None]]:
    """Read records, each with its second text; parameters and errors of :func:`read_labelled`."""
    columns: dict[str, Any] = {"label": label}
    if second is None:
        for record in read_records(source, text=text, on_empty=on_empty, **columns):
            yield record, None
        return
    if source == "-":
        raise ParameterError("Pairs are read from a file, not from standard input. Name a file.")
    file: Any = source
    if on_empty == "skip":  # a pair is skipped if either of its texts is empty
        rows = enumerate((row for _, row in read_rows(source)), start=1)
        file = [
            {"id": str(number), **row}
            for number, row in rows
            if not any(_is_empty(row.get(name)) for name in (text, second))
        ]
    firsts = read_records(file, text=text, **columns)
    seconds = read_records(file, text=second, **columns)
    for record, other in zip(firsts, seconds, strict=True):
        yield record, other.text


def _is_empty(value: object) -> bool:
    return isinstance(value, str) and not value.strip()
