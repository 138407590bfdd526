"""A larger Transformer that computes exactly what the small one did, and then learns more."""

from shoestring.grow.certificate import Certificate
from shoestring.grow.checkpoint import Plan, grow_checkpoint, plan_checkpoint
from shoestring.grow.model import grow

__all__ = ["Certificate", "Plan", "grow", "grow_checkpoint", "plan_checkpoint"]
