"""Random features: what a linear layer cannot see of vectors, made visible to one.

max(0, x w), w normal (McDonnell et al. 2023, arXiv 2307.02388). The vectors themselves come first,
so that the first so many columns of the expansion are a smaller expansion, and moments of the whole
hold those of all smaller ones.

Letters: N samples, D features, M random features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def drawn(n_features: int, n_random: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Draw the directions w (D, M); the first m of M are those of an expansion of m."""
    rng = np.random.default_rng([seed, n_features])
    return np.ascontiguousarray(rng.standard_normal((n_random, n_features), np.float32).T)


def expanded(X: NDArray[np.floating], directions: NDArray[np.float32]) -> NDArray[np.floating]:
    """Expand rows (N, D) to (N, D + M)."""
    if not directions.shape[1]:
        return X
    random = X @ directions.astype(X.dtype, copy=False)
    return np.concatenate([X, np.maximum(random, 0, out=random)], axis=1)
