"""Lexical sentence vectors for any language: latent semantic analysis of our tokens.

Deerwester et al. (1990), as scikit-learn has it: TF-IDF (sublinear term counts, smooth idf, unit
rows) of :func:`~shoestring.text.tokens.tokenize`, then the leading right singular vectors, then
rows of unit length. N texts, V terms, D components.

Fitting is scikit-learn's; encoding is ours, since importing scikit-learn takes longer than a query.
The components are multiples of 1 / 32,767, two bytes each on disk: it moves vectors by some 1e-5.

Not covered: adding texts to a fitted encoder (unknown tokens are ignored; fit again).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import ArtifactKind
from shoestring.checks import checked_int, checked_path, checked_seed, checked_texts
from shoestring.errors import NotFittedError, ParameterError
from shoestring.estimator import TextTransformer
from shoestring.models.token_encoder import unit_rows
from shoestring.text.tokens import tokenize

KIND = ArtifactKind(
    format="shoestring-lsa",
    what="a saved LsaEncoder",
    owner="LsaEncoder.save",
    remedy="Fit the encoder again and save it.",
)
MAX_TERMS = 200_000
MAX_NUMBERS = 384 << 14  # of the components, 12 MB; more terms gain 0.3 points of accuracy at most
STEPS = (1 << 15) - 1  # from 0 to 1, the largest that a component can be
RANK_TOLERANCE = 1e-4  # of the largest singular value: components below are rounding


class LsaEncoder(TextTransformer):
    """TF-IDF and truncated SVD over our tokens, scikit-learn shaped.

    Parameters
    ----------
    n_components : int
        Width D; less where there are fewer texts that differ, or fewer terms.
    random_state : int
        Seed of the randomised SVD: the same seed and texts give the same vectors.

    Attributes
    ----------
    vocabulary_ : dict of str to int
        Terms to columns: the most frequent V, at most :data:`MAX_TERMS`, and :data:`MAX_NUMBERS`
        over D.
    idf_ : ndarray of float32 (V,)
    components_ : ndarray of float32 (D, V)

    Examples
    --------
    >>> encoder = LsaEncoder(n_components=2).fit(["红色 的 鞋", "红鞋", "blue hat", "a blue cap"])
    >>> red, blue, nothing = encoder.encode(["红", "blue", "?"])
    >>> abs(float(red @ blue)) < 1e-3, float(abs(nothing).sum())
    (True, 0.0)
    """

    def __init__(self, n_components: int = 128, *, random_state: int = 0) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, texts: Sequence[str], y: object = None) -> Self:
        """Fit the vocabulary, the term weights and the components.

        Parameters
        ----------
        texts : sequence of str (N,)
            In any language.
        y : object
            Ignored; scikit-learn's pipelines pass it.

        Raises
        ------
        ParameterError
            If a parameter is out of range or no term is left.

        Notes
        -----
        Cost: about 15 seconds of one core for 100,000 texts of 12 words, under 600 MB.
        """
        width = checked_int("n_components", self.n_components, 1, None, "LsaEncoder")
        seed = checked_seed("random_state", self.random_state, "LsaEncoder") % (1 << 32)
        texts = checked_texts("texts", texts, "LsaEncoder.fit")
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.utils.extmath import randomized_svd

        most = min(width, max(len(texts), 1))  # components
        n_terms = min(MAX_TERMS, max(most, MAX_NUMBERS // most))
        settings = {"max_features": n_terms, "sublinear_tf": True, "dtype": np.float32}
        tfidf = TfidfVectorizer(analyzer=tokenize, **settings)
        try:
            counts = tfidf.fit_transform(texts)
        except ValueError as error:  # "empty vocabulary"
            raise ParameterError(
                f"LsaEncoder.fit found no term in {len(texts)} texts. Pass texts with words."
            ) from error
        n_components = min(width, *counts.shape)
        _, values, rows = randomized_svd(counts, n_components, n_iter=5, random_state=seed)
        components = rows[values > RANK_TOLERANCE * values[0]]
        self.vocabulary_ = {term: int(column) for term, column in tfidf.vocabulary_.items()}
        self.idf_ = tfidf.idf_.astype(np.float32)
        self.components_ = _of_steps(np.rint(components.T * STEPS))
        return self

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length; zero where a text has no known term."""
        n_dims, texts = self.n_dims, checked_texts("texts", texts, "LsaEncoder")
        vectors = np.zeros((len(texts), n_dims), dtype=np.float32)
        column_of, of_term = self.vocabulary_.get, self.components_.T
        for vector, text in zip(vectors, texts, strict=True):
            columns = [c for c in map(column_of, tokenize(text)) if c is not None]
            if not columns:
                continue
            terms, counts = np.unique(columns, return_counts=True)
            weights = (1 + np.log(counts, dtype=np.float32)) * self.idf_[terms]
            vector[:] = (weights / np.linalg.norm(weights)) @ of_term[terms]
        # A text whose terms all lie outside the kept components is noise of rounding: zero too.
        vectors[np.linalg.norm(vectors, axis=1) <= 1e-6] = 0
        return unit_rows(vectors)

    transform = encode  # the name of scikit-learn's pipelines

    @property
    def n_dims(self) -> int:
        """Width D of the vectors."""
        if not hasattr(self, "components_"):
            raise NotFittedError("This LsaEncoder is not fitted yet. Call fit(texts) first.")
        return int(self.components_.shape[0])

    def save(self, folder: str | Path) -> None:
        """Write the encoder to a folder that is new, empty, or of a saved LsaEncoder.

        Raises
        ------
        NotFittedError, ParameterError, StorageError
            If it is not fitted; if the folder holds other files; if the disk is full or read-only.
        """
        n_dims = self.n_dims
        terms = sorted(self.vocabulary_, key=self.vocabulary_.__getitem__)
        with KIND.saving(checked_path("folder", folder, "LsaEncoder.save")) as writer:
            writer.strings("vocabulary.json", terms)
            writer.array("idf.npy", self.idf_)
            writer.array("components.npy", np.rint(self.components_.T * STEPS).astype(np.int16))
            writer.config |= {"n_dims": n_dims, **self.get_params()}

    @classmethod
    def load(cls, folder: str | Path) -> LsaEncoder:
        """Read an encoder that :meth:`save` wrote.

        Raises
        ------
        ParameterError, FormatError, IntegrityError, StorageError
            If the folder has no encoder; if it is of another kind or format version; if a file is
            damaged or missing; if it cannot be read.
        """
        artifact = KIND.read(checked_path("folder", folder, "LsaEncoder.load"))
        with artifact.decoding():
            encoder = cls(**{name: artifact.config[name] for name in cls().get_params()})
            terms = artifact.strings("vocabulary.json")
            encoder.vocabulary_ = {term: column for column, term in enumerate(terms)}
            shape = (len(terms), int(artifact.config["n_dims"]))
        encoder.idf_ = artifact.loaded_array("idf.npy", "<f4", shape[:1])
        steps = artifact.loaded_array("components.npy", "<i2", shape)
        encoder.components_ = _of_steps(steps)
        if not np.isfinite(encoder.idf_).all():
            raise artifact.damaged(artifact.path("idf.npy"), "it has no finite numbers")
        return encoder


def _of_steps(steps: NDArray[Any]) -> NDArray[np.float32]:
    """Components (D, V) from numbers of steps (V, D), each term's next to each other."""
    return (steps.astype(np.float32) / np.float32(STEPS)).T
