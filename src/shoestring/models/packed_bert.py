"""A BERT encoder's forward on a CPU over packed tokens: no padding anywhere.

The tokens of many texts lie one after the other in one matrix, so that every linear layer sees only
real tokens; attention goes text by text. Two steps are taken otherwise than in transformers, with
the same result:

- Queries, keys and values are one product; the queries' weights carry the 1 / sqrt(d) of attention.
- In the last layer of a cross-encoder only the first token's output is read. Its attention logits
  are q_h . (W_k,h x_t + b_k,h) = (W_k,h' q_h) . x_t + a constant that softmax does not see, and its
  output is W_v,h (sum_t p_t x_t) + b_v,h. So no key or value is ever made: the last layer costs
  2 A D for each token instead of 12 D^2 (A heads), which saves a sixth of MiniLM.

M tokens in a chunk, D width, A heads, L layers.

Covers ``BertModel`` with absolute positions and exact GELU; see :func:`unfit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.models.bert_kernels import (
    add_and_normalize,
    attend,
    attend_from_first,
    feed_forward,
    linear,
)
from shoestring.models.int16_kernels import N_ROWS, has_avx2, pack_weight

FloatArray = NDArray[np.float32]
Weights = Mapping[str, FloatArray]


def unfit(config: Mapping[str, Any]) -> str:
    """Say why a model cannot run here, or nothing if it can.

    Parameters
    ----------
    config : mapping
        The model's config.json.

    Returns
    -------
    str
        Half a sentence for an error message; empty if the model fits.

    Examples
    --------
    >>> unfit({"model_type": "roberta"})
    "it is of the family 'roberta', not 'bert'"
    """
    family, activation = config.get("model_type"), config.get("hidden_act", "gelu")
    positions = config.get("position_embedding_type") or "absolute"
    if family != "bert":
        return f"it is of the family {family!r}, not 'bert'"
    if activation != "gelu" or positions != "absolute":
        return f"it has {activation!r} activations and {positions!r} positions"
    n_dims, n_inner = config["hidden_size"], config["intermediate_size"]
    if n_dims % 16 or n_inner % 16 or (n_dims // config["num_attention_heads"]) % 16:
        return f"its widths {n_dims} and {n_inner} or its heads are not multiples of 16"
    if not has_avx2():
        return "this CPU has no AVX2"
    return ""


PackedLinear = tuple[NDArray[np.int16], FloatArray, FloatArray]  # packed weight, scales, bias
Norm = tuple[FloatArray, FloatArray]  # gain, bias


@dataclass(frozen=True)
class _Layer:
    qkv: PackedLinear
    attention_out: PackedLinear
    attention_norm: Norm
    inner: PackedLinear
    outer: PackedLinear
    norm: Norm


class PackedBert:
    """The encoder of a BERT checkpoint, ready for packed tokens.

    Parameters
    ----------
    weights : mapping of str to ndarray
        The checkpoint's arrays, float32.
    config : mapping
        Its config.json.
    prefix : str
        What the encoder's names start with: "bert." in a classifier, "" in a bare encoder.
    """

    def __init__(self, weights: Weights, config: Mapping[str, Any], prefix: str = "") -> None:
        self.n_heads: int = config["num_attention_heads"]
        self.n_dims: int = config["hidden_size"]
        self.epsilon: float = config.get("layer_norm_eps", 1e-12)
        self._weights = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
        embeddings = "embeddings.{}_embeddings.weight"
        self._words = self._weights[embeddings.format("word")]
        self._positions = self._weights[embeddings.format("position")]
        self._segments = self._weights[embeddings.format("token_type")]
        self._norm = self._norm_of("embeddings.LayerNorm")
        self.layers = [self._layer(i) for i in range(config["num_hidden_layers"])]

    def hidden(self, ids: Sequence[Any], segments: Sequence[Any], n_layers: int) -> FloatArray:
        """Run the first ``n_layers`` layers over the packed tokens of several texts: (M, D).

        Parameters
        ----------
        ids, segments : sequence of sequence of int
            Of each text, the token ids and the token types, special tokens included.
        n_layers : int
            All of them for a bi-encoder.
        """
        starts = _starts(ids)
        positions = np.concatenate([np.arange(len(text)) for text in ids])
        x: FloatArray = self._words[np.concatenate(ids)] + self._positions[positions]
        x += self._segments[np.concatenate(segments)]
        add_and_normalize(x, np.zeros_like(x), self._norm, self.epsilon)
        qkv = np.zeros((len(x) + N_ROWS, 3 * self.n_dims), np.float32)
        for layer in self.layers[:n_layers]:
            self._run(layer, x, starts, qkv)
        return x

    def first_tokens(self, ids: Sequence[Any], segments: Sequence[Any]) -> FloatArray:
        """Run all layers and return each text's first token: (texts, D)."""
        x = self.hidden(ids, segments, len(self.layers) - 1)
        starts = _starts(ids)
        last = f"encoder.layer.{len(self.layers) - 1}."
        first = x[starts[:-1]]
        heads = (len(first), self.n_heads, self.n_dims // self.n_heads)
        queries = self._project(first, last + "attention.self.query").reshape(heads)
        queries = queries / np.float32(heads[2] ** 0.5)
        keys = self._weights[last + "attention.self.key.weight"].reshape(*heads[1:], self.n_dims)
        folded = np.matmul(queries.transpose(1, 0, 2), keys).transpose(1, 0, 2)  # (texts, A, D)
        means = np.empty((len(first), self.n_heads, self.n_dims), np.float32)
        attend_from_first(x, starts, np.ascontiguousarray(folded), means)
        values = self._weights[last + "attention.self.value.weight"].reshape(
            *heads[1:], self.n_dims
        )
        context = np.matmul(means.transpose(1, 0, 2), values.transpose(0, 2, 1)).transpose(1, 0, 2)
        context = context.reshape(first.shape) + self._weights[last + "attention.self.value.bias"]
        add_and_normalize(
            first,
            self._project(context, last + "attention.output.dense"),
            self._norm_of(last + "attention.output.LayerNorm"),
            self.epsilon,
        )
        layer = self.layers[-1]
        feed_forward(first, layer.inner, layer.outer, layer.norm, self.epsilon)
        return first

    def _run(
        self, layer: _Layer, x: FloatArray, starts: NDArray[np.int64], qkv: FloatArray
    ) -> None:
        context = np.empty((len(qkv), self.n_dims), np.float32)
        linear(x, layer.qkv, qkv)
        attend(qkv, starts, self.n_heads, context)
        update = qkv.reshape(-1)[: context.size].reshape(context.shape)  # its work is done
        linear(context[: len(x)], layer.attention_out, update)
        add_and_normalize(x, update, layer.attention_norm, self.epsilon)
        feed_forward(x, layer.inner, layer.outer, layer.norm, self.epsilon)

    def _project(self, x: FloatArray, name: str) -> FloatArray:
        product: FloatArray = x @ self._weights[name + ".weight"].T + self._weights[name + ".bias"]
        return product

    def _norm_of(self, name: str) -> Norm:
        return self._weights[name + ".weight"], self._weights[name + ".bias"]

    def _layer(self, index: int) -> _Layer:
        name = f"encoder.layer.{index}."
        scale = np.float32((self.n_dims // self.n_heads) ** -0.5)
        parts = [self._pair(name + f"attention.self.{part}") for part in ("query", "key", "value")]
        parts[0] = (parts[0][0] * scale, parts[0][1] * scale)
        return _Layer(
            _packed(np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts])),
            _packed(*self._pair(name + "attention.output.dense")),
            self._norm_of(name + "attention.output.LayerNorm"),
            _packed(*self._pair(name + "intermediate.dense")),
            _packed(*self._pair(name + "output.dense")),
            self._norm_of(name + "output.LayerNorm"),
        )

    def _pair(self, name: str) -> tuple[FloatArray, FloatArray]:
        return self._weights[name + ".weight"], self._weights[name + ".bias"]


def _packed(weight: FloatArray, bias: FloatArray) -> PackedLinear:
    """Pack a weight as torch keeps it, (N, K)."""
    return *pack_weight(np.ascontiguousarray(weight.T)), np.ascontiguousarray(bias)


def _starts(texts: Sequence[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(text) for text in texts])])
