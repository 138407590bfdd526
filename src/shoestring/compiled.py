"""What kernels are compiled with: numba's ``njit``, and a mixer of bits that all of them share.

numba keeps it beside the source, in the user's cache folder, or in that of ``NUMBA_CACHE_DIR``, and
raises where none can be written (a read-only image). Here each process compiles anew then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with options, for kernels with ``cache=True``."""

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError:  # nothing can be written
            return numba.njit(**{**options, "cache": False})(function)

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
