"""Which encoder and scorer an index has: chosen once, loaded when they are first needed."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from shoestring.errors import IntegrityError, StorageError
from shoestring.match.scorer import load_scorer, scorer_name
from shoestring.search import tables, vectors
from shoestring.search.store import RecordStore
from shoestring.types import PairScorer

FIT_SAMPLE = 100_000  # texts that a lexical encoder is fitted to at the most


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
        self._encoder: vectors.IndexEncoder | None = None
        self._scorer: PairScorer | None = None

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._store.path

    @property
    def encoder(self) -> vectors.IndexEncoder:
        """What makes the vectors."""
        with self.lock:
            if self._encoder is None:
                self._encoder = vectors.make_encoder(self._store.settings["encoder"], self.path)
            return self._encoder

    @property
    def is_lexical(self) -> bool:
        """Whether the vectors are made of words alone."""
        return vectors.is_lexical(self._store.settings["encoder"], self.path)

    @property
    def scorer(self) -> PairScorer | None:
        """Who scores pairs, or None."""
        if self._given is not None:
            return self._given
        with self.lock:
            spec = self._store.settings["scorer"]
            if self._scorer is None and spec not in ("", vectors.AUTO):
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
        same = {name: (vectors.AUTO, settings[name]) for name in named}
        changes = {name: spec for name, spec in named.items() if spec not in same[name]}
        with self._store.writing():
            if "encoder" in changes:  # first: a killed process leaves nothing that misfits
                vectors.forget_fitted(self.path)
                self._store.discard_arrays()
            if changes:
                self._store.update_settings(**changes)
                self._encoder = self._scorer = None

    def settle(self, seed: int) -> None:
        """Choose the models that were left open, and fit or copy a lexical encoder, once."""
        settings = self._store.settings
        encoder, scorer = settings["encoder"], settings["scorer"]
        if vectors.AUTO not in (encoder, scorer) and vectors.is_fitted(encoder, self.path):
            return
        with self._store.snapshot() as snapshot:
            keys = np.concatenate([snapshot.keys, snapshot.pending_keys])
            sample = np.sort(np.random.default_rng(seed).permutation(keys)[:FIT_SAMPLE])
            texts = snapshot.texts(sample)
        if len(snapshot.keys):
            self._store.discard_arrays()  # vectors of another fit
        encoder, scorer = vectors.settle_models(texts, encoder, scorer)
        self._encoder = vectors.fit_encoder(encoder, self.path, texts)
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
                vectors.make_encoder(self._store.settings["encoder"], self.path)
            except (IntegrityError, StorageError):  # fitted again to the records
                vectors.forget_fitted(self.path)
