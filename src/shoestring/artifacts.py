"""One way to keep things: files that appear whole, and folders that are replaced whole.

An artifact is a folder with ``config.json``: its format and version, what its kind needs to be
read, and ``files``, the name and checksum of each file in force. A save writes files of the next
number (``codes-3.npy``), flushes them and renames ``config.json`` into place last, so that a reader
sees what was saved before or what is saved now, and a process that is killed at any moment leaves
one of the two. The files that the config before it listed go then, by their exact names; what
others put into the folder stays.

Until then ``config.json.writing`` lists what was written, so that the next save removes what a
killed one left. Folders that a library writes are named in ``files`` without a checksum.

Not covered: two processes that save to one folder at once (:mod:`shoestring.jobs` has a lock); bit
rot inside an array that is mapped and not read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError

from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError

CONFIG = "config.json"
ASIDE = ".part"
WRITING = CONFIG + ".writing"  # lists the files of a save that has not ended
CHUNK = 1 << 24  # bytes that are copied or checked at a time
_OF_THE_DISK = {"I/O error": "", "inline_container": "torch could not write all of it"}


# ---- files


def refused(path: Path, error: OSError | str) -> StorageError:
    """The error for a disk that is full or may not be written."""
    reason = error if isinstance(error, str) else error.strerror or str(error)
    return StorageError(
        f"{path} cannot be written: {reason}. Free some space or check its permissions, and run "
        "again; what was stored before is safe."
    )


def unreadable(path: Path, error: OSError) -> StorageError:
    """The error for a file or folder that may not be read."""
    return StorageError(f"{path} cannot be read: {error.strerror or error}.")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing.

    Raises
    ------
    StorageError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror or error}.") from error


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
            raise refused(path, error) from error
        raise


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, whole or not at all; the errors of :func:`written_aside`."""
    with written_aside(path) as file:
        file.write(as_json(document))


def as_json(document: Any) -> bytes:
    """Readable JSON with a newline at its end; numpy's numbers as numbers."""
    text = json.dumps(
        document, ensure_ascii=False, indent=2, allow_nan=False, default=np.generic.item
    )
    return (text + "\n").encode("utf-8", "surrogatepass")


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        raise refused(folder, error) from error
    except (RuntimeError, SafetensorError) as error:
        found = [ours for theirs, ours in _OF_THE_DISK.items() if theirs in str(error)]
        if not found:
            raise
        raise refused(folder, found[0] or str(error)) from error


def written_by(write: Callable[[Path], object], folder: Path) -> None:
    """Let a library write a folder: whole, or not at all.

    Files take the folder's permissions; safetensors would make them owner-only.

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


def write_npy_header(file: BinaryIO, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """Begin a .npy file whose rows are appended to ``file`` afterwards, as they come.

    numpy leaves room in the header, so that it is as long for any number of rows: where that is
    known at the end only, ``file.seek(0)`` and write it again.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "x.npy"
    >>> with written_aside(path) as file:
    ...     write_npy_header(file, "<i4", (3,))
    ...     for row in range(3):
    ...         _ = file.write(np.int32(row).tobytes())
    >>> np.load(path)
    array([0, 1, 2], dtype=int32)
    """
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def map_array(
    path: Path,
    dtype: str | None,
    shape: tuple[int, ...] | None,
    remedy: str,
    *,
    mode: Literal["r", "c"] = "r",
    may_be_gone: bool = False,
) -> NDArray[Any]:
    """Map a .npy file into memory and check that it is what it must be.

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
        raise unreadable(path, error) from error
    except (ValueError, EOFError, SyntaxError) as error:  # how numpy says damaged or cut short
        if _is_empty_array(path):
            array = np.load(path, allow_pickle=False)
        else:
            raise IntegrityError(f"{path} is damaged: {error}. {remedy}") from error
    want = dtype or array.dtype.str, array.shape if shape is None else shape
    if (array.dtype.str, array.shape) != want:
        raise IntegrityError(
            f"{path} holds {array.dtype.str} {array.shape} but must hold {want[0]} {want[1]}. "
            f"{remedy}"
        )
    return array


def _is_empty_array(path: Path) -> bool:
    """Whether it is a whole .npy file without elements, which cannot be mapped."""
    with suppress(OSError, ValueError, EOFError, SyntaxError), path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return 0 in np.lib.format.read_array_header_1_0(file)[0]
    return False


# ---- digests


def digest(*parts: bytes | str | NDArray[Any]) -> str:
    """Tell contents apart: a BLAKE2b digest of texts, bytes and arrays, in hexadecimal.

    Each part counts with its kind and length, so that ``"ab", "c"`` is not ``"a", "bc"``. Arrays
    are read piece by piece.

    Examples
    --------
    >>> digest("a", "bc") == digest("ab", "c"), digest(np.arange(3)) == digest(np.arange(3.0))
    (False, False)
    """
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str}{part.shape};".encode())
            for piece in pieces(part):
                found.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
        else:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            found.update(f"{len(data)};".encode() + data)
    return found.hexdigest()


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Rows of an array in parts of some megabytes, so that a mapped one is never held whole."""
    if array.size == 0:
        return
    step = max(1, CHUNK // max(1, array[:1].nbytes)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, step):
        yield array[start : start + step] if array.ndim else array


class _Checksummed:
    """A file that counts the CRC-32 of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.crc = file, 0

    def write(self, data: Any) -> int:
        """Write bytes."""
        self.crc = zlib.crc32(data, self.crc)
        return self._file.write(data)


# ---- folders


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """One kind of artifact folder.

    Parameters
    ----------
    format : str
        What its config says that it is.
    what : str
        What people call it, such as "a saved AnalyticSoftmax".
    owner : str
        Whose ``folder`` parameter it is, such as "AnalyticSoftmax.save".
    remedy : str
        What to do if it is damaged: a sentence.
    versions : tuple of int
        Of the format, that can be read; the last one is written.
    """

    format: str
    what: str
    owner: str
    remedy: str
    versions: tuple[int, ...] = (1,)

    def read(self, folder: Path, missing: Exception | None = None) -> Artifact:
        """Read the config of a folder; its files are read when they are asked for.

        Parameters
        ----------
        folder : Path
        missing : Exception, optional
            To raise where there is no config; by default a ParameterError.

        Raises
        ------
        FormatError
            If it is something else's, or of another version.
        IntegrityError
            If it is damaged.
        StorageError
            If it may not be read.
        """
        return Artifact(self, folder, self._config(folder, folder / CONFIG, missing))

    def is_saved(self, folder: Path) -> bool:
        """Whether a folder holds one, of any version."""
        return _format_of(folder / CONFIG) == self.format

    def check(self, folder: Path) -> None:
        """Check that a folder can be saved to: new, empty, or one of this kind.

        Raises
        ------
        ParameterError
            If there is a file of that name, or the folder holds other files and no such artifact.
        FormatError
            If it holds another artifact.
        """
        try:
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise unreadable(folder, error) from error
        if CONFIG in names:
            self._config(folder, folder / CONFIG, None)
        elif folder.is_file() or (names and _format_of(folder / WRITING) != self.format):
            got = f"It holds {names[0]!r}, for example; choose" if names else "Choose"
            want = f"a new or empty folder, or one of {self.what}"
            raise ParameterError.of("folder", self.owner, want, str(folder), f"{got} another")

    @contextmanager
    def saving(self, folder: Path) -> Iterator[ArtifactWriter]:
        """Give a writer of files; its config comes into force when the block has ended well.

        Raises
        ------
        ParameterError, FormatError, StorageError
            As :meth:`check`; if the disk is full. What was saved before stays.
        """
        self.check(folder)
        is_new = not folder.exists()
        make_folder(folder)
        before: dict[str, Any] = {}
        if (folder / CONFIG).exists():
            before = self._config(folder, folder / CONFIG, None)
        listed = {entry["file"] for entry in before.get("files", {}).values()}
        _remove(folder, _files_in(folder / WRITING, self.format) - listed)
        writer = ArtifactWriter(self, folder, 1 + int(before.get("save_number", 0)), before)
        try:
            yield writer
            writer.put_in_force()
        except BaseException:
            _remove(folder, writer.written | {WRITING})
            if is_new:
                with suppress(OSError):
                    folder.rmdir()
            raise
        kept = {entry["file"] for entry in writer.files.values()}
        _remove(folder, (listed | writer.written | {WRITING}) - kept)

    def _config(self, folder: Path, path: Path, missing: Exception | None) -> dict[str, Any]:
        try:
            document = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            want = f"the folder of {self.what}"
            raise missing or ParameterError.of(
                "folder", self.owner.partition(".")[0], want, str(folder), "Save one there first."
            ) from None
        except OSError as error:
            raise unreadable(path, error) from error
        except ValueError as error:
            raise IntegrityError(f"{path} is damaged: {error}. {self.remedy}") from error
        if not isinstance(document, dict) or document.get("format") != self.format:
            raise FormatError(
                f"this is not the config.json of {self.what}. Name another folder.", file=path
            )
        version = document.get("format_version")
        if version not in self.versions:
            readable = " and ".join(map(str, self.versions))
            raise FormatError(
                f"{self.what} of format version {version!r}; this version of shoestring reads "
                f"{readable}. Upgrade shoestring. {self.remedy}",
                file=path,
            )
        return document


@dataclass(frozen=True, slots=True)
class Artifact:
    """A saved folder: its config, and its files by the names that they were saved under."""

    kind: ArtifactKind
    folder: Path
    config: dict[str, Any]

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Around reading values of the config: what is missing or of a wrong type is damage.

        Raises
        ------
        IntegrityError
        """
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ParameterError | IntegrityError):
                raise
            raise self.damaged(CONFIG, repr(error)) from error

    def damaged(self, file: str, why: object) -> IntegrityError:
        """The error for a file that is not what was saved."""
        return IntegrityError(f"{self.folder / file} is damaged: {why}. {self.kind.remedy}")

    def __contains__(self, name: str) -> bool:
        return name in self.config.get("files", {})

    def path(self, name: str) -> Path:
        """Where a file or folder is that was saved under a name."""
        return self.folder / str(self._entry(name)["file"])

    def array(
        self,
        name: str,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
        *,
        mode: Literal["r", "c"] = "r",
    ) -> NDArray[Any]:
        """Map an array into memory, as :func:`map_array`."""
        return map_array(self.path(name), dtype, shape, self.kind.remedy, mode=mode)

    def verified(self, name: str) -> Path:
        """Where a file is, read once and compared with its checksum.

        Raises
        ------
        IntegrityError
            If it is missing or its bytes have changed.
        """
        path, crc = self.path(name), 0
        try:
            with path.open("rb") as file:
                while data := file.read(CHUNK):
                    crc = zlib.crc32(data, crc)
        except FileNotFoundError as error:
            raise IntegrityError(f"{path} is missing. {self.kind.remedy}") from error
        except OSError as error:
            raise unreadable(path, error) from error
        if crc != self._entry(name).get("crc32"):
            raise self.damaged(path.name, "its bytes have changed since it was saved")
        return path

    def data(self, name: str) -> bytes:
        """The bytes of a file, compared with its checksum; the errors of :meth:`verified`."""
        return self.verified(name).read_bytes()

    def loaded_array(self, name: str) -> NDArray[Any]:
        """An array read into memory, compared with its checksum."""
        array: NDArray[Any] = np.load(self.verified(name), allow_pickle=False)
        return array

    def _entry(self, name: str) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = self.config["files"][name]
            return {**entry, "file": _plain(str(entry["file"]))}
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged(CONFIG, f"it does not name {name}") from error


@dataclass(slots=True)
class ArtifactWriter:
    """Writes the files of one save; made by :meth:`ArtifactKind.saving`.

    Attributes
    ----------
    number : int
        Of the save, in the names of its files.
    before : dict
        The config that is in force until this one is; empty at first.
    config : dict
        What to put in force: the caller fills it in.
    files : dict
        Entries of the files in force afterwards.
    written : set of str
        Files that were written here.
    """

    kind: ArtifactKind
    folder: Path
    number: int
    before: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """Give a file to write, under a name such as "codes.npy"."""
        path = self._begin(name)
        with written_aside(path) as file:
            counted = _Checksummed(file)
            yield counted  # type: ignore[misc]
        self.files[name] = {"file": path.name, "crc32": counted.crc}

    def data(self, name: str, data: bytes) -> None:
        """Write a file of bytes."""
        with self.stream(name) as file:
            file.write(data)

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write a .npy file, piece by piece."""
        with self.stream(name) as file:
            write_npy_header(file, array.dtype, array.shape)
            for piece in pieces(array):
                file.write(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)

    def library(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let a library write a folder, as :func:`written_by`."""
        path = self._begin(name)
        if path.exists():
            shutil.rmtree(path)
        written_by(write, path)
        self.files[name] = {"file": path.name}
        return path

    def keep(self, name: str) -> None:
        """Keep what was saved before under a name."""
        self.files[name] = self.before["files"][name]

    def _begin(self, name: str) -> Path:
        """Where a file goes, noted first so that the next save knows of it."""
        stem, dot, ending = name.partition(".")
        file = f"{stem}-{self.number}{dot}{ending}"
        self.written.add(file)
        noted = {"format": self.kind.format, "files": {n: {"file": n} for n in self.written}}
        write_json(self.folder / WRITING, noted)
        return self.folder / file

    def put_in_force(self) -> None:
        """Write the config: from here on a reader sees this save."""
        head = {
            "format": self.kind.format,
            "format_version": self.kind.versions[-1],
            "save_number": self.number,
        }
        write_json(self.folder / CONFIG, {**head, **self.config, "files": self.files})


def _plain(name: str) -> str:
    """A file's name that leads nowhere else, as a folder may come from a stranger."""
    if not name or name != Path(name).name or name == "..":
        raise ValueError(name)
    return name


def _format_of(path: Path) -> str | None:
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(path.read_bytes()).get("format")
        return found if isinstance(found, str) else None
    return None


def _files_in(path: Path, format: str) -> set[str]:
    """The files that a config of this format lists; none where there is no such config."""
    with suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
        document: Mapping[str, Any] = json.loads(path.read_bytes())
        if document["format"] == format:
            return {_plain(str(entry["file"])) for entry in document["files"].values()}
    return set()


def _remove(folder: Path, names: set[str]) -> None:
    """Remove files and folders of ours, by name; one that is mapped, on Windows, is left."""
    for name in names:
        for path in (folder / name, folder / (name + ASIDE)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
