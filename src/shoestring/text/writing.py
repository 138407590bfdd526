"""Files that appear whole or not at all: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shoestring.errors import StorageError

ASIDE = ".part"


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write that gets its name when the block has ended well.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written; what was there before stays.
    """
    aside = path.with_name(path.name + ASIDE)
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink()
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(
                f"{path} cannot be written: {error.strerror or error}. Free some space or check "
                "its permissions, and run again; what was stored before is safe."
            ) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
