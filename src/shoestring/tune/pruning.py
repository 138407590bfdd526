"""Side blocks that start as the most important rows and columns of the backbone's layers.

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

Not covered: what has no role in :mod:`shoestring.models.layer_layout` keeps its random start and is
named.
A side head's rotary frequencies are its own: the kept pairs keep their order, not their frequency.

Letters: D width, d = D / r, H heads, G heads of keys and values, L layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from shoestring.errors import ParameterError, ShapeError
from shoestring.models.frozen import FrozenBackbone
from shoestring.models.layer_layout import Anatomy, Role, Sections, anatomy_of, partners_of
from shoestring.tune.narrow import base_of, layers_of

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
        Made by :func:`~shoestring.tune.narrow.side_network`; its blocks are changed.
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
        old, new = anatomy_of(originals[i], base.config), anatomy_of(block, narrow.config)
        partners = partners_of(base, old.head_size), partners_of(narrow, new.head_size)
        choice = _choice({**scores[i], "hidden": hidden}, old, new, partners)
        weights, theirs = dict(originals[i].named_parameters()), _within(importances, i)
        for name, parameter in block.named_parameters():
            role = old.roles.get(name)
            if role is None or role != new.roles.get(name) or not _has(choice, role):
                missing.append(f"{k}.{name}")
            else:
                weight, importance = weights[name].float().cpu(), theirs[name].float().cpu()
                parameter.copy_(_cut(weight, importance, role, choice, old))
    return missing


@torch.no_grad()
def hidden_channels(backbone_model: Any, importances: dict[str, Tensor], n: int) -> Tensor:
    """Numbers (n,) of the backbone's channels that the side network's hidden state begins with."""
    return _best(_hidden(_scores_of_layers(base_of(backbone_model), importances)), n)


def _scores_of_layers(base: Any, importances: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    return [
        _scores(anatomy_of(layer, base.config), _within(importances, i))
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
            " wide: make it by narrow.side_network with the same reduction."
        )


def _within(importances: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    """Those of layer i, by the names within it."""
    start = f"{i}."
    return {n[len(start) :]: value for n, value in importances.items() if n.startswith(start)}


def _scores(anatomy: Anatomy, importances: dict[str, Tensor]) -> dict[str, Tensor]:
    """Importance of each channel of each kind: the sum over the weights along it."""
    scores = {kind: torch.zeros(size) for kind, size in anatomy.sizes.items()}
    for name, role in anatomy.roles.items():
        for dim, sections in enumerate(role.dims):
            others = [other for other in range(len(role.dims)) if other != dim]
            along = importances[name].float().cpu()
            along = along.sum(others) if others else along
            lengths = [anatomy.sizes[kind] for kind in sections]
            for kind, part in zip(sections, along.split(lengths), strict=True):
                scores[kind] += part
    return scores


def _choice(
    scores: dict[str, Tensor], old: Anatomy, new: Anatomy,
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


def _has(choice: Choice, role: Role) -> bool:
    return all(kind in choice for sections in role.dims for kind in sections)


def _cut(weight: Tensor, importance: Tensor, role: Role, choice: Choice, old: Anatomy) -> Tensor:
    """The kept rows and columns of a weight, rescaled to its fewer inputs."""
    kept = [_along(sections, choice, old) for sections in role.dims]
    if role.into is None:
        return weight[kept[0]]
    outputs = weight.index_select(1 - role.into, kept[1 - role.into])  # all inputs
    squares = outputs.square().sum(1 - role.into)  # of each input's weights
    gain = _gain(squares, importance.sum(1 - role.into), kept[role.into])
    return outputs.index_select(role.into, kept[role.into]) * gain


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


def _along(sections: Sections, choice: Choice, old: Anatomy) -> Tensor:
    """Numbers of the kept channels along a dimension, sections one after the other."""
    starts = torch.tensor([0] + [old.sizes[kind] for kind in sections]).cumsum(0)
    return torch.cat([choice[kind] + s for kind, s in zip(sections, starts[:-1], strict=True)])
