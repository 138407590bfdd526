"""ANNCUR: one estimate of all scores from those with some anchor items, a peer of the rounds.

A CUR decomposition of the query-item score matrix: R is the (m, N) matrix of m anchor queries with
all items, C the query's scores with kc anchor items; the estimate is C U R with U the
pseudo-inverse of R's anchor columns. Paper: Yadav et al., "Efficient Nearest Neighbor Search for
Cross-Encoder Models using Matrix Factorization" (EMNLP 2022, arXiv 2210.12579). ``method="pinv"``
is the published rule; it blows up when kc comes near m, so ridge and truncated SVD are here as
well.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring.errors import ParameterError, ShapeError
from shoestring.types import FloatArray

Floats = NDArray[np.float64]


def anncur_estimate(
    query_scores: ArrayLike,
    anchor_scores: FloatArray,
    anchor_items: ArrayLike,
    *,
    method: Literal["pinv", "ridge", "svd"] = "pinv",
    strength: float = 0.1,
) -> Floats:
    """Estimate a query's scores with all items from those with the anchor items.

    Parameters
    ----------
    query_scores : array (kc,)
        The query's own scores with the anchor items.
    anchor_scores : array (m, N)
        R, every anchor query with every item.
    anchor_items : int array (kc,)
        Which columns of R the query was scored with.
    method : {"pinv", "ridge", "svd"}
        How R's anchor columns are inverted: as published; with ``strength`` times their mean
        squared singular value added; or without the singular values below ``strength`` times the
        largest.
    strength : float
        See ``method``; not used by "pinv".

    Returns
    -------
    float64 array (N,)

    Raises
    ------
    ShapeError
        If the scores and the anchor items are not as many.
    ParameterError
        If the method is none of the three.

    Notes
    -----
    Cost: O(m kc min(m, kc) + m N). Source: Yadav et al. 2022, equation 3 and their reference code.

    Examples
    --------
    >>> R = np.outer([1.0, 2.0], [3.0, 1.0, 2.0])
    >>> anncur_estimate([6.0], R, [0])
    array([6., 2., 4.])
    """
    scores = np.asarray(query_scores, dtype=np.float64)
    columns = np.asarray(anchor_scores[:, np.asarray(anchor_items)], dtype=np.float64)  # (m, kc)
    if scores.shape != (columns.shape[1],):
        raise ShapeError(
            f"{scores.shape} query scores came for {columns.shape[1]} anchor items; "
            "give one score for each anchor item."
        )
    if method == "pinv":
        inverse = np.linalg.pinv(columns)  # (kc, m)
    elif method == "svd":
        inverse = np.linalg.pinv(columns, rcond=strength)
    elif method == "ridge":
        gram = columns @ columns.T  # (m, m)
        gram[np.diag_indices_from(gram)] += strength * np.trace(gram) / min(columns.shape) + 1e-12
        inverse = np.linalg.solve(gram, columns).T
    else:
        raise ParameterError.of("method", "anncur_estimate", "'pinv', 'ridge' or 'svd'", method)
    return np.asarray((scores @ inverse) @ anchor_scores, dtype=np.float64)
