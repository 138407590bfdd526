"""Search whose answers are a pair scorer's, for a few of its calls: build, query, add, evaluate."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "RecordStore": "shoestring.search.store",
    "ScoreLedger": "shoestring.search.ledger",
    "SearchIndex": "shoestring.search.engine",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'shoestring.search' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
