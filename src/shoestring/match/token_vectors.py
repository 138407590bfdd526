"""Unit vectors of a text's tokens, from the last layer of a bi-encoder.

T tokens of a text without the special ones, D width.

On a CPU a BERT folder runs through :class:`~shoestring.match.packed_bert.PackedBert`, without
torch; any other model, and a GPU, through transformers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.match.batches import CHARACTERS_PER_TOKEN, TOKENS_PER_BATCH, batches_by_length
from shoestring.match.packed_bert import PackedBert, one_blas_thread, unfit
from shoestring.match.weights import gpu_is_there, read_model_config, read_weights
from shoestring.text.backbone import load_backbone, load_tokenizer, transformer_folder

FloatMatrix = NDArray[np.float32]
Forward = Callable[[list[list[int]]], list[FloatMatrix]]

TEXTS_PER_BLOCK = 1024  # whose vectors are held at a time: about 100 MB of MiniLM's


class TokenEncoder:
    """Turns texts into the unit vectors of their tokens, special tokens left out.

    Parameters
    ----------
    folder : str or Path, optional
        A bi-encoder; MiniLM by default.
    max_length : int
        Tokens that are read of a text, special tokens included.
    """

    def __init__(self, folder: str | Path | None, max_length: int) -> None:
        self.folder = transformer_folder(folder)
        config = read_model_config(self.folder)
        self.max_length = min(max_length, config.get("max_position_embeddings", max_length))
        self.n_dims: int = config["hidden_size"]
        self._tokenizer = load_tokenizer(self.folder)
        self._tokenizer.enable_truncation(self.max_length)
        fits = not unfit(config) and (self.folder / "model.safetensors").is_file()
        self.packed = fits and not gpu_is_there()
        self._forward = _packed(self.folder, config) if self.packed else _torch(self.folder)

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[int, FloatMatrix]]:
        """Yield (row, vectors (T, D) float32 of unit length), in an order of its own."""
        for start in range(0, len(texts), TEXTS_PER_BLOCK):
            encodings = self._tokenize(texts[start : start + TEXTS_PER_BLOCK])
            batches = list(batches_by_length([len(e.ids) for e in encodings], TOKENS_PER_BATCH))
            ids = [[encodings[row].ids for row in rows] for rows in batches]
            for rows, batch in zip(batches, self._run(ids), strict=True):
                for row, hidden in zip(rows, batch, strict=True):
                    kept = np.flatnonzero(np.array(encodings[row].special_tokens_mask) == 0)
                    yield start + row, _unit(hidden[kept])

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each text, special tokens left out: (len(texts),) int64."""
        counts = [
            encoding.special_tokens_mask.count(0)
            for start in range(0, len(texts), TEXTS_PER_BLOCK)
            for encoding in self._tokenize(texts[start : start + TEXTS_PER_BLOCK])
        ]
        return np.array(counts, np.int64)

    def _tokenize(self, texts: Sequence[str]) -> list[Any]:
        n_characters = self.max_length * CHARACTERS_PER_TOKEN
        encodings: list[Any] = self._tokenizer.encode_batch([text[:n_characters] for text in texts])
        return encodings

    def _run(self, batches: list[list[list[int]]]) -> Iterator[list[FloatMatrix]]:
        if not self.packed or len(batches) < 2:
            return map(self._forward, batches)
        with ThreadPoolExecutor(os.cpu_count()) as pool, one_blas_thread():
            return iter(list(pool.map(self._forward, batches)))


def _unit(vectors: FloatMatrix) -> FloatMatrix:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatMatrix = vectors / np.maximum(norms, np.float32(1e-12))
    return unit


def _packed(folder: Path, config: dict[str, Any]) -> Forward:
    weights = read_weights(folder)
    prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
    return partial(_packed_forward, PackedBert(weights, config, prefix))


def _packed_forward(bert: PackedBert, ids: list[list[int]]) -> list[FloatMatrix]:
    hidden = bert.hidden(ids, [[0] * len(text) for text in ids], len(bert.layers))
    return np.split(hidden, np.cumsum([len(text) for text in ids])[:-1])


def _torch(folder: Path) -> Forward:
    model = load_backbone(folder).model
    return partial(_torch_forward, model.half() if gpu_is_there() else model)


def _torch_forward(model: Any, ids: list[list[int]]) -> list[FloatMatrix]:
    import torch

    padded = torch.zeros(len(ids), max(len(text) for text in ids), dtype=torch.long)
    mask = torch.zeros_like(padded)
    for i, text in enumerate(ids):
        padded[i, : len(text)] = torch.tensor(text)
        mask[i, : len(text)] = 1
    with torch.inference_mode():
        output = model(input_ids=padded.to(model.device), attention_mask=mask.to(model.device))
        hidden = output.last_hidden_state.float().cpu().numpy()  # (texts, T, D)
    return [hidden[i, : len(text)] for i, text in enumerate(ids)]
