"""Text search, matching and classification for people whose compute is short.

The public names are loaded when they are first used (PEP 562), so that ``import shoestring`` is
instant and pulls in no heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.classify import AnalyticSoftmax as AnalyticSoftmax
    from shoestring.classify import TextClassifier as TextClassifier
    from shoestring.errors import ShoestringError as ShoestringError
    from shoestring.errors import ShoestringWarning as ShoestringWarning
    from shoestring.match import PairMatcher as PairMatcher
    from shoestring.match import score_with as score_with
    from shoestring.overlap import OverlapIndex as OverlapIndex
    from shoestring.search import Reranker as Reranker
    from shoestring.search import SearchIndex as SearchIndex
    from shoestring.search import rerank as rerank
    from shoestring.text import read_records as read_records
    from shoestring.tune import LadderClassifier as LadderClassifier
    from shoestring.types import Hit as Hit
    from shoestring.types import Hits as Hits
    from shoestring.types import PairScorer as PairScorer
    from shoestring.types import Record as Record
    from shoestring.types import TextEncoder as TextEncoder
    from shoestring.words import BinaryVectors as BinaryVectors

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_names(__name__)
