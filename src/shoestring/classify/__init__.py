"""The softmax layer in closed form, which streams, merges and forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.classify.softmax import AnalyticSoftmax as AnalyticSoftmax
    from shoestring.classify.texts import TextClassifier as TextClassifier

__getattr__, __dir__, __all__ = lazy_names(__name__)
