"""Every public entry takes anything: an answer or an error of ours, soon, in bounded memory.

The table of entries is in tests/fuzz/entries.py. ``make test-slow`` tries 10,000 inputs and
``SHOESTRING_FUZZ=100000 make test-slow`` more; some hundred are in the quick tests. They are the
same each time.
"""

import math
import os
import shutil
import signal
import traceback
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import just
from tests.fuzz.entries import ENTRIES, Entry, RefusedError
from tests.fuzz.values import TheirError
from tests.fuzz.world import World

from shoestring.errors import FormatError, ParameterError, ShoestringError

resource = pytest.importorskip("resource")

QUICK, FULL = 300, int(os.environ.get("SHOESTRING_FUZZ", "10000"))
CPU_S, CLOCK_S = 10, 100  # of the processor, as the machine may be busy; of the clock, for locks
MEMORY = 1 << 30
STATUS = Path("/proc/self/status")


class HangError(BaseException):
    """Not to be caught by what hangs."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@contextmanager
def bounded():
    """Stop what takes too long or too much memory."""

    def stop(number, frame):
        raise HangError(f"more than {CPU_S} s of the processor, or {CLOCK_S} s of the clock")

    kept = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    if STATUS.exists():
        resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    of_pytest = signal.setitimer(signal.ITIMER_REAL, CLOCK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, *of_pytest)
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), kept, strict=True):
            signal.signal(number, handler)


def _data_bytes():
    """What RLIMIT_DATA counts: private memory that can be written."""
    return int(STATUS.read_text(encoding="ascii").split("VmData:")[1].split()[0]) << 10


def fault_of(entry, world, folder, arguments):
    """What is wrong with a call, its kind and the details; None if nothing is."""
    it = entry.it(world)
    before, refused = entry.state(it), False
    there = set(folder.rglob("*"))
    try:
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            entry.call(it, **arguments)
    except TheirError:
        refused = True
    except (ShoestringError, RefusedError):
        refused = True
    except (Exception, HangError) as error:
        kept = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in kept if "/shoestring/" in frame.filename] or kept
        lines = str(error).strip().splitlines() or [""]
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return f"{type(error).__name__} at {where}", lines[0][:150]
    if refused and entry.state(it) != before:
        return "an error changed the object", f"{before} to {entry.state(it)}"
    left = {path for path in folder.rglob("*") if path not in there}
    names = sorted(str(p.relative_to(folder)) for p in left)
    inputs = ("copy", "input")
    names = [name for name in names if not name.startswith(inputs)]
    return ("an error left files behind", str(names[:3])) if refused and names else None


def shown(arguments):
    parts = []
    for name, value in arguments.items():
        try:
            text = repr(value)
        except Exception:
            text = f"<{type(value).__name__}>"
        parts.append(f"{name}={text[:160]}")
    return ", ".join(parts)


def faults(entry, world, root, n_examples):
    """The distinct faults of an entry, each with its first arguments."""
    found = {}

    @settings(
        max_examples=n_examples, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @seed(zlib.crc32(entry.name.encode()))
    @given(entry.strategy)
    def tried(arguments):
        folder = root / "a" / "b"  # two floors: ".." is ours too
        folder.mkdir(parents=True)
        kept = Path.cwd()
        os.chdir(folder)
        try:
            fault = fault_of(entry, world, folder, arguments)
        finally:
            os.chdir(kept)
            shutil.rmtree(root / "a")
        if fault is not None:
            kind, details = fault
            found.setdefault(kind, f"{shown(arguments)}: {details}")

    tried()
    return [f"{entry.name}: {kind}: {details}" for kind, details in found.items()]


def check(entry, world, root, total):
    pytest.importorskip(entry.needs)
    share = entry.share / sum(entry.share for entry in ENTRIES)
    found = faults(entry, world, root, max(2, math.ceil(total * share)))
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def hang(it, value):
    while True:
        pass


def leave_a_file(it, value):
    Path("half").write_text("made", encoding="utf-8")
    raise ParameterError("no")


def change_the_object(it, value):
    it.append(value)
    raise ParameterError("no")


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (hang, "HangError"),
        (lambda it, value: bytearray(2 * MEMORY), "MemoryError"),
        (lambda it, value: it[7], "IndexError"),
        (lambda it, value: f"{value!r}" + None, "TypeError"),
        (leave_a_file, "an error left files behind"),
        (change_the_object, "an error changed the object"),
    ],
    ids=["hang", "memory", "index", "type", "file", "object"],
)
def test_the_fuzz_finds_what_is_wrong(call, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.CPU_S", 0.2)
    wrong = Entry("wrong", call, {"value": just(7)}, it=lambda world: [], state=len)
    (found,) = faults(wrong, None, tmp_path, 1)
    assert found.startswith(f"wrong: {kind}")


@pytest.mark.parametrize("error", [TheirError("no"), FormatError("no"), None])
def test_the_fuzz_takes_answers_and_errors_of_ours_and_of_the_callers(error, tmp_path):
    def call(it, value):
        if error is not None:
            raise error

    assert not faults(Entry("right", call, {"value": just(7)}), None, tmp_path, 1)


by_name = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


@by_name
def test_an_entry_takes_anything(entry, world, tmp_path):
    check(entry, world, tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@by_name
def test_an_entry_takes_anything_many_times(entry, world, tmp_path):
    check(entry, world, tmp_path, FULL)
