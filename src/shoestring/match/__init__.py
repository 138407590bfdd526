"""Scores pairs of texts: the expensive judge whose calls search/ saves.

The names are loaded when they are first used (PEP 562): importing this package imports neither
torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.match.audit import Audit as Audit
    from shoestring.match.audit import audit_texts as audit_texts
    from shoestring.match.audit import decipher_texts as decipher_texts
    from shoestring.match.cross_encoder import CrossEncoderScorer as CrossEncoderScorer
    from shoestring.match.interaction import TokenInteraction as TokenInteraction
    from shoestring.match.matcher import PairMatcher as PairMatcher
    from shoestring.match.pseudonymise import Key as Key
    from shoestring.match.pseudonymise import pseudonymise_texts as pseudonymise_texts
    from shoestring.match.scorer import FunctionScorer as FunctionScorer
    from shoestring.match.scorer import checked_scores as checked_scores
    from shoestring.match.scorer import load_scorer as load_scorer
    from shoestring.match.scorer import score_with as score_with
    from shoestring.match.scorer import scorer_name as scorer_name

__getattr__, __dir__, __all__ = lazy_names(
    __name__, purpose="a matcher", needs_torch=("PairMatcher",)
)
