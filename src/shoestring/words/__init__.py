"""Sparse binary word vectors by the fruit fly's rule, static and in context, trained on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.words.hashing import BioHash as BioHash
    from shoestring.words.hashing import FlyHash as FlyHash
    from shoestring.words.hashing import SignHash as SignHash
    from shoestring.words.vectors import BinaryVectors as BinaryVectors

__getattr__, __dir__, __all__ = lazy_names(__name__)
