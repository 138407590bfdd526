"""BERT's forward on a CPU by ctranslate2, from the model's own folder and without torch.

ctranslate2 reads named arrays in a format of its own, which is written here and handed over in
memory: ``ctranslate2.specs``, which writes it too, imports torch where that is installed, seconds
before the first vector. The names are those of its ``TransformerEncoderSpec``, revision 1, the
format is version 6 (``ModelSpec`` in ctranslate2/specs/model_spec.py); later releases read both.

Covers ``BertModel`` with absolute positions and exact GELU; see :func:`is_covered`.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import FormatError
from shoestring.lazy import require
from shoestring.models.adapter import Adapter
from shoestring.models.model_files import gpu_is_there, read_weights
from shoestring.parallel import n_cores

FloatArray = NDArray[np.float32]

_TYPES = ("float32", "int8", "int16")  # the format has a type's place in this list
_GELU, _ADD = 3, 1  # ctranslate2's Activation.GELU and EmbeddingsMerge.ADD
_LINEAR, _NORM = {"weight": "weight", "bias": "bias"}, {"weight": "gamma", "bias": "beta"}
_HEADS = ("query", "key", "value")
_STEPS = {  # of a layer, the queries, keys and values aside: transformers' and ctranslate2's names
    "attention.output.dense": ("self_attention/linear_1", _LINEAR),
    "attention.output.LayerNorm": ("self_attention/layer_norm", _NORM),
    "intermediate.dense": ("ffn/linear_0", _LINEAR),
    "output.dense": ("ffn/linear_1", _LINEAR),
    "output.LayerNorm": ("ffn/layer_norm", _NORM),
}


def is_covered(config: Mapping[str, Any]) -> bool:
    """Tell whether a model of this config.json can run here."""
    kind = config.get("model_type"), config.get("hidden_act", "gelu")
    return kind == ("bert", "gelu") and config.get("position_embedding_type") in (None, "absolute")


def is_left_to_torch() -> bool:
    """Tell whether torch runs BERT: on a GPU, or because it is installed and ctranslate2 is not."""
    return gpu_is_there() or (find_spec("ctranslate2") is None and find_spec("torch") is not None)


class Bert:
    """The encoder of a BERT folder, float32.

    ``config`` is its config.json, which :func:`is_covered` says yes to; a batch runs on each
    core. MissingExtraError without ctranslate2; FormatError if the file is damaged or lacks a
    weight, or the adapter is of another model.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], adapter: Adapter | None = None
    ) -> None:
        require("a BERT model on a CPU", "minilm", "ctranslate2")
        from ctranslate2 import Encoder

        # a classifier's encoder has the prefix "bert."; adapters name weights without it
        weights = {n.removeprefix("bert."): array for n, array in read_weights(folder).items()}
        if adapter is not None:
            adapter.add_to(weights)
        # of the pooler and the classifier, which do not run here
        self.head = {n: a for n, a in weights.items() if n.startswith(("pooler.", "classifier."))}
        names = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size")
        sizes = [config.get(name) or 0 for name in names]
        if not all(type(size) is int and size > 0 for size in sizes) or sizes[0] % sizes[1]:
            message = f"must have {', '.join(names)} that fit together; save the model again."
            raise FormatError(message, file=folder / "config.json")
        self.folder, self.n_dims = folder, sizes[0]
        self._arguments = (folder, dict(config), adapter)
        self._loading = getattr(self, "_loading", Lock())  # held where it is loaded again
        positions = config.get("max_position_embeddings")
        positions = positions if type(positions) is int and positions > 0 else 512
        _check_shapes(weights, sizes[0], sizes[3], positions, folder / "model.safetensors")
        try:
            variables = dict(_variables(weights, config))
        except KeyError as error:
            message = f"has no weight {error}; save the model again."
            raise FormatError(message, file=folder / "model.safetensors") from error
        self._n_words = len(variables["embeddings_0/weight"])
        self._n_types = len(variables["embeddings_1/weight"])
        settings = {"bos_token": "?", "eos_token": "?", "unk_token": "?"}  # must be there
        settings["layer_norm_epsilon"] = config.get("layer_norm_eps", 1e-12)
        files = {
            "model.bin": _model_file(variables),
            "config.json": json.dumps(settings).encode(),
            "vocabulary.json": b'["?"]',  # unused: texts come as ids
        }
        del weights, variables  # the library has its own copy
        threads = {"inter_threads": n_cores(), "intra_threads": 1}
        self._encoder: Any = Encoder(str(folder), compute_type="float32", files=files, **threads)
        _loaded.add(self)

    def states(self, ids: list[list[int]], types: list[list[int]] | None = None) -> FloatArray:
        """Run several texts through all layers; threads may call at the same time.

        Of each text come the ids of its tokens, special ones included, and their types (0 if not
        given). Its states, in (texts, longest T, D), are the same up to rounding whatever is beside
        it; those beyond its own tokens mean nothing, and no time is spent on them. FormatError if
        an id is not in the model: the tokenizer is of another.
        """
        with self._loading:
            if self._encoder is None:
                Bert.__init__(self, *self._arguments)
        if not any(ids):  # no token at all: the library would divide by zero
            return np.zeros((len(ids), 0, self.n_dims), np.float32)
        types = types or [[0] * len(text) for text in ids]
        for rows, n_known in ((ids, self._n_words), (types, self._n_types)):
            if (most := max(map(max, filter(None, rows)))) >= n_known:  # the library does not look
                message = f"gives the id {most}, and the model has {n_known}; copy the model again."
                raise FormatError(message, file=self.folder / "tokenizer.json")
        return np.array(self._encoder.forward_batch(ids, token_type_ids=types).last_hidden_state)

    def __reduce__(self) -> tuple[Any, ...]:
        return Bert, self._arguments


_loaded: WeakSet[Bert] = WeakSet()


def _forget_models() -> None:
    """In a forked child: to run a model, or free it, would wait for threads that stayed behind.

    Each is loaded again when it is needed; what it had is never freed.
    """
    for bert in _loaded:
        if bert._encoder is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(bert._encoder))
        bert._encoder, bert._loading = None, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_models)


def _check_shapes(
    weights: Mapping[str, FloatArray], d: int, feed: int, positions: int, file: Path
) -> None:
    """FormatError if a weight is of another shape than the config's: the library would crash."""
    wide = {
        "intermediate.dense.weight": (feed, d),
        "intermediate.dense.bias": (feed,),
        "output.dense.weight": (d, feed),
    }
    for name, array in weights.items():
        if not name.startswith(("embeddings.", "encoder.layer.")) or name.endswith("_ids"):
            continue
        least = positions if "position_embeddings" in name else 1
        rows = max(least, len(array)) if name.startswith("embeddings.") else d
        want = wide.get(name.split(".", 3)[-1], (rows, d) if array.ndim == 2 else (d,))
        if array.shape != want:
            message = f"has {name} of shape {array.shape}, not {want}; save the model again."
            raise FormatError(message, file=file)


def _model_file(variables: Mapping[str, Any]) -> bytes:
    def text(content: str) -> bytes:
        return struct.pack("=H", len(content) + 1) + content.encode() + b"\0"

    parts: list[Any] = [struct.pack("=I", 6), text("TransformerEncoderSpec")]
    parts.append(struct.pack("=II", 1, len(variables)))
    for name, value in variables.items():
        parts += [text(f"encoder/{name}"), struct.pack("=B", value.ndim)]
        parts += [struct.pack("=I", size) for size in value.shape]
        parts += [struct.pack("=BI", _TYPES.index(value.dtype.name), value.nbytes)]
        parts += [np.ascontiguousarray(value).data]
    return b"".join([*parts, struct.pack("=I", 0)])  # no name stands for another


def _variables(weights: Mapping[str, FloatArray], config: Mapping[str, Any]) -> Iterator[Any]:
    """Pairs of ctranslate2's name of a part of a BERT, and the part."""
    yield "num_heads", np.int16(config["num_attention_heads"])
    yield "pre_norm", np.int8(0)
    yield "activation", np.int8(_GELU)
    yield "embeddings_merge", np.int8(_ADD)
    yield "scale_embeddings", np.int8(0)
    yield "embeddings_0/weight", weights["embeddings.word_embeddings.weight"]
    yield "embeddings_1/weight", weights["embeddings.token_type_embeddings.weight"]
    yield "position_encodings/encodings", weights["embeddings.position_embeddings.weight"]
    for part, name in _NORM.items():
        yield f"layernorm_embedding/{name}", weights[f"embeddings.LayerNorm.{part}"]
    for i in range(config["num_hidden_layers"]):
        ours, theirs = f"encoder.layer.{i}.", f"layer_{i}/"
        for part in _LINEAR:
            of_heads = [weights[f"{ours}attention.self.{x}.{part}"] for x in _HEADS]
            yield f"{theirs}self_attention/linear_0/{part}", np.concatenate(of_heads)
        for step, (place, parts) in _STEPS.items():
            for part, name in parts.items():
                yield f"{theirs}{place}/{name}", weights[f"{ours}{step}.{part}"]
