"""Growing a model of transformers in memory, with its optimiser, and under its Trainer."""

from __future__ import annotations

import copy
from typing import Any

from transformers import TrainerCallback

from shoestring import checks
from shoestring.errors import ParameterError
from shoestring.grow.certificate import Certificate, certify
from shoestring.grow.growth import Growth
from shoestring.grow.sizes import OWNER
from shoestring.models.backbone import quiet_loading

MOMENTS = {"exp_avg": 1, "exp_avg_sq": 2}


def grow(
    model: Any, *, stack: bool = False, optimizer: Any = None, batches: int = 4, seed: int = 0,
    **sizes: int | None,
) -> tuple[Any, Certificate]:  # fmt: skip
    """Make a larger model that computes what a model of transformers does.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        BERT, RoBERTa, ELECTRA, GPT-2, T5, Llama, Qwen2, Qwen3, Gemma or ModernBERT; not changed.
    stack : bool
        Whether layers may be copied where none can be the identity, which changes the function.
    optimizer : torch.optim.Optimizer, optional
        Adam or AdamW of the model: it goes on with the large one, its moments grown.
    batches : int
        Of random tokens that both models are asked.
    seed : int
    **sizes : int, optional
        ``hidden``, ``heads``, ``key_heads``, ``head_size``, ``intermediate``, ``layers``,
        ``vocab``, ``positions``: the new sizes; what is left out stays.

    Returns
    -------
    large : the class of ``model``, of its type and mode
    certificate : Certificate

    Raises
    ------
    ParameterError
        For sizes that shrink or have no exact growth; the message names the nearest that have.
    FormatError
        For tensors that no rule is known for, or weights that are not finite.
    ShoestringError
        If the large model's answers are not those of the small one.
    """
    growth = Growth.of(model, sizes, stack=stack, seed=seed)
    certificate = certify(growth, model.dtype, batches)
    weights = {name: read() for name, read in growth.weights(model.dtype).items()}
    with quiet_loading():
        large = type(model).from_pretrained(
            None, config=growth.new_config(), state_dict=weights, dtype=model.dtype
        )
    if optimizer is not None:
        _move(optimizer, model, large, growth)
    return large.train(model.training), certificate


def _move(optimizer: Any, model: Any, large: Any, growth: Growth) -> None:
    """Let an optimiser go on with the large model: groups, steps and moments."""
    names = {id(value): name for name, value in model.named_parameters()}
    new, state = dict(large.named_parameters()), {}
    for group in optimizer.param_groups:
        moved = []
        for old in group["params"]:
            name = names.get(id(old))
            if name is None:
                want = "one of the model's parameters"
                raise ParameterError.of("optimizer", OWNER, want, tuple(old.shape))
            for new_name in growth.names(name):
                moved.append(new[new_name])
                state[new[new_name]] = {
                    key: growth.grown(name, new_name, value, MOMENTS[key])
                    if key in MOMENTS
                    else copy.deepcopy(value)
                    for key, value in optimizer.state.get(old, {}).items()
                }
        group["params"] = moved
    optimizer.state.clear()
    optimizer.state.update(state)


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
