"""One way to run long: a clock, a run folder that can be resumed, checkpoints, the cost.

What would take longer than ten minutes to do again keeps a run folder beside its output,
``out.run``: ``run.json`` with the settings, the progress and the seconds used, and the files of the
job's state. It is locked while a process works in it, refused to other settings, and removed when
the output is there. Ctrl-C ends a run as a kill does: it goes on from the last checkpoint.

Not covered: runs over several machines.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shoestring.artifacts import LOCK, ArtifactKind, locked, make_folder, remove
from shoestring.checks import checked_number
from shoestring.errors import BudgetError, ParameterError, ShoestringError
from shoestring.progress import Progress

_KIND = ArtifactKind(
    "shoestring-run", "an interrupted run", "a run", "What it kept is lost.", config="run.json"
)
_STATE = re.compile(  # all that jobs keep in a run folder
    r"(run\.json|ids\.npy|tokenizer\.json)(\.part)?|model|weights|runs|"
    r"corpus-[0-9a-f]{12}|checkpoint-\d+"
)
LEAST_S = 20.0  # between checkpoints
SAVING_SHARE = 0.05  # of the time, at most, goes into checkpoints


class Clock:
    """Time of a job, including what interrupted runs of it used.

    The limit in minutes is above 0, or None for none (ParameterError). ``now`` is a monotonic clock
    in seconds; ``began`` its time when the job began, before its imports: by default now.

    Examples
    --------
    >>> time = iter([0.0, 10.0, 55.0])
    >>> clock = Clock(minutes=1, now=lambda: next(time))
    >>> clock.used_s, clock.left_s
    (10.0, 5.0)
    """

    def __init__(
        self,
        minutes: float | None = None,
        used_s: float = 0.0,
        *,
        now: Callable[[], float] = time.monotonic,
        began: float | None = None,
    ) -> None:
        if minutes is not None:
            minutes = checked_number("minutes", minutes, "a run", "a number above 0, or None", 0.0)
        self.seconds = math.inf if minutes is None else 60.0 * minutes
        self.now = now
        self._began = (now() if began is None else began) - used_s
        self.phases: dict[str, float] = {}

    @property
    def used_s(self) -> float:
        """Seconds used so far."""
        return self.now() - self._began

    @property
    def left_s(self) -> float:
        """Seconds left; infinite without a limit."""
        return self.seconds - self.used_s

    def add_used(self, seconds: float) -> None:
        """Count what an interrupted run had used."""
        self._began -= seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase of the report."""
        began = self.now()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + self.now() - began


class SaveEvery:
    """Says when a checkpoint is due: often, but for a small share of the time."""

    def __init__(self, clock: Clock, least_s: float = LEAST_S) -> None:
        self.clock, self.least_s = clock, least_s
        self._saved_at, self._took_s = clock.used_s, 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        wait = max(self.least_s, self._took_s / SAVING_SHARE)
        return self.clock.used_s - self._saved_at >= wait

    def saved(self, began: float) -> None:
        """Note a checkpoint that was begun at ``began`` of the clock and is written now."""
        self._saved_at = self.clock.used_s
        self._took_s = self._saved_at - began


class RunFolder:
    """What an interruption leaves of a run, and what the next one continues from.

    Make one with :meth:`open`.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        self.path, self._settings = path, settings  # path: for the job's own state files
        self.progress: dict[str, Any] = dict(known.get("progress") or {})  # empty for a new run
        self.used_s = float(known.get("used_s", 0.0))  # until the progress was kept

    @classmethod
    @contextmanager
    def open(
        cls, out: Path, settings: Mapping[str, Any], *, resume: bool, what: str = "run"
    ) -> Iterator[RunFolder]:
        """Lock and open the run folder of an output; it is removed when the block has ended well.

        An error of ours, or Ctrl-C, before anything was kept leaves no folder either. The settings
        are everything that the result depends on, as JSON, files by their digests; ``what`` is what
        the run is called in messages, such as "training".

        ParameterError if another process works in it; if an interrupted run waits and is not to be
        resumed, or had other settings; if the folder holds other files. StorageError if it cannot
        be made or read.
        """
        out = out if out.name else out.resolve()
        path = out.with_name(out.name + ".run")
        settings = json.loads(json.dumps(settings, default=str))
        with _working_in(path, out):
            known = _known(path, what)
            if known.get("progress"):
                _check(path, what, known.get("settings") or {}, settings, resume)
            run = cls(path, settings, known)
            if not run.progress:
                run.restart()
            try:
                yield run
            except (ShoestringError, KeyboardInterrupt):
                if not run.progress:
                    run._clear()
                raise
            run._clear()

    def keep(self, clock: Clock, **progress: Any) -> None:
        """Note what is done, after its files are on the disk: from here on it can be resumed."""
        self.progress, self.used_s = {"kept": True, **progress}, clock.used_s
        self._write()

    def restart(self) -> None:
        """Forget what was kept: the run begins anew."""
        self.progress, self.used_s = {}, 0.0
        self._clear()
        self._write()

    def _clear(self) -> None:
        """Remove what jobs keep here, by name; a file that somebody else put here stays."""
        for entry in self.path.iterdir():
            if _STATE.fullmatch(entry.name):
                remove(entry)

    def _write(self) -> None:
        known = {"settings": self._settings, "progress": self.progress, "used_s": self.used_s}
        _KIND.write_config(self.path, known)


@contextmanager
def _working_in(path: Path, out: Path) -> Iterator[None]:
    """Hold the lock of a run folder; afterwards an empty one goes."""
    make_folder(path)
    told = f"Another process is working on {out}. Wait for it, or choose another --out."
    try:
        with locked(path / LOCK, ParameterError(told)):
            try:
                yield
            finally:
                with suppress(OSError):  # while it is ours: the next process makes its own
                    (path / LOCK).unlink()
    finally:
        with suppress(OSError):  # where something is kept
            path.rmdir()


def _known(path: Path, what: str) -> dict[str, Any]:
    """What a run folder says of its run; empty where there is none yet."""
    try:
        _KIND.check(path)
    except ParameterError as error:
        raise ParameterError(
            f"{path} is where a {what} keeps its state, and holds other files. Move them, or "
            "choose another --out."
        ) from error
    return _KIND.read(path).config if _KIND.is_saved(path) else {}


def _check(
    path: Path, what: str, begun: Mapping[str, Any], settings: Mapping[str, Any], resume: bool
) -> None:
    if not resume:
        raise ParameterError(
            f"An interrupted {what} is in {path}. Continue it with --resume, or remove that folder "
            "to start again."
        )
    for name in sorted(begun.keys() | settings.keys()):
        if begun.get(name) != settings.get(name):
            raise ParameterError(
                f"The interrupted {what} in {path} had {name} {begun.get(name)!r}, not "
                f"{settings.get(name)!r}. Pass the same texts and settings, or remove that folder "
                "to start again."
            )


def say_cost(what: str, seconds: float) -> None:
    """Print on standard error what a job will cost: ``what``, then the time."""
    Progress.write(f"{what}: about {Progress.format_interval(seconds)}", file=sys.stderr)


def say_error(said_s: float, took_s: float) -> None:
    """Print on standard error what a job took beside what :func:`say_cost` said."""
    said, took = map(Progress.format_interval, (said_s, took_s))
    Progress.write(f"took {took}, said {said}: {took_s / said_s - 1:+.0%}", file=sys.stderr)


def too_short(what: str, takes_s: float, needed_s: float, remedy: str) -> BudgetError:
    """The error for too few minutes: what takes how long, and how many would be enough.

    Examples
    --------
    >>> too_short("One epoch", 90, 200, "or fewer examples")
    BudgetError('One epoch takes about 01:30. Pass --minutes 3.4 or more, or fewer examples.')
    """
    minutes = math.ceil(needed_s / 6) / 10 if needed_s < 6000 else math.ceil(needed_s / 60)
    return BudgetError(
        f"{what} takes about {Progress.format_interval(takes_s)}. Pass --minutes {minutes:g} or "
        f"more, {remedy}."
    )
