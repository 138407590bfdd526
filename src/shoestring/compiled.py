"""What kernels are compiled with: numba's ``njit``, and a mixer of bits that all of them share.

numba keeps code beside the source, or in the user's cache folder, and raises where neither can be
written (a read-only image, a user without a home) or the disk is full. Here a folder of the user's
own in the temporary folder follows, and then none: each process compiles anew.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with options, for kernels with ``cache=True``."""

    def compiled(function: Callable[..., Any]) -> Any:
        named = numba.config.CACHE_DIR
        for folder in _folders(named):
            numba.config.CACHE_DIR = folder
            with suppress(RuntimeError):  # nothing can be written there
                kernel = numba.njit(**options)(function)
                break
        else:
            kernel = numba.njit(**{**options, "cache": False})(function)
        numba.config.CACHE_DIR = named
        keep = kernel._cache.save_overload

        def keep_or_not(*compiled: Any) -> None:
            with suppress(OSError):  # a full disk
                keep(*compiled)

        kernel._cache.save_overload = keep_or_not
        return kernel

    return compiled


def _folders(named: str) -> Iterator[str]:
    """Where numba may keep code: where it is told to or likes to (""), else in our own folder."""
    has_home = os.path.expanduser("~") != "~"  # noqa: PTH111  # numba would make a folder "~" here
    if named or has_home:
        yield named
    if own := _own_folder():
        yield own


def _own_folder() -> str:
    """A folder that only this user can write to, as what is in it is run; "" for none."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"shoestring-compiled-{user}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077
        if is_ours or os.name == "nt":  # whose temporary folder is the user's own
            tempfile.TemporaryFile(dir=folder).close()
            return str(folder)
    except OSError:
        pass
    return ""


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
