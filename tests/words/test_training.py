"""Training goes on with the same bits after anything, keeps its budget and says what it did."""

import json
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.words.two_topics import started, two_topics

from shoestring.errors import (
    BudgetError,
    FormatError,
    IntegrityError,
    ParameterError,
    StorageError,
)
from shoestring.words import run as run_module
from shoestring.words import training
from shoestring.words.bioword import BioWord, Neurons, initial_weights
from shoestring.words.training import TrainingSettings, train

N_WORDS = 50
SETTINGS = TrainingSettings(n_neurons=16, window=5, n_epochs=4, batch_size=100, seed=3)


def corpus(n_sentences=120, seed=0):
    """16 windows each."""
    return two_topics(N_WORDS, n_sentences, seed)


def test_training_is_the_rule_over_shuffled_epochs_at_a_falling_rate():
    ids, offsets, counts = corpus()
    weights, record = train(ids, offsets, counts, SETTINGS)
    windows = training.windows_of(ids, offsets, N_WORDS, 5, 214)
    rule = BioWord(Neurons.of(initial_weights(N_WORDS, 16, 0.02, seed=3)), counts)
    n = windows.n_windows
    assert n % SETTINGS.batch_size  # the last mini-batch is a short one
    for epoch, rate in enumerate((0.002, 0.0015, 0.001, 0.0005)):
        keys = run_module.order_keys(3, epoch)
        for first in range(0, n, 100):
            rule.step(windows.rows(first, min(n, first + 100), keys), rate)
    assert weights.tobytes() == rule.neurons.weights().tobytes()
    assert record.windows_seen == 4 * n == record.wins.sum()
    assert record.finished


def test_neurons_learn_the_topics():
    """Even and odd words never meet: a neuron's strong words are of one kind."""
    settings = replace(SETTINGS, n_epochs=15, learning_rate=0.02)
    weights, record = train(*corpus(400), settings)
    kinds = weights.reshape(2, N_WORDS // 2, 2, 16).sum(axis=(0, 1))  # (even or odd, K)
    alive = record.wins[-1] > 0
    assert (np.abs(kinds[0] - kinds[1]) / np.abs(kinds).sum(axis=0))[alive].min() > 0.8


@pytest.mark.parametrize("n_threads", [2, 5])
def test_the_weights_do_not_depend_on_the_threads(n_threads):
    alone, _ = train(*corpus(), SETTINGS, n_threads=1)
    shared, _ = train(*corpus(), SETTINGS, n_threads=n_threads)
    assert shared.tobytes() == alone.tobytes()


def test_timing_and_progress_change_no_bit(monkeypatch, capsys):
    monkeypatch.setattr(run_module, "TIMING_SECONDS", 0.0)
    plain, _ = train(*corpus(), SETTINGS)
    shown, _ = train(*corpus(), SETTINGS, progress=True, minutes=5.0)
    assert shown.tobytes() == plain.tobytes()
    out, err = capsys.readouterr()
    assert not out
    assert "1,920 windows, 100% of them in each of 4 epochs; 7,680 to go at" in err
    assert "epoch 4/4, 0 dead, winners" in err


def test_the_record_counts_dead_neurons_and_the_entropy_of_the_winners():
    wins = np.array([[4, 4, 4, 4], [8, 0, 8, 0], [1, 0, 0, 0]])
    record = training.TrainingRecord(SETTINGS, 16, 33, 2, 1.0, wins)
    assert record.dead_neurons == 2
    assert record.entropy_bits == 1.0


# --- interruption

PROGRAM = """
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from test_training import SETTINGS, corpus, run_module, train
advance = run_module.Run.advance
def slowly(self):
    advance(self)
    done = self.epoch * 20 + self.batch
    print(done, flush=True)
    time.sleep(0.01 if done < {until} else 0.3)  # so that a signal comes before the end
run_module.Run.advance = slowly
train(*corpus(), SETTINGS, checkpoint={checkpoint!r}, checkpoint_seconds={every})
"""


def process_that_trains(checkpoint, every, until):
    """Start a process that trains and wait until that many mini-batches are done."""
    process = started(PROGRAM.format(checkpoint=str(checkpoint), every=every, until=until))
    for line in process.stdout:
        if int(line) >= until:
            return process
    raise AssertionError(process.stderr.read())


def batches_done(checkpoint):
    document = json.loads((checkpoint / "config.json").read_text())
    return document["epoch"] * 20 + document["batch"]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_run_that_is_killed_and_then_interrupted_ends_with_the_same_bits(tmp_path):
    expected, _ = train(*corpus(), SETTINGS)
    folder = tmp_path / "run"
    process = process_that_trains(folder, every=0.0, until=20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 19 <= batches_done(folder) < 45
    process = process_that_trains(folder, every=1e9, until=45)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert "KeyboardInterrupt" in err
    assert batches_done(folder) == int(out.split()[-1] if out else 45) < 80  # the one in hand too
    weights, record = train(*corpus(), SETTINGS, checkpoint=folder)
    assert weights.tobytes() == expected.tobytes()
    assert record.wins.sum() == record.windows_seen
    assert len(list(folder.iterdir())) == 4  # nothing of the killed one is left


def test_a_finished_checkpoint_gives_its_weights_at_once(tmp_path, monkeypatch):
    weights, record = train(*corpus(), SETTINGS, checkpoint=tmp_path)
    monkeypatch.setattr(run_module.Run, "advance", None)
    again, same = train(*corpus(), SETTINGS, checkpoint=tmp_path, progress=True)
    assert again.tobytes() == weights.tobytes()
    assert (same.wins == record.wins).all()
    assert same.finished
    assert same.windows_per_second == 0


@pytest.mark.parametrize(
    "change", [{"n_neurons": 17}, {"seed": 4}, {"sigma": 0.03}, {"windows_per_epoch": 100}]
)
def test_a_checkpoint_of_other_settings_is_refused_and_stays(tmp_path, change):
    train(*corpus(), SETTINGS, checkpoint=tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    ((name, value),) = change.items()
    with pytest.raises(ParameterError, match=f"a run with {name} {value}. Got .* with {name} "):
        train(*corpus(), replace(SETTINGS, **change), checkpoint=tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_checkpoint_of_another_corpus_is_refused(tmp_path):
    train(*corpus(), SETTINGS, checkpoint=tmp_path)
    with pytest.raises(ParameterError, match="a run on the same corpus"):
        train(*corpus(seed=1), SETTINGS, checkpoint=tmp_path)


@pytest.mark.parametrize("array", ["factors", "scales", "wins", "config"])
@pytest.mark.parametrize("fault", ["cut off", "changed", "missing"])
def test_a_damaged_checkpoint_is_an_integrity_error(tmp_path, array, fault):
    train(*corpus(), SETTINGS, checkpoint=tmp_path)
    (path,) = tmp_path.glob(f"{array}*")
    whole = path.read_bytes()
    if fault == "missing":
        path.unlink()
    elif fault == "cut off":
        path.write_bytes(whole[:-9])
    else:
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    if (array, fault) == ("config", "missing"):  # then there is no checkpoint
        assert train(*corpus(), SETTINGS, checkpoint=tmp_path)[1].finished
        return
    with pytest.raises(IntegrityError, match="train anew"):
        train(*corpus(), SETTINGS, checkpoint=tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"format": "shoestring-search-index"}')
    with pytest.raises(FormatError, match="of a checkpoint of words"):
        train(*corpus(), SETTINGS, checkpoint=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be"):
        train(*corpus(), SETTINGS, checkpoint=tmp_path / "file")


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path):
    train(*corpus(), SETTINGS, checkpoint=tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(FormatError, match="Upgrade shoestring"):
        train(*corpus(), SETTINGS, checkpoint=tmp_path)


# --- budget


def test_a_budget_shortens_the_epochs_and_its_record_gives_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module.Run, "windows_per_second", lambda self: 16.0)
    weights, record = train(*corpus(), SETTINGS, minutes=1.5, checkpoint=tmp_path)
    n = record.settings.windows_per_epoch
    assert n % 100 == 0
    assert 0.9 * 1.5 * 60 * 16 / 4 - 100 < n < 1.5 * 60 * 16 / 4
    assert record.finished
    assert record.windows_seen == 4 * n == record.wins.sum()
    again, _ = train(*corpus(), record.settings)
    assert again.tobytes() == weights.tobytes()
    kept, same = train(*corpus(), SETTINGS, checkpoint=tmp_path)  # without a budget: as begun
    assert kept.tobytes() == weights.tobytes()
    assert same.settings == record.settings


def test_a_run_stops_when_its_minutes_are_over_and_goes_on_later(tmp_path, monkeypatch):
    """The machine has become slower than it was when it was measured."""
    monkeypatch.setattr(run_module.Run, "windows_per_second", lambda self: 1e9)
    advance = run_module.Run.advance
    monkeypatch.setattr(run_module.Run, "advance", lambda self: (time.sleep(0.05), advance(self)))
    _, cut = train(*corpus(), SETTINGS, minutes=0.01, checkpoint=tmp_path)
    assert 0 < cut.windows_seen < 4 * cut.n_windows
    assert not cut.finished
    monkeypatch.undo()
    weights, record = train(*corpus(), SETTINGS, checkpoint=tmp_path)
    assert record.finished
    assert weights.tobytes() == train(*corpus(), SETTINGS)[0].tobytes()


def test_a_budget_for_less_than_a_mini_batch_an_epoch_says_what_would_fit(monkeypatch):
    monkeypatch.setattr(run_module.Run, "windows_per_second", lambda self: 10.0)
    with pytest.raises(BudgetError, match=r"0\.05 minutes are left.*Pass 0\.7 minutes more"):
        train(*corpus(), SETTINGS, minutes=0.05)


# --- bad input


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma", 0.0),
        ("sigma", float("nan")),
        ("n_neurons", 0),
        ("window", 4),
        ("window", 1),
        ("n_epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("max_length", 5),
        ("windows_per_epoch", 0),
        ("seed", -1),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(ParameterError, match=f"'{name}' parameter of TrainingSettings"):
        replace(SETTINGS, **{name: value})


def test_without_spread_the_hint_says_why():
    with pytest.raises(ParameterError, match="all neurons tie and one wins every window"):
        TrainingSettings(sigma=0)


def test_a_corpus_shorter_than_a_window_is_refused():
    ids, offsets, counts = corpus()
    with pytest.raises(ParameterError, match="none of 30 sentences has 5 to 213 tokens"):
        train(ids[:90], np.arange(0, 91, 3), counts, SETTINGS)
    with pytest.raises(ParameterError, match="none of 0 sentences"):
        train(ids[:0], offsets[:1], counts, SETTINGS)
    with pytest.raises(ParameterError, match="no word has a count"):
        train(np.full_like(ids, -1), offsets, counts[:0], SETTINGS)


@pytest.mark.parametrize(("name", "value"), [("minutes", 0.0), ("n_threads", 0)])
def test_a_call_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(ParameterError, match=f"'{name}' parameter of train"):
        train(*corpus(), SETTINGS, **{name: value})
