"""Ladder side-tuning: how a narrow network beside a frozen one is fed, in PyTorch.

Beside a backbone of width D stands a side network of width d = D / r, whose blocks are of the
backbone's own kind. Its first state is the backbone's embedding projected down; before each of its
blocks the output of the backbone's layer, projected down by a matrix of its own, is mixed in by a
gate (Sung, Cho & Bansal 2022, arXiv 2206.06522, section 3.2; T = 0.1, a = 0 at the start):

    h_0 = Down_0(b_0),    h <- Block_k(g_k h + (1 - g_k) Down_k(b_k)),    g_k = sigmoid(a_k / T).

No gradient enters the backbone: its outputs b are constants, and can be computed once.

Where we leave the published code: all matrices Down multiply in one product, and the outputs of a
layer are divided by their root mean square over the first batch, as layers of decoders differ by
factors of hundreds.

Letters: K outputs of the backbone (its embedding and the kept layers), B texts, T tokens, D width,
d width of the side network, r the reduction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TEMPERATURE = 0.1


class DownProjections(nn.Module):  # type: ignore[misc]
    """Down projections and gates of a ladder: of ``n_outputs`` K, widths D and d."""

    def __init__(self, n_outputs: int, width: int, side_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_outputs, width, side_width))
        self.bias = nn.Parameter(torch.zeros(n_outputs, 1, side_width))
        self.gate_logits = nn.Parameter(torch.zeros(n_outputs - 1))
        self.register_buffer("scale", torch.zeros(n_outputs))  # 1 / RMS; 0: not measured yet
        nn.init.normal_(self.weight, std=width**-0.5)

    def forward(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Project outputs (K, B, T, D) of any float type down: (K, B, T, d) float32."""
        if not self.scale.any() and mask.any():
            self.measure(outputs, mask)
        k, b, t, d = outputs.shape
        scale = self.scale if self.scale.any() else torch.ones_like(self.scale)
        weight = self.weight * scale[:, None, None]
        flat = outputs.reshape(k, b * t, d)
        lowered = torch.bmm(flat, weight.to(flat.dtype)).to(weight.dtype) + self.bias
        return lowered.reshape(k, b, t, -1)

    @torch.no_grad()
    def measure(self, outputs: Tensor, mask: Tensor) -> None:
        """Take the outputs' root mean squares over the tokens of the mask (B, T)."""
        squares = outputs[:, mask.bool()].float().square().mean(dim=(1, 2))
        self.scale.copy_(squares.clamp_min(1e-12).rsqrt())

    def gates(self) -> Tensor:
        """Shares g (K - 1,) of the side network's own state."""
        return torch.sigmoid(self.gate_logits / TEMPERATURE)

    def mixed(self, k: int, state: Tensor, lowered: Tensor) -> Tensor:
        """The input of block k, of the state (B, T, d) and the lowered output (B, T, d)."""
        return lowered + self.gates()[k] * (state - lowered)
