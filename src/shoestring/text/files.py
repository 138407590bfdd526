"""Files and streams to rows: (line, row) pairs, one after the other, in bounded memory.

A row maps column names to values as the format gives them. It is None for a blank line of text,
and the ``FormatError`` of a bad row after which the next can be read; what makes the rest
unreadable is raised. ``line`` counts from 1 and is where the row starts in the file (for parquet,
which has no lines, the number of the row). ``records.py`` knows what the columns mean.

What a file is, its name says, and its content where that is certain: gzip, parquet and UTF-16 by
their first bytes, JSON by its first sign, the delimiter of a table by its header, and on standard
input a table by a header that names the columns asked for.

Only a line feed ends a line: U+2028, a vertical tab or a form feed inside a text does not cut it.
A byte-order mark at the start is accepted.
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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from shoestring.checks import checked_choice, is_storable
from shoestring.errors import FormatError, ParameterError, StorageError

Row = tuple[int, Mapping[str, Any] | FormatError | None]

MAX_RECORD = 1 << 26
"""Longest line or record in characters, so that memory stays bounded whatever the file holds."""

PARQUET_BATCH_ROWS = 1024

FORMATS = dict.fromkeys((".jsonl", ".ndjson", ".json"), "json")
FORMATS |= {".csv": "csv", ".tsv": "csv", ".txt": "txt", ".parquet": "parquet"}
"""Formats by ending."""

ENCODINGS = ["gb18030", "big5", "cp1252", "cp1251", "shift_jis", "euc_jp", "euc_kr", "koi8_r"]
"""Of those that are not UTF-8, the ones that a message may name."""

SAMPLE = 1 << 14  # bytes that tell an encoding
BROKEN = "broken JSON ({}). Mend it, or say what the file is: format='txt'."
_DELIMITERS = ",\t;|"
_PIECE = 1 << 20
_HEAD, _BLANK_LINES = 1 << 16, 1_000  # of a line that tells the format, and before it
_JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*["{\]]|[\[{]\s*$)')
_JSON_OVER_LINES = re.compile(r"\s*(\[|\{\s*$)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_BETWEEN = re.compile(r"[\s,]*")
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # UTF-32 starts like it


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
    or may not be read, and FormatError if its format is unknown: at once. FormatError if the
    content is not what it says: when that is reached.
    """
    _check_options(format, delimiter, encoding)
    ending = "" if format is None else f".{format}"
    if source == "-":
        if sys.stdin is None:
            raise StorageError("Standard input is closed. Name a file instead.")
        file, opened = "standard input", unpacked(sys.stdin.buffer, "standard input")
        return _rows(opened, file, ending, columns, delimiter, encoding, without_header)
    path = Path(source)
    check_readable(path)
    ending = ending or ending_of(path)[0]
    if ending == ".txt" and format is None:
        ending = ""  # people give tables this ending too
    elif ending not in FORMATS and path.is_file():  # not a pipe, which can be read only once
        with open_unpacked(path) as start, _decoded(start, str(path), encoding) as text:
            told = _told(text.head[-1], columns)
        if told is None:
            raise FormatError(
                f"unknown ending {ending!r}. Known are {' '.join(FORMATS)}, each also with .gz. "
                "Convert the file, or say what it is: format='txt'.",
                file=path,
            )
    opened = open_unpacked(path)
    return _rows(opened, str(path), ending, columns, delimiter, encoding, without_header)


def _check_options(format: object, delimiter: object, encoding: object) -> None:
    owner = "read_records"
    if format is not None:
        checked_choice("format", format, [ending[1:] for ending in FORMATS], owner)
    is_one = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n\0'
    if delimiter is not None and not is_one:
        raise ParameterError.of("delimiter", owner, "one character", delimiter)
    try:  # not all of Python's codecs are for text
        name: Any = "utf-8" if encoding is None else encoding
        ("a".encode(name) + b"\xff").decode(name, "ignore")
    except (LookupError, TypeError, ValueError):
        want = "the name of an encoding, such as gb18030, big5, utf-16 or latin-1"
        raise ParameterError.of("encoding", owner, want, encoding) from None


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
    try:
        if path.is_dir():
            raise StorageError(f"{path} is a folder, not a file. Name one file in it.")
        if not path.is_fifo():  # whose writer would be gone when it is read
            path.open("rb").close()
    except FileNotFoundError:
        raise StorageError(f"There is no file {path}. Check the path.") from None
    except StorageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL, or half a surrogate pair
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{str(path)!r} cannot be opened: {reason}. Check its name and its permissions."
        ) from error


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
    path: Path, on_bytes: Callable[[int], object] | None = None
) -> Iterator[IO[bytes]]:
    """Open a file, through gzip if its first bytes say so; errors of disk and gzip become ours.

    ``on_bytes`` is called with the number of bytes of each read from the disk.
    """
    raw: Any = path.open("rb", 0) if on_bytes is None else _CountedFile(path, on_bytes)
    with io.BufferedReader(raw) as file, unpacked(file, str(path)) as stream:
        yield stream


@contextmanager
def unpacked(raw: Any, file: str) -> Iterator[IO[bytes]]:
    """An open file as it is, or through gzip if its first bytes say so."""
    try:
        raw = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
        if raw.peek(2)[:2] == b"\x1f\x8b":
            with gzip.open(raw) as stream:
                yield cast("IO[bytes]", stream)
        else:
            yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(
            f"the gzip data is damaged or cut off ({error}). Copy or compress it again.", file=file
        ) from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror or error}.") from error


def stream_rows(stream: IO[bytes], file: str, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a stream that is open: of what its content tells, else one text a line."""
    return _rows(nullcontext(stream), file, "", columns, None, None)


def _rows(
    opened: AbstractContextManager[Any],
    file: str,
    ending: str,
    columns: Sequence[str],
    delimiter: str | None,
    encoding: str | None,
    without_header: Sequence[str] = (),
) -> Iterator[Row]:
    """The rows of what is opened here, when the first is asked for."""
    with opened as stream, _decoded(stream, file, encoding) as text:
        first = text.head[-1]
        format = FORMATS.get(ending) or _told(first, columns, delimiter) or "txt"
        if format == "parquet" or (first.startswith("PAR1") and format != "txt"):
            yield from _parquet_rows(stream, file, columns)
        elif without_header and _has_no_header(first, columns, ending):
            yield from _fields_rows(text, without_header)
        elif format == "csv":
            usual = "\t" if ending == ".tsv" else ","
            yield from _csv_rows(text, delimiter or _delimiter(first, columns, usual), columns)
        elif format == "json" and _JSON_OVER_LINES.match(first):
            yield from _json_values(text)
        else:
            yield from (_jsonl_rows if format == "json" else _text_rows)(text)


def _told(first: str, columns: Sequence[str], delimiter: str | None = None) -> str | None:
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


class _Text(Iterator[str]):
    """A stream as text: the lines that follow ``head``, with what is wrong since :meth:`begin`.

    A record may take several lines; ``line`` is where it began. Bytes that cannot be decoded are
    surrogates, and ``fault`` says which were the first. ``head`` has the lines up to the first that
    is not blank, of which a long one is only begun.
    """

    def __init__(self, stream: io.TextIOWrapper, file: str, start: bytes) -> None:
        self._stream, self.file, self._start = stream, file, start
        self.head = [stream.readline(_HEAD).removeprefix("\ufeff")]
        while self.head[-1].isspace() and self.head[-1].endswith("\n"):
            if len(self.head) == _BLANK_LINES:
                break
            self.head.append(stream.readline(_HEAD))
        self._number = self._length = 0
        self.line, self.fault = 1, cast("FormatError | None", None)

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.line, self._length, self.fault = self._number + 1, 0, None

    def __next__(self) -> str:
        line = self.head.pop(0) if self.head else ""
        if not line.endswith("\n"):
            line += self._stream.readline(MAX_RECORD + 1)
        if not line:
            raise StopIteration
        self._number, self._length = self._number + 1, self._length + len(line)
        if self._length > MAX_RECORD:
            raise self.too_long()
        if self.fault is None and not is_storable(line):
            self.fault = self._undecodable(line, self._number)
        return line

    def pieces(self) -> Iterator[str]:
        """What follows in pieces that have nothing to do with lines."""
        for piece in chain(["".join(self.head)], iter(lambda: self._stream.read(_PIECE), "")):
            if not is_storable(piece):
                raise self._undecodable(piece, self._number + 1)
            self._number += piece.count("\n")
            yield piece

    def _undecodable(self, text: str, line: int) -> FormatError:
        encoding, likely = self._stream.encoding, None
        if encoding == "utf-8":
            raw = text.encode("utf-8", "surrogateescape")
            ahead: bytes = self._stream.buffer.peek(SAMPLE)  # type: ignore[attr-defined]
            follows = self._start.partition(raw)[2] or ahead.partition(b"\n")[2]
            likely = likely_encoding(raw + follows)
        advice = f"It looks like {likely}:" if likely else "Name the encoding, for example"
        advice += f" encoding={likely or 'gb18030'!r}"
        return _undecodable(text, self.file, line, encoding, advice)

    def wrong(self, message: str, column: int | None = None) -> FormatError:
        """The error for the current record."""
        return FormatError(message, file=self.file, line=self.line, column=column)

    def too_long(self) -> FormatError:
        """The error for a record that takes too much memory."""
        return self.wrong(
            f"a line or record of more than {MAX_RECORD >> 20} MiB. Split it into records, or "
            "check that this is the right file and that every quote is closed."
        )


def _as_surrogates(error: UnicodeError) -> tuple[str, int]:
    """As Python's surrogateescape, but of UTF-16 too, where any byte may be wrong."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + b) for b in error.object[error.start : error.end]), error.end


codecs.register_error("shoestring", _as_surrogates)


@contextmanager
def _decoded(stream: Any, file: str, encoding: str | None) -> Iterator[_Text]:
    """An open stream as text, of the encoding that is named or that its mark tells."""
    start = stream.peek(SAMPLE)
    marked = (name for mark, name in _MARKS.items() if start.startswith(mark))
    encoding = encoding or next(marked, "utf-8")
    decoder = io.TextIOWrapper(stream, encoding, "shoestring", newline="\n")
    try:
        yield _Text(decoder, file, start)
    except UnicodeError as error:  # UTF-16 without a mark
        message = f"not {encoding.upper()} ({error}). Name the encoding, such as utf-16-le."
        raise FormatError(message, file=file, line=1) from None
    finally:
        if not stream.closed:
            decoder.detach()  # it would close the stream, maybe standard input


def decoded_lines(stream: IO[bytes], file: str, longest: int = -1) -> Iterator[str]:
    """The lines of UTF-8 as text, each with its line feed; those of more characters in parts."""
    number = 1
    with io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="\n") as decoder:
        for line in iter(partial(decoder.readline, longest), ""):
            if not is_storable(line):
                likely = likely_encoding(line.encode("utf-8", "surrogateescape"))
                then = "Convert the file to UTF-8" + (f"; it looks like {likely}" if likely else "")
                raise _undecodable(line, file, number, "utf-8", then)
            yield line.removeprefix("\ufeff") if number == 1 else line
            number += line.endswith("\n")


def _undecodable(text: str, file: str, line: int, encoding: str, advice: str) -> FormatError:
    """The error for bytes in another encoding than was thought, which are surrogates in a text."""
    at = _SURROGATE.search(text).start()  # type: ignore[union-attr]
    start = text.rfind("\n", 0, at) + 1
    what = f"byte 0x{ord(text[at]) & 0xFF:02x}"
    if text.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        what = "it starts like UTF-16"
    message = f"not {encoding.upper()} ({what}). {advice}."
    where = {"line": line + text.count("\n", 0, at), "column": at - start + 1}
    return FormatError(message, file=file, **where)


def likely_encoding(sample: bytes) -> str | None:
    """The one of :data:`ENCODINGS` that some bytes are most likely written in.

    Examples
    --------
    >>> likely_encoding("怎样打开文件".encode("gb18030"))
    'gb18030'
    """
    from charset_normalizer import from_bytes

    sample = sample[:SAMPLE]
    found = from_bytes(sample, cp_isolation=ENCODINGS)
    doubts = {m.encoding: m.chaos - m.coherence + _half_width(str(m)) for m in found}
    few = 3 * sum(byte > 127 for byte in sample) < len(sample)  # letters with accents in between
    known = [name for name in ENCODINGS if name in doubts]
    return min(known, key=doubts.__getitem__, default="cp1252" if few else None)


def _half_width(text: str) -> float:
    """The share of half-width kana, which Big5 is full of when it is read as Shift JIS."""
    return sum("\uff61" <= character <= "\uff9f" for character in text) / max(1, len(text))


def _text_rows(lines: _Text) -> Iterator[Row]:
    """One text a line, in the column "text"."""
    for line in lines:
        text = line.rstrip("\r\n")
        yield lines.line, lines.fault or ({"text": text} if text.strip() else None)
        lines.begin()


def _has_no_header(first: str, columns: Sequence[str], ending: str) -> bool:
    fields = [name.strip() for name in first.split("\t")]
    is_table = ending in ("", ".tsv", ".txt") and not _JSON_START.match(first)
    return is_table and len(fields) > 1 and not {*columns[:2]} & {*fields}


def _fields_rows(lines: _Text, names: Sequence[str]) -> Iterator[Row]:
    """Rows text TAB text TAB label without a header, of which the label may be left out.

    Quotes are characters like others. Where there is no name for a second text, it is put behind
    the first, with the tab between them.
    """
    for line in lines:
        fields = line.rstrip("\r\n").split("\t")
        row: Mapping[str, Any] | FormatError | None = lines.fault
        if row is None and line.strip():
            if len(fields) in (2, 3):
                is_one = len(names) < 3
                fields = ["\t".join(fields[:2]), *fields[2:]] if is_one else fields
                row = dict(zip(names, fields, strict=False))
            else:
                n = "one column" if len(fields) == 1 else f"{len(fields)} columns"
                row = lines.wrong(f"{n}. A row without a header is text TAB text, or with TAB 0/1.")
        yield lines.line, row
        lines.begin()


def _jsonl_rows(lines: _Text) -> Iterator[Row]:
    """One JSON object a line; blank lines are passed over."""
    for line in lines:
        if line.strip():
            yield lines.line, lines.fault or _json_line(line, lines.wrong)
        lines.begin()


def _json_line(line: str, wrong: Callable[..., FormatError]) -> Mapping[str, Any] | FormatError:
    try:
        return _json_row(json.loads(line), wrong)
    except json.JSONDecodeError as error:
        return wrong(BROKEN.format(error.msg), error.colno)
    except (ValueError, RecursionError) as error:  # an integer too long, brackets too deep
        return wrong(f"JSON beyond limits ({error}).")


def _json_row(value: Any, wrong: Callable[..., FormatError]) -> Mapping[str, Any] | FormatError:
    if isinstance(value, dict):
        return value
    kind = type(value).__name__
    message = f'a JSON {kind}, not an object. Each record must look like {{"text": "..."}}.'
    return {"text": value} if isinstance(value, str) else wrong(message)


def _json_values(source: _Text) -> Iterator[Row]:
    """The objects or texts of an array, or objects one after the other, over any lines."""
    decode = json.JSONDecoder().raw_decode
    pieces = source.pieces()
    text, counted = next(pieces), 0
    in_array = text.lstrip().startswith("[")
    at = text.index("[") + 1 if in_array else 0
    while True:
        at = _JSON_BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        source.line, counted = source.line + text.count("\n", counted, at), at
        if in_array and text.startswith("]", at):
            if any(part.strip() for part in chain([text[at + 1 :]], pieces)):
                raise source.wrong("text after the end of the JSON array.")
            return
        fault = "it ends before the array does"
        if at < len(text):
            try:
                value, at = decode(text, at)
                yield source.line, _json_row(value, source.wrong)
                continue
            except json.JSONDecodeError as error:
                fault = error.msg
                # not because the rest is missing: that is found at the end of what is there
                if error.pos < len(text) - 16 and not error.msg.startswith("Unterminated"):
                    source.line += text.count("\n", counted, error.pos)
                    raise source.wrong(BROKEN.format(fault), error.colno) from None
            except (ValueError, RecursionError) as error:
                raise source.wrong(f"JSON beyond limits ({error}).") from None
        more = next(pieces, "")
        if not more:
            if at == len(text) and not in_array:
                return
            raise source.wrong(BROKEN.format(fault))
        if len(text) - at > MAX_RECORD:
            raise source.too_long()
        text, at, counted = text[at:] + more, 0, 0


def _csv_rows(lines: _Text, delimiter: str, columns: Sequence[str]) -> Iterator[Row]:
    """Rows under a header; quoted fields may span lines; blank lines are passed over."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))  # one for the process
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = lines.wrong(
                f"broken quoting or line ends ({error}). Quote the field and double the quotes "
                "inside it."
            )
            if header is None or "end of data" in str(error):  # else the next line is a new row
                raise fault from None
            yield lines.line, fault
            continue
        if header is None and fields:
            if lines.fault:
                raise lines.fault
            header = [name.strip() for name in fields]
            check_names(header, columns, lines.file, lines.line)
        elif header is not None and fields:
            row: Mapping[str, Any] | FormatError | None = lines.fault
            if row is None and len(fields) != len(header):
                row = lines.wrong(
                    f"{len(fields)} fields where the header has {len(header)}. Quote fields that "
                    f"contain {delimiter!r}, quotes or line feeds, or pass on_bad='skip'."
                )
            yield lines.line, row or dict(zip(header, fields, strict=True))


def check_names(
    names: Sequence[str], columns: Sequence[str], file: str | None, line: int | None
) -> None:
    """Refuse a column that is asked for and there twice."""
    if twice := sorted({name for name in names if name in columns and names.count(name) > 1}):
        there = ", ".join(map(repr, twice))
        raise FormatError(f"the header names {there} twice. Rename one.", file=file, line=line)


def _parquet_rows(stream: Any, file: str, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a parquet file, decoded a record batch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not stream.seekable() or isinstance(stream, gzip.GzipFile):
        raise FormatError("parquet cannot be read from a pipe or gzip. Name the file.", file=file)
    n_rows = 0
    stream.seek(0)
    try:
        with pq.ParquetFile(stream) as parquet:
            check_names(parquet.schema_arrow.names, columns, file, None)
            for batch in parquet.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                yield from enumerate(batch.to_pylist(), start=n_rows + 1)
                n_rows += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(
            f"damaged or no parquet ({reason}). Write or copy the file again.",
            file=file,
            line=n_rows + 1 if n_rows else None,
        ) from error
