"""Files that appear whole or not at all: written aside, flushed to the disk, renamed.

Libraries write folders of their own; here is what they say of a disk that is full.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from shoestring.errors import StorageError

ASIDE = ".part"
_OF_THE_DISK = {"I/O error": "", "inline_container": "torch could not write all of it"}


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
            raise _refused(path, error.strerror or str(error)) from error
        raise


def _refused(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {reason}. Free some space or check its permissions, and run "
        "again; what was stored before is safe."
    )


@contextmanager
def libraries_writing(folder: Path) -> Iterator[None]:
    """Say in our words what a library says of a full disk, each in its own.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise _refused(folder, error.strerror or str(error)) from error
    except (RuntimeError, SafetensorError) as error:
        found = [ours for theirs, ours in _OF_THE_DISK.items() if theirs in str(error)]
        if not found:
            raise
        raise _refused(folder, found[0] or str(error)) from error


def written_by(write: Callable[[Path], object], folder: Path) -> None:
    """Let a library write a folder: whole, or not at all.

    Its files may be read by whom the folder may be: safetensors keeps them to their owner.

    Raises
    ------
    StorageError
        As :func:`libraries_writing`.
    """
    try:
        with libraries_writing(folder):
            write(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    rights = folder.stat().st_mode & 0o666
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(rights)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
