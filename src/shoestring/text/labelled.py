"""Labelled texts and pairs of texts, read from a file and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

from shoestring.artifacts import digest
from shoestring.text.records import Reading, read_texts


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


def read_labelled(source: Any, second: str | None = None, **reading: Unpack[Reading]) -> Labelled:
    """Read texts and labels, and the second texts of pairs, where their column is named.

    Settings and errors of :func:`~shoestring.text.read_records`; FormatError if a record lacks its
    label.
    """
    reading = {"label": "label", **reading}
    read = list(read_texts(source, second=second, needs_label=True, **reading))
    texts, labels = [record.text for record, _ in read], [str(record.label) for record, _ in read]
    return Labelled(texts, labels, None if second is None else [str(other) for _, other in read])
