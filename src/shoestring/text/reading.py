"""Reading back what :mod:`shoestring.text.writing` wrote: the config of a folder, mapped arrays."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import FormatError, IntegrityError, StorageError

CONFIG = "config.json"


def map_array(
    path: Path,
    dtype: str | None,
    shape: tuple[int, ...] | None,
    remedy: str,
    *,
    mode: Literal["r", "c"] = "r",
    may_be_gone: bool = False,
) -> NDArray[Any]:
    """Map a .npy file into memory and see that it is what it must be.

    Parameters
    ----------
    path : Path
    dtype : str or None
        As ``array.dtype.str`` has it; None where it may be any.
    shape : tuple of int or None
    remedy : str
        What to do if it is damaged: a sentence.
    mode : {"r", "c"}
        "c" where kernels are compiled for arrays that can be written to; the file stays as it is.
    may_be_gone : bool
        Whether another process may have removed it.

    Raises
    ------
    IntegrityError
        If the file is missing, cut off, or another array.
    FileNotFoundError
        If it is missing, and may be.
    StorageError
        If it may not be read.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "x.npy"
    >>> np.save(path, np.arange(3))
    >>> map_array(path, "<i8", (3,), "Make it again.")
    memmap([0, 1, 2])
    >>> map_array(path, "<i8", (4,), "Make it again.")
    Traceback (most recent call last):
        ...
    shoestring.errors.IntegrityError: ...x.npy holds <i8 (3,) but must hold <i8 (4,). Make it again.
    """
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode=mode)
    except FileNotFoundError as error:
        if may_be_gone:
            raise
        raise IntegrityError(f"{path} is missing. {remedy}") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, EOFError, SyntaxError) as error:  # how numpy says damaged or cut short
        raise IntegrityError(f"{path} is damaged: {error}. {remedy}") from error
    want = dtype or array.dtype.str, array.shape if shape is None else shape
    if (array.dtype.str, array.shape) != want:
        raise IntegrityError(
            f"{path} holds {array.dtype.str} {array.shape} but must hold {want[0]} {want[1]}. "
            f"{remedy}"
        )
    return array


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
