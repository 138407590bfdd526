"""Search whose answers are a pair scorer's, for a few of its calls: build, query, add, evaluate."""

from __future__ import annotations

from shoestring.search.engine import SearchIndex
from shoestring.search.ledger import ScoreLedger
from shoestring.search.store import RecordStore

__all__ = ["RecordStore", "ScoreLedger", "SearchIndex"]
