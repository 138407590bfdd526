"""The files of a model folder, read without torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from shoestring.errors import FormatError

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_WEIGHT_FILES = ("*.safetensors", "*.bin", "tokenizer.json", "vocab.txt", "config.json")


def read_json(file: Path, default: Any = None) -> Any:
    """An object, or what is of the default's type; the default where there is no file.

    FormatError if it cannot be read, or is something else.
    """
    if default is not None and not file.exists():
        return default
    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        message = f"cannot be read ({error.strerror}); name a folder that transformers saved."
        raise FormatError(message, file=file) from error
    except (ValueError, RecursionError) as error:
        message = f"is no JSON in UTF-8 ({error}); save the model again."
        raise FormatError(message, file=file) from error
    if not isinstance(found, list if isinstance(default, list) else dict):
        want = "list" if isinstance(default, list) else "object"
        raise FormatError(f"must hold one JSON {want}; save the model again.", file=file)
    return found


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read a folder's model.safetensors as float32; FormatError if it is damaged."""
    file = folder / "model.safetensors"
    try:
        return {n: array.astype(np.float32, copy=False) for n, array in load_file(file).items()}
    except (SafetensorError, KeyError) as error:
        raise FormatError(f"cannot be read ({error}); save the model again.", file=file) from error


def model_path(name: object) -> Path | None:
    """A folder with a model by its path, or by its id where a model hub's local cache has it.

    None if there is neither. Nothing is downloaded.
    """
    if not isinstance(name, str | Path):
        return None
    if os.path.lexists(Path(name) / "config.json"):  # False if the name cannot be a path
        return Path(name)
    if not _HUB_ID.fullmatch(str(name)) or find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), local_files_only=True))
    except (OSError, ValueError):  # it is not there, or no id
        return None


def how_to_download(name: object) -> str:
    """What to do if there is no folder of this name, or "" where it does not look like an id."""
    if not isinstance(name, str) or not _HUB_ID.fullmatch(name):
        return ""
    return f"If it is a model of the Hugging Face hub, download it first: hf download {name}"


def arrays_digest(arrays: Iterable[tuple[str, NDArray[np.float32]]], more: str = "") -> str:
    """12 hexadecimal digits over named arrays, which come in the order of their names."""
    digest = hashlib.blake2b(more.encode(), digest_size=6)
    for name, array in arrays:
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def gpu_is_there() -> bool:
    """Tell whether torch is installed and sees a GPU; a CPU build need not be imported for that."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    lines = version.read_text("utf-8") if version.exists() else ""
    if len(re.findall(r"^(?:cuda|hip)\b.*= None$", lines, re.M)) == 2:
        return False
    import torch

    return bool(torch.cuda.is_available())


def weights_digest(folder: Path) -> str:
    """12 hexadecimal digits over a model's weights, vocabulary and configuration.

    Cost: reads the files once, about a second per gigabyte.
    """
    digest = hashlib.blake2b(digest_size=6)
    for pattern in _WEIGHT_FILES:
        for file in sorted(folder.glob(pattern)):
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
