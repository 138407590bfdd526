"""One way to speak: a table or one JSON document, and the options that all commands share."""

from __future__ import annotations

import functools
import inspect
import json as json_module
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Source = Annotated[
    str,
    typer.Argument(
        help="A jsonl, json, csv, tsv, parquet or txt file, also .gz; - for standard input.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option(help="Folder to write.", show_default=False)]
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

READING: dict[str, Any] = {
    "text": Annotated[
        list[str] | None,
        typer.Option(help="Column of the text, text by default; repeat it to join several."),
    ],
    "id": Annotated[str | None, typer.Option(help="Column of the id.")],
    "label": Annotated[str | None, typer.Option(help="Column of the label.")],
    "on_empty": Annotated[str | None, typer.Option(help="If a text is empty: error or skip.")],
    "on_bad": Annotated[str | None, typer.Option(help="If a row cannot be read: error or skip.")],
    "format": Annotated[
        str | None, typer.Option(help="csv, tsv, jsonl, json or txt, if the name does not say it.")
    ],
    "delimiter": Annotated[
        str | None, typer.Option(help="Of csv, if the header does not say it; tab for a tab.")
    ],
    "encoding": Annotated[
        str | None, typer.Option(help="If not UTF-8: gb18030, big5, utf-16, latin-1, ...")
    ],
}


def reads(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of reading; those that are used come in its ``reading``."""
    options = {name: option for name, option in READING.items() if name not in left_out}

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in options}
            reading = {name: value for name, value in given.items() if value not in (None, [])}
            if reading.get("delimiter") in ("tab", "\\t"):
                reading["delimiter"] = "\t"
            command(**arguments, reading=reading)

        parameters = []
        for name, own in inspect.signature(command, eval_str=True).parameters.items():
            added = options.items() if name == "reading" else ()
            parameters += [
                inspect.Parameter(option, own.KEYWORD_ONLY, default=None, annotation=kind)
                for option, kind in added
            ] or [own.replace(kind=own.KEYWORD_ONLY)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {own.name: own.annotation for own in parameters}
        return run

    return with_options


def room_app(help: str) -> typer.Typer:
    """The commands of a room."""
    return typer.Typer(help=help, no_args_is_help=True, pretty_exceptions_enable=False)


def emit(value: Mapping[str, Any], as_json: bool) -> None:
    """Print what a command found: one JSON document, or a line for each entry.

    Entries that are None are left out of the lines; those of a mapping get a line each.
    """
    if as_json:
        emit_json(value)
        return
    lines = [(name, content) for name, content in _flat(value) if content is not None]
    width = max((len(name) for name, _ in lines), default=0)
    for name, content in lines:
        typer.echo(f"{name:{width}}  {shown(content)}")


def emit_rows(rows: Iterable[Mapping[str, Any]], as_json: bool, *, numbered: bool = False) -> None:
    """Print rows with the same columns: a JSON list, or a table, maybe with ranks."""
    rows = list(rows)
    if as_json:
        emit_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as Cell

    columns: Sequence[str] = list(rows[0]) if rows else ()
    table = Table(box=None, header_style="bold", show_edge=False)
    for column in ("", *columns) if numbered else columns:
        table.add_column(column.replace("_", " "))
    for rank, row in enumerate(rows, start=1):
        cells = [Cell(shown(row[column])) for column in columns]  # Cell: brackets are no markup
        table.add_row(*([Cell(str(rank))] if numbered else []), *cells)
    Console().print(table)


def emit_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json_module.dumps(value, ensure_ascii=False, indent=2, default=_number))


def shown(value: Any) -> str:
    """A value for people: four digits of a float, thousands apart, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _number(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item()


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, content in value.items():
        label = prefix + name.replace("_", " ")
        if isinstance(content, Mapping):
            yield from _flat(content, f"{label}: ")
        else:
            yield label, content
