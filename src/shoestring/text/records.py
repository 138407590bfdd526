"""Anything that holds texts to records, one after the other, in bounded memory.

Sources: files (``files.py`` knows the formats), standard input, pandas and polars frames
(recognised by their methods, never imported here), and iterables of mappings, records or plain
strings. Errors name the file and the line; for tables the line is the number of the row, from 1.

Not covered: joining several columns into one text (do it before), duplicate ids.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.errors import FormatError, ParameterError
from shoestring.text.files import Row, read_rows
from shoestring.types import Record

_OWNER = "read_records"


def read_records(
    source: Any,
    text: str = "text",
    id: str | None = None,
    label: str | None = None,
    *,
    on_empty: str = "error",
) -> Iterator[Record]:
    """Read records from a file, standard input, a data frame or an iterable.

    Parameters
    ----------
    source : str, Path, data frame or iterable
        A path ending in .jsonl, .ndjson, .csv, .tsv, .txt (one text a line) or .parquet, the text
        formats also with .gz; ``"-"`` for standard input (JSON lines if it starts with a brace,
        else one text a line); a pandas or polars ``DataFrame``; an iterable of mappings, of
        :class:`~shoestring.types.Record` or of strings.
    text : str
        Column of the text. Where there are no columns (.txt, strings) it is called "text".
    id : str, optional
        Column of the user's own id, a str or an int. By default the column "id" where the first
        record has one, else the position "1", "2", ...
    label : str, optional
        Column of the label. By default the column "label" of those records that have one.
    on_empty : {"error", "skip"}
        What to do with a text that is empty or white space.

    Yields
    ------
    Record

    Raises
    ------
    ParameterError, StorageError
        At the call: a parameter or source of the wrong kind; a file that cannot be opened.
    FormatError
        At the call: an unknown ending. While iterating: broken content, a missing column, a value
        that is not text, a source without any record.

    Examples
    --------
    >>> list(read_records(["a first text", "第二个"]))
    [Record(id='1', text='a first text', label=None), Record(id='2', text='第二个', label=None)]
    >>> next(read_records([{"sku": 7, "title": "red shoes"}], text="title", id="sku"))
    Record(id='7', text='red shoes', label=None)
    """
    for name, value in (("text", text), ("id", id), ("label", label)):
        if not isinstance(value, str) and (value is not None or name == "text"):
            raise ParameterError.of(name, _OWNER, "the name of a column", value)
    if on_empty not in ("error", "skip"):
        raise ParameterError.of("on_empty", _OWNER, '"error" or "skip"', on_empty)
    if isinstance(source, (str, Path)):
        rows, file = read_rows(source), "standard input" if source == "-" else str(source)
    else:
        rows, file = _rows_of_object(source), None
    return _records(rows, _Columns(text, id, label, file), on_empty == "skip")


def _rows_of_object(source: Any) -> Iterator[Row]:
    """Rows of a data frame or an iterable."""
    if hasattr(source, "iter_rows") and hasattr(source, "columns"):  # polars
        return enumerate(source.iter_rows(named=True), start=1)
    if hasattr(source, "itertuples") and hasattr(source, "columns"):  # pandas
        return _pandas_rows(source)
    if isinstance(source, (bytes, Mapping)) or not isinstance(source, Iterable):
        kind = type(source).__name__
        raise ParameterError(
            f"The 'source' parameter of {_OWNER} must be a path, a data frame or an iterable of "
            f"records. Got an object of type {kind} instead. Put a single record in a list; call "
            "collect() on a lazy frame."
        )
    return _iterable_rows(source)


def _pandas_rows(frame: Any) -> Iterator[Row]:
    names = [str(name) for name in frame.columns]
    for number, values in enumerate(frame.itertuples(index=False, name=None), start=1):
        yield number, dict(zip(names, values, strict=True))


def _iterable_rows(items: Iterable[Any]) -> Iterator[Row]:
    for number, item in enumerate(items, start=1):
        if isinstance(item, str):
            yield number, {"text": item}
        elif isinstance(item, Mapping):
            yield number, item
        elif isinstance(item, Record):
            yield number, {"text": item.text, "id": item.id, "label": item.label}
        else:
            raise FormatError(
                f"item {number} is of type {type(item).__name__}. It must be a mapping, a Record "
                "or a str."
            )


@dataclass(slots=True)
class _Columns:
    """The columns of a record; the first row decides ``id`` where none was given."""

    text: str
    id: str | None
    label: str | None
    file: str | None

    def fault(self, message: str, line: int) -> FormatError:
        """The error for a row: with file and line, or the item's number for an iterable."""
        if self.file is None:
            return FormatError(f"item {line}: {message}")
        return FormatError(message, file=self.file, line=line)

    def value(self, row: Mapping[str, Any], column: str, line: int) -> Any:
        """The value of a column, or the error that it is missing."""
        try:
            return row[column]
        except KeyError:
            there = ", ".join(repr(name) for name in row) or "none"
            raise self.fault(f"no column {column!r}. Name one of: {there}.", line) from None


def _records(rows: Iterator[Row], columns: _Columns, skip_empty: bool) -> Iterator[Record]:
    n_rows = n_records = 0
    by_position = False
    for n_rows, (line, row) in enumerate(rows, start=1):
        if n_rows == 1 and columns.id is None:
            by_position = "id" not in row
            columns.id = "id"
        if by_position and "id" in row:
            raise columns.fault("an 'id', where the records before have none. Give all one.", line)
        text = _text(columns.value(row, columns.text, line), columns, line)
        if not text.strip():
            if skip_empty:
                continue
            raise columns.fault("an empty text. Fill it in, or pass on_empty='skip'.", line)
        key = str(n_rows) if by_position else _identifier(row, columns, line)
        n_records += 1
        yield Record(key, text, _label(row, columns, line))
    if not n_records:
        found = f"no records: all {n_rows} texts are empty" if n_rows else "no records"
        raise FormatError(f"{found}. Check that this is the right source.", file=columns.file)


def _text(value: Any, columns: _Columns, line: int) -> str:
    if isinstance(value, str):
        return _storable(value, columns.text, columns, line)
    if _is_missing(value):
        raise columns.fault(
            f"column {columns.text!r} has no value. Fill it in or leave the record out.", line
        )
    raise columns.fault(
        f"column {columns.text!r} holds {_short(value)} of type {type(value).__name__}. It must be "
        "text: convert it first.",
        line,
    )


def _storable(value: str, column: str, columns: _Columns, line: int) -> str:
    """A plain str that UTF-8 and SQLite can hold, or an error."""
    if "\0" in value:
        raise columns.fault(
            f"column {column!r} has a NUL character. Remove it; if every second one is a NUL, the "
            "file is UTF-16: convert it to UTF-8.",
            line,
        )
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise columns.fault(
                f"column {column!r} has half a surrogate pair, not a character. Remove it.",
                line,
            ) from None
    return value if type(value) is str else str(value)


def _identifier(row: Mapping[str, Any], columns: _Columns, line: int) -> str:
    column = str(columns.id)
    value = columns.value(row, column, line)
    if isinstance(value, str) and value.strip():
        return _storable(value, column, columns, line)
    if not isinstance(value, (str, bool)) and hasattr(value, "__index__"):  # numpy integers too
        return str(operator.index(value))
    what = "no value" if _is_missing(value) or value == "" else f"{_short(value)}"
    raise columns.fault(
        f"the id column {column!r} has {what}. It must be text or an integer: convert it, or name "
        "another column.",
        line,
    )


def _label(row: Mapping[str, Any], columns: _Columns, line: int) -> str | None:
    if columns.label is None:
        column, value = "label", row.get("label")
    else:
        column, value = columns.label, columns.value(row, columns.label, line)
    return None if _is_missing(value) else _storable(str(value), column, columns, line)


def _is_missing(value: Any) -> bool:
    """Whether it is None, a float NaN, or pandas' NA or NaT."""
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
