"""The command line: ``shoestring <verb> ...``, one verb per room.

Each room's ``command.py`` holds its commands; this file only collects them and turns errors into
one sentence and exit code 2.
"""

from __future__ import annotations

import os
import sys
import warnings

import typer

from shoestring.classify.command import app as classify_app
from shoestring.errors import ShoestringError, ShoestringWarning
from shoestring.search.command import app as search_app
from shoestring.tune.command import app as tune_app
from shoestring.words.command import app as words_app

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended

app = typer.Typer(
    help="Text search, matching and classification for people whose compute is short.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(search_app, name="search")
app.add_typer(classify_app, name="classify")
app.add_typer(tune_app, name="tune")
app.add_typer(words_app, name="words")


def _show_version(value: bool) -> None:
    if value:
        from shoestring import __version__

        typer.echo(f"shoestring {__version__}")
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


@app.command()
def demo(
    packages: str = typer.Option("", help="Installed packages to add, separated by commas."),
    json: bool = typer.Option(False, "--json", help="Print JSON instead of text."),
) -> None:
    """Index the documentation of your Python, ask it questions, and measure the answers."""
    from shoestring.demo import run

    run([name for name in packages.split(",") if name], as_json=json)


def main() -> None:
    """Run the command line; a bad input ends with one sentence and exit code 2."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except ShoestringError as error:
        if os.environ.get("SHOESTRING_DEBUG"):
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except SystemExit as leaving:  # what typer makes of Ctrl-C
        if leaving.code == INTERRUPTED:
            typer.echo("interrupted; what was finished is kept: run again with --resume", err=True)
        raise


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, ShoestringWarning):
        typer.echo(f"note: {message}", err=True)


if __name__ == "__main__":
    main()
