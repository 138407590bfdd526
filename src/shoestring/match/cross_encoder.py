"""A cross-encoder as a pair scorer that answers logits.

sentence-transformers applies a sigmoid to a cross-encoder of one label by default. It keeps the
order but saturates: far from 0 many pairs share a score to the last digit, and search/ learns from
their differences. The class here answers the logits, of BERT on a CPU without torch.

B pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_pairs, checked_path
from shoestring.errors import ParameterError
from shoestring.lazy import require
from shoestring.models.backbone import LOCAL, load_tokenizer, own_length, reading_model
from shoestring.models.bert import Bert, is_covered, is_left_to_torch
from shoestring.models.model_files import arrays_digest, gpu_is_there, read_json, read_weights
from shoestring.models.token_encoder import (
    CHARACTERS_PER_TOKEN,
    TOKENS_PER_BATCH,
    batches_by_length,
)
from shoestring.parallel import n_cores, one_blas_thread

OWNER = "CrossEncoderScorer"
PAIRS_PER_BLOCK = 4096  # tokenised at a time: bounds the memory of a call


class CrossEncoderScorer:
    """A cross-encoder of one label, answering logits.

    Parameters
    ----------
    model : str, Path or CrossEncoder
        A folder that ``CrossEncoder`` of sentence-transformers loads, or one that is loaded.

    Raises
    ------
    ParameterError
        If the model has several labels.
    MissingExtraError
        If sentence-transformers is not installed, or ctranslate2 for a folder of BERT.

    Notes
    -----
    A folder of BERT runs on a CPU through ctranslate2, where that is installed. The logits are
    those of sentence-transformers up to rounding. So is what the other pairs of the call change of
    a logit: pairs of like length are run together, with nothing spent on padding.
    """

    def __init__(self, model: Any) -> None:
        folder = checked_path("model", model, OWNER) if isinstance(model, str | Path) else None
        self._bert: Any = None
        if folder is not None and _runs_without_torch(folder):
            config = read_json(folder / "config.json")
            weights = sorted(read_weights(folder).items())
            digest = arrays_digest((n, a) for n, a in weights if not n.endswith("position_ids"))
            self._bert, self._tokenizer = Bert(folder, config), load_tokenizer(folder)
            self.max_length = own_length(folder, config)
            self._tokenizer.enable_truncation(self.max_length)
        else:
            self._model = _with_torch(model, folder)
            from shoestring.models.frozen import digest_of

            digest = digest_of(self._model.model.state_dict())
            self.max_length = min(self._model.max_seq_length or 512, 2**20)
        self.name = f"cross-encoder:{digest}:{self.max_length}"  # the same by either way

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs: (B,) float32 logits. Texts are cut at 20 characters a token."""
        pairs = checked_pairs("pairs", pairs, f"{OWNER}.predict")
        n = self.max_length * CHARACTERS_PER_TOKEN
        pairs = [(query[:n], text[:n]) for query, text in pairs]
        if self._bert is None:
            from torch.nn import Identity

            settings = {"show_progress_bar": False, "activation_fn": Identity()}
            found = np.asarray(self._model.predict(pairs, **settings), np.float32)
            return found.reshape(len(pairs))
        logits = np.empty(len(pairs), np.float32)
        with one_blas_thread(), ThreadPoolExecutor(n_cores()) as pool:
            for start in range(0, len(pairs), PAIRS_PER_BLOCK):
                encodings = self._tokenizer.encode_batch(pairs[start : start + PAIRS_PER_BLOCK])
                lengths = [len(encoding.ids) for encoding in encodings]
                batches = list(batches_by_length(lengths, TOKENS_PER_BATCH))[::-1]  # longest first
                texts = [[encodings[row] for row in rows] for rows in batches]
                for rows, found in zip(batches, pool.map(self._logits, texts), strict=True):
                    logits[start : start + PAIRS_PER_BLOCK][rows] = found
        return logits

    def _logits(self, encodings: list[Any]) -> NDArray[np.float32]:
        w = self._bert.head
        first = self._bert.states([e.ids for e in encodings], [e.type_ids for e in encodings])[:, 0]
        pooled = np.tanh(first @ w["pooler.dense.weight"].T + w["pooler.dense.bias"])
        logits: NDArray[np.float32] = pooled @ w["classifier.weight"][0] + w["classifier.bias"][0]
        return logits


def _runs_without_torch(folder: Path) -> bool:
    config = read_json(folder / "config.json", {})
    return (
        "BertForSequenceClassification" in (config.get("architectures") or [])
        and len(config.get("id2label") or "01") == 1
        and all((folder / name).is_file() for name in ("model.safetensors", "tokenizer.json"))
        and "bfloat16" not in (config.get("dtype"), config.get("torch_dtype"))
        and is_covered(config)
        and not is_left_to_torch()
    )


def _with_torch(model: Any, folder: Path | None) -> Any:
    """A ``CrossEncoder`` of one label: that of a folder, or the one that was given."""
    require("the cross-encoder", "torch", "sentence_transformers")
    from sentence_transformers import CrossEncoder

    if folder is not None:
        with reading_model(folder):
            model = CrossEncoder(str(folder), **LOCAL)
    elif not isinstance(model, CrossEncoder):
        raise ParameterError.of("model", OWNER, "a folder or a CrossEncoder", model)
    if model.config.num_labels != 1:
        hint = "Train it with num_labels=1, or wrap one column of it with score_with(fn)."
        want, got = "a cross-encoder of one label", f"{model.config.num_labels} labels"
        raise ParameterError.of("model", OWNER, want, got, hint)
    return model.half() if folder is not None and gpu_is_there() else model
