"""Building an index: vectors for new records, anchor scores within a budget, the scorer's taste.

Every stage works on what is not done yet, in batches that are on the disk before the next begins,
so an interrupted build goes on where it was. Scores go to the ledger as they are paid for; the
arrays that queries read are computed from the ledger and published at the end.

Letters: N rows, m anchor queries.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from shoestring.errors import ShoestringWarning
from shoestring.match.scorer import scorer_name
from shoestring.parallel import one_blas_thread
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
from shoestring.search.cur import top_rows
from shoestring.search.features import IndexRows
from shoestring.search.ledger import ScoreLedger, text_digests
from shoestring.search.mapped import mapped_rows
from shoestring.search.models import IndexEncoder, has_lexical_vectors, unread, unread_note
from shoestring.search.paying import Payer
from shoestring.search.querying import UNTAUGHT, Learnt, first_guess, pair_features
from shoestring.search.snapshot import Snapshot
from shoestring.search.store import RecordStore
from shoestring.search.taste import fit_taste
from shoestring.types import FloatArray, IntArray, PairScorer

ENCODE_BATCH = 1_024
SCORE_BATCH = 256


@dataclass(frozen=True, slots=True)
class Budget:
    """What a build may spend: calls of the scorer, and a moment to stop at (monotonic, s)."""

    calls: int
    deadline: float = float("inf")

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.deadline


def encode_pending(store: RecordStore, encoder: IndexEncoder, *, progress: bool) -> None:
    """Give every record that has no arrays its vector; a batch is a segment.

    A text that a lexical encoder has nothing for has a row of zeros; a note says how many.
    """
    with store.snapshot() as snapshot:
        keys, segments = snapshot.pending_keys, snapshot.segments
    widths = (
        {name: array.shape[1] for name, array in segments[0].arrays.items() if array.ndim == 2}
        if segments
        else {}
    )
    blank: list[str] = []
    with tqdm(total=len(keys), desc="vectors", unit="text", disable=not progress) as bar:
        for start in range(0, len(keys), ENCODE_BATCH):
            batch = keys[start : start + ENCODE_BATCH]
            with store.snapshot() as snapshot:
                live = batch[np.isin(batch, snapshot.pending_keys)]
                texts = snapshot.texts(live)
            arrays: dict[str, NDArray[Any]] = {
                "vectors": encoder.encode(texts),
                "digest": text_digests(texts),
                "level": np.zeros(len(live), dtype=np.float32),
            }
            if "residuals" in widths:
                arrays["residuals"] = np.zeros((len(live), widths["residuals"]), np.float32)
            if len(live):
                store.append_segment(live, arrays)
            blank += unread(encoder, texts, arrays["vectors"])
            bar.update(len(batch))
    if blank:
        note = unread_note(encoder, blank, len(keys))
        warnings.warn(note, ShoestringWarning, stacklevel=3)


def choose_anchors(
    store: RecordStore, encoder: IndexEncoder, queries: Sequence[str] | None, seed: int
) -> list[str]:
    """The anchor queries to pay for, those already begun first, then those that cover the others.

    Parameters
    ----------
    queries : sequence of str or None
        What users ask; None takes first sentences of random texts.
    """
    if queries is None:
        with store.snapshot() as snapshot:
            sample = np.random.default_rng(seed).permutation(snapshot.keys)[: 4 * MAX_ANCHORS]
            at_hand = queries_from_texts(snapshot.texts(sample))
        kind = f"{len(sample)} texts looked at begin with a sentence of {MIN_TOKENS} tokens"
    else:
        at_hand, kind = list(queries), f"{len(queries)} queries have any text"
    begun = list(store.settings.get("anchors", []))
    known = list(dict.fromkeys([*begun, *choose_queries(at_hand, POOL, seed=seed)]))
    if not known:
        warnings.warn(
            f"0 of {kind}, so there is no anchor query and no call was spent. "
            "Pass what users ask: queries=[...] (--queries FILE).",
            ShoestringWarning,
            stacklevel=4,
        )
        return []
    encoded = encoder.encode(known)
    rows, nearness = mapped_rows(encoded), np.empty((len(known),) * 2, dtype=np.float32)
    for row, out in zip(encoded, nearness, strict=True):
        rows.nearness(row, out)
    return [known[i] for i in covering_order(nearness, len(begun), MAX_ANCHORS)]


def pay_for_anchors(
    store: RecordStore,
    encoder: IndexEncoder,
    scorer: PairScorer,
    queries: Sequence[str],
    budget: Budget,
    *,
    progress: bool,
) -> int:
    """Score anchor queries with their most promising texts, within the budget.

    The queries that are begun are kept in the settings, so that a later budget goes on with them.

    Returns
    -------
    int
        The calls spent.
    """
    spent, name, lexical = 0, scorer_name(scorer), has_lexical_vectors(store)
    with store.snapshot() as snapshot, ScoreLedger(store.path) as ledger:
        rows, learnt = IndexRows(snapshot.view), Learnt.from_attrs(snapshot.attrs)
        paid = [rows.known_scores(*ledger.row(name, query))[0] for query in queries]
        plan = anchor_plan(budget.calls, rows.n_live, [len(at) for at in paid])
        store.update_settings(anchors=list(queries[: len(plan)]))
        encoded = encoder.encode(list(queries[: len(plan)]))
        with tqdm(total=sum(plan), desc="anchor scores", unit="call", disable=not progress) as bar:
            for query, vector, at, share in zip(queries, encoded, paid, plan, strict=False):
                features = pair_features(snapshot, rows, query, vector)
                guess = first_guess(rows, learnt, features, lexical=lexical)
                guess[rows.dead] = -np.inf
                guess[at] = -np.inf
                chosen = top_rows(guess, share)  # so many are open: the plan saw to it
                payer = Payer(scorer, snapshot, rows.keys, query, ledger, RLock())
                batch_size, already = min(SCORE_BATCH, payer.batch_size), spent
                for start in range(0, len(chosen), batch_size):
                    if budget.is_over:
                        return spent
                    batch = chosen[start : start + batch_size]
                    payer(batch)
                    spent = already + payer.calls  # equal texts are paid for once
                    bar.update(len(batch))
    return spent


def publish_taste(store: RecordStore, encoder: IndexEncoder, name: str) -> Learnt:
    """Learn the scorer's taste from every score that was paid for, and publish the arrays anew."""
    with store.snapshot() as snapshot:
        keys = snapshot.keys
        vectors, digests = _live(snapshot, "vectors"), _live(snapshot, "digest")
        digest = np.concatenate([np.empty(0, np.int64), *digests])
        queries, scores = _paid_rows(store, name, digest)
        mean, power = _moments(vectors)
        arrays: dict[str, list[NDArray[Any]] | NDArray[Any]] = {
            "vectors": vectors,
            "digest": digest,
            "level": np.zeros(len(keys), dtype=np.float32),
        }
        taste = None
        if queries:
            usual = UNTAUGHT[has_lexical_vectors(store)]
            features = _features_of(snapshot, encoder, queries)
            with one_blas_thread():
                taste, arrays["level"], arrays["residuals"] = fit_taste(scores, features, usual)
    learnt = Learnt(taste, tuple(queries), mean, power)
    store.publish(keys, arrays, attrs=learnt.to_attrs())
    return learnt


def _features_of(
    snapshot: Snapshot, encoder: IndexEncoder, queries: Sequence[str]
) -> list[NDArray[np.float32]]:
    """The cheap features (N, 4) of each query with the live rows."""
    rows = IndexRows(snapshot.view)
    live = rows.rows_of(snapshot.keys)
    encoded = encoder.encode(queries)
    return [
        pair_features(snapshot, rows, query, vector)[live]
        for query, vector in zip(queries, encoded, strict=True)
    ]


def _live(snapshot: Snapshot, name: str) -> list[NDArray[Any]]:
    return [rows for segment in snapshot.segments for rows in segment.live_chunks(name)]


def _moments(vectors: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], float]:
    """Mean row and mean squared length around it."""
    count = max(1, sum(len(part) for part in vectors))
    mean = np.sum([mapped_rows(part).sums() for part in vectors], axis=0) / count
    square = sum(mapped_rows(part).square() for part in vectors) / count
    return mean, max(square - float(mean @ mean), 1e-12)


def _paid_rows(store: RecordStore, name: str, digest: IntArray) -> tuple[list[str], FloatArray]:
    """The queries that were paid for with enough rows, best covered first: (m, N) with NaN."""
    order = np.argsort(digest, kind="stable")
    ordered, least = digest[order], max(2, min(MIN_CALLS, len(digest)))
    found: list[tuple[int, int, str, FloatArray]] = []
    with ScoreLedger(store.path) as ledger:
        for number, (query, digests, scores) in enumerate(ledger.rows(name)):
            if len(digests) < least:
                continue
            place = np.clip(np.searchsorted(digests, ordered), 0, len(digests) - 1)
            row = np.full(len(digest), np.nan, dtype=np.float32)
            row[order] = np.where(digests[place] == ordered, scores[place], np.nan)
            n_known = int(np.isfinite(row).sum())
            if n_known >= least:
                found.append((-n_known, number, query, row))
    found = sorted(found, key=lambda item: item[:2])[: 2 * MAX_ANCHORS]
    queries = [query for _, _, query, _ in found]
    return queries, np.stack([row for *_, row in found]) if found else np.empty((0, len(digest)))
