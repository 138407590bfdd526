"""Staged training under transformers' Trainer: grow at a step, and go on."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from shoestring import checks
from shoestring.grow.certificate import Certificate
from shoestring.grow.model import grow


class GrowAt(TrainerCallback):  # type: ignore[misc]
    """Grows the model that a Trainer trains, with its optimiser, when ``step`` is done.

    Parameters
    ----------
    step : int
        Optimiser step, from 1.
    **sizes
        As the arguments of :func:`shoestring.grow.grow`.

    Attributes
    ----------
    certificate : Certificate or None
        Of the growth, once it was.
    """

    def __init__(self, step: int, **sizes: Any) -> None:
        self.step = checks.checked_int("step", step, 1, 2**31, "GrowAt")
        self.sizes = sizes
        self.certificate: Certificate | None = None

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any, optimizer: Any, **_: Any
    ) -> None:
        """Grow in place: the Trainer goes on with the same object."""
        if state.global_step == self.step:
            large, self.certificate = grow(model, optimizer=optimizer, **self.sizes)
            vars(model).clear()
            vars(model).update(vars(large))
