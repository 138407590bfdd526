"""Training within minutes, under the plain ``Trainer``: a clock, a schedule, a bar, phases.

Without minutes the learning rate falls linearly over the steps. With them it falls with whichever
is further on, the steps or the time, so that it is at its end when the time is.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import TrainerCallback

from shoestring.artifacts import written_aside
from shoestring.errors import BudgetError, ParameterError, StorageError

TIMED_STEPS = 5  # until it is known how long an epoch takes
FIRST_STEPS = 2  # that are slower than the others
LEAST_S = 20.0  # between checkpoints
SHARE_OF_SAVING = 0.05  # of the time
CLOCK = "clock.json"


class Clock:
    """Time of a job, earlier parts of it included.

    Parameters
    ----------
    minutes : float or None
        None: as long as it takes.
    used_s : float
        Seconds that were used before an interruption.
    began : float, optional
        ``time.monotonic()`` when the job began, before what it needs was imported; by default now.
    """

    def __init__(
        self, minutes: float | None = None, used_s: float = 0.0, began: float | None = None
    ) -> None:
        if minutes is not None and not 0 < minutes < math.inf:
            raise ParameterError.of("minutes", "tune", "a positive number", minutes)
        self.seconds = math.inf if minutes is None else 60.0 * minutes
        self._began = (time.monotonic() if began is None else began) - used_s
        self.trained_from_s = 0.0 if used_s else None  # of what went on, the whole time counts
        self.phases: dict[str, float] = {}

    @property
    def used_s(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.seconds - self.used_s

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - began

    def move(self, seconds: float, from_phase: str, to_phase: str) -> None:
        """Count a part of a phase, which may still go on, as another's."""
        for name, more in ((from_phase, -seconds), (to_phase, seconds)):
            self.phases[name] = self.phases.get(name, 0.0) + more


class Budget(TrainerCallback):  # type: ignore[misc]
    """Ends training in time, and says at the start what it will take.

    Parameters
    ----------
    clock : Clock
    n_examples : int
        In an epoch.
    reserve_s : float
        For what comes after training.
    evaluation_steps : float
        What an evaluation takes, in steps, until it is known.
    """

    def __init__(
        self, clock: Clock, n_examples: int, reserve_s: float = 0.0, evaluation_steps: float = 0.0
    ) -> None:
        self.clock, self.n_examples, self.reserve_s = clock, n_examples, reserve_s
        self.evaluation_steps = evaluation_steps
        self.step_began = clock.used_s
        self.step_s: list[float] = []
        self.evaluation_s = 0.0
        self._trains = False

    @property
    def left_s(self) -> float:
        """Seconds left for steps, an evaluation of the last ones included."""
        return self.clock.left_s - self.reserve_s - self.evaluation_s

    def fraction(self) -> float:
        """How much of the time for training is over: 0 without minutes."""
        began = self.clock.trained_from_s
        began = self.clock.used_s if began is None else began
        whole = self.clock.seconds - self.reserve_s - self.evaluation_s - began
        return min(1.0, (self.clock.used_s - began) / whole) if whole > 0 else 1.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when steps begin; BudgetError if there is no time for one."""
        self._trains = True
        if self.clock.trained_from_s is None:
            self.clock.trained_from_s = self.clock.used_s
        if self.left_s <= 0 and state.global_step < _per_epoch(state):
            used = self.clock.used_s
            raise BudgetError(
                f"The minutes were over before the first step: what comes before it took "
                f"{tqdm.format_interval(used)}. Pass {in_minutes(2 * used)} minutes or more, or "
                "fewer examples."
            )

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when a step begins."""
        self.step_began = self.clock.used_s

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """See how long steps take, and whether there is time for another."""
        self.step_s.append(self.clock.used_s - self.step_began)
        self.evaluation_s = max(self.evaluation_s, self.evaluation_steps * self.step_s[-1])
        if len(self.step_s) == TIMED_STEPS:
            self._foresee(state)
        if self.left_s <= max(self.step_s[-TIMED_STEPS:]):
            if state.global_step < min(TIMED_STEPS, _per_epoch(state)):
                steps = self.step_s[1:] or self.step_s
                raise self._too_little(sum(steps) / len(steps) * _per_epoch(state))
            control.should_training_stop = True  # which ends the epoch, evaluates and saves
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note how long an evaluation takes."""
        seconds = self.clock.used_s - self._last_step_ended()
        self.evaluation_s = max(self.evaluation_s, seconds)
        if self._trains:
            self.clock.move(seconds, "training", "evaluation")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Later evaluations are no part of training."""
        self._trains = False

    def _last_step_ended(self) -> float:
        return self.step_began + (self.step_s[-1] if self.step_s else 0.0)

    def _too_little(self, an_epoch: float) -> BudgetError:
        fitting = max(0, int(self.n_examples * self.left_s / max(an_epoch, 1e-9)))
        needed = (self.clock.used_s + an_epoch + self.reserve_s + self.evaluation_s) * 1.1
        return BudgetError(
            f"One epoch takes about {tqdm.format_interval(an_epoch)}; what is left of the minutes "
            f"is enough for {fitting:,} of {self.n_examples:,} examples. Pass {in_minutes(needed)} "
            "minutes or more, or fewer examples."
        )

    def _foresee(self, state: Any) -> None:
        """Say what training will cost; BudgetError if an epoch does not fit."""
        steps = self.step_s[FIRST_STEPS:]
        a_step = sum(steps) / len(steps)
        n_steps = state.max_steps - state.global_step
        per_epoch = _per_epoch(state)
        an_epoch = a_step * per_epoch
        rest = an_epoch * (1 - TIMED_STEPS / max(per_epoch, TIMED_STEPS + 1))
        if state.global_step < per_epoch and self.left_s < rest:
            raise self._too_little(an_epoch)
        about = min(a_step * n_steps, self.left_s)
        tqdm.write(
            f"{n_steps:,} steps of {1000 * a_step:,.0f} ms, {state.num_train_epochs} epochs: about "
            f"{tqdm.format_interval(about)}",
            file=sys.stderr,
        )


def _per_epoch(state: Any) -> int:
    if state.global_step and state.epoch:
        per_epoch: float = state.global_step / state.epoch
        return max(1, round(per_epoch))
    return max(1, int(state.max_steps / max(state.num_train_epochs, 1) + 0.5))


def in_minutes(seconds: float) -> str:
    """Minutes to ask for, rounded up.

    Examples
    --------
    >>> in_minutes(61), in_minutes(10_000)
    ('1.1', '167')
    """
    minutes = seconds / 60
    return f"{math.ceil(10 * minutes) / 10:g}" if minutes < 100 else f"{math.ceil(minutes)}"


class KeepPlace(TrainerCallback):  # type: ignore[misc]
    """Checkpoints as often as they take little of the time, and one at Ctrl-C.

    Parameters
    ----------
    clock : Clock
        Its time is kept beside the checkpoint.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._asked_at = self._saved_at = clock.used_s
        self._saving_s = 0.0
        self._interrupted = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask for a checkpoint where it is time."""
        if state.global_step % _per_epoch(state) == 0:  # one is written when it is evaluated
            control.should_training_stop = self._interrupted or control.should_training_stop
        elif self._interrupted:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = False
        elif self.clock.used_s - self._saved_at > max(LEAST_S, self._saving_s / SHARE_OF_SAVING):
            control.should_save = True
        self._asked_at = self.clock.used_s
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Neither evaluate nor save again where Ctrl-C ended the epoch before its last step."""
        if self._interrupted and state.global_step % _per_epoch(state):
            control.should_evaluate = control.should_save = False
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the time that is used, and how long the checkpoint took."""
        self._saved_at = self.clock.used_s
        self._saving_s = self._saved_at - self._asked_at
        with written_aside(Path(args.output_dir) / CLOCK) as file:
            file.write(json.dumps(self.clock.used_s).encode())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let Ctrl-C end the batch in hand and write a checkpoint before it is raised."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_: Any) -> None:
        if self._interrupted:  # a second time: at once
            raise KeyboardInterrupt
        self._interrupted = True


def used_before(folder: Path) -> float:
    """Seconds that an interrupted training had used."""
    file = folder / CLOCK
    try:
        return float(json.loads(file.read_bytes())) if file.exists() else 0.0
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror or error}.") from error


def schedule(optimizer: Any, n_steps: int, budget: Budget, warmup: float = 0.06) -> LambdaLR:
    """A learning rate that rises for a part of the steps and falls to 0, in time."""

    def factor(step: int) -> float:
        done = max(step / max(n_steps, 1), budget.fraction())
        risen = max((step + 1) / max(1.0, warmup * n_steps), budget.fraction() / max(warmup, 1e-9))
        return min(1.0, risen) * max(0.0, 1.0 - done)

    return LambdaLR(optimizer, factor)


class Bar(TrainerCallback):  # type: ignore[misc]
    """A progress bar on standard error, with the time that is left."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show it."""
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="steps", unit="step",
            disable=None,
        )  # fmt: skip

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move on."""
        self._bar.update()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Show how good it is."""
        found = {name.removeprefix("eval_"): value for name, value in (metrics or {}).items()}
        if self._bar is not None and args.metric_for_best_model:
            name = args.metric_for_best_model.removeprefix("eval_")
            self._bar.set_postfix({name: f"{found.get(name, math.nan):.4f}"})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave it."""
        self._bar.close()
