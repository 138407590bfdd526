"""Word vectors of other tools, in and out: word2vec text and binary, GloVe's text, npz.

- **word2vec text**: a line ``V D``, then a line for each word: the word, D numbers, one blank each.
- **GloVe**: the same without the first line; words may have blanks in them.
- **word2vec binary**: the line ``V D``, then for each word its bytes, a blank, D little-endian
  float32 numbers and perhaps a line feed (the C program writes one, gensim none).
- **npz**: arrays ``words`` (V,) of str and ``vectors`` (V, D) of numbers, perhaps ``counts`` (V,)
  and ``context`` (V, D), the vectors of the words where they are the context of another, and
  ``context_weight`` (), with which they are added.

All may be gzip'd but npz, which is packed as it is. Nothing is pickled. Which format a file has is
seen from its first bytes. Memory: the vectors, once.

Not covered: subword vectors (fastText's .bin), float16 binaries.

Letters: V words, D width.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import written_aside
from shoestring.errors import FormatError, ParameterError, ShapeError
from shoestring.text.files import check_readable
from shoestring.types import IntArray
from shoestring.words.word2vec import read_word2vec

Format = Literal["word2vec", "word2vec-binary", "npz"]
FORMATS: tuple[Format, ...] = ("word2vec", "word2vec-binary", "npz")

_WRITE_ROWS = 1024
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True, eq=False)
class WordVectors:
    """Words with a vector each, as a file has them.

    Parameters
    ----------
    words : list of str (V,)
        Distinct; by convention the most frequent word first.
    vectors : array (V, D)
        float32, or uint8 where all numbers are 0 or 1.
    counts : int64 array (V,), optional
        How often each word occurs.
    context : float32 array (V, D), optional
        The words as context of another.
    context_weight : float, optional
        With which they are added.

    Raises
    ------
    ShapeError
        If the arrays do not have a row for each word.
    """

    words: list[str]
    vectors: NDArray[Any]
    counts: IntArray | None = None
    context: NDArray[np.float32] | None = None
    context_weight: float | None = None

    def __post_init__(self) -> None:
        """See that the parts fit together."""
        n_words, want = len(self.words), (len(self.words), *self.vectors.shape[1:2])
        wanted = ((self.vectors, want), (self.context, want), (self.counts, (n_words,)))
        for array, shape in wanted:
            if array is not None and array.shape != shape:
                raise ShapeError(
                    f"There must be a vector and a count for each of {n_words} words, here "
                    f"{shape}. Got {array.shape} instead."
                )

    @property
    def is_binary(self) -> bool:
        """Whether the vectors are codes of 0 and 1."""
        return self.vectors.dtype == np.uint8


def read_vectors(path: str | Path, *, binary: bool | None = None) -> WordVectors:
    """Read the word vectors of a file.

    Parameters
    ----------
    path : str or Path
        In any of the formats of this module.
    binary : bool, optional
        Whether a word2vec file is binary; by default seen from its bytes.

    Returns
    -------
    WordVectors
        Of a word that is there twice, the first vector.

    Raises
    ------
    StorageError
        If the file is missing or may not be read.
    FormatError
        If it is none of the formats, cut off, or a vector has another width than the first: file,
        and line or word.

    Notes
    -----
    Cost: about 30 microseconds for a vector of 300 numbers in text, 1 in binary.
    """
    path = Path(path)
    check_readable(path)
    with path.open("rb") as file:
        packed = file.read(len(_ZIP)) == _ZIP
    if packed or zipfile.is_zipfile(path):  # the first where it is cut off
        return _read_npz(path)
    words, matrix = read_word2vec(path, binary)
    return WordVectors(words, _narrow(matrix))


def _narrow(vectors: NDArray[Any]) -> NDArray[Any]:
    """uint8 where all numbers are 0 or 1, else float32."""
    if vectors.dtype.kind == "b":
        return vectors.view(np.uint8)
    if all(((part == 0) | (part == 1)).all() for part in _parts(vectors)):
        return vectors.astype(np.uint8, copy=False)
    return vectors.astype(np.float32, copy=False)


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(array), _WRITE_ROWS):
        yield array[start : start + _WRITE_ROWS]


def _read_npz(path: Path) -> WordVectors:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in _NPZ if name in arrays}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(f"damaged, or no npz ({reason}). Write it again.", file=path) from error
    kinds = {"words": "U", "vectors": "biuf", "counts": "iu", "context": "biuf"}
    kinds["context_weight"] = "iuf"
    for name, want in kinds.items():
        array = found.get(name)
        if array is None and name not in ("words", "vectors"):
            continue
        n_axes = {"vectors": 2, "context": 2, "context_weight": 0}.get(name, 1)
        if array is None or array.dtype.kind not in want or array.ndim != n_axes:
            got = "none" if array is None else f"{array.dtype} {array.shape}"
            raise FormatError(f"the array {name!r} must be {_NPZ[name]}. Got {got}.", file=path)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FormatError(f"the array {name!r} has numbers that are not finite.", file=path)
    words = found["words"].tolist()
    if len(set(words)) < len(words):
        raise FormatError("the array 'words' names a word twice.", file=path)
    counts = found.get("counts")
    try:
        return WordVectors(
            words,
            _narrow(found["vectors"]),
            None if counts is None else counts.astype(np.int64),
            None if "context" not in found else found["context"].astype(np.float32),
            None if "context_weight" not in found else float(found["context_weight"]),
        )
    except ShapeError as error:
        raise FormatError(str(error), file=path) from None


_NPZ = {
    "words": "str (V,)",
    "vectors": "numbers (V, D)",
    "counts": "int (V,)",
    "context": "numbers (V, D)",
    "context_weight": "a number ()",
}


def write_vectors(path: str | Path, vectors: WordVectors, format: Format = "word2vec") -> None:
    """Write word vectors for other tools; the file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        Replaced if it exists.
    vectors : WordVectors
    format : {"word2vec", "word2vec-binary", "npz"}
        gensim's ``KeyedVectors.load_word2vec_format`` reads the first two. Counts and context
        vectors go into npz alone.

    Raises
    ------
    ParameterError
        If the format is none of these, or a word has a blank in it and the format is not npz.
    StorageError
        If the disk is full or cannot be written.
    """
    if format not in FORMATS:
        raise ParameterError.of("format", "write_vectors", f"one of {', '.join(FORMATS)}", format)
    if format != "npz":
        for word in vectors.words:
            if not word or any(blank in word for blank in " \t\r\n\v\f"):
                want = f"made of words without blanks for {format}"
                hint = "Choose npz."
                raise ParameterError.of("vectors", "write_vectors", want, word, hint)
    with written_aside(Path(path)) as file:
        if format == "npz":
            arrays = {"words": np.array(vectors.words, dtype=np.str_), "vectors": vectors.vectors}
            if vectors.counts is not None:
                arrays["counts"] = vectors.counts
            if vectors.context is not None:
                arrays["context"] = vectors.context
                if vectors.context_weight is not None:
                    arrays["context_weight"] = np.array(vectors.context_weight)
            np.savez_compressed(file, allow_pickle=False, **arrays)
            return
        file.write("{} {}\n".format(*vectors.vectors.shape).encode())
        for word, row in zip(vectors.words, vectors.vectors, strict=True):
            file.write(word.encode("utf-8", "surrogatepass") + b" ")
            if format == "word2vec-binary":
                file.write(row.astype("<f4").tobytes())
            else:
                numbers = row.tolist() if vectors.is_binary else row  # float32 prints 7 digits
                file.write(" ".join(map(str, numbers)).encode() + b"\n")
