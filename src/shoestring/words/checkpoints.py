"""A training run on the disk, so that it goes on with the same bits after any interruption.

A checkpoint is a folder: ``config.json`` (format, settings, the corpus's fingerprint, the place in
the run, the names and checksums of the arrays) and three ``.npy`` files. New arrays get new names;
``config.json`` is replaced last, and then the old arrays go. A process that is killed at any moment
leaves the checkpoint before or the one after, whole.

Not covered: two processes that train into one folder at the same time.

Letters: V vocabulary, K neurons, E epochs, T tokens, S sentences.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError
from shoestring.text.writing import written_aside
from shoestring.types import IntArray
from shoestring.words.bioword import Neurons, empty_weights

FORMAT_VERSION = 1
CONFIG = "config.json"
CHUNK = 1 << 24  # bytes that are read at a time
_FORMAT = "shoestring-words-checkpoint"
_ARRAY = re.compile(r"(factors|scales|wins)-\d+\.npy(\.part)?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a run: ``batch`` mini-batches of epoch ``epoch`` (from 0) are done.

    Parameters
    ----------
    settings : dict
        What the run was started with, as JSON can say it.
    corpus : str
        :func:`fingerprint` of its corpus.
    epoch, batch : int
    neurons : Neurons
    wins : int64 array (E, K)
        How many windows each neuron has won in each epoch.
    """

    settings: dict[str, Any]
    corpus: str
    epoch: int
    batch: int
    neurons: Neurons
    wins: IntArray


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


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; the one before stays until this one is there.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}.") from error
    neurons = checkpoint.neurons
    arrays: dict[str, NDArray[Any]] = {
        "factors": neurons.factors,
        "scales": np.stack([neurons.scales, neurons.bounds]),
        "wins": checkpoint.wins,
    }
    number = 1 + max((_number(file) for file in folder.iterdir()), default=0)
    files = {}
    for name, array in arrays.items():
        path = folder / f"{name}-{number}.npy"
        with written_aside(path) as file:
            np.save(file, array, allow_pickle=False)
        files[name] = {"file": path.name, "crc32": _checksum(array)}
    document = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": checkpoint.settings,
        "corpus": checkpoint.corpus,
        "epoch": checkpoint.epoch,
        "batch": checkpoint.batch,
        "arrays": files,
    }
    with written_aside(folder / CONFIG) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
    for path in folder.iterdir():
        if _ARRAY.fullmatch(path.name) and _number(path) != number:
            with suppress(OSError):
                path.unlink()


def _number(path: Path) -> int:
    return int(path.name.partition("-")[2].partition(".")[0]) if _ARRAY.fullmatch(path.name) else 0


def _checksum(array: NDArray[Any]) -> int:
    """The CRC-32 of an array's bytes."""
    crc = 0
    step = max(1, CHUNK // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        crc = zlib.crc32(array[start : start + step].tobytes(), crc)
    return crc


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read a checkpoint; None where there is none.

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
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise FormatError(
            "This is not the config.json of a checkpoint of words. Name another folder.", file=path
        )
    if document.get("format_version") != FORMAT_VERSION:
        raise FormatError(
            f"The checkpoint has format version {document.get('format_version')!r}; this version "
            f"of shoestring reads {FORMAT_VERSION}. Upgrade shoestring, or train anew into another "
            "folder.",
            file=path,
        )
    try:
        arrays = {name: _read_array(folder, entry) for name, entry in document["arrays"].items()}
        neurons = Neurons(arrays["factors"], *arrays["scales"])
        place = document["epoch"], document["batch"]
        return Checkpoint(document["settings"], document["corpus"], *place, neurons, arrays["wins"])
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _read_array(folder: Path, entry: Mapping[str, Any]) -> NDArray[Any]:
    path = folder / entry["file"]
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        array = (
            empty_weights(*mapped.shape) if mapped.dtype == np.float32 else np.empty_like(mapped)
        )
        array[...] = mapped
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, error) from error
    if _checksum(array) != entry["crc32"]:
        raise _damaged(path, "its bytes have changed since it was written")
    return array


def _damaged(path: Path, why: object) -> IntegrityError:
    return IntegrityError(
        f"{path} is damaged ({why}). Remove the folder of the checkpoint and train anew, "
        "or name another folder."
    )


def check_same_run(
    folder: Path, checkpoint: Checkpoint, settings: Mapping[str, Any], corpus: str
) -> None:
    """Refuse to go on with a checkpoint of other settings or of another corpus.

    Raises
    ------
    ParameterError
        Naming the first difference; the checkpoint stays as it is.
    """
    keep = "The checkpoint is untouched: name another folder, or go on with it as it was begun."
    for name, value in settings.items():
        if checkpoint.settings.get(name) != value:
            raise ParameterError.of(
                "checkpoint", "train", f"a new folder or one of a run with {name} {value!r}",
                f"{folder} with {name} {checkpoint.settings.get(name)!r}", keep,
            )  # fmt: skip
    if checkpoint.corpus != corpus:
        raise ParameterError.of(
            "checkpoint", "train", "a new folder or one of a run on the same corpus",
            f"{folder} of another corpus", keep,
        )  # fmt: skip
