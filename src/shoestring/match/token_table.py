"""Token vectors of all texts kept on disk, so that token interaction runs no forward for a text.

An option for small indexes: about 27 kB for a text of 70 MiniLM tokens in int8 (each token vector
is scaled so that its largest element is 127), twice that in float16, four times in float32.

N texts, S tokens of all of them, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import ArtifactKind, digest, write_npy_header
from shoestring.checks import checked_choice, checked_pairs, checked_path, checked_texts
from shoestring.errors import ParameterError
from shoestring.match.interaction import TokenInteraction
from shoestring.models.throughput import Timed
from shoestring.parallel import KernelPool, n_cores, one_blas_thread

KIND = ArtifactKind(
    format="shoestring-token-table",
    what="a token table",
    owner="TokenTable.build",
    remedy="Build the table again with TokenTable.build.",
)
DTYPES = ("int8", "float16", "float32")
_TOKENS_PER_STEP = 8192  # turned into float32 at a time: 12 MB of MiniLM's


class TokenTable(Timed):
    """Token vectors of a fixed list of texts; a pair scorer for them, and for others as well.

    Make one with :meth:`build` or :meth:`load`.

    Parameters
    ----------
    scorer : TokenInteraction
        Encodes the queries, and the texts that are not in the table.
    arrays : dict of str to ndarray
        tokens (S, D), scales (S,) float32, starts (N + 1,) int64, digests (N,) of the texts.

    Examples
    --------
    >>> table = TokenTable.build(texts, folder="my-table")  # doctest: +SKIP
    >>> table.scores_against_all("flatten a list").argmax()  # doctest: +SKIP
    """

    def __init__(self, scorer: TokenInteraction, arrays: dict[str, NDArray[Any]]) -> None:
        self.scorer = scorer
        self._tokens, self._scales = arrays["tokens"], arrays["scales"]
        self._starts, self._digests = arrays["starts"], arrays["digests"]
        self._rows = {bytes(of_text): row for row, of_text in enumerate(self._digests)}
        self.name = f"{scorer.name}:{self._tokens.dtype}"
        self._latest: dict[str, NDArray[np.float32]] = {}  # query and its vectors

    @classmethod
    def build(
        cls,
        texts: Sequence[str],
        scorer: TokenInteraction | None = None,
        folder: str | Path | None = None,
        dtype: str = "int8",
    ) -> TokenTable:
        """Encode the texts, once.

        Parameters
        ----------
        texts : sequence of str
            N of them.
        scorer : TokenInteraction, optional
            Default: MiniLM.
        folder : str or Path, optional
            Where the table is kept, memory-mapped: new, empty, or of a table, which stays in force
            until this one is whole. In memory by default.
        dtype : {"int8", "float16", "float32"}
            float32 gives the scorer's own scores.

        Raises
        ------
        ParameterError, FormatError, StorageError
            If the folder holds other files, or something else; if the disk is full.

        Notes
        -----
        Cost: one forward for each text; :func:`table_bytes` says the size beforehand.
        """
        owner = "TokenTable.build"
        checked_choice("dtype", dtype, DTYPES, owner)
        texts = checked_texts("texts", texts, owner)
        scorer = TokenInteraction() if scorer is None else scorer
        if not isinstance(scorer, TokenInteraction):
            raise ParameterError.of("scorer", owner, "a TokenInteraction", scorer)
        if folder is None:
            return cls(scorer, _encode(texts, scorer, dtype))
        with KIND.saving(checked_path("folder", folder, owner)) as writer:
            with writer.stream("tokens.npy") as file:
                arrays = _encode(texts, scorer, dtype, file)
            for name, array in arrays.items():
                writer.array(f"{name}.npy", array)
            writer.config |= {"scorer": scorer.name, "dtype": dtype}
        return cls.load(folder, scorer)

    @classmethod
    def load(cls, folder: str | Path, scorer: TokenInteraction | None = None) -> TokenTable:
        """Open a table that :meth:`build` kept.

        Raises
        ------
        FormatError, IntegrityError, ParameterError
            If the folder holds something else; if a file is missing or damaged; if it holds no
            table, or another scorer made it.
        """
        artifact = KIND.read(checked_path("folder", folder, "TokenTable.load"))
        scorer = scorer or TokenInteraction()
        made_by = artifact.config.get("scorer")
        if made_by != scorer.name:
            want = f"the scorer that made the table, {made_by}"
            raise ParameterError.of("scorer", "TokenTable.load", want, scorer.name)
        with artifact.decoding():
            digests = artifact.array("digests.npy", "|V16")
            starts = artifact.loaded_array("starts.npy", "<i8", (len(digests) + 1,))
            tokens = artifact.array("tokens.npy", None, (int(starts[-1]), scorer.n_dims))
            scales = artifact.array("scales.npy", "<f4", (len(tokens),))
            if starts[0] != 0 or (starts[1:] < starts[:-1]).any() or tokens.dtype not in DTYPES:
                raise artifact.damaged(artifact.path("starts.npy").name, "its tokens are no rows")
        arrays = {"tokens": tokens, "scales": scales, "starts": starts, "digests": digests}
        return cls(scorer, arrays)

    @property
    def n_bytes(self) -> int:
        """Size of the arrays."""
        return sum(a.nbytes for a in (self._tokens, self._scales, self._starts, self._digests))

    def __len__(self) -> int:
        return len(self._digests)

    def __repr__(self) -> str:
        size = f"{self.n_bytes / 1e6:.1f} MB, {self._tokens.dtype}"
        return f"TokenTable({len(self):,} texts, {len(self._tokens):,} tokens, {size})"

    def scores_against_all(self, query: str) -> NDArray[np.float32]:
        """Score a query against every text of the table: (N,) float32, in the table's order.

        Notes
        -----
        Cost: one forward for the query, and 2 n_q S D FLOPs for its n_q tokens.
        """
        with self.timing(len(self)), one_blas_thread():
            query_tokens = self.scorer.token_vectors([query])[0]
            scores = np.zeros(len(self), np.float32)
            known = np.flatnonzero(np.diff(self._starts))
            if len(query_tokens) and len(known):
                cosines = self._cosines(query_tokens)  # (n_q, S)
                starts, weighting = self._starts[known], self.scorer.weighting
                if weighting is None:
                    scores[known] = np.maximum.reduceat(cosines, starts, axis=1).mean(axis=0)
                else:
                    norms = self._norms[known]
                    scores[known] = weighting.scores_of_all(query_tokens, cosines, starts, norms)
        return scores

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs: (B,) float32; texts that are not in the table are encoded."""
        pairs = checked_pairs("pairs", pairs, "TokenTable.predict")
        scores = np.zeros(len(pairs), np.float32)
        with self.timing(len(pairs)), one_blas_thread():
            rows = [self._rows.get(_digest(text), -1) for _, text in pairs]
            strangers = [i for i, row in enumerate(rows) if row < 0]
            if strangers:
                scores[strangers] = self.scorer.predict([pairs[i] for i in strangers])
            kept = [i for i, row in enumerate(rows) if row >= 0]
            queries = list(dict.fromkeys(pairs[i][0] for i in kept))
            vectors = self._latest  # in rounds the same query comes again and again
            if queries != list(vectors):
                vectors = dict(zip(queries, self.scorer.token_vectors(queries), strict=True))
                self._latest = vectors if len(queries) == 1 else {}
            for i in kept:
                text_tokens = self._floats(*self._starts[rows[i] : rows[i] + 2])
                scores[i] = self.scorer.scores([vectors[pairs[i][0]]], text_tokens)[0]
        return scores

    def _cosines(self, query_tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        cosines = np.empty((len(query_tokens), len(self._tokens)), np.float32)

        def multiply(_: int, first: int, last: int) -> None:
            for start in range(first, last, _TOKENS_PER_STEP):
                stop = min(start + _TOKENS_PER_STEP, last)
                tokens = self._tokens[start:stop].astype(np.float32)
                np.matmul(query_tokens, tokens.T, out=cosines[:, start:stop])

        KernelPool(n_cores()).run(multiply, len(self._tokens))
        cosines *= self._scales  # after the product: S numbers instead of S D
        return cosines

    @cached_property
    def _norms(self) -> NDArray[np.float32]:
        """Lengths of the sums of each text's vectors (N,)."""
        ends = zip(self._starts[:-1], self._starts[1:], strict=True)
        sums = [self._floats(start, stop).sum(axis=0) for start, stop in ends]
        norms: NDArray[np.float32] = np.linalg.norm(np.reshape(sums, (len(self), -1)), axis=1)
        return norms

    def _floats(self, start: int, stop: int) -> NDArray[np.float32]:
        tokens = self._tokens[start:stop].astype(np.float32)
        scaled: NDArray[np.float32] = tokens * self._scales[start:stop, None]
        return scaled


def table_bytes(texts: Sequence[str], scorer: TokenInteraction, dtype: str = "int8") -> int:
    """Size of a table in bytes, from a tokeniser's pass alone (no forward)."""
    n_tokens = int(scorer.encoder.count_tokens(texts).sum())
    return n_tokens * (scorer.n_dims * np.dtype(dtype).itemsize + 4) + len(texts) * 24 + 8


def _encode(
    texts: Sequence[str], scorer: TokenInteraction, dtype: str, file: BinaryIO | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of a table; the tokens go to a file where there is one, in any order of texts."""
    starts = np.concatenate([[0], np.cumsum(scorer.encoder.count_tokens(texts))]).astype(np.int64)
    shape = (int(starts[-1]), scorer.n_dims)
    scales = np.ones(shape[0], np.float32)
    digests = np.array([np.void(_digest(text)) for text in texts], "V16")
    arrays: dict[str, NDArray[Any]] = {"scales": scales, "starts": starts, "digests": digests}
    if file is None:
        arrays["tokens"] = np.empty(shape, dtype)
    else:
        write_npy_header(file, dtype, shape)
        first, row_bytes = file.tell(), shape[1] * np.dtype(dtype).itemsize
    for row, vectors in scorer.encoder.encode(texts):
        part = slice(starts[row], starts[row + 1])
        if dtype == "int8":
            largest = np.abs(vectors).max(axis=1, initial=1e-12)
            scales[part] = largest / 127
            vectors = np.rint(vectors / scales[part, None])
        if file is None:
            arrays["tokens"][part] = vectors
        else:
            file.seek(first + row_bytes * int(part.start))
            file.write(vectors.astype(dtype).tobytes())
    return arrays


def _digest(text: str) -> bytes:
    return bytes.fromhex(digest(text))
