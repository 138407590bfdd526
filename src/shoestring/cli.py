"""The command line: ``shoestring <verb> ...``, one verb per room.

Each room's ``command.py`` holds its commands; this file only collects them and turns errors into
one sentence and exit code 2.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import typer

from shoestring.classify.command import app as classify_app
from shoestring.console import Json, echo, resume_hint, room_app, told
from shoestring.doctor.command import app as doctor_app
from shoestring.errors import ShoestringError, ShoestringWarning
from shoestring.grow.command import grow
from shoestring.match.command import app as match_app
from shoestring.plan.command import app as plan_app
from shoestring.search.command import app as search_app
from shoestring.serve.command import serve
from shoestring.tune.command import app as tune_app
from shoestring.words.command import app as words_app

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended

app = room_app("Text search, matching and classification for people whose compute is short.")
app.add_typer(search_app, name="search")
app.add_typer(classify_app, name="classify")
app.add_typer(tune_app, name="tune")
app.add_typer(words_app, name="words")
app.add_typer(match_app, name="match")
app.add_typer(doctor_app, name="doctor")
app.add_typer(plan_app, name="plan")
app.command(example="grow base --out big --hidden 768 --heads 12")(grow)
app.command(example="serve my-index --port 8321")(serve)


def _show_version(value: bool) -> None:
    if value:
        from shoestring import __version__

        echo(f"shoestring {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: bool = typer.Option(False, help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_show_version, is_eager=True
    ),
) -> None:
    """Text search, matching and classification for people whose compute is short."""
    if debug:
        os.environ["SHOESTRING_DEBUG"] = "1"


@app.command(example="demo --json")
def demo(json: Json = False) -> None:
    """Index the documentation of your Python, ask it questions, and measure the answers."""
    from shoestring.demo import run

    run(as_json=json)


def main() -> None:
    """Run the command line; a bad input ends with one sentence and exit code 2."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    _open_streams()
    code: object = 2
    try:
        app()
    except (ShoestringError, OSError) as error:  # OSError: help cannot be printed
        if os.environ.get("SHOESTRING_DEBUG"):
            raise
        echo(f"error: {told(error)}", err=True)
    except SystemExit as leaving:
        code = leaving.code
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            echo(f"interrupted{resume_hint()}", err=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # it was told; Python would try once more as it ends, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)  # type: ignore[arg-type]


def _open_streams() -> None:
    """Make printing never fail for want of a character, and closed streams harmless.

    Their numbers are taken: a file of ours that got one would receive what others print.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, ShoestringWarning):
        echo(f"note: {told(message)}", err=True)


if __name__ == "__main__":
    main()
