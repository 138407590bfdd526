"""A larger Transformer that computes exactly what the small one did, and then learns more.

The room is called as its function: ``from shoestring import grow; grow(model, hidden=768)``.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.grow.certificate import Certificate as Certificate
    from shoestring.grow.checkpoint import Plan as Plan
    from shoestring.grow.checkpoint import grow_checkpoint as grow_checkpoint
    from shoestring.grow.checkpoint import plan_checkpoint as plan_checkpoint
    from shoestring.grow.model import GrowAt as GrowAt
    from shoestring.grow.model import grow as grow

__getattr__, __dir__, __all__ = lazy_names(__name__, purpose="growing a model")


class _Room(ModuleType):
    def __call__(self, *args: Any, **sizes: Any) -> Any:
        return self.grow(*args, **sizes)


sys.modules[__name__].__class__ = _Room
