"""Trained weights of a query's tokens: token interaction with a head and no further model.

A late ladder without a side network (``shoestring tune score --pairs late --method head``) is one
matrix row v and three numbers c; with ``--method lora`` the token vectors were changed as well, by
an adapter of the model, and with ``--method full`` by another model. A query's token weighs

    w_i = softmax_i(10 v . q_i)

and the score is the mean, weighted by c, of three likenesses of unit token vectors q_i, t_j:

    sum_i w_i max_j q_i . t_j,    1/n_t sum_j max_i q_i . t_j,    cos(mean q, mean t).

With v = 0 and c = (1, 0, 0) it is plain token interaction.

D width, T tokens, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from shoestring.artifacts import digest
from shoestring.checks import checked_path
from shoestring.errors import ParameterError
from shoestring.models.adapter import Adapter
from shoestring.tune.config import ADAPTER, LADDER, SIDE

FloatMatrix = NDArray[np.float32]

MINILM, DEFAULT = "minilm", "minilm-weighted"  # search has the second
SHIPPED = {  # made by benchmarks/train_scorer.py
    DEFAULT: Path(__file__).with_name("minilm-weighting"),
    "minilm-docs": Path(__file__).with_name("minilm-docs"),
}
LOGITS = np.float32(10.0)  # as shoestring.tune.heads.SCALE_AT_FIRST


@dataclass(frozen=True)
class Weighting:
    """Weights of a query's tokens and of the three likenesses; made by :meth:`load`."""

    importance: FloatMatrix  # v (D,)
    shares: FloatMatrix  # c (3,), of absolute sum 1
    backbone: str  # the model it was trained on: "minilm" or a folder
    backbone_digest: str
    adapter: Adapter | None = None  # trained with it

    @classmethod
    def load(cls, folder: str | Path) -> Weighting:
        """Open a folder of ``shoestring tune score --pairs late``, method head, lora or full.

        FormatError or IntegrityError if it is of something else, or damaged; ParameterError for a
        ladder with a side network, which is a scorer of its own.
        """
        folder = checked_path("weighting", folder, "TokenInteraction")
        want = f"{', '.join(map(repr, SHIPPED))}, or a folder of shoestring tune score"
        missing = ParameterError.of("weighting", "TokenInteraction", want, str(folder))
        artifact = LADDER.read(folder, missing)
        if not is_weighting(artifact.config):
            want = "a late ladder's head without a side network"
            hint = "Open any other ladder with load_scorer."
            raise ParameterError.of("weighting", "TokenInteraction", want, str(folder), hint)
        with artifact.decoding():
            backbone = str(artifact.config["backbone"])
            backbone_digest = str(artifact.config["backbone_digest"])
        if backbone != MINILM:
            backbone = str(folder / backbone)  # it may be inside
        file, data = artifact.path(SIDE), artifact.data(SIDE)
        with artifact.decoding():
            weights = load(data)
            importance, scale = weights["head.importance.weight"][0], weights["head.scale"]
        total = np.abs(scale).sum()
        if not (np.isfinite(importance).all() and np.isfinite(total) and total):
            raise artifact.damaged(file.name, "it has no finite numbers")
        adapter = Adapter.load(artifact.verified(ADAPTER)) if ADAPTER in artifact else None
        shares = (scale / total).astype(np.float32)
        return cls(importance.astype(np.float32), shares, backbone, backbone_digest, adapter)

    @property
    def digest(self) -> str:
        """12 hexadecimal digits."""
        adapter = "" if self.adapter is None else self.adapter.digest
        return digest(self.importance, self.shares, adapter)[:12]

    def of_tokens(self, query_tokens: FloatMatrix) -> FloatMatrix:
        """What each token of a query (T, D) weighs (T,), of sum 1."""
        logits = LOGITS * (query_tokens @ self.importance)
        weights = np.exp(logits - logits.max())
        shares: FloatMatrix = weights / weights.sum()
        return shares

    def scores(self, query_tokens: Sequence[FloatMatrix], text_tokens: FloatMatrix) -> FloatMatrix:
        """As :func:`~shoestring.match.interaction.interaction_scores`: (Q,) float32."""
        scores = np.zeros(len(query_tokens), np.float32)
        lengths = np.array([len(tokens) for tokens in query_tokens])
        known = np.flatnonzero(lengths)
        if not len(known) or not len(text_tokens):
            return scores
        tokens = np.concatenate(query_tokens)
        starts = np.r_[0, np.cumsum(lengths[known])[:-1]]
        cosines = tokens @ text_tokens.T
        weights = np.concatenate([self.of_tokens(q) for q in query_tokens if len(q)])
        sums, of_text = np.add.reduceat(tokens, starts, axis=0), text_tokens.sum(axis=0)
        norms = np.linalg.norm(sums, axis=1) * np.linalg.norm(of_text)
        likeness = np.stack(
            [
                np.add.reduceat(weights * cosines.max(axis=1), starts),
                np.maximum.reduceat(cosines, starts, axis=0).mean(axis=1),
                sums @ of_text / np.maximum(norms, 1e-12),
            ]
        )
        scores[known] = self.shares @ likeness
        return scores


def is_weighting(document: dict[str, object]) -> bool:
    """Whether the config of a ladder is one of a late head without a side network."""
    ladder = document.get("ladder")
    is_late = isinstance(ladder, dict) and ladder.get("pairs") == "late"
    return is_late and document.get("with_side") is False
