"""Training under the plain Trainer: the best epoch, the same bits, the place that is kept."""

import functools
import os
import re
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import TrainerControl, TrainerState

from shoestring.errors import BudgetError, ParameterError
from shoestring.jobs import Clock, RunFolder
from shoestring.text.records import Labelled
from shoestring.tune import trainer as module
from shoestring.tune.cache import OutputCache
from shoestring.tune.config import LadderConfig
from shoestring.tune.examples import Collate, examples_of, split
from shoestring.tune.ladder import Ladder
from shoestring.tune.trainer import (
    ByLength,
    Checkpoints,
    InTime,
    TrainSettings,
    fit,
    measure_of,
    schedule,
)

WORDS = ("open read file path write", "sort list count map string")
SETTINGS = TrainSettings(epochs=3, batch_size=8, learning_rate=1e-2)
PER_EPOCH = 4  # steps: 27 of 30 texts, 8 at a time


def texts(n=30):
    rng = np.random.default_rng(0)
    labels = [str(i % 2) for i in range(n)]
    first = [" ".join(rng.choice(WORDS[i % 2].split(), 2 + i % 4)) for i in range(n)]
    return Labelled(first, labels)


@pytest.fixture
def run(backbone, tmp_path):
    """A function: train a new ladder; the report and the ladder."""
    config = LadderConfig(layers=(0, 1, 2), max_length=20)
    parts = split(
        examples_of(texts(), 30, [int(y) for y in texts().labels], backbone(), config), 30, False, 0
    )

    def trained(name="run", settings=SETTINGS, clock=None, **changes):
        ladder = Ladder(replace(config, **changes), backbone())
        cache = OutputCache(ladder.backbone, ladder.layers)
        collate = Collate(parts[0], "classify", cache, 0)
        clock = clock or Clock()
        with RunFolder.open(tmp_path / name, {}, resume=True) as run:
            clock.add_used(run.used_s)
            measure = measure_of("classify", [])
            given = (ladder, *parts, collate, settings, clock, run, measure)
            report = fit(*given, lengths=parts[0].lengths, progress=False)
        return report, ladder

    return trained


def bits(ladder):
    return {name: value.clone() for name, value in ladder.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def seen(monkeypatch):
    """Accuracies that evaluations find, one after the other; the first two stay as they are."""

    def accuracies(*values):
        left = list(values)

        def quality(task, logits, labels):
            value = left.pop(0) if left else 0.0
            return {"accuracy": value, "macro_f1": value}

        monkeypatch.setattr(module, "quality", quality)

    return accuracies


@pytest.fixture
def snapshots(monkeypatch):
    """Weights at the end of each epoch."""
    found = []

    def on_evaluate(self, args, state, control, model=None, **_):
        found.append((state.global_step, bits(model)))

    monkeypatch.setattr(InTime, "on_evaluate", on_evaluate)
    return found


@pytest.fixture
def interrupted_at(monkeypatch):
    """A function: Ctrl-C after the checkpoint of that step."""

    def at(step):
        step_end, on_save = Checkpoints.on_step_end, Checkpoints.on_save

        def on_step_end(self, args, state, control, **more):
            step_end(self, args, state, control, **more)
            if state.global_step == step and step % self.per_epoch:
                control.should_save = True
            return control

        def saved(self, args, state, control, **more):
            on_save(self, args, state, control, **more)
            if state.global_step == step:
                os.kill(os.getpid(), signal.SIGINT)

        def restore():
            monkeypatch.setattr(Checkpoints, "on_step_end", step_end)
            monkeypatch.setattr(Checkpoints, "on_save", on_save)

        monkeypatch.setattr(Checkpoints, "on_step_end", on_step_end)
        monkeypatch.setattr(Checkpoints, "on_save", saved)
        return restore

    return at


@pytest.fixture
def now():
    """Seconds, moved by hand, and clocks that count them."""
    time = SimpleNamespace(s=1000.0)
    time.clock = lambda minutes=None, used_s=0.0: Clock(minutes, used_s, now=lambda: time.s)
    return time


# ---- what comes out ----


def test_training_learns_and_says_what_it_took(run):
    report, _ = run(settings=replace(SETTINGS, epochs=20))
    assert report.keys() == {"held_out", "epochs", "steps", "step_ms"}
    assert report["held_out"].keys() == {"loss", "accuracy", "macro_f1"}
    assert report["held_out"]["accuracy"] > 0.5
    assert (report["epochs"], report["steps"]) == (20.0, 20 * PER_EPOCH)
    assert report["step_ms"] > 0


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(run):
    short = replace(SETTINGS, epochs=1)
    one, again = bits(run("a", short)[1]), bits(run("b", short)[1])
    assert same(one, again)
    assert not same(one, bits(run("c", replace(short, seed=1))[1]))


def test_the_best_epoch_is_kept(run, seen, snapshots):
    seen(0.5, 0.9, 0.3, 0.9)
    report, ladder = run()
    assert [step for step, _ in snapshots[:3]] == [4, 8, 12]
    assert same(bits(ladder), snapshots[1][1])
    assert not same(bits(ladder), snapshots[2][1])
    assert report["held_out"]["accuracy"] == 0.9
    assert report["epochs"] == 3.0


def test_a_part_of_an_epoch_can_be_asked_for(run):
    report, _ = run(settings=replace(SETTINGS, epochs=0.5))
    assert (report["epochs"], report["steps"]) == (0.5, 2)


# ---- interruptions ----


def test_ctrl_c_in_an_epoch_keeps_the_place(run, interrupted_at, tmp_path):
    restore = interrupted_at(6)
    with pytest.raises(KeyboardInterrupt):
        run()
    restore()
    kept = {path.name for path in (tmp_path / "run.run").iterdir()}
    assert kept == {"checkpoint-4", "checkpoint-6", "run.json"}
    report, _ = run()
    assert (report["steps"], report["epochs"]) == (12, 3.0)


@pytest.mark.parametrize("step", [2, PER_EPOCH, 6, 11])
def test_what_goes_on_ends_with_the_bits_of_a_run_without_a_break(run, interrupted_at, step):
    restore = interrupted_at(step)
    with pytest.raises(KeyboardInterrupt):
        run("a")
    restore()
    report, ladder = run("a")
    assert report["steps"] == 12
    assert same(bits(ladder), bits(run("b")[1]))


def test_each_epoch_has_an_order_of_its_own_and_batches_have_like_lengths():
    order = ByLength([1 + i * 7 % 40 for i in range(400)], 4, 0)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    assert sorted(first) == sorted(second) == list(range(len(order))) == list(range(400))
    assert first != second != list(ByLength(order.lengths, 4, 0)) == first
    lengths = np.array([order.lengths[i] for i in first]).reshape(-1, 4)
    assert np.ptp(lengths, axis=1).mean() < 6 < np.ptp(order.lengths)


def test_the_best_epoch_before_an_interruption_is_kept(run, seen, snapshots, interrupted_at):
    seen(0.9)
    restore = interrupted_at(6)
    with pytest.raises(KeyboardInterrupt):
        run()
    restore()
    seen(0.5, 0.3, 0.9)
    _, ladder = run()
    assert same(bits(ladder), snapshots[0][1])


def test_a_checkpoint_that_a_kill_cut_off_does_not_stop_the_next_run(run, interrupted_at, tmp_path):
    restore = interrupted_at(6)
    with pytest.raises(KeyboardInterrupt):
        run()
    restore()
    cut = tmp_path / "run.run" / "checkpoint-7"  # the model was written, the state was not
    cut.mkdir()
    (cut / "model.safetensors").write_bytes(
        (tmp_path / "run.run" / "checkpoint-6" / "model.safetensors").read_bytes()
    )
    report, _ = run()
    assert report["steps"] == 12


def test_what_diverged_leaves_nothing_to_go_on_with(run, tmp_path):
    with pytest.raises(ParameterError, match="'learning_rate'"):
        run(settings=replace(SETTINGS, learning_rate=1e30))
    assert not (tmp_path / "run.run").exists()


# ---- minutes ----


@pytest.fixture
def slow(now, monkeypatch):
    """Seconds that steps and evaluations take, by hand."""
    time = SimpleNamespace(step_s=0.0, evaluation_s=0.0)
    forward, quality = Ladder.forward, module.quality

    @functools.wraps(forward)  # a Trainer looks at what it takes
    def slow_forward(self, *inputs, **more):
        now.s += time.step_s if self.training else 0.0
        return forward(self, *inputs, **more)

    def slow_quality(*inputs):
        now.s += time.evaluation_s
        return quality(*inputs)

    monkeypatch.setattr(Ladder, "forward", slow_forward)
    monkeypatch.setattr(module, "quality", slow_quality)
    return time


def test_training_ends_in_time_with_a_model_that_was_measured(run, now, slow):
    slow.step_s, clock = 1.0, now.clock(0.5)
    report, _ = run(clock=clock, settings=replace(SETTINGS, epochs=50))
    assert 20 <= report["steps"] <= 30
    assert clock.used_s <= 31  # one more pass, in which saved bytes are counted
    assert report["held_out"]["accuracy"] > 0


def test_evaluations_are_within_the_minutes(run, now, slow):
    slow.step_s, slow.evaluation_s, clock = 1.0, 5.0, now.clock(1.0)
    run(clock=clock, settings=replace(SETTINGS, epochs=50))
    assert clock.used_s <= 61


def test_too_few_minutes_for_an_epoch_are_refused_while_training(run, now, slow):
    slow.step_s = 1.0
    with pytest.raises(BudgetError, match=r"or at most \d+ of 27 examples"):
        run(clock=now.clock(0.15), settings=replace(SETTINGS, batch_size=1))


def in_time_of(clock, n_examples, reserve_s=0.0):
    return InTime(clock, n_examples, per_epoch=1, reserve_s=reserve_s)


WATCHED = SimpleNamespace(metric_for_best_model="accuracy")


def drive(in_time, now, step_s, *, per_epoch, epochs=3, first=0, evaluation_s=0.0):
    """Steps of some length, as a Trainer makes them, until training stops: how many."""
    in_time.per_epoch = per_epoch
    state, control = TrainerState(), TrainerControl()
    state.max_steps, state.num_train_epochs = per_epoch * epochs, epochs
    state.global_step = first
    in_time.on_train_begin(None, state, control)
    while state.global_step < state.max_steps and not control.should_training_stop:
        in_time.on_step_begin(None, state, control)
        now.s += step_s
        state.global_step += 1
        in_time.on_step_end(None, state, control)
        if state.global_step % per_epoch == 0 or control.should_evaluate:
            now.s += evaluation_s
            in_time.on_evaluate(WATCHED, state, control)
    return state.global_step - first, control


# ---- what is foreseen ----


def test_too_few_minutes_for_an_epoch_say_what_fits(now):
    in_time = in_time_of(now.clock(1.0), 3_200)
    with pytest.raises(BudgetError) as said:
        drive(in_time, now, 25.0, per_epoch=100)
    message = str(said.value)  # 50 of 60 s are used, 2,500 s are needed
    assert "One epoch takes about 41:40" in message
    assert "Pass --minutes 46.8 or more, or at most 12 of 3,200 examples" in message


def test_an_epoch_that_does_not_fit_ends_in_time(now):
    in_time = in_time_of(now.clock(1.0), 3_200)
    steps, control = drive(in_time, now, 1.0, per_epoch=100)
    assert 55 <= steps <= 60
    assert control.should_training_stop
    assert in_time.is_over


@pytest.mark.parametrize("step_s", [0.3, 1.0, 7.0, 40.0])
def test_the_minutes_that_are_asked_for_are_enough(now, step_s):
    with pytest.raises(BudgetError) as said:
        drive(in_time_of(now.clock(step_s * 0.05), 100), now, step_s, per_epoch=100)
    minutes = float(re.search(r"--minutes (\d[\d.]*)", str(said.value))[1])
    steps, _ = drive(in_time_of(now.clock(minutes), 100), now, step_s, per_epoch=100)
    assert steps >= 100


def test_many_minutes_are_written_as_people_write_them(now):
    with pytest.raises(BudgetError) as said:
        drive(in_time_of(now.clock(60.0), 9_000), now, 900.0, per_epoch=100)
    assert "e+" not in str(said.value)


def test_minutes_that_are_over_in_a_few_steps_are_too_few_as_well(now):
    with pytest.raises(BudgetError, match="One epoch takes about"):
        drive(in_time_of(now.clock(1.0), 3_200), now, 20.0, per_epoch=100)


def test_an_epoch_of_few_steps_may_end_early(now):
    steps, control = drive(in_time_of(now.clock(1.0), 64), now, 10.0, per_epoch=2, epochs=10)
    assert 4 <= steps <= 6
    assert control.should_training_stop  # the end of the epoch evaluates and saves


def test_without_minutes_every_step_is_made(now):
    assert drive(in_time_of(now.clock(), 64), now, 1e6, per_epoch=20)[0] == 60


def test_what_it_will_take_is_said_once(now, capsys):
    drive(in_time_of(now.clock(10.0), 64), now, 0.5, per_epoch=20)
    assert capsys.readouterr().err == "55 steps of 500 ms, 3 epochs: about 00:27\n"


def test_what_it_took_is_said_at_the_end(now, capsys):
    in_time = in_time_of(now.clock(10.0), 64)
    drive(in_time, now, 0.5, per_epoch=20)
    in_time.on_train_end(None, SimpleNamespace(global_step=60, max_steps=60), None)
    assert capsys.readouterr().err.endswith("took 00:27, said 00:27: +0%\n")


def test_what_it_will_take_is_no_more_than_what_is_left(now, capsys):
    drive(in_time_of(now.clock(1.0), 64), now, 1.0, per_epoch=40, epochs=100)
    assert capsys.readouterr().err.endswith("about 00:55\n")


@pytest.mark.parametrize("evaluation_s", [0.0, 4.0])
@pytest.mark.parametrize("step_s", [0.5, 3.0])
def test_steps_and_the_last_evaluation_end_in_time(now, step_s, evaluation_s):
    clock = now.clock(2.0)
    drive(in_time_of(clock, 64, reserve_s=1.0), now, step_s, per_epoch=8, epochs=50,
        evaluation_s=evaluation_s,
    )  # fmt: skip
    assert 120 - 2 * step_s - 1.0 - evaluation_s <= clock.used_s <= 120 - 1.0


def test_evaluations_of_epochs_are_no_part_of_training(now):
    clock = now.clock()
    in_time = in_time_of(clock, 256)
    with clock.phase("training"):
        n_steps, control = drive(in_time, now, 0.5, per_epoch=8, epochs=3, evaluation_s=4.0)
        in_time.on_train_end(None, TrainerState(), control)
    with clock.phase("evaluation"):
        now.s += 2
        in_time.on_evaluate(None, TrainerState(), control)
    assert clock.phases == {"training": 0.5 * n_steps, "evaluation": 3 * 4.0 + 2}


def test_what_was_trained_before_an_interruption_is_not_lost_for_want_of_an_epoch(now):
    in_time = in_time_of(now.clock(10.0, used_s=560.0), 3_200)
    steps, control = drive(in_time, now, 1.0, per_epoch=100, epochs=10, first=540)
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
    found = rates(
        optimizer, schedule(optimizer, 50, in_time_of(now.clock(), 1), 0.1), 50, lambda: None
    )
    want = [min(1.0, (step + 1) / 5) * (1 - step / 50) for step in range(51)]
    assert found == pytest.approx(want)


def test_with_minutes_the_rate_is_zero_when_the_time_is_over(now):
    optimizer, in_time = sgd(), in_time_of(now.clock(1.0), 1, reserve_s=10.0)
    scheduler = schedule(optimizer, 10_000, in_time, 0.0)
    in_time.on_train_begin(None, TrainerState(), None)

    def move():
        now.s += 5.0

    found = rates(optimizer, scheduler, 10, move)
    assert found == pytest.approx([1 - i / 10 for i in range(11)], abs=2e-3)
    assert found[-1] == 0.0


def test_with_minutes_the_rate_rises_within_the_time_that_there_is(now):
    """However many epochs may be made at the most."""
    optimizer, in_time = sgd(), in_time_of(now.clock(1.0), 1)
    scheduler = schedule(optimizer, 10**9, in_time, 0.1)
    in_time.on_train_begin(None, TrainerState(), None)

    def move():
        now.s += 3.0

    found = rates(optimizer, scheduler, 20, move)
    assert found == pytest.approx([min(1, i / 2) * (1 - i / 20) for i in range(21)], abs=1e-6)


def test_what_came_before_training_does_not_lower_the_first_rate(now):
    clock = now.clock(1.0)
    now.s += 30
    in_time = in_time_of(clock, 1)
    in_time.on_train_begin(None, TrainerState(), None)
    assert in_time.fraction() == 0.0
    now.s += 15
    assert in_time.fraction() == pytest.approx(0.5)
    now.s += 100
    assert in_time.fraction() == 1.0


def test_no_time_left_is_a_rate_of_zero(now):
    clock = now.clock(1.0)
    now.s += 70
    assert in_time_of(clock, 1).fraction() == 1.0


def test_a_resumed_run_counts_its_whole_time(now):
    """So that the rate does not rise again after an interruption."""
    again = in_time_of(now.clock(1.0, used_s=45.0), 1)
    again.on_train_begin(None, TrainerState(global_step=9), None)
    assert again.fraction() == pytest.approx(0.75)


# ---- checkpoints ----


@pytest.fixture
def checkpoints(now, tmp_path):
    with RunFolder.open(tmp_path / "m", {}, resume=False) as run:
        yield Checkpoints(run, now.clock(), 10)


def step(checkpoints, now, global_step, step_s=1.0, saving_s=0.0):
    """A step and, if one was asked for, a checkpoint."""
    control, state = TrainerControl(), TrainerState(global_step=global_step)
    now.s += step_s
    checkpoints.on_step_end(None, state, control)
    if control.should_save:
        now.s += saving_s
        checkpoints.on_save(None, state, control)
    return control


def test_checkpoints_take_a_twentieth_of_the_time(now, checkpoints):
    saved = [i for i in range(130) if step(checkpoints, now, 3, 1.0, 2.0).should_save]
    assert saved == [19, 59, 99]  # after 20 s, then after 2 s / 0.05
    assert checkpoints.run.progress["steps"] == 3
    assert checkpoints.run.used_s == 106.0


def test_no_checkpoint_is_written_twice_where_an_epoch_ends(now, checkpoints):
    assert not step(checkpoints, now, 20, 30.0).should_save
    assert step(checkpoints, now, 21, 30.0).should_save


# ---- the bar ----


def test_a_bar_shows_steps_and_the_figure_that_is_watched(now):
    in_time = in_time_of(now.clock(), 1)
    shown = []
    in_time.bar = SimpleNamespace(
        reset=shown.append, update=lambda n=1: shown.append(n), set_postfix=shown.append
    )
    state = TrainerState(max_steps=10, global_step=4)
    arguments = SimpleNamespace(metric_for_best_model="eval_accuracy")
    in_time.on_train_begin(None, state, None)
    in_time.on_step_end(None, state, None)
    in_time.on_evaluate(arguments, state, None, metrics={"eval_accuracy": 0.25})
    assert shown == [10, 4, 1, {"accuracy": "0.2500"}]
