"""Building an index: vectors of new records, anchor scores within a budget, the score model.

Every stage works on what is not done yet, in batches that are on the disk before the next begins,
so an interrupted build goes on where it was. Scores go to the cache as they are paid for; the score
model and the item features that queries read are fitted to everything in the cache at the end.

Letters: N live rows, R rows, m anchor queries.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import ShoestringWarning
from shoestring.jobs import Clock, say_cost, say_error
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
from shoestring.search.query import DEFAULT_WEIGHTS, IndexModel, first_look, pair_features
from shoestring.search.schema import named
from shoestring.search.score_cache import ScoreCache
from shoestring.search.snapshot import View
from shoestring.search.store import RecordStore
from shoestring.text import tokenize
from shoestring.types import FloatArray

SCORE_BATCH = 256
LONG_S = 600.0  # what takes longer is said before


@contextmanager
def noting_unread(store: RecordStore, models: Models) -> Iterator[None]:
    """Warn of the new texts that a lexical encoder cannot read: their vectors are zeros."""
    n_before = store.n_rows
    yield
    if not models.is_lexical or store.n_rows <= n_before:
        return
    with models.snapshot() as snapshot:
        is_lsa, keys = isinstance(snapshot.encoder, LsaEncoder), snapshot.view.row_keys[n_before:]
        without = ~snapshot.view.arrays["vectors"][n_before:].any(axis=1)
        unread = snapshot.texts(keys[without])
    # LSA knows every word of its own texts; a new word is found by BM25 as well as ever.
    unread = [text for text in unread if not (is_lsa and tokenize(text))]
    if unread:
        what = "a letter or digit" if is_lsa else "a word that the word codes know"
        warnings.warn(
            f"{len(unread)} of {len(keys)} new texts without {what}: "
            f"{named([text[:40] for text in unread])}. A query finds them by words that "
            "they share with it, or where it pays the scorer for them. Name an encoder that "
            "reads them, such as word vectors trained on such text, or leave them out.",
            ShoestringWarning,
            stacklevel=4,
        )


def choose_anchors(
    store: RecordStore, models: Models, queries: Sequence[str] | None, seed: int
) -> list[str]:
    """The anchor queries to pay for, those already begun first, then those that cover the others.

    They are chosen from what users ask (``queries``), else from first sentences of random texts.
    """
    with models.snapshot() as snapshot:
        if queries is None:
            sample = np.random.default_rng(seed).permutation(snapshot.keys)[: 4 * MAX_ANCHORS]
            at_hand = queries_from_texts(snapshot.texts(sample))
            kind = f"{len(sample)} texts looked at begin with a sentence of {MIN_TOKENS} tokens"
        else:
            at_hand, kind = list(queries), f"{len(queries)} queries have any text"
        at_hand, begun = models.readable(at_hand), list(store.settings.get("anchors", []))
        known = list(dict.fromkeys([*begun, *choose_queries(at_hand, POOL, seed=seed)]))
    if not known:
        warnings.warn(
            f"0 of {kind}, so there is no anchor query and no call was spent. "
            "Pass what users ask: queries=[...].",
            ShoestringWarning,
            stacklevel=4,
        )
        return []
    encoded = models.encode(known, snapshot.encoder)
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
    spent, said_s, took_s = 0, 0.0, list[float]()
    with ScoreCache(store.path) as cache, models.snapshot() as snapshot:
        view, model = snapshot.view, IndexModel.from_attrs(snapshot.view.attrs)
        # How many calls each query gets, beside those it has been paid for before.
        rows = [cache.row(models.scorer_name, query) for query in queries]
        paid = [view.known_scores(*row)[0] for row in rows]
        plan = anchor_plan(calls, len(view.keys), [len(known) for known in paid])
        queries = list(queries[: len(plan)])
        store.update_settings(anchors=queries)
        encoded = models.encode(queries, snapshot.encoder)
        with Progress(
            total=sum(plan), desc="anchor scores", unit="call", disable=not progress
        ) as bar:
            for query, vector, known, share in zip(queries, encoded, paid, plan, strict=False):
                # The most promising texts that are not scored yet; the plan saw to it that there
                # are so many.
                features = pair_features(snapshot, query, vector)
                guess = first_look(view, model, features, lexical=models.is_lexical).guess
                guess[view.deleted] = -np.inf
                guess[known] = -np.inf
                chosen = top_rows(guess, share)
                score = models.cached_scorer(snapshot, view, query, cache)
                before, step = spent, min(SCORE_BATCH, batch_size_of(models.scorer))
                for start in range(0, len(chosen), step):
                    if clock.left_s <= 0:
                        return spent
                    part, began = chosen[start : start + step], clock.used_s
                    score(part)
                    spent = before + score.calls  # equal texts are paid for once
                    bar.update(len(part))
                    took_s.append(clock.used_s - began)
                    if len(took_s) == 2:  # the first one loads the scorer
                        to_go = sum(plan) - spent
                        said_s = min(to_go * took_s[1] / len(part), clock.left_s)
                        if said_s > LONG_S:
                            say_cost(f"{to_go:,} calls to go", said_s)
    if said_s > LONG_S:
        say_error(said_s, sum(took_s[2:]))
    return spent


def fit_index_model(store: RecordStore, models: Models) -> None:
    """Fit the score model to every score that was paid for, and put it in force."""
    with store.writing(), store.snapshot() as snapshot:
        view, live = snapshot.view, np.flatnonzero(~snapshot.view.deleted)
        queries, scores = _paid_scores(store, models.scorer_name, view)
        score_model, arrays = None, {}
        if queries:
            features = [
                pair_features(snapshot, query, vector)[live]
                for query, vector in zip(queries, models.encode(queries), strict=True)
            ]
            weights = DEFAULT_WEIGHTS[models.is_lexical]
            with one_blas_thread():
                fitted = fit_score_model(scores[:, live], features, weights)
            score_model, item_bias, residuals = fitted
            for name, values in (("item_bias", item_bias), ("residuals", residuals)):
                arrays[name] = np.zeros((len(view.deleted), *values.shape[1:]), values.dtype)
                arrays[name][live] = values
        model = IndexModel(score_model, tuple(queries), *_moments(view))
        store.replace(arrays, asdict(model))


def _moments(view: View) -> tuple[NDArray[np.float64], float]:
    """Mean row of the live vectors and mean squared length around it."""
    if not len(view.row_keys):
        return np.empty(0), 1.0
    found = [sums(part) for part in view.live_rows("vectors")]
    count = max(1, len(view.keys))
    mean = np.sum([total for total, _ in found], axis=0) / count
    square = sum(square for _, square in found) / count
    return mean, max(square - float(mean @ mean), 1e-12)


def _paid_scores(store: RecordStore, name: str, view: View) -> tuple[list[str], FloatArray]:
    """The queries that were paid for with enough live rows, best covered first: (m, R) with NaN."""
    found, least = [], max(2, min(MIN_CALLS, len(view.keys)))
    with ScoreCache(store.path) as cache:
        for query, digests, scores in cache.rows(name):
            rows, known = view.known_scores(digests, without_rejects(scores))
            if len(rows) >= least:
                found.append((query, rows, known))
    found = sorted(found, key=lambda item: -len(item[1]))[: 2 * MAX_ANCHORS]
    table = np.full((len(found), len(view)), np.nan, dtype=np.float32)
    for row, (_, rows, known) in zip(table, found, strict=True):
        row[rows] = known
    return [query for query, *_ in found], table
