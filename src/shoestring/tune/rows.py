"""Files of labelled texts and pairs, as examples."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.models import unknown_share
from shoestring.models.backbone import MAX_UNKNOWN
from shoestring.models.frozen import FrozenBackbone
from shoestring.text import read_records
from shoestring.text.files import read_rows as raw_rows
from shoestring.tune.config import LadderConfig
from shoestring.tune.examples import Examples
from shoestring.tune.tokens import Tokens, tokenised
from shoestring.types import Record

HELD_OUT, MOST_HELD_OUT = 0.1, 2_000


@dataclass(frozen=True)
class Source:
    """A file of labelled texts or pairs.

    Parameters
    ----------
    file : str
        What ``read_records`` takes.
    text, label : str
        Columns.
    second : str, optional
        The column of the second texts.
    on_empty : {"error", "skip"}
    """

    file: str
    text: str
    label: str
    second: str | None = None
    on_empty: str = "error"


@dataclass(frozen=True)
class Rows:
    """What was read: texts, second texts where there are, labels."""

    first: list[str]
    second: list[str] | None
    labels: list[str]

    def __add__(self, other: Rows) -> Rows:
        second = None if self.second is None else self.second + (other.second or [])
        return Rows(self.first + other.first, second, self.labels + other.labels)


def read_rows(source: Source) -> Rows:
    """Texts and labels; every record must have all.

    Raises
    ------
    FormatError, StorageError, ParameterError
        If the file cannot be read, has no such column, or a record lacks its label.
    """
    second = None
    if source.second is None:
        columns = {"label": source.label, "on_empty": source.on_empty}
        records = list(read_records(source.file, text=source.text, **columns))
    else:
        both = _both(source)
        records, second = [record for record, _ in both], [text for _, text in both]
    for number, record in enumerate(records, start=1):
        if record.label is None or not record.label.strip():
            raise FormatError(
                f"record {number} has no value in the column {source.label!r}. Fill it in or leave "
                "the record out.",
                file=source.file,
            )
    return Rows([record.text for record in records], second, [str(r.label) for r in records])


def _both(source: Source) -> list[tuple[Record, str]]:
    """Records and their second texts, row by row; with "skip" those of which neither is empty."""
    if source.file == "-":
        raise ParameterError("Pairs are read from a file, not from standard input. Name a file.")
    file: Any = source.file
    if source.on_empty == "skip":
        names = source.text, str(source.second)
        rows = enumerate((row for _, row in raw_rows(source.file)), start=1)
        file = [
            {"id": str(number), **row}
            for number, row in rows
            if not any(_is_empty(row.get(name)) for name in names)
        ]
    columns: dict[str, Any] = {"label": source.label or None}
    seconds = read_records(file, text=str(source.second), **columns)
    firsts = read_records(file, text=source.text, **columns)
    return [(a, b.text) for a, b in zip(firsts, seconds, strict=True)]


def _is_empty(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def read_pairs(
    source: str, text: str, second: str | None, on_empty: str
) -> Iterator[tuple[str, str, str | None]]:
    """Ids, texts and second texts of a file without labels."""
    if second is None:
        for record in read_records(source, text=text, on_empty=on_empty):
            yield record.id, record.text, None
        return
    for record, other in _both(Source(source, text, "", second, on_empty)):
        yield record.id, record.text, other


def numbers_of(rows: Rows, source: Source) -> list[float]:
    """Labels as numbers; FormatError for one that is none."""
    numbers = []
    for number, label in enumerate(rows.labels, start=1):
        try:
            numbers.append(float(label))
        except ValueError:
            raise FormatError(
                f"record {number} has {label!r} in the column {source.label!r}; it must be a "
                "number. Tune with classify for names.",
                file=source.file,
            ) from None
        if not np.isfinite(numbers[-1]):
            raise FormatError(
                f"record {number} has the label {label}; it must be finite. Correct it.",
                file=source.file,
            )
    return numbers


def examples_of(
    rows: Rows, n_train: int, labels: Sequence[Any], frozen: FrozenBackbone, config: LadderConfig
) -> Examples:
    """Rows as the backbone reads them; what it cuts or does not know is said.

    Parameters
    ----------
    rows : Rows
        Those that are held out by a file of their own after the others.
    n_train : int
        How many the others are.
    labels : sequence
        Numbers.
    frozen : FrozenBackbone
    config : LadderConfig
    """
    n = config.max_length
    if rows.second is not None and config.pairs in ("joint", "none"):
        first, second = tokenised(frozen, rows.first, rows.second, n), None
    else:
        first = tokenised(frozen, rows.first, None, n)
        second = None if rows.second is None else tokenised(frozen, rows.second, None, n)
    _say_cut([*first, *(second or [])], n, frozen)
    _say_unknown([*rows.first, *(rows.second or [])], frozen)
    parts = range(n_train), range(n_train, len(rows.labels))
    as_lists = _are_lists(rows, labels, parts[0], config.task)
    units = [unit for part in parts for unit in _units(rows, part, as_lists)]
    return Examples(first, second, list(labels), units)


def _say_cut(texts: Sequence[Tokens], max_length: int, frozen: FrozenBackbone) -> None:
    cut = sum(text.cut for text in texts)
    if cut <= 0.01 * len(texts):
        return
    n = min(max_length, frozen.max_length)
    more = "The backbone reads no more."
    if n < frozen.max_length:
        more = "Pass a larger --max-length if what tells them apart comes later."
    warnings.warn(
        f"{cut:,} of {len(texts):,} texts are longer than {n} tokens and are cut there. {more}",
        ShoestringWarning,
        stacklevel=4,
    )


def _say_unknown(texts: Sequence[str], frozen: FrozenBackbone) -> None:
    share = unknown_share(texts, frozen.folder)
    if share > MAX_UNKNOWN:
        warnings.warn(
            f"{frozen.name} does not know {share:.0%} of these texts. Name a backbone that does "
            "(--backbone FOLDER), or make one of text of your own (shoestring tune mlm).",
            ShoestringWarning,
            stacklevel=4,
        )


def _are_lists(rows: Rows, numbers: Sequence[float], part: Sequence[int], task: str) -> bool:
    """Whether pairs are learnt by their queries: where most are of one with right and wrong."""
    if task != "score" or rows.second is None:
        return False
    labels = ([numbers[row] > 0 for row in query] for query in _queries(rows, part))
    return sum(len(query) for query in labels if 0 < sum(query) < len(query)) > 0.5 * len(part)


def _units(rows: Rows, part: Sequence[int], as_lists: bool) -> list[list[int]]:
    """All pairs of a query together, or each alone."""
    return _queries(rows, part) if as_lists else [[row] for row in part]


def _queries(rows: Rows, part: Sequence[int]) -> list[list[int]]:
    queries: dict[str, list[int]] = {}
    for row in part:
        queries.setdefault(rows.first[row], []).append(row)
    return list(queries.values())


def split(examples: Examples, n_train: int, separate: bool, seed: int) -> tuple[Examples, Examples]:
    """Training and held-out examples: those of the second file, or a tenth at random."""
    n = len(examples)
    if separate:
        first = [i for i in range(n) if examples.units[i][0] < n_train]
        return examples.part(first), _by_length(examples.part(range(len(first), n)))
    if n < 2:
        what = "queries" if examples.grouped else "examples"
        raise ParameterError.of("source", "tune", f"a file of at least two {what}", n)
    order = np.random.default_rng(seed).permutation(n).tolist()
    n_held_out = max(1, min(MOST_HELD_OUT, int(HELD_OUT * n)))
    return examples.part(sorted(order[n_held_out:])), _by_length(examples.part(order[:n_held_out]))


def _by_length(examples: Examples) -> Examples:
    """Batches in this order have little padding."""
    order = range(len(examples))
    return examples.part(sorted(order, key=lambda i: len(examples[i]["input_ids"])))


def digest_of(rows: Rows) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in (*rows.first, *(rows.second or []), *rows.labels):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
