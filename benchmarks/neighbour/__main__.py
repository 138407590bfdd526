"""Time on cores that others want as well: jobs beside busy loops, and on one core of several.

``python -m benchmarks.neighbour`` runs questions of 60 calls (1,500 texts of the Python
documentation), a classify fit, words training, encoding and ``shoestring --help``; each quiet,
beside 2 and 4 busy loops of equal priority, bound to one core, and in a control group of one core.

A job that keeps p threads busy when quiet (CPU seconds over seconds), beside L loops on C cores,
gets C / (p + L) of what it wants where p + L > C. So its time may grow by

    fair = max(1, (p + L) / C)

and by no more than 1.3 times that. CPU seconds that grow beside loops show threads that wait
without sleeping. Nothing else may run on the machine; turns go through all neighbourhoods, and the
medians are reported.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import output
from benchmarks.data import ROOT
from benchmarks.neighbour import page
from benchmarks.neighbour.jobs import build_index

SIZES = {"query": 15, "fit": 200_000, "train": 5_000, "encode": 400, "help": 4}
QUICK = {"query": 4, "fit": 4_000, "train": 1_000, "encode": 60, "help": 2}
N_TEXTS, N_TEXTS_QUICK = 1_500, 300
LOOPS = (2, 4)
GROUPS = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")  # version 1, version 2
Start = Callable[[], object]


def main() -> None:
    """Parse the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", default=",".join(SIZES), help="separated by commas")
    parser.add_argument("--turns", type=int, default=5)
    output.options(parser, quick="small jobs, in about two minutes")
    options = parser.parse_args()
    sizes = {name: (QUICK if options.quick else SIZES)[name] for name in options.jobs.split(",")}
    n_texts = N_TEXTS_QUICK if options.quick else N_TEXTS
    result = measure(sizes, n_texts, options.turns, LOOPS, options.seed)
    print("\n".join(page.table(result)))
    for name, why in result["skipped"].items():
        print(f"skipped: {name}, as {why}")
    output.write(result, options)


def measure(
    sizes: dict[str, int], n_texts: int, turns: int, loops: tuple[int, ...], seed: int
) -> dict[str, Any]:
    """The rows of every job in every neighbourhood."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, one_core_group() as (join, why):
        if "query" in sizes:
            build_index(Path(folder) / "index", n_texts, seed)
        for name, size in sizes.items():
            command = [name, str(Path(folder) / "index"), str(size), str(seed)]
            rows += measure_job(name, command, turns, loops, join)
    what = ", ".join(f"{name} of {size:,}" for name, size in sizes.items())
    jobs = f"Jobs: {what}; {n_texts:,} texts in the index."
    skipped = {} if join else {"a control group of one core": why}
    return {"jobs": jobs, "turns": turns, "rows": rows, "skipped": skipped}


def measure_job(
    name: str, command: list[str], turns: int, loops: tuple[int, ...], join: Start | None
) -> list[dict[str, Any]]:
    """The rows of one job: each neighbourhood in turn, and so on for some turns."""
    cores = sorted(os.sched_getaffinity(0))
    bind = partial(os.sched_setaffinity, 0, cores[:1])
    places: dict[str, tuple[Start | None, int, int]] = {"quiet": (None, 0, len(cores))}
    places |= {f"{n} loops": (None, n, len(cores)) for n in loops}
    places["bound to one core"] = bind, 0, 1
    if join is not None:
        places["in a group of one core"] = join, 0, 1
    taken: dict[str, list[dict[str, float]]] = {beside: [] for beside in places}
    with ExitStack() as stack:
        starts = dict.fromkeys(start for start, _, _ in places.values())
        workers = {start: stack.enter_context(worker(command, start)) for start in starts}
        for _ in range(turns):
            for beside, (start, n_loops, _) in places.items():
                with busy_loops(n_loops):
                    taken[beside].append(workers[start]())
    medians = {
        beside: {key: median(one[key] for one in each) for key in ("s", "cpu_s")}
        for beside, each in taken.items()
    }
    quiet = medians["quiet"]
    n_own = min(max(quiet["cpu_s"] / quiet["s"], 1.0), len(cores))
    return [
        row(name, beside, medians[beside], quiet["s"], fair_share(n_own, n_loops, n_cores))
        for beside, (_, n_loops, n_cores) in places.items()
    ]


def fair_share(n_own: float, n_loops: int, n_cores: int) -> float:
    """How much longer a job of so many busy threads takes, if all get as much of the cores."""
    return max(1.0, (n_own + n_loops) / n_cores)


def row(
    job: str, beside: str, figures: dict[str, float], quiet_s: float, fair: float
) -> dict[str, Any]:
    """One line of the table."""
    over_quiet = figures["s"] / quiet_s
    found = {**figures, "over_quiet": over_quiet, "fair": fair, "over_fair": over_quiet / fair}
    return {
        "job": job,
        "beside": beside,
        **{key: round(value, 3) for key, value in found.items()},
    }


@contextmanager
def worker(command: list[str], start: Start | None) -> Iterator[Callable[[], dict[str, float]]]:
    """A process with one job, prepared; a call runs it once."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.neighbour.jobs", *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=start,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def answer() -> dict[str, float]:
        line = answers.readline()
        if not line:
            raise SystemExit(f"The job {command[0]} failed with exit code {process.wait()}.")
        return json.loads(line)

    def run() -> dict[str, float]:
        asked.write("go\n")
        asked.flush()
        return answer()

    try:
        answer()
        yield run
    finally:
        asked.close()
        process.wait()
        answers.close()


@contextmanager
def busy_loops(n_loops: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that never wait."""
    loop = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    processes = [subprocess.Popen(loop, stdout=subprocess.PIPE) for _ in range(n_loops)]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is there
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def one_core_group() -> Iterator[tuple[Start | None, str]]:
    """A control group that gets one core's time, spread over all: how to join it, or why not."""
    trees = [top for top in GROUPS if (top / "cgroup.procs").exists()]
    if not trees:
        yield None, "there is no tree of control groups"
        return
    group = trees[0] / f"shoestring-neighbour-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        yield None, f"none can be made ({error.strerror})"
        return
    try:
        yield _limited(group)
    finally:
        group.rmdir()


def _limited(group: Path) -> tuple[Start | None, str]:
    limits = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}
    if not (group / "cpu.cfs_quota_us").exists():
        limits = {"cpu.max": "100000 100000"}
    try:
        for name, text in limits.items():
            (group / name).write_text(text)
    except OSError as error:
        return None, f"the time of one cannot be limited ({error.strerror})"
    return lambda: (group / "cgroup.procs").write_text(str(os.getpid())), ""


if __name__ == "__main__":
    main()
