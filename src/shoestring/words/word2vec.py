"""The word2vec text and binary formats, and GloVe's text, read in bounded memory.

See :mod:`shoestring.words.interchange` for what the formats are. A header is checked against the
size of the file before memory is taken for what it promises.

Letters: V words, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import FormatError, ShoestringWarning
from shoestring.text.files import open_unpacked

_MAX_LINE_BYTES = 1 << 22
_MAX_WORD_BYTES = 1 << 16
_MAX_DIMS = 1 << 16
_MAX_PACKING = 1032  # what deflate packs at best: bounds what a header can promise

Words = tuple[list[str], NDArray[np.float32]]


def read_word2vec(path: Path, binary: bool | None) -> Words:
    """Read a file of one of these formats: V words and vectors (V, D).

    Raises
    ------
    FormatError
        As :func:`shoestring.words.interchange.read_vectors`.
    """
    with open_unpacked(path, _is_gzip(path)) as stream:
        first = stream.readline(_MAX_LINE_BYTES)
        if not first.strip():
            raise FormatError("the file is empty or starts with an empty line.", file=path)
        header = _header(first, path)
        if header is None:
            return _read_text(path, stream, first, None)
        if binary is None:
            start = stream.peek(1 << 13)  # type: ignore[attr-defined]  # both kinds have it
            binary = _looks_binary(start, header[1])
        if binary:
            return _read_binary(path, stream, *header)
        return _read_text(path, stream, b"", header)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _header(line: bytes, path: Path) -> tuple[int, int] | None:
    """V and D of a word2vec file; None where the first line is a vector already."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    n_words, n_dims = map(int, fields)
    most = path.stat().st_size * (_MAX_PACKING if _is_gzip(path) else 1) // (2 * max(1, n_dims))
    if not n_words or not 1 <= n_dims <= _MAX_DIMS or n_words > most:
        raise FormatError(
            f"the header promises {n_words} vectors of width {n_dims}, which "
            f"{'is nothing' if not n_words or not n_dims else 'the file is too short for'}. "
            "Write or copy the file again.",
            file=path,
            line=1,
        )
    return n_words, n_dims


def _looks_binary(start: bytes, n_dims: int) -> bool:
    """Whether the first vector does not end as a line of numbers does."""
    line, feed, _ = start.partition(b"\n")
    if not feed:  # the line goes on: its last number may be cut
        line = line.rpartition(b" ")[0]
    return _n_trailing_numbers(line) < min(n_dims, 2)


class _Rows:
    """Collects words and vectors; a word that comes again is passed over."""

    def __init__(self, path: Path, n_words: int | None, n_dims: int) -> None:
        self.path, self.n_dims = path, n_dims
        self.index: dict[str, int] = {}
        self._vectors = np.empty((n_words or 1 << 10, n_dims), np.float32)

    def add(self, word: bytes, vector: Any, where: str, line: int | None) -> None:
        """Add one row; ``where`` and ``line`` say which, for the message."""
        try:
            key = word.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            what = f"{where} is not UTF-8 (byte 0x{word[error.start]:02x})"
            raise self._fault(f"{what}. Convert the file, or say binary=True", line) from None
        if not key:
            raise self._fault(f"{where} is empty, where a word must stand", line)
        if key in self.index:
            return
        if len(self.index) == len(self._vectors):
            self._vectors = np.resize(self._vectors, (2 * len(self._vectors), self.n_dims))
        row = self._vectors[len(self.index)]
        row[:] = vector
        if not np.isfinite(row).all():
            raise self._fault(f"the vector of {key!r} has a number that is not finite", line)
        self.index[key] = len(self.index)

    def _fault(self, message: str, line: int | None) -> FormatError:
        return FormatError(f"{message}.", file=self.path, line=line)

    def finished(self) -> Words:
        """What was collected."""
        return list(self.index), self._vectors[: len(self.index)]


def _read_text(path: Path, lines: IO[bytes], first: bytes, header: tuple[int, int] | None) -> Words:
    n_words, n_dims = header or (None, _n_trailing_numbers(first))
    if not n_dims:
        raise FormatError(
            "no word vectors: the first line must be 'V D', or a word and its numbers. "
            f"Got {first[:40].decode('utf-8', 'replace').rstrip()!r}. Known formats: word2vec text "
            "and binary, GloVe, npz.",
            file=path,
            line=1,
        )
    rows = _Rows(path, n_words, n_dims)
    number, n_read = (1, 0) if header else (0, 0)
    line = first
    for line in _with_first(first, lines):
        number += 1
        fields = line.rstrip(b" \t\r\n").rsplit(None, n_dims)
        if not fields and n_read == n_words:
            continue
        vector = _numbers(fields[1:]) if len(fields) == n_dims + 1 else None
        if vector is None:
            raise FormatError(
                f"a vector of {_n_trailing_numbers(line)} numbers, where {n_dims} must follow the "
                "word. The file may be cut off or damaged: write or copy it again.",
                file=path,
                line=number,
            )
        rows.add(fields[0].strip(), vector, "the word", number)
        n_read += 1
    if n_words is not None and n_read != n_words:
        raise FormatError(_wrong_number(n_read, n_words), file=path, line=number)
    if n_words is not None and not line.endswith(b"\n"):  # whoever writes a header ends each line
        warnings.warn(
            f"{path}:{number}: the last line has no end, so its last number may be cut off.",
            ShoestringWarning,
            stacklevel=2,
        )
    return rows.finished()


def _wrong_number(n_read: int, n_words: int) -> str:
    return (
        f"{n_read} vectors, where the header promises {n_words}. The file may be cut off: write or "
        "copy it again."
    )


def _with_first(first: bytes, lines: IO[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    while line := lines.readline():
        yield line


def _numbers(fields: Sequence[bytes]) -> list[float] | None:
    try:
        return [float(field) for field in fields]
    except ValueError:
        return None


def _n_trailing_numbers(line: bytes) -> int:
    """How many numbers end the line, the word in front not counted."""
    fields = line.split()
    n_numbers = 0
    while n_numbers < len(fields) - 1 and _numbers(fields[-1 - n_numbers :][:1]) is not None:
        n_numbers += 1
    return n_numbers


def _read_binary(path: Path, stream: IO[bytes], n_words: int, n_dims: int) -> Words:
    rows = _Rows(path, n_words, n_dims)
    for i in range(n_words):
        word = _word_before_blank(stream)
        data = stream.read(4 * n_dims)
        if word is None or len(data) < 4 * n_dims:
            raise FormatError(_wrong_number(i, n_words), file=path)
        rows.add(word, np.frombuffer(data, "<f4"), f"word {i + 1}", None)
    rest = stream.read(2).strip()
    if rest:
        raise FormatError(
            f"more than the {n_words} vectors of width {n_dims} that the header promises. It may "
            "be text, or damaged: say binary=False, or write it again.",
            file=path,
        )
    return rows.finished()


def _word_before_blank(stream: IO[bytes]) -> bytes | None:
    """The bytes up to the next blank; None where the file ends, or it is no word."""
    word = bytearray()
    while (byte := stream.read(1)) != b" ":
        if not byte or len(word) > _MAX_WORD_BYTES:
            return None
        word += byte
    return bytes(word).lstrip(b"\r\n")
