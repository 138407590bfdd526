"""Progress bars: tqdm's, with a lock of each process's own.

tqdm shares its lock with forked children, so one that is killed while it holds the lock leaves
every bar of its parent waiting for ever, hidden ones too.
"""

from __future__ import annotations

import os
import threading
from typing import ClassVar
from weakref import WeakSet

import tqdm.std


class Progress(tqdm.std.tqdm):  # type: ignore[misc]
    """A bar; its parameters are tqdm's."""

    _instances: ClassVar[WeakSet[Progress]] = WeakSet()  # others' bars have another lock


def _own_lock() -> None:
    Progress.set_lock(threading.RLock())


_own_lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own_lock)
