"""Building an index: vectors of new records, anchor scores within a budget, the score model.

Every stage works on what is not done yet, in batches that are on the disk before the next begins,
so an interrupted build goes on where it was. Scores go to the cache as they are paid for; the score
model and the item features that queries read are fitted to everything in the cache at the end.

Letters: N live rows, R rows, m anchor queries.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import ShoestringWarning
from shoestring.jobs import Clock
from shoestring.match.scorer import batch_size_of
from shoestring.models import LsaEncoder
from shoestring.parallel import one_blas_thread
from shoestring.progress import Progress
from shoestring.search.anchors import (
    MAX_ANCHORS,
    MIN_CALLS,
    MIN_TOKENS,
    POOL,
    anchor_plan,
    choose_queries,
    covering_order,
    queries_from_texts,
)
from shoestring.search.cur import top_rows, without_rejects
from shoestring.search.features import nearness, sums
from shoestring.search.first_guess import fit_score_model
from shoestring.search.models import Models
from shoestring.search.query import DEFAULT_WEIGHTS, IndexModel, first_guess, pair_features
from shoestring.search.schema import named
from shoestring.search.score_cache import CachedScorer, ScoreCache, text_digests
from shoestring.search.snapshot import View
from shoestring.search.store import RecordStore
from shoestring.text import tokenize
from shoestring.types import FloatArray, IntArray

SCORE_BATCH = 256


class NewRows:
    """Makes the arrays of new texts; keeps account of those that a lexical encoder cannot read.

    Such a text has a row of zeros as its vector.
    """

    def __init__(self, models: Models) -> None:
        self.models, self.n_texts, self.unknown, self._what = models, 0, list[str](), ""

    def __call__(self, texts: list[str]) -> dict[str, NDArray[Any]]:
        """The arrays of texts, as the store takes them."""
        encoder = self.models.encoder
        vectors, is_lsa = self.models.encode(texts, encoder), isinstance(encoder, LsaEncoder)
        self.n_texts += len(texts)
        if self.models.is_lexical:
            self._what = "a letter or digit" if is_lsa else "a word that the word codes know"
            without = [texts[i] for i in np.flatnonzero(~vectors.any(axis=1)).tolist()]
            # LSA knows every word of its own texts; a new word is found by BM25 as well as ever.
            self.unknown += [text for text in without if not (is_lsa and tokenize(text))]
        return {"vectors": vectors, "digest": text_digests(texts)}

    def note(self) -> None:
        """Warn of the texts without a vector."""
        if self.unknown:
            warnings.warn(
                f"{len(self.unknown)} of {self.n_texts} new texts without {self._what}: "
                f"{named([text[:40] for text in self.unknown])}. A query finds them by words that "
                "they share with it, or where it pays the scorer for them. Name an encoder that "
                "reads them, such as word vectors trained on such text, or leave them out.",
                ShoestringWarning,
                stacklevel=3,
            )


def encode_pending(store: RecordStore, rows: NewRows, *, progress: bool) -> None:
    """Give every record that has no arrays its own, a batch at a time."""
    with store.snapshot() as snapshot:
        n_pending = len(snapshot.pending_keys)
    with Progress(
        total=n_pending, desc="vectors", unit="text", disable=not (progress and n_pending)
    ) as bar:
        store.fill(rows, bar.update)


def choose_anchors(
    store: RecordStore, models: Models, queries: Sequence[str] | None, seed: int
) -> list[str]:
    """The anchor queries to pay for, those already begun first, then those that cover the others.

    They are chosen from what users ask (``queries``), else from first sentences of random texts.
    """
    if queries is None:
        with store.snapshot() as snapshot:
            sample = np.random.default_rng(seed).permutation(snapshot.keys)[: 4 * MAX_ANCHORS]
            at_hand = queries_from_texts(snapshot.texts(sample))
        kind = f"{len(sample)} texts looked at begin with a sentence of {MIN_TOKENS} tokens"
    else:
        at_hand, kind = list(queries), f"{len(queries)} queries have any text"
    at_hand = models.readable(at_hand)
    begun = list(store.settings.get("anchors", []))
    known = list(dict.fromkeys([*begun, *choose_queries(at_hand, POOL, seed=seed)]))
    if not known:
        warnings.warn(
            f"0 of {kind}, so there is no anchor query and no call was spent. "
            "Pass what users ask: queries=[...].",
            ShoestringWarning,
            stacklevel=4,
        )
        return []
    with store.writing():  # else another process may change the encoder
        encoded = models.encode(known)
    near = np.stack([nearness(encoded, row) for row in encoded])
    return [known[i] for i in covering_order(near, len(begun), MAX_ANCHORS)]


def score_anchors(
    store: RecordStore,
    models: Models,
    queries: Sequence[str],
    calls: int,
    clock: Clock,
    *,
    progress: bool,
) -> int:
    """Score anchor queries with their most promising texts; returns the calls spent.

    The queries that are begun are kept in the settings, so that a later budget goes on with them.
    """
    spent, name = 0, models.scorer_name
    with ScoreCache(store.path) as cache, ExitStack() as stack:
        with store.writing():  # else another process may change the encoder
            snapshot = stack.enter_context(models.snapshot())
            view, model = snapshot.view, IndexModel.from_attrs(snapshot.view.attrs)

            def texts(at: IntArray) -> list[str]:
                return snapshot.texts(view.row_keys[at])

            # How many calls each query gets, beside those it has been paid for before.
            paid = [view.known_scores(*cache.row(name, query))[0] for query in queries]
            plan = anchor_plan(calls, len(view.keys), [len(known) for known in paid])
            store.update_settings(anchors=list(queries[: len(plan)]))
            encoded = models.encode(list(queries[: len(plan)]), snapshot.encoder)
        with Progress(
            total=sum(plan), desc="anchor scores", unit="call", disable=not progress
        ) as bar:
            for query, vector, known, share in zip(queries, encoded, paid, plan, strict=False):
                # The most promising texts that are not scored yet; the plan saw to it that there
                # are so many.
                features = pair_features(snapshot, query, vector)
                guess = first_guess(view, model, features, lexical=models.is_lexical)
                guess[view.deleted] = -np.inf
                guess[known] = -np.inf
                chosen = top_rows(guess, share)
                score = CachedScorer(models.scorer, name, models.lock, texts, query, cache)
                before, step = spent, min(SCORE_BATCH, batch_size_of(models.scorer))
                for start in range(0, len(chosen), step):
                    if clock.left_s <= 0:
                        return spent
                    score(chosen[start : start + step])
                    spent = before + score.calls  # equal texts are paid for once
                    bar.update(len(chosen[start : start + step]))
    return spent


def fit_index_model(store: RecordStore, models: Models) -> None:
    """Fit the score model to every score that was paid for, and put it in force."""
    with store.writing(), store.snapshot() as snapshot:
        view, live = snapshot.view, np.flatnonzero(~snapshot.view.deleted)
        digests = view.column("digest", np.int64)[live]
        queries, scores = _paid_scores(store, models.scorer_name, digests)
        score_model, arrays = None, {}
        if queries:
            features = [
                pair_features(snapshot, query, vector)[live]
                for query, vector in zip(queries, models.encode(queries), strict=True)
            ]
            weights = DEFAULT_WEIGHTS[models.is_lexical]
            with one_blas_thread():
                score_model, item_bias, residuals = fit_score_model(scores, features, weights)
            for name, values in (("item_bias", item_bias), ("residuals", residuals)):
                arrays[name] = np.zeros((len(view.deleted), *values.shape[1:]), values.dtype)
                arrays[name][live] = values
        model = IndexModel(score_model, tuple(queries), *_moments(view))
        store.replace(arrays, keep=("vectors", "digest"), attrs=asdict(model))


def _moments(view: View) -> tuple[NDArray[np.float64], float]:
    """Mean row of the live vectors and mean squared length around it."""
    if not len(view.row_keys):
        return np.empty(0), 1.0
    found = [sums(part) for part in view.live_rows("vectors")]
    count = max(1, len(view.keys))
    mean = np.sum([total for total, _ in found], axis=0) / count
    square = sum(square for _, square in found) / count
    return mean, max(square - float(mean @ mean), 1e-12)


def _paid_scores(store: RecordStore, name: str, digest: IntArray) -> tuple[list[str], FloatArray]:
    """The queries that were paid for with enough rows, best covered first: (m, N) with NaN."""
    order = np.argsort(digest, kind="stable")
    ordered, least = digest[order], max(2, min(MIN_CALLS, len(digest)))
    found: list[tuple[int, int, str, FloatArray]] = []
    with ScoreCache(store.path) as cache:
        for number, (query, digests, scores) in enumerate(cache.rows(name)):
            if len(digests) < least:
                continue
            found_at = np.clip(np.searchsorted(digests, ordered), 0, len(digests) - 1)
            row = np.full(len(digest), np.nan, dtype=np.float32)
            fitted = without_rejects(scores)
            row[order] = np.where(digests[found_at] == ordered, fitted[found_at], np.nan)
            n_known = int(np.isfinite(row).sum())
            if n_known >= least:
                found.append((-n_known, number, query, row))
    found = sorted(found, key=lambda item: item[:2])[: 2 * MAX_ANCHORS]
    queries = [query for _, _, query, _ in found]
    return queries, np.stack([row for *_, row in found]) if found else np.empty((0, len(digest)))
