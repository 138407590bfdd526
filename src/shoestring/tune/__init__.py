"""Fine-tuning through a side ladder: a backbone that is never back-propagated.

``LadderClassifier`` has the methods of scikit-learn; ``Ladder`` and ``LadderConfig`` train under
the plain ``Trainer`` of transformers; ``LadderScorer`` is a pair scorer for search and match. The
guide is docs/tune.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.tune.config import LadderConfig as LadderConfig
    from shoestring.tune.estimator import LadderClassifier as LadderClassifier
    from shoestring.tune.ladder import Ladder as Ladder
    from shoestring.tune.predict import LadderScorer as LadderScorer

__getattr__, __dir__, __all__ = lazy_names(__name__, purpose="a ladder", extra="tune")
