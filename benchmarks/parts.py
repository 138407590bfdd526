"""A benchmark of several parts, each a module and a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import output
from benchmarks.data import ROOT


def commands(
    package: str, parts: Sequence[str], options: argparse.Namespace
) -> dict[str, list[str]]:
    """The command of each part."""
    found = {}
    for part in parts:
        command = [sys.executable, "-m", f"{package}.{part}", "--seed", str(options.seed)]
        if options.quick:
            command.append("--quick")
        if options.json is not None:
            name = f"{options.json.stem}-{part.replace('_', '-')}.json"
            command += ["--json", str(options.json.with_name(name))]
        found[part] = command
    return found


def run(package: str, parts: Sequence[str], description: str, quick: str) -> None:
    """Run the parts one after the other; one that fails does not keep the others from running."""
    parser = argparse.ArgumentParser(description=description)
    output.options(parser, quick=quick)
    failed = []
    for part, command in commands(package, parts, parser.parse_args()).items():
        print(f"\n{part}: {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(part)
    if failed:
        raise SystemExit(f"These parts did not come to their end: {', '.join(failed)}.")
