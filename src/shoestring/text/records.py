"""Anything that holds texts to records, one after the other, in bounded memory.

Sources: files (``files.py`` knows the formats), standard input, pandas and polars frames
(recognised by their methods, never imported here), and iterables of mappings, records or plain
strings. Errors name the file and the line; for tables the line is the number of the row, from 1.

Not covered: several labels of a text, duplicate ids.
"""

from __future__ import annotations

import base64
import hashlib
import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from shoestring.artifacts import digest
from shoestring.checks import checked_choice, checked_str, is_storable
from shoestring.errors import FormatError, ParameterError, ShoestringWarning, short
from shoestring.text.files import Row, check_names, read_rows
from shoestring.types import IntArray, Record

_OWNER = "read_records"


class Reading(TypedDict, total=False):
    """How records are read, the same for all that read them: see :func:`read_records`."""

    text: str | Sequence[str]
    id: str | None
    label: str | None
    on_empty: str
    on_bad: str
    format: str | None
    delimiter: str | None
    encoding: str | None


def read_records(
    source: Any,
    text: str | Sequence[str] = "text",
    id: str | None = None,
    label: str | None = None,
    *,
    on_empty: str = "error",
    on_bad: str = "error",
    format: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    default_id: str = "position",
) -> Iterator[Record]:
    """Read records from a file, standard input, a data frame or an iterable.

    Parameters
    ----------
    source : str, Path, data frame or iterable
        A path ending in .jsonl, .ndjson, .json (an array of objects, or JSON lines), .csv, .tsv,
        .txt (one text a line) or .parquet, the text formats also packed by gzip; ``"-"`` for
        standard input; a pandas or polars ``DataFrame``; an iterable of mappings, of
        :class:`~shoestring.types.Record` or of strings.
    text : str or list of str
        Column of the text; several are joined by a blank. Where there are no columns (.txt,
        strings) it is called "text".
    id : str, optional
        Column of the user's own id, a str or an int. By default the column "id" where the first
        record has one, else ``default_id``.
    label : str, optional
        Column of the label. By default the column "label" of those records that have one.
    on_empty : {"error", "skip"}
        What to do with a text that is missing or white space. Blank lines of .txt are none.
    on_bad : {"error", "skip"}
        What to do with a row that cannot be read; a warning counts those that were skipped.
    format : str, optional
        The ending that says what the source is, such as "csv". By default that of its name, or
        what its content tells for certain; standard input is else one text a line.
    delimiter : str, optional
        Of csv and tsv. By default the one of comma, tab, semicolon and bar that fits the header.
    encoding : str, optional
        Any that Python knows. By default UTF-8, or UTF-16 by its mark.
    default_id : {"position", "content"}
        Ids where there are none: the number of the row, "1", "2", ..., or :func:`content_id`.

    Yields
    ------
    Record

    Raises
    ------
    ParameterError, StorageError
        At the call: a parameter or source of the wrong kind; a file that cannot be opened.
    FormatError
        While iterating: an unknown ending, broken content, a missing column, a value that is not
        text, a line or record of more than 64 MiB, a source without any record.

    Warns
    -----
    ShoestringWarning
        At the end, if bad rows were skipped.

    Examples
    --------
    >>> list(read_records(["a first text", "第二个"]))
    [Record(id='1', text='a first text', label=None), Record(id='2', text='第二个', label=None)]
    >>> next(read_records([{"sku": 7, "title": "red shoes"}], text="title", id="sku"))
    Record(id='7', text='red shoes', label=None)
    """
    reading: Reading = {"text": text, "id": id, "label": label, "on_empty": on_empty}
    reading |= {"on_bad": on_bad, "format": format, "delimiter": delimiter, "encoding": encoding}
    return (record for record, _ in read_texts(source, default_id=default_id, **reading))


def read_texts(
    source: Any,
    *,
    second: str | None = None,
    needs_label: bool = False,
    header: bool = True,
    default_id: str = "position",
    **reading: Unpack[Reading],
) -> Iterator[tuple[Record, str | None]]:
    """Read records, each with its text in a second column, if one is named.

    ``needs_label``: a record without a label is a bad row. ``header=False``: a table may have none,
    and is then text TAB second TAB label. Otherwise as :func:`read_records`.
    """
    texts, id = reading.get("text", "text"), reading.get("id")
    columns = [texts] if isinstance(texts, str) else texts
    is_names = isinstance(columns, Sequence) and all(isinstance(name, str) for name in columns)
    if not is_names or not columns:
        want = "the name of a column, or a list of names"
        raise ParameterError.of("text", _OWNER, want, texts)
    label = reading.get("label")
    for name, value in (("id", id), ("label", label), ("second", second)):
        checked_str(name, "" if value is None else value, _OWNER)
    skips = {
        name: checked_choice(name, reading.get(name, "error"), ("error", "skip"), _OWNER) == "skip"
        for name in ("on_empty", "on_bad")
    }
    by_content = checked_choice("default_id", default_id, ("position", "content"), _OWNER)
    seconds = [] if second is None else [second]
    used = [*columns, *seconds, id or "id", label or "label"]
    file = None
    if isinstance(source, str | Path):
        file = "standard input" if source == "-" else str(source)
        fields = [] if header else [columns[0], *seconds, used[-1]]
        settings: Any = {name: reading.get(name) for name in ("format", "delimiter", "encoding")}
        rows = read_rows(source, used, without_header=fields, **settings)
    else:
        rows = _rows_of_object(source, used)
    reader = _Reader(
        columns, seconds, id, label, file, by_content == "content", needs_label, **skips
    )
    return reader.read(rows)


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

    Settings and errors of :func:`read_records`; FormatError if a record lacks its label.
    """
    reading = {"label": "label", **reading}
    read = list(read_texts(source, second=second, needs_label=True, **reading))
    texts, labels = [record.text for record, _ in read], [str(record.label) for record, _ in read]
    return Labelled(texts, labels, None if second is None else [str(other) for _, other in read])


def content_id(text: str) -> str:
    """The id of a text that has none: 12 characters that the text alone decides.

    Examples
    --------
    >>> content_id("red shoes"), content_id("红鞋")
    ('...', '...')
    """
    return base64.b32encode(text_digests([text]).tobytes()).decode("ascii").lower()[:12]


def text_digests(texts: Iterable[str]) -> IntArray:
    """What n texts are known by: the first 8 bytes of BLAKE2b over their UTF-8, int64 (n,).

    The same on every machine, for ever.
    """
    parts = (text.encode("utf-8", "surrogatepass") for text in texts)
    digests = b"".join(hashlib.blake2b(part, digest_size=8).digest() for part in parts)
    return np.frombuffer(digests, dtype="<i8")


def _rows_of_object(source: Any, used: Sequence[str]) -> Iterator[Row]:
    """Rows of a data frame or an iterable."""
    if hasattr(source, "iter_rows") and hasattr(source, "columns"):  # polars
        return enumerate(source.iter_rows(named=True), start=1)
    if hasattr(source, "itertuples") and hasattr(source, "columns"):  # pandas
        names = [str(name) for name in source.columns]
        check_names(names, used)
        frame = source.itertuples(index=False, name=None)
        return enumerate((dict(zip(names, values, strict=True)) for values in frame), start=1)
    if isinstance(source, (bytes, Mapping)) or not isinstance(source, Iterable):
        kind = type(source).__name__
        raise ParameterError(
            f"The 'source' parameter of {_OWNER} must be a path, a data frame or an iterable of "
            f"records. Got an object of type {kind} instead. Put a single record in a list; call "
            "collect() on a lazy frame."
        )
    return _iterable_rows(source, used)


def _iterable_rows(items: Iterable[Any], used: Sequence[str]) -> Iterator[Row]:
    for number, item in enumerate(items, start=1):
        if isinstance(item, str):
            yield number, {"text": item}
        elif isinstance(item, Mapping):
            yield number, item
        elif isinstance(item, Record):  # which says itself what is what
            yield number, dict.fromkeys(used, item.text) | {used[-2]: item.id, used[-1]: item.label}
        else:
            kind = f"item {number} is of type {type(item).__name__}"
            yield number, FormatError(f"{kind}. It must be a mapping, a Record or a str.")


@dataclass
class _Reader:
    """Makes records of rows; the first row decides ``id`` where none was given."""

    columns: Sequence[str]
    second: Sequence[str]  # the column, or none
    id: str | None
    label: str | None
    file: str | None
    by_content: bool
    needs_label: bool
    on_empty: bool  # whether to skip
    on_bad: bool
    line: int = 0  # of the current row

    def read(self, rows: Iterator[Row]) -> Iterator[tuple[Record, str | None]]:
        """The records, and what their second columns hold."""
        n_rows, n_bad, is_empty, has_ids = 0, 0, True, self.id is not None
        first: FormatError | None = None
        for n_rows, (self.line, row) in enumerate(rows, start=1):
            if row is None:  # a blank line
                continue
            try:
                if isinstance(row, FormatError):
                    raise row
                if self.id is None:
                    self.id, has_ids = "id", "id" in row
                found = self._record(row, None if has_ids else n_rows)
            except FormatError as error:
                if not self.on_bad:
                    raise
                n_bad, first = n_bad + 1, first or error
                continue
            if found is not None:
                is_empty = False
                yield found
        if is_empty:
            what = f"no records: all {n_rows} texts are empty or bad" if n_rows else "no records"
            what += f" (the first: {first})" if first else ""
            raise FormatError(f"{what}. Check that this is the right source.", file=self.file)
        if first:
            were = "bad row was" if n_bad == 1 else "bad rows were"
            message = f"{n_bad:,} {were} skipped, the first: {first}"
            warnings.warn(message, ShoestringWarning, stacklevel=2)

    def _record(
        self, row: Mapping[str, Any], position: int | None
    ) -> tuple[Record, str | None] | None:
        """A record, or None for an empty text that is skipped."""
        if position is not None and "id" in row:
            raise self._wrong("an 'id', where the records before have none. Give all one.")
        text, second = self._text(row, self.columns), self._text(row, self.second)
        if not text or (self.second and not second):
            if self.on_empty:
                return None
            names = " and ".join(map(repr, self.second if text else self.columns))
            advice = "Fill it in, or leave it out: on_empty='skip'."
            raise self._wrong(f"an empty text in the column {names}. {advice}")
        if position is None:
            key = self._identifier(row, str(self.id))
        else:
            key = content_id(text) if self.by_content else str(position)
        used = {*self.columns, *self.second, self.label or "label", ""}
        used |= {str(self.id)} if position is None else set()
        others = ((str(name), value) for name, value in row.items() if name not in used)
        fields = {name: value for name, value in others if not _is_missing(value)}
        return Record(key, text, self._label(row), fields), second or None

    def _wrong(self, message: str) -> FormatError:
        """The error for a row: with file and line, or the item's number for an iterable."""
        if self.file is None:
            return FormatError(f"item {self.line}: {message}")
        return FormatError(message, file=self.file, line=self.line)

    def _value(self, row: Mapping[str, Any], column: str, needed: bool = True) -> Any:
        """The value of a column, text without surprises; None where it is missing."""
        if column not in row and needed:
            there = ", ".join(repr(name) for name in islice(row, 20)) or "none"
            raise self._wrong(f"no column {column!r}. Name one of: {there}.")
        value = row.get(column)
        if not isinstance(value, str):
            return None if _is_missing(value) else value
        if "\0" in value:
            raise self._wrong(
                f"column {column!r} has a NUL character. Remove it; if every second one is a NUL, "
                f"the file is UTF-16: encoding='utf-16-le'."
            )
        if not is_storable(value):
            message = f"column {column!r} has half a surrogate pair, not a character. Remove it."
            raise self._wrong(message)
        return str(value) if value.strip() else None

    def _text(self, row: Mapping[str, Any], columns: Sequence[str]) -> str:
        """The text of a row, several columns joined; "" if there is nothing but white space."""
        values = [(column, self._value(row, column)) for column in columns]
        for column, value in values:
            if not isinstance(value, str | None):
                raise self._wrong_type(column, value, "It must be text: convert it first.")
        return " ".join(value for _, value in values if value)

    def _identifier(self, row: Mapping[str, Any], column: str) -> str:
        value = self._value(row, column)
        if isinstance(value, str):
            return value
        if value is not None and not isinstance(value, bool) and hasattr(value, "__index__"):
            return str(operator.index(value))  # of numpy's ints too
        if value is None:
            raise self._wrong(f"no value in the id column {column!r}. Fill it in, or name another.")
        want = "An id is text or an integer: convert it, or name another column."
        raise self._wrong_type(column, value, want)

    def _label(self, row: Mapping[str, Any]) -> str | None:
        column = self.label or "label"
        value = self._value(row, column, self.label is not None)
        if value is None and self.needs_label:
            message = f"no value in the column {column!r}. Fill it in or leave the record out."
            raise self._wrong(message)
        if not isinstance(value, str) and isinstance(value, Iterable):
            want = "A text has one label: choose one, or name another column."
            raise self._wrong_type(column, value, want)
        return None if value is None else str(value)

    def _wrong_type(self, column: str, value: object, want: str) -> FormatError:
        kind = type(value).__name__
        return self._wrong(f"column {column!r} holds {short(value)} of type {kind}. {want}")


def _is_missing(value: Any) -> bool:
    """Whether it is None, white space, a NaN, or pandas' NA or NaT."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, Real):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")
