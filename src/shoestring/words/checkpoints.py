"""A training run on the disk, so that it goes on with the same bits after any interruption.

A checkpoint is a folder: ``config.json`` (format, rule, settings, the corpus's fingerprint, the
place in the run, the names and checksums of the arrays) and ``.npy`` files. New arrays get new
names; ``config.json`` is replaced last, and then the files that it does not name go. A process that
is killed at any moment leaves the checkpoint before or the one after, whole.

Not covered: two processes that train into one folder at the same time.

Letters: V vocabulary, K neurons, E epochs, T tokens, S sentences.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import CONFIG, written_aside
from shoestring.errors import IntegrityError, ParameterError, StorageError
from shoestring.text.numbered import checked_config
from shoestring.types import IntArray

FORMAT_VERSION = 1
CHUNK = 1 << 24  # bytes that are read at a time
_FORMAT = "shoestring-words-checkpoint"
_REMEDY = "Remove the folder of the checkpoint and train anew, or name another folder."
_ARRAY = re.compile(
    r"(factors|scales|wins|shares|sizes|columns|values|sums|basis|vectors|centres|nearest)"
    r"\d*-(\d+)\.npy(\.part)?"
)

Arrays = dict[str, NDArray[Any]]
Entries = dict[str, dict[str, Any]]  # of each array its file and checksum


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run has done.

    Parameters
    ----------
    rule : str
        Which rule.
    settings : dict
        What the run was started with, as JSON can say it.
    corpus : str
        :func:`fingerprint` of its corpus.
    place : dict
        Where in the run it is, as JSON can say it.
    arrays : dict
        What it has so far.
    entries : dict, optional
        Of the arrays that are on the disk already.
    """

    rule: str
    settings: dict[str, Any]
    corpus: str
    place: dict[str, Any]
    arrays: Arrays
    entries: Entries


def seconds_of(minutes: float | None) -> float:
    """A budget in seconds; without one there is no end."""
    if minutes is not None and not 0 < minutes < np.inf:
        raise ParameterError.of("minutes", "train", "a positive float or None", minutes)
    return np.inf if minutes is None else 60 * minutes


def fingerprint(ids: NDArray[np.int32], offsets: IntArray, counts: IntArray) -> str:
    """Tell corpora apart: a digest of all their ids, sentences and counts, read piece by piece."""
    digest = hashlib.blake2b(digest_size=16)
    arrays: tuple[NDArray[Any], ...] = (ids, offsets, counts)
    for array in arrays:
        digest.update(f"{array.dtype.str} {len(array)};".encode())
        step = CHUNK // array.itemsize
        for start in range(0, len(array), step):
            digest.update(array[start : start + step].tobytes())
    return digest.hexdigest()


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Entries:
    """Write a checkpoint, whole or not at all; the one before stays until this one is there.

    Returns
    -------
    dict
        The entries of all arrays: those of ``checkpoint.entries`` stay, the others are written.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}.") from error
    number = 1 + max((_number(file) for file in folder.iterdir()), default=0)
    entries = dict(checkpoint.entries)
    for name, array in checkpoint.arrays.items():
        if name not in entries:
            path = folder / f"{name}-{number}.npy"
            with written_aside(path) as file:
                np.save(file, array, allow_pickle=False)
            entries[name] = {"file": path.name, "crc32": _checksum(array)}
    document = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "rule": checkpoint.rule,
        "settings": checkpoint.settings,
        "corpus": checkpoint.corpus,
        **checkpoint.place,
        "arrays": entries,
    }
    with written_aside(folder / CONFIG) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
    named = {entry["file"] for entry in entries.values()}
    for path in folder.iterdir():
        if _ARRAY.fullmatch(path.name) and path.name not in named:
            with suppress(OSError):
                path.unlink()
    return entries


def _number(path: Path) -> int:
    match = _ARRAY.fullmatch(path.name)
    return int(match[2]) if match else 0


def _checksum(array: NDArray[Any]) -> int:
    """The CRC-32 of an array's bytes."""
    crc = 0
    step = max(1, CHUNK // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        crc = zlib.crc32(array[start : start + step].tobytes(), crc)
    return crc


def read_checkpoint(
    folder: Path, empty: Callable[[tuple[int, ...], Any], NDArray[Any]] = np.empty
) -> Checkpoint | None:
    """Read a checkpoint; None where there is none.

    Parameters
    ----------
    folder : Path
    empty : callable, optional
        Makes room for an array of a shape and a dtype.

    Raises
    ------
    FormatError
        If the folder's ``config.json`` is something else's, or of another version.
    IntegrityError
        If a file of the checkpoint is damaged, cut off or missing.
    StorageError
        If it may not be read.
    """
    path = folder / CONFIG
    try:
        document = checked_config(
            folder, _FORMAT, (FORMAT_VERSION,), what="a checkpoint of words", remedy=_REMEDY
        )
    except FileNotFoundError:
        return None
    del document["format"], document["format_version"]
    try:
        entries = document.pop("arrays")
        arrays = {name: _read_array(folder, entry, empty) for name, entry in entries.items()}
        rule = document.pop("rule", "published")  # the first ones did not say it
        settings, corpus = document.pop("settings"), document.pop("corpus")
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path, error) from error
    return Checkpoint(rule, settings, corpus, document, arrays, entries)


def _read_array(
    folder: Path, entry: Mapping[str, Any], empty: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    path = folder / entry["file"]
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        array = empty(mapped.shape, mapped.dtype)
        array[...] = mapped
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, error) from error
    if _checksum(array) != entry["crc32"]:
        raise damaged(path, "its bytes have changed since it was written")
    return array


def damaged(path: Path, why: object) -> IntegrityError:
    """What to raise where a checkpoint cannot be gone on from."""
    return IntegrityError(f"{path} is damaged ({why}). {_REMEDY}")


def check_same_run(
    folder: Path, checkpoint: Checkpoint, rule: str, settings: Mapping[str, Any], corpus: str
) -> None:
    """Refuse to go on with a checkpoint of another rule, other settings or another corpus.

    Raises
    ------
    ParameterError
        Naming the first difference; the checkpoint stays as it is.
    """
    keep = "The checkpoint is untouched: name another folder, or go on with it as it was begun."
    begun = {"rule": checkpoint.rule, **checkpoint.settings}
    for name, value in {"rule": rule, **settings}.items():
        if begun.get(name) != value:
            raise ParameterError.of(
                "checkpoint", "train", f"a new folder or one of a run with {name} {value!r}",
                f"{folder} with {name} {begun.get(name)!r}", keep,
            )  # fmt: skip
    if checkpoint.corpus != corpus:
        raise ParameterError.of(
            "checkpoint", "train", "a new folder or one of a run on the same corpus",
            f"{folder} of another corpus", keep,
        )  # fmt: skip
