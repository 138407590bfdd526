"""The folder that an AnalyticSoftmax or a TextClassifier is saved in.

``config.json`` has the parameters, the classes and the size of the sample, ``learnt.safetensors``
moments, half of their symmetric scatter, and the kept sample, so that it can go on learning and
forgetting, and the layer, so that it predicts at once. A TextClassifier has ``texts`` in its
config, and files, besides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as as_bytes

from shoestring.artifacts import Artifact, ArtifactKind, ArtifactWriter
from shoestring.classify.analytic import Layer
from shoestring.classify.calibration import Calibration
from shoestring.classify.moments import Moments
from shoestring.classify.sample import Sample
from shoestring.classify.solving import Solution
from shoestring.classify.state import BUILT_BY, State, directions_of
from shoestring.errors import ParameterError

SaveTexts = Callable[[ArtifactWriter], None]
KIND = ArtifactKind(
    "shoestring-analytic-softmax",
    "a saved AnalyticSoftmax",
    "AnalyticSoftmax.save",
    "Copy the folder again from where it is whole, or fit and save again.",
    version=2,
)
ARRAYS = "learnt.safetensors"
_MOMENTS = ("sizes", "weights", "means", "scatter", "shift")
_SAMPLE = ("hashes", "X", "labels", "weights")
_LAYER = ("near", "at_origin", "origin", "common")
_SOLUTION = ("shrinkage", "n_used")
_PARAMS = ("shrinkage", "temperature", "priors", *BUILT_BY)


def save(
    folder: Path,
    state: State,
    params: dict[str, Any],
    solution: Solution | None,
    save_texts: SaveTexts | None = None,
) -> None:
    """Save to a folder; ``save_texts`` writes what a TextClassifier has besides."""
    priors = params["priors"]
    if isinstance(priors, dict):  # labels may be numbers, which are no names in JSON
        priors = {"of": [[c, float(p)] for c, p in priors.items()]}
    elif priors is not None and not isinstance(priors, str):
        priors = np.asarray(priors, float).tolist()
    moments = {f"moments.{n}": getattr(state.moments, n) for n in _MOMENTS}
    arrays = moments | {f"sample.{n}": getattr(state.sample, n) for n in _SAMPLE}
    n_features = state.moments.n_features
    arrays["moments.scatter"] = state.moments.scatter[np.tri(n_features, dtype=bool)]
    if solution is not None:
        arrays |= {f"layer.{n}": getattr(solution.layer, n) for n in _LAYER}
    there = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    with KIND.saving(folder) as writer:
        if save_texts is None and "texts" in writer.before:
            want = "another folder than a TextClassifier's, whose encoder would be lost"
            raise ParameterError.of("folder", KIND.owner, want, str(folder))
        writer.config = {
            "params": {**params, **state.settings, "priors": priors, "n_jobs": None},
            "classes": state.classes.tolist(),
            "classes_dtype": state.classes.dtype.str,
            "sample_size": state.sample.size,
            "sample_limit": str(state.sample.limit),
        }
        if solution is not None:
            numbers = {name: getattr(solution, name) for name in _SOLUTION}
            writer.config["solution"] = numbers | asdict(solution.calibration)
        writer.data(ARRAYS, as_bytes(there))
        if save_texts is not None:
            save_texts(writer)


def load(saved: Artifact) -> tuple[dict[str, Any], State, Solution | None]:
    """Parameters, what was learned, and the layer if it was solved."""
    config = saved.config
    with saved.decoding():
        arrays = from_bytes(saved.data(ARRAYS))
        params = {name: config["params"][name] for name in _PARAMS}
        if isinstance(params["priors"], dict):
            params["priors"] = {c: float(p) for c, p in params["priors"]["of"]}
        classes = np.array(config["classes"], dtype=np.dtype(config["classes_dtype"]))
        size, limit = int(config["sample_size"]), int(config["sample_limit"])
        sample = Sample(size, limit, *(arrays[f"sample.{name}"] for name in _SAMPLE))
        n_features = arrays["moments.means"].shape[1]
        half = np.zeros((n_features, n_features))
        half[np.tri(n_features, dtype=bool)] = arrays["moments.scatter"]
        arrays["moments.scatter"] = half + np.tril(half, -1).T
        moments = Moments(**{name: arrays[f"moments.{name}"] for name in _MOMENTS})
        settings = {name: params[name] for name in BUILT_BY}
        (_, n_given), n_features = sample.X.shape, moments.n_features
        directions = directions_of(n_given, settings)
        if n_features != n_given + directions.shape[1] or not _fit(moments, sample, len(classes)):
            raise saved.damaged(saved.path(ARRAYS).name, f"it is not of {len(classes)} classes")
        solution = None
        if "solution" in config:
            numbers = dict(config["solution"])
            layer = Layer(*(arrays[f"layer.{name}"] for name in _LAYER))
            shrinkage, n_used = (numbers.pop(name) for name in _SOLUTION)
            if not n_given <= n_used <= n_features:
                raise ValueError(f"{n_used} of {n_features} features are used")
            shapes = [getattr(layer, name).shape for name in _LAYER]
            if shapes != [(len(classes), n_used), (len(classes),), (n_used,), (n_used,)]:
                raise saved.damaged(saved.path(ARRAYS).name, "its layer is of other features")
            calibration = Calibration(**{name: float(x) for name, x in numbers.items()})
            solution = Solution(layer, calibration, float(shrinkage), int(n_used))
    return params, State(classes, moments, sample, settings, directions), solution


def _fit(moments: Moments, sample: Sample, n_classes: int) -> bool:
    """Whether arrays have the types and shapes that kernels and settings count on."""
    (k, d), (c, width) = sample.X.shape, (n_classes, moments.means.shape[1])
    each = {"sizes": (c,), "weights": (c,), "means": (c, width), "shift": (width,)}
    each |= {"scatter": (width, width)}
    fits = all(getattr(moments, name).shape == shape for name, shape in each.items())
    rows = (sample.hashes, sample.labels, sample.weights)
    types = ("uint64", "int64", "float64")
    fits &= all(x.shape == (k,) and x.dtype == t for x, t in zip(rows, types, strict=True))
    fits &= sample.labels.min(initial=0) >= 0 and sample.labels.max(initial=0) < max(c, 1)
    return bool(fits and d <= width and k <= sample.size and 0 <= sample.limit < 1 << 64)
