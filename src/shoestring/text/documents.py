"""Files of running text to documents, one after the other, in bounded memory.

A document is a list of paragraphs. What is one depends on the file:

- **Plain text** (any ending but those below, also ``.gz``): every line that is not blank, as for
  ``read_records``; with ``wrapped=True`` all lines up to an empty one, for text that was broken
  into short lines.
- **WikiExtractor's markup** (a file whose first line starts with ``<doc``): an article without its
  title, a paragraph per line. Stubs that have only a title, and the pages of :data:`NAMESPACES`,
  are dropped; tags are removed and entities resolved.
- **HTML** (.html .htm, or a file that starts like it): its text, a paragraph for each block,
  without scripts and styles.
- **Records** (.jsonl .ndjson .json .csv .tsv .parquet, or a file or pipe of another name that
  starts like JSON objects or with a header that has the column): the text of a record.
- **.zip**: each member that is not of records, in the order of the names.

Text is UTF-8, as everywhere in this room: a byte that is not raises ``FormatError`` with file, line
and column, and so does a file with a NUL byte in its first 64 KiB.

Not covered: records inside a zip, tar archives, XML, wikitext that was not extracted.
"""

from __future__ import annotations

import html
import html.parser
import re
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TypeAlias

from shoestring.checks import checked_bool, checked_path
from shoestring.errors import FormatError, ParameterError, StorageError, short
from shoestring.text.files import (
    FORMATS,
    check_readable,
    decoded_lines,
    ending_of,
    open_unpacked,
    stream_rows,
)
from shoestring.text.records import read_records

Document: TypeAlias = list[str]

NAMESPACES = frozenset(
    (
        *("category", "wikipedia", "mediawiki", "template", "help", "file", "portal", "module"),
        *("分类", "分類", "维基百科", "維基百科", "模板", "帮助", "幫助", "文件", "档案", "檔案"),
    )
)
"""Pages whose titles start with one of these and a colon are not articles."""

MAX_LINE_BYTES = 1 << 20
"""A longer line is cut at a blank: some corpora are a single line."""

MAX_PARAGRAPH_LINES = 10_000
"""A longer paragraph of wrapped text is cut."""

_HEAD_BYTES = 1 << 16
_DOC = re.compile(r"<doc .*?title=\"(.*?)\"")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_JSON = re.compile(r'(\[\s*)?\{\s*"')
_HTML = re.compile(r"(<\?xml[^>]*>\s*)?<(!doctype\s+html|html)\b", re.IGNORECASE)
_HIDDEN = frozenset(("script", "style", "template"))
_INLINE = frozenset(
    (
        *("a", "abbr", "b", "bdi", "cite", "code", "em", "i", "kbd", "mark", "q", "s", "small"),
        *("span", "strong", "sub", "sup", "u", "var"),
    )
)


def text_files(paths: Iterable[str | Path]) -> list[Path]:
    """The files of a corpus; a folder stands for all below it, sorted by name, but hidden ones.

    ParameterError if there is no path; StorageError if a file is missing or may not be read, or a
    folder has no files.
    """
    files: list[Path] = []
    for path in (checked_path("paths", path, "the corpus") for path in paths):
        found = _files_below(path) if path.is_dir() else [path]
        if not found:
            raise StorageError(f"The folder {path} has no files. Name another one.")
        for file in found:
            check_readable(file)
        files += found
    if not files:
        raise ParameterError("There are no files to read. Name at least one file or folder.")
    return files


def _files_below(folder: Path) -> list[Path]:
    found = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    visible = (file for file in found if not any(part.startswith(".") for part in file.parts))
    return [folder / file for file in sorted(visible, key=lambda file: file.parts)]


def read_documents(
    path: str | Path,
    text: str = "text",
    *,
    wrapped: bool = False,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> Generator[Document, None, None]:
    r"""Read the documents of one file.

    Parameters
    ----------
    path : str or Path
        One of the kinds above.
    text : str
        Column of the text, for records.
    wrapped : bool
        In plain text a paragraph ends at an empty line, not at every line.
    on_bytes : callable, optional
        Called with the number of bytes read since the last call, for a progress bar.

    Yields
    ------
    list of str
        The paragraphs of a document, none of them blank.

    Raises
    ------
    StorageError
        If the file is missing or cannot be read.
    FormatError
        If it is not what its name says, not text, or a record lacks the column.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> page = '<doc id="1" url="" title="Rain">\nRain\n\nIt falls.\n</doc>\n'
    >>> _ = (folder / "wiki_00").write_text(page)
    >>> list(read_documents(folder / "wiki_00"))
    [['It falls.']]
    """
    path = checked_path("path", path, "read_documents")
    checked_bool("wrapped", wrapped, "read_documents")
    if not isinstance(text, str):
        raise ParameterError.of("text", "read_documents", "the name of a column", text)
    check_readable(path)
    ending, packed = ending_of(path)
    if ending in FORMATS and ending != ".txt":
        left = path.stat().st_size
        for record in read_records(path, text, on_empty="skip"):
            n_bytes = min(left, len(record.text.encode("utf-8", "replace")))
            on_bytes(n_bytes)
            left -= n_bytes
            yield [record.text]
        on_bytes(left)
    elif ending == ".zip" and not packed:
        with open_unpacked(path, on_bytes) as stream:
            yield from _zip_documents(stream, path, text, wrapped)
    else:
        with open_unpacked(path, on_bytes) as stream:
            yield from _documents(stream, str(path), ending, text, wrapped)


def _zip_documents(stream: IO[bytes], path: Path, text: str, wrapped: bool) -> Iterator[Document]:
    try:
        with zipfile.ZipFile(stream) as archive:
            for member in sorted(archive.infolist(), key=lambda member: member.filename):
                hidden = member.filename.startswith(("__MACOSX/", ".")) or "/." in member.filename
                if member.is_dir() or hidden:
                    continue
                name = f"{path}/{member.filename}"
                ending = Path(member.filename).suffix.lower()
                if ending in FORMATS and ending != ".txt":
                    raise FormatError("records inside a zip. Unpack them first.", file=name)
                with archive.open(member) as inner:
                    yield from _documents(inner, name, ending, text, wrapped)
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError) as error:
        raise FormatError(f"the zip is damaged ({error}). Copy it again.", file=path) from error
    except RuntimeError as error:  # how zipfile says that a member is encrypted
        if "encrypted" not in str(error):
            raise
        raise FormatError(f"{error}. Unpack it first.", file=path) from error


def _documents(
    stream: IO[bytes], file: str, ending: str, text: str, wrapped: bool
) -> Iterator[Document]:
    head: bytes = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]  # type: ignore[attr-defined]
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):  # told as UTF-16 below
        message = f"not text (a NUL byte at byte {head.index(0)}). Leave the file out or convert it"
        raise FormatError(f"{message} to UTF-8 text.", file=file)
    start = head.decode("utf-8", "ignore").removeprefix("\ufeff").lstrip()
    header = start.partition("\n")[0]
    is_table = text in re.split(r"[,;\t|]", header.replace('"', "").strip()) and header != text
    if ending != ".txt" and (_JSON.match(start) or is_table):
        return _record_documents(stream, file, text)
    lines = (line.strip() for line in _bounded_lines(stream, file))
    if ending in (".html", ".htm") or (ending != ".txt" and _HTML.match(start)):
        return iter([_html_document(lines)])
    if ending != ".txt" and start.startswith("<?xml"):
        message = "XML, whose tags would become words. Extract its text, or name it .txt."
        raise FormatError(message, file=file, line=1)
    first = next(filter(None, lines), "")
    if first.startswith("<doc "):
        return _wiki_documents(chain([first], lines))
    return _plain_documents(chain([first], lines), wrapped)


def _record_documents(stream: IO[bytes], file: str, text: str) -> Iterator[Document]:
    for line, row in stream_rows(stream, file, (text,)):
        if isinstance(row, FormatError):
            raise row
        value = None if row is None else row.get(text, row)
        if isinstance(value, str) and value.strip():
            yield [value]
        elif not isinstance(value, str | None):
            message = f"no text in the column {text!r}: {short(row)}. Fill it in or leave it out."
            raise FormatError(message, file=file, line=line)


class _Page(html.parser.HTMLParser):
    """The text of a page, a line feed where a block begins or ends."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces, self.hidden = [""], False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden = self.hidden or tag in _HIDDEN
        self.pieces.append("" if tag in _INLINE else "\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = self.hidden and tag not in _HIDDEN
        self.pieces.append("" if tag in _INLINE else "\n")

    def handle_data(self, data: str) -> None:
        self.pieces.append("" if self.hidden else data.replace("\n", " "))


def _html_document(lines: Iterable[str]) -> Document:
    page = _Page()
    for line in lines:
        page.feed(line + "\n")
    page.close()
    paragraphs = (" ".join(line.split()) for line in "".join(page.pieces).split("\n"))
    return [paragraph for paragraph in paragraphs if paragraph]


def _bounded_lines(stream: IO[bytes], file: str) -> Iterator[str]:
    longest = MAX_LINE_BYTES // 4  # characters, of at most 4 bytes
    rest = ""
    for piece in decoded_lines(stream, file, longest):
        line = rest + piece
        is_whole = len(piece) < longest or line.endswith("\n")
        cut = (0 if is_whole else line.rfind(" ") + 1) or len(line)
        yield line[:cut]
        rest = line[cut:]
    if rest:
        yield rest


def _plain_documents(lines: Iterable[str], wrapped: bool) -> Iterator[Document]:
    if not wrapped:
        yield from ([line] for line in lines if line)
        return
    paragraph: list[str] = []
    for line in chain(lines, [""]):
        if line:
            paragraph.append(line)
        if paragraph and (not line or len(paragraph) == MAX_PARAGRAPH_LINES):
            yield [" ".join(paragraph)]
            paragraph = []


def _wiki_documents(lines: Iterable[str]) -> Iterator[Document]:
    title, paragraphs = "", Document()
    for line in chain(lines, ["</doc>"]):  # the last article may have been cut off
        if line.startswith("<doc ") or line == "</doc>":
            body = paragraphs[1:] if paragraphs[:1] == [title] else paragraphs
            if body and title.partition(":")[0].lower() not in NAMESPACES:
                yield body
            found = _DOC.match(line)
            title, paragraphs = html.unescape(found[1]) if found else "", []
        elif line:
            plain = _TAG.sub(" ", line).strip() if "<" in line else line
            paragraphs.append(html.unescape(plain) if "&" in plain else plain)
