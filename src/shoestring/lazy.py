"""Public names that are loaded when they are first used (PEP 562).

A package imports its public objects in a ``TYPE_CHECKING`` block, as ``from ... import Name as
Name`` (the form that re-exports them to users of a typed library). That block is read here, as
text, and is not run: importing the package is instant.

Not covered: packages without their source; submodules as names; a name that its module makes only
later.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Callable, Collection
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
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package.replace("_", "-"), extra, purpose)


def lazy_names(
    package: str,
    *,
    purpose: str = "",
    extra: str = "torch",
    needs_torch: Collection[str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of the package that calls this.

    With a ``purpose``, names in ``needs_torch`` (all by default) call :func:`require_torch` first.

    Examples
    --------
    >>> load, _, names = lazy_names("shoestring")
    >>> "Hit" in names, load("Hit").__module__
    (True, 'shoestring.types')
    >>> load("hit")
    Traceback (most recent call last):
        ...
    AttributeError: module 'shoestring' has no attribute 'hit'
    """
    module: Any = sys.modules[package]
    source = ast.parse(module.__spec__.loader.get_source(package))
    (block,) = (part for part in source.body if isinstance(part, ast.If))
    lines: list[Any] = block.body
    homes = {name.asname: line.module for line in lines for name in line.names}
    names = sorted(homes)

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if purpose and (needs_torch is None or name in needs_torch):
            require_torch(purpose, extra)
        return getattr(import_module(homes[name]), name)

    def dir_() -> list[str]:
        return [*vars(module), *names]

    return getattr_, dir_, names
