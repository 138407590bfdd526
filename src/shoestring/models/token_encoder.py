"""Vectors of a text's tokens, and of the whole text, by a bi-encoder: without torch where possible.

N texts, T tokens of a text, D width.

On a CPU a BERT folder runs through :class:`~shoestring.models.bert.Bert`; any other model, and a
GPU, through transformers. A sentence's vector is the mean of its token vectors (or the first one,
where the folder's pooling says so), of unit length, as sentence-transformers computes it. A folder
whose pipeline is more than Transformer, mean or first-token pooling and normalisation is handed to
sentence-transformers.

Source: Reimers & Gurevych (2019), arXiv 1908.10084.
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

from shoestring.checks import checked_int, checked_texts
from shoestring.errors import ShoestringWarning
from shoestring.lazy import require
from shoestring.models.adapter import Adapter
from shoestring.models.backbone import (
    LOCAL,
    load_backbone,
    load_tokenizer,
    model_folder,
    own_length,
    read_modules,
    reading_model,
    shown_name,
    transformer_folder,
)
from shoestring.models.bert import Bert, is_covered, is_left_to_torch
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
_PLAIN_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
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
        fits = is_covered(config) and (self.folder / "model.safetensors").is_file()
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


class SentenceEncoder:
    """Sentence vectors from a local model folder.

    Parameters
    ----------
    folder : str or Path, optional
        Written by sentence-transformers or transformers; MiniLM (English) by default.
    max_length : int
        Tokens that are kept of a text, special tokens included.

    Raises
    ------
    MissingExtraError, StorageError, FormatError
        As :func:`load_backbone`.

    Notes
    -----
    Cost: about 2 FLOPs a parameter and token. The vectors are those of sentence-transformers up to
    rounding (about 1e-6 on a CPU).
    """

    def __init__(self, folder: str | Path | None = None, max_length: int = 128) -> None:
        max_length = checked_int("max_length", max_length, 1, None, "SentenceEncoder")
        self.folder = model_folder(folder)
        self.name = shown_name(self.folder)  # for people
        self._pooling = pooling_of(self.folder)
        self._delegate: Any = None
        if self._pooling is None:
            with reading_model(self.folder):
                self._delegate = _sentence_transformer(self.folder, max_length)
            self.max_length = max_length
            self.n_dims = int(self._delegate.get_embedding_dimension())
        else:
            self._tokens = TokenEncoder(self.folder, max_length)
            self.max_length, self.n_dims = self._tokens.max_length, self._tokens.n_dims

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str (N,)
            Cut at ``max_length`` tokens.

        Returns
        -------
        ndarray of float32 (N, D)
            Rows of unit length; the same for any order of the texts up to rounding.

        Raises
        ------
        ParameterError
            If they are no texts; the message names the first that is none.

        Warns
        -----
        ShoestringWarning
            With the share of longer texts, once for a model; not where sentence-transformers cuts.
        """
        texts = checked_texts("texts", texts, "SentenceEncoder.encode")
        if self._delegate is not None:
            settings = {"normalize_embeddings": True, "show_progress_bar": False}
            found = np.asarray(self._delegate.encode(texts, **settings), dtype=np.float32)
            return found.reshape(len(texts), self.n_dims)
        vectors, n_full = np.zeros((len(texts), self.n_dims), dtype=np.float32), 0
        for row, states, _ in self._tokens.hidden(texts):
            # in float64, so that a long text's mean is as right as a short one's
            vectors[row] = states.mean(0, np.float64) if self._pooling == "mean" else states[0]
            n_full += len(states) == self.max_length
        note_cut(n_full, len(texts), self.name, self.max_length)
        return unit_rows(vectors)


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
    from torch.nn.utils.rnn import pad_sequence

    padding = getattr(model.config, "pad_token_id", None) or 0
    texts = [torch.tensor(text, dtype=torch.long) for text in ids]
    padded = pad_sequence(texts, batch_first=True, padding_value=padding)
    mask = pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
    with torch.inference_mode():
        output = model(input_ids=padded.to(model.device), attention_mask=mask.to(model.device))
        hidden: NDArray[np.float32] = output.last_hidden_state.float().cpu().numpy()
    return hidden  # (texts, T, D)


def pooling_of(folder: Path) -> str | None:
    """``"mean"`` or ``"cls"`` where that is the folder's whole pipeline, else None."""
    modules = read_modules(folder)
    if not modules:
        return "mean"
    settings = read_json(transformer_folder(folder) / "sentence_bert_config.json", {})
    prompts = read_json(folder / "config_sentence_transformers.json", {})
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds not in _PLAIN_MODULES or settings.get("do_lower_case"):
        return None
    if prompts.get("default_prompt_name"):
        return None
    pooling = read_json(folder / modules[1]["path"] / "config.json", {})
    modes = [  # sentence-transformers before version 6 has a flag for each
        name.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens")
        for name, on in pooling.items()
        if name.startswith("pooling_mode_") and on is True
    ]
    mode = pooling.get("pooling_mode", modes[0] if len(modes) == 1 else None)
    return mode if mode in ("mean", "cls") else None


def _sentence_transformer(folder: Path, max_length: int) -> Any:
    require(f"the model in {folder}", "torch", "sentence_transformers")
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), **LOCAL)
    if model.max_seq_length is not None:
        model.max_seq_length = min(max_length, model.max_seq_length)
    return model
