"""Text to random numbers and back, by a key: what is called anonymised text.

Each symbol (:mod:`~shoestring.match.symbols`) has one number, drawn at random, wherever it stands.
That is a substitution cipher; :func:`~shoestring.match.audit.audit` says how much of it anybody can
read. Back comes what symbols keep: small letters, single blanks, blanks between words.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from shoestring.artifacts import is_unchanged, sealed, unreadable, written_aside
from shoestring.checks import checked_path, checked_seed, checked_texts
from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError, short
from shoestring.match.symbols import UNITS, split_symbols, unit_of
from shoestring.text.files import read_rows

_FORMAT = "shoestring-pseudonyms"
_NO_HEADER = {"1": "a", "2": "b", "3": "label"}  # columns of a table without a header


@dataclass(frozen=True)
class Key:
    """The number of each symbol; ``unit`` is "characters" or "words"."""

    unit: str
    numbers: dict[str, int]

    def extended(self, texts: Iterable[str], seed: int | None = None) -> Key:
        """A key with numbers for the new symbols of texts too; none is used twice."""
        split = map(split_symbols, checked_texts("texts", texts, "match"), repeat(self.unit))
        new = [s for s in dict.fromkeys(chain.from_iterable(split)) if s not in self.numbers]
        used = set(self.numbers.values())
        chance = random.SystemRandom() if seed is None else random.Random(seed)
        most = max(99_999, 10 * (len(new) + len(used)))
        drawn = chance.sample(range(1, most + 1), len(new) + len(used))
        free = (number for number in drawn if number not in used)
        return Key(self.unit, self.numbers | dict(zip(new, free, strict=False)))

    def to_numbers(self, texts: Iterable[str]) -> list[str]:
        """Texts as numbers with blanks between them."""
        numbers = {symbol: str(number) for symbol, number in self.numbers.items()}
        return _replaced(texts, self.unit, numbers, " ")

    def to_texts(self, texts: Iterable[str]) -> list[str]:
        """Texts again from numbers."""
        symbols = {str(number): symbol for symbol, number in self.numbers.items()}
        return _replaced(texts, "integers", symbols, "" if self.unit == "characters" else " ")

    def save(self, path: str | Path) -> None:
        """Write one JSON file that only its owner may read."""
        document = {"format": _FORMAT, "version": 1, "unit": self.unit, "numbers": self.numbers}
        with written_aside(checked_path("key", path, "match")) as file:
            Path(file.name).chmod(0o600)
            file.write(json.dumps(sealed(document), ensure_ascii=False, indent=0).encode())

    @classmethod
    def load(cls, path: str | Path) -> Key:
        """Read a key; StorageError where there is none."""
        path = checked_path("key", path, "match")
        try:
            found = json.loads(path.read_bytes())
            key = cls(found["unit"], {str(s): int(n) for s, n in found["numbers"].items()})
            is_ours = found["format"] == _FORMAT and key.unit in UNITS[:2]
            is_whole = is_unchanged(found) and len(set(key.numbers.values())) == len(key.numbers)
        except FileNotFoundError:
            raise StorageError(f"There is no key {path}. Check the path.") from None
        except OSError as error:
            raise unreadable(path, error) from error
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            is_ours = is_whole = False
        if not is_ours:
            raise ParameterError.of("key", "match", "a file that match pseudonymise made", path)
        if not is_whole:
            raise IntegrityError(f"The key {path} is damaged. Restore it from a copy.")
        return key


def _replaced(texts: Iterable[str], unit: str, table: Mapping[str, str], between: str) -> list[str]:
    split = map(split_symbols, checked_texts("texts", texts, "match"), repeat(unit))
    try:
        return [between.join(map(table.__getitem__, symbols)) for symbols in split]
    except KeyError as error:
        raise ParameterError.of("key", "match", "the key of these texts", error.args[0]) from None


def pseudonymise(
    texts: Iterable[str], key: Key | None = None, seed: int | None = None
) -> tuple[list[str], Key]:
    """Write texts as random numbers.

    Parameters
    ----------
    texts : iterable of str
    key : Key, optional
        Extended by the symbols that it lacks. By default a new one.
    seed : int, optional
        For tests. By default numbers come from the system's randomness, as secrets must.

    Returns
    -------
    list of str, Key
        Numbers with blanks between them; what turns them back: ``key.to_texts(numbers)``.

    Raises
    ------
    ParameterError
        If the texts are numbers already.

    Examples
    --------
    >>> numbers, key = pseudonymise(["打开wifi", "打开灯"], seed=0)
    >>> numbers
    ['50495 99347 55126 5307 33937 5307', '50495 99347 67014']
    >>> key.to_texts(numbers)
    ['打开wifi', '打开灯']
    """
    texts = checked_texts("texts", texts, "pseudonymise")
    seed = seed if seed is None else checked_seed("seed", seed, "pseudonymise")
    if (unit := unit_of(texts)) == "integers":
        want = "text, not numbers"
        raise ParameterError.of("texts", "pseudonymise", want, next(filter(str.strip, texts)))
    key = (key or Key(unit, {})).extended(texts, seed)
    return key.to_numbers(texts), key


def pseudonymise_file(
    source: str | Path,
    out: str | Path,
    key_file: str | Path,
    *,
    back: bool = False,
    seed: int | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Write a file of records or pairs with its texts as numbers, or with ``back`` as texts again.

    Their other columns are kept, and so is a missing header. A key that is not there is made.
    """
    out, key_file = checked_path("out", out, "match"), checked_path("key", key_file, "match")
    if out.suffix not in (".jsonl", ".csv", ".tsv", ".txt") or out.resolve() == key_file.resolve():
        want = "a file that ends in .jsonl, .csv, .tsv or .txt, and not the key"
        raise ParameterError.of("out", "match pseudonymise", want, out)
    rows, cells = _rows_and_cells(source, reading.pop("text", ["text", "a", "b"]), reading)
    texts = [row[name] for row, name in cells]
    key = Key.load(key_file) if back or os.path.lexists(key_file) else None
    if key and back:
        texts = key.to_texts(texts)
    else:
        texts, key = pseudonymise(texts, key, seed)
        key.save(key_file)  # first: without it the texts are lost
    for (row, name), text in zip(cells, texts, strict=True):
        row[name] = text
    with written_aside(out) as file:
        file.write(_lines(rows, out.suffix).encode())
    return {"records": len(rows), "texts": len(texts), "symbols": len(key.numbers), "out": str(out)}


def _rows_and_cells(
    source: str | Path, columns: list[str], reading: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], str]]]:
    """The rows of a file, and where in them their texts are."""
    rows, cells = [], []
    for line, row in read_rows(source, columns, without_header=[*_NO_HEADER], **reading):
        if isinstance(row, FormatError):
            raise row
        rows.append(dict(row or {}))
        for name in (name for name in (*columns, "1", "2") if rows[-1].get(name) is not None):
            if not isinstance(rows[-1][name], str):
                message = f"column {name!r} holds {short(rows[-1][name])}. It must be text."
                raise FormatError(message, file=source, line=line)
            cells.append((rows[-1], name))
    if not cells:
        raise FormatError(
            f"no texts in {' or '.join(map(repr, columns))}. Name the column.", file=source
        )
    return list(filter(None, rows)), cells


def _lines(rows: list[dict[str, Any]], ending: str) -> str:
    """Rows as JSON lines, or as a table: without a header where they came without one."""
    names, is_bare = {*chain.from_iterable(rows)}, ending in (".tsv", ".txt")
    if is_bare and (names <= {*_NO_HEADER} or (names == {"text"} and ending == ".txt")):
        return "".join("\t".join(row.values()) + "\n" for row in rows)
    named = [{_NO_HEADER.get(name, name): value for name, value in row.items()} for row in rows]
    if ending == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in named)
    out = io.StringIO()
    columns = [*dict.fromkeys(chain.from_iterable(named))]
    table = csv.DictWriter(out, columns, dialect="excel" if ending == ".csv" else "excel-tab")
    table.writeheader()
    table.writerows(named)
    return out.getvalue()
