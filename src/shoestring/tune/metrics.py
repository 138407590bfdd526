"""What is minimised for each task, and the quality of answers.

B texts or pairs, C classes, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shoestring.errors import ParameterError

NAMES = {  # figures of each task; the best epoch is chosen by the first
    "classify": ("accuracy", "macro_f1"),
    "regress": ("spearman", "pearson"),
    "score": ("average_precision", "auc", "accuracy"),
}


def loss_of(task: str, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """The mean loss of logits (B, C) or (B,) against labels (B,).

    For scores, ``groups`` (B,) are the numbers of the pairs' queries.
    """
    logits, labels = logits.float(), labels.to(logits.device)
    if task == "regress":
        return functional.mse_loss(logits, labels.float().reshape(logits.shape))
    if task == "score":
        labels = labels.reshape(logits.shape)
        if groups is None:
            return functional.binary_cross_entropy_with_logits(logits, labels.float())
        return listwise(logits, labels.float(), groups)
    n = logits.shape[-1]
    is_known = (labels >= 0) & (labels < n) | (labels == -100)
    if labels.numel() != logits.numel() // n or not is_known.all():
        want = f"classes from 0 to {n - 1}, one a text"
        got = f"{tuple(labels.shape)}, {labels.min().item()} to {labels.max().item()}"
        raise ParameterError.of("labels", "Ladder.forward", want, got)
    return functional.cross_entropy(logits, labels.flatten().long())


def listwise(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Softmax cross entropy within each group (ListNet, Cao et al. 2007; labels as shares).

    Labels (B,) are not below zero; a group of zeros alone counts for nothing.

    Examples
    --------
    >>> zeros, one = torch.zeros(4), torch.tensor([1.0, 0.0, 0.0, 0.0])
    >>> round(listwise(zeros, one, torch.tensor([0, 0, 0, 1])).item(), 3)  # log 3
    1.099
    """
    _, places = groups.unique(return_inverse=True)
    n = int(places.max()) + 1
    totals = torch.zeros(n, device=scores.device).index_add(0, places, labels)
    some = totals > 0
    highest = torch.full((n,), -torch.inf, device=scores.device)
    highest = highest.scatter_reduce(0, places, scores.detach(), "amax")
    exps = (scores - highest[places]).exp()
    sums = torch.zeros(n, device=scores.device).index_add(0, places, exps)
    log_p = scores - highest[places] - sums.log()[places]
    shares = labels / totals.clamp_min(1e-12)[places]
    return -(shares * log_p).sum() / some.sum().clamp_min(1)


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
