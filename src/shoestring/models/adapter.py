"""A LoRA adapter, in the folder that PEFT writes, added to the weights of its model.

    W' = W + (alpha / r) B A

(Hu et al. 2021, arXiv:2106.09685, section 4.1), once, when the model is loaded, so that a forward
costs what it did. Neither peft nor torch is needed to read one.

Not covered: DoRA, rank-stabilised LoRA, other ranks for some layers, biases, new embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from shoestring.artifacts import digest
from shoestring.errors import FormatError
from shoestring.models.model_files import read_json

FloatMatrix = NDArray[np.float32]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_STEM = "base_model.model."
_PLAIN = {"peft_type": "LORA", "bias": "none"}
_OTHERWISE = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save")


@dataclass(frozen=True)
class Adapter:
    """What is added to the weights of a model; made by :meth:`load`."""

    folder: Path
    changes: Mapping[str, FloatMatrix]  # for each weight, by its name, a matrix of its shape
    digest: str  # of its files, 12 digits: a product's last bit is each machine's own

    @classmethod
    def load(cls, folder: str | Path) -> Adapter:
        """Open a folder with adapter_config.json and adapter_model.safetensors.

        FormatError if it is no plain LoRA, or a file is missing or damaged.
        """
        folder = Path(folder)
        file = folder / CONFIG
        config = read_json(file)
        unlike = [name for name, want in _PLAIN.items() if config.get(name) != want]
        unlike += [name for name in _OTHERWISE if config.get(name)]
        if unlike:
            got = f"{unlike[0]} {config.get(unlike[0])!r}"
            raise FormatError(f"must be of a plain LoRA; it has {got}. Merge it.", file=file)
        file = folder / WEIGHTS
        try:
            changes = _changes(load_file(file), config)
        except Exception as error:  # a file of a stranger makes the library raise anything
            raise FormatError(f"cannot be read ({error}); train it again.", file=file) from error
        content = (folder / CONFIG).read_bytes(), file.read_bytes()
        return cls(folder, changes, digest(*content)[:12])

    def add_to(self, weights: dict[str, FloatMatrix]) -> None:
        """Put new weights in place of the old; FormatError if one is missing or does not fit."""
        for name, change in self.changes.items():
            shape = weights[name].shape if name in weights else None
            if shape != change.shape:
                got = "does not have it" if shape is None else f"has {shape}"
                raise FormatError(
                    f"is of another model: it changes {name} of shape {change.shape}, and the "
                    f"model {got}. Name the model that it was trained on.",
                    file=self.folder,
                )
            weights[name] = weights[name] + change

    def add_to_model(self, model: Any) -> None:
        """Add to the parameters of a torch module, in place; errors of :meth:`add_to`."""
        import torch

        named = {n: p.detach() for n, p in model.named_parameters() if n in self.changes}
        weights = {name: weight.float().cpu().numpy() for name, weight in named.items()}
        self.add_to(weights)
        for name, weight in named.items():
            weight.copy_(torch.from_numpy(weights[name]))


def _changes(tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> Any:
    scale = float(config["lora_alpha"]) / float(config["r"])
    stems = {name.partition(".lora_")[0] for name in tensors}
    if len(tensors) != 2 * len(stems):
        raise ValueError("it must have lora_A and lora_B for each weight, and no more")
    changes = {}
    for stem in sorted(stems):
        down, up = (tensors[f"{stem}.lora_{kind}.weight"].astype(np.float64) for kind in "AB")
        change = np.asarray(scale * (up @ down), np.float32)
        if not np.isfinite(change).all():
            raise ValueError(f"{stem} has no finite numbers")
        name = f"{stem.removeprefix(_STEM)}.weight"
        changes[name] = np.ascontiguousarray(change.T if config.get("fan_in_fan_out") else change)
    return changes
