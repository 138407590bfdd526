"""Artifact folders that are replaced whole: files of a new number, then the config that names it.

A save writes ``<name>-<n>.<ending>`` files (or folders, without an ending) of a number that is not
there yet and puts them in force by renaming ``config.json`` into place, so that a reader sees what
was saved before or what is saved now. The others are deleted then.

Not covered: two processes that save to one folder at once.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.artifacts import ASIDE, CONFIG
from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError


@dataclass(frozen=True, slots=True)
class NumberedFolder:
    """One kind of artifact folder.

    Parameters
    ----------
    names : collection of str
        Of what is in it, such as "codes.npy".
    what : str
        What it is a folder of, for people.
    owner : str
        Whose ``folder`` parameter it is.
    read_config : callable
        Raises if the config of a folder is something else's.
    """

    names: Collection[str]
    what: str
    owner: str
    read_config: Callable[[Path], dict[str, Any]]

    def number_of(self, name: str) -> int | None:
        """The number of a file; None of files that are not ours."""
        match = re.fullmatch(r"(\w+)-(\d+)(\.\w+?)?(\.part)?", name)
        return int(match[2]) if match and match[1] + (match[3] or "") in self.names else None

    def check(self, folder: Path) -> None:
        """See that it can be saved to; nothing is written.

        Raises
        ------
        ParameterError
            If there is a file of that name, or the folder holds other files.
        """
        try:
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise StorageError(f"{folder} cannot be read: {error.strerror or error}.") from error
        strange = [name for name in names if name.removesuffix(ASIDE) != CONFIG]
        strange = [name for name in strange if self.number_of(name) is None]
        if strange or folder.is_file():
            want = f"a new or empty folder, or one of {self.what}"
            got = f"It holds {strange[0]!r}, for example; choose" if strange else "Choose"
            raise ParameterError.of("folder", self.owner, want, str(folder), f"{got} another")
        if CONFIG in names:
            self.read_config(folder)

    def claim(self, folder: Path) -> int:
        """Make the folder, or see that it is ours; the number of the files to write."""
        self.check(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made: {error.strerror or error}.") from error
        numbers = (self.number_of(path.name) for path in folder.iterdir())
        return 1 + max((number for number in numbers if number is not None), default=0)

    def drop_others(self, folder: Path, kept: Collection[str]) -> None:
        """Delete what is ours but those names, which are in force."""
        for path in folder.iterdir():
            if self.number_of(path.name) is None or path.name in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):  # still mapped, on Windows: left to the next time
                    path.unlink()


def checked_config(
    folder: Path,
    format: str,
    versions: Collection[int],
    *,
    what: str,
    remedy: str,
    missing: Exception | None = None,
) -> dict[str, Any]:
    """Read the config of a folder that has a format and a version of it.

    Parameters
    ----------
    folder : Path
    format : str
        What its ``format`` must say.
    versions : collection of int
        Of the format, that can be read.
    what : str
        What people call such a folder.
    remedy : str
        What to do if it is damaged or of another version: a sentence.
    missing : Exception, optional
        To raise where there is none; by default a FileNotFoundError.

    Raises
    ------
    FormatError
        If it is something else's, or of another version.
    IntegrityError
        If it is damaged.
    StorageError
        If it may not be read.
    """
    path = folder / CONFIG
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        if missing is not None and isinstance(error, FileNotFoundError | NotADirectoryError):
            raise missing from None
        if isinstance(error, FileNotFoundError):
            raise
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise IntegrityError(f"{path} is damaged: {error}. {remedy}") from error
    if not isinstance(document, dict) or document.get("format") != format:
        raise FormatError(f"this is not the config.json of {what}. Name another folder.", file=path)
    version = document.get("format_version")
    if version not in versions:
        readable = " and ".join(map(str, versions))
        raise FormatError(
            f"{what} of format version {version!r}; this version of shoestring reads {readable}. "
            f"Upgrade shoestring. {remedy}",
            file=path,
        )
    return document
