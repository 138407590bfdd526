"""Cross-encoders as pair scorers that answer logits.

sentence-transformers applies a sigmoid to a cross-encoder of one label by default. It keeps the
order but saturates: far from 0 many pairs share a score to the last digit, and search/ learns from
their differences. The classes here answer the logits.

B pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_pairs, checked_path
from shoestring.errors import MissingExtraError, ParameterError
from shoestring.models.backbone import LOCAL, load_tokenizer, own_length, reading_model
from shoestring.models.bert import Bert, is_left_to_torch, unfit
from shoestring.models.model_files import arrays_digest, gpu_is_there, read_json, read_weights
from shoestring.models.token_encoder import (
    CHARACTERS_PER_TOKEN,
    TOKENS_PER_BATCH,
    batches_by_length,
)
from shoestring.parallel import n_cores, one_blas_thread

PAIRS_PER_BLOCK = 4096  # tokenised at a time: bounds the memory of a call


class CrossEncoderScorer:
    """Any sentence-transformers ``CrossEncoder`` of one label, answering logits.

    Parameters
    ----------
    model : str, Path or CrossEncoder
        A folder that ``CrossEncoder`` loads, or one that is loaded.

    Raises
    ------
    ParameterError
        If the model has several labels.
    """

    def __init__(self, model: Any) -> None:
        try:
            from sentence_transformers import CrossEncoder

            from shoestring.models.frozen import digest_of
        except ImportError:
            raise MissingExtraError(
                "sentence-transformers", extra="torch", purpose="the cross-encoder"
            ) from None
        owner = "CrossEncoderScorer"
        is_folder = isinstance(model, str | Path)
        if is_folder:
            folder = checked_path("model", model, owner)
            with reading_model(folder):
                model = CrossEncoder(str(folder), **LOCAL)
        elif not isinstance(model, CrossEncoder):
            raise ParameterError.of("model", owner, "a folder or a CrossEncoder", model)
        if model.config.num_labels != 1:
            hint = "Train it with num_labels=1, or wrap one column of it with score_with(fn)."
            want, got = "a cross-encoder of one label", f"{model.config.num_labels} labels"
            raise ParameterError.of("model", owner, want, got, hint)
        self.max_length: int = min(model.max_seq_length or 512, 2**20)
        self.name = _name(digest_of(model.model.state_dict()), self.max_length)
        self._model: Any = model.half() if is_folder and gpu_is_there() else model

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs: (B,) float32 logits. Texts are cut at 20 characters a token."""
        from torch.nn import Identity

        pairs = checked_pairs("pairs", pairs, "CrossEncoderScorer.predict")
        cut = _cut(pairs, self.max_length)
        logits = self._model.predict(cut, show_progress_bar=False, activation_fn=Identity())
        return np.asarray(logits, np.float32).reshape(len(cut))


class FastCrossEncoder:
    """A BERT cross-encoder folder on the CPU, without torch.

    Parameters
    ----------
    folder : str or Path
        As ``CrossEncoder.save_pretrained`` wrote it: config.json of a
        ``BertForSequenceClassification`` of one label, model.safetensors, tokenizer.json.

    Raises
    ------
    ParameterError
        If the model is of another family or has several labels, or if files are missing;
        :func:`shoestring.match.load_scorer` then takes :class:`CrossEncoderScorer`.
    MissingExtraError
        If ctranslate2 is not installed.

    Notes
    -----
    The logits are those of sentence-transformers up to rounding. So is what the other pairs of the
    call change of a logit: pairs of like length are run together, with nothing spent on padding.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = checked_path("folder", folder, "FastCrossEncoder")
        config = read_json(self.folder / "config.json")
        if reason := why_not_fast(self.folder, config):
            raise ParameterError(
                "The 'folder' parameter of FastCrossEncoder must be a BERT cross-encoder of one "
                f"label. Got {self.folder}, but {reason}. Pass CrossEncoderScorer(folder), or the "
                "CrossEncoder itself."
            )
        self.max_length = own_length(self.folder, config)
        weights = sorted(read_weights(self.folder).items())
        digest = arrays_digest((n, array) for n, array in weights if not n.endswith("position_ids"))
        self.name = _name(digest, self.max_length)
        self._bert = Bert(self.folder, config)
        self._tokenizer = load_tokenizer(self.folder)
        self._tokenizer.enable_truncation(self.max_length)

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs: (B,) float32 logits."""
        pairs = checked_pairs("pairs", pairs, "FastCrossEncoder.predict")
        logits = np.empty(len(pairs), np.float32)
        with one_blas_thread(), ThreadPoolExecutor(n_cores()) as pool:
            for start in range(0, len(pairs), PAIRS_PER_BLOCK):
                block = slice(start, start + PAIRS_PER_BLOCK)
                self._score(pairs[block], logits[block], pool)
        return logits

    def _score(
        self, pairs: list[tuple[str, str]], logits: NDArray[np.float32], pool: ThreadPoolExecutor
    ) -> None:
        encodings = self._tokenizer.encode_batch(_cut(pairs, self.max_length))
        lengths = [len(encoding.ids) for encoding in encodings]
        batches = list(batches_by_length(lengths, TOKENS_PER_BATCH))[::-1]  # the longest first
        w = self._bert.head

        def score(rows: list[int]) -> None:
            ids = [encodings[row].ids for row in rows]
            segments = [encodings[row].type_ids for row in rows]
            first = self._bert.states(ids, segments)[:, 0]
            pooled = np.tanh(first @ w["pooler.dense.weight"].T + w["pooler.dense.bias"])
            logits[rows] = pooled @ w["classifier.weight"][0] + w["classifier.bias"][0]

        list(pool.map(score, batches))


def _name(digest: str, max_length: int) -> str:
    """The same for a model as a folder and as an object, with torch and without."""
    return f"cross-encoder:{digest}:{max_length}"


def _cut(pairs: list[tuple[str, str]], max_length: int) -> list[tuple[str, str]]:
    n = max_length * CHARACTERS_PER_TOKEN
    return [(query[:n], text[:n]) for query, text in pairs]


def why_not_fast(folder: Path, config: Mapping[str, Any]) -> str:
    """Why :class:`FastCrossEncoder` cannot run a folder with this config; "" if it can."""
    missing = [f for f in ("model.safetensors", "tokenizer.json") if not (folder / f).is_file()]
    n_labels = len(config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"})
    if "BertForSequenceClassification" not in (config.get("architectures") or []):
        return "it is no BertForSequenceClassification"
    if n_labels != 1:
        return f"it has {n_labels} labels"
    if missing:
        return f"it has no {' and no '.join(missing)}"
    if "bfloat16" in (config.get("dtype"), config.get("torch_dtype")):
        return "its weights are bfloat16"
    if is_left_to_torch():
        return "torch runs it here"
    return unfit(config)
