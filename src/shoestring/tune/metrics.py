"""Quality of answers, and the memory that a training step takes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

NAMES = {  # figures of each task; the best epoch is chosen by the first
    "classify": ("accuracy", "macro_f1"),
    "tokens": ("accuracy", "macro_f1"),
    "regress": ("spearman", "pearson"),
    "score": ("average_precision", "auc", "accuracy"),
}
SAMPLED_EVERY_S = 0.02


def quality(task: str, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    """Figures of a task, higher is better; NaN for what the labels cannot tell.

    Logits (N, C), (N,) or (N, T, C), labels (N,) or (N, T), -100 where there is none.
    """
    if not np.isfinite(logits).all():
        return dict.fromkeys(NAMES[task], math.nan)
    if task == "regress":
        from scipy.stats import pearsonr, spearmanr

        return {
            "spearman": _correlation(spearmanr, logits, labels),
            "pearson": _correlation(pearsonr, logits, labels),
        }
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    if task == "score":
        right = labels > 0.5
        found = {"average_precision": math.nan, "auc": math.nan}
        if can_be_told(task, labels):
            found = {
                "average_precision": float(average_precision_score(right, logits)),
                "auc": float(roc_auc_score(right, logits)),
            }
        return {**found, "accuracy": float(((logits > 0) == right).mean())}
    known = labels != -100
    answers, truth = logits.argmax(-1)[known], labels[known]
    return {
        "accuracy": float((answers == truth).mean()),
        "macro_f1": float(f1_score(truth, answers, average="macro", zero_division=0.0)),
    }


def can_be_told(task: str, labels: NDArray[Any]) -> bool:
    """Whether labels tell good answers from bad ones: there are right and wrong ones, or two."""
    if task == "score":
        return bool((labels > 0.5).any() and not (labels > 0.5).all())
    return task != "regress" or bool(np.ptp(labels) > 0)


def _correlation(of: Callable[..., Any], a: NDArray[Any], b: NDArray[Any]) -> float:
    if np.ptp(b) == 0:
        return math.nan
    return 0.0 if np.ptp(a) == 0 else float(of(a, b).statistic)


class Memory:
    """Resident memory of this process in bytes, watched while something runs."""

    def __init__(self) -> None:
        self.at_first = self.peak = resident_bytes()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the block, from another thread."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLED_EVERY_S):
                self.peak = max(self.peak, resident_bytes())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.peak = max(self.peak, resident_bytes())


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    import psutil  # comes with accelerate

    return int(psutil.Process().memory_info().rss)


def saved_bytes(model: nn.Module, batch: dict[str, Any]) -> int:
    """Bytes that autograd keeps between forward and backward, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = model(**batch)  # held, so that no storage is given to another tensor
        total = sum(kept.values())
    del found
    return total


def trained_parameters(model: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def folder_bytes(folder: Path) -> int:
    """Size of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
