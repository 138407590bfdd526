"""The folder that binary word vectors are saved in.

``config.json`` has the settings and says which files are in force: ``vocabulary-<n>.json``,
``codes-<n>.npy`` (packed bits), and, unless they were left out, ``counts-<n>.npy`` and
``activations-<n>.npy`` (:mod:`shoestring.text.numbered`). Arrays are memory-mapped when they are
read.

Not covered: bit rot inside a file of the right size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.artifacts import CONFIG, map_array, written_aside
from shoestring.errors import IntegrityError, ParameterError
from shoestring.text.numbered import NumberedFolder, checked_config
from shoestring.words.table import CodeTable

FORMAT = "shoestring-word-vectors"
FORMAT_VERSION = 2
"""2: context rows are stored without their weight. In 1 those of counts were times 0.25."""

_FILES = ("vocabulary.json", "codes.npy", "counts.npy", "activations.npy")
_REMEDY = "Copy the folder again from where it is whole, or save or train the vectors again."


def save_table(folder: Path, table: CodeTable, settings: Mapping[str, Any]) -> None:
    """Save to a folder: new, empty, or one that word vectors were saved to, which are replaced.

    Raises
    ------
    ParameterError
        If the folder holds other files.
    StorageError
        If the disk is full or cannot be written; what was saved before stays.
    """
    number = _FOLDER.claim(folder)
    arrays = {"codes": table.codes, "counts": table.counts, "activations": table.activations}
    kept = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    vocabulary = json.dumps(table.words, ensure_ascii=False).encode("utf-8", "surrogatepass")
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": dict(settings),
        "number": number,
        "n_words": len(table.words),
        "n_neurons": table.n_neurons,
        "n_active": table.n_active,
        "segmented": table.segmented,
        "context": {"weight": table.context_weight, "scale": table.context_scale},
        "arrays": {name: (array.dtype.str, array.shape) for name, array in kept.items()},
    }
    text = json.dumps(config, ensure_ascii=False, indent=2, default=np.generic.item)
    vocabulary_file = f"vocabulary-{number}.json"
    with written_aside(folder / vocabulary_file) as file:
        file.write(vocabulary)
    for name, array in kept.items():
        with written_aside(folder / f"{name}-{number}.npy") as file:
            np.save(file, array, allow_pickle=False)
    with written_aside(folder / CONFIG) as file:
        file.write((text + "\n").encode())
    _FOLDER.drop_others(folder, {f"{name}-{number}.npy" for name in kept} | {vocabulary_file})


def check_new_or_ours(folder: Path) -> None:
    """See that word vectors can be saved to a folder; nothing is written.

    Raises
    ------
    ParameterError
        If there is a file of that name, or the folder holds other files.
    """
    _FOLDER.check(folder)


def is_saved(folder: Path) -> bool:
    """Whether a folder holds saved word vectors, of whatever version."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def load_table(folder: Path) -> tuple[CodeTable, dict[str, Any]]:
    """Open saved word vectors, memory-mapped: the table and the settings.

    Raises
    ------
    ParameterError
        If there is no such folder, or no vectors in it.
    FormatError
        If it is something else, or another version of shoestring wrote it.
    IntegrityError
        If a file is missing, cut off, or not what it should be.
    """
    config = _read_config(folder)
    version = config["format_version"]
    try:
        number, n_words = int(config["number"]), int(config["n_words"])
        shapes = {name: (dtype, tuple(shape)) for name, (dtype, shape) in config["arrays"].items()}
        n_neurons, n_active = config["n_neurons"], config["n_active"]
        segmented = bool(config["segmented"])
        settings = dict(config["settings"])
        context = config["context"] if version > 1 else _context_of_version_1(settings)
        context = {f"context_{name}": float(context[name]) for name in ("weight", "scale")}
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / CONFIG} is damaged ({error}). {_REMEDY}") from error
    arrays: dict[str, Any] = {
        name: map_array(folder / f"{name}-{number}.npy", *want, _REMEDY)
        for name, want in shapes.items()
    }
    words = _read_words(folder / f"vocabulary-{number}.json")
    if len(words) != n_words or len(arrays.get("codes", ())) != n_words:
        raise IntegrityError(f"{folder} has not codes for all of its words. {_REMEDY}")
    kept: dict[str, Any] = {name: arrays.get(name) for name in ("counts", "activations")}
    kept |= {"segmented": segmented, **context}
    return CodeTable(words, n_neurons, n_active, arrays["codes"], **kept), settings


def _context_of_version_1(settings: Mapping[str, Any]) -> dict[str, float]:
    """The weight was in the rows: a quarter, but by the published rule."""
    quarter = 1.0 if settings.get("rule") == "published" else 0.25
    return {"weight": quarter, "scale": quarter}


def _read_words(path: Path) -> list[str]:
    try:
        words = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} is missing or damaged ({error}). {_REMEDY}") from error
    return list(words)


def _read_config(folder: Path) -> dict[str, Any]:
    hint = "Train some: shoestring words train TEXT --out FOLDER"
    want = "the folder of saved word vectors"
    return checked_config(
        folder, FORMAT, range(1, FORMAT_VERSION + 1), what="word vectors", remedy=_REMEDY,
        missing=ParameterError.of("folder", "BinaryVectors.load", want, str(folder), hint),
    )  # fmt: skip


_FOLDER = NumberedFolder(_FILES, "saved word vectors", "BinaryVectors.save", _read_config)
