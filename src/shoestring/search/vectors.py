"""Which vectors an index has: MiniLM, any local model folder, or lexical ones (LSA).

MiniLM reads English. Where it does not know the writing of the texts the index takes lexical
vectors, and no scorer, until the user names models that fit; it says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from shoestring.errors import MissingExtraError, ShoestringWarning
from shoestring.text import LsaEncoder, SentenceEncoder, unknown_share
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


def make_encoder(spec: str, index: Path) -> TextEncoder:
    """The encoder of an index, as settled when it was built."""
    if spec == LEXICAL:
        return LsaEncoder.load(index / FOLDER)
    return SentenceEncoder(None if spec == MINILM else spec)


def fit_encoder(spec: str, index: Path, texts: Sequence[str]) -> TextEncoder:
    """The encoder of a new index; a lexical one is fitted to its texts and kept in its folder."""
    if spec == LEXICAL:
        n_components = max(1, min(128, len(texts) - 1))
        LsaEncoder(n_components).fit(list(texts)).save(index / FOLDER)
    return make_encoder(spec, index)
