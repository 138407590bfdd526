"""Quality of answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

NAMES = {  # figures of each task; the best epoch is chosen by the first
    "classify": ("accuracy", "macro_f1"),
    "regress": ("spearman", "pearson"),
    "score": ("average_precision", "auc", "accuracy"),
}


def quality(task: str, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    """Figures of a task, higher is better; NaN for what the labels cannot tell.

    Logits (N, C) or (N,), labels (N,).
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
    answers = logits.argmax(-1)
    return {
        "accuracy": float((answers == labels).mean()),
        "macro_f1": float(f1_score(labels, answers, average="macro", zero_division=0.0)),
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


def trained_parameters(model: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
