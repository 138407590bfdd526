"""Matrix products on a CPU with AVX2, in 16-bit integers and in floats, tile by tile.

A product x W is taken in integers. Each row x_m and each column w_n gets its own scale,

    x_m ~ s_m a_m,   w_n ~ u_n b_n,   |a_m|_2 < 2^15,  |b_n|_2 < 2^16,   a, b int16

so by Cauchy-Schwarz every sum |<a_m, b_n>| < 2^31: the int32 accumulator cannot overflow. Scaling
by the norm (not by the largest element times K, as int8 schemes do) is what leaves 11 to 13 bits to
a typical element: the product is right to about 2e-4 of its standard deviation, and a row's result
does not depend on its batch's other rows. One instruction (vpmaddwd) takes 16 pairs, a float one 8.

The tiles are emitted as LLVM vector code, because the registers must be assigned by hand: what a
loop in numba compiles to reaches a quarter of their speed. A tile can end with the GELU of its sums
while they are still in registers. The GELU is x times the normal distribution function by Eigen's
rational erf (float32, few ulp).

M rows, K and N inner and outer widths.

Not covered: CPUs without AVX2 (:func:`has_avx2`), widths K that are odd or N not a multiple of 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

N_ROWS = 6  # of one tile: 6 rows x 16 columns fill 12 of the 16 vector registers
N_COLUMNS = 16
_ROW_NORM = np.float32(32_000.0)  # under 2^15, with room for rounding
_COLUMN_NORM = 65_000.0  # under 2^16
_ERF_ABOVE = (  # Eigen's erf(z) = z above(z^2) / below(z^2) for |z| <= 4
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
_ERF_BELOW = (
    *(-1.45660718464996e-05, -2.13374052778905e-04, -1.68282697438203e-03, -7.37332916720468e-03),
    -1.42647390514189e-02,
)

_FLOATS = ir.VectorType(ir.FloatType(), 8)
_INTS = ir.VectorType(ir.IntType(32), 8)
_SHORTS = ir.VectorType(ir.IntType(16), 16)
FAST = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


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


def _constant(value: float) -> Any:
    return ir.Constant(_FLOATS, [value] * 8)


def _spread(builder: Any, element: Any) -> Any:
    """Emit a vector of 8 equal elements."""
    vector = ir.VectorType(element.type, 8)
    lane = builder.insert_element(vector(ir.Undefined), element, ir.IntType(32)(0))
    return builder.shuffle_vector(lane, vector(ir.Undefined), _INTS([0] * 8))


def _emit_tile(
    builder: Any, arguments: Any, vector: Any, multiply_add: Any, finish: Any = None
) -> None:
    """Emit out[6, 16] = the sum over k of column k of A times row k of the panel B.

    ``arguments`` are the addresses of A, B and out, each with its stride in bytes (of B: from step
    to step), and the number of steps k. A step takes 4 bytes of each row of A (one float32 or two
    int16) and 64 bytes of B. ``finish(sum, row, half)`` turns a sum into floats.
    """
    a, stride, b, b_stride, out, out_stride, n_steps = arguments
    i64, i32 = ir.IntType(64), ir.IntType(32)

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
    offsets = [builder.add(builder.mul(k, b_stride), i64(half)) for half in (0, 32)]
    columns = [builder.load(at(b, offset, vector), align=4) for offset in offsets]
    sums = []
    for r in range(N_ROWS):
        element = builder.load(at(rows[r], builder.mul(k, i64(4)), i32), align=4)
        lanes = builder.bitcast(_spread(builder, element), vector)
        sums += [multiply_add(lanes, columns[c], phis[2 * r + c]) for c in range(2)]
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


def _int16_tile(activation: Any = None) -> Any:
    """Make the tile over pairs of int16, its sums scaled by row and column, with the bias."""

    @intrinsic
    def tile(
        typing_context: Any,
        a: Any,
        stride: Any,
        b: Any,
        out: Any,
        out_stride: Any,
        n_steps: Any,
        row_scales: Any,
        column_scales: Any,
        bias: Any,
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            multiply = builder.module.declare_intrinsic(
                "llvm.x86.avx2.pmadd.wd", (), ir.FunctionType(_INTS, [_SHORTS, _SHORTS])
            )

            def load(base: Any, offset: int, kind: Any) -> Any:
                address = builder.add(base, ir.IntType(64)(offset))
                return builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)

            def multiply_add(x: Any, y: Any, total: Any) -> Any:
                pair = [builder.bitcast(x, _SHORTS), builder.bitcast(y, _SHORTS)]
                return builder.add(total, builder.call(multiply, pair))

            def finish(total: Any, row: int, half: int) -> Any:
                scale = load(args[6], 4 * row, ir.FloatType())
                scales = builder.fmul(_spread(builder, scale), load(args[7], 32 * half, _FLOATS))
                product = builder.fmul(builder.sitofp(total, _FLOATS), scales)
                result = builder.fadd(product, load(args[8], 32 * half, _FLOATS))
                return activation(builder, result) if activation else result

            panel = *args[:3], ir.IntType(64)(4 * N_COLUMNS), *args[3:6]
            _emit_tile(builder, panel, _INTS, multiply_add, finish)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), codegen

    return tile


def _gelu(builder: Any, x: Any) -> Any:
    """Emit x (1 + erf(x / sqrt 2)) / 2 of 8 floats."""
    fused = builder.module.declare_intrinsic(
        "llvm.fma.v8f32", (), ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    )
    bound = {
        name: builder.module.declare_intrinsic(
            f"llvm.x86.avx.{name}.ps.256", (), ir.FunctionType(_FLOATS, [_FLOATS] * 2)
        )
        for name in ("min", "max")
    }

    def polynomial(s: Any, coefficients: tuple[float, ...]) -> Any:
        total = _constant(coefficients[0])
        for coefficient in coefficients[1:]:
            total = builder.call(fused, [total, s, _constant(coefficient)])
        return total

    z = builder.fmul(x, _constant(0.7071067811865476))
    z = builder.call(bound["min"], [z, _constant(4.0)])
    z = builder.call(bound["max"], [z, _constant(-4.0)])
    s = builder.fmul(z, z)
    above, below = polynomial(s, _ERF_ABOVE), polynomial(s, _ERF_BELOW)
    erf = builder.fdiv(builder.fmul(z, above), below)
    half = builder.fmul(x, _constant(0.5))
    return builder.call(fused, [half, erf, half])


@intrinsic
def _float_tile(
    typing_context: Any,
    a: Any,
    stride: Any,
    b: Any,
    b_stride: Any,
    out: Any,
    out_stride: Any,
    n_steps: Any,
) -> Any:
    """Emit the tile over float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fused = builder.module.declare_intrinsic(
            "llvm.fma.v8f32", (), ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        )

        def multiply_add(x: Any, y: Any, total: Any) -> Any:
            return builder.call(fused, [x, y, total])

        _emit_tile(builder, args, _FLOATS, multiply_add)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


_plain_tile = _int16_tile()
_gelu_tile = _int16_tile(_gelu)


@njit(**FAST)
def to_int16(x: Any, codes: Any, scales: Any) -> None:
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


@njit(**FAST)
def product(
    codes: Any, row_scales: Any, weight: Any, with_gelu: bool, out: Any, start: int, n_rows: int
) -> None:
    """Out[start : start + n_rows] = x W + b, or its GELU.

    codes (n_rows + 5, K) int16 and row_scales are x by :func:`to_int16`; weight: the packed weight,
    its scales and the bias; out (M, N) float32. Up to 5 rows of ``out`` beyond are overwritten.
    """
    packed, scales, bias = weight
    stride = codes.shape[1] * 2  # bytes
    out_stride = out.shape[1] * 4
    for panel in range(packed.shape[0]):
        first = panel * N_COLUMNS * 4  # bytes before the panel's columns
        b = packed.ctypes.data + panel * stride * N_COLUMNS
        for m in range(0, n_rows, N_ROWS):
            a = codes.ctypes.data + m * stride
            target = out.ctypes.data + (start + m) * out_stride + first
            row_scale = row_scales.ctypes.data + m * 4
            scale, shift = scales.ctypes.data + first, bias.ctypes.data + first
            n = stride // 4
            if with_gelu:
                _gelu_tile(a, stride, b, target, out_stride, n, row_scale, scale, shift)
            else:
                _plain_tile(a, stride, b, target, out_stride, n, row_scale, scale, shift)


@njit(**FAST)
def float_product(
    a: int,
    stride: int,
    b: int,
    b_stride: int,
    out: int,
    out_stride: int,
    n_rows: int,
    n_steps: int,
    n_columns: int,
    panel_stride: int,
) -> None:
    """out[:n_rows, :n_columns] = A B, all at addresses, strides in bytes.

    B lies in panels of 16 columns, ``panel_stride`` apart, its rows ``b_stride`` apart. Up to 5
    rows beyond A are read, and as many beyond out written.
    """
    for c in range(0, n_columns, N_COLUMNS):
        panel = b + c // N_COLUMNS * panel_stride
        for m in range(0, n_rows, N_ROWS):
            target = out + m * out_stride + c * 4
            _float_tile(a + m * stride, stride, panel, b_stride, target, out_stride, n_steps)
