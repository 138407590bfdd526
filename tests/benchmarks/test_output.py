"""Every benchmark command has the same flags and writes the same document."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest

from benchmarks import output

NO_BENCHMARKS = {"jobs", "matrices", "pictures"}  # commands that take part in one, or draw
COMMANDS = [
    f"benchmarks.{file.parent.name}.{file.stem}"
    for file in sorted(Path(output.__file__).parent.glob("*/*.py"))
    if "def main(" in file.read_text("utf-8") and file.stem not in NO_BENCHMARKS
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_same_flags(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(command).main()
    told = capsys.readouterr().out
    assert all(flag in told for flag in ("--quick ", "--seed SEED", "--json FILE"))


def test_a_run_prints_a_table_and_writes_the_figures_with_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.search import store_speed

    file = tmp_path / "store.json"
    command = ["store_speed", "--quick", "--records", "3000", "--queries", "5", "--seed", "7"]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(file)])
    store_speed.main()
    written, printed = json.loads(file.read_text("utf-8")), capsys.readouterr().out
    where = {"commit", "machine", "python", "torch", "load average"}
    assert where < set(written) and list(tmp_path.iterdir()) == [file]
    assert (written["seed"], written["records"]) == (7, 300)
    assert " cores" in written["machine"]
    rows = {line.split()[0]: line.split()[-1] for line in printed.splitlines()}
    figures = set(written) - where - {"seed"}
    assert rows == {name: str(written[name]) for name in figures}


def test_where_a_run_comes_from_is_settled_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit made meanwhile, and the load of the run itself, are not the run's."""
    parser = argparse.ArgumentParser()
    output.options(parser, quick="")
    monkeypatch.setattr(output, "provenance", lambda: {"commit": "later"})
    options = parser.parse_args(["--json", str(tmp_path / "x.json")])
    output.write({"figure": 0.1}, options)
    written = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert written["commit"] != "later" and written["figure"] == 0.1


@pytest.mark.parametrize("name", ["absent/x.json", "."])
def test_a_file_that_cannot_be_written_is_refused_before_the_run(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    output.options(parser, quick="")
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--json", str(tmp_path / name)])
    assert "must be a file in a folder that is there" in capsys.readouterr().err
