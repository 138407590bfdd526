"""All that is measured of word vectors: speed and memory, the index, quality, the first stage.

``python -m benchmarks.words`` runs the parts one after the other, each in a process of its own, as
``python -m benchmarks.words.PART`` does. With ``--json words.json`` each writes its figures beside
it, ``words-speed.json``, ``words-overlap.json`` and so on: in ``benchmarks/results`` they are what
``python -m benchmarks.report`` reads. In full it takes some hours, most of them quality; a part
that fails does not keep the others from running.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec

from benchmarks import output
from benchmarks.data import ROOT

PARTS = ("speed", "overlap", "quality", "first_stage")


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """The command of each part that there is."""
    found = {}
    for part in PARTS:
        module = f"benchmarks.words.{part}"
        if find_spec(module) is None:
            continue
        command = [sys.executable, "-m", module, "--seed", str(options.seed)]
        if options.quick:
            command.append("--quick")
        if options.json is not None:
            name = f"{options.json.stem}-{part.replace('_', '-')}.json"
            command += ["--json", str(options.json.with_name(name))]
        found[part] = command
    return found


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="some minutes for all parts")
    failed = []
    for part, command in commands(parser.parse_args()).items():
        print(f"\n{part}: {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(part)
    if failed:
        raise SystemExit(f"These parts did not come to their end: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
