"""A ladder whose side blocks start as the most important rows and columns of the backbone's layers.

An experiment (+0.7 points on one task of nine), a way of :mod:`benchmarks.tune.quality`: a head is
trained on the frozen backbone first, so that the gradients of the loss say something; then each of
some examples is sent through a copy of the backbone and back, one at a time.

The importance of a weight is its empirical Fisher information, the mean over samples of the squared
gradient of the loss (Sung, Cho & Bansal 2022, arXiv 2206.06522, section 3.3; their code,
``pruning_without_residual``, version 2). A channel's is the sum over the weights along it, and of
each kind of channels the most important ones are kept, in their order:

* hidden: one set for all blocks, by the sum over all layers, as the residual stream joins them;
* neurons: a set for each layer;
* within each head: one set for its queries and keys, whose products pair them, in whole pairs where
  a rotary embedding turns them; one set for its values and what the output projection reads. Heads
  that share keys and values share the sets.

A copied matrix W' sums over fewer inputs than W, and is multiplied by what keeps its outputs' mean
square: the root of sum_ij v_j W_ij^2 over all inputs j, by the root of that over the kept ones. v_j
is the mean square of input j up to a factor: the sum over i of the importances of W_ij, since the
Fisher information of a weight is nearly a product of its output's and its input's square (Martens &
Grosse 2015, arXiv 1503.05671, section 3). It is sqrt(D / d) where the kept inputs are like the
others, and 1 where the others are zero. In MiniLM's layers at r = 8, given their own inputs, kinds
of matrices give 0.80 to 0.98 of the size of their outputs; with sqrt(D / d) for all, 1.3 to 2.3, as
important inputs are large; unscaled, 0.45 to 0.81.

What differs from the published code: it ranks each output dimension of each matrix, multiplies the
importances of query, key and value, ignores heads (channels of one land in another), lets inputs
follow the outputs of the matrix before, and rescales nothing.

Not covered: what has no entry in :mod:`~benchmarks.tune.layer_layout` keeps its random start and
is named. A side head's rotary frequencies are its own: the kept pairs keep their order, not their
frequency.

Letters: D width, d = D / r, H heads, G heads of keys and values, L layers.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.tune.layer_layout import AxisKinds, LayerLayout, Sections, layout_of, rotary_pairs
from shoestring.errors import ParameterError, ShapeError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder
from shoestring.models.frozen import (
    BackboneOutputs,
    FrozenBackbone,
    base_of,
    layers_of,
)
from shoestring.text.records import read_labelled
from shoestring.tune import side_network
from shoestring.tune.cache import OutputCache
from shoestring.tune.examples import Collate, Examples, examples_of, label_numbers, split
from shoestring.tune.job import Job, trained
from shoestring.tune.ladder import Ladder

N_SAMPLES = 1_024  # as published
HEAD_STEPS, HEAD_BATCH, HEAD_RATE = 150, 32, 1e-2
SHARE_OF_TIME = 0.2  # of the minutes, at most

Loss = Callable[[Any, int], Tensor]
Choice = dict[str, Tensor]  # of each kind of channels, the numbers of those that are kept


def importances(
    backbone: FrozenBackbone, loss_of_sample: Loss, n_samples: int,
    after_sample: Callable[[int], bool | None] | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Mean squared gradients of the weights of the backbone's layers, one sample at a time.

    Parameters
    ----------
    backbone : FrozenBackbone
        Is left as it is: a copy in float32, in evaluation mode, is differentiated.
    loss_of_sample : callable
        Of that copy and a number below n_samples: the loss of this sample, a scalar.
    n_samples : int
    after_sample : callable, optional
        Is told after each sample how many are done; answers True to stop there.

    Returns
    -------
    dict of str to float32 tensor
        By the names of ``layers_of(backbone.model).named_parameters()``.

    Raises
    ------
    ParameterError
        If there is no sample, or a loss is not finite.

    Notes
    -----
    Cost: one forward and backward pass a sample; four bytes for each weight of the backbone and
    eight more for each of its layers'.
    """
    if n_samples < 1:
        raise ParameterError.of("n_samples", "importances", "at least 1", n_samples)
    model = copy.deepcopy(backbone.model).float().eval().requires_grad_(False)
    named = dict(layers_of(model).requires_grad_(True).named_parameters())
    sums = {name: torch.zeros_like(p, requires_grad=False) for name, p in named.items()}
    for i in range(n_samples):
        gradients = _gradients(loss_of_sample, model, i, list(named.values()))
        for total, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                total.addcmul_(gradient, gradient)
        if after_sample is not None and after_sample(i + 1):
            break
    return {name: total / (i + 1) for name, total in sums.items()}


def _gradients(
    loss_of_sample: Loss, model: Any, i: int, weights: list[Tensor]
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        loss = loss_of_sample(model, i)
        if not loss.isfinite():
            want = "the finite loss of a sample"
            raise ParameterError.of("loss_of_sample", "importances", want, loss.item())
        found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, weights, allow_unused=True)
    return found


@torch.no_grad()
def pruned(
    side: Any, backbone_model: Any, layers: Sequence[int], importances: dict[str, Tensor],
    reduction: int,
) -> list[str]:  # fmt: skip
    """Copy the most important rows and columns of the backbone's layers into the side blocks.

    Parameters
    ----------
    side : transformers.PreTrainedModel
        Made by :func:`~shoestring.tune.side_network.side_network`; its blocks are changed.
    backbone_model : transformers.PreTrainedModel
    layers : sequence of int
        Of the backbone, one for each block.
    importances : dict of str to tensor
        As :func:`importances` gives them.
    reduction : int
        r.

    Returns
    -------
    list of str
        Parameters of ``layers_of(side)`` that keep their random start, as nobody could tell what
        they are for.

    Raises
    ------
    ShapeError
        If the side network is not 1 / r as wide as the backbone, or has not one block a layer.
    """
    base, narrow = base_of(backbone_model), base_of(side)
    originals, blocks = layers_of(base), layers_of(narrow)
    _check_sizes(base.config, narrow.config, len(blocks), layers, reduction)
    scores = _scores_of_layers(base, importances)
    hidden = _hidden(scores)
    missing = []
    for k, (block, i) in enumerate(zip(blocks, layers, strict=True)):
        old, new = layout_of(originals[i], base.config), layout_of(block, narrow.config)
        partners = rotary_pairs(base, old.head_size), rotary_pairs(narrow, new.head_size)
        choice = _choice({**scores[i], "hidden": hidden}, old, new, partners)
        weights, theirs = dict(originals[i].named_parameters()), _within(importances, i)
        for name, parameter in block.named_parameters():
            axes = old.parameters.get(name)
            if axes is None or axes != new.parameters.get(name) or not _has(choice, axes):
                missing.append(f"{k}.{name}")
            else:
                weight, importance = weights[name].float().cpu(), theirs[name].float().cpu()
                parameter.copy_(_cut(weight, importance, axes, choice, old))
    return missing


@torch.no_grad()
def hidden_channels(backbone_model: Any, importances: dict[str, Tensor], n: int) -> Tensor:
    """Numbers (n,) of the backbone's channels that the side network's hidden state begins with."""
    return _best(_hidden(_scores_of_layers(base_of(backbone_model), importances)), n)


def _scores_of_layers(base: Any, importances: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    return [
        _scores(layout_of(layer, base.config), _within(importances, i))
        for i, layer in enumerate(layers_of(base))
    ]


def _hidden(scores: list[dict[str, Tensor]]) -> Tensor:
    """Importance of each channel of the hidden state, over all layers."""
    return torch.stack([of_layer["hidden"] for of_layer in scores]).sum(0)


def _check_sizes(old: Any, new: Any, n_blocks: int, layers: Sequence[int], reduction: int) -> None:
    if n_blocks != len(layers):
        raise ShapeError(f"{len(layers)} layers cannot start {n_blocks} side blocks: name as many.")
    if new.hidden_size * reduction != old.hidden_size:
        raise ShapeError(
            f"A side network of width {new.hidden_size} is not 1 / {reduction} of {old.hidden_size}"
            " wide: make it by side_network with the same reduction."
        )


def _within(importances: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    """Those of layer i, by the names within it."""
    start = f"{i}."
    return {n[len(start) :]: value for n, value in importances.items() if n.startswith(start)}


def _scores(layout: LayerLayout, importances: dict[str, Tensor]) -> dict[str, Tensor]:
    """Importance of each channel of each kind: the sum over the weights along it."""
    scores = {kind: torch.zeros(size) for kind, size in layout.sizes.items()}
    for name, axes in layout.parameters.items():
        for dim, sections in enumerate(axes.kinds):
            others = [other for other in range(len(axes.kinds)) if other != dim]
            along = importances[name].float().cpu()
            along = along.sum(others) if others else along
            lengths = [layout.sizes[kind] for kind in sections]
            for kind, part in zip(sections, along.split(lengths), strict=True):
                scores[kind] += part
    return scores


def _choice(
    scores: dict[str, Tensor], old: LayerLayout, new: LayerLayout,
    partners: tuple[Tensor | None, Tensor | None],
) -> Choice:  # fmt: skip
    """Channels to keep, of each kind that can be chosen."""
    choice: Choice = {
        kind: _best(scores[kind], new.sizes[kind])
        for kind in scores
        if kind in ("hidden", "neurons") and kind in new.sizes
    }
    if (old.heads, old.key_heads) != (new.heads, new.key_heads):
        return choice
    alone = torch.arange(old.head_size), torch.arange(new.head_size)
    for wide, shared, (ours, theirs) in (
        ("query", "key", partners), ("context", "value", alone),
    ):  # fmt: skip
        if ours is not None and theirs is not None:
            of_heads = scores[wide].reshape(old.key_heads, -1, old.head_size).sum(1)
            of_heads = of_heads + scores[shared].reshape(old.key_heads, old.head_size)
            kept = torch.stack([_best_pairs(of_head, ours, theirs) for of_head in of_heads])
            choice[shared] = _numbered(kept, old.head_size)
            each = kept.repeat_interleave(old.heads // old.key_heads, dim=0)
            choice[wide] = _numbered(each, old.head_size)
    return choice


def _best(scores: Tensor, n: int) -> Tensor:
    """Numbers of the n largest scores, ascending; of equals, the first."""
    return scores.argsort(descending=True, stable=True)[:n].sort().values


def _best_pairs(scores: Tensor, partners: Tensor, new_partners: Tensor) -> Tensor:
    """Channels of a head to keep, placed so that partners are partners again.

    Examples
    --------
    >>> halves = torch.tensor([2, 3, 0, 1]), torch.tensor([1, 0])
    >>> _best_pairs(torch.tensor([0.0, 0.0, 5.0, 9.0]), *halves).tolist()
    [1, 3]
    """
    firsts = (torch.arange(len(partners)) <= partners).nonzero().flatten()
    new_firsts = (torch.arange(len(new_partners)) <= new_partners).nonzero().flatten()
    of_pairs = scores[firsts] + scores[partners[firsts]]
    kept = firsts[_best(of_pairs, len(new_firsts))]
    placed = torch.empty_like(new_partners)
    placed[new_firsts] = kept
    placed[new_partners[new_firsts]] = partners[kept]
    return placed


def _numbered(kept: Tensor, head_size: int) -> Tensor:
    """Channels within heads (heads, n) as channels of all heads (heads x n,)."""
    return (kept + head_size * torch.arange(len(kept))[:, None]).flatten()


def _has(choice: Choice, axes: AxisKinds) -> bool:
    return all(kind in choice for sections in axes.kinds for kind in sections)


def _cut(
    weight: Tensor, importance: Tensor, axes: AxisKinds, choice: Choice, old: LayerLayout
) -> Tensor:
    """The kept rows and columns of a weight, rescaled to its fewer inputs."""
    kept = [_along(sections, choice, old) for sections in axes.kinds]
    if axes.summed_axis is None:
        return weight[kept[0]]
    outputs = weight.index_select(1 - axes.summed_axis, kept[1 - axes.summed_axis])  # all inputs
    squares = outputs.square().sum(1 - axes.summed_axis)  # of each input's weights
    gain = _gain(squares, importance.sum(1 - axes.summed_axis), kept[axes.summed_axis])
    return outputs.index_select(axes.summed_axis, kept[axes.summed_axis]) * gain


def _gain(squares: Tensor, input_squares: Tensor, kept: Tensor) -> float:
    """What a matrix is multiplied by, at most D / d; inputs without importance are taken as equal.

    Examples
    --------
    >>> _gain(torch.ones(4), torch.tensor([9.0, 1.0, 5.0, 1.0]), torch.tensor([0, 1, 3])) ** 2
    1.45...
    """
    for sizes in (squares * input_squares, squares):
        if (of_kept := float(sizes[kept].sum())) > 0:
            return float(min((float(sizes.sum()) / of_kept) ** 0.5, len(squares) / len(kept)))
    return 1.0


def _along(sections: Sections, choice: Choice, old: LayerLayout) -> Tensor:
    """Numbers of the kept channels along a dimension, sections one after the other."""
    starts = torch.tensor([0] + [old.sizes[kind] for kind in sections]).cumsum(0)
    return torch.cat([choice[kind] + s for kind, s in zip(sections, starts[:-1], strict=True)])


# ---- the start of a ladder ----


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
    channels = hidden_channels(base, found, model.down.weight.shape[-1])
    _begin_down(model, data, cache, chosen, channels)
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


def _begin_down(
    model: Ladder, data: Examples, cache: OutputCache, chosen: list[int], channels: Tensor
) -> None:
    collate = Collate(data, model.settings.task, cache, 0)
    read = BackboneOutputs(**collate([data[i] for i in chosen[:HEAD_BATCH]])["first"])
    model.down.measure(read.outputs, read.mask)
    with torch.no_grad():  # each output enters as these channels of it, in their own size
        model.down.weight.zero_()
        model.down.weight[:, channels, torch.arange(len(channels))] = (
            1.0 / model.down.scale[:, None]
        )


def _read(
    backbone: Any, knows_segments: bool, ids: Tensor, batch: dict[str, Any], prefix: str
) -> BackboneOutputs:  # fmt: skip
    mask = batch.pop(prefix + "attention_mask")
    special = batch.pop(prefix + "special_tokens_mask")
    segments = batch.pop(prefix + "token_type_ids", None)
    more = {} if segments is None or not knows_segments else {"token_type_ids": segments}
    states = backbone(input_ids=ids, attention_mask=mask, **more).last_hidden_state
    mask = mask.bool()
    return BackboneOutputs(states.unsqueeze(0), mask, mask & ~special.bool())


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


@contextmanager
def all_heads() -> Iterator[None]:
    """Side networks with as many heads as the backbone, each cut out of one of its."""
    before = side_network.few_heads
    side_network.few_heads = lambda config, reduction: config.num_attention_heads
    try:
        yield
    finally:
        side_network.few_heads = before


def tuned(job: Job, train: Path, columns: dict[str, Any]) -> tuple[Ladder, dict[str, Any]]:
    """A ladder that began so, trained on a file, and its report."""
    found = read_labelled(str(train), **columns)
    config, labels = label_numbers(job.config, columns["label"], (str(train), found))
    backbone, clock, n = FrozenBackbone.load(job.backbone), Clock(), len(found)
    with all_heads():
        model = Ladder(config, backbone)
    examples = examples_of(found, n, labels, backbone, model.settings)
    halves = split(examples, n, False, job.settings.seed)
    cache = OutputCache(backbone, model.layers, examples.texts(), job.cache_bytes)
    for _ in cache.fill():
        pass
    start_from_backbone(model, halves[0], cache, clock)
    with (
        TemporaryDirectory() as folder,
        RunFolder.open(Path(folder) / "ladder", {}, resume=False) as run,
    ):
        report = trained(job, model, examples, halves, clock, run, progress=True)
    return model.eval(), report
