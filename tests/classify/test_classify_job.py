"""``classify fit`` within minutes, and interrupted: what is left, and that it can be continued.

The encoder is LSA; time passes while it encodes, or Ctrl-C comes.
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
from tests.classify.topics import (
    assert_same_bits,
    classifier,
    contents,
    topics,
)

from shoestring.classify import TextClassifier, job
from shoestring.errors import BudgetError, ShoestringWarning
from shoestring.jobs import _KIND as RUN
from shoestring.jobs import Clock, SaveEvery
from shoestring.models import LsaEncoder

TEXTS, LABELS = topics(600)
NEW, _ = topics(60, seed=9)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path):
    return written(tmp_path / "texts.csv", TEXTS, LABELS)


def fit(source, out, resume=False, clock=None, **head):
    made = classifier(n_jobs=1, **head)
    columns = {"text": "text", "label": "label"}
    return job.fit_to_folder(made, str(source), out, clock or Clock(), resume=resume, **columns)


@pytest.fixture
def in_minutes(monkeypatch):
    """Clocks of so many minutes, on which time passes while texts are encoded."""
    now = [0.0]

    def encode(self, texts):
        now[0] += 0.004 * len(texts)
        return self.transform(texts)

    monkeypatch.setattr(LsaEncoder, "encode", encode)
    return lambda minutes: Clock(minutes, now=lambda: now[0])


@contextlib.contextmanager
def interrupted_at(monkeypatch, call):
    """Ctrl-C comes in the call of the encoder after this one, of which the state is kept."""
    calls = []

    def encode(self, texts):
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        calls.append(len(texts))
        return self.transform(texts)

    with monkeypatch.context() as patched:
        patched.setattr(LsaEncoder, "encode", encode)
        patched.setattr(SaveEvery, "is_due", True)
        yield calls


@pytest.fixture
def in_64s(monkeypatch):
    """Batches of 64 texts."""
    monkeypatch.setattr(job, "BATCH", 64)


# ---- minutes ----


def test_a_time_limit_leaves_a_random_share_learnt(tmp_path, in_minutes):
    texts, labels = topics(3_000, stray=0.3)
    order = sorted(range(3_000), key=lambda i: labels[i])  # a file that is sorted by its labels
    path = written(tmp_path / "t.csv", [texts[i] for i in order], [labels[i] for i in order])
    clock = in_minutes(3 / 60)
    with pytest.warns(ShoestringWarning, match=r"--minutes was enough for .* of 3,000 texts, dr"):
        made = fit(path, tmp_path / "m", clock=clock)
    assert 400 < made["texts"] <= 750
    assert clock.left_s > 0
    loaded = TextClassifier.load(tmp_path / "m")
    share = loaded.head.moments_.sizes / made["texts"]
    np.testing.assert_allclose(share, 0.5, atol=0.12)
    assert names(tmp_path) == ["m", "t.csv"]


def test_the_note_names_a_class_that_the_minutes_left_out(tmp_path, in_minutes):
    texts, labels = topics(1_500)
    path = written(tmp_path / "t.csv", [*texts, "rare words"], [*labels, "rare"])
    with pytest.warns(ShoestringWarning, match="None of them was of 'rare'"):
        made = fit(path, tmp_path / "m", clock=in_minutes(2.5 / 60), random_state=1)
    assert made["classes"] == 2


def test_minutes_that_are_enough_change_nothing(source, tmp_path, in_minutes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(source, tmp_path / "a", clock=in_minutes(5))
    fit(source, tmp_path / "b")
    assert_same_bits(TextClassifier.load(tmp_path / "a"), TextClassifier.load(tmp_path / "b"), NEW)


def test_minutes_that_end_at_once_leave_nothing_and_the_error_says_what_is_enough(
    source, tmp_path, in_minutes
):
    with pytest.raises(BudgetError, match=r"Pass --minutes .*, or fewer texts") as raised:
        clock = in_minutes(0.001)
        clock.add_used(1.0)  # before the first batch
        fit(source, tmp_path / "m", clock=clock)
    assert names(tmp_path) == ["texts.csv"]
    enough = float(str(raised.value).split("--minutes ")[1].split()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShoestringWarning)
        assert fit(source, tmp_path / "m", clock=in_minutes(enough))["texts"] > 0


def test_the_cost_is_said_once_it_is_known(run, source, tmp_path):
    code, out, err = run("fit", source, "--out", tmp_path / "m", *PLAIN, "--json")
    assert (code, json.loads(out)["texts"]) == (0, 600)
    assert "88 texts to go: about " in err


# ---- interrupted ----


@pytest.mark.usefixtures("in_64s")
@pytest.mark.parametrize("call", [1, 4])
def test_an_interrupted_fit_waits_and_ends_as_an_uninterrupted_one(
    run, source, tmp_path, monkeypatch, call
):
    asked = ("fit", source, "--out", tmp_path / "m", *PLAIN, "--json")
    with interrupted_at(monkeypatch, call):
        code, out, err = run(*asked)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].endswith("run again with --resume")
    assert names(tmp_path) == ["m.run", "texts.csv"]
    assert TextClassifier.load(tmp_path / "m.run" / "model").n_learnt == 64 * call
    fails(run(*asked), "An interrupted fit is in", "--resume")
    fails(run(*asked, "--resume", "--seed", 4), "had --seed 0, not 4")
    other = written(tmp_path / "other.csv", [*TEXTS[:-1], "cat"], LABELS)
    fails(run("fit", other, *asked[2:], "--resume"), "had texts")
    other.unlink()
    with interrupted_at(monkeypatch, None) as calls:
        code, out, _ = run(*asked, "--resume", "--jobs", 2)
    assert (code, json.loads(out)["texts"]) == (0, 600)
    assert sum(calls) == 600 - 64 * call  # no text is encoded twice
    assert names(tmp_path) == ["m", "texts.csv"]
    assert run("fit", source, "--out", tmp_path / "n", *asked[4:])[0] == 0
    a, b = TextClassifier.load(tmp_path / "m"), TextClassifier.load(tmp_path / "n")
    assert_same_bits(a, b, NEW)


@pytest.mark.usefixtures("in_64s")
def test_a_fit_over_a_classifier_leaves_it_until_the_end_and_then_replaces_it(
    source, tmp_path, monkeypatch
):
    out, new = tmp_path / "m", written(tmp_path / "new.csv", TEXTS[:400], LABELS[:400])
    fit(source, out)
    before = contents(out)
    with interrupted_at(monkeypatch, 3), pytest.raises(KeyboardInterrupt):
        fit(new, out)
    assert contents(out) == before
    assert fit(new, out, resume=True)["texts"] == TextClassifier.load(out).n_learnt == 400


@pytest.mark.usefixtures("in_64s")
def test_time_that_an_interrupted_fit_has_used_counts(source, tmp_path, monkeypatch, in_minutes):
    with interrupted_at(monkeypatch, 2), pytest.raises(KeyboardInterrupt):
        fit(source, tmp_path / "m")
    noted = tmp_path / "m.run" / "run.json"
    RUN.write_config(noted.parent, {**json.loads(noted.read_text()), "used_s": 298.0})
    clock = in_minutes(5)  # of which two seconds are left
    with pytest.warns(ShoestringWarning, match="--minutes was enough"):
        made = fit(source, tmp_path / "m", resume=True, clock=clock)
    assert 128 < made["texts"] < 600
    assert 298 < clock.used_s < 300


CANNED = {
    "English": ["where is my order", "reset my password", "talk to a human", "cancel my plan"],
    "Chinese": ["手机很好", "电池很差"],
    "one shared word": ["good phone", "bad phone"],
}


@pytest.mark.parametrize("texts", CANNED.values(), ids=CANNED)
@pytest.mark.parametrize("times", [1, 6, 50])
def test_classes_of_one_repeated_text_are_told_apart(tmp_path, texts, times):
    path = written(tmp_path / "t.csv", texts * times, [f"as {text}" for text in texts] * times)
    fit(path, tmp_path / "m")
    found = TextClassifier.load(tmp_path / "m")
    assert found.predict(texts).tolist() == [f"as {text}" for text in texts]
    assert found.predict_proba(texts).max(axis=1).min() > 0.8


DRIVER = """
import sys, time
from shoestring import cli
from shoestring.classify import job
from shoestring.models import LsaEncoder
job.BATCH = 64
job.SaveEvery.is_due = True
def encode(self, texts):
    time.sleep(0.2)
    return self.transform(texts)
LsaEncoder.encode = encode
sys.argv = ["shoestring", "classify", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.usefixtures("in_64s")
def test_a_fit_that_is_killed_continues_from_the_last_batch(run, source, tmp_path, monkeypatch):
    asked = ["fit", source, "--out", tmp_path / "m", *PLAIN, "--jobs", 1]
    process = subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, asked)], cwd=ROOT)
    noted, deadline = tmp_path / "m.run" / "run.json", time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if noted.exists() and (json.loads(noted.read_text())["progress"] or {"texts": 0})["texts"]:
            break
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "m").exists()
    n_learnt = TextClassifier.load(tmp_path / "m.run" / "model").n_learnt
    assert n_learnt in range(64, 600, 64)
    fails(run(*asked), "An interrupted fit is in")
    with interrupted_at(monkeypatch, None) as calls:
        assert run(*asked, "--resume")[0] == 0
    assert sum(calls) == 600 - n_learnt
    fit(source, tmp_path / "n")
    a, b = TextClassifier.load(tmp_path / "m"), TextClassifier.load(tmp_path / "n")
    assert_same_bits(a, b, NEW)
    assert names(tmp_path) == ["m", "n", "texts.csv"]
