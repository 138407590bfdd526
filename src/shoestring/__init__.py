"""Text search, matching and classification for people whose compute is short.

The public names are loaded when they are first used (PEP 562), so that ``import shoestring`` is
instant and pulls in no heavy library.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Hit": "shoestring.types",
    "Hits": "shoestring.types",
    "PairScorer": "shoestring.types",
    "Record": "shoestring.types",
    "SearchIndex": "shoestring.search",
    "ShoestringError": "shoestring.errors",
    "ShoestringWarning": "shoestring.errors",
    "TextEncoder": "shoestring.types",
    "read_records": "shoestring.text",
    "score_with": "shoestring.match",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'shoestring' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
