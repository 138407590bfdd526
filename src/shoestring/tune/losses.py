"""What is minimised for each task.

B texts or pairs, C classes, G groups.
"""

from __future__ import annotations

from math import inf, prod

import torch
from torch import Tensor
from torch.nn import functional

from shoestring.errors import ParameterError


def checked_labels(
    task: str, logits: Tensor, labels: Tensor, groups: Tensor | None = None
) -> Tensor:
    """Labels where the logits are; ParameterError if shape, type or range are not the task's."""
    is_of_classes, n = task in ("classify", "tokens"), logits.shape[-1]
    shape = tuple(logits.shape[:-1] if is_of_classes else logits.shape)
    for name, values in (("labels", labels), ("groups", groups)):
        if values is not None and (not isinstance(values, Tensor) or values.numel() != prod(shape)):
            want = f"a tensor of shape {shape}, one number each"
            got = tuple(values.shape) if isinstance(values, Tensor) else values
            raise ParameterError.of(name, "Ladder.forward", want, got)
    labels = labels.to(logits.device)
    known = labels[labels != -100] if is_of_classes else labels
    want, least, most = {
        "regress": ("finite numbers", -inf, inf),
        "score": ("numbers from 0 to 1", 0, 1),
    }.get(task, (f"ints from 0 to {n - 1}, or -100 for none", 0, n - 1))
    is_right = not (is_of_classes and labels.is_floating_point())
    if known.numel() and not (
        is_right and known.isfinite().all() and least <= known.min() <= known.max() <= most
    ):
        got = f"{known.dtype} from {known.min().item()} to {known.max().item()}"
        raise ParameterError.of("labels", "Ladder.forward", want, got)
    return labels


def loss_of(task: str, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """The mean loss of logits (B, C), (B,) or (B, T, C) against labels (B,) or (B, T).

    For scores, ``groups`` (B,) are the numbers of the pairs' queries.
    """
    logits = logits.float()
    if task == "regress":
        return functional.mse_loss(logits, labels.float().reshape(logits.shape))
    if task == "score":
        labels = labels.reshape(logits.shape)
        if groups is None:
            return functional.binary_cross_entropy_with_logits(logits, labels.float())
        return listwise(logits, labels.float(), groups)
    total = functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten().long(), ignore_index=-100, reduction="sum"
    )
    return total / (labels != -100).sum().clamp_min(1)


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
