"""Sparse binary codes: made of activations, read in the forms that users have, packed to bits.

A code is a set of active bits out of ``n_bits``. Here N codes are held one after the other
(:class:`Codes`), as scipy's CSR does without its data.

- **top k**: the k largest activations of a row are active; of equal activations the lower neuron
  wins (:func:`top_k_codes`), so a code has exactly k active bits, whatever the activations are.
- **packed**: bit i of a code is bit i % 8, counted from the lowest, of byte i // 8: numpy's
  ``packbits(..., bitorder="little")``. A code takes ceil(n_bits / 8) bytes, the bits beyond
  ``n_bits`` are 0. Eight bytes read as a little-endian uint64 hold bit i at i % 64 of word i // 64.

Letters: N, M codes, K neurons, k active bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring.compiled import njit
from shoestring.errors import ParameterError, ShapeError
from shoestring.types import IntArray

MAX_BITS = 1 << 20
"""Largest width of a code; each segment of an index has a directory of this many lists."""

MAX_ACTIVE = (1 << 16) - 1  # active bits of one code

CodesLike: TypeAlias = "ArrayLike | Sequence[ArrayLike] | Any"  # Any: scipy has no types

PackedArray: TypeAlias = NDArray[np.uint8]

Bits: TypeAlias = "NDArray[np.uint16] | NDArray[np.uint32]"

_FORMS = (
    "active bits as an int array (N, k) or a list of N int arrays, packed bits as a uint8 array "
    "(N, {n_bytes}), a bool array (N, {n_bits}) or a scipy.sparse matrix (N, {n_bits}) of 0 and 1"
)
_OUT_OF_RANGE, _TWICE, _TOO_MANY = 1, 2, 3
_TRUTHS_AT_A_TIME = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """N checked codes: ``bits[starts[i] : starts[i + 1]]`` are the active bits of code i."""

    starts: IntArray  # (N + 1,)
    bits: Bits  # distinct within a code, in no particular order
    n_bits: int  # width of a code

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> IntArray:
        """Active bits of each code (N,)."""
        return np.diff(self.starts)


def empty_indices(n: int, n_values: int) -> Bits:
    """An array for n numbers below ``n_values``, of the smallest type that holds them."""
    return np.empty(n, np.uint16) if n_values <= 1 << 16 else np.empty(n, np.uint32)


def starts_of(sizes: ArrayLike) -> IntArray:
    """Where N parts of some sizes begin, one after the other, and where the last ends (N + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def join_codes(parts: Sequence[Codes]) -> Codes:
    """One after the other, codes of the same width; at least one part."""
    starts = starts_of(np.concatenate([part.sizes for part in parts]))
    return Codes(starts, np.concatenate([part.bits for part in parts]), parts[0].n_bits)


def top_k_codes(activations: NDArray[Any], k: int) -> PackedArray:
    """The codes of the k largest of each row of activations (N, K), packed: uint8 (N, ceil(K / 8)).

    Of equal ones the lower neuron wins. Activations may be infinite, not NaN. Cost: O(N K), one
    partition and four passes over the row.

    Examples
    --------
    >>> codes = top_k_codes(np.array([[0.5, 2.0, 0.5, 0.5], [1.0, 3.0, 2.0, 0.0]]), k=2)
    >>> np.unpackbits(codes, axis=1, bitorder="little", count=4)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0]], dtype=uint8)
    """
    least = np.partition(activations, -k, axis=1)[:, -k, None]
    above, equal = activations > least, activations == least
    equal &= np.cumsum(equal, axis=1) <= k - above.sum(axis=1, keepdims=True)
    return np.packbits(above | equal, axis=1, bitorder="little")


def read_codes(codes: CodesLike, n_bits: int, owner: str) -> Codes:
    """Check codes in any of the forms that users have, and bring them into one.

    The forms are those of :class:`OverlapIndex`; what was packed comes out ascending. ShapeError
    for another form or width; ParameterError if a bit is out of range or named twice in a code, or
    a value is not 0 or 1. ``owner`` asks, for the message.

    Examples
    --------
    >>> read_codes(np.array([[8, 2], [129, 0]], np.uint8), 10, "search").bits
    array([3, 9, 0, 7], dtype=uint16)
    """
    if hasattr(codes, "tocsr"):
        return _of_sparse(codes, n_bits, owner)
    if not isinstance(codes, np.ndarray) or codes.dtype == object:
        return _of_list(codes, n_bits, owner)
    if codes.ndim == 2 and codes.dtype == np.uint8:
        return _of_packed(codes, n_bits, owner)
    if codes.ndim == 2 and codes.dtype == np.bool_:
        _check_width(codes.shape[1], n_bits, owner, "A bool array has a column for each bit")
        return _of_packed(np.packbits(codes, axis=1, bitorder="little"), n_bits, owner)
    if codes.ndim == 2 and codes.dtype.kind in "iu":
        starts = np.arange(len(codes) + 1, dtype=np.int64) * codes.shape[1]
        return _checked(starts, codes.reshape(-1), n_bits, owner)
    raise _not_codes(f"{codes.dtype} {codes.shape}", n_bits, owner)


def _not_codes(got: str, n_bits: int, owner: str) -> ShapeError:
    forms = _FORMS.format(n_bytes=-(-n_bits // 8), n_bits=n_bits)
    return ShapeError(f"{owner} takes {forms}. Got {got} instead.")


def _check_width(width: int, want: int, owner: str, what: str) -> None:
    if width != want:
        raise ShapeError(f"{what}: {owner} needs {want}. Got {width} instead.")


def _of_list(codes: Any, n_bits: int, owner: str) -> Codes:
    try:
        rows = [np.asarray(row) for row in codes]
    except (TypeError, ValueError) as error:
        raise _not_codes(type(codes).__name__, n_bits, owner) from error
    for i, row in enumerate(rows):
        if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
            raise _not_codes(f"{row.dtype} {row.shape} at position {i} of a list", n_bits, owner)
    filled = [row for row in rows if row.size]
    bits = np.concatenate(filled) if filled else np.empty(0, np.int64)
    return _checked(starts_of([len(row) for row in rows]), bits, n_bits, owner)


def _of_sparse(codes: Any, n_bits: int, owner: str) -> Codes:
    _check_width(codes.shape[-1], n_bits, owner, "A sparse matrix has a column for each bit")
    matrix = codes.tocsr()
    wrong = matrix.data[(matrix.data != 0) & (matrix.data != 1)]
    if len(wrong):
        want, hint = "a sparse matrix of 0 and 1", "Make it binary: (matrix > 0)."
        raise ParameterError.of("codes", owner, want, wrong[0].item(), hint)
    if not matrix.data.all():
        matrix = matrix.copy()
        matrix.eliminate_zeros()
    return _checked(matrix.indptr.astype(np.int64), matrix.indices, n_bits, owner)


def _of_packed(packed: PackedArray, n_bits: int, owner: str) -> Codes:
    what = f"Packed codes of {n_bits} bits have a byte for eight"
    _check_width(packed.shape[1], -(-n_bits // 8), owner, what)
    sizes, bits = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    n_rows = max(1, _TRUTHS_AT_A_TIME // n_bits)
    for start in range(0, len(packed), n_rows):
        part = np.unpackbits(packed[start : start + n_rows], axis=1, bitorder="little")
        sizes.append(np.count_nonzero(part, axis=1))
        bits.append(np.nonzero(part)[1].astype(np.int32))
    return _checked(starts_of(np.concatenate(sizes)), np.concatenate(bits), n_bits, owner)


def _checked(starts: IntArray, bits: NDArray[Any], n_bits: int, owner: str) -> Codes:
    narrow = empty_indices(len(bits), n_bits)
    fault, row, bit = _check(starts, bits, np.full(n_bits, -1, np.int64), narrow)
    if fault:
        unique = "A code is a set: np.unique(code)."
        want, got, hint = {
            _OUT_OF_RANGE: (f"bits in [0, {n_bits})", f"bit {bit}", ""),
            _TWICE: ("distinct bits in each code", f"bit {bit} twice", unique),
            _TOO_MANY: (f"at most {MAX_ACTIVE} active bits", str(bit), ""),
        }[fault]
        raise ParameterError.of("codes", owner, want, f"{got} in code {row}", hint)
    return Codes(starts, narrow, n_bits)


@njit(nogil=True, cache=True)
def _check(starts: Any, bits: Any, seen: Any, narrow: Any) -> Any:
    """Copy the bits; return the first fault, its code, and the bit (or how many).

    ``seen`` (n_bits,) holds the last code that named each bit.
    """
    for row in range(len(starts) - 1):
        if starts[row + 1] - starts[row] > MAX_ACTIVE:
            return _TOO_MANY, row, starts[row + 1] - starts[row]
        for i in range(starts[row], starts[row + 1]):
            bit = np.int64(bits[i])
            if bit < 0 or bit >= len(seen):
                return _OUT_OF_RANGE, row, bit
            if seen[bit] == row:
                return _TWICE, row, bit
            seen[bit] = row
            narrow[i] = bit
    return 0, 0, 0


@njit(nogil=True, cache=True)
def sum_of_bytes(_: int, first: int, last: int, packed: Any, tables: Any, out: Any) -> None:
    """Of packed rows [first, last) the sum of what their bytes stand for, tables (bytes, 256)."""
    for i in range(first, last):
        total = np.float32(0)
        for byte in range(packed.shape[1]):
            total += tables[byte, packed[i, byte]]
        out[i] = total
