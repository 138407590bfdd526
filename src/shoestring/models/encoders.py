"""Texts to sentence vectors with a pretrained Transformer.

N texts, D width. A sentence's vector is the mean of its token vectors (or the first one, where the
folder's pooling says so), of unit length, as sentence-transformers computes it; we run the model
ourselves, on a CPU without torch (:class:`~shoestring.models.token_encoder.TokenEncoder`). A folder
whose pipeline is more than Transformer, mean or first-token pooling and normalisation is handed to
sentence-transformers.

Source: Reimers & Gurevych (2019), arXiv 1908.10084.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_bool, checked_int, checked_texts
from shoestring.lazy import require
from shoestring.models.backbone import (
    LOCAL,
    model_folder,
    read_modules,
    reading_model,
    shown_name,
    transformer_folder,
)
from shoestring.models.model_files import read_json
from shoestring.models.token_encoder import TokenEncoder, note_cut, unit_rows

_PLAIN_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


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

    def encode(self, texts: Sequence[str], progress: bool = False) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str (N,)
            Cut at ``max_length`` tokens.
        progress : bool
            Show a progress bar on standard error.

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
        progress = checked_bool("progress", progress, "SentenceEncoder.encode")
        if self._delegate is not None:
            return np.asarray(
                self._delegate.encode(texts, normalize_embeddings=True, show_progress_bar=progress),
                dtype=np.float32,
            ).reshape(len(texts), self.n_dims)
        from shoestring.progress import Progress

        vectors, n_full = np.zeros((len(texts), self.n_dims), dtype=np.float32), 0
        with Progress(total=len(texts), desc="vectors", unit="text", disable=not progress) as bar:
            for row, states, _ in self._tokens.hidden(texts):
                # in float64, so that a long text's mean is as right as a short one's
                vectors[row] = states.mean(0, np.float64) if self._pooling == "mean" else states[0]
                n_full += len(states) == self.max_length
                bar.update()
        note_cut(n_full, len(texts), self.name, self.max_length)
        return unit_rows(vectors)


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
