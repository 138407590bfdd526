"""Which encoder and scorer an index has: chosen once, loaded when they are first needed.

MiniLM reads English. Where it does not know the writing of the texts the index takes lexical
vectors, and no scorer, until the user names models that fit; it says so. An encoder that was fitted
to the texts, and a copy of word vectors that were trained elsewhere, lie in the folder of the
index.
"""

from __future__ import annotations

import shutil
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shoestring.encoders import (
    AUTO,
    FIT_SAMPLE,
    LSA,
    MINILM,
    WORDS,
    CodeEncoder,
    fit_encoder,
    is_kept,
    is_lexical,
    open_encoder,
)
from shoestring.errors import IntegrityError, ShoestringWarning, StorageError
from shoestring.match.scorer import load_scorer, scorer_name
from shoestring.match.weighting import DEFAULT
from shoestring.models import LsaEncoder, why_not_minilm
from shoestring.search import tables
from shoestring.search.intake import named
from shoestring.search.store import RecordStore
from shoestring.text import tokenize
from shoestring.types import PairScorer
from shoestring.words.text_codes import TextCodes

KEPT = "encoder"  # in the index: an encoder that was fitted to its texts or copied
N_COMPONENTS = 128  # of LSA


class IndexEncoder(Protocol):
    """Turns texts into the rows that an index stores."""

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        """Rows as :mod:`~.mapped` takes them: float32 (N, D), or packed bits uint8 (N, D / 8)."""
        ...


def settle_models(texts: Sequence[str], encoder: str, scorer: str) -> tuple[str, str]:
    """Replace "auto" by what fits the texts: the names of the encoder and of the scorer.

    Parameters
    ----------
    texts : sequence of str
        A sample.
    encoder, scorer : str
        A name or "auto".

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
    default_encoder, default_scorer = (LSA, "") if reason else (MINILM, DEFAULT)
    return (
        default_encoder if encoder == AUTO else encoder,
        default_scorer if scorer == AUTO else scorer,
    )


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
            f"{_excerpts(blank)}. BM25 finds them by words that they share with a query; without "
            "any a query finds them where it pays the scorer for them. Name word vectors trained "
            "on such text, or another encoder, or leave them out."
        )
    return (
        f"{len(blank)} of {n_texts} new texts without a letter or digit: "
        f"{_excerpts(blank)}. Lexical vectors and BM25 know nothing of them; a query finds "
        "them where it pays the scorer for them. Name an encoder that reads them, or leave "
        "them out."
    )


def _excerpts(texts: Sequence[str]) -> list[str]:
    """How the first few texts begin, and how many more there are: to be named in a message."""
    return named([text[:40] for text in texts])


def has_lexical_vectors(store: RecordStore) -> bool:
    """Whether the vectors of an index are made of words alone: its encoder is in its folder."""
    return store.settings["encoder"] in (LSA, WORDS) or (store.path / KEPT).exists()


class Models:
    """The encoder and the scorer of one index.

    Parameters
    ----------
    store : RecordStore
        Its settings name them.
    given : PairScorer or None
        A scorer that the user passed as an object; it goes before the settings.

    Attributes
    ----------
    lock : RLock
        Held while a model loads or works: it is asked by one thread at a time.
    """

    def __init__(self, store: RecordStore, given: PairScorer | None) -> None:
        self.lock = threading.RLock()
        self._store, self._given = store, given
        self._encoder: IndexEncoder | None = None
        self._scorer: PairScorer | None = None

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._store.path

    @property
    def encoder(self) -> IndexEncoder:
        """What makes the vectors."""
        with self.lock:
            if self._encoder is None:
                self._encoder = self._opened()
            return self._encoder

    @property
    def _kept(self) -> Path:
        return self.path / KEPT

    def _opened(self) -> IndexEncoder:
        name = self._store.settings["encoder"]
        kept = self._kept if self.is_lexical else None
        encoder = open_encoder(name, kept)
        return encoder.codes if isinstance(encoder, CodeEncoder) else encoder

    @property
    def is_lexical(self) -> bool:
        """Whether the vectors are made of words alone."""
        return has_lexical_vectors(self._store)

    @property
    def scorer(self) -> PairScorer | None:
        """Who scores pairs, or None."""
        if self._given is not None:
            return self._given
        with self.lock:
            spec = self._store.settings["scorer"]
            if self._scorer is None and spec not in ("", AUTO):
                self._scorer = tables.with_table(self._store, load_scorer(spec))
            return self._scorer

    @property
    def scorer_name(self) -> str:
        """The key of the scores paid for."""
        scorer = self.scorer
        if scorer is not None:
            return scorer_name(scorer)
        return str(self._store.settings.get("scorer_name", ""))

    def name_others(self, encoder: str, scorer: str) -> None:
        """Take other models than before, "auto" for the same; vectors of another kind go."""
        settings, named = self._store.settings, {"encoder": encoder, "scorer": scorer}
        same = {name: (AUTO, settings[name]) for name in named}
        changes = {name: spec for name, spec in named.items() if spec not in same[name]}
        with self._store.writing():
            if "encoder" in changes:  # first: a killed process leaves nothing that misfits
                shutil.rmtree(self._kept, ignore_errors=True)
                self._store.discard_arrays()
            if changes:
                self._store.update_settings(**changes)
                self._encoder = self._scorer = None

    def settle(self, seed: int) -> None:
        """Choose the models that were left open, and fit or copy a lexical encoder, once."""
        settings = self._store.settings
        encoder, scorer = settings["encoder"], settings["scorer"]
        is_ready = self._kept.exists() or not is_kept(encoder)
        if AUTO not in (encoder, scorer) and is_ready:
            return
        with self._store.snapshot() as snapshot:
            keys = np.concatenate([snapshot.keys, snapshot.pending_keys])
            sample = np.sort(np.random.default_rng(seed).permutation(keys)[:FIT_SAMPLE])
            texts = snapshot.texts(sample)
        if len(snapshot.keys):
            self._store.discard_arrays()  # vectors of another fit
        encoder, scorer = settle_models(texts, encoder, scorer)
        width = max(1, min(N_COMPONENTS, len(texts) - 1))
        fitted = fit_encoder(encoder, texts, owner="SearchIndex.build", n_components=width)
        if is_lexical(fitted):
            fitted.save(self._kept)  # type: ignore[attr-defined]
        self._encoder = self._opened()
        self._store.update_settings(encoder=encoder, scorer=scorer)

    def keep_tokens(self, *, progress: bool) -> None:
        """Keep the texts' token vectors where the index was asked to."""
        if self._store.settings.get("token_table"):
            tables.build_table(self._store, self.scorer, progress=progress)
            self._scorer = None  # loaded again with the table

    def restore(self) -> None:
        """Throw what is damaged away: it is computed again from the records and the ledger."""
        try:
            self._store.snapshot().close()
        except IntegrityError:
            self._store.discard_arrays()
        if self.is_lexical:
            try:
                self._opened()
            except (IntegrityError, StorageError):  # fitted again to the records
                shutil.rmtree(self._kept, ignore_errors=True)
