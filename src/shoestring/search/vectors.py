"""Which vectors an index has: MiniLM, any local model folder, lexical ones (LSA), word codes.

MiniLM reads English. Where it does not know the writing of the texts the index takes lexical
vectors, and no scorer, until the user names models that fit; it says so.

What was fitted to the texts lies in the folder of the index, and so does a copy of word vectors
that the user trained elsewhere: codes of other vectors would mean something else. Model folders are
read where they are.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import (
    FormatError,
    IntegrityError,
    ParameterError,
    ShoestringWarning,
)
from shoestring.match.weighting import DEFAULT
from shoestring.models import LsaEncoder, SentenceEncoder, why_not_minilm
from shoestring.search.arrays import REBUILD
from shoestring.search.intake import named
from shoestring.text import tokenize
from shoestring.words.saving import is_saved
from shoestring.words.text_codes import TextCodes

MINILM, LEXICAL, WORDS, AUTO = "minilm", "lsa", "words", "auto"
FOLDER, CODES_FOLDER = "encoder", "encoder-words"  # in the index: LSA's, word vectors


class IndexEncoder(Protocol):
    """Turns texts into the rows that an index stores."""

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        """Rows as :mod:`~.mapped` takes them: float32 (N, D), or packed bits uint8 (N, D / 8)."""
        ...


def settle_models(texts: Sequence[str], encoder: str, scorer: str) -> tuple[str, str]:
    """Replace "auto" by what fits the texts: the specs of the encoder and of the scorer.

    Parameters
    ----------
    texts : sequence of str
        A sample.
    encoder, scorer : str
        A spec or "auto".

    Returns
    -------
    encoder : str
        "minilm", "lsa", "words" or a folder.
    scorer : str
        "minilm-weighted", what was named, or "" for none.
    """
    if AUTO not in (encoder, scorer):
        return encoder, scorer
    reason = why_not_minilm(texts)
    if reason:
        warnings.warn(
            f"{reason} The index uses lexical features (BM25 and LSA) where no model was named. "
            "Name a scorer and an encoder that fit: scorer=..., encoder=... (a local folder).",
            ShoestringWarning,
            stacklevel=3,
        )
    default_encoder, default_scorer = (LEXICAL, "") if reason else (MINILM, DEFAULT)
    return (
        default_encoder if encoder == AUTO else encoder,
        default_scorer if scorer == AUTO else scorer,
    )


def excerpts(texts: Sequence[str]) -> list[str]:
    """How the first few texts begin, and how many more there are: to be named in a message."""
    return named([text[:40] for text in texts])


def make_encoder(spec: str, index: Path) -> IndexEncoder:
    """The encoder of an index, as settled when it was built."""
    if spec == LEXICAL:
        return LsaEncoder.load(index / FOLDER)
    codes = index / CODES_FOLDER
    if spec == WORDS or codes.exists():
        if not is_saved(codes):
            raise IntegrityError(f"{codes} is missing or damaged. {REBUILD}")
        return TextCodes.load(codes)
    return SentenceEncoder(None if spec == MINILM else spec)


def is_lexical(spec: str, index: Path) -> bool:
    """Whether the vectors of an index are made of words alone: its encoder is in its folder."""
    return spec in (LEXICAL, WORDS) or (index / CODES_FOLDER).exists()


def is_fitted(spec: str, index: Path) -> bool:
    """Whether an encoder that has to lie in the folder of the index does."""
    if spec == LEXICAL:
        return (index / FOLDER).exists()
    return not _is_of_words(spec) or is_saved(index / CODES_FOLDER)


def forget_fitted(index: Path) -> None:
    """Remove the encoders in the folder of the index."""
    for name in (FOLDER, CODES_FOLDER):
        shutil.rmtree(index / name, ignore_errors=True)


def _is_of_words(spec: str) -> bool:
    return spec == WORDS or is_saved(Path(spec))


def fit_encoder(spec: str, index: Path, texts: Sequence[str]) -> IndexEncoder:
    """The encoder of a new index; a lexical one is fitted to its texts and kept in its folder.

    Word vectors of the user are copied there.

    Raises
    ------
    ParameterError
        If there is nothing in the texts that a lexical encoder could be fitted to, or word vectors
        were saved without activations; nothing is written.
    """
    if spec == LEXICAL:
        if not any(map(tokenize, texts)):
            raise ParameterError.of(
                "records",
                "SearchIndex.build",
                "texts with a letter or digit in one of them at least, as lexical vectors "
                "(encoder 'lsa') are made of words",
                excerpts(texts),
                "Name an encoder that reads them, encoder=... (--encoder): a local model folder.",
            )
        n_components = max(1, min(128, len(texts) - 1))
        LsaEncoder(n_components).fit(list(texts)).save(index / FOLDER)
    elif spec == WORDS:
        _fit_codes(texts).save(index / CODES_FOLDER)
    elif _is_of_words(spec):
        TextCodes.load(spec).save(index / CODES_FOLDER)
    return make_encoder(spec, index)


def _fit_codes(texts: Sequence[str]) -> TextCodes:
    try:
        return TextCodes.fit(texts)
    except (ParameterError, FormatError) as error:
        raise ParameterError.of(
            "records",
            "SearchIndex.build",
            "some dozen texts with sentences of three words or more, as word codes (encoder "
            "'words') are learnt from words that stand together",
            excerpts(texts),
            "Name encoder='lsa' (--first-stage lsa), or the folder of word vectors trained on "
            "more text.",
        ) from error


def unread(encoder: IndexEncoder, texts: Sequence[str], rows: NDArray[Any]) -> list[str]:
    """The texts that a lexical encoder has nothing for, as the user should be told.

    LSA knows every word of its own texts; one of an added text that it does not know is found by
    BM25 as well as ever. Word codes may be of another language altogether.
    """
    if not isinstance(encoder, LsaEncoder | TextCodes):
        return []
    blank = [texts[int(i)] for i in np.flatnonzero(~rows.any(axis=1))]
    return blank if isinstance(encoder, TextCodes) else [t for t in blank if not tokenize(t)]


def unread_note(encoder: IndexEncoder, blank: Sequence[str], n_texts: int) -> str:
    """What to say of the texts that :func:`unread` found among so many."""
    if isinstance(encoder, TextCodes):
        return (
            f"{len(blank)} of {n_texts} new texts without a word that the word codes know: "
            f"{excerpts(blank)}. BM25 finds them by words that they share with a query; without "
            "any a query finds them where it pays the scorer for them. Name word vectors trained "
            "on such text, or another encoder, or leave them out."
        )
    return (
        f"{len(blank)} of {n_texts} new texts without a letter or digit: "
        f"{excerpts(blank)}. Lexical vectors and BM25 know nothing of them; a query finds "
        "them where it pays the scorer for them. Name an encoder that reads them, or leave "
        "them out."
    )
