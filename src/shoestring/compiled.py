"""numba's ``njit`` where its cache may have no place: compiled code is kept, or is not, silently.

numba keeps it beside the source, in the user's cache folder, or in that of ``NUMBA_CACHE_DIR``, and
raises where none can be written (a read-only image, a user without a home) or the disk is full.
Here each process compiles anew then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with options, for kernels with ``cache=True``."""

    def compiled(function: Callable[..., Any]) -> Any:
        is_homeless = os.path.expanduser("~") == "~"  # noqa: PTH111  # numba would make that folder
        if is_homeless and not numba.config.CACHE_DIR:
            return numba.njit(**{**options, "cache": False})(function)
        try:
            kernel = numba.njit(**options)(function)
        except RuntimeError:  # nothing can be written
            return numba.njit(**{**options, "cache": False})(function)
        keep = kernel._cache.save_overload

        def keep_or_not(*compiled: Any) -> None:
            with suppress(OSError):  # a full disk
                keep(*compiled)

        kernel._cache.save_overload = keep_or_not
        return kernel

    return compiled
