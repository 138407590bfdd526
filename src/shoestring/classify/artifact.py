"""The folder that an AnalyticSoftmax is saved in.

``config.json`` has its parameters, classes and the name of ``learnt-<n>.safetensors``: moments and
the kept sample, so that it can go on learning and forgetting. What follows from them is computed
when it is first used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as as_bytes

from shoestring.artifacts import CONFIG, written_aside
from shoestring.classify import checks
from shoestring.classify.accumulating import State
from shoestring.classify.moments import Moments
from shoestring.classify.sample import Sample
from shoestring.errors import FormatError, IntegrityError, ParameterError
from shoestring.text.numbered import NumberedFolder, checked_config

FORMAT = "shoestring-analytic-softmax"
FORMAT_VERSION = 1
_MOMENTS = ("sizes", "weights", "means", "scatter")
_MAY_BE_THERE = ("class_scatters", "thirds", "fourths", "shift")
PARAMS = (
    "shrinkage", "temperature", "priors", "expansion", "n_random", "scale", "class_scatters",
    "sample_size", "n_jobs", "random_state",
)  # fmt: skip
_SAMPLE = ("hashes", "X", "labels", "counts", "weights")
_REMEDY = "Copy the folder again from where it is whole, or fit and save again."
_OWNER = "AnalyticSoftmax"
Example = tuple[str, Any]  # text, label


@dataclass(frozen=True, slots=True)
class Texts:
    """What a TextClassifier has besides.

    Parameters
    ----------
    vectors : str
        What makes them.
    keep_texts : bool
    examples : list of (str, label)
        Texts that were learnt, if they are kept.
    rows : float32 array (n, D)
        Their vectors.
    encoder_folder : Path or None
        Where an encoder that was fitted or copied lies already.
    save_encoder : callable or None
        Writes it to a folder.
    """

    vectors: str
    keep_texts: bool
    examples: list[Example]
    rows: NDArray[np.float32]
    encoder_folder: Path | None
    save_encoder: Callable[[Path], None] | None


def save(folder: Path, state: State, params: dict[str, Any], texts: Texts | None = None) -> None:
    """Save to a folder: new, empty, or one of the same kind, which is replaced.

    Parameters
    ----------
    folder : Path
    state : State
    params : dict
        Of the AnalyticSoftmax.
    texts : Texts, optional
        What a TextClassifier has besides.

    Raises
    ------
    ParameterError, StorageError
        If the folder holds other files, or cannot be written; what was saved before stays.
    """
    params = {**params, **state.how}
    priors = params["priors"]
    if isinstance(priors, dict):
        params = {**params, "priors": {"of": [[c, float(p)] for c, p in priors.items()]}}
    elif priors is not None and not isinstance(priors, str):
        params = {**params, "priors": np.asarray(priors, float).tolist()}
    number = FOLDER.claim(folder)
    if texts is None and (folder / CONFIG).exists() and "texts" in _read_config(folder):
        want = "another folder than a TextClassifier's, whose encoder would be lost"
        raise ParameterError.of("folder", f"{_OWNER}.save", want, str(folder))
    of_moments = (*_MOMENTS, *_MAY_BE_THERE)
    moments = {f"moments.{n}": getattr(state.moments, n) for n in of_moments}
    sample = {f"sample.{n}": getattr(state.sample, n) for n in _SAMPLE}
    arrays = {
        name: np.ascontiguousarray(array)
        for name, array in (moments | sample).items()
        if array is not None
    }
    file = f"learnt-{number}.safetensors"
    more = {} if texts is None else {"texts": _save_texts(folder, number, texts)}
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "params": {**params, "n_jobs": None},
        "classes": state.classes.tolist(),
        "classes_dtype": state.classes.dtype.str,
        "sample_size": state.sample.size,
        "sample_limit": str(state.sample.limit),
        "file": file,
        **more,
    }
    text = json.dumps(config, ensure_ascii=False, indent=2, default=np.generic.item)
    with written_aside(folder / file) as stream:
        stream.write(as_bytes(arrays))
    with written_aside(folder / CONFIG) as stream:
        stream.write((text + "\n").encode("utf-8", "surrogatepass"))
    named = more.get("texts", {})
    examples = str(named.get("examples"))
    rows = examples.replace(".jsonl", ".npy")
    FOLDER.drop_others(folder, {file, str(named.get("encoder")), examples, rows})


def load(folder: Path) -> tuple[dict[str, Any], NDArray[Any], Moments, Sample]:
    """Parameters, classes, moments and sample that were saved.

    Raises
    ------
    ParameterError
        If there is no such folder.
    FormatError, IntegrityError
        If it is something else's or of another version; if a file is missing or damaged.
    """
    config = _read_config(folder)
    try:
        path = folder / str(config["file"])
        classes = np.array(config["classes"], dtype=np.dtype(config["classes_dtype"]))
        size, limit = int(config["sample_size"]), int(config["sample_limit"])
        params = {name: config["params"][name] for name in PARAMS}
        if isinstance(params["priors"], dict):
            params["priors"] = {c: float(p) for c, p in params["priors"]["of"]}
        checks.settings(params)
        n_classes = len(classes)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / CONFIG} is damaged ({error!r}). {_REMEDY}") from error
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path} is missing or damaged ({error}). {_REMEDY}") from error
    try:
        sums = (arrays[f"moments.{name}"] for name in _MOMENTS)
        more = (arrays.get(f"moments.{name}") for name in _MAY_BE_THERE)
        moments = Moments(*sums, *more)
        sample = Sample(size, limit, *(arrays[f"sample.{name}"] for name in _SAMPLE))
    except KeyError as error:
        raise IntegrityError(f"{path} lacks {error}. {_REMEDY}") from error
    d, k = moments.n_features, len(sample.hashes)
    wanted = {
        "sizes": (n_classes,), "weights": (n_classes,), "means": (n_classes, d), "scatter": (d, d),
        "class_scatters": (n_classes, d, d), "thirds": (n_classes, d), "fourths": (n_classes,),
        "shift": (d,),
    }  # fmt: skip
    found = {name: getattr(moments, name) for name in wanted}
    fits = all(array is None or array.shape == wanted[name] for name, array in found.items())
    fits &= all(len(getattr(sample, name)) == k for name in _SAMPLE)
    fits &= bool(((sample.labels >= 0) & (sample.labels < n_classes)).all())
    if not fits:
        raise IntegrityError(f"{path} does not fit {folder / CONFIG}. {_REMEDY}")
    return params, classes, moments, sample


def _save_texts(folder: Path, number: int, texts: Texts) -> dict[str, Any]:
    """Write what a TextClassifier has besides; an encoder that is there already is not copied."""
    named: dict[str, Any] = {"vectors": texts.vectors, "keep_texts": texts.keep_texts}
    named |= {"encoder": None, "examples": None}
    there = texts.encoder_folder
    if there is not None and there.parent == folder and there.is_dir():
        named["encoder"] = there.name
    elif texts.save_encoder is not None:
        named["encoder"] = f"encoder-{number}"
        texts.save_encoder(folder / named["encoder"])
    if texts.examples:
        named["examples"] = f"examples-{number}.jsonl"
        with written_aside(folder / named["examples"]) as stream:
            for example in texts.examples:
                line = json.dumps(example, ensure_ascii=False)
                stream.write(line.encode("utf-8", "surrogatepass") + b"\n")
        with written_aside(folder / f"examples-{number}.npy") as stream:
            np.save(stream, texts.rows, allow_pickle=False)
    return named


def load_texts(folder: Path) -> Texts:
    """What a TextClassifier has besides.

    Raises
    ------
    FormatError, IntegrityError, ParameterError
        If the folder is none of a TextClassifier, or damaged.
    """
    named = _read_config(folder).get("texts")
    if not isinstance(named, dict):
        raise FormatError(
            "this classifier was fitted to vectors, not to texts. Open it with "
            "AnalyticSoftmax.load.",
            file=folder / CONFIG,
        )
    try:
        keep, vectors = bool(named["keep_texts"]), str(named["vectors"])
        encoder = folder / str(named["encoder"]) if named["encoder"] else None
        file = str(named["examples"]) if named["examples"] else None
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{folder / CONFIG} is damaged ({error!r}). {_REMEDY}") from error
    if file is None:
        return Texts(vectors, keep, [], np.zeros((0, 0), np.float32), encoder, None)
    path = folder / file
    try:
        lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")[:-1]
        examples = [(str(text), label) for text, label in map(json.loads, lines)]
        rows = np.load(path.with_suffix(".npy"), allow_pickle=False)
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"{path} is missing or damaged ({error}). {_REMEDY}") from error
    if len(rows) != len(examples):
        raise IntegrityError(f"{path} has not a text for each vector. {_REMEDY}")
    return Texts(vectors, keep, examples, rows, encoder, None)


def _read_config(folder: Path) -> dict[str, Any]:
    hint = "Save one there first."
    want = "the folder of a saved AnalyticSoftmax"
    return checked_config(
        folder, FORMAT, (FORMAT_VERSION,), what="a saved AnalyticSoftmax", remedy=_REMEDY,
        missing=ParameterError.of("folder", f"{_OWNER}.load", want, str(folder), hint),
    )  # fmt: skip


FOLDER = NumberedFolder(
    ("learnt.safetensors", "encoder", "examples.jsonl", "examples.npy"),
    "a saved AnalyticSoftmax",
    f"{_OWNER}.save",
    _read_config,
)
