"""Public names that are loaded when they are first used (PEP 562).

A package that names its public objects here imports none of their modules, so that importing it is
instant. A type checker reads no call: it gets the same names from a ``TYPE_CHECKING`` block beside
it, ``from ... import Name as Name`` (the form that re-exports them to users of a typed library).

Not covered: submodules as names; a name that its module makes only later.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any

from shoestring.errors import MissingExtraError


def require_torch(purpose: str, extra: str = "torch") -> None:
    """:func:`require` torch and transformers.

    Threads of torch that wait for each other then sleep: by default they spin, and beside a busy
    neighbour a step takes twenty times as long. Whoever has set the variable is left alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    require(purpose, extra, "torch", "transformers")


def require(purpose: str, extra: str, *packages: str) -> None:
    """Raise the install line if a package is absent; call it before it is imported."""
    for package in packages:
        try:
            found = importlib.util.find_spec(package)
        except ValueError:  # a test blocked it in sys.modules
            found = None
        if found is None:
            raise MissingExtraError(package.replace("_", "-"), extra, purpose)


def lazy_names(
    package: str,
    homes: Mapping[str, str],
    *,
    purpose: str = "",
    extra: str = "torch",
    needs_torch: Collection[str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from the home of each public name.

    With a ``purpose``, names in ``needs_torch`` (all by default) call :func:`require_torch` first.

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
        if purpose and (needs_torch is None or name in needs_torch):
            require_torch(purpose, extra)
        return getattr(import_module(homes[name]), name)

    def dir_() -> list[str]:
        return [*vars(sys.modules[package]), *names]

    return getattr_, dir_, names
