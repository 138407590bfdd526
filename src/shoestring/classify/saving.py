"""The folder that an AnalyticSoftmax or a TextClassifier is saved in.

``config.json`` has the parameters, the classes and the size of the sample, ``learnt.safetensors``
moments, half of their symmetric scatter, and the kept sample, so that it can go on learning and
forgetting, and the layer, so that it predicts at once. A TextClassifier has ``texts`` in its
config, and files, besides.
"""

from __future__ import annotations

from dataclasses import asdict
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
_PARAMS = ("shrinkage", "priors", *BUILT_BY)


def write(
    writer: ArtifactWriter, state: State, params: dict[str, Any], solution: Solution | None
) -> None:
    """Write the config and the arrays of a folder."""
    priors = params["priors"]
    if isinstance(priors, dict):  # labels may be numbers, which are no names in JSON
        priors = {"of": [[c, float(p)] for c, p in priors.items()]}
    moments = {f"moments.{n}": getattr(state.moments, n) for n in _MOMENTS}
    arrays = moments | {f"sample.{n}": getattr(state.sample, n) for n in _SAMPLE}
    n_features = state.moments.n_features
    arrays["moments.scatter"] = state.moments.scatter[np.tri(n_features, dtype=bool)]
    if solution is not None:
        arrays |= {f"layer.{n}": getattr(solution.layer, n) for n in _LAYER}
    arrays = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    (writer.folder / ARRAYS).write_bytes(as_bytes(arrays))
    writer.config = {
        "params": {**params, **state.settings, "priors": priors, "n_jobs": None},
        "classes": state.classes.tolist(),
        "classes_dtype": state.classes.dtype.str,
        "sample_size": state.sample.size,
        "sample_limit": str(state.sample.limit),
    }
    if solution is not None:
        numbers = {"shrinkage": solution.shrinkage, "n_used": solution.n_used}
        writer.config["solution"] = numbers | asdict(solution.calibration)
        writer.config["refined"] = solution.refined


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
        settings = {name: params[name] for name in BUILT_BY}
        directions = directions_of(arrays["sample.X"].shape[1], settings)
        d = len(arrays["moments.shift"])
        half = np.zeros((d, d))
        half[np.tri(d, dtype=bool)] = arrays["moments.scatter"]
        arrays["moments.scatter"] = half + np.tril(half, -1).T
        moments = Moments(**{name: arrays[f"moments.{name}"] for name in _MOMENTS})
        sample = Sample(size, limit, *(arrays[f"sample.{name}"] for name in _SAMPLE))
        solution = None
        if numbers := dict(config.get("solution", {})):
            layer = Layer(*(arrays[f"layer.{name}"] for name in _LAYER))
            shrinkage, used = float(numbers.pop("shrinkage")), int(numbers.pop("n_used"))
            calibration = Calibration(**{name: float(x) for name, x in numbers.items()})
            solution = Solution(layer, calibration, shrinkage, used, config.get("refined"))
    return params, State(classes, moments, sample, settings, directions), solution
