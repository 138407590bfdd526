"""Word vectors of other tools, in and out: word2vec text and binary, GloVe's text.

- **word2vec text**: a line ``V D``, then a line for each word: the word, D numbers, one blank each.
- **GloVe**: the same without the first line; words may have blanks in them.
- **word2vec binary**: the line ``V D``, then for each word its bytes, a blank, D little-endian
  float32 numbers and perhaps a line feed (the C program writes one, gensim none).

All may be gzip'd. Which format a file has is seen from its first bytes; a byte-order mark there is
passed over. So is a bad word: one that is not UTF-8 or blank, comes again, or whose vector is not
finite; a note counts them. Memory: the vectors, once.

Not covered: subword vectors (fastText's .bin), float16 binaries.

Letters: V words, D width.
"""

from __future__ import annotations

import codecs
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import written_aside
from shoestring.checks import checked_choice, checked_int, checked_path
from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.text.files import open_unpacked

Format = Literal["word2vec", "word2vec-binary"]
FORMATS: tuple[Format, ...] = ("word2vec", "word2vec-binary")

_MAX_LINE_BYTES = 1 << 22
_MAX_WORD_BYTES = 1 << 16
_MAX_DIMS = 1 << 16

_Row: TypeAlias = tuple[bytes, Any, str]  # word, vector, where it is
_AGAIN = "that came before"


class WordVectors(NamedTuple):
    """Words with a vector each, as a file has them."""

    words: list[str]  # (V,): distinct; by convention the most frequent first
    vectors: NDArray[np.float32]  # (V, D)


def read_vectors(path: str | Path, *, limit: int | None = None) -> WordVectors:
    """Read the word vectors of a file in any of the formats of this module.

    ``limit`` reads only the first so many words, the most frequent ones in most files. About 30
    microseconds for a vector of 300 numbers in text, 1 in binary.

    StorageError or FormatError if the file is missing, is none of the formats or cut off, if a
    vector has another width or most of the words are bad. A ShoestringWarning says how many bad
    words were passed over.
    """
    path = checked_path("path", path, "read_vectors")
    limit = None if limit is None else checked_int("limit", limit, 1, 1 << 31, "read_vectors")
    with open_unpacked(path) as stream:
        lines = iter(stream.readline, b"")
        first = stream.readline(_MAX_LINE_BYTES).removeprefix(codecs.BOM_UTF8)
        if not first.strip():
            raise FormatError("the file is empty or starts with an empty line.", file=path)
        n_words, n_dims = _header(first, path)
        if n_words is None:
            rows = _text_rows(path, chain([first], lines), 1, n_dims)
        elif _looks_binary(stream.peek(1 << 13), n_dims):  # type: ignore[attr-defined]  # both can
            rows = _binary_rows(path, stream, n_words, n_dims)
        else:
            rows = _text_rows(path, lines, 2, n_dims)
        return _collected(path, islice(rows, limit), n_dims, n_words, limit)


def write_vectors(
    path: str | Path, words: Sequence[str], vectors: NDArray[Any], format: Format = "word2vec"
) -> None:
    """Write word vectors (V, D) for other tools; the file appears whole or not at all.

    gensim's ``KeyedVectors.load_word2vec_format`` reads both formats. ParameterError for a word
    with a blank in it.
    """
    checked_choice("format", format, FORMATS, "write_vectors")
    with written_aside(checked_path("path", path, "write_vectors")) as file:
        file.write("{} {}\n".format(*vectors.shape).encode())
        for word, row in zip(words, vectors, strict=True):
            if not word or any(blank in word for blank in " \t\r\n\v\f"):
                want = f"made of words without blanks for {format}"
                raise ParameterError.of("words", "write_vectors", want, word)
            file.write(word.encode("utf-8", "surrogatepass") + b" ")
            if format == "word2vec-binary":
                file.write(row.astype("<f4").tobytes())
            else:  # a row of float32 prints 7 digits
                file.write(" ".join(map(str, row)).encode() + b"\n")


def _header(line: bytes, path: Path) -> tuple[int | None, int]:
    """V and D of a word2vec file; None and D where the first line is a vector already."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None, _n_numbers(line)
    n_words, n_dims = map(int, fields)
    if not n_words or not 1 <= n_dims <= _MAX_DIMS:
        message = f"the header promises {n_words} vectors of width {n_dims}. Write the file again."
        raise FormatError(message, file=path, line=1)
    return n_words, n_dims


def _looks_binary(start: bytes, n_dims: int) -> bool:
    """Whether the first vector does not end as a line of numbers does."""
    line, feed, _ = start.partition(b"\n")
    if not feed:  # the line goes on: its last number may be cut
        line = line.rpartition(b" ")[0]
    return _n_numbers(line) < min(n_dims, 2)


def _collected(
    path: Path, rows: Iterator[_Row], n_dims: int, n_words: int | None, limit: int | None
) -> WordVectors:
    """The words and their vectors but the bad ones, whose kinds are counted and reported."""
    known: dict[bytes, None] = {}  # in their order
    numbers, bad, first_bad = bytearray(), Counter[str](), ""
    for word, given, place in rows:
        with np.errstate(over="ignore"):
            vector = np.asarray(given, np.float32)
        if fault := _fault(word, vector, known):
            bad[fault] += 1
            first_bad = first_bad or place
        else:
            known[word] = None
            numbers += vector.data.cast("B")
    n_read = len(known) + bad.total()
    if n_words is not None and n_read != min(n_words, limit or n_words):
        raise FormatError(
            f"{n_read} vectors, where the header promises {n_words}. The file may be cut off: "
            "write or copy it again.",
            file=path,
        )
    told = ", ".join(f"{n} {fault}" for fault, n in bad.items()) + f"; first {first_bad}."
    if 2 * (bad.total() - bad[_AGAIN]) > n_read:
        raise FormatError(
            f"most of its {n_read} words are bad: {told} Convert the file to UTF-8.", file=path
        )
    if bad:
        message = f"{path}: {bad.total()} of {n_read} words are passed over: {told}"
        warnings.warn(message, ShoestringWarning, stacklevel=4)
    words = [word.decode("utf-8", "surrogatepass") for word in known]
    return WordVectors(words, np.frombuffer(numbers, np.float32).reshape(-1, n_dims))


def _fault(word: bytes, vector: NDArray[np.float32], known: Container[bytes]) -> str:
    """What is wrong with a word and its vector."""
    try:
        word.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return "not UTF-8"
    if not word:
        return "blank"
    if word in known:
        return _AGAIN
    return "" if np.isfinite(vector).all() else "with numbers that are not finite"


def _text_rows(path: Path, lines: Iterable[bytes], first_line: int, n_dims: int) -> Iterator[_Row]:
    """Lines of a word and its numbers."""
    for number, line in enumerate(lines, start=first_line):
        if not n_dims:
            raise FormatError(
                "no word vectors: the first line must be 'V D', or a word and its numbers. Got "
                f"{line[:40].decode('utf-8', 'replace').rstrip()!r}. Known formats: word2vec text "
                "and binary, GloVe.",
                file=path,
                line=1,
            )
        fields = line.rstrip(b" \t\r\n").rsplit(None, n_dims)
        if not fields:
            continue
        if len(fields) == n_dims and line[:1].isspace():
            fields.insert(0, b"")  # the word is blank
        vector = _numbers(fields[1:]) if len(fields) == n_dims + 1 else None
        if vector is None:
            raise FormatError(
                f"a vector of {_n_numbers(line)} numbers, where {n_dims} must follow the word. The "
                "file may be cut off or damaged: write or copy it again.",
                file=path,
                line=number,
            )
        yield fields[0].strip(), vector, f"line {number}"


def _binary_rows(path: Path, stream: IO[bytes], n_words: int, n_dims: int) -> Iterator[_Row]:
    for number in range(1, n_words + 1):
        word = _word_before_blank(stream)
        data = stream.read(4 * n_dims)
        if word is None or len(data) < 4 * n_dims:
            return  # one is missing
        yield word, np.frombuffer(data, "<f4"), f"word {number}"
    if stream.read(2).strip():
        raise FormatError(
            f"more than the {n_words} vectors of width {n_dims} that the header promises. It may "
            "be damaged: write it again.",
            file=path,
        )


def _numbers(fields: Sequence[bytes]) -> list[float] | None:
    try:
        return [float(field) for field in fields]
    except ValueError:
        return None


def _n_numbers(line: bytes) -> int:
    """How many numbers end the line, the word in front not counted."""
    fields = reversed(line.split()[1:])
    return sum(1 for _ in takewhile(lambda field: _numbers([field]) is not None, fields))


def _word_before_blank(stream: IO[bytes]) -> bytes | None:
    """The bytes up to the next blank; None where the file ends, or it is no word."""
    word = bytearray()
    while (byte := stream.read(1)) != b" ":
        if not byte or len(word) > _MAX_WORD_BYTES:
            return None
        word += byte
    return bytes(word).lstrip(b"\r\n")
