"""``classify fit`` within minutes, and interrupted: what is left, and that it can be gone on with.

The encoder is TF-IDF made slow, or one that is interrupted while it encodes.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.classify.test_classify_command import PLAIN, fails, names, written
from tests.classify.topics import assert_alike, assert_same_bits, contents, kept, topics

from shoestring.classify import TextClassifier, job
from shoestring.errors import BudgetError, ShoestringWarning
from shoestring.models import LsaEncoder

TEXTS, LABELS = topics(600)
NEW, _ = topics(60, seed=9)
ROOT = Path(__file__).resolve().parents[2]
HEAD = {"expansion": None, "n_random": 0, "class_scatters": False, "n_jobs": 1, "random_state": 0}


@pytest.fixture
def source(tmp_path):
    return written(tmp_path / "texts.csv", TEXTS, LABELS)


def fit(source, out, resume=False, minutes=None, **head):
    return job.fit_to_folder(
        str(source), out, text="text", label="label", vectors="tfidf", minutes=minutes,
        keep_texts=True, resume=resume, **HEAD | head,
    )  # fmt: skip


def slow(patched, seconds_a_text):
    def encode(self, texts):
        time.sleep(seconds_a_text * len(texts))
        return self.transform(texts)

    patched.setattr(LsaEncoder, "encode", encode)


@contextlib.contextmanager
def interrupted_at(monkeypatch, call):
    """Ctrl-C comes in this call of the encoder, from 1."""
    calls = []

    def encode(self, texts):
        calls.append(len(texts))
        if len(calls) == call:
            raise KeyboardInterrupt
        return self.transform(texts)

    with monkeypatch.context() as patched:
        patched.setattr(LsaEncoder, "encode", encode)
        yield calls


# ---- minutes ----


def test_a_budget_leaves_a_random_share_learnt_in_its_time(tmp_path, monkeypatch):
    texts, labels = topics(3_000, stray=0.3)
    order = sorted(range(3_000), key=lambda i: labels[i])  # a file that is sorted by its labels
    path = written(tmp_path / "t.csv", [texts[i] for i in order], [labels[i] for i in order])
    slow(monkeypatch, 0.004)
    began = time.monotonic()
    with pytest.warns(ShoestringWarning, match=r"In the minutes .* of 3,000 texts were learnt, dr"):
        made = fit(path, tmp_path / "m", minutes=3 / 60)
    seconds = time.monotonic() - began
    assert 1 < seconds < 3 + 0.8  # a busy machine; a whole batch would take 4 s
    assert 200 < made["texts"] < 1_000
    loaded = TextClassifier.load(tmp_path / "m")
    share = loaded.head.moments_.sizes / made["texts"]
    np.testing.assert_allclose(share, 0.5, atol=0.12)  # 200 of a random order: 0.035 is usual
    assert {text for text, _ in kept(loaded)} <= set(texts)
    assert names(tmp_path) == ["m", "t.csv"]


def test_the_note_names_a_class_that_the_minutes_left_out(tmp_path, monkeypatch):
    texts, labels = topics(1_500)
    path = written(tmp_path / "t.csv", [*texts, "rare words"], [*labels, "rare"])
    monkeypatch.setattr(job, "TIMED", 32)
    monkeypatch.setattr(job, "BATCH", 32)
    slow(monkeypatch, 0.004)
    with pytest.warns(ShoestringWarning, match="None of them was of 'rare'"):
        made = fit(path, tmp_path / "m", minutes=1.8 / 60, random_state=1)
    assert made["classes"] == 2


def test_minutes_that_are_enough_change_nothing(source, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(source, tmp_path / "a", minutes=5)
    fit(source, tmp_path / "b")
    assert_same_bits(TextClassifier.load(tmp_path / "a"), TextClassifier.load(tmp_path / "b"), NEW)


def test_minutes_that_end_at_once_leave_nothing(source, tmp_path):
    with pytest.raises(BudgetError, match=r"Pass 0\.0\d+ minutes or more") as raised:
        fit(source, tmp_path / "m", minutes=0.001)
    assert "--random 0" in str(raised.value)
    assert names(tmp_path) == ["texts.csv"]


def test_the_minutes_that_a_budget_error_asks_for_are_enough(source, tmp_path):
    with pytest.raises(BudgetError) as raised:
        fit(source, tmp_path / "m", minutes=0.001)
    enough = float(str(raised.value).split("Pass ")[1].split()[0])
    assert fit(source, tmp_path / "m", minutes=enough)["texts"] > 0


def test_the_cost_is_said_once_it_is_known(run, source, tmp_path):
    code, out, err = run("fit", source, "--out", tmp_path / "m", *PLAIN, "--json")
    assert (code, json.loads(out)["texts"]) == (0, 600)
    assert "312 texts to go at " in err


# ---- interrupted ----


@pytest.mark.parametrize("call", [2, 5])
def test_an_interrupted_fit_waits_and_ends_as_an_uninterrupted_one(
    run, source, tmp_path, monkeypatch, call
):
    for name in ("WARM_UP", "TIMED", "BATCH"):
        monkeypatch.setattr(job, name, 64)
    asked = ("fit", source, "--out", tmp_path / "m", *PLAIN, "--keep-texts", "--json")
    with interrupted_at(monkeypatch, call):
        code, out, err = run(*asked)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].endswith("run again with --resume")
    assert names(tmp_path) == ["m.fitting", "texts.csv"]
    assert TextClassifier.load(tmp_path / "m.fitting" / "model").n_learnt == 64 * (call - 1)
    before = contents(tmp_path)
    fails(run(*asked), "An interrupted fit of this classifier is in", "--resume")
    fails(run(*asked, "--resume", "--seed", 4), "of other texts or settings")
    other = written(tmp_path / "other.csv", [*TEXTS[:-1], "cat"], LABELS)
    fails(run("fit", other, *asked[2:], "--resume"), "of other texts or settings")
    other.unlink()
    assert contents(tmp_path) == before
    with interrupted_at(monkeypatch, None) as calls:
        code, out, _ = run(*asked, "--resume")
    assert (code, json.loads(out)["texts"]) == (0, 600)
    assert sum(calls) == 600 - 64 * (call - 1)  # no text is encoded twice
    assert names(tmp_path) == ["m", "texts.csv"]
    assert run("fit", source, "--out", tmp_path / "n", *asked[4:])[0] == 0
    a, b = TextClassifier.load(tmp_path / "m"), TextClassifier.load(tmp_path / "n")
    assert_same_bits(a, b, NEW)


def test_a_fit_resumed_in_batches_of_other_sizes_differs_by_rounding_at_most(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(job, "BATCH", 100)
    with interrupted_at(monkeypatch, 4), pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "m")
    assert TextClassifier.load(tmp_path / "m.fitting" / "model").n_learnt == 32 + 256 + 100
    fit(source, tmp_path / "m", resume=True)
    fit(source, tmp_path / "n")
    resumed, whole = (TextClassifier.load(tmp_path / name) for name in "mn")
    assert_alike(resumed, whole, NEW, atol=1e-9)
    assert kept(resumed) == kept(whole)


def test_an_interruption_before_the_first_batch_leaves_nothing(source, tmp_path, monkeypatch):
    with interrupted_at(monkeypatch, 1), pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "m")
    assert names(tmp_path) == ["texts.csv"]
    assert fit(source, tmp_path / "m", resume=True)["texts"] == 600  # nothing to go on with


def test_an_interrupted_fit_over_a_classifier_leaves_that(source, tmp_path, monkeypatch):
    fit(source, tmp_path / "m")
    before = contents(tmp_path / "m")
    with interrupted_at(monkeypatch, 3), pytest.raises(KeyboardInterrupt):
        fit(written(tmp_path / "new.csv", NEW * 9, LABELS[:540]), tmp_path / "m")
    assert contents(tmp_path / "m") == before


DRIVER = """
import sys, time
from shoestring import cli
from shoestring.classify import job
from shoestring.models import LsaEncoder
job.WARM_UP = job.TIMED = job.BATCH = 64
job.SHARE_OF_SAVING = 9e9  # after each batch
def encode(self, texts):
    time.sleep(0.2)
    return self.transform(texts)
LsaEncoder.encode = encode
sys.argv = ["shoestring", "classify", *sys.argv[1:]]
cli.main()
"""


def test_a_fit_that_is_killed_goes_on_from_the_last_batch(run, source, tmp_path, monkeypatch):
    asked = ["fit", source, "--out", tmp_path / "m", *PLAIN, "--keep-texts", "--jobs", 1]
    process = subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, asked)], cwd=ROOT)
    config, deadline = tmp_path / "m.fitting" / "model" / "config.json", time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if config.exists() and "learnt-1.safetensors" not in config.read_text("utf-8"):
            break  # at least two batches
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "m").exists()
    n_learnt = TextClassifier.load(config.parent).n_learnt
    assert n_learnt in range(128, 600, 64)
    for name in ("WARM_UP", "TIMED", "BATCH"):
        monkeypatch.setattr(job, name, 64)
    fails(run(*asked), "An interrupted fit of this classifier is in")
    with interrupted_at(monkeypatch, None) as calls:
        assert run(*asked, "--resume")[0] == 0
    assert sum(calls) == 600 - n_learnt
    fit(source, tmp_path / "n")
    a, b = TextClassifier.load(tmp_path / "m"), TextClassifier.load(tmp_path / "n")
    assert_same_bits(a, b, NEW)
    assert names(tmp_path) == ["m", "n", "texts.csv"]


@pytest.mark.parametrize("resume", [True, False])
def test_a_kill_in_the_first_save_does_not_block_the_next_fit(source, tmp_path, resume):
    (tmp_path / "m.fitting" / "model").mkdir(parents=True)
    (tmp_path / "m.fitting" / "how.json").write_text("{}")
    (tmp_path / "m.fitting" / "model" / "learnt-1.safetensors.part").write_bytes(b"PK")
    assert fit(source, tmp_path / "m", resume=resume)["texts"] == 600


def test_a_fit_can_be_resumed_with_other_workers(source, tmp_path, monkeypatch):
    with interrupted_at(monkeypatch, 3), pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "m")
    assert fit(source, tmp_path / "m", resume=True, n_jobs=2)["texts"] == 600
