"""The folder that an AnalyticSoftmax or a TextClassifier is saved in.

``config.json`` has the parameters, the classes and the size of the sample, ``learnt.safetensors``
moments and the kept sample, so that it can go on learning and forgetting; what follows from them is
computed when it is first used. A TextClassifier has ``texts`` in its config too: what its encoder
is, the encoder itself where it was fitted, and the kept texts (``examples.jsonl``) with their
vectors (``examples.npy``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as as_bytes

from shoestring.artifacts import Artifact, ArtifactKind, ArtifactWriter
from shoestring.classify.moments import Moments
from shoestring.classify.sample import Sample
from shoestring.classify.state import BUILT_BY, State, drawn_expansion
from shoestring.errors import FormatError, ParameterError

KIND = ArtifactKind(
    "shoestring-analytic-softmax",
    "a saved AnalyticSoftmax",
    "AnalyticSoftmax.save",
    "Copy the folder again from where it is whole, or fit and save again.",
)
ARRAYS, EXAMPLES, ROWS, ENCODER = "learnt.safetensors", "examples.jsonl", "examples.npy", "encoder"
_MOMENTS = ("sizes", "weights", "means", "scatter", "shift", "class_scatters")
_SAMPLE = ("hashes", "X", "labels", "counts", "weights")
_PARAMS = ("shrinkage", "temperature", "priors", "n_jobs", *BUILT_BY)
Example = tuple[str, Any]  # text, label


@dataclass(frozen=True, slots=True)
class TextPart:
    """What a TextClassifier has besides.

    Parameters
    ----------
    encoder : str
        Its name.
    keep_texts : bool
    examples : list of (str, label)
        Texts that were learnt, if they are kept.
    rows : float32 array (n, D)
        Their vectors.
    save_encoder : callable or None
        Writes an encoder that was fitted, or copied, to a folder.
    """

    encoder: str
    keep_texts: bool
    examples: list[Example] = field(default_factory=list)
    rows: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    save_encoder: Callable[[Path], object] | None = None


def save(folder: Path, state: State, params: dict[str, Any], texts: TextPart | None = None) -> None:
    """Save to a folder: new, empty, or one of the same kind, which is replaced.

    Parameters
    ----------
    folder : Path
    state : State
    params : dict
        Of the AnalyticSoftmax.
    texts : TextPart, optional

    Raises
    ------
    ParameterError, FormatError, StorageError
        If the folder holds other files, or cannot be written; what was saved before stays.
    """
    priors = params["priors"]
    if isinstance(priors, dict):  # labels may be numbers, which are no names in JSON
        priors = {"of": [[c, float(p)] for c, p in priors.items()]}
    elif priors is not None and not isinstance(priors, str):
        priors = np.asarray(priors, float).tolist()
    moments = {f"moments.{n}": getattr(state.moments, n) for n in _MOMENTS}
    arrays = moments | {f"sample.{n}": getattr(state.sample, n) for n in _SAMPLE}
    there = {name: np.ascontiguousarray(x) for name, x in arrays.items() if x is not None}
    with KIND.saving(folder) as writer:
        if texts is None and "texts" in writer.before:
            want = "another folder than a TextClassifier's, whose encoder would be lost"
            raise ParameterError.of("folder", KIND.owner, want, str(folder))
        writer.config = {
            "params": {**params, **state.settings, "priors": priors, "n_jobs": None},
            "classes": state.classes.tolist(),
            "classes_dtype": state.classes.dtype.str,
            "sample_size": state.sample.size,
            "sample_limit": str(state.sample.limit),
        }
        writer.data(ARRAYS, as_bytes(there))
        if texts is not None:
            writer.config["texts"] = {"encoder": texts.encoder, "keep_texts": texts.keep_texts}
            _save_texts(writer, texts)


def _save_texts(writer: ArtifactWriter, texts: TextPart) -> None:
    if texts.save_encoder is not None:
        writer.library(ENCODER, texts.save_encoder)
    if texts.examples:
        lines = (json.dumps(example, ensure_ascii=False) + "\n" for example in texts.examples)
        writer.data(EXAMPLES, "".join(lines).encode("utf-8", "surrogatepass"))
        writer.array(ROWS, texts.rows)


def load(saved: Artifact) -> tuple[dict[str, Any], State]:
    """Parameters, and what was learnt.

    Raises
    ------
    IntegrityError
        If the config or a file is damaged or missing.
    """
    config = saved.config
    arrays = from_bytes(saved.data(ARRAYS))
    with saved.decoding():
        params = {name: config["params"][name] for name in _PARAMS}
        if isinstance(params["priors"], dict):
            params["priors"] = {c: float(p) for c, p in params["priors"]["of"]}
        classes = np.array(config["classes"], dtype=np.dtype(config["classes_dtype"]))
        size, limit = int(config["sample_size"]), int(config["sample_limit"])
        sample = Sample(size, limit, *(arrays[f"sample.{name}"] for name in _SAMPLE))
        sums = {name: arrays[f"moments.{name}"] for name in _MOMENTS[:-1]}
        moments = Moments(**sums, class_scatters=arrays.get(f"moments.{_MOMENTS[-1]}"))
        if len(moments.sizes) != len(classes):
            raise ValueError(f"{len(classes)} classes for moments of {len(moments.sizes)}")
        settings = {name: params[name] for name in BUILT_BY}
        expansion = drawn_expansion(sample.X.shape[1], settings)
    return params, State(classes, moments, sample, settings, expansion)


def load_texts(saved: Artifact) -> TextPart:
    """What a TextClassifier has besides.

    Raises
    ------
    FormatError, IntegrityError
        If the folder is none of a TextClassifier, or damaged.
    """
    if "texts" not in saved.config:
        raise FormatError(
            "this classifier was fitted to vectors, not to texts. Open it with "
            "AnalyticSoftmax.load.",
            file=saved.folder,
        )
    with saved.decoding():
        named = saved.config["texts"]
        texts = TextPart(str(named["encoder"]), bool(named["keep_texts"]))
        if EXAMPLES not in saved:
            return texts
        lines = saved.data(EXAMPLES).decode("utf-8", "surrogatepass").split("\n")[:-1]
        examples = [(str(text), label) for text, label in map(json.loads, lines)]
        return TextPart(texts.encoder, texts.keep_texts, examples, saved.loaded_array(ROWS))
