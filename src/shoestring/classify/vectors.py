"""What turns texts into vectors to classify: MiniLM, TF-IDF, word codes, any local model.

MiniLM reads English; where it does not know the writing of the texts TF-IDF is taken, reduced by
SVD (:class:`shoestring.text.LsaEncoder`). It is fitted to the first texts and does not change then,
so that what is learnt later is in the same space.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.models import LsaEncoder, SentenceEncoder, why_not_minilm
from shoestring.text.tokens import tokenize
from shoestring.types import TextEncoder
from shoestring.words.text_codes import TextCodes

AUTO, MINILM, TFIDF, WORDS = "auto", "minilm", "tfidf", "words:"
N_COMPONENTS = 384
PROBES = ("red shoes", "红色 的 鞋", "how do I reset my password?", "a, b; c 1 2 3")
FIT_SAMPLE = 100_000  # texts that TF-IDF is fitted to at the most


class CodeVectors:
    """Codes of texts as vectors of 0 and 1 over the square root of the active bits."""

    def __init__(self, codes: TextCodes) -> None:
        self.codes = codes

    @property
    def n_dims(self) -> int:
        """K."""
        return self.codes.n_dims

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, K) of unit length; zero where no word is known."""
        bits = self.codes.table.unpacked(self.codes.encode(texts)).astype(np.float32)
        return bits / np.float32(np.sqrt(self.codes.n_active))


@dataclass(frozen=True, slots=True)
class Chosen:
    """An encoder, what it is called, and how it is kept with the classifier.

    Parameters
    ----------
    name : str
        "minilm", "tfidf", "words", or a folder; "given" if it came as an object.
    encoder : TextEncoder
    save : callable or None
        Writes to a folder what was fitted or copied; None where it lies elsewhere.
    """

    name: str
    encoder: TextEncoder
    save: Callable[[Path], Any] | None


def choose(vectors: str | TextEncoder, texts: Sequence[str], seed: int = 0) -> Chosen:
    """The encoder of a new classifier.

    Parameters
    ----------
    vectors : str or TextEncoder
        "auto", "minilm", "tfidf", "words:DIR", a model folder, or an object that encodes.
    texts : sequence of str
        What it will learn first.
    seed : int
        Of the SVD.

    Raises
    ------
    ParameterError
        If there is no such thing, or no word in the texts.
    """
    if not isinstance(vectors, str):
        return Chosen("given", vectors, None)
    if vectors == AUTO:
        vectors = _fitting(texts)
    if vectors == TFIDF:
        if not any(map(tokenize, texts)):
            raise ParameterError.of(
                "texts", "TextClassifier.fit", "texts with a letter or digit in one of them",
                list(texts[:3]), "Name other vectors: minilm, or a local model folder.",
            )  # fmt: skip
        sample = list(texts)
        if len(sample) > FIT_SAMPLE:
            order = np.random.default_rng(seed).permutation(len(sample))[:FIT_SAMPLE]
            sample = [sample[i] for i in np.sort(order)]
        lsa = LsaEncoder(N_COMPONENTS, random_state=seed).fit(sample)
        return Chosen(TFIDF, lsa, lsa.save)
    if vectors.startswith(WORDS):
        codes = TextCodes.load(vectors.removeprefix(WORDS))
        return Chosen("words", CodeVectors(codes), codes.save)
    if vectors == MINILM:
        return Chosen(vectors, SentenceEncoder(), None)
    folder = Path(vectors)
    if not folder.is_dir():
        want = 'an encoder, "auto", "minilm", "tfidf", "words:DIR" or a local model folder'
        raise ParameterError.of("vectors", "TextClassifier", want, vectors)
    return Chosen(str(folder.resolve()), SentenceEncoder(folder), None)


def same(a: TextEncoder, b: TextEncoder) -> bool:
    """Whether two encoders give the same vectors."""
    if a is b:
        return True
    if isinstance(a, LsaEncoder) and isinstance(b, LsaEncoder):
        return a.vocabulary_ == b.vocabulary_ and all(
            np.array_equal(getattr(a, name), getattr(b, name)) for name in ("idf_", "components_")
        )
    if isinstance(a, CodeVectors) and isinstance(b, CodeVectors):
        ours, theirs = a.codes.table, b.codes.table
        return ours.words == theirs.words and np.array_equal(ours.codes, theirs.codes)
    if isinstance(a, SentenceEncoder) and isinstance(b, SentenceEncoder):
        return a.folder.resolve() == b.folder.resolve()
    rows, others = (np.asarray(encoder.encode(PROBES)) for encoder in (a, b))
    alike = rows.shape == others.shape and np.allclose(rows, others, atol=1e-6)
    return type(a) is type(b) and alike and bool(rows.any())


def opened(name: str, folder: Path | None, given: TextEncoder | None) -> TextEncoder:
    """The encoder of a saved classifier."""
    if given is not None:
        return given
    if name == "given":
        raise ParameterError(
            "This classifier was fitted with an encoder of your own, which the command line cannot "
            "open. In Python: TextClassifier.load(folder, encoder=...)."
        )
    if folder is None:
        return SentenceEncoder(None if name == MINILM else name)
    return LsaEncoder.load(folder) if name == TFIDF else CodeVectors(TextCodes.load(folder))


def _fitting(texts: Sequence[str]) -> str:
    """What fits the texts, and why not MiniLM."""
    reason = why_not_minilm(texts)
    if not reason:
        return MINILM
    warnings.warn(
        f"{reason} TF-IDF vectors are used; name others if you have some (vectors=..., "
        "--vectors): a local model folder, words:DIR.",
        ShoestringWarning,
        stacklevel=4,
    )
    return TFIDF
