"""From the states of backbone and side network to answers.

Each head starts where the frozen backbone is: what the side network adds is multiplied by zeros at
first, so that training begins at the quality of a head alone, or, for scores, of token interaction.

B texts or pairs, T tokens, D width of the backbone, d of the side network, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALE_AT_FIRST = 10.0  # of a similarity, as a logit


class Read(NamedTuple):
    """Texts as the backbone has read them."""

    outputs: Tensor  # (K, B, T, D): the embedding and the kept layers, the last one last
    mask: Tensor  # (B, T) bool: tokens, not padding
    content: Tensor  # (B, T) bool: tokens that are not special

    @property
    def last(self) -> Tensor:
        """The last layer (B, T, D) float32."""
        return self.outputs[-1].float()


def as_read(value: Read | dict[str, Tensor] | None) -> Read | None:
    """Texts that were read, from a dict of their fields, which the Trainer can move."""
    return Read(**value) if isinstance(value, dict) else value


def content_of(mask: Tensor, special: Tensor | None) -> Tensor:
    """Tokens (B, T) that are neither padding nor special."""
    return mask.bool() if special is None else mask.bool() & ~special.bool().to(mask.device)


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One state (B, D) of each text from those of its tokens (B, T, D)."""
    if pooling == "mean":
        weight = mask.to(states.dtype).unsqueeze(-1)
        return (states * weight).sum(1) / weight.sum(1).clamp_min(1.0)
    rows = torch.arange(len(states), device=states.device)
    if pooling == "first":
        return states[rows, mask.int().argmax(1)]
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return states[rows, last]


def interaction(a: Tensor, b: Tensor, content_a: Tensor, content_b: Tensor) -> Tensor:
    """Mean over a's tokens of the likest of b's (B,), as ``shoestring.match.TokenInteraction``.

    Parameters
    ----------
    a, b : float tensors (B, T_a, D), (B, T_b, D)
    content_a, content_b : bool tensors (B, T_a), (B, T_b)
        Tokens that count; a text without any scores 0.
    """
    like = functional.normalize(a, dim=-1) @ functional.normalize(b, dim=-1).transpose(1, 2)
    best = like.masked_fill(~content_b.unsqueeze(1), -2.0).amax(-1)
    best = best * (content_a & content_b.any(1, keepdim=True))
    return best.sum(1) / content_a.sum(1).clamp_min(1)


def similarities(a: Read, b: Read, pooling: str) -> Tensor:
    """Token interaction in both directions and the cosine of the pooled states: (B, 3)."""
    u, v = (pooled(text.last, text.mask, pooling) for text in (a, b))
    return torch.stack(
        [
            interaction(a.last, b.last, a.content, b.content),
            interaction(b.last, a.last, b.content, a.content),
            functional.cosine_similarity(u, v),
        ],
        dim=1,
    )


class TextHead(nn.Module):  # type: ignore[misc]
    """C numbers of a text, or of each of its tokens, from the backbone's states and the side's."""

    def __init__(self, width: int, side_width: int | None, n_out: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, n_out)
        if side_width is not None:
            self.norm, self.up = nn.LayerNorm(side_width), _zeros(side_width, width)

    def forward(self, backbone: Tensor, side: Tensor | None) -> Tensor:
        """States (..., D) and (..., d) to (..., C)."""
        state = functional.layer_norm(backbone.float(), backbone.shape[-1:])
        if side is not None:
            state = state + self.up(self.norm(side))
        return self.out(state)


class PairHead(nn.Module):  # type: ignore[misc]
    """C numbers of a pair: similarities, products and distances of both states, the side's state.

    The features of the states are those of Conneau et al. (2017), |u - v| and u * v.
    """

    def __init__(self, width: int, side_width: int | None, n_out: int, as_logit: bool) -> None:
        super().__init__()
        self.of_likeness = _zeros(3, n_out)
        self.of_states = _zeros(2 * width, n_out, bias=False)
        if side_width is not None:
            self.norm = nn.LayerNorm(side_width)
            self.of_side = _zeros(side_width, n_out, bias=False)
        with torch.no_grad():  # the last class, or the number, grows with the likeness
            self.of_likeness.weight[-1, 0] = 1.0 if as_logit else 1.0 / SCALE_AT_FIRST
            self.of_likeness.bias.fill_(0.0 if as_logit else 0.5)

    def forward(self, likeness: Tensor, u: Tensor, v: Tensor, side: Tensor | None) -> Tensor:
        """Similarities (B, 3), pooled states (B, D), the side's (B, d), to (B, C)."""
        u, v = (functional.layer_norm(state, state.shape[-1:]) for state in (u, v))
        numbers = self.of_likeness(SCALE_AT_FIRST * (likeness - 0.5))
        numbers = numbers + self.of_states(torch.cat([(u - v).abs(), u * v], dim=-1))
        return numbers if side is None else numbers + self.of_side(self.norm(side))


class LateHead(nn.Module):  # type: ignore[misc]
    """A score: token interaction of token vectors that the side network has changed."""

    def __init__(self, width: int, side_width: int | None) -> None:
        super().__init__()
        if side_width is not None:
            self.norm, self.up = nn.LayerNorm(side_width), _zeros(side_width, width)
        self.scale = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def vectors(self, backbone: Tensor, side: Tensor | None) -> Tensor:
        """Token vectors (B, T, D) that are compared."""
        if side is None:
            return backbone.float()
        size = backbone.float().norm(dim=-1, keepdim=True)
        return backbone.float() + size * self.up(self.norm(side)) / backbone.shape[-1] ** 0.5

    def forward(self, a: Tensor, b: Tensor, content_a: Tensor, content_b: Tensor) -> Tensor:
        """Vectors (B, T_a, D), (B, T_b, D) to scores (B, 1)."""
        likeness = SCALE_AT_FIRST * (interaction(a, b, content_a, content_b) - 0.5)
        return (self.scale * likeness + self.bias).unsqueeze(1)


def _zeros(n_in: int, n_out: int, *, bias: bool = True) -> nn.Linear:
    """A layer that says nothing at first."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer
