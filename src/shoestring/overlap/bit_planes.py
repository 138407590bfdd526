"""Adds up bitmaps: how many of m bitmaps have bit i set, for 256 bits i in one instruction.

The sums are held as planes: bit i of plane p is bit p of sum i. A carry-save adder takes three
words of one weight to a word of that weight and one of the next (Harley and Seal; Mula, Kurz &
Lemire, "Faster population counts using AVX2 instructions", arXiv 1611.07612, who count the bits of
one bitmap so):

    s = x ^ y ^ z,   c = (x & y) | ((x ^ y) & z)

Fifteen bitmaps go into four planes by eleven such adders, and the carry ripples through the planes
above. That is about five instructions for each bitmap and 256 items, where a counter for each item
costs an addition in memory for each item that a posting list names.

:func:`bytes_of_planes` turns eight planes into one byte for each item, by transposing 8 x 8 bits
(Warren, Hacker's Delight, section 7-3).

Vectors are LLVM's ``<4 x i64>``: one AVX2 register, two of SSE2 or NEON; the result is the same.

Letters: P planes, W words of 64 bits in a bitmap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from shoestring.compiled import njit

N_ADDED = 15  # bitmaps that one call adds
VECTOR_WORDS = 4
_FIRST_PLANES = 4  # the planes that fifteen bitmaps reach before the carry


def _add_three(builder: Any, x: Any, y: Any, z: Any) -> tuple[Any, Any]:
    """A carry-save adder: the sum's bit and the carry."""
    differ = builder.xor(x, y)
    carry = builder.or_(builder.and_(x, y), builder.and_(differ, z))
    return builder.xor(differ, z), carry


def _add_fifteen(builder: Any, load: Any, planes: list[Any]) -> tuple[list[Any], Any]:
    """Add bitmaps 0 to 14 to four planes; return the planes and the carry of weight 16."""
    ones, twos, fours, eights = planes
    carries: list[Any] = []  # of weight 4, then of weight 8
    for j in range(0, 12, 4):
        ones, a = _add_three(builder, ones, load(j), load(j + 1))
        ones, b = _add_three(builder, ones, load(j + 2), load(j + 3))
        twos, carry = _add_three(builder, twos, a, b)
        carries.append(carry)
    ones, a = _add_three(builder, ones, load(12), load(13))
    last = load(14)
    ones, b = builder.xor(ones, last), builder.and_(ones, last)
    twos, carry = _add_three(builder, twos, a, b)
    fours, c = _add_three(builder, fours, carries[0], carries[1])
    fours, d = _add_three(builder, fours, carries[2], carry)
    eights, carry = _add_three(builder, eights, c, d)
    return [ones, twos, fours, eights], carry


@intrinsic
def add_bitmaps(
    typing_context: Any,
    bitmaps: Any,
    rows: Any,
    first: Any,
    word: Any,
    n_vectors: Any,
    planes: Any,
    n_planes: Any,
) -> Any:
    """Add 15 bitmaps to the planes, for 256 ``n_vectors`` items from 64 ``word`` on.

    bitmaps (rows, W) uint64, of which ``rows[first : first + 15]`` (int64) are added; planes
    (>= n_planes, >= 4 n_vectors) uint64, n_planes > 4, n_vectors > 0. All C-contiguous.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        vector = ir.VectorType(i64, VECTOR_WORDS)
        maps, numbers, out = (
            context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 5)
        )
        _, _, start, begin, n_steps, _, n_all = args

        def at(base: Any, offset: Any, kind: Any) -> Any:
            return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

        def stride(array: Any) -> Any:
            return builder.extract_value(array.strides, 0)

        number = builder.ptrtoint(numbers.data, i64)
        table = builder.add(builder.ptrtoint(maps.data, i64), builder.mul(begin, i64(8)))
        sums = builder.ptrtoint(out.data, i64)
        bases = []
        for j in range(N_ADDED):
            place = builder.mul(builder.add(start, i64(j)), i64(8))
            row = builder.load(at(number, place, i64))
            bases.append(builder.add(table, builder.mul(row, stride(maps))))
        plane_bytes = stride(out)
        before = builder.block
        loop, ripple, done, after = (builder.append_basic_block() for _ in range(4))
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(i64)
        step.add_incoming(i64(0), before)
        offset = builder.mul(step, i64(8 * VECTOR_WORDS))
        places = [
            at(sums, builder.add(offset, builder.mul(plane_bytes, i64(p))), vector)
            for p in range(_FIRST_PLANES)
        ]
        held = [builder.load(place, align=8) for place in places]
        held, carry = _add_fifteen(
            builder, lambda j: builder.load(at(bases[j], offset, vector), align=8), held
        )
        for place, plane in zip(places, held, strict=True):
            builder.store(plane, place, align=8)
        builder.branch(ripple)

        builder.position_at_end(ripple)
        p, c = builder.phi(i64), builder.phi(vector)
        p.add_incoming(i64(_FIRST_PLANES), loop)
        c.add_incoming(carry, loop)
        place = at(sums, builder.add(offset, builder.mul(plane_bytes, p)), vector)
        plane = builder.load(place, align=8)
        builder.store(builder.xor(plane, c), place, align=8)
        following = builder.add(p, i64(1))
        p.add_incoming(following, ripple)
        c.add_incoming(builder.and_(plane, c), ripple)
        builder.cbranch(builder.icmp_signed("<", following, n_all), ripple, done)

        builder.position_at_end(done)
        following = builder.add(step, i64(1))
        step.add_incoming(following, done)
        builder.cbranch(builder.icmp_signed("<", following, n_steps), loop, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    integers = [types.int64] * 3
    return types.void(bitmaps, rows, *integers, planes, types.int64), codegen


@intrinsic
def lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the position of the lowest set bit of a uint64 that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), codegen


@njit(nogil=True, cache=True, error_model="numpy")
def bytes_of_planes(planes: Any, first: int, n_words: int, out: Any) -> None:
    """Write bits ``first`` to ``first + 7`` of each sum as a byte.

    planes (>= first + 8, >= n_words) uint64; out (>= 64 n_words,) uint8.
    """
    rows = planes.view(np.uint8)
    a, b, c, d = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
    e, f, g, h = rows[first + 4], rows[first + 5], rows[first + 6], rows[first + 7]
    eights = out.view(np.uint64)
    for i in range(8 * n_words):
        x = np.uint64(a[i]) | np.uint64(b[i]) << np.uint64(8)
        x |= np.uint64(c[i]) << np.uint64(16) | np.uint64(d[i]) << np.uint64(24)
        x |= np.uint64(e[i]) << np.uint64(32) | np.uint64(f[i]) << np.uint64(40)
        x |= np.uint64(g[i]) << np.uint64(48) | np.uint64(h[i]) << np.uint64(56)
        t = (x ^ (x >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
        x ^= t ^ (t << np.uint64(7))
        t = (x ^ (x >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
        x ^= t ^ (t << np.uint64(14))
        t = (x ^ (x >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
        eights[i] = x ^ t ^ (t << np.uint64(28))
