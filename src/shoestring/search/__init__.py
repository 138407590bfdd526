"""Search whose answers are a pair scorer's, for a few of its calls: build, query, add, evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.search.index import SearchIndex as SearchIndex
    from shoestring.search.reranking import Reranker as Reranker
    from shoestring.search.reranking import rerank as rerank
    from shoestring.search.score_cache import ScoreCache as ScoreCache

__getattr__, __dir__, __all__ = lazy_names(__name__)
