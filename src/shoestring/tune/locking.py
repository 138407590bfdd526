"""Locks between processes, where the system has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shoestring.errors import ParameterError, StorageError


def locked(file: Path) -> BinaryIO | None:
    """A file's lock, until it is closed; None if another has it. OSError if it cannot be made."""
    lock = file.open("wb")
    try:
        import fcntl
    except ImportError:  # Windows: there is none, and none is held
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock.fileno()), file.stat()):
            return lock
    except OSError:
        pass
    lock.close()  # another has it, or has just removed it
    return None


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Be the only run that trains a folder.

    Raises
    ------
    ParameterError
        If another does.
    StorageError
        If nothing can be written beside it.
    """
    file = out.with_name(out.name + ".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = locked(file)
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}.") from error
    if lock is None:
        raise ParameterError(
            f"Another run is training {out}. Wait for it, or choose another --out."
        )
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        lock.close()
