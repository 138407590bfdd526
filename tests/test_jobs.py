"""A job keeps its time, its folder and its promises when it is interrupted."""

import json
import math
import os
import subprocess
import sys

import pytest
from filelock import FileLock

from shoestring.errors import IntegrityError, ParameterError, StorageError
from shoestring.jobs import Clock, RunFolder, SaveEvery, say_cost, say_error


class Time:
    """A clock that is set by hand."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


@pytest.fixture
def time():
    return Time()


# ---- the clock


def test_a_clock_counts_from_its_beginning_and_what_was_used_before(time):
    clock = Clock(2, now=time)
    time.at += 30
    assert (clock.used_s, clock.left_s) == (30, 90)
    clock.add_used(60)
    assert (clock.used_s, clock.left_s) == (90, 30)
    assert Clock(2, 60, now=time, began=time() - 5).used_s == 65
    time.at += 100
    assert clock.left_s == -70
    assert Clock(now=time).left_s == math.inf


def test_phases_add_up_even_where_one_fails(time):
    clock = Clock(now=time)
    for seconds in (1, 2):
        with clock.phase("reading"):
            time.at += seconds
    with pytest.raises(KeyError), clock.phase("training"):
        time.at += 4
        raise KeyError
    assert clock.phases == {"reading": 3, "training": 4}


@pytest.mark.parametrize("minutes", [0, -1, math.inf, math.nan])
def test_minutes_that_are_no_time_are_refused(minutes):
    with pytest.raises(ParameterError, match=r"'minutes' .* must be a number above 0, or None"):
        Clock(minutes)


def test_checkpoints_are_due_by_time_and_take_a_small_share_of_it(time):
    every = SaveEvery(Clock(now=time), least_s=20)
    time.at += 19
    assert not every.is_due
    time.at += 1
    assert every.is_due
    time.at += 3  # 5 % of 60 seconds
    every.saved(20)
    time.at += 59
    assert not every.is_due
    time.at += 1
    assert every.is_due


# ---- the run folder

SETTINGS = {"texts": "abc", "seed": 1, "n_bits": (400, 20)}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "model"


def opened(out, resume=False, **settings):
    return RunFolder.open(out, SETTINGS | settings, resume=resume, what="training")


def interrupt(out, error=KeyboardInterrupt, **settings):
    """A run that keeps a step and a file, and is interrupted."""
    with pytest.raises(error), opened(out, **settings) as run:
        (run.path / "model").mkdir()
        (run.path / "model" / "weights").write_text("kept")
        run.keep(Clock(used_s=50), step=3)
        raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_that_ends_well_leaves_nothing(out, tmp_path):
    for resume in (False, True):  # resume where nothing was interrupted: a new run
        with opened(out, resume) as run:
            assert run.path == tmp_path / "model.run" and run.path.is_dir()
            assert (run.progress, run.used_s) == ({}, 0)
            (run.path / "model").write_text("x")
            run.keep(Clock(), step=1)
        assert names(tmp_path) == []


def test_what_somebody_else_put_into_a_run_folder_stays(out, tmp_path):
    interrupt(out)
    (tmp_path / "model.run" / "notes.txt").write_text("mine")
    with opened(out, resume=True) as run:
        run.restart()
        (run.path / "model").mkdir()
    assert names(tmp_path) == ["model.run"] and names(run.path) == ["notes.txt"]
    with pytest.raises(ParameterError, match="holds other files"), opened(out):
        pass
    assert (run.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, IntegrityError, RuntimeError])
def test_an_interrupted_run_is_continued_where_it_was(out, error):
    interrupt(out, error)
    with opened(out, resume=True) as run:
        assert run.progress["step"] == 3 and 50 <= run.used_s < 60
        assert (run.path / "model" / "weights").read_text() == "kept"
        with pytest.raises(ParameterError, match="Another process is working on"), opened(out):
            pass
    assert not run.path.exists()


def test_an_interrupted_run_waits_for_resume_and_the_same_settings(out):
    interrupt(out)
    before = names(out.with_name("model.run"))
    says = r"An interrupted training is in .*model\.run\. Continue it with --resume, or remove"
    with pytest.raises(ParameterError, match=says), opened(out):
        pass
    says = r"model\.run had n_bits \[400, 20\], not \[400, 10\]\. Pass the same texts and settings"
    with pytest.raises(ParameterError, match=says), opened(out, True, n_bits=(400, 10), texts="d"):
        pass
    with pytest.raises(ParameterError, match="had more None, not 1"), opened(out, True, more=1):
        pass
    assert names(out.with_name("model.run")) == before
    with opened(out, resume=True) as run:
        assert run.progress["step"] == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, ParameterError])
def test_what_fails_before_anything_was_kept_leaves_no_folder(out, tmp_path, error):
    with pytest.raises(error), opened(out) as run:
        (run.path / "ids.npy.part").write_text("x")
        raise error
    assert names(tmp_path) == []


def test_what_was_left_before_anything_was_kept_is_swept(out):
    with pytest.raises(MemoryError), opened(out) as run:
        (run.path / "ids.npy.part").write_text("x")
        raise MemoryError
    with opened(out, seed=2) as run:  # other settings too: there is nothing to resume
        assert names(run.path) == ["lock", "run.json"]


def test_a_restart_forgets_what_was_kept(out):
    interrupt(out)
    with pytest.raises(ParameterError, match="diverged"), opened(out, resume=True) as run:
        run.restart()
        assert (run.progress, run.used_s) == ({}, 0)
        assert names(run.path) == ["lock", "run.json"]
        raise ParameterError("diverged")
    assert not run.path.exists()


@pytest.mark.parametrize("mine", ["notes.txt", "run.json"])
def test_a_folder_of_somebody_else_is_refused_and_stays(out, mine):
    folder, says = out.with_name("model.run"), r"holds other files\. Move them|is not the run\.json"
    folder.mkdir()
    (folder / mine).write_text("[1]")
    for resume in (False, True):
        with pytest.raises(ValueError, match=says), opened(out, resume):
            pass
    assert names(folder) == [mine]


def test_a_folder_that_cannot_be_made_is_told(out):
    out.with_name("model.run").write_text("mine")
    for path in (out, out.with_name("model.run") / "x"):
        with pytest.raises(StorageError, match="cannot be made"), opened(path):
            pass


def test_a_damaged_run_says_what_to_remove(out):
    interrupt(out)
    (out.with_name("model.run") / "run.json").write_text("{")
    says = r"model\.run.run\.json is damaged: .* Remove that folder first"
    with pytest.raises(IntegrityError, match=says), opened(out, resume=True):
        pass


def test_a_run_is_locked_by_whoever_works_in_it(out):
    folder = out.with_name("model.run")
    folder.mkdir()
    says = r"Another process is working on .*model\. Wait for it"
    with FileLock(folder / "lock"), pytest.raises(ParameterError, match=says), opened(out):
        pass
    with opened(out):
        pass


KILLED = """
import os, sys
from pathlib import Path
from shoestring.jobs import Clock, RunFolder

with RunFolder.open(Path(sys.argv[1]), {"seed": 1}, resume=False) as run:
    run.keep(Clock(), step=3)
    (run.path / "run.json.part").write_text("half")
    os._exit(9)
"""


def test_a_killed_run_keeps_what_was_kept(out):
    assert subprocess.run([sys.executable, "-c", KILLED, str(out)]).returncode == 9
    with RunFolder.open(out, {"seed": 1}, resume=True) as run:
        assert run.progress["step"] == 3


def test_the_folder_that_we_are_in_can_be_the_output(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with opened(type(tmp_path)(".")) as run:
        assert run.path == tmp_path / "here.run"
        settings = json.loads((run.path / "run.json").read_text())["settings"]
        assert settings == {**SETTINGS, "n_bits": [400, 20]}


# ---- the cost


def test_the_cost_goes_to_standard_error(capsys):
    say_cost("reading 3 files", 75)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "reading 3 files: about 01:15" + os.linesep)


def test_what_a_job_took_is_said_beside_what_was_said(capsys):
    say_error(75, 60)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "took 01:00, said 01:15: -20%" + os.linesep)


FORK_AND_KILL = """
import os, signal, time
from shoestring.progress import Progress
ready, told = os.pipe()
if not (child := os.fork()):
    Progress.get_lock().acquire()
    os.write(told, b"x")
    time.sleep(600)
os.read(ready, 1)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
print(sum(Progress(range(5), disable=True)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_killed_in_a_bar_does_not_stop_its_parent():
    command = [sys.executable, "-c", FORK_AND_KILL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "10\n", done.stderr
