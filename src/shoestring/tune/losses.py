"""What is minimised for each task.

B texts or pairs, C classes, G groups.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
    return functional.cross_entropy(logits, labels.long())


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
