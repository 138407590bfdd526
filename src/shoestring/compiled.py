"""What kernels are compiled with: numba's ``njit``, and a mixer of bits that all of them share.

numba keeps code beside the source, or in the user's cache folder, and raises where neither can be
written (a read-only image, a user without a home) or the disk is full. Here each process then
compiles anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with options, for kernels with ``cache=True``."""

    def compiled(function: Callable[..., Any]) -> Any:
        has_home = os.path.expanduser("~") != "~"  # noqa: PTH111  # numba would make a folder "~"
        uncached = {**options, "cache": False}
        try:
            settings = options if has_home or numba.config.CACHE_DIR else uncached
            kernel = numba.njit(**settings)(function)
        except RuntimeError:  # nothing can be written
            kernel = numba.njit(**uncached)(function)
        keep = kernel._cache.save_overload

        def keep_or_not(*compiled: Any) -> None:
            with suppress(OSError):  # a full disk
                keep(*compiled)

        kernel._cache.save_overload = keep_or_not
        return kernel

    return compiled


@register_jitable
def splitmix64(z: Any) -> Any:
    """Mix the bits of uint64 numbers, one to one; for numba's kernels, and NumPy's arrays.

    The finaliser of splitmix64 (Steele, Lea & Flood, 2014).

    Examples
    --------
    >>> splitmix64(np.arange(3, dtype=np.uint64)).tolist()
    [0, 6238072747940578789, 15839785061582574730]
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
