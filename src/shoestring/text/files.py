"""Files and streams to rows: (line, row) pairs, one after the other, in bounded memory.

A row maps column names to values as the format gives them. It is None for a blank line of text, and
the ``FormatError`` of a bad row after which the next can be read; all else that is wrong is raised.
``line`` counts from 1 and is where the row starts in the file (for parquet, which has no lines, the
number of the row). ``records.py`` knows what the columns mean.

What a file is, its name says, and its content where that is certain: gzip, parquet and UTF-16 by
their first bytes, JSON by its first sign, the delimiter of a table by its header, and on standard
input a table by a header that names the columns asked for.

Only a line feed ends a line: U+2028, a vertical tab or a form feed inside a text does not cut it.
A byte-order mark at the start is accepted. JSON over several lines, as an array, is read whole.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from shoestring.checks import checked_choice, is_storable
from shoestring.errors import FormatError, ParameterError, StorageError

Row = tuple[int, Mapping[str, Any] | FormatError | None]

MAX_RECORD = 1 << 26
"""Longest line or record in characters, so that memory stays bounded whatever the file holds."""

FORMATS = dict.fromkeys((".jsonl", ".ndjson", ".json"), "json")
FORMATS |= {ending: ending[1:] for ending in (".csv", ".tsv", ".txt", ".parquet")}
"""Formats by ending."""

ENCODINGS = ["gb18030", "big5", "cp1252", "cp1251", "shift_jis", "euc_jp", "euc_kr", "koi8_r"]
"""Of those that are not UTF-8, the ones that a message may name."""

SAMPLE = 1 << 14  # bytes that tell an encoding
NAME_IT = "encoding={!r}"  # what to do about another encoding: records
CONVERT_IT = "convert it, iconv -f {} -t UTF-8"  # all else
_BROKEN = "broken JSON ({}). Mend it, or say what the file is: format='txt'."
_DELIMITERS = ",\t;|"
_PIECE = 1 << 20
_HEAD, _BLANK_LINES = 1 << 16, 1_000  # of a line that tells the format, and before it
_JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*["{\]]|[\[{]\s*$)')
_JSON_OVER_LINES = re.compile(r"\s*(\[|\{\s*$)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = re.compile(r"\s*\n")
_JSON_BETWEEN = re.compile(r"[\s,]*")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_rows(
    source: str | Path,
    columns: Sequence[str] = ("text",),
    *,
    format: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    without_header: Sequence[str] = (),
) -> Iterator[Row]:
    """Read the rows of a file, or of standard input where the source is ``"-"``.

    ``columns`` are those that will be used, the text's first; ``without_header``: those of a table
    of pairs that has no header; the other parameters are those of
    :func:`~shoestring.read_records`. ParameterError, StorageError if the file is missing, a folder,
    or may not be read: at once. FormatError if its format is unknown, or the content is not what it
    says: when that is reached.
    """
    if format is not None:
        checked_choice("format", format, [ending[1:] for ending in FORMATS], "read_records")
    is_one = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n\0'
    if delimiter is not None and not is_one:
        raise ParameterError.of("delimiter", "read_records", "one character", delimiter)
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
    except (LookupError, TypeError, ValueError):
        want = "the name of an encoding, such as gb18030, big5, utf-16 or latin-1"
        raise ParameterError.of("encoding", "read_records", want, encoding) from None
    ending = None if format is None else f".{format}"
    if source == "-":
        if sys.stdin is None:
            raise StorageError("Standard input is closed. Name a file instead.")
        file, opened = "standard input", unpacked(sys.stdin.buffer, "standard input")
    else:
        path, file = Path(source), str(source)
        check_readable(path)
        opened = open_unpacked(path)
        named = ending_of(path)[0]
        if ending is None and named != ".txt" and (named in FORMATS or path.is_file()):
            ending = named  # people give tables .txt, and pipes any ending

    def rows() -> Iterator[Row]:
        with opened as stream, decoded(stream, file, encoding) as text:
            yield from rows_of(text, ending, columns, without_header, delimiter)

    return rows()


def ending_of(path: Path) -> tuple[str, bool]:
    """The ending of a file's name in lower case, before .gz; and whether .gz follows it.

    Examples
    --------
    >>> ending_of(Path("faq.JSONL.gz")), ending_of(Path("README"))
    (('.jsonl', True), ('', False))
    """
    is_packed = path.suffix.lower() == ".gz"
    return (Path(path.stem) if is_packed else path).suffix.lower(), is_packed


def check_readable(path: Path) -> None:
    """Raise a StorageError if the file is missing, a folder, or may not be read."""
    try:
        if not path.is_fifo():  # whose writer would be gone when it is read
            path.open("rb").close()
    except IsADirectoryError:
        raise StorageError(f"{path} is a folder, not a file. Name one file in it.") from None
    except FileNotFoundError:
        raise StorageError(f"There is no file {path}. Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL, or half a surrogate pair
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{str(path)!r} cannot be opened: {reason}. Check its name and its permissions."
        ) from error


@contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, through gzip if its first bytes say so; the errors of :func:`check_readable`."""
    check_readable(path)
    with path.open("rb") as file, unpacked(file, str(path)) as stream:
        yield stream


@contextmanager
def unpacked(raw: Any, file: str) -> Iterator[IO[bytes]]:
    """An open file as it is, or through gzip if its first bytes say so; errors become ours."""
    try:
        raw = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
        is_packed = raw.peek(2)[:2] == b"\x1f\x8b"
        stream: Any = gzip.GzipFile(fileobj=raw) if is_packed else raw
        yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(
            f"the gzip data is damaged or cut off ({error}). Copy or compress it again.", file=file
        ) from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror or error}.") from error


def rows_of(
    text: Text,
    ending: str | None,
    columns: Sequence[str],
    without_header: Sequence[str] = (),
    delimiter: str | None = None,
) -> Iterator[Row]:
    """The rows of a text that is open, by its ending, or what its content tells.

    Without an ending it is else one text a line; FormatError for an ending that is not known.
    """
    first = text.head[-1]
    format = FORMATS.get(ending or "") or told(first, columns, delimiter)
    if format is None and ending is not None:
        raise FormatError(
            f"unknown ending {ending!r}. Known are {' '.join(FORMATS)}, each also with .gz. "
            "Convert the file, or say what it is: format='txt'.",
            file=text.file,
        )
    if format == "parquet":
        return _parquet_rows(text, columns)
    if without_header and _has_no_header(first, columns, ending):
        return _line_rows(text, partial(_fields_row, without_header))
    if format in ("csv", "tsv"):
        usual = "\t" if format == "tsv" else ","
        return _csv_rows(text, delimiter or _delimiter(first, columns, usual), columns)
    if format == "json":
        over_lines = _JSON_OVER_LINES.match(first)
        return _json_values(text) if over_lines else _json_lines(text)
    return _line_rows(text, lambda text, line: {"text": line})


def told(first: str, columns: Sequence[str], delimiter: str | None = None) -> str | None:
    """The format that the first line tells for certain, if any."""
    if first.startswith("PAR1"):
        return "parquet"
    if _JSON_START.match(first):
        return "json"
    used = delimiter or _delimiter(first, columns, ",")
    is_prose = f"{used} " in first  # which may begin with the name of the column
    return "csv" if columns[0] in _fields(first, used) and not is_prose else None


def _fields(header: str, delimiter: str) -> list[str]:
    try:
        fields = next(csv.reader([header], delimiter=delimiter, strict=True), [])
        return [name.strip() for name in fields]
    except csv.Error:
        return []


def _delimiter(header: str, columns: Sequence[str], usual: str) -> str:
    """The delimiter under which the header has the columns asked for, else the most columns."""

    def fits(delimiter: str) -> tuple[int, int, bool]:
        fields = _fields(header, delimiter)
        return len(set(columns) & set(fields)), len(fields), delimiter == usual

    return max(_DELIMITERS, key=fits)


class Text(Iterator[str]):
    """A stream as text: the lines that follow ``head``.

    A record may take several lines; ``line`` is where it began, and ``fault`` the error if bytes in
    it could not be decoded. ``head`` has the lines up to the first that is not blank, of which a
    long one is only begun; ``start`` the first bytes.
    """

    def __init__(self, stream: io.TextIOWrapper, file: str, start: bytes, remedy: str) -> None:
        self.stream, self.file, self.start, self._remedy = stream, file, start, remedy
        self.head = [stream.readline(_HEAD).removeprefix("\ufeff")]
        while _BLANK.fullmatch(self.head[-1]) and len(self.head) < _BLANK_LINES:
            self.head.append(stream.readline(_HEAD))
        self._number = self._length = 0
        self.line, self.fault = 1, cast("FormatError | None", None)

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.line, self._length, self.fault = self._number + 1, 0, None

    def __next__(self) -> str:
        line = self.head.pop(0) if self.head else ""
        if not line.endswith("\n"):
            line += self.stream.readline(MAX_RECORD + 1)
        if not line:
            raise StopIteration
        self._number, self._length = self._number + 1, self._length + len(line)
        if self._length > MAX_RECORD:
            raise self.wrong(
                f"a line or record of more than {MAX_RECORD >> 20} MiB. Split it into records, or "
                "check that this is the right file and that every quote is closed."
            )
        self.fault = self.fault or self._undecodable(line, self._number)
        return line

    def lines(self) -> Iterator[str]:
        """The lines that follow, each a record of its own."""
        for line in self:
            yield line
            self.begin()

    def pieces(self) -> Iterator[str]:
        """What follows in pieces that have nothing to do with lines."""
        for piece in chain(["".join(self.head)], iter(lambda: self.stream.read(_PIECE), "")):
            if fault := self._undecodable(piece, self._number + 1):
                raise fault
            self._number += piece.count("\n")
            yield piece

    def _undecodable(self, text: str, line: int) -> FormatError | None:
        """The error for a text, from a line on, if bytes in it could not be decoded."""
        if is_storable(text):
            return None
        encoding, likely = self.stream.encoding, None
        if encoding == "utf-8":
            likely = likely_encoding(text.encode("utf-8", "surrogateescape") + self.start)
        advice = f"It looks like {likely}" if likely else "If it is in another encoding"
        at = _SURROGATE.search(text).start()  # type: ignore[union-attr]
        return FormatError(
            f"not {encoding.upper()} (byte 0x{ord(text[at]) & 0xFF:02x}). "
            f"{advice}: {self._remedy.format(likely or 'gb18030')}.",
            file=self.file,
            line=line + text.count("\n", 0, at),
            column=at - text.rfind("\n", 0, at),
        )

    def wrong(self, message: str, column: int | None = None) -> FormatError:
        """The error for the current record."""
        return FormatError(message, file=self.file, line=self.line, column=column)


@contextmanager
def decoded(
    stream: Any, file: str, encoding: str | None = None, remedy: str = NAME_IT
) -> Iterator[Text]:
    """An open stream as text, of the encoding that is named or that its mark tells."""
    start = stream.peek(SAMPLE)
    encoding = encoding or ("utf-16" if start.startswith(_UTF_16) else "utf-8")
    decoder = io.TextIOWrapper(stream, encoding, "surrogateescape", newline="\n")
    try:
        yield Text(decoder, file, start, remedy)
    except UnicodeError as error:  # of bytes that no surrogate stands for, as in UTF-16
        message = f"not {encoding.upper()} ({error}). Name another encoding, such as utf-16-le."
        raise FormatError(message, file=file) from None
    finally:
        if not stream.closed:
            decoder.detach()  # it would close the stream, maybe standard input


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file, each with its line feed; StorageError, or FormatError if not UTF-8."""
    with open_unpacked(path) as stream, decoded(stream, str(path), remedy=CONVERT_IT) as text:
        for line in text.lines():
            if text.fault:
                raise text.fault
            yield line


def likely_encoding(sample: bytes) -> str | None:
    """The one of :data:`ENCODINGS` that some bytes are most likely written in.

    Examples
    --------
    >>> likely_encoding("怎样打开文件".encode("gb18030"))
    'gb18030'
    """
    from charset_normalizer import from_bytes

    found = from_bytes(sample[:SAMPLE], cp_isolation=ENCODINGS)
    doubts = {m.encoding: m.chaos - m.coherence + _half_width(str(m)) for m in found}
    known = [name for name in ENCODINGS if name in doubts]
    return min(known, key=doubts.__getitem__, default=None)


def _half_width(text: str) -> float:
    """The share of half-width kana, which Big5 is full of when it is read as Shift JIS."""
    return sum("\uff61" <= character <= "\uff9f" for character in text) / max(1, len(text))


def _line_rows(text: Text, parse: Callable[[Text, str], Any]) -> Iterator[Row]:
    """A row a line, as ``parse`` has it or a FormatError; None for a blank one."""
    for line in text.lines():
        row: Any = text.fault
        if row is None and line.strip():
            try:
                row = parse(text, line.rstrip("\r\n"))
            except FormatError as error:
                row = error
        yield text.line, row


def _has_no_header(first: str, columns: Sequence[str], ending: str | None) -> bool:
    fields = [name.strip() for name in first.split("\t")]
    is_table = ending in (None, ".tsv", ".txt") and not _JSON_START.match(first)
    return is_table and len(fields) > 1 and not {*columns[:2]} & {*fields}


def _fields_row(names: Sequence[str], text: Text, line: str) -> Mapping[str, Any]:
    """A row text TAB text TAB label, of which the label may be left out; quotes are characters."""
    fields = line.split("\t")
    if len(fields) not in (2, 3):
        n = "one column" if len(fields) == 1 else f"{len(fields)} columns"
        raise text.wrong(f"{n}. A row without a header is text TAB text, or with TAB 0/1.")
    return dict(zip(names, fields, strict=False))


def _json_lines(text: Text) -> Iterator[Row]:
    """One JSON object or text a line; blank lines are passed over."""
    rows = _line_rows(text, lambda text, line: _object(text, _parsed(text, json.loads, line)))
    return (row for row in rows if row[1] is not None)


def _json_values(text: Text) -> Iterator[Row]:
    """The objects or texts of an array, or objects one after the other, over any lines."""
    parse, content = json.JSONDecoder().raw_decode, "".join(text.pieces())
    at, before, end = 0, 0, len(content.rstrip())
    if is_array := content.lstrip().startswith("["):
        at, end = content.index("[") + 1, end - 1
    while (at := _JSON_BETWEEN.match(content, at).end()) < end:  # type: ignore[union-attr]
        text.line, before = text.line + content.count("\n", before, at), at
        value, at = _parsed(text, parse, content, at)
        yield text.line, _object(text, value)
    if is_array and not content.endswith("]", 0, end + 1):
        raise text.wrong(_BROKEN.format("it ends before the array does"))


def _parsed(text: Text, parse: Callable[..., Any], content: str, *at: int) -> Any:
    """What JSON says from a position on, which is in the line of the record."""
    try:
        return parse(content, *at)
    except json.JSONDecodeError as error:
        text.line += content.count("\n", sum(at), error.pos)
        raise text.wrong(_BROKEN.format(error.msg), error.colno) from None
    except (ValueError, RecursionError) as error:  # an integer too long, brackets too deep
        raise text.wrong(f"JSON beyond limits ({error}).") from None


def _object(text: Text, value: Any) -> Mapping[str, Any] | FormatError:
    if isinstance(value, dict | str):
        return value if isinstance(value, dict) else {"text": value}
    kind = f"a JSON {type(value).__name__}, not an object"
    return text.wrong(f'{kind}. Each record must look like {{"text": "..."}}.')


def _csv_rows(text: Text, delimiter: str, columns: Sequence[str]) -> Iterator[Row]:
    """Rows under a header; quoted fields may span lines; blank lines are passed over."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))  # one for the process
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] = []
    fields: list[str] | None = []
    while fields is not None:
        text.begin()
        fault = None
        try:
            fields = next(reader, None)
        except csv.Error as error:
            fault = text.wrong(
                f"broken quoting or line ends ({error}). Quote the field and double the quotes "
                "inside it."
            )
            if "end of data" in str(error):  # else the next line is a new row
                raise fault from None
        if header and fields and not fault and len(fields) != len(header):
            fault = text.wrong(
                f"{len(fields)} fields where the header has {len(header)}. Quote fields that "
                f"contain {delimiter!r}, quotes or line feeds, or pass on_bad='skip'."
            )
        fault = text.fault or fault
        if fault and not header:
            raise fault
        if fault or (header and fields):
            yield text.line, fault or dict(zip(header, fields or (), strict=True))
        elif fields:
            header = [name.strip() for name in fields]
            check_names(header, columns, text.file, text.line)


def check_names(
    names: Sequence[str], columns: Sequence[str], file: str | None = None, line: int | None = None
) -> None:
    """Refuse a column that is asked for and there twice."""
    if twice := sorted({name for name in names if name in columns and names.count(name) > 1}):
        there = ", ".join(map(repr, twice))
        raise FormatError(f"the header names {there} twice. Rename one.", file=file, line=line)


def _parquet_rows(text: Text, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a parquet file, decoded a record batch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream: Any = text.stream.buffer
    file = text.file
    if not stream.seekable() or isinstance(stream, gzip.GzipFile):
        raise FormatError("parquet cannot be read from a pipe or gzip. Name the file.", file=file)
    stream.seek(0)
    try:
        with pq.ParquetFile(stream) as parquet:
            check_names(parquet.schema_arrow.names, columns, file)
            batches = parquet.iter_batches(batch_size=1024)
            yield from enumerate(chain.from_iterable(b.to_pylist() for b in batches), start=1)
    except (pa.ArrowException, OSError) as error:
        message = f"damaged or no parquet ({str(error).splitlines()[0]}). Write or copy it again."
        raise FormatError(message, file=file) from error
