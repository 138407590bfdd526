"""The clock of a training: what it foresees, when it stops, what it keeps; time moved by hand."""

import json
import os
import re
import signal
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import TrainerControl, TrainerState

from shoestring.errors import BudgetError, ParameterError
from shoestring.tune import budget as module
from shoestring.tune.budget import Bar, Budget, Clock, KeepPlace, schedule, used_before


@pytest.fixture
def now(monkeypatch):
    """Seconds, moved by hand."""
    time = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.s))
    return time


def drive(budget, now, step_s, *, per_epoch, epochs=3, first=0, evaluation_s=0.0):
    """Steps of some length, as a Trainer makes them, until training stops: how many."""
    state, control = TrainerState(), TrainerControl()
    state.max_steps, state.num_train_epochs = per_epoch * epochs, epochs
    state.global_step = first
    budget.on_train_begin(None, state, control)
    while state.global_step < state.max_steps and not control.should_training_stop:
        budget.on_step_begin(None, state, control)
        now.s += step_s
        state.global_step += 1
        budget.on_step_end(None, state, control)
        if state.global_step % per_epoch == 0 or control.should_evaluate:
            now.s += evaluation_s
            budget.on_evaluate(None, state, control)
    return state.global_step - first, control


# ---- clock ----


def test_a_clock_counts_what_was_used_before(now):
    clock = Clock(2.0, used_s=30.0)
    now.s += 10
    assert (clock.used_s, clock.left_s, clock.seconds) == (40.0, 80.0, 120.0)
    assert Clock().left_s == float("inf")


def test_a_clock_counts_from_when_the_job_began(now):
    began = now.s
    now.s += 7
    assert Clock(2.0, began=began).used_s == 7.0
    assert Clock(2.0, used_s=30.0, began=began).used_s == 37.0


def test_phases_add_up_even_where_they_fail(now):
    clock = Clock()
    for seconds in (2, 3):
        with pytest.raises(KeyError), clock.phase("reading"):
            now.s += seconds
            raise KeyError
    with clock.phase("training"):
        now.s += 7
    assert clock.phases == {"reading": 5.0, "training": 7.0}


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan"), float("inf")])
def test_minutes_that_cannot_be_are_refused(minutes):
    with pytest.raises(ParameterError, match=f"'minutes'.*a positive number. Got {minutes}"):
        Clock(minutes)


# ---- what is foreseen ----


def test_too_few_minutes_for_an_epoch_say_what_fits(now):
    budget = Budget(Clock(1.0), n_examples=3_200)
    with pytest.raises(BudgetError) as said:
        drive(budget, now, 1.0, per_epoch=100)
    message = str(said.value)  # 5 of 60 s are used, 100 s are needed
    assert "One epoch takes about 01:40" in message
    assert "enough for 1,760 of 3,200 examples" in message
    assert "Pass 2 minutes or more, or fewer examples" in message


@pytest.mark.parametrize("step_s", [0.3, 1.0, 7.0, 40.0])
def test_the_minutes_that_are_asked_for_are_enough(now, step_s):
    with pytest.raises(BudgetError) as said:
        drive(Budget(Clock(step_s * 0.4), 100), now, step_s, per_epoch=100)
    minutes = float(re.search(r"Pass (\d[\d.]*) minutes", str(said.value))[1])
    steps, _ = drive(Budget(Clock(minutes), 100), now, step_s, per_epoch=100)
    assert steps >= 100


def test_many_minutes_are_written_as_people_write_them(now):
    with pytest.raises(BudgetError) as said:
        drive(Budget(Clock(60.0), 9_000), now, 90.0, per_epoch=100)
    assert "e+" not in str(said.value)


def test_minutes_that_are_over_in_a_few_steps_are_too_few_as_well(now):
    with pytest.raises(BudgetError, match="One epoch takes about"):
        drive(Budget(Clock(1.0), 3_200), now, 20.0, per_epoch=100)


def test_an_epoch_of_few_steps_may_end_early(now):
    steps, control = drive(Budget(Clock(1.0), 64), now, 10.0, per_epoch=2, epochs=10)
    assert 4 <= steps <= 6
    assert control.should_training_stop  # the end of the epoch evaluates and saves


def test_without_minutes_every_step_is_made(now):
    assert drive(Budget(Clock(), 64), now, 1e6, per_epoch=20)[0] == 60


def test_what_it_will_take_is_said_once(now, capsys):
    drive(Budget(Clock(10.0), 64), now, 0.5, per_epoch=20)
    assert capsys.readouterr().err == "55 steps of 500 ms, 3 epochs: about 00:27\n"


def test_what_it_will_take_is_no_more_than_what_is_left(now, capsys):
    drive(Budget(Clock(1.0), 64), now, 1.0, per_epoch=40, epochs=100)
    assert capsys.readouterr().err.endswith("about 00:55\n")


@pytest.mark.parametrize("evaluation_s", [0.0, 4.0])
@pytest.mark.parametrize("step_s", [0.5, 3.0])
def test_steps_and_the_last_evaluation_end_in_time(now, step_s, evaluation_s):
    clock = Clock(2.0)
    drive(
        Budget(clock, 64, reserve_s=1.0), now, step_s, per_epoch=8, epochs=50,
        evaluation_s=evaluation_s,
    )  # fmt: skip
    assert 120 - 2 * step_s - 1.0 - evaluation_s <= clock.used_s <= 120 - 1.0


def test_evaluations_of_epochs_are_no_part_of_training(now):
    clock = Clock()
    budget = Budget(clock, n_examples=256)
    with clock.phase("training"):
        n_steps, control = drive(budget, now, 0.5, per_epoch=8, epochs=3, evaluation_s=4.0)
        budget.on_train_end(None, TrainerState(), control)
    with clock.phase("evaluation"):
        now.s += 2
        budget.on_evaluate(None, TrainerState(), control)
    assert clock.phases == {"training": 0.5 * n_steps, "evaluation": 3 * 4.0 + 2}


def test_what_was_trained_before_an_interruption_is_not_lost_for_want_of_an_epoch(now):
    budget = Budget(Clock(10.0, used_s=560.0), n_examples=3_200)
    steps, control = drive(budget, now, 1.0, per_epoch=100, epochs=10, first=540)
    assert 30 <= steps <= 40
    assert control.should_training_stop


# ---- the learning rate ----


def rates(optimizer, scheduler, n, move):
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
        move()
        optimizer.step()
        scheduler.step()
    return [*found, optimizer.param_groups[0]["lr"]]


def sgd():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def test_without_minutes_the_rate_rises_and_falls_over_the_steps(now):
    optimizer = sgd()
    found = rates(optimizer, schedule(optimizer, 50, Budget(Clock(), 1), 0.1), 50, lambda: None)
    want = [min(1.0, (step + 1) / 5) * (1 - step / 50) for step in range(51)]
    assert found == pytest.approx(want)


def test_with_minutes_the_rate_is_zero_when_the_time_is_over(now):
    optimizer, budget = sgd(), Budget(Clock(1.0), 1, reserve_s=10.0)
    scheduler = schedule(optimizer, 10_000, budget, 0.0)
    budget.on_train_begin(None, None, None)

    def move():
        now.s += 5.0

    found = rates(optimizer, scheduler, 10, move)
    assert found == pytest.approx([1 - i / 10 for i in range(11)], abs=2e-3)
    assert found[-1] == 0.0


def test_with_minutes_the_rate_rises_within_the_time_that_there_is(now):
    """However many epochs may be made at the most."""
    optimizer, budget = sgd(), Budget(Clock(1.0), 1)
    scheduler = schedule(optimizer, 10**9, budget, 0.1)
    budget.on_train_begin(None, None, None)

    def move():
        now.s += 3.0

    found = rates(optimizer, scheduler, 20, move)
    assert found == pytest.approx([min(1, i / 2) * (1 - i / 20) for i in range(21)], abs=1e-6)


def test_what_came_before_training_does_not_lower_the_first_rate(now):
    clock = Clock(1.0)
    now.s += 30
    budget = Budget(clock, 1)
    budget.on_train_begin(None, None, None)
    assert budget.fraction() == 0.0
    now.s += 15
    assert budget.fraction() == pytest.approx(0.5)
    now.s += 100
    assert budget.fraction() == 1.0


def test_no_time_left_is_a_rate_of_zero(now):
    clock = Clock(1.0)
    now.s += 70
    assert Budget(clock, 1).fraction() == 1.0


def test_the_rate_does_not_rise_again_after_an_interruption(now, tmp_path):
    clock = Clock(1.0)
    budget, place = Budget(clock, 1), KeepPlace(clock)
    budget.on_train_begin(None, None, None)
    now.s += 45
    before = budget.fraction()
    place.on_save(SimpleNamespace(output_dir=str(tmp_path)), None, None)
    again = Budget(Clock(1.0, used_before(tmp_path)), 1)
    again.on_train_begin(None, None, None)
    assert again.fraction() >= before == pytest.approx(0.75)


# ---- checkpoints ----


@pytest.fixture
def saving(now, tmp_path):
    """A function: a step of some seconds and, if one was asked for, a checkpoint of others."""

    def step(place, step_s, saving_s=0.0):
        control = TrainerControl()
        now.s += step_s
        place.on_step_end(None, TrainerState(global_step=3, epoch=0.3), control)
        if control.should_save:
            now.s += saving_s
            place.on_save(SimpleNamespace(output_dir=str(tmp_path)), None, control)
        return control

    return step


def test_checkpoints_come_every_twenty_seconds_and_take_a_twentieth_of_the_time(now, saving):
    place = KeepPlace(Clock())
    saved = [i for i in range(130) if saving(place, 1.0, 2.0).should_save]
    assert saved == [20, 61, 102]  # after the first one 2 s / 0.05


def test_the_used_time_is_kept_beside_a_checkpoint(now, saving, tmp_path):
    clock = Clock(10.0, used_s=5.0)
    assert used_before(tmp_path) == 0.0
    saving(KeepPlace(clock), 30.0, 2.0)
    assert json.loads((tmp_path / "clock.json").read_text()) == 37.0
    assert used_before(tmp_path) == 37.0
    assert [path.name for path in tmp_path.iterdir()] == ["clock.json"]


def test_ctrl_c_ends_the_step_in_hand_with_a_checkpoint_and_is_raised_then(saving):
    place, before, reached = KeepPlace(Clock()), signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), place.watching():
        assert not saving(place, 1.0).should_training_stop
        os.kill(os.getpid(), signal.SIGINT)
        control = saving(place, 1.0)
        reached.append((control.should_training_stop, control.should_save))
        assert not control.should_evaluate
    assert reached == [(True, True)]
    assert signal.getsignal(signal.SIGINT) is before


def test_no_checkpoint_is_written_twice_where_an_epoch_ends(now):
    place = KeepPlace(Clock())
    now.s += 30
    ending, within = TrainerControl(), TrainerControl()
    place.on_step_end(None, TrainerState(global_step=20, epoch=2.0), ending)
    assert not ending.should_save
    now.s += 30
    place.on_step_end(None, TrainerState(global_step=21, epoch=2.1), within)
    assert within.should_save


def test_ctrl_c_where_an_epoch_ends_lets_it_be_evaluated():
    place, control = KeepPlace(Clock()), TrainerControl(should_evaluate=True)
    state = TrainerState(global_step=20, epoch=2.0)
    with pytest.raises(KeyboardInterrupt), place.watching():
        os.kill(os.getpid(), signal.SIGINT)
        place.on_step_end(None, state, control)
        place.on_epoch_end(None, state, control)
    assert (control.should_training_stop, control.should_evaluate) == (True, True)


def test_the_steps_of_an_epoch_are_known_where_epochs_are_no_whole_number():
    """Of 1.5 epochs of 11 steps, 17 are made."""
    state = TrainerState(global_step=11, epoch=1.0, max_steps=17, num_train_epochs=2)
    place, control = KeepPlace(Clock()), TrainerControl(should_evaluate=True)
    place._interrupted = True
    place.on_epoch_end(None, state, control)
    assert control.should_evaluate


def test_a_second_ctrl_c_is_raised_at_once():
    place, reached = KeepPlace(Clock()), []
    with pytest.raises(KeyboardInterrupt), place.watching():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
        reached.append(2)
    assert reached == [1]


def test_an_error_while_training_gives_the_signal_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="broken"), KeepPlace(Clock()).watching():
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_training_in_another_thread_leaves_signals_alone():
    found = []

    def train():
        with KeepPlace(Clock()).watching():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [before]


# ---- the bar ----


def test_a_bar_shows_steps_and_the_figure_that_is_watched(monkeypatch):
    made = []

    class Shown:
        def __init__(self, **options):
            self.n, self.options, self.closed = options["initial"], options, False
            made.append(self)

        def update(self):
            self.n += 1

        def set_postfix(self, figures):
            self.figures = figures

        def close(self):
            self.closed = True

    monkeypatch.setattr(module, "tqdm", Shown)
    bar, state = Bar(Budget(Clock(), 1)), TrainerState()
    state.max_steps, state.global_step = 10, 4
    arguments = SimpleNamespace(metric_for_best_model="eval_accuracy")
    bar.on_train_begin(None, state, None)
    bar.on_step_end(None, state, None)
    bar.on_evaluate(arguments, state, None, metrics={"eval_accuracy": 0.25})
    assert (made[0].n, made[0].options["total"]) == (5, 10)
    assert made[0].figures == {"accuracy": "0.2500"}
    bar.on_train_end(None, state, None)
    assert made[0].closed
