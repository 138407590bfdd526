"""Training goes on with the same bits after anything, keeps its time and says what it did."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from tests.words.two_topics import damaged_in_turn, started, two_topics

from shoestring import jobs
from shoestring.errors import BudgetError, IntegrityError, ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder
from shoestring.words import published
from shoestring.words.bioword import BioWord, Neurons, initial_weights
from shoestring.words.published import PublishedSettings, PublishedTraining, train_published

N_WORDS = 50
SETTINGS = PublishedSettings(n_neurons=16, window=5, n_epochs=4, batch_size=100, seed=3)


def corpus(n_sentences=120, seed=0):
    """16 windows each."""
    return two_topics(N_WORDS, n_sentences, seed)


def test_training_is_the_rule_over_shuffled_epochs_at_a_falling_rate():
    ids, offsets, counts = corpus()
    training = train_published(ids, offsets, counts, SETTINGS)
    windows = published.Windows(ids, offsets, N_WORDS, 5, 214)
    rule = BioWord(Neurons.of(initial_weights(N_WORDS, 16, 0.02, seed=3)), counts)
    n = windows.n_windows
    assert n % SETTINGS.batch_size  # the last mini-batch is a short one
    for epoch, rate in enumerate((0.002, 0.0015, 0.001, 0.0005)):
        keys = published.order_keys(3, epoch)
        for first in range(0, n, 100):
            rule.step(windows.rows(first, min(n, first + 100), keys), rate)
    assert training.weights.tobytes() == rule.neurons.weights().tobytes()
    assert training.windows_seen == 4 * n
    assert not training.windows_left


def test_neurons_learn_the_topics():
    """Even and odd words never meet: a neuron's strong words are of one kind."""
    settings = replace(SETTINGS, n_epochs=15, learning_rate=0.02)
    training = train_published(*corpus(400), settings)
    kinds = training.weights.reshape(2, N_WORDS // 2, 2, 16).sum(axis=(0, 1))  # even or odd, K
    purity = np.abs(kinds[0] - kinds[1]) / np.abs(kinds).sum(axis=0)
    assert np.median(purity) > 0.8  # perhaps one never won


@pytest.mark.parametrize("n_threads", [2, 5])
def test_the_weights_do_not_depend_on_the_threads(n_threads):
    alone = train_published(*corpus(), SETTINGS, n_threads=1)
    shared = train_published(*corpus(), SETTINGS, n_threads=n_threads)
    assert shared.weights.tobytes() == alone.weights.tobytes()


def test_progress_and_enough_minutes_change_no_bit(capsys):
    plain = train_published(*corpus(), SETTINGS)
    shown = train_published(*corpus(), SETTINGS, progress=True, clock=Clock(minutes=600))
    assert shown.weights.tobytes() == plain.weights.tobytes()
    out, err = capsys.readouterr()
    assert not out
    assert "1,920 windows in each of 4 epochs: about" in err
    assert "epoch 4/4" in err


# --- interruption

N_BATCHES = 20  # of an epoch
PROGRAM = """
import signal
import time
from pathlib import Path
from test_published import N_BATCHES, PublishedTraining, jobs, published, resumed
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
published.SAVE_S, jobs.SAVING_SHARE = {every}, 1e9
advance = PublishedTraining.advance
def slowly(self):
    advance(self)
    done = self.epoch * N_BATCHES + self.batch
    print(done, flush=True)
    time.sleep(0.01 if done < {until} else 0.3)  # so that a signal comes before the end
PublishedTraining.advance = slowly
resumed(Path({folder!r}))
"""


def resumed(folder, arrays=None, settings=SETTINGS, **options):
    with RunFolder.open(folder / "v", {}, resume=True, what="training") as run:
        return train_published(*(arrays or corpus()), settings, run=run, **options)


def process_that_trains(folder, every, until):
    """Start a process that trains and wait until that many mini-batches are done."""
    process = started(PROGRAM.format(folder=str(folder), every=every, until=until))
    for line in process.stdout:
        if int(line) >= until:
            return process
    raise AssertionError(process.stderr.read())


def batches_done(folder):
    config = published._STATE.read(folder / "v.run" / "weights").config
    return config["epoch"] * N_BATCHES + config["batch"]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_run_that_is_killed_and_then_interrupted_ends_with_the_same_bits(tmp_path):
    expected = train_published(*corpus(), SETTINGS)
    process = process_that_trains(tmp_path, every=0.0, until=20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 19 <= batches_done(tmp_path) < 45
    process = process_that_trains(tmp_path, every=0.0, until=45)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert "KeyboardInterrupt" in err
    assert 44 <= batches_done(tmp_path) < 80
    training = resumed(tmp_path)
    assert training.weights.tobytes() == expected.weights.tobytes()
    assert not list(tmp_path.iterdir())


def left_after(folder, monkeypatch, n_batches, **options):
    """An interrupted run."""
    advance, left = PublishedTraining.advance, [n_batches]

    def stop(self):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        advance(self)

    with monkeypatch.context() as patched:
        patched.setattr(published, "SAVE_S", 0.0)
        patched.setattr(jobs, "SAVING_SHARE", 1e9)
        patched.setattr(PublishedTraining, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            resumed(folder, **options)


def test_a_damaged_state_is_an_integrity_error(tmp_path, monkeypatch):
    left_after(tmp_path, monkeypatch, 3)
    seen = set()
    for name in damaged_in_turn(tmp_path / "v.run" / "weights"):
        with pytest.raises(IntegrityError, match="Remove the run folder and train again"):
            resumed(tmp_path)
        seen.add(name)
    assert seen == {"factors", "scales"}


# --- a time limit


def ticking(minutes):
    seconds = iter(range(10**6))
    return Clock(minutes, now=lambda: float(next(seconds)))


def test_a_run_stops_when_its_time_is_over():
    with pytest.warns(ShoestringWarning, match="minutes were over after . of 4 epochs"):
        cut = train_published(*corpus(), SETTINGS, clock=ticking(0.5))
    assert 0 < cut.windows_seen < 4 * cut.windows.n_windows


def test_no_time_for_a_mini_batch_is_an_error():
    with pytest.raises(BudgetError, match="before a mini-batch was seen"):
        train_published(*corpus(), SETTINGS, clock=ticking(0.001))


# --- bad input


def test_a_corpus_shorter_than_a_window_is_refused():
    ids, offsets, counts = corpus()
    with pytest.raises(ParameterError, match="none of 30 sentences has 5 to 213 tokens"):
        train_published(ids[:90], np.arange(0, 91, 3), counts, SETTINGS)
    with pytest.raises(ParameterError, match="none of 0 sentences"):
        train_published(ids[:0], offsets[:1], counts, SETTINGS)
