"""Vectors of a text's tokens: the last layer of a bi-encoder, without torch where that is possible.

T tokens of a text, D width.

On a CPU a BERT folder runs through :class:`~shoestring.models.bert.Bert`; any other model, and a
GPU, through transformers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_int
from shoestring.errors import ShoestringWarning
from shoestring.models.adapter import Adapter
from shoestring.models.backbone import (
    load_backbone,
    load_tokenizer,
    own_length,
    transformer_folder,
)
from shoestring.models.bert import Bert, is_left_to_torch, unfit
from shoestring.models.model_files import gpu_is_there, read_json
from shoestring.parallel import n_cores

FloatMatrix = NDArray[np.float32]
Forward = Callable[[list[list[int]]], NDArray[np.float32]]  # ids to states, padded

# No tokeniser in use averages more characters a token than this: a text of a megabyte is cut before
# it is tokenised.
CHARACTERS_PER_TOKEN = 20
TOKENS_PER_BATCH = 480  # one thread's work: its activations stay in the caches
TEXTS_PER_BLOCK = 1_024  # whose vectors are held at a time: about 100 MB of MiniLM's
TORCH_BATCH_TOKENS = 4_096  # more is no faster on a CPU
LEAST_SHARE_CUT = 0.01  # of the texts; what is less is not worth a note
SPLIT = "Split long texts into passages first, or name a model that reads more."
_TOLD: set[tuple[str, int]] = set()  # models whose cuts were noted, in this process


class TokenEncoder:
    """Turns texts into the vectors of their tokens, of which it reads ``max_length`` at most.

    The folder is that of a bi-encoder, MiniLM's by default; errors are those of
    :func:`~shoestring.models.backbone.load_backbone`, and ParameterError if ``max_length`` leaves
    no room for a token.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        max_length: int = 128,
        adapter: Adapter | None = None,
    ) -> None:
        self.folder = transformer_folder(folder)
        config = read_json(self.folder / "config.json")
        self._tokenizer = load_tokenizer(self.folder)
        special = self._tokenizer.num_special_tokens_to_add(False)
        max_length = checked_int("max_length", max_length, special + 1, None, "TokenEncoder")
        self.max_length = min(max_length, own_length(self.folder, config))
        self._tokenizer.enable_truncation(self.max_length)
        fits = not unfit(config) and (self.folder / "model.safetensors").is_file()
        self.uses_torch = not fits or is_left_to_torch()
        if not self.uses_torch:
            bert = Bert(self.folder, config, adapter)
            self.n_dims: int = bert.n_dims
            self._forward: Forward = bert.states
        else:
            model = load_backbone(self.folder, adapter)
            self.n_dims = int(model.config.hidden_size)
            model = model.half() if gpu_is_there() else model
            self._forward = partial(_torch_forward, model)

    def hidden(self, texts: Sequence[str]) -> Iterator[tuple[int, FloatMatrix, NDArray[np.bool_]]]:
        """Run texts, cut at ``max_length`` tokens, through the model, in an order of its own.

        Yields each text's index, its last layer (T, D) and where the special tokens are (T,).
        """
        n_tokens = TORCH_BATCH_TOKENS if self.uses_torch else TOKENS_PER_BATCH
        for start in range(0, len(texts), TEXTS_PER_BLOCK):
            n = self.max_length * CHARACTERS_PER_TOKEN
            block = [text[:n] for text in texts[start : start + TEXTS_PER_BLOCK]]
            encodings = self._tokenizer.encode_batch(block)
            batches = list(batches_by_length([len(e.ids) for e in encodings], n_tokens))
            batches.reverse()  # the longest first, so that no thread is left with one at the end
            ids = [[encodings[row].ids for row in rows] for rows in batches]
            for rows, states in zip(batches, self._run(ids), strict=True):
                for row, tokens in zip(rows, states, strict=True):
                    special = np.array(encodings[row].special_tokens_mask, dtype=np.bool_)
                    yield start + row, tokens[: len(special)], special

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[int, FloatMatrix]]:
        """Yield (row, vectors (T, D) float32 of unit length), special tokens left out."""
        for row, states, special in self.hidden(texts):
            yield row, unit_rows(states[~special])

    def _run(self, batches: list[list[list[int]]]) -> Iterator[NDArray[np.float32]]:
        if self.uses_torch or len(batches) < 2:
            return map(self._forward, batches)
        with ThreadPoolExecutor(n_cores()) as pool:
            return iter(list(pool.map(self._forward, batches)))


def note_cut(n_cut: int, n_texts: int, model: str, max_length: int, hint: str = SPLIT) -> None:
    """Say how many texts a model has just cut at ``max_length``: once in a process.

    Nothing is said of a single text, such as a query, nor of a few among many.
    """
    if n_texts < 2 or n_cut <= LEAST_SHARE_CUT * n_texts or (model, max_length) in _TOLD:
        return
    _TOLD.add((model, max_length))
    warnings.warn(
        f"{n_cut:,} of {n_texts:,} texts ({100 * n_cut / n_texts:.0f} %) are longer than the "
        f"{max_length} tokens that {model} reads: the rest of them is not seen. {hint}",
        ShoestringWarning,
        stacklevel=3,
    )


def batches_by_length(lengths: Sequence[int], n_tokens: int) -> Iterator[list[int]]:
    """Cut rows, shortest first, into batches of at most ``n_tokens`` tokens after padding.

    Examples
    --------
    >>> list(batches_by_length([5, 1, 2, 9], n_tokens=6))
    [[1, 2], [0], [3]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[row] * (len(batch) + 1) > n_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def unit_rows(vectors: FloatMatrix) -> FloatMatrix:
    """Scale each row (N, D) to length 1, float32; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatMatrix = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit


def _torch_forward(model: Any, ids: list[list[int]]) -> NDArray[np.float32]:
    import torch

    padding = getattr(model.config, "pad_token_id", None) or 0
    padded = torch.full((len(ids), max(len(text) for text in ids)), padding, dtype=torch.long)
    mask = torch.zeros_like(padded)
    for i, text in enumerate(ids):
        padded[i, : len(text)] = torch.tensor(text)
        mask[i, : len(text)] = 1
    with torch.inference_mode():
        output = model(input_ids=padded.to(model.device), attention_mask=mask.to(model.device))
        hidden: NDArray[np.float32] = output.last_hidden_state.float().cpu().numpy()
    return hidden  # (texts, T, D)
