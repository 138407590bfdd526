"""Files and streams to rows: (line, row) pairs, one after the other, in bounded memory.

A row maps column names to values as the format gives them; ``line`` counts from 1 and is where the
row starts in the file (for parquet, which has no lines, the number of the row). ``records.py``
knows what the columns mean.

Only a line feed ends a line: U+2028, a vertical tab or a form feed inside a text does not cut it.
A byte-order mark at the start is accepted. Bad content raises ``FormatError`` with file, line and,
where it is known, column.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from shoestring.errors import FormatError, StorageError

Row = tuple[int, Mapping[str, Any]]

MAX_FIELD_CHARS = 1 << 26
"""Longest field of a csv or tsv file, so that a quote that is never closed is an error."""

PARQUET_BATCH_ROWS = 1024


def read_rows(source: str | Path) -> Iterator[Row]:
    """Read the rows of a file, or of standard input where the source is ``"-"``.

    The ending tells the format, see :data:`FORMATS`; text formats may end in ``.gz`` as well.
    StorageError if the file is missing, a folder, or may not be read, FormatError if the ending is
    unknown (at once), or the content is not what it says (when that is reached).
    """
    if source == "-":
        return _sniffed_rows(decoded_lines(sys.stdin.buffer, "standard input"), "standard input")
    path = Path(source)
    ending, packed = ending_of(path)
    if ending not in FORMATS or (packed and FORMATS[ending] is None):
        raise FormatError(
            f"unknown ending {ending + '.gz' * packed!r}. Known are {' '.join(FORMATS)}, and .gz "
            "after each but .parquet. Rename or convert the file.",
            file=path,
        )
    check_readable(path)
    read = FORMATS[ending]
    return _parquet_rows(path) if read is None else read(_file_lines(path, packed), str(path))


def ending_of(path: Path) -> tuple[str, bool]:
    """The ending of a file's name in lower case, before .gz; and whether .gz follows it.

    Examples
    --------
    >>> ending_of(Path("faq.JSONL.gz")), ending_of(Path("README"))
    (('.jsonl', True), ('', False))
    """
    endings = [ending.lower() for ending in path.suffixes]
    packed = endings[-1:] == [".gz"]
    return "".join(endings[-2:-1] if packed else endings[-1:]), packed


def check_readable(path: Path) -> None:
    """Raise a StorageError if the file is missing, a folder, or may not be read."""
    if path.is_dir():
        raise StorageError(f"{path} is a folder, not a file. Name one file in it.")
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise StorageError(f"There is no file {path}. Check the path.") from None
    except OSError as error:
        raise StorageError(
            f"{path} cannot be opened: {error.strerror or error}. Check its permissions."
        ) from error


def _file_lines(path: Path, packed: bool) -> Iterator[str]:
    with open_unpacked(path, packed) as stream:
        yield from decoded_lines(stream, str(path))


class _CountedFile(io.FileIO):
    """A file that reports how many bytes each read gave."""

    def __init__(self, path: Path, on_bytes: Callable[[int], object]) -> None:
        super().__init__(path)
        self._on_bytes = on_bytes

    def readinto(self, buffer: Any) -> int | None:
        n_bytes = super().readinto(buffer)
        self._on_bytes(n_bytes or 0)
        return n_bytes


@contextmanager
def open_unpacked(
    path: Path, packed: bool, on_bytes: Callable[[int], object] | None = None
) -> Iterator[IO[bytes]]:
    """Open a file, through gzip if it is packed; errors of disk and gzip become ours.

    ``on_bytes`` is called with the number of bytes of each read from the disk.
    """
    raw = path.open("rb") if on_bytes is None else io.BufferedReader(_CountedFile(path, on_bytes))
    with raw, cast("IO[bytes]", gzip.open(raw) if packed else raw) as stream:
        try:
            yield stream
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FormatError(
                f"the gzip data is damaged or cut off ({error}). Copy or compress it again.",
                file=path,
            ) from error
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error


def decoded_lines(lines: Iterable[bytes], file: str) -> Iterator[str]:
    """The lines of a file as text, each with its line feed."""
    for number, raw in enumerate(lines, start=1):
        if number == 1:
            if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise _not_utf8(file, 1, 1, "it starts like UTF-16")
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            column = len(raw[: error.start].decode("utf-8")) + 1
            what = f"byte 0x{raw[error.start]:02x}"
            raise _not_utf8(file, number, column, what) from None


def _not_utf8(file: str, line: int, column: int, what: str) -> FormatError:
    return FormatError(
        f"not UTF-8 ({what}). Convert the file first: iconv -f GB18030 -t UTF-8 (or -f UTF-16, "
        "-f LATIN1: whatever it was written in).",
        file=file,
        line=line,
        column=column,
    )


def _text_rows(lines: Iterable[str], file: str) -> Iterator[Row]:
    """One text a line, in the column "text"."""
    for number, line in enumerate(lines, start=1):
        yield number, {"text": line.rstrip("\r\n")}


def _jsonl_rows(lines: Iterable[str], file: str) -> Iterator[Row]:
    """One JSON object a line; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _json_object(line, file, number)


def _json_object(line: str, file: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(
            f"broken JSON ({error.msg}). Each line must be one whole JSON object.",
            file=file,
            line=number,
            column=error.colno,
        ) from None
    except (ValueError, RecursionError) as error:  # an integer too long, brackets too deep
        raise FormatError(f"JSON beyond limits ({error}).", file=file, line=number) from None
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise FormatError(
            f'a JSON {kind}, not an object. Each line must look like {{"text": "..."}}.',
            file=file,
            line=number,
        )
    return value


def _sniffed_rows(lines: Iterator[str], file: str) -> Iterator[Row]:
    """JSON lines if the first line that is not blank starts with a brace, else one text a line."""
    seen: list[str] = []
    for line in lines:
        seen.append(line)
        if line.strip():
            break
    read = _jsonl_rows if seen and seen[-1].lstrip().startswith("{") else _text_rows
    yield from read(chain(seen, lines), file)


def _csv_rows(lines: Iterable[str], file: str, delimiter: str) -> Iterator[Row]:
    """Rows under a header; quoted fields may span lines; blank lines are passed over."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARS))  # one for the process
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FormatError(
                f"broken quoting or line ends ({error}). Quote the field and double the quotes "
                "inside it.",
                file=file,
                line=start,
            ) from None
        if header is None and fields:
            header = fields
            if twice := sorted({name for name in header if header.count(name) > 1}):
                names = ", ".join(map(repr, twice))
                message = f"the header names {names} twice. Rename one."
                raise FormatError(message, file=file, line=start)
        elif header is not None and fields:
            if len(fields) != len(header):
                raise FormatError(
                    f"{len(fields)} fields where the header has {len(header)}. Quote fields that "
                    f"contain {delimiter!r}, quotes or line feeds.",
                    file=file,
                    line=start,
                )
            yield start, dict(zip(header, fields, strict=True))


def _parquet_rows(path: Path) -> Iterator[Row]:
    """Rows of a parquet file, decoded a record batch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_rows = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                yield from enumerate(batch.to_pylist(), start=n_rows + 1)
                n_rows += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(
            f"damaged or no parquet ({reason}). Write or copy the file again.",
            file=path,
            line=n_rows + 1 if n_rows else None,
        ) from error


FORMATS: dict[str, Callable[[Iterator[str], str], Iterator[Row]] | None] = {
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".csv": partial(_csv_rows, delimiter=","),
    ".tsv": partial(_csv_rows, delimiter="\t"),
    ".txt": _text_rows,
    ".parquet": None,
}
"""Readers by ending; None for the one format that has no lines."""
