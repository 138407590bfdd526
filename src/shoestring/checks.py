"""What a public entry takes: checked at the edge, once, with one sentence for what is wrong.

Each check returns the value as the plain Python type that the code behind it works with, so NumPy's
ints, floats and strings are as good as Python's; a bool is no int. ``owner`` is the class and
method as users know it: "SearchIndex.query".

Not covered: arrays, whose shapes are checked where they are used.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from shoestring.errors import ParameterError, ShapeError


def checked_int(
    name: str, value: object, least: int, most: int | None, owner: str, hint: str = ""
) -> int:
    """An int parameter within its bounds; with ``most`` None there is no upper one."""
    is_int = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_int or value < least or (most is not None and value > most):  # type: ignore[operator]
        want = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise ParameterError.of(name, owner, f"an int {want}", value, hint)
    return int(value)  # type: ignore[call-overload, no-any-return]


def checked_ints(name: str, value: str, owner: str) -> tuple[int, ...]:
    """The numbers of an option such as ``25,50``."""
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        want = "whole numbers separated by commas, such as 1,3,5"
        raise ParameterError.of(name, owner, want, value) from None


def checked_seed(name: str, value: object, owner: str) -> int:
    """A random seed: an int of at least 0 that NumPy and torch take."""
    return checked_int(name, value, 0, (1 << 63) - 1, owner)


def checked_bool(name: str, value: object, owner: str) -> bool:
    """True or False, NumPy's too; "no" is neither."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):
        raise ParameterError.of(name, owner, "True or False", value)
    return bool(value)


def checked_number(
    name: str,
    value: object,
    owner: str,
    want: str,
    above: float = -math.inf,
    most: float = math.inf,
) -> float:
    """A finite number in (above, most]; ``want`` says so in words: "a number above 0"."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not is_finite(value) or not above < value <= most:  # type: ignore[operator]
        raise ParameterError.of(name, owner, want, value)
    return float(value)  # type: ignore[arg-type]


def checked_choice(name: str, value: object, choices: Sequence[str], owner: str) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in choices:
        *others, last = (repr(choice) for choice in choices)
        raise ParameterError.of(name, owner, f"{', '.join(others)} or {last}", value)
    return str(value)


def checked_path(name: str, value: object, owner: str) -> Path:
    """A path that the system can open: a str or Path, not empty, without a NUL."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path or not is_storable(path):
        raise ParameterError.of(name, owner, "a path: a str or a Path, not empty", value)
    return Path(path)


def checked_str(name: str, value: object, owner: str) -> str:
    """Any str, maybe empty."""
    if not isinstance(value, str):
        raise ParameterError.of(name, owner, "a str", value)
    return value


def checked_text(name: str, value: object, owner: str) -> str:
    """One text that is not blank."""
    if not isinstance(value, str) or not value.strip() or not is_storable(value):
        want = "a text that is not empty and that UTF-8 can say"
        raise ParameterError.of(name, owner, want, value)
    return str(value)


def checked_texts(name: str, values: object, owner: str) -> list[str]:
    """Texts, each a str that UTF-8 can say, maybe empty; the sentence names the item."""
    if getattr(values, "ndim", 1) > 1:  # of a frame the items are the names of its columns
        raise ParameterError.of(name, owner, "a list of texts", values, "Pass one column.")
    texts = checked_items(name, values, owner, "a list of texts")
    for number, text in enumerate(texts, start=1):
        is_str = isinstance(text, str)
        if not is_str or not is_storable(text):
            want = "text that UTF-8 can say" if is_str else "a list of texts, each a str"
            raise ParameterError.of(name, owner, want, text, f"That is item {number}.")
    return [str(text) for text in texts]


def checked_labels(name: str, values: object, owner: str) -> list[Any]:
    """Labels, each a str, a finite number or a bool; the sentence names the item."""
    values = values.tolist() if hasattr(values, "tolist") else values
    want = "a sequence of labels, each a str, a finite number or a bool"
    labels = checked_items(name, values, owner, want)
    for number, label in enumerate(labels, start=1):
        is_number = isinstance(label, Real) or type(label).__name__ in ("bool_", "bool")
        if not (is_storable(label) if isinstance(label, str) else is_number and is_finite(label)):
            hint = f"That is item {number}."
            if hasattr(label, "__iter__"):
                hint += " For several labels a text, see docs/classify.md."
            raise ParameterError.of(name, owner, want, label, hint)
    return labels


def checked_labelled(texts: object, labels: object, owner: str) -> tuple[list[str], list[Any]]:
    """Texts, at least one, and a label of each; ShapeError if there are not as many."""
    read, each = checked_texts("texts", texts, owner), checked_labels("labels", labels, owner)
    if not read:
        raise ParameterError.of("texts", owner, "a sequence of texts, at least one", texts)
    if len(read) != len(each):
        raise ShapeError(
            f"There are {len(read)} texts and {len(each)} labels; there must be a label for each "
            "text."
        )
    return read, each


def checked_pairs(name: str, values: object, owner: str) -> list[tuple[str, str]]:
    """Pairs of texts; the sentence names the item. Two-letter words are no pairs."""
    pairs = checked_items(name, values, owner, "a list of pairs (query, text)")
    for number, pair in enumerate(pairs, start=1):
        if hasattr(pair, "tolist") and not isinstance(pair, str):  # a row of a NumPy array
            pair = pair.tolist()
        is_pair = isinstance(pair, Sequence) and not isinstance(pair, str | bytes)
        is_text = is_pair and all(isinstance(text, str) and is_storable(text) for text in pair)
        if not is_text or len(pair) != 2:
            want = "a list of pairs (query, text), each of two str"
            raise ParameterError.of(name, owner, want, pair, f"That is item {number}.")
    return [(str(query), str(text)) for query, text in pairs]


def checked_items(name: str, values: object, owner: str, want: str) -> list[Any]:
    """The items of anything that has them in an order."""
    unordered = isinstance(values, str | bytes | Mapping | set | frozenset)
    if unordered or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise ParameterError.of(name, owner, want, values)
    return list(values)


def is_finite(number: Any) -> bool:
    """Whether a number is finite as a float: 10**400 is not."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def is_storable(text: str) -> bool:
    """Whether UTF-8 can say the text; half a surrogate pair, from a damaged file, it cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
