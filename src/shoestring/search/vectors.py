"""Which vectors an index has: MiniLM, any local model folder, or lexical ones (LSA).

MiniLM reads English. Where it does not know the writing of the texts the index takes lexical
vectors, and no scorer, until the user names models that fit; it says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from shoestring.errors import MissingExtraError, ParameterError, ShoestringWarning
from shoestring.search.intake import named
from shoestring.text import LsaEncoder, SentenceEncoder, tokenize, unknown_share
from shoestring.types import TextEncoder

MINILM, LEXICAL, AUTO = "minilm", "lsa", "auto"
MAX_UNKNOWN = 0.1  # share of pieces that MiniLM may not know
FOLDER = "encoder"


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
        "minilm", "lsa" or a folder.
    scorer : str
        "minilm", a folder, or "" for none.
    """
    if AUTO not in (encoder, scorer):
        return encoder, scorer
    reason = _why_not_minilm(texts)
    if reason:
        warnings.warn(
            f"{reason} The index uses lexical features (BM25 and LSA) where no model was named. "
            "Name a scorer and an encoder that fit: scorer=..., encoder=... (a local folder).",
            ShoestringWarning,
            stacklevel=3,
        )
    default_encoder, default_scorer = (LEXICAL, "") if reason else (MINILM, MINILM)
    return (
        default_encoder if encoder == AUTO else encoder,
        default_scorer if scorer == AUTO else scorer,
    )


def _why_not_minilm(texts: Sequence[str]) -> str:
    try:
        share = unknown_share(texts)
    except MissingExtraError as error:
        return f"{error}."
    return f"MiniLM does not know {share:.0%} of these texts." if share > MAX_UNKNOWN else ""


def excerpts(texts: Sequence[str]) -> list[str]:
    """How the first few texts begin, and how many more there are: to be named in a message."""
    return named([text[:40] for text in texts])


def make_encoder(spec: str, index: Path) -> TextEncoder:
    """The encoder of an index, as settled when it was built."""
    if spec == LEXICAL:
        return LsaEncoder.load(index / FOLDER)
    return SentenceEncoder(None if spec == MINILM else spec)


def fit_encoder(spec: str, index: Path, texts: Sequence[str]) -> TextEncoder:
    """The encoder of a new index; a lexical one is fitted to its texts and kept in its folder.

    Raises
    ------
    ParameterError
        If no text has a token that a lexical encoder could be fitted to; nothing is written.
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
    return make_encoder(spec, index)
