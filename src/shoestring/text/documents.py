"""Files of running text to documents, one after the other, in bounded memory.

A document is a list of paragraphs. What is one depends on the file, which may be packed by gzip:

- **Plain text** (any ending but those below): every line that is not blank, as for
  ``read_records``.
- **WikiExtractor's markup** (a file whose first line starts with ``<doc``): an article without its
  title, a paragraph per line. Stubs that have only a title, and the pages of :data:`NAMESPACES`,
  are dropped; tags are removed and entities resolved.
- **Records** (.jsonl .ndjson .json .csv .tsv .parquet, or a file or pipe of another name that
  starts like JSON objects or with a header that has the column): the text of a record.

Text is UTF-8, or UTF-16 by its mark, as everywhere in this room; a byte that is not raises
``FormatError`` with file, line and column, and so do a NUL in its first 16 KiB, HTML and XML.

Not covered: HTML, XML and wikitext, whose text has to be extracted first; archives.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TypeAlias

from shoestring.checks import checked_path, checked_str
from shoestring.errors import FormatError, ParameterError, StorageError, short
from shoestring.text.files import (
    CONVERT_IT,
    FORMATS,
    Text,
    check_readable,
    decoded,
    ending_of,
    rows_of,
    told,
    unpacked,
)

Document: TypeAlias = list[str]

NAMESPACES = frozenset(
    (
        *("category", "wikipedia", "mediawiki", "template", "help", "file", "portal", "module"),
        *("分类", "分類", "维基百科", "維基百科", "模板", "帮助", "幫助", "文件", "档案", "檔案"),
    )
)
"""Pages whose titles start with one of these and a colon are not articles."""

MAX_LINE = 1 << 18
"""A line of more characters is cut at a blank: some corpora are a single line."""

_DOC = re.compile(r"<doc .*?title=\"(.*?)\"")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_MARKED_UP = (".html", ".htm", ".xml")
_MARKUP = re.compile(r"<(\?xml|!doctype\s+html|html)\b", re.IGNORECASE)


def text_files(paths: Iterable[str | Path]) -> list[Path]:
    """The files of a corpus; a folder stands for all below it, sorted by name, but hidden ones.

    ParameterError if there is no path; StorageError if a file is missing or may not be read, or a
    folder has no files.
    """
    files: list[Path] = []
    for path in (checked_path("paths", path, "the corpus") for path in paths):
        found = [path]
        if path.is_dir():
            parts = (file.relative_to(path).parts for file in path.rglob("*") if file.is_file())
            visible = (names for names in parts if not any(n.startswith(".") for n in names))
            found = [path.joinpath(*names) for names in sorted(visible)]
        if not found:
            raise StorageError(f"The folder {path} has no files. Name another one.")
        for file in found:
            check_readable(file)
        files += found
    if not files:
        raise ParameterError("There are no files to read. Name at least one file or folder.")
    return files


def read_documents(path: str | Path, text: str = "text") -> Iterator[Document]:
    r"""Read the documents of one file.

    Parameters
    ----------
    path : str or Path
        One of the kinds above.
    text : str
        Column of the text, for records.

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
    checked_str("text", text, "read_documents")
    check_readable(path)
    with path.open("rb") as file:
        yield from documents_of(file, path, text)


def documents_of(file: IO[bytes], path: Path, text: str) -> Iterator[Document]:
    """The same of a file that is open."""
    ending = ending_of(path)[0]
    with (
        unpacked(file, str(path)) as stream,
        decoded(stream, str(path), remedy=CONVERT_IT) as content,
    ):
        first = content.head[-1].strip()
        is_records = ending in FORMATS or (first != text and told(first, (text,)))
        if ending != ".txt" and is_records:
            yield from _record_documents(content, ending, text)
        elif ending != ".txt" and (ending in _MARKED_UP or _MARKUP.match(first)):
            message = "HTML or XML, whose tags would become words. Extract its text, or name it "
            raise FormatError(f"{message}.txt.", file=path, line=1)
        elif b"\0" in content.start and content.stream.encoding == "utf-8":
            message = f"not text (a NUL byte at byte {content.start.index(0)}). Leave the file out "
            raise FormatError(f"{message}or convert it to UTF-8 text.", file=path)
        elif first.startswith("<doc "):
            yield from _wiki_documents(_lines(content))
        else:
            yield from ([line] for line in _lines(content) if line)


def _record_documents(content: Text, ending: str, text: str) -> Iterator[Document]:
    for line, row in rows_of(content, ending, (text,)):
        if isinstance(row, FormatError):
            raise row
        value = None if row is None else row.get(text, row)
        if isinstance(value, str) and value.strip():
            yield [value]
        elif not isinstance(value, str | None):
            message = f"no text in the column {text!r}: {short(row)}. Fill it in or leave it out."
            raise FormatError(message, file=content.file, line=line)


def _lines(content: Text) -> Iterator[str]:
    """The lines of a text without the blanks around them, long ones cut."""
    rest = ""
    for piece in content.pieces():
        *lines, rest = (rest + piece).split("\n")
        yield from map(str.strip, lines)
        while len(rest) > MAX_LINE:
            cut = rest.rfind(" ", 0, MAX_LINE) + 1 or MAX_LINE
            yield rest[:cut].strip()
            rest = rest[cut:]
    yield rest.strip()


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
