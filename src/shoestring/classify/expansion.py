"""Random features: what a linear layer cannot see of vectors, made visible to one.

- ``relu``: max(0, x w), w normal (McDonnell et al. 2023, arXiv 2307.02388);
- ``fourier``: cos(x w + u), the kernel exp(-|x - x'|^2 / 2) (Rahimi & Recht 2007).

The vectors themselves come first, so that the first so many columns of the expansion are a smaller
expansion, and moments of the whole hold those of all smaller ones.

Letters: N samples, D features, M random features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("relu", "fourier")


@dataclass(frozen=True, slots=True)
class Expansion:
    """Features and random features of them: (N, D) to (N, D + M)."""

    kind: str
    directions: NDArray[np.float32]  # (D, M)
    phases: NDArray[np.float32]  # (M,): of "fourier"

    @classmethod
    def drawn(cls, kind: str, n_features: int, n_random: int, *, seed: int = 0) -> Expansion:
        """Draw the directions; the first m of M are those of an expansion of m."""
        rng = np.random.default_rng([seed, n_features])
        directions = rng.standard_normal((n_random, n_features), np.float32).T
        phase_rng = np.random.default_rng([seed, n_features, 1])  # the first m are those of m
        phases = phase_rng.uniform(0, 2 * np.pi, n_random).astype(np.float32)
        return cls(kind, np.ascontiguousarray(directions), phases)

    def of(self, X: NDArray[np.floating], n_random: int | None = None) -> NDArray[np.floating]:
        """Expand rows (N, D) to (N, D + M), or to so many random features."""
        directions = self.directions[:, :n_random]
        random = X @ directions.astype(X.dtype, copy=False)
        if self.kind == "relu":
            np.maximum(random, 0, out=random)
        else:
            np.cos(random + self.phases[:n_random].astype(X.dtype), out=random)
        return np.concatenate([X, random], axis=1)
