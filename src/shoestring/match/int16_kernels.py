"""The arithmetic of a BERT layer on a CPU with AVX2: 16-bit integer products, floats between them.

A matrix product x W is taken in integers. Each row x_m and each column w_n gets its own scale,

    x_m ~ s_m a_m,   w_n ~ u_n b_n,   |a_m|_2 < 2^15,  |b_n|_2 < 2^16,   a, b int16

so by Cauchy-Schwarz every sum |<a_m, b_n>| < 2^31: the int32 accumulator cannot overflow. Scaling
by the norm (not by the largest element times K, as int8 schemes do) is what leaves 11 to 13 bits to
a typical element: the product is right to about 2e-4 of its standard deviation, and a row's result
does not depend on its batch's other rows. One instruction (vpmaddwd) takes 16 pairs, a float one 8.

M tokens in a chunk, K and N inner and outer widths, D model width, T tokens of one text.

Not covered: CPUs without AVX2 (:func:`has_avx2`), widths K that are odd or N not a multiple of 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

N_ROWS = 6  # of one tile: 6 rows x 16 columns fill 12 of the 16 vector registers
N_COLUMNS = 16
_ROW_NORM = np.float32(32_000.0)  # under 2^15, with room for rounding
_COLUMN_NORM = 65_000.0  # under 2^16


def has_avx2() -> bool:
    """Tell whether this CPU has the instructions that the kernels are made of."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this CPU
        return False
    return bool(features.get("avx2") and features.get("fma"))


def pack_weight(weight: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Scale a weight to int16 and lay it out as the tile reads it.

    Parameters
    ----------
    weight : ndarray (K, N), float32
        K even, N a multiple of 16.

    Returns
    -------
    packed : ndarray (N / 16, K / 2, 16, 2), int16
        Panels of 16 columns; each pair of inner elements side by side.
    scales : ndarray (N,), float32
    """
    n_inner, n_outer = weight.shape
    norms = np.linalg.norm(weight.astype(np.float64), axis=0)
    scales = np.maximum(norms / _COLUMN_NORM, np.abs(weight).max(axis=0) / 32_767.0) + 1e-30
    rounded = np.rint(weight / scales).astype(np.int16)
    panels = rounded.reshape(n_inner // 2, 2, n_outer // N_COLUMNS, N_COLUMNS)
    return np.ascontiguousarray(panels.transpose(2, 0, 3, 1)), scales.astype(np.float32)


def _emit_tile(
    builder: Any, arguments: Any, vector: Any, multiply_add: Any, finish: Any = None
) -> None:
    """Emit out[6, 16] = the sum over k of column k of A times row k of the panel B.

    ``arguments`` are the address of A and its row stride in bytes, the address of B, the number of
    steps k, the address of out and its row stride. A step takes 4 bytes of each row of A (one
    float32 or two int16) and 64 bytes of B. ``finish(sum, row, half)`` turns a sum into floats.
    """
    a, stride, b, n_steps, out, out_stride = arguments
    i64, i32 = ir.IntType(64), ir.IntType(32)
    lanes = ir.VectorType(i32, 8)

    def at(base: Any, offset: Any, pointee: Any) -> Any:
        return builder.inttoptr(builder.add(base, offset), pointee.as_pointer())

    before = builder.block
    loop, after = builder.append_basic_block(), builder.append_basic_block()
    rows = [builder.add(a, builder.mul(stride, i64(r))) for r in range(N_ROWS)]
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(i64)
    k.add_incoming(i64(0), before)
    phis = [builder.phi(vector) for _ in range(2 * N_ROWS)]
    for phi in phis:
        phi.add_incoming(vector(None), before)
    offsets = [builder.add(builder.mul(k, i64(64)), i64(half)) for half in (0, 32)]
    columns = [builder.load(at(b, offset, vector), align=4) for offset in offsets]
    sums = []
    for r in range(N_ROWS):
        element = builder.load(at(rows[r], builder.mul(k, i64(4)), i32), align=4)
        lane = builder.insert_element(lanes(ir.Undefined), element, i32(0))
        spread = builder.shuffle_vector(lane, lanes(ir.Undefined), lanes([0] * 8))
        spread = builder.bitcast(spread, vector)
        sums += [multiply_add(spread, columns[c], phis[2 * r + c]) for c in range(2)]
    following = builder.add(k, i64(1))
    k.add_incoming(following, loop)
    for phi, total in zip(phis, sums, strict=True):
        phi.add_incoming(total, loop)
    builder.cbranch(builder.icmp_signed("<", following, n_steps), loop, after)
    builder.position_at_end(after)
    for i, total in enumerate(sums):
        row, half = divmod(i, 2)
        offset = builder.add(builder.mul(out_stride, i64(row)), i64(32 * half))
        result = finish(total, row, half) if finish else total
        builder.store(result, at(out, offset, result.type), align=4)


@intrinsic
def _int16_tile(
    typing_context: Any,
    a: Any,
    stride: Any,
    b: Any,
    n_steps: Any,
    out: Any,
    out_stride: Any,
    row_scales: Any,
    column_scales: Any,
    bias: Any,
) -> Any:
    """Emit the tile over pairs of int16, its sums scaled by row and column, with the bias."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ints, shorts = ir.VectorType(ir.IntType(32), 8), ir.VectorType(ir.IntType(16), 16)
        floats, i64 = ir.VectorType(ir.FloatType(), 8), ir.IntType(64)
        multiply = builder.module.declare_intrinsic(
            "llvm.x86.avx2.pmadd.wd", (), ir.FunctionType(ints, [shorts, shorts])
        )

        def load(base: Any, offset: int, kind: Any) -> Any:
            return builder.load(
                builder.inttoptr(builder.add(base, i64(offset)), kind.as_pointer()), align=4
            )

        def multiply_add(x: Any, y: Any, total: Any) -> Any:
            pair = [builder.bitcast(x, shorts), builder.bitcast(y, shorts)]
            return builder.add(total, builder.call(multiply, pair))

        def finish(total: Any, row: int, half: int) -> Any:
            scale = load(args[6], 4 * row, ir.FloatType())
            lane = builder.insert_element(floats(ir.Undefined), scale, ir.IntType(32)(0))
            rows = builder.shuffle_vector(lane, floats(ir.Undefined), ints([0] * 8))
            scales = builder.fmul(rows, load(args[7], 32 * half, floats))
            product = builder.fmul(builder.sitofp(total, floats), scales)
            return builder.fadd(product, load(args[8], 32 * half, floats))

        _emit_tile(builder, args[:6], ints, multiply_add, finish)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 9), codegen


@intrinsic
def _float_tile(
    typing_context: Any, a: Any, stride: Any, b: Any, n_steps: Any, out: Any, out_stride: Any
) -> Any:
    """Emit the tile over float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        floats = ir.VectorType(ir.FloatType(), 8)
        fused = builder.module.declare_intrinsic(
            "llvm.fma.v8f32", (), ir.FunctionType(floats, [floats] * 3)
        )

        def multiply_add(x: Any, y: Any, total: Any) -> Any:
            return builder.call(fused, [x, y, total])

        _emit_tile(builder, args, floats, multiply_add)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


_fast = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_fast)
def _exp(x: Any) -> Any:
    """Exp of a float32 x <= 0, right to 2e-7: 2^n times a polynomial, which LLVM vectorises."""
    x = max(x, np.float32(-87.0)) * np.float32(1.4426950408889634)
    n = np.floor(x + np.float32(0.5))
    f = x - n
    p = np.float32(1.535336188319500e-4)
    p = p * f + np.float32(1.339887440266574e-3)
    p = p * f + np.float32(9.618437357674640e-3)
    p = p * f + np.float32(5.550332471162809e-2)
    p = p * f + np.float32(2.402264791363012e-1)
    p = p * f + np.float32(6.931472028550421e-1)
    p = p * f + np.float32(1.0)
    return p * _float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@njit(**_fast)
def _gelu(x: Any) -> Any:
    """X times the normal distribution function, by Eigen's rational erf (float32, few ulp)."""
    z = min(max(x * np.float32(0.7071067811865476), np.float32(-4.0)), np.float32(4.0))
    s = z * z
    p = np.float32(-2.72614225801306e-10)
    p = p * s + np.float32(2.77068142495902e-08)
    p = p * s + np.float32(-2.10102402082508e-06)
    p = p * s + np.float32(-5.69250639462346e-05)
    p = p * s + np.float32(-7.34990630326855e-04)
    p = p * s + np.float32(-2.95459980854025e-03)
    p = p * s + np.float32(-1.60960333262415e-02)
    q = np.float32(-1.45660718464996e-05)
    q = q * s + np.float32(-2.13374055278905e-04)
    q = q * s + np.float32(-1.68282697438203e-03)
    q = q * s + np.float32(-7.37332916720468e-03)
    q = q * s + np.float32(-1.42647390514189e-02)
    return np.float32(0.5) * x * (np.float32(1.0) + z * p / q)


@njit(**_fast)
def _to_int16(x: Any, codes: Any, scales: Any) -> None:
    """Scale each row of x (M, K) to int16 by its norm."""
    for m in range(x.shape[0]):
        square = np.float32(0.0)
        for k in range(x.shape[1]):
            square += x[m, k] * x[m, k]
        scale = np.sqrt(square) / _ROW_NORM + np.float32(1e-30)
        scales[m] = scale
        inverse = np.float32(1.0) / scale
        for k in range(x.shape[1]):  # the shift by 2^15 makes truncation round to nearest
            codes[m, k] = np.int32(x[m, k] * inverse + np.float32(32768.5)) - 32768


@njit(**_fast)
def gelu(x: Any) -> None:
    """X = x times the normal distribution function of x, in place; x (M, K)."""
    for m in range(x.shape[0]):
        for k in range(x.shape[1]):
            x[m, k] = _gelu(x[m, k])


@njit(**_fast)
def linear(x: Any, packed: Any, scales: Any, bias: Any, codes: Any, out: Any) -> None:
    """Out = x W + b.

    x (M, K) float32; packed (N/16, K/2, 16, 2), scales and bias (N,) of the weight; codes: room for
    (M + 6) K int16; out (M + 6, N) float32, of which M rows count.
    """
    n_tokens, n_inner = x.shape
    rows = codes[: (n_tokens + N_ROWS) * n_inner].reshape(n_tokens + N_ROWS, n_inner)
    row_scales = np.empty(n_tokens + N_ROWS, np.float32)
    _to_int16(x, rows, row_scales)
    out_stride = out.shape[1] * 4  # bytes
    for panel in range(packed.shape[0]):
        first = panel * N_COLUMNS * 4  # bytes before the panel's columns
        for m in range(0, n_tokens, N_ROWS):
            _int16_tile(
                rows.ctypes.data + m * n_inner * 2,
                n_inner * 2,
                packed.ctypes.data + panel * n_inner * N_COLUMNS * 2,
                n_inner // 2,
                out.ctypes.data + m * out_stride + first,
                out_stride,
                row_scales.ctypes.data + m * 4,
                scales.ctypes.data + first,
                bias.ctypes.data + first,
            )


@njit(**_fast)
def add_and_normalize(x: Any, update: Any, gain: Any, bias: Any, epsilon: float) -> None:
    """X = LayerNorm(x + update), in place; all (M, D)."""
    n_dims = np.float32(x.shape[1])
    for m in range(x.shape[0]):
        mean = np.float32(0.0)
        for d in range(x.shape[1]):
            x[m, d] += update[m, d]
            mean += x[m, d]
        mean /= n_dims
        variance = np.float32(0.0)
        for d in range(x.shape[1]):
            variance += (x[m, d] - mean) ** 2
        inverse = np.float32(1.0) / np.sqrt(variance / n_dims + np.float32(epsilon))
        for d in range(x.shape[1]):
            x[m, d] = (x[m, d] - mean) * inverse * gain[d] + bias[d]


@njit(**_fast)
def _float_product(
    a: int, stride: int, n_rows: int, panels: Any, n_steps: int, out: int, out_stride: int
) -> None:
    """out[:n_rows] = A B: A and out at addresses, row strides in bytes; panels (N/16, K, 16).

    Up to 5 rows beyond A are read, and as many beyond out written.
    """
    for panel in range(panels.shape[0]):
        b = panels.ctypes.data + panel * panels.shape[1] * N_COLUMNS * 4
        target = out + panel * N_COLUMNS * 4
        for m in range(0, n_rows, N_ROWS):
            _float_tile(a + m * stride, stride, b, n_steps, target + m * out_stride, out_stride)


@njit(**_fast)
def _softmax(scores: Any, n_tokens: int) -> None:
    """Softmax of each row over its first ``n_tokens``; the others get 0.

    Scores (T, a multiple of 16) lie in one piece, and the exponentials are taken in one long loop:
    over single rows LLVM would leave half of them to its scalar remainder.
    """
    for t in range(scores.shape[0]):
        row = scores[t]
        row[n_tokens:] = np.float32(-1e30)
        top = row[0]
        for j in range(len(row)):
            top = max(top, row[j])
        for j in range(len(row)):
            row[j] -= top
    flat = scores.reshape(scores.size)
    for j in range(len(flat)):
        flat[j] = _exp(flat[j])
    for t in range(scores.shape[0]):
        row = scores[t]
        total = np.float32(0.0)
        for j in range(len(row)):
            total += row[j]
        share = np.float32(1.0) / total
        for j in range(len(row)):
            row[j] *= share


@njit(**_fast)
def attend(qkv: Any, starts: Any, n_heads: int, out: Any) -> None:
    """Softmax attention within each text.

    qkv (M + 6, 3 D); starts (texts + 1,); out (M + 6, D), of which M rows count. The queries are
    scaled by 1 / sqrt(D / n_heads) already; D / n_heads is a multiple of 16.
    """
    n_dims = out.shape[1]
    width = n_dims // n_heads
    stride = 3 * n_dims * 4  # bytes of a row of qkv
    for i in range(len(starts) - 1):
        start, n_tokens = starts[i], starts[i + 1] - starts[i]
        n_panels = (n_tokens + N_COLUMNS - 1) // N_COLUMNS
        keys = np.zeros((n_panels, width, N_COLUMNS), np.float32)
        values = np.empty((width // N_COLUMNS, n_tokens, N_COLUMNS), np.float32)
        scores = np.zeros((n_tokens + N_ROWS, n_panels * N_COLUMNS), np.float32)
        for head in range(n_heads):
            for t in range(n_tokens):
                key = qkv[start + t, n_dims + head * width :]
                for d in range(width):
                    keys[t // N_COLUMNS, d, t % N_COLUMNS] = key[d]
                for c in range(width // N_COLUMNS):
                    value = qkv[start + t, 2 * n_dims + head * width + c * N_COLUMNS :]
                    for j in range(N_COLUMNS):
                        values[c, t, j] = value[j]
            queries = qkv.ctypes.data + start * stride + head * width * 4
            row = scores.shape[1] * 4
            table = scores.ctypes.data
            _float_product(queries, stride, n_tokens, keys, width, table, row)
            _softmax(scores[:n_tokens], n_tokens)
            # the rows written beyond this text belong to the next one, whose turn is still to come
            target = out.ctypes.data + (start * n_dims + head * width) * 4
            _float_product(table, row, n_tokens, values, n_tokens, target, n_dims * 4)


@njit(**_fast)
def attend_from_first(x: Any, starts: Any, queries: Any, out: Any) -> None:
    """Attention of each text's first token, over the layer's input instead of keys and values.

    x (M, D); queries (texts, heads, D) are q_h W_k,h' / sqrt(D / heads): their products with x are
    the attention logits up to a constant; out (texts, heads, D) gets the weighted means of x.
    """
    n_dims = x.shape[1]
    for i in range(len(starts) - 1):
        start, n_tokens = starts[i], starts[i + 1] - starts[i]
        weights = np.empty(n_tokens, np.float32)
        for head in range(queries.shape[1]):
            top = np.float32(-3e38)
            for t in range(n_tokens):
                product = np.float32(0.0)
                for d in range(n_dims):
                    product += queries[i, head, d] * x[start + t, d]
                weights[t] = product
                top = max(top, product)
            total = np.float32(0.0)
            for t in range(n_tokens):
                weights[t] = _exp(weights[t] - top)
                total += weights[t]
            out[i, head] = np.float32(0.0)
            for t in range(n_tokens):
                share = weights[t] / total
                for d in range(n_dims):
                    out[i, head, d] += share * x[start + t, d]
