"""Conditions on the fields of records: ``lang = 'de' and year >= 2020``, or ``{"lang": "de"}``.

The text is parsed here and turned into SQL in which every name and value is a parameter, so that
nothing of it is ever run. Known are ``=  !=  <  <=  >  >=``, ``in (...)``, ``like`` (with ``%`` and
``_``), ``is null``, ``not``, ``and``, ``or`` and brackets; names are those of columns, in double
quotes where they are not plain words; ``id`` and ``text`` are the record's own; values are numbers,
text in single quotes, true, false. A number is compared with what is one, also where a table has it
as text; all else as text. A record without a field meets no condition on it but ``is null``.

Not covered: arithmetic, functions, fields inside of fields.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from shoestring.errors import ParameterError

WANT = "a condition such as lang = 'de' and year >= 2020, or a dict such as {'lang': 'de'}"
_TEXT = r"'(?:[^']|'')*'"
_VALUE = rf"(?:-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)|{_TEXT}|(?:true|false)\b)"
_COMPARISON = re.compile(
    rf"""\s*(?P<name>[^\W\d]\w*\b|"(?:[^"]|"")+")\s*(?:
    is\b\s*(?P<is_not>not\b)?\s*null\b
    |(?P<sign><=|>=|!=|<>|==|[=<>])\s*(?P<value>{_VALUE})
    |(?P<not>not\b)?\s*like\b\s*(?P<like>{_TEXT})
    |(?P<not_in>not\b)?\s*in\s*\(\s*(?P<values>{_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_BETWEEN = re.compile(r"\s*(and\b|or\b|not\b|[()])", re.IGNORECASE)
_LETTERS = {"and": "&", "or": "&", "not": "!", "(": "(", ")": ")"}
_WHOLE = re.compile(r"!c|\(c\)|c&c")  # that is a condition again
_CONSTANTS = {"true": 1.0, "false": 0.0}
_OWN = ("id", "text")

Sql = tuple[str, list[Any]]


def condition(where: object, owner: str) -> Sql:
    """The SQL of a condition on the table of records, and its parameters.

    Examples
    --------
    >>> condition({"lang": "de", "year": [2020, 2021]}, "query")
    ('(CAST(... AS TEXT) = ?) AND (as_number(...)) = ? OR as_number(...)) = ?)',
     ['$."lang"', 'de', '$."year"', 2020.0, '$."year"', 2021.0])
    >>> condition("not (year < 2020 or lang is null)", "query")
    ('NOT ( as_number(json_extract(fields, ?)) < ? OR json_extract(fields, ?) IS NULL )',
     ['$."year"', 2020.0, '$."lang"'])
    """
    if isinstance(where, str) and where.strip():
        return _read(where, owner)
    if not isinstance(where, Mapping) or not where:
        raise ParameterError.of("where", owner, WANT, where)
    parts: list[Sql] = []
    for name, value in where.items():
        values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        strange = [v for v in values if not isinstance(v, str | int | float)]
        if not isinstance(name, str) or strange or not values:
            raise ParameterError.of("where", owner, WANT, where)
        parts.append(_among(name, values))
    return " AND ".join(sql for sql, _ in parts), [p for _, given in parts for p in given]


def _column(name: str) -> Sql:
    if name in _OWN:
        return name, []
    return "json_extract(fields, ?)", ['$."' + name.replace('"', '\\"') + '"']


def _compared(name: str, sign: str, value: Any) -> Sql:
    sql, given = _column(name)
    if isinstance(value, str):
        return f"CAST({sql} AS TEXT) {sign} ?", [*given, value]
    return f"as_number({sql}) {sign} ?", [*given, _as_number(value)]


def _among(name: str, values: list[Any]) -> Sql:
    parts = [_compared(name, "=", value) for value in values]
    return f"({' OR '.join(sql for sql, _ in parts)})", [p for _, given in parts for p in given]


def add_functions(connection: sqlite3.Connection) -> None:
    """Add what :func:`condition` calls."""
    connection.create_function("as_number", 1, _as_number, deterministic=True)


def _as_number(value: Any) -> float | None:
    if isinstance(value, str) and value.lower() in _CONSTANTS:
        return _CONSTANTS[value.lower()]
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _read(where: str, owner: str) -> Sql:
    """One comparison after the other, and what stands between them."""
    at, end, shape = 0, len(where.rstrip()), ""  # the shape: a letter for each part
    parts: list[str] = []
    given: list[Any] = []
    while at < end:
        if found := _BETWEEN.match(where, at):
            parts.append(found[1].upper())
            shape += _LETTERS[found[1].lower()]
        elif found := _COMPARISON.match(where, at):
            sql, values = _comparison(found)
            parts.append(sql)
            given += values
            shape += "c"
        else:
            hint = f"It cannot be read from {where[at:].strip()[:30]!r} on."
            raise ParameterError.of("where", owner, WANT, where, hint)
        at = found.end()
    while (shorter := _WHOLE.sub("c", shape)) != shape:
        shape = shorter
    if shape != "c":
        hint = "Its comparisons, brackets, and, or, not do not fit together."
        raise ParameterError.of("where", owner, WANT, where, hint)
    return " ".join(parts), given


def _comparison(found: re.Match[str]) -> Sql:
    name = found["name"]
    if name.startswith('"'):
        name = name[1:-1].replace('""', '"')
    if found["sign"]:
        return _compared(name, found["sign"], _value(found["value"]))
    if found["like"]:
        sql, given = _compared(name, "LIKE", _value(found["like"]))
    elif found["values"]:
        values = re.findall(_VALUE, found["values"], re.IGNORECASE)
        sql, given = _among(name, [_value(value) for value in values])
    else:
        sql, given = _column(name)
        return f"{sql} IS {'NOT ' * bool(found['is_not'])}NULL", given
    return f"NOT {sql}" if found["not"] or found["not_in"] else sql, given


def _value(text: str) -> str | float | None:
    return text[1:-1].replace("''", "'") if text.startswith("'") else _as_number(text)
