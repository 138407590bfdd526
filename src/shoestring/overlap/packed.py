"""Counts over packed codes: active bits, and active bits that two codes share.

A packed code is a row of bytes: bit i of the code is bit i % 8, counted from the lowest, of byte
i // 8 (:func:`shoestring.overlap.codes.pack_codes`). Bits are counted by the processor's own
instruction, 64 at a time.

Letters: N, M codes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from shoestring.errors import ShapeError
from shoestring.overlap.bit_planes import n_set_bits
from shoestring.types import IntArray

PackedArray: TypeAlias = NDArray[np.uint8]


def packed_sizes(packed: PackedArray) -> IntArray:
    """Active bits of each packed code (N,)."""
    sizes = np.empty(len(packed), np.int64)
    _sizes(_words(packed), sizes)
    return sizes


def overlap_counts(a: PackedArray, b: PackedArray) -> NDArray[np.int32]:
    """How many active bits each code of ``a`` shares with each of ``b``, by counting bits.

    Parameters
    ----------
    a : uint8 array (N, bytes)
    b : uint8 array (M, bytes)
        Packed codes of the same width.

    Returns
    -------
    int32 array (N, M)

    Notes
    -----
    Cost: N M ceil(bytes / 8) words. For the best of many codes :class:`OverlapIndex` is faster.

    Examples
    --------
    >>> codes = np.array([[0b0111], [0b1110], [0b1000]], np.uint8)
    >>> overlap_counts(codes[:1], codes)
    array([[3, 2, 0]], dtype=int32)
    """
    left, right = np.asarray(a), np.asarray(b)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ShapeError(
            f"Packed codes must be two arrays of the same width. Got {left.shape} and "
            f"{right.shape}; pack both with the same n_bits."
        )
    if left.dtype != np.uint8 or right.dtype != np.uint8:
        raise ShapeError(
            f"Packed codes must be uint8. Got {left.dtype} and {right.dtype}; see pack_codes."
        )
    counts = np.empty((len(left), len(right)), np.int32)
    _overlaps(_words(left), _words(right), counts)
    return counts


def _words(packed: PackedArray) -> NDArray[np.uint64]:
    """The same bits in words of 64, copied where the width is not a multiple of eight bytes."""
    n_words = -(-packed.shape[1] // 8)
    if packed.shape[1] % 8:
        wider = np.zeros((len(packed), 8 * n_words), np.uint8)
        wider[:, : packed.shape[1]] = packed
        packed = wider
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64, copy=False)


@njit(nogil=True, cache=True)
def _sizes(words: Any, sizes: Any) -> None:
    for i in range(words.shape[0]):
        total = 0
        for w in range(words.shape[1]):
            total += n_set_bits(words[i, w])
        sizes[i] = total


@njit(nogil=True, cache=True)
def _overlaps(a: Any, b: Any, counts: Any) -> None:
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = 0
            for w in range(a.shape[1]):
                total += n_set_bits(a[i, w] & b[j, w])
            counts[i, j] = total
