"""From the states of backbone and side network to answers.

Each head starts where the frozen backbone is: what the side network adds is multiplied by zeros at
first, so that training begins at the quality of a head alone, or, for scores, of token interaction.

B texts or pairs, T tokens, D width of the backbone, d of the side network, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoestring.models.frozen import BackboneOutputs

SCALE_AT_FIRST = 10.0  # of a similarity, as a logit; of what a token weighs


def pooled(states: Tensor, mask: Tensor, is_causal: bool) -> Tensor:
    """One state (B, D) of each text (B, T, D): the mean in encoders, the last one in decoders."""
    if not is_causal:
        weight = mask.to(states.dtype).unsqueeze(-1)
        return (states * weight).sum(1) / weight.sum(1).clamp_min(1.0)
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return states[torch.arange(len(states), device=states.device), last]


def interaction(
    a: Tensor, b: Tensor, content_a: Tensor, content_b: Tensor, importance: Tensor | None = None
) -> Tensor:
    """How alike the tokens of two texts are, in three ways: (B, 3).

    The mean over a's tokens of the likest of b's, as ``shoestring.match.TokenInteraction``; the
    same from b to a; the cosine of the means of both texts' unit vectors.

    Content masks (B, T) say which tokens of a and b (B, T, D) count; a text without any scores 0.
    ``importance`` (B, T_a) are logits of the weights in the first mean, equal by default.
    """
    a, b = functional.normalize(a, dim=-1), functional.normalize(b, dim=-1)
    like = a @ b.transpose(1, 2)
    both = content_a.any(1) & content_b.any(1)
    best_of_b = like.masked_fill(~content_b.unsqueeze(1), -2.0).amax(-1)
    best_of_a = like.masked_fill(~content_a.unsqueeze(2), -2.0).amax(1)
    if importance is None:
        forward = _mean(best_of_b, content_a)
    else:
        weight = importance.float().masked_fill(~content_a, -1e9).softmax(-1)
        forward = (best_of_b * weight).sum(-1)
    means = [_mean(x.transpose(1, 2), c.unsqueeze(1)) for x, c in ((a, content_a), (b, content_b))]
    cosine = functional.cosine_similarity(*means)
    found = torch.stack([forward, _mean(best_of_a, content_b), cosine], dim=1)
    return torch.where(both.unsqueeze(1), found, 0.0)


def _mean(values: Tensor, content: Tensor) -> Tensor:
    """Over the last axis, of those that count."""
    return (values * content).sum(-1) / content.sum(-1).clamp_min(1)


def similarities(a: BackboneOutputs, b: BackboneOutputs, is_causal: bool) -> Tensor:
    """Token interaction in both directions and the cosine of the pooled states: (B, 3)."""
    u, v = (pooled(text.last, text.mask, is_causal) for text in (a, b))
    of_tokens = interaction(a.last, b.last, a.content, b.content)
    cosine = functional.cosine_similarity(u, v).unsqueeze(1)
    return torch.cat([of_tokens[:, :2], cosine], dim=1)


class TextHead(nn.Module):  # type: ignore[misc]
    """C numbers of a text, from the backbone's state and the side's."""

    def __init__(self, width: int, side_width: int | None, n_out: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, n_out)
        if side_width is not None:
            self.norm, self.up = nn.LayerNorm(side_width), _zeros(side_width, width)

    def forward(self, backbone: Tensor, side: Tensor | None) -> Tensor:
        """States (..., D) and (..., d) to (..., C)."""
        state = functional.layer_norm(backbone.float(), backbone.shape[-1:])
        state = state.to(self.out.weight.dtype)
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
        dtype = self.of_likeness.weight.dtype
        numbers = self.of_likeness((SCALE_AT_FIRST * (likeness - 0.5)).to(dtype))
        states = torch.cat([(u - v).abs(), u * v], dim=-1)
        numbers = numbers + self.of_states(states.to(dtype))
        return numbers if side is None else numbers + self.of_side(self.norm(side))


class LateHead(nn.Module):  # type: ignore[misc]
    """A score: token interaction of token vectors that the side network has changed.

    Each token of the first text weighs as much as its vector says (alike at first); beside it count
    the interaction from the second text to the first, and the cosine of the means (not at first).
    """

    def __init__(self, width: int, side_width: int | None) -> None:
        super().__init__()
        if side_width is not None:
            self.norm, self.up = nn.LayerNorm(side_width), _zeros(side_width, width)
            self.importance_of_side = _zeros(side_width, 1, bias=False)
        self.importance = _zeros(width, 1, bias=False)
        self.scale = nn.Parameter(torch.tensor([1.0, 0.0, 0.0]) / SCALE_AT_FIRST)
        self.bias = nn.Parameter(torch.zeros(()))

    def vectors(self, backbone: Tensor, side: Tensor | None) -> tuple[Tensor, Tensor]:
        """Token vectors (B, T, D) that are compared, and logits of what they weigh (B, T)."""
        backbone = backbone.to(self.importance.weight.dtype)
        unit = functional.normalize(backbone, dim=-1)
        importance = self.importance(unit)
        if side is not None:
            state, size = self.norm(side), backbone.norm(dim=-1, keepdim=True)
            backbone = backbone + size * self.up(state) / backbone.shape[-1] ** 0.5
            importance = importance + self.importance_of_side(state)
        return backbone, SCALE_AT_FIRST * importance.squeeze(-1)

    def forward(
        self, a: Tensor, b: Tensor, content_a: Tensor, content_b: Tensor, importance: Tensor
    ) -> Tensor:
        """Vectors (B, T_a, D), (B, T_b, D) and what the first ones weigh (B, T_a) to (B, 1)."""
        likeness = interaction(a, b, content_a, content_b, importance)
        scale = SCALE_AT_FIRST * self.scale.unsqueeze(1)  # a step of training is a tenth of it
        likeness = likeness.to(scale.dtype)
        return (SCALE_AT_FIRST * (likeness - 0.5)) @ scale + self.bias


def _zeros(n_in: int, n_out: int, *, bias: bool = True) -> nn.Linear:
    """A layer that says nothing at first."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer
