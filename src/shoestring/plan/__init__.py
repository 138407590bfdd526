"""What a job with a Transformer costs, before it runs: FLOPs, parameters, bytes, seconds."""

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.plan.attention import compare_attention as compare_attention
    from shoestring.plan.job import Estimate as Estimate
    from shoestring.plan.job import estimate as estimate
    from shoestring.plan.job import price_texts as price_texts
    from shoestring.plan.machine import Machine as Machine
    from shoestring.plan.machine import measure_machine as measure_machine

__getattr__, __dir__, __all__ = lazy_names(__name__, purpose="what a model costs")
