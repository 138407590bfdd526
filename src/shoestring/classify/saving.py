"""The folder that an AnalyticSoftmax or a TextClassifier is saved in.

``config.json`` has the parameters, the classes and the size of the sample, ``learnt.safetensors``
moments and the kept sample, so that it can go on learning and forgetting; what follows from them is
computed when it is first used. A TextClassifier has ``texts`` in its config, and files, besides.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as as_bytes

from shoestring.artifacts import Artifact, ArtifactKind, ArtifactWriter
from shoestring.classify.moments import OPTIONAL, Moments
from shoestring.classify.sample import Sample
from shoestring.classify.state import BUILT_BY, State, drawn_expansion
from shoestring.errors import ParameterError

KIND = ArtifactKind(
    "shoestring-analytic-softmax",
    "a saved AnalyticSoftmax",
    "AnalyticSoftmax.save",
    "Copy the folder again from where it is whole, or fit and save again.",
)
ARRAYS = "learnt.safetensors"
_MOMENTS = ("sizes", "weights", "means", "scatter", "shift")
_SAMPLE = ("hashes", "X", "labels", "counts", "weights")
_PARAMS = ("shrinkage", "temperature", "priors", *BUILT_BY)


def save(
    folder: Path,
    state: State,
    params: dict[str, Any],
    save_texts: Callable[[ArtifactWriter], None] | None = None,
) -> None:
    """Save to a folder; ``save_texts`` writes what a TextClassifier has besides."""
    priors = params["priors"]
    if isinstance(priors, dict):  # labels may be numbers, which are no names in JSON
        priors = {"of": [[c, float(p)] for c, p in priors.items()]}
    elif priors is not None and not isinstance(priors, str):
        priors = np.asarray(priors, float).tolist()
    moments = {f"moments.{n}": getattr(state.moments, n) for n in (*_MOMENTS, *OPTIONAL)}
    arrays = moments | {f"sample.{n}": getattr(state.sample, n) for n in _SAMPLE}
    there = {name: np.ascontiguousarray(x) for name, x in arrays.items() if x is not None}
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
        writer.data(ARRAYS, as_bytes(there))
        if save_texts is not None:
            save_texts(writer)


def load(saved: Artifact) -> tuple[dict[str, Any], State]:
    """Parameters, and what was learnt."""
    config = saved.config
    with saved.decoding():
        arrays = from_bytes(saved.data(ARRAYS))
        params = {name: config["params"][name] for name in _PARAMS}
        if isinstance(params["priors"], dict):
            params["priors"] = {c: float(p) for c, p in params["priors"]["of"]}
        classes = np.array(config["classes"], dtype=np.dtype(config["classes_dtype"]))
        size, limit = int(config["sample_size"]), int(config["sample_limit"])
        sample = Sample(size, limit, *(arrays[f"sample.{name}"] for name in _SAMPLE))
        names = (*_MOMENTS, *OPTIONAL) if params["class_scatters"] else _MOMENTS
        moments = Moments(**{name: arrays[f"moments.{name}"] for name in names})
        settings = {name: params[name] for name in BUILT_BY}
        is_given = params["expansion"] is not None or moments.n_features == sample.X.shape[1]
        if not is_given or not _fit(moments, sample, len(classes)):
            raise saved.damaged(saved.path(ARRAYS).name, f"it is not of {len(classes)} classes")
        expansion = drawn_expansion(sample.X.shape[1], settings)
    return params, State(classes, moments, sample, settings, expansion)


def _fit(moments: Moments, sample: Sample, n_classes: int) -> bool:
    """Whether arrays have the types and shapes that kernels and settings count on."""
    (k, d), (c, width) = sample.X.shape, (n_classes, moments.means.shape[1])
    each = {"sizes": (c,), "weights": (c,), "means": (c, width), "shift": (width,)}
    each |= {"scatter": (width, width), "class_scatters": (c, width, width)}
    each |= {"thirds": (c, width), "fourths": (c,)}
    found = {name: getattr(moments, name) for name in each}
    fits = all(x is None or x.shape == each[name] for name, x in found.items())
    rows = (sample.hashes, sample.labels, sample.counts, sample.weights)
    types = ("uint64", "int64", "int64", "float64")
    fits &= all(x.shape == (k,) and x.dtype == t for x, t in zip(rows, types, strict=True))
    fits &= sample.labels.min(initial=0) >= 0 and sample.labels.max(initial=0) < max(c, 1)
    return bool(fits and d <= width and k <= sample.size and 0 <= sample.limit < 1 << 64)
