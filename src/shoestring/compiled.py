"""numba's ``njit`` where its cache may have no place: compiled code is kept, or is not, silently.

numba keeps it beside the source, in the user's cache folder, or in that of ``NUMBA_CACHE_DIR``, and
raises where none can be written (a read-only image). Here each process compiles anew then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with options, for kernels with ``cache=True``."""

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError:  # nothing can be written
            return numba.njit(**{**options, "cache": False})(function)

    return compiled
