"""The finaliser of splitmix64 (Steele, Lea & Flood, 2014): numbers to numbers that look random."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable


@register_jitable
def splitmix64(z: Any) -> Any:
    """Mix the bits of uint64 numbers, one to one; for numba's kernels, and NumPy's arrays.

    Examples
    --------
    >>> splitmix64(np.arange(3, dtype=np.uint64)).tolist()
    [0, 6238072747940578789, 15839785061582574730]
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
