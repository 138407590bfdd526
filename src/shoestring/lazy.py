"""Public names that are loaded when they are first used (PEP 562).

A package that names its public objects here imports none of their modules, so that importing it is
instant. A type checker reads no call: it gets the same names from a ``TYPE_CHECKING`` block beside
it, ``from ... import Name as Name`` (the form that re-exports them to users of a typed library).

Not covered: submodules as names; a name that its module makes only later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from the home of each public name.

    Examples
    --------
    >>> load, _, names = lazy_names("shoestring", {"Hit": "shoestring.types"})
    >>> names, load("Hit").__module__
    (['Hit'], 'shoestring.types')
    >>> load("hit")
    Traceback (most recent call last):
        ...
    AttributeError: module 'shoestring' has no attribute 'hit'
    """
    names = sorted(homes)

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    def dir_() -> list[str]:
        return [*vars(sys.modules[package]), *names]

    return getattr_, dir_, names
