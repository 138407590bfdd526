"""One way to speak: a table or one JSON document, and the options that all commands share.

What users gave is shown as it is: brackets are no markup, control characters are made visible.
Errors and notes of the library name Python's parameters; :func:`told` names the flags of the
command that runs.
"""

from __future__ import annotations

import csv
import functools
import inspect
import io
import json as json_module
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from shoestring.errors import StorageError, short

Source = Annotated[
    str,
    typer.Argument(
        help="A jsonl, json, csv, tsv, parquet or txt file, also .gz; - for standard input."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
OnDuplicate = Annotated[str, typer.Option(help="If an id exists: error, replace or skip.")]
Encoder = Annotated[
    str,
    typer.Option(
        help="minilm, lsa, words, or a folder of a model or of word vectors; auto: minilm or lsa."
    ),
]
Minutes = Annotated[
    float | None, typer.Option(help="Time limit in minutes, including reading and evaluation.")
]
Jobs = Annotated[int | None, typer.Option(help="Number of threads (default: all cores).")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

READING = {
    "text": "Column of the text, text by default; repeat it to join several.",
    "id": "Column of the id.",
    "label": "Column of the label.",
    "on_empty": "If a text is empty: error or skip.",
    "on_bad": "If a row cannot be read: error or skip.",
    "format": "csv, tsv, jsonl, json or txt, if the name does not say it.",
    "delimiter": "Of csv, if the header does not say it; tab for a tab.",
    "encoding": "If not UTF-8: gb18030, big5, utf-16, latin-1, ...",
}
"""The options of reading, each with its help."""
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def reads(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of reading; those that are used come in its ``reading``."""
    options = [name for name in READING if name not in left_out]

    def option(name: str) -> inspect.Parameter:
        kind = list[str] | None if name == "text" else str | None
        default = typer.Option(None, help=READING[name])
        return inspect.Parameter(name, _KEYWORD, default=default, annotation=kind)

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in options}
            reading = {name: value for name, value in given.items() if value not in (None, [])}
            if reading.get("delimiter") in ("tab", "\\t"):
                reading["delimiter"] = "\t"
            command(**arguments, reading=reading)

        parameters: list[inspect.Parameter] = []
        for own in inspect.signature(command, eval_str=True).parameters.values():
            is_reading = own.name == "reading"
            parameters += map(option, options) if is_reading else [own.replace(kind=_KEYWORD)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {own.name: own.annotation for own in parameters}
        return run

    return with_options


CLOSED_PIPE = 141  # what a shell shows for a tool that SIGPIPE ended
EXIT_CODES = "Exit codes: 0 done, 2 bad input or damaged data, 130 interrupted."


class Command(TyperCommand):
    """A command that is known while it runs, so that messages can name its flags."""

    running: Any = None  # the context of the last one

    def invoke(self, ctx: Any) -> Any:
        Command.running = ctx
        return super().invoke(ctx)


class Room(typer.Typer):
    """The commands of a room: the help of each ends with an example and the exit codes."""

    def command(
        self, name: str | None = None, *, example: str = "", **settings: Any
    ) -> Callable[[Any], Any]:
        """Decorate a command; ``example`` is a line after ``shoestring``."""
        parts = [f"Example: shoestring {example}"] * bool(example)
        epilog = "\n\n".join([*parts, EXIT_CODES])
        return super().command(name, cls=Command, epilog=epilog, **settings)


class _OrModel(TyperGroup):
    """What is no command of the room is a model: ``plan minilm`` is ``plan model minilm``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "model" in self.commands and args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["model", *args]
        return super().parse_args(ctx, args)


def room_app(help: str) -> Room:
    """The commands of a room."""
    return Room(
        help=help,
        cls=_OrModel,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""A text on one line, what would steer the terminal or turn the writing made visible.

    Examples
    --------
    >>> print(visible("a\tb\x1b[31m\u202e"))
    a\tb\x1b[31m\u202e
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def echo(*cells: object, err: bool = False) -> None:
    """Print a line of one cell, or of several with tabs between them."""
    _print("\t".join(visible(str(cell)) for cell in cells) + "\n", err)


def echo_row(*cells: object) -> None:
    """Print a row with tabs that the csv module reads back (dialect ``excel-tab``).

    A cell with a tab, a quote or the end of a line is quoted; other control characters are shown.
    """
    line = io.StringIO()
    csv.writer(line, "excel-tab", lineterminator="\n").writerow(cells)
    parts = re.split("([\t\n])", line.getvalue())
    _print("".join(part if part in "\t\n" else visible(part) for part in parts))


def _print(text: str, err: bool = False) -> None:
    try:
        print(text, end="", file=sys.stderr if err else sys.stdout, flush=True)
    except BrokenPipeError:  # head has read enough
        raise typer.Exit(CLOSED_PIPE) from None
    except OSError as error:
        if not err:  # where errors cannot be printed there is nobody to tell
            reason = error.strerror or error
            raise StorageError(f"Standard output cannot be written: {reason}.") from error


def emit(value: Mapping[str, Any], as_json: bool) -> None:
    """Print what a command found: one JSON document, or a line for each entry.

    Entries that are None are left out of the lines; those of a mapping get a line each.
    """
    if as_json:
        emit_json(value)
        return
    lines = [(visible(name), content) for name, content in _flat(value) if content is not None]
    width = max((len(name) for name, _ in lines), default=0)
    for name, content in lines:
        echo(f"{name:{width}}  {shown(content)}")


def emit_rows(rows: Iterable[Mapping[str, Any]], as_json: bool, *, numbered: bool = False) -> None:
    """Print rows with the same columns: a JSON list, or a table, maybe with ranks."""
    rows = list(rows)
    if as_json:
        emit_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as Cell  # whose brackets are no markup

    columns: Sequence[str] = list(rows[0]) if rows else ()
    table = Table(box=None, header_style="bold", show_edge=False)
    for column in ("", *columns) if numbered else columns:
        table.add_column(Cell(visible(column.replace("_", " "))))
    for rank, row in enumerate(rows, start=1):
        cells = [Cell(visible(shown(row[column]))) for column in columns]
        table.add_row(*([Cell(str(rank))] if numbered else []), *cells)
    is_terminal, printed = sys.stdout.isatty(), io.StringIO()
    width = None if is_terminal or "COLUMNS" in os.environ else 10_000  # no folds in a file
    Console(file=printed, force_terminal=is_terminal or None, width=width).print(table)
    _print(printed.getvalue())


def emit_json(value: Any, indent: int | None = 2) -> None:
    """Print one JSON document, or a line of it: a number that JSON cannot say is null."""
    is_unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    _print(json_module.dumps(_plain(value), ensure_ascii=not is_unicode, indent=indent) + "\n")


# In a message of the library: its parameter; name=value; a name with underscores; and what stays as
# it is, a quoted value (whose quote does not follow a letter) or a call in Python.
_NAMED = re.compile(
    r"The '(?P<parameter>\w+)' parameter(?: of .{1,60}?)? must"
    r"|(?<![\w/.-])(?P<name>[a-z]\w*)=(?P<value>\.\.\.|\[\.\.\.\]|'[^']*'|\w+)(?![\w/]|\.\w)"
    r"|(?<![\w/.-])(?P<bare>[a-z]+(?:_[a-z]+)+)(?![\w/(]|\.\w)"
    r"|(?<!\w)'[^']*'|(?<!\w)\"[^\"]*\"|\w\([^()]*\)"
)
_TEXTS = ("docs", "source", "texts")
_OTHER_NAMES = {  # of Python's parameters, on the command line
    "random_state": ("seed",), "topn": ("k",), "records": _TEXTS, "texts": _TEXTS, "corpus": _TEXTS,
}  # fmt: skip


def told(message: object) -> str:
    """An error or a note as one line, in the words of the command that runs.

    A parameter is called by its flag, also where the text advises ``name=value``; flags of other
    commands of the room are known too. A text that came in by another parameter than the error
    names, such as a folder, is told by its value.
    """
    context: Any = Command.running
    given = dict(context.params) if context else {}
    room = [*getattr(context.parent.command, "commands", {}).values()] if context else []
    flags = {
        p.name: p.name.upper() if p.param_type_name == "argument" else max(p.opts, key=len)
        for command in ([*room, context.command] if context else ())
        for p in command.params
    }

    def in_flags(found: re.Match[str]) -> str:
        parameter, value = found["parameter"], found["value"] or "True"
        asked = parameter or found["name"] or found["bare"] or ""
        plain = asked.removeprefix("n_").removesuffix("_size")
        names = (asked, plain, *_OTHER_NAMES.get(asked, ()))
        name = next((name for name in names if name in (given if parameter else flags)), "")
        if parameter:
            texts = [n for n, v in given.items() if isinstance(v, str | Path) and short(v) == got]
            name = texts[-1] if texts and name not in texts else name
            return f"{flags[name]} must" if name else found[0]
        if not name or value == "False":
            return found[0]
        value = name.upper() if "..." in value else value.strip("'").replace("None", "none")
        return flags[name] if value == "True" else f"{flags[name]} {value}"

    text, got = str(message), getattr(message, "got", "")
    if flags:
        text = _NAMED.sub(in_flags, text).replace(", or None. Got ", ". Got ")
        text = text.replace(" must be None, or ", " must be ")
    text = visible(text)
    return text if len(text) < 2_000 else f"{text[:1_000]} ... {text[-500:]}"


def resume_hint() -> str:
    """What to do about an interruption: nothing but where the command can go on with its work."""
    given = getattr(Command.running, "params", {})
    if out := given.get("out") if "resume" in given else None:
        out = Path(out).absolute()
        begun = out / "records.sqlite", out.with_name(out.name + ".run") / "run.json"
        if any(path.exists() for path in begun):
            return "; what was finished is kept: run again with --resume"
    return ""


def shown(value: Any) -> str:
    """A value for people: four digits of a float, thousands apart, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it: NumPy's numbers as Python's, None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {name: _plain(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(content) for content in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, content in value.items():
        label = prefix + name.replace("_", " ")
        if isinstance(content, Mapping):
            yield from _flat(content, f"{label}: ")
        else:
            yield label, content
