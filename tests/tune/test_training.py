"""Training under the plain Trainer: the best epoch, the same bits, the place that is kept."""

import functools
import json
import os
import signal
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.errors import BudgetError, ParameterError, ShoestringError
from shoestring.tune import budget, training
from shoestring.tune.budget import Clock, KeepPlace
from shoestring.tune.cache import OutputCache
from shoestring.tune.config import LadderConfig
from shoestring.tune.examples import Collate
from shoestring.tune.ladder import Ladder
from shoestring.tune.rows import Rows, examples_of, split
from shoestring.tune.training import ByLength, TrainSettings, begin, last_checkpoint, train

WORDS = ("open read file path write", "sort list count map string")
SETTINGS = TrainSettings(epochs=3, batch_size=8, learning_rate=1e-2)
PER_EPOCH = 4  # steps: 27 of 30 texts, 8 at a time


def texts(n=30):
    rng = np.random.default_rng(0)
    labels = [str(i % 2) for i in range(n)]
    first = [" ".join(rng.choice(WORDS[i % 2].split(), 2 + i % 4)) for i in range(n)]
    return Rows(first, None, labels)


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
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        report = train(
            ladder, "classify", *parts, collate, settings, clock or Clock(), folder, progress=False
        )
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

        monkeypatch.setattr(training, "quality", quality)

    return accuracies


@pytest.fixture
def snapshots(monkeypatch):
    """Weights at the end of each epoch."""
    found = []

    def on_evaluate(self, args, state, control, model=None, **_):
        found.append((state.global_step, bits(model)))

    monkeypatch.setattr(budget.Budget, "on_evaluate", on_evaluate)
    return found


@pytest.fixture
def interrupted_at(monkeypatch):
    """A function: Ctrl-C in that step."""

    def at(step):
        real = KeepPlace.on_step_end

        def on_step_end(self, args, state, control, **more):
            if state.global_step == step:
                os.kill(os.getpid(), signal.SIGINT)
            return real(self, args, state, control, **more)

        monkeypatch.setattr(KeepPlace, "on_step_end", on_step_end)
        return lambda: monkeypatch.setattr(KeepPlace, "on_step_end", real)

    return at


# ---- what comes out ----


def test_training_learns_and_says_what_it_took(run):
    report, ladder = run(settings=replace(SETTINGS, epochs=20))
    assert report.keys() == {
        "held_out", "epochs", "steps", "trained_parameters", "step_ms", "saved_for_backward_mib",
    }  # fmt: skip
    assert report["held_out"].keys() == {"loss", "accuracy", "macro_f1"}
    assert report["held_out"]["accuracy"] > 0.5
    assert (report["epochs"], report["steps"]) == (20.0, 20 * PER_EPOCH)
    weights = [p for p in ladder.parameters() if p.requires_grad]
    assert report["trained_parameters"] == sum(p.numel() for p in weights)
    assert report["step_ms"] > 0
    assert report["saved_for_backward_mib"] > 0


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
    kept = {path.name for path in (tmp_path / "run").iterdir()}
    assert kept == {"checkpoint-4", "checkpoint-6", "clock.json"}
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
    data = [{"input_ids": [0] * (1 + i * 7 % 40)} for i in range(400)]
    order = ByLength(data, 4, 0)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    assert sorted(first) == sorted(second) == list(range(len(order))) == list(range(400))
    assert first != second != list(ByLength(data, 4, 0)) == first
    lengths = np.array([len(data[i]["input_ids"]) for i in first]).reshape(-1, 4)
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
    cut = tmp_path / "run" / "checkpoint-7"  # the model was written, the state was not
    cut.mkdir()
    (cut / "model.safetensors").write_bytes(
        (tmp_path / "run" / "checkpoint-6" / "model.safetensors").read_bytes()
    )
    report, _ = run()
    assert report["steps"] == 12


def cut_off(file):
    os.truncate(file, 100)


def half_old(file):
    found = bytearray(file.read_bytes())
    middle = len(found) // 2
    found[middle : middle + 400] = bytes(byte ^ 255 for byte in found[middle : middle + 400])
    file.write_bytes(found)


@pytest.mark.parametrize("damage", [cut_off, half_old])
@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_that_was_cut_off_when_it_was_written_again_is_none(
    run, interrupted_at, tmp_path, name, damage
):
    restore = interrupted_at(6)
    with pytest.raises(KeyboardInterrupt):
        run()
    restore()
    folder = tmp_path / "run"
    damage(folder / "checkpoint-6" / name)
    assert last_checkpoint(folder) == str(folder / "checkpoint-4")
    assert run()[0]["steps"] == 12


def test_what_diverged_leaves_nothing_to_go_on_with(run, tmp_path):
    with pytest.raises(ParameterError, match="'learning_rate'"):
        run(settings=replace(SETTINGS, learning_rate=1e30))
    assert not list((tmp_path / "run").glob("checkpoint-*"))


# ---- minutes ----


@pytest.fixture
def now(monkeypatch):
    """Seconds that steps and evaluations take, by hand."""
    time = SimpleNamespace(s=0.0, step_s=0.0, evaluation_s=0.0)
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: time.s))
    forward, quality = Ladder.forward, training.quality

    @functools.wraps(forward)  # a Trainer looks at what it takes
    def slow_forward(self, *inputs, **more):
        time.s += time.step_s if self.training else 0.0
        return forward(self, *inputs, **more)

    def slow_quality(*inputs):
        time.s += time.evaluation_s
        return quality(*inputs)

    monkeypatch.setattr(Ladder, "forward", slow_forward)
    monkeypatch.setattr(training, "quality", slow_quality)
    return time


def test_training_ends_in_time_with_a_model_that_was_measured(run, now):
    now.step_s, clock = 1.0, Clock(0.5)
    report, _ = run(clock=clock, settings=replace(SETTINGS, epochs=50))
    assert 20 <= report["steps"] <= 30
    assert clock.used_s <= 31  # one more pass, in which saved bytes are counted
    assert report["held_out"]["accuracy"] > 0


def test_evaluations_are_within_the_minutes(run, now):
    now.step_s, now.evaluation_s, clock = 1.0, 5.0, Clock(1.0)
    run(clock=clock, settings=replace(SETTINGS, epochs=50))
    assert clock.used_s <= 61


def test_too_few_minutes_for_an_epoch_are_refused_while_training(run, now):
    now.step_s = 1.0
    with pytest.raises(BudgetError, match=r"enough for \d+ of 27 examples"):
        run(clock=Clock(0.15), settings=replace(SETTINGS, batch_size=1))


# ---- the folder of a training ----


def interrupted(folder, how, settings=SETTINGS):
    begin(folder, how, settings, resume=False)
    (folder / "checkpoint-4").mkdir()


def test_an_interrupted_training_waits_for_resume(tmp_path):
    folder, how = tmp_path / "m.tuning", {"rows": "abc"}
    interrupted(folder, how)
    with pytest.raises(ParameterError, match=r"interrupted training is in .*m\.tuning.*--resume"):
        begin(folder, how, SETTINGS, resume=False)
    begin(folder, how, SETTINGS, resume=True)
    assert (folder / "checkpoint-4").is_dir()


@pytest.mark.parametrize(
    ("how", "settings"),
    [({"rows": "xyz"}, SETTINGS), ({"rows": "abc"}, replace(SETTINGS, learning_rate=0.5))],
)
def test_other_texts_or_settings_do_not_go_on(tmp_path, how, settings):
    folder = tmp_path / "m.tuning"
    interrupted(folder, {"rows": "abc"})
    with pytest.raises(ParameterError, match=r"was of other texts or settings\. Pass"):
        begin(folder, how, settings, resume=True)
    assert (folder / "checkpoint-4").is_dir()


@pytest.mark.parametrize("resume", [True, False])
def test_a_training_without_a_checkpoint_begins_anew(tmp_path, resume):
    folder = tmp_path / "m.tuning"
    begin(folder, {"rows": "abc"}, SETTINGS, resume=False)
    begin(folder, {"rows": "xyz"}, SETTINGS, resume=resume)
    assert json.loads((folder / "how.json").read_text())["rows"] == "xyz"
    assert [path.name for path in folder.iterdir()] == ["how.json"]


def test_a_folder_that_is_somebody_elses_is_not_deleted(tmp_path):
    folder = tmp_path / "m.tuning"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with suppress(ShoestringError):
        begin(folder, {"rows": "abc"}, SETTINGS, resume=False)
    assert (folder / "thesis.txt").read_text() == "mine"
