"""How records come in: in batches, their duplicates resolved.

The caller holds the writer lock; :func:`~shoestring.read_records` has checked them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from shoestring.errors import ParameterError
from shoestring.search import schema
from shoestring.search.database import transaction
from shoestring.text.records import content_id
from shoestring.text.tokens import tokenize
from shoestring.types import Record

OnDuplicate = Literal["error", "replace", "skip"]

BATCH_CHARACTERS = 1 << 24  # a batch of very long texts ends before its number of records


@dataclass(frozen=True, slots=True)
class AddReport:
    """How many records an add added, replaced and skipped."""

    added: int = 0
    replaced: int = 0
    skipped: int = 0

    def __add__(self, other: AddReport) -> AddReport:
        return AddReport(
            self.added + other.added, self.replaced + other.replaced, self.skipped + other.skipped
        )


def read_batches(records: Iterable[Record], batch_size: int) -> Iterator[list[Record]]:
    """Cut records into batches that fit in memory whatever the texts' length."""
    batch: list[Record] = []
    n_characters = 0
    for record in records:
        batch.append(record)
        n_characters += len(record.text)
        if len(batch) == batch_size or n_characters >= BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def add_batch(
    connection: sqlite3.Connection, batch: Sequence[Record], on_duplicate: OnDuplicate
) -> AddReport:
    """Store a batch in one transaction."""
    known = schema.keys_of(connection, [record.id for record in batch])
    chosen, report = _resolve_duplicates(batch, known, on_duplicate)
    tokens = [" ".join(tokenize(record.text)) for record in chosen]
    with transaction(connection):
        schema.delete_keys(connection, [known[r.id] for r in chosen if r.id in known])
        schema.insert_records(connection, chosen, tokens)
    return report


def _resolve_duplicates(
    batch: Sequence[Record], known: Container[str], on_duplicate: OnDuplicate
) -> tuple[list[Record], AddReport]:
    """The records of a batch to store, as if they came one by one: the last or first of an id.

    A text whose id is its own content is there already, whatever is done with duplicates.
    """
    chosen: dict[str, Record] = {}
    repeated: list[str] = []
    n_same = 0
    for record in batch:
        if record.id in chosen or record.id in known:
            if record.id == content_id(record.text):
                n_same += 1
                continue
            repeated.append(record.id)
            if on_duplicate == "skip":
                continue
        chosen[record.id] = record
    if repeated and on_duplicate == "error":
        want = "records whose ids are new"
        hint = "Nothing was added; pass on_duplicate='skip', or on_duplicate='replace'."
        raise ParameterError.of("records", "SearchIndex.add", want, schema.named(repeated), hint)
    n_added, counted = len(batch) - len(repeated) - n_same, len(repeated)
    if on_duplicate == "replace":
        return list(chosen.values()), AddReport(n_added, replaced=counted, skipped=n_same)
    return list(chosen.values()), AddReport(n_added, skipped=counted + n_same)
