"""The folder that binary word vectors are saved in.

``config.json`` has the settings and names the files in force: ``vocabulary.json``, ``codes.npy``
(packed bits), ``counts.npy`` and, unless they were left out, ``activations.npy``
(:mod:`shoestring.artifacts`). Arrays are memory-mapped when they are read; kernels look up rows of
them by what the vocabulary says, so that their shapes are checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.artifacts import ArtifactKind
from shoestring.errors import ParameterError
from shoestring.words.table import CodeTable

KIND = ArtifactKind(
    "shoestring-word-vectors",
    "saved word vectors",
    "BinaryVectors.save",
    "Copy the folder again from where it is whole, or save or train the vectors again.",
    versions=(4,),
)

is_saved = KIND.is_saved  # whether a folder holds saved word vectors, of any version
_ARRAYS = {"codes": "|u1", "counts": "<i8", "activations": "<f4"}


def save_table(folder: Path, table: CodeTable, settings: Mapping[str, Any]) -> None:
    """Save to a folder, as :meth:`shoestring.words.BinaryVectors.save`."""
    arrays = {name: getattr(table, name) for name in _ARRAYS}
    arrays = {n: np.asarray(x, _ARRAYS[n]) for n, x in arrays.items() if x is not None}
    with KIND.saving(folder) as writer:
        text = json.dumps(table.words, ensure_ascii=False)
        writer.data("vocabulary.json", text.encode("utf-8", "surrogatepass"))
        for name, array in arrays.items():
            writer.array(f"{name}.npy", array)
        writer.config |= {
            "settings": dict(settings),
            "n_neurons": table.n_neurons,
            "n_active": table.n_active,
            "segmented": table.segmented,
            "context_weight": table.context_weight,
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
    words = saved.strings("vocabulary.json")
    with saved.decoding():
        config, n_words = saved.config, len(words)
        n_neurons, n_active = int(config["n_neurons"]), config["n_active"]
        if not 0 < n_active <= n_neurons:
            raise ValueError(f"{n_active} of {n_neurons} bits are active")
        shapes = {"codes": (n_words, -(-n_neurons // 8)), "counts": (n_words,)}
        if "activations.npy" in saved:
            n_rows = len(saved.array("activations.npy"))  # as targets, and perhaps in contexts
            shapes["activations"] = n_words * (1 + (n_rows > n_words)), n_neurons
        arrays = {n: saved.array(f"{n}.npy", _ARRAYS[n], shape) for n, shape in shapes.items()}
        table = CodeTable(
            words,
            n_neurons,
            n_active,
            **arrays,
            segmented=bool(config["segmented"]),
            context_weight=float(config["context_weight"]),
        )
        return table, dict(config["settings"])
