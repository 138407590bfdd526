"""What every benchmark command shares: its flags, the JSON it writes, the table it prints.

    parser = argparse.ArgumentParser(description=__doc__)
    output.options(parser, quick="about a minute")
    options = parser.parse_args()
    result = measure(..., options.seed)
    output.show(result)
    output.write(result, options)

The file has one document: commit, machine, versions and load average, all as they were before the
run (which loads the machine itself, and may outlast a commit), the seed, then the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.data import ROOT

Read = Callable[[str], dict[str, Any] | None]  # the document of a committed result, by its name


def peak_bytes() -> int:
    """The most resident memory that this process has had.

    Not ``ru_maxrss``, which a child inherits from the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    return 1_024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def options(parser: argparse.ArgumentParser, *, quick: str) -> None:
    """Add the flags that every benchmark has; ``quick`` says what a quick run is."""
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same run")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write the figures to this file")
    parser.set_defaults(provenance=provenance())


def _file(name: str) -> Path:
    """A file that can be written when the run is over: hours of figures are lost otherwise."""
    path = Path(name).resolve()
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise argparse.ArgumentTypeError(f"{name!r} must be a file in a folder that is there")
    return path


def provenance() -> dict[str, Any]:
    """Commit, machine, versions and load average now, as a committed result names them."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # no git, as in an unpacked archive
        commit = ""
    return {
        "commit": commit or None,
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **versions("torch"),
        "load average": round(os.getloadavg()[0], 1),
    }


def versions(*distributions: str) -> dict[str, str | None]:
    """Of installed distributions; importing them could cost seconds."""
    found: dict[str, str | None] = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _processor() -> str:
    """The model of the processor where the system tells it, and its architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return " ".join([*names[:1], platform.machine()])


def write(result: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write the document to the file that ``--json`` names, whole or not at all."""
    if options.json is None:
        print("These figures are not kept: pass --json FILE.", file=sys.stderr, flush=True)
        return
    document = {**options.provenance, "seed": options.seed, **result}
    aside = options.json.with_name(f"{options.json.name}.partial")
    text = json.dumps(document, indent=1, ensure_ascii=False)
    aside.write_text(text + "\n", encoding="utf-8")
    aside.replace(options.json)


def sections(
    read: Read, verb: str, makers: Mapping[str, Callable[[dict[str, Any]], list[str]]]
) -> list[str]:
    """The lines of a verb's parts, of those that have run."""
    documents = {part: read(f"{verb}-{part}") for part in makers}
    return [line for part, found in documents.items() if found for line in makers[part](found)]


def ran(document: Mapping[str, Any]) -> str:
    """Where and when a part ran."""
    machine = document.get("machine")
    if isinstance(machine, Mapping):  # as planning measured it
        threads, best = machine["threads"], machine["GFLOPs a second"]
        machine = f"{machine['processor']}, threads: {threads}, {best:.0f} GFLOP/s"
    return (
        f"{machine}, Python {document.get('python')}, commit "
        f"{document.get('commit')}, seed {document.get('seed')}; load average "
        f"{document.get('load average')} before the run."
    )


def yes(holds: bool) -> str:
    """Whether a bar holds, in words."""
    return "yes" if holds else "no"


def markdown(
    corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[object]]
) -> list[str]:
    """The lines of a Markdown table."""
    head = [f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return head + [f"| {name} | {' | '.join(map(str, cells))} |" for name, cells in rows.items()]


@contextmanager
def picture(
    file: Path, size: tuple[float, float] = (7, 3.5), columns: int = 1, **more: Any
) -> Iterator[Any]:
    """The axes of a picture, an array where there are several; the same file for the same data."""
    import matplotlib as mpl

    mpl.use("svg")
    with mpl.rc_context({"svg.hashsalt": "shoestring", "font.size": 9}):
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", **more)
        yield axes
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)


def show(result: Mapping[str, Any]) -> None:
    """Print a line for each figure."""
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:>{width}}  {value}")
