"""The folder that binary word vectors are saved in.

``config.json`` has the settings and names the files in force: ``vocabulary.json``, ``codes.npy``
(packed bits), and, unless they were left out, ``counts.npy`` and ``activations.npy``
(:mod:`shoestring.artifacts`). Arrays are memory-mapped when they are read.

Not covered: bit rot inside an array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.artifacts import ArtifactKind
from shoestring.errors import IntegrityError, ParameterError
from shoestring.words.table import CodeTable

KIND = ArtifactKind(
    "shoestring-word-vectors",
    "saved word vectors",
    "BinaryVectors.save",
    "Copy the folder again from where it is whole, or save or train the vectors again.",
    versions=(3,),
)
"""3: files are listed in the config."""

is_saved = KIND.is_saved  # whether a folder holds saved word vectors, of any version
_ARRAYS = ("codes", "counts", "activations")


def save_table(folder: Path, table: CodeTable, settings: Mapping[str, Any]) -> None:
    """Save to a folder, as :meth:`shoestring.words.BinaryVectors.save`."""
    arrays = {name: getattr(table, name) for name in _ARRAYS}
    arrays = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    with KIND.saving(folder) as writer:
        text = json.dumps(table.words, ensure_ascii=False)
        writer.data("vocabulary.json", text.encode("utf-8", "surrogatepass"))
        for name, array in arrays.items():
            writer.array(f"{name}.npy", array)
        writer.config |= {
            "settings": dict(settings),
            "n_words": len(table.words),
            "n_neurons": table.n_neurons,
            "n_active": table.n_active,
            "segmented": table.segmented,
            "context_weight": table.context_weight,
            "arrays": {name: (array.dtype.str, array.shape) for name, array in arrays.items()},
        }


def load_table(folder: Path) -> tuple[CodeTable, dict[str, Any]]:
    """Open saved word vectors, memory-mapped: the table and the settings.

    The errors are those of :meth:`shoestring.words.BinaryVectors.load`.
    """
    want, hint = "the folder of saved word vectors", "shoestring words train TEXT --out FOLDER"
    saved = KIND.read(
        folder,
        ParameterError.of("folder", "BinaryVectors.load", want, str(folder), f"Train some: {hint}"),
    )
    arrays: dict[str, Any] = dict.fromkeys(_ARRAYS)
    with saved.decoding():
        config = saved.config
        words = list(json.loads(saved.data("vocabulary.json").decode("utf-8", "surrogatepass")))
        for name, (dtype, shape) in config["arrays"].items():
            arrays[name] = saved.array(f"{name}.npy", dtype, tuple(shape))
        if not len(words) == config["n_words"] == len(arrays["codes"]):
            raise IntegrityError(f"{folder} has not codes for all of its words. {KIND.remedy}")
        table = CodeTable(
            words,
            config["n_neurons"],
            config["n_active"],
            **arrays,
            segmented=bool(config["segmented"]),
            context_weight=float(config["context_weight"]),
        )
        return table, dict(config["settings"])
