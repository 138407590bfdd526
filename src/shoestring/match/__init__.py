"""Scores pairs of texts: the expensive judge whose calls search/ saves.

The names are loaded when they are first used (PEP 562): importing this package imports neither
torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "CrossEncoderScorer": "shoestring.match.cross_encoder",
    "FastCrossEncoder": "shoestring.match.cross_encoder",
    "FunctionScorer": "shoestring.match.scorer",
    "TokenInteraction": "shoestring.match.interaction",
    "TokenTable": "shoestring.match.token_table",
    "checked_scores": "shoestring.match.scorer",
    "load_scorer": "shoestring.match.scorer",
    "score_with": "shoestring.match.scorer",
    "scorer_name": "shoestring.match.scorer",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'shoestring.match' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
