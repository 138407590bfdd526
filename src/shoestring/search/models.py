"""Which encoder and scorer an index has: chosen once, loaded when they are first needed.

MiniLM reads English. Where it does not know the writing of the texts the index takes lexical
vectors, and no scorer, until the user names models that fit; it says so. An encoder that was fitted
to the texts, and a copy of word vectors that were trained elsewhere, lie in the folder of the
index.

Another process may give the index other models, or build another index in its place. So what is
loaded is kept with what the folder said of it, and loaded again when the folder says something
else. Whoever changes the encoder discards the vectors first: an encoder that is the same before
and after a snapshot is taken belongs to the snapshot's vectors.
"""

from __future__ import annotations

import os
import shutil
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import CONFIG
from shoestring.encoders import (
    AUTO,
    FIT_SAMPLE,
    LSA,
    MINILM,
    WORDS,
    fit_encoder,
    is_kept,
    is_lexical,
    open_encoder,
)
from shoestring.errors import IntegrityError, ShoestringWarning, StorageError
from shoestring.match.interaction import DEFAULT
from shoestring.match.scorer import load_scorer, scorer_name
from shoestring.models import why_not_minilm
from shoestring.models.backbone import are_unread, minilm_reads_most
from shoestring.search.score_cache import CachedScorer, ScoreCache
from shoestring.search.snapshot import Snapshot, View
from shoestring.search.store import RecordStore
from shoestring.text.records import text_digests
from shoestring.types import PairScorer, TextEncoder

Said: TypeAlias = tuple[str, bytes]
N_COMPONENTS = 128  # of LSA
ENCODE_STEP = 128  # texts


def default_models(texts: Sequence[str], encoder: str, scorer: str) -> tuple[str, str]:
    """Replace "auto" by what fits a sample of the texts; the scorer "" is none."""
    if AUTO not in (encoder, scorer):
        return encoder, scorer
    reason = why_not_minilm(texts)
    is_read = not reason or minilm_reads_most(texts)
    if reason:
        note = (
            "The index uses lexical features (BM25 and LSA) where no model was named. Name a "
            "scorer and an encoder that fit: scorer=..., encoder=... (a local folder)."
        )
        if is_read:
            note = (
                "Those that it does not know are found by their words (BM25), and a query in their "
                "writing costs no call. A model that reads all: scorer=..., encoder=..."
            )
        warnings.warn(f"{reason} {note}", ShoestringWarning, stacklevel=3)
    defaults = (MINILM, DEFAULT) if is_read else (LSA, "")
    encoder = defaults[0] if encoder == AUTO else encoder
    return encoder, defaults[1] if scorer == AUTO else scorer


class Models:
    """The encoder and the scorer of one index; each is used by one thread at a time."""

    def __init__(self, store: RecordStore, given: PairScorer | None) -> None:
        self._store = store  # whose settings name them
        self.given = given  # a scorer that the user passed as an object: before the settings
        # By process: in a forked child a lock may be held for ever, and a model has no threads.
        self._locks: dict[int, threading.RLock] = {}
        self._loaded: dict[tuple[int, str], tuple[Said, Any]] = {}  # and the setting that names it
        self._kept = store.path / "encoder"

    @property
    def lock(self) -> threading.RLock:
        """Held while a model loads or works."""
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def _said(self, name: str) -> Said:
        """What the index says of a model: its name, and the config of an encoder that it keeps."""
        if name == "encoder":
            with suppress(OSError):
                return self._store.settings[name], (self._kept / CONFIG).read_bytes()
        return self._store.settings[name], b""

    def _load(self, name: str, load: Callable[[str], Any]) -> Any:
        """A model as it was loaded before, unless the index says something else of it now."""
        with self.lock:
            said, key = self._said(name), (os.getpid(), name)
            if key not in self._loaded or self._loaded[key][0] != said:
                self._loaded[key] = said, load(said[0])
            return self._loaded[key][1]

    @property
    def encoder(self) -> TextEncoder:
        """What makes the vectors."""
        encoder: TextEncoder = self._load("encoder", self._open_encoder)
        return encoder

    def snapshot(self) -> Snapshot:
        """A snapshot with the encoder of its vectors, whatever other processes do meanwhile."""
        while True:
            before = self._said("encoder")
            with ExitStack() as stack:
                try:
                    snapshot = stack.enter_context(self._store.snapshot())
                    if snapshot.view.arrays:
                        snapshot.encoder = self.encoder
                except Exception:
                    if self._said("encoder") == before:
                        raise
                    continue
                if self._said("encoder") == before:
                    stack.pop_all()
                    return snapshot

    def _open_encoder(self, name: str) -> TextEncoder:
        return open_encoder(name, self._kept if self.is_lexical else None)

    @property
    def is_lexical(self) -> bool:
        """Whether the vectors are made of words alone: their encoder is in the index."""
        return self._store.settings["encoder"] in (LSA, WORDS) or self._kept.exists()

    @property
    def scorer(self) -> PairScorer | None:
        """What scores pairs, or None."""
        if self.given is not None:
            return self.given
        scorer: PairScorer | None = self._load(
            "scorer", lambda name: None if name in ("", AUTO) else load_scorer(name)
        )
        return scorer

    def hold(self, scorer: PairScorer | None) -> None:
        """Keep the scorer of a new index, which is loaded already."""
        if scorer is not None:
            self._loaded[os.getpid(), "scorer"] = self._said("scorer"), scorer

    @property
    def scorer_name(self) -> str:
        """The key of the scores paid for."""
        scorer = self.scorer
        if scorer is not None:
            return scorer_name(scorer)
        return str(self._store.settings.get("scorer_name", ""))

    def cached_scorer(
        self, snapshot: Snapshot, view: View, query: str, cache: ScoreCache, partial: bool = False
    ) -> CachedScorer:
        """What scores rows of a view with a query."""
        own = self.scorer, self.scorer_name, self.lock
        keys = view.row_keys
        return CachedScorer(*own, lambda rows: snapshot.texts(keys[rows]), query, cache, partial)

    def encode(self, texts: Sequence[str], encoder: TextEncoder | None = None) -> NDArray[Any]:
        """Rows as the index stores them: float32 (N, D), or packed bits uint8 (N, D / 8).

        They are of the encoder of a snapshot where one is given, else of that in force.
        """
        parts, encoder = [], self.encoder if encoder is None else encoder
        rows_of = getattr(encoder, "codes_of_texts", encoder.encode)
        for start in range(0, max(1, len(texts)), ENCODE_STEP):
            with self.lock:  # let go in between: a query waits for one part of a build at most
                parts.append(rows_of(texts[start : start + ENCODE_STEP]))
        vectors = np.concatenate(parts)
        if self._store.settings["encoder"] == MINILM and len(texts):
            vectors[are_unread(texts)] = 0.0  # what they have would be about unknown pieces alone
        return vectors

    def arrays_of(self, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The arrays of texts, as the store takes them."""
        return {"vectors": self.encode(texts), "digest": text_digests(texts)}

    def readable(self, queries: Sequence[str]) -> list[str]:
        """The queries whose writing the scorer knows; told of the default one alone."""
        if self.given is not None or self._store.settings["scorer"] != DEFAULT:
            return list(queries)
        unread = are_unread(queries)
        return [query for query, no in zip(queries, unread, strict=True) if not no]

    def change(self, encoder: str, scorer: str) -> None:
        """Take other models than before, "auto" for the same; vectors of another encoder go."""
        with self._store.writing():
            settings, named = self._store.settings, {"encoder": encoder, "scorer": scorer}
            changes = {key: new for key, new in named.items() if new not in (AUTO, settings[key])}
            if "encoder" in changes:
                self._store.discard_arrays()  # first: nothing misfits at any moment
                shutil.rmtree(self._kept, ignore_errors=True)
            if changes:
                self._store.update_settings(**changes)

    @property
    def are_chosen(self) -> bool:
        """Whether nothing is left to :meth:`prepare`."""
        encoder, scorer = (self._store.settings[name] for name in ("encoder", "scorer"))
        # A folder without a config is what a process left that was killed in the first save.
        is_ready = (self._kept / CONFIG).exists() or not is_kept(encoder)
        return AUTO not in (encoder, scorer) and is_ready

    def prepare(self, seed: int) -> None:
        """Choose the models that were left open, and fit or copy a lexical encoder, once."""
        if self.are_chosen:
            _ = self.encoder  # says so if its folder is gone
            return
        settings = self._store.settings
        encoder, scorer = settings["encoder"], settings["scorer"]
        with self._store.snapshot() as snapshot:
            sample = np.random.default_rng(seed).permutation(snapshot.all_keys)[:FIT_SAMPLE]
            texts = snapshot.texts(np.sort(sample))
        if len(snapshot.keys):
            self._store.discard_arrays()  # vectors of another fit
        encoder, scorer = default_models(texts, encoder, scorer)
        width = max(1, min(N_COMPONENTS, len(texts) - 1))
        fitted = fit_encoder(encoder, texts, owner="SearchIndex.build", n_components=width)
        if is_lexical(fitted):
            fitted.save(self._kept)  # type: ignore[attr-defined]
        self._store.update_settings(encoder=encoder, scorer=scorer)

    def discard_damaged(self) -> None:
        """Throw damaged files away: they are made again from the records and the paid scores."""
        try:
            self._store.snapshot().close()
        except IntegrityError:
            self._store.discard_arrays()
        if self.is_lexical:
            try:
                self._open_encoder(self._store.settings["encoder"])
            except (IntegrityError, StorageError):
                shutil.rmtree(self._kept, ignore_errors=True)
