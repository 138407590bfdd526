"""Training by the plain ``Trainer`` of transformers: within minutes, resumable, best epoch kept.

Without minutes the learning rate falls linearly over the steps. With them it falls with whichever
is further on, the steps or the time, so that it reaches its end when the time does. What is
trained, and on what, comes from outside.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from shoestring.artifacts import libraries_writing
from shoestring.checks import checked_int, checked_number
from shoestring.errors import BudgetError, ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder, SaveEvery, say_cost, say_error, too_short
from shoestring.models.backbone import quiet_loading
from shoestring.progress import Progress
from shoestring.text.corpus import note_share
from shoestring.tune.config import MOST
from shoestring.tune.metrics import NAMES, can_be_told, quality

RESERVE_S = 1.0  # to save the model
EVALUATION_OF_STEP = 1.25  # of a step's time, until it is known
FIRST_STEPS, TIMED_STEPS = 2, 5  # slower than the others; until the time of an epoch is known


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained."""

    epochs: float = 10.0  # at most
    batch_size: int = 32  # examples in a step; queries, where pairs come by their queries
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.06  # share of the steps in which the learning rate rises
    seed: int = 0  # of the order of the examples and of dropout
    bfloat16: bool = False  # compute in it where torch thinks it right (autocast)

    def __post_init__(self) -> None:
        for name, most in (("epochs", 1e6), ("learning_rate", math.inf)):
            want = f"above 0 and {'finite' if most == math.inf else f'at most {most:,.0f}'}"
            number = checked_number(name, getattr(self, name), "tune", want, 0.0, most)
            object.__setattr__(self, name, number)
        batch_size = min(MOST, checked_int("batch_size", self.batch_size, 1, None, "tune"))
        object.__setattr__(self, "batch_size", batch_size)
        object.__setattr__(self, "seed", checked_int("seed", self.seed, 0, MOST, "tune"))


@dataclass(frozen=True)
class Measure:
    """What is measured on held-out examples."""

    names: tuple[str, ...]  # figures that are reported
    best: str  # the one by which the best epoch is chosen, the least where it is a loss
    of: Callable[[Any], dict[str, float]]  # from the Trainer's predictions and labels


def measure_of(task: str, labels: Sequence[Any]) -> Measure:
    """What is measured for a task on held-out labels; ShoestringWarning if they tell nothing."""

    def figures(found: Any) -> dict[str, float]:
        return quality(task, found.predictions, found.label_ids)

    names = ("loss", *NAMES[task])
    if can_be_told(task, np.array(labels)):
        return Measure(names, names[1], figures)
    kind = "right or all wrong" if task == "score" else "the same"
    warnings.warn(
        f"The labels that are held out are all {kind}: they do not tell good answers from bad "
        "ones, and the epoch of the least loss is kept. Hold out others (--eval).",
        ShoestringWarning,
        stacklevel=3,
    )
    return Measure(names, "loss", figures)


def fit(
    model: nn.Module, train_data: Any, eval_data: Any, collate: Callable[..., Any],
    settings: TrainSettings, clock: Clock, run: RunFolder, measure: Measure, *,
    lengths: Sequence[int] | None = None, callbacks: Sequence[Any] = (), share: float = 1.0,
    progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train a model by the plain ``Trainer``, and report; it has its best weights afterwards.

    ``model(**batch)`` gives loss and logits; ``collate`` makes a batch of items of the datasets;
    the run folder gets the checkpoints, and training continues from one that it has. Examples of
    similar ``lengths``, if given, share a batch. ``share`` is that of all examples which
    ``train_data`` is, for a run that goes on with this one. The report has the figures of the best
    epoch on what was held out, epochs, steps and their median time.

    BudgetError if the minutes are too few for some steps, ParameterError if the loss became
    infinite or NaN, StorageError without room for a checkpoint.
    """
    from transformers import PrinterCallback, Trainer

    # how many steps, and what watches them
    per_epoch = -(-len(train_data) // settings.batch_size)
    n_steps = max(1, round(settings.epochs * per_epoch))
    evaluation_steps = len(eval_data) / settings.batch_size * EVALUATION_OF_STEP
    in_time = InTime(clock, len(train_data), per_epoch, evaluation_steps, progress=progress)
    checkpoints = Checkpoints(run, clock, per_epoch, share)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    trainer = Trainer(
        model=model,
        args=_arguments(measure, settings, run.path),
        train_dataset=train_data,
        eval_dataset=eval_data,
        data_collator=collate,
        optimizers=(optimizer, schedule(optimizer, n_steps, in_time, settings.warmup)),
        compute_metrics=measure.of,
        callbacks=[in_time, checkpoints, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to standard output
    if lengths is not None:
        order = ByLength(lengths, settings.batch_size, settings.seed)
        trainer._get_train_sampler = lambda *_: order
    with clock.phase("training"), quiet_loading(), libraries_writing(run.path):
        trainer.train(resume_from_checkpoint=last_checkpoint(run.path))
    n_seen = trainer.state.global_step * settings.batch_size
    if in_time.is_over and n_seen < len(train_data):
        note_share(n_seen / len(train_data), "the examples were used")
    with clock.phase("evaluation"):
        held_out = _best(trainer, measure) or trainer.evaluate(eval_data)
    held_out = {name.removeprefix("eval_"): value for name, value in held_out.items()}
    # weights that are not finite are of use to nobody
    if not math.isfinite(held_out["loss"]) or not all(p.isfinite().all() for p in weights):
        run.restart()  # nor are their checkpoints
        want, got = "small enough for training not to diverge", settings.learning_rate
        raise ParameterError.of("learning_rate", "tune", want, got, "Pass a third of it.")
    found = {name: float(held_out[name]) for name in measure.names}
    return {
        "held_out": {n: round(x, 5) if math.isfinite(x) else None for n, x in found.items()},
        "epochs": round(trainer.state.global_step / per_epoch, 2),
        "steps": int(trainer.state.global_step),  # before an interruption too
        "step_ms": round(1000 * statistics.median(in_time.step_s or [0.0]), 1),
    }


def _best(trainer: Any, measure: Measure) -> dict[str, float] | None:
    """The figures of the evaluation whose weights were kept."""
    name, best = f"eval_{measure.best}", trainer.state.best_metric
    found = [row for row in trainer.state.log_history if best is not None and row.get(name) == best]
    return dict(found[0]) if found else None


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole; those that a kill cut off are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        try:
            json.loads((path / "trainer_state.json").read_bytes())  # what is written last
            return str(path)
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def _arguments(measure: Measure, settings: TrainSettings, folder: Path) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder), num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        learning_rate=settings.learning_rate, eval_strategy="epoch", save_strategy="epoch",
        save_total_limit=2, load_best_model_at_end=True, metric_for_best_model=measure.best,
        greater_is_better=not measure.best.endswith("loss"), logging_strategy="no", report_to=[],
        disable_tqdm=True, remove_unused_columns=False,
        dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(),
        bf16=settings.bfloat16, seed=settings.seed, data_seed=settings.seed,
    )  # fmt: skip


class ByLength(LengthGroupedSampler):  # type: ignore[misc]
    """Examples of similar length together, in another order in each epoch.

    An epoch that is resumed has the order in which it began: torch's own samplers draw from the
    global generator, and would not.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths))
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called when an epoch begins."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        self.generator = torch.Generator().manual_seed(seed)


def schedule(optimizer: Any, n_steps: int, in_time: InTime, warmup: float) -> LambdaLR:
    """A learning rate that rises for a part of the steps and falls to 0, in time."""

    def factor(step: int) -> float:
        fraction = in_time.fraction()
        done = max(step / max(n_steps, 1), fraction)
        risen = max((step + 1) / max(1.0, warmup * n_steps), fraction / max(warmup, 1e-9))
        return min(1.0, risen) * max(0.0, 1.0 - done)

    return LambdaLR(optimizer, factor)


class InTime(TrainerCallback):  # type: ignore[misc]
    """Ends training in time; says at the start what it will take, and shows a bar.

    An epoch has ``n_examples`` in ``per_epoch`` steps; an evaluation is taken to last as long as
    ``evaluation_steps`` until it is known; ``reserve_s`` is for what comes after training.
    """

    def __init__(
        self, clock: Clock, n_examples: int, per_epoch: int, evaluation_steps: float = 0.0, *,
        reserve_s: float = RESERVE_S, progress: bool = False,
    ) -> None:  # fmt: skip
        self.clock, self.n_examples, self.per_epoch = clock, n_examples, per_epoch
        self.evaluation_steps, self.reserve_s = evaluation_steps, reserve_s
        self.bar = Progress(desc="steps", unit="step", disable=None if progress else True)
        self.step_began = clock.used_s
        self.step_s: list[float] = []
        self.said_s = 0.0  # what the steps after the first ones were said to take
        self.evaluation_s = 0.0
        self.is_over = False  # whether the minutes ended training
        self._trained_from_s: float | None = None
        self._trains = self._evaluation_is_known = False

    @property
    def left_s(self) -> float:
        """Seconds left for steps, before the evaluation of the last ones."""
        return self.clock.left_s - self.reserve_s - self.evaluation_s

    def fraction(self) -> float:
        """Share of the time for training that is over: 0 without minutes."""
        used, began = self.clock.used_s, self._trained_from_s
        began = used if began is None else began
        whole = self.clock.seconds - self.reserve_s - self.evaluation_s - began
        return min(1.0, (used - began) / whole) if whole > 0 else 1.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when steps begin; BudgetError if there is no time for one."""
        self._trains, used = True, self.clock.used_s
        self.bar.reset(state.max_steps)
        self.bar.update(state.global_step)
        self._trained_from_s = 0.0 if state.global_step else used  # resumed: all its time counts
        if self.left_s <= 0 and state.global_step < self.per_epoch:
            what = "The minutes were over before the first step: what comes before it"
            raise too_short(what, used, 2 * used, "or fewer examples")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when a step begins."""
        self.step_began = self.clock.used_s

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Note the time of a step, and stop if there is none for another."""
        self.bar.update()
        self.step_s.append(self.clock.used_s - self.step_began)
        if not self._evaluation_is_known:
            estimate = self.evaluation_steps * self.step_s[-1]
            self.evaluation_s = max(self.evaluation_s, estimate)
        if len(self.step_s) == TIMED_STEPS:
            self._say_cost(state)
        if self.left_s <= max(self.step_s[-TIMED_STEPS:]):
            if state.global_step < min(TIMED_STEPS, self.per_epoch):
                steps = self.step_s[1:] or self.step_s
                raise self._too_short(sum(steps) / len(steps) * self.per_epoch)
            control.should_training_stop = True  # which ends the epoch, evaluates and saves
            self.is_over = True
        return control

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Note the time of an evaluation, and count it as such; show how good it was."""
        last_step_ended = self.step_began + (self.step_s[-1] if self.step_s else 0.0)
        seconds = self.clock.used_s - last_step_ended
        self.evaluation_s = max(self.evaluation_s * self._evaluation_is_known, seconds)
        self._evaluation_is_known = True
        if self._trains:
            phases = self.clock.phases
            for name, more in (("training", -seconds), ("evaluation", seconds)):
                phases[name] = phases.get(name, 0.0) + more
            name = args.metric_for_best_model.removeprefix("eval_")
            self.bar.set_postfix({name: f"{(metrics or {}).get(f'eval_{name}', math.nan):.4f}"})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say how long the steps took beside what was said; later evaluations are no training."""
        self._trains = False
        self.bar.close()
        if self.said_s and (self.is_over or state.global_step >= state.max_steps):
            say_error(self.said_s, sum(self.step_s[TIMED_STEPS:]))

    def _say_cost(self, state: Any) -> None:
        """Say what training will cost."""
        steps, n_steps = self.step_s[FIRST_STEPS:], state.max_steps - state.global_step
        a_step = sum(steps) / len(steps)
        what = f"{n_steps:,} steps of {1000 * a_step:,.0f} ms, {state.num_train_epochs} epochs"
        self.said_s = min(a_step * n_steps, self.left_s)
        say_cost(what, self.said_s)

    def _too_short(self, epoch_s: float) -> BudgetError:
        fitting = max(0, int(self.n_examples * self.left_s / max(epoch_s, 1e-9)))
        needed = (self.clock.used_s + epoch_s + self.reserve_s + self.evaluation_s) * 1.1
        fits = f"or at most {fitting:,} of {self.n_examples:,} examples"
        return too_short("One epoch", epoch_s, needed, fits)


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Checkpoints as often as they take little of the time.

    At the end of an epoch, after ``per_epoch`` steps, the Trainer evaluates and saves by itself.
    """

    def __init__(self, run: RunFolder, clock: Clock, per_epoch: int, share: float = 1.0) -> None:
        self.run, self.clock, self.per_epoch, self.share = run, clock, per_epoch, share
        self.save_every, self._asked_s = SaveEvery(clock), clock.used_s

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask for a checkpoint where it is due."""
        if state.global_step % self.per_epoch and self.save_every.is_due:
            control.should_save = True
        self._asked_s = self.clock.used_s
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """From here on the run can be resumed."""
        self.save_every.saved(self._asked_s)
        self.run.keep(self.clock, steps=state.global_step, share=self.share)
