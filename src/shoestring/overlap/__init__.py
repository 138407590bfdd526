"""Exact nearest neighbours among sparse binary codes, by Jaccard, Hamming or overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.overlap.index import OverlapIndex as OverlapIndex

__getattr__, __dir__, __all__ = lazy_names(__name__)
