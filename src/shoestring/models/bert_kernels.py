"""The steps of a BERT layer on a CPU, over packed tokens and in place where that is possible.

A linear step takes its rows in blocks of :data:`BLOCK`: the integers of a block, and what a block
of the feed-forward step makes, stay in the second-level cache, whatever the number of tokens.

M tokens in a chunk, K and N inner and outer widths, D model width, T tokens of one text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from shoestring.models.int16_kernels import (
    FAST,
    N_COLUMNS,
    N_ROWS,
    float_product,
    product,
    to_int16,
)

BLOCK = 48  # rows: a multiple of N_ROWS, so that only the last block has rows to spare


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(**FAST)
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


@njit(**FAST)
def linear(x: Any, weight: Any, out: Any) -> None:
    """Out = x W + b: x (M, K) float32, weight packed, out (M + 5, N) float32, of which M count."""
    codes = np.zeros((BLOCK + N_ROWS, x.shape[1]), np.int16)
    row_scales = np.zeros(BLOCK + N_ROWS, np.float32)
    for start in range(0, x.shape[0], BLOCK):
        n_rows = min(BLOCK, x.shape[0] - start)
        to_int16(x[start : start + n_rows], codes, row_scales)
        product(codes, row_scales, weight, False, out, start, n_rows)


@njit(**FAST)
def feed_forward(x: Any, inner: Any, outer: Any, norm: Any, epsilon: float) -> None:
    """X = LayerNorm(x + W_outer GELU(W_inner x)), in place; x (M, D), weights packed."""
    n_dims, n_inner = x.shape[1], inner[1].shape[0]
    codes = np.zeros((BLOCK + N_ROWS, n_dims), np.int16)
    hidden = np.empty((BLOCK + N_ROWS, n_inner), np.float32)
    hidden_codes = np.zeros((BLOCK + N_ROWS, n_inner), np.int16)
    update = np.empty((BLOCK + N_ROWS, n_dims), np.float32)
    row_scales = np.zeros(BLOCK + N_ROWS, np.float32)
    for start in range(0, x.shape[0], BLOCK):
        n_rows = min(BLOCK, x.shape[0] - start)
        rows = x[start : start + n_rows]
        to_int16(rows, codes, row_scales)
        product(codes, row_scales, inner, True, hidden, 0, n_rows)
        to_int16(hidden[:n_rows], hidden_codes, row_scales)
        product(hidden_codes, row_scales, outer, False, update, 0, n_rows)
        add_and_normalize(rows, update, norm, epsilon)


@njit(**FAST)
def add_and_normalize(x: Any, update: Any, norm: Any, epsilon: float) -> None:
    """X = LayerNorm(x + update), in place; x (M, D), of update the first M rows."""
    gain, bias = norm
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


@njit(**FAST)
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


@njit(**FAST)
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
        scores = np.zeros((n_tokens + N_ROWS, n_panels * N_COLUMNS), np.float32)
        for head in range(n_heads):
            for t in range(n_tokens):
                key = qkv[start + t, n_dims + head * width :]
                for d in range(width):
                    keys[t // N_COLUMNS, d, t % N_COLUMNS] = key[d]
            queries = qkv.ctypes.data + start * stride + head * width * 4
            values = queries + 2 * n_dims * 4
            table, row = scores.ctypes.data, scores.shape[1] * 4
            panel = width * N_COLUMNS * 4
            float_product(
                *(queries, stride, keys.ctypes.data, N_COLUMNS * 4, table, row),
                *(n_tokens, width, scores.shape[1], panel),
            )
            _softmax(scores[:n_tokens], n_tokens)
            # the rows written beyond this text belong to the next one, whose turn is still to come
            target = out.ctypes.data + (start * n_dims + head * width) * 4
            float_product(
                *(table, row, values, stride, target, n_dims * 4),
                *(n_tokens, n_tokens, width, N_COLUMNS * 4),
            )


@njit(**FAST)
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
