"""Where a side network starts: cut out of the backbone by what matters for the task.

A head is trained on the frozen backbone first, so that the gradients of the loss say something;
then each of some examples is sent through a copy of the backbone and back, one at a time, and the
most important rows and columns become the side blocks (:mod:`~shoestring.tune.pruning`).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from shoestring.errors import ShoestringWarning
from shoestring.models.frozen import BackboneOutputs, as_outputs, read_with_gradients
from shoestring.tune.budget import Clock
from shoestring.tune.cache import OutputCache
from shoestring.tune.examples import Collate, Examples
from shoestring.tune.ladder import Ladder
from shoestring.tune.pruning import hidden_channels, importances, pruned

N_SAMPLES = 1_024  # as published
HEAD_STEPS, HEAD_BATCH, HEAD_RATE = 150, 32, 1e-2
SHARE_OF_TIME = 0.2  # of the minutes, at most


def start_from_backbone(
    model: Ladder, data: Examples, cache: OutputCache, clock: Clock, *,
    n_samples: int = N_SAMPLES, progress: bool = True,
) -> int:  # fmt: skip
    """Give a ladder's side blocks their start; how many examples it is from.

    Parameters
    ----------
    model : Ladder
    data : Examples
        That it will be trained on.
    cache : OutputCache
    clock : Clock
        Its minutes bound the number of examples.
    n_samples : int
        Examples at most.
    progress : bool

    Notes
    -----
    Cost: a forward and backward pass of the backbone for each example.
    """
    torch.manual_seed(model.settings.seed)
    order = torch.randperm(len(data)).tolist()
    chosen = order[: min(n_samples, len(data))]
    head = Ladder(model.settings, model.backbone, with_side=False)
    ends_at = clock.used_s + SHARE_OF_TIME * clock.seconds
    _train_head(head, data, Collate(data, model.settings.task, cache, 0), chosen, clock, ends_at)
    collate = Collate(data, model.settings.task, None, model.backbone.padding_id)
    knows = model.backbone.knows_segments
    n_done = 0
    with tqdm(total=len(chosen), desc="importances", disable=None if progress else True) as bar:

        def after(n: int) -> bool:
            nonlocal n_done
            n_done = n
            bar.update()
            return clock.used_s > ends_at

        def loss_of(backbone: Any, i: int) -> Tensor:
            batch = collate([data[chosen[i]]])
            reads = {
                name: _read(backbone, knows, batch.pop(prefix + "input_ids"), batch, prefix)
                for name, prefix in (("first", ""), ("second", "second_"))
                if prefix + "input_ids" in batch
            }
            loss: Tensor = head(**reads, **batch)["loss"]
            return loss

        found = importances(model.backbone, loss_of, len(chosen), after)
    base, reduction = model.backbone.model, model.settings.reduction
    unplaced = pruned(model.side, base, model.layers, found, reduction)
    channels = hidden_channels(base, found, model.rungs.weight.shape[-1])
    _begin_rungs(model, data, cache, chosen, channels)
    if unplaced:
        warnings.warn(
            f"{len(unplaced)} parameters of the side blocks, {unplaced[0]} for example, keep their "
            "random start: nobody could tell what they are for.",
            ShoestringWarning,
            stacklevel=2,
        )
    if progress and n_done < len(chosen):
        tqdm.write(f"importances of {n_done:,} examples, as the minutes allow", file=sys.stderr)
    return n_done


def _begin_rungs(
    model: Ladder, data: Examples, cache: OutputCache, chosen: list[int], channels: Tensor
) -> None:
    collate = Collate(data, model.settings.task, cache, 0)
    read = as_outputs(collate([data[i] for i in chosen[:HEAD_BATCH]])["first"])
    assert read is not None
    model.rungs.measure(read.outputs, read.mask)
    model.rungs.begin_with(channels)


def _read(
    backbone: Any, knows_segments: bool, ids: Tensor, batch: dict[str, Any], prefix: str
) -> BackboneOutputs:  # fmt: skip
    mask = batch.pop(prefix + "attention_mask")
    special = batch.pop(prefix + "special_tokens_mask")
    segments = batch.pop(prefix + "token_type_ids", None)
    return read_with_gradients(backbone, knows_segments, ids, mask, special, segments)


def _train_head(
    head: Ladder, data: Examples, collate: Collate, chosen: list[int], clock: Clock, ends_at: float
) -> None:
    """Some steps, in no more than half of the time that the start may take."""
    half = (clock.used_s + ends_at) / 2
    optimizer = torch.optim.AdamW(head.parameters(), lr=HEAD_RATE)
    head.train()
    for step in range(HEAD_STEPS):
        start = step * HEAD_BATCH % len(chosen)
        batch = collate([data[i] for i in chosen[start : start + HEAD_BATCH]])
        head(**batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        if clock.used_s > half:
            break
    head.eval().requires_grad_(False)
