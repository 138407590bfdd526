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
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?!\w)|'(?P<text>(?:[^']|'')*)'"""
    r"""|"(?P<quoted>(?:[^"]|"")+)"|(?P<sign><=|>=|!=|<>|==|[=<>(),])|(?P<word>[^\W\d]\w*))"""
)
_SIGNS = {"==": "=", "<>": "!="} | {sign: sign for sign in ("=", "!=", "<", "<=", ">", ">=")}
_CONSTANTS = {"true": True, "false": False}
_OWN = ("id", "text")

Sql = tuple[str, list[Any]]


def condition(where: object, owner: str) -> Sql:
    """The SQL of a condition on the table of records, and its parameters.

    Examples
    --------
    >>> condition({"lang": "de", "year": [2020, 2021]}, "query")
    ('(as_text(json_extract(fields, ?)) = ?) AND (as_number(...)) = ? OR as_number(...)) = ?)',
     ['$."lang"', 'de', '$."year"', 2020, '$."year"', 2021])
    >>> condition("not (year < 2020 or lang is null)", "query")
    ('NOT (as_number(json_extract(fields, ?)) < ? OR json_extract(fields, ?) IS NULL)',
     ['$."year"', 2020, '$."lang"'])
    """
    if isinstance(where, str) and where.strip():
        return _Parser(where, owner).whole()
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
    kind = "as_text" if isinstance(value, str) else "as_number"
    return f"{kind}({sql}) {sign} ?", [*given, value]


def _among(name: str, values: list[Any]) -> Sql:
    parts = [_compared(name, "=", value) for value in values]
    return f"({' OR '.join(sql for sql, _ in parts)})", [p for _, given in parts for p in given]


def add_functions(connection: sqlite3.Connection) -> None:
    """Add what :func:`condition` calls."""
    connection.create_function("as_text", 1, _as_text, deterministic=True)
    connection.create_function("as_number", 1, _as_number, deterministic=True)


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _as_number(value: Any) -> float | None:
    if isinstance(value, str) and value.lower() in _CONSTANTS:
        return float(_CONSTANTS[value.lower()])
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


class _Parser:
    """Reads one condition, from left to right."""

    def __init__(self, where: str, owner: str) -> None:
        self.where, self.owner, self.at = where, owner, 0
        self.tokens: list[tuple[str, str, int]] = []
        end = len(where.rstrip())
        while self.at < end:
            found = _TOKEN.match(where, self.at)
            if not found or found.end() == self.at:
                raise self._wrong(self.at)
            self.tokens.append((str(found.lastgroup), found[str(found.lastgroup)], self.at))
            self.at = found.end()
        self.tokens.append(("end", "", end))
        self.next = 0

    def _wrong(self, at: int) -> ParameterError:
        hint = f"It cannot be read from {self.where[at:].strip()[:30]!r} on."
        if not self.where[at:].strip():
            hint = "Its end is missing."
        return ParameterError.of("where", self.owner, WANT, self.where, hint)

    def _is(self, *words: str) -> bool:
        """Go on if the next token is one of these signs or words."""
        kind, value, _ = self.tokens[self.next]
        if kind in ("sign", "word") and value.lower() in words:
            self.next += 1
            return True
        return False

    def _need(self, *words: str) -> None:
        if not self._is(*words):
            raise self._wrong(self.tokens[self.next][2])

    def whole(self) -> Sql:
        found = self._any()
        if self.tokens[self.next][0] != "end":
            raise self._wrong(self.tokens[self.next][2])
        return found

    def _any(self) -> Sql:
        sql, given = self._all()
        while self._is("or"):
            more, others = self._all()
            sql, given = f"{sql} OR {more}", given + others
        return sql, given

    def _all(self) -> Sql:
        sql, given = self._one()
        while self._is("and"):
            more, others = self._one()
            sql, given = f"{sql} AND {more}", given + others
        return sql, given

    def _one(self) -> Sql:
        if self._is("not"):
            sql, given = self._one()
            return f"NOT {sql}", given
        if self._is("("):
            sql, given = self._any()
            self._need(")")
            return f"({sql})", given
        return self._comparison()

    def _comparison(self) -> Sql:
        kind, name, at = self.tokens[self.next]
        if kind not in ("word", "quoted"):
            raise self._wrong(at)
        self.next += 1
        name = name.replace('""', '"') if kind == "quoted" else name
        sql, given = _column(name)
        if self._is("is"):
            negated = self._is("not")
            self._need("null")
            return f"{sql} IS {'NOT ' * negated}NULL", given
        negated = self._is("not")
        if self._is("in"):
            self._need("(")
            values = [self._value()]
            while self._is(","):
                values.append(self._value())
            self._need(")")
            sql, given = _among(name, values)
        elif self._is("like"):
            sql, given = _compared(name, "LIKE", str(self._value()))
        else:
            _, sign, at = self.tokens[self.next]
            if negated or sign not in _SIGNS or self.tokens[self.next][0] != "sign":
                raise self._wrong(at)
            self.next += 1
            sql, given = _compared(name, _SIGNS[sign], self._value())
        return f"NOT {sql}" if negated else sql, given

    def _value(self) -> Any:
        kind, value, at = self.tokens[self.next]
        self.next += 1
        if kind == "number":
            return float(value) if re.search("[.eE]", value) else int(value)
        if kind == "text":
            return value.replace("''", "'")
        if kind == "word" and value.lower() in _CONSTANTS:
            return _CONSTANTS[value.lower()]
        raise self._wrong(at)
