"""One way to keep things: files that appear whole, and folders that are replaced whole.

An artifact is a folder with ``config.json``: its format and version, what its kind needs to be
read, ``files``, the name and checksum of each file, and a checksum of all that. The files are in a
folder beside it, which it names: a save writes a new one (``shoestring-save-3``), flushes it and
renames ``config.json`` into place last, so that a reader sees what was saved before or what is
saved now, and a process that is killed at any moment leaves one of the two. At the end of a save,
well or not, the folders of other saves go; what others put beside them stays.

What is read whole, and arrays of up to 64 MB, are compared with their checksums on opening (CRC-32:
some gigabytes a second); larger arrays by :func:`verify`. What a stranger sends has checksums that
fit, so kernels do not rest on them.

Not covered: two processes that save to one folder at once (:mod:`shoestring.jobs` has a lock); a
file that is cut short while it is mapped.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError

from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError

CONFIG = "config.json"
CHECKSUM = "crc32"
ASIDE = ".part"
LOCK = "lock"  # of a folder that jobs work in
CHUNK = 1 << 24  # bytes that are copied or checked at a time
CHECKED = 1 << 26  # bytes of a mapped array that is compared with its checksum on opening
_SAVE = re.compile(r"shoestring-save-[0-9]{1,9}")  # as nobody else would call a folder
_MALFORMED = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError),
    SafetensorError,
)
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
    """Make a folder and its parents where they are missing; StorageError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror or error}.") from error


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write that gets its name when the block has ended well; else StorageError."""
    aside = path.with_name(path.name + ASIDE)
    try:
        with libraries_writing(path):
            with suppress(FileNotFoundError):
                aside.unlink()  # what a killed process left, or a stranger's link to elsewhere
            with aside.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


@contextmanager
def locked(file: Path, busy: Exception, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, among all threads and processes; ``busy`` where others hold it for long."""
    from filelock import FileLock, Timeout

    lock = FileLock(file, thread_local=False, poll_interval=0.01)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise busy from None
    except OSError as error:
        raise refused(file.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, document: Any) -> None:
    """Write readable JSON as :func:`written_aside`; NumPy's numbers as numbers."""
    with written_aside(path) as file:
        file.write((_json(document) + "\n").encode("utf-8", "surrogatepass"))


def _json(document: Any) -> str:
    return json.dumps(
        document, ensure_ascii=False, indent=2, allow_nan=False, default=np.generic.item
    )


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # as some network file systems say
            raise
    finally:
        os.close(descriptor)


@contextmanager
def libraries_writing(path: Path) -> Iterator[None]:
    """Turn what Python, and each library, says of a full disk into a StorageError."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise refused(path, error) from error
    except (RuntimeError, SafetensorError) as error:
        for theirs, ours in _OF_THE_DISK.items():
            if theirs in str(error):
                raise refused(path, ours or str(error)) from error
        raise


@contextmanager
def written_whole(folder: Path) -> Iterator[None]:
    """Around writing a folder, by any library: whole and flushed, or not at all; else StorageError.

    Files take the folder's permissions; safetensors would make them owner-only.
    """
    try:
        with libraries_writing(folder):
            yield
            rights = folder.stat().st_mode & 0o666
            for path in (folder, *folder.rglob("*")):
                if path.is_dir():
                    sync_folder(path)
                else:
                    path.chmod(rights)
                    with path.open("r+b") as file:
                        os.fsync(file.fileno())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_npy_header(file: BinaryIO, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """Begin a .npy file whose rows are appended as they come.

    The header is as long for any number of rows, so that it can be written again at the end.
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
) -> NDArray[Any]:
    """Map a .npy file into memory and check that it is whole, and of a dtype and shape if given.

    IntegrityError, with the remedy, if it is not; StorageError if it may not be read. Mode "c" is
    for kernels that are compiled for arrays that can be written to; the file stays as it is.
    """
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode=mode)
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing. {remedy}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # NumPy has six ways to say that a header is damaged
        raise IntegrityError(f"{path} is damaged: {error}. {remedy}") from error
    want = dtype or array.dtype.str, array.shape if shape is None else shape
    if (array.dtype.str, array.shape) != want:
        raise IntegrityError(
            f"{path} holds {array.dtype.str} {array.shape} but must hold {want[0]} {want[1]}. "
            f"{remedy}"
        )
    return array


def digest(*parts: bytes | str | NDArray[Any]) -> str:
    """BLAKE2b in hexadecimal: each part counts with its length, arrays with type and shape."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str}{part.shape};".encode())
            found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            found.update(f"{len(data)};".encode() + data)
    return found.hexdigest()


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Rows of an array in parts of some megabytes, so that a mapped one is never held whole."""
    rows = np.atleast_1d(array)
    step = max(1, CHUNK // max(1, rows[:1].nbytes))
    for start in range(0, len(rows) if rows.size else 0, step):
        yield rows[start : start + step]


# ---- folders


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """One kind of artifact folder.

    Every method raises FormatError for another kind or version, IntegrityError for a damaged
    config, and StorageError for a folder that may not be read or written.
    """

    format: str  # what its config says that it is
    what: str  # what people call it, such as "a saved AnalyticSoftmax"
    owner: str  # whose ``folder`` parameter it is, such as "AnalyticSoftmax.save"
    remedy: str  # what to do if it is damaged: a sentence
    version: int = 1
    config: str = CONFIG  # its name

    def read(self, folder: Path, missing: Exception | None = None) -> Artifact:
        """Read the config of a folder; without one, ``missing`` or a ParameterError is raised."""
        config = self._config(folder)
        if config is None:
            owner, want = self.owner.partition(".")[0], f"the folder of {self.what}"
            hint = f"There is no {self.config}; save one there first."
            raise missing or ParameterError.of("folder", owner, want, str(folder), hint)
        return Artifact(self, folder, config)

    def is_saved(self, folder: Path) -> bool:
        """Whether a folder holds one, of any version."""
        with suppress(OSError, *_MALFORMED):
            found = json.loads((folder / self.config).read_bytes())
            return bool(found["format"] == self.format)
        return False

    def check(self, folder: Path) -> None:
        """ParameterError unless a folder can be saved to: new, empty, or one of this kind."""
        try:
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise unreadable(folder, error) from error
        try:
            config = self._config(folder)
        except IntegrityError as error:
            raise IntegrityError(f"{error} Remove that folder first, or choose another.") from error
        killed = (self.config + ASIDE, LOCK)  # what a killed process left, and its save
        names = [name for name in names if name not in killed and not _SAVE.fullmatch(name)]
        if config is None and (names or folder.is_file()):
            got = f"It holds {names[0]!r}, for example; choose" if names else "Choose"
            want = f"a new or empty folder, or one of {self.what}"
            raise ParameterError.of("folder", self.owner, want, str(folder), f"{got} another.")

    @contextmanager
    def saving(self, folder: Path) -> Iterator[ArtifactWriter]:
        """Give a writer; its config is in force when the block has ended well, else the old one."""
        self.check(folder)
        is_new = not folder.exists()
        make_folder(folder)
        number = 1 + max((int(path.name.split("-")[-1]) for path in _saves(folder)), default=0)
        inside = folder / f"shoestring-save-{number}"
        writer = ArtifactWriter(inside, self._config(folder) or {}, {})
        try:
            with written_whole(inside):
                inside.mkdir()
                yield writer
                found = (path for path in sorted(inside.rglob("*")) if path.is_file())
                files = {path.relative_to(inside).as_posix(): crc32_of(path) for path in found}
            self.write_config(folder, {**writer.config, "save": inside.name, "files": files})
        finally:
            with suppress(OSError, IntegrityError, *_MALFORMED):
                in_force = (self._config(folder) or {}).get("save")
                for path in _saves(folder):
                    if path.name != in_force and path.is_dir():
                        remove(path)
            if is_new:
                with suppress(OSError):  # where something is in it
                    folder.rmdir()

    def _config(self, folder: Path) -> dict[str, Any] | None:
        """The checked config in force; None where there is none."""
        path = folder / self.config
        try:
            document = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        except _MALFORMED as error:
            raise IntegrityError(f"{path} is damaged: {error}. {self.remedy}") from error
        if not isinstance(document, dict) or document.get("format") != self.format:
            raise FormatError(
                f"this is not the {self.config} of {self.what}. Name another folder.", file=path
            )
        version = document.get("format_version")
        if version != self.version:
            raise FormatError(
                f"{self.what} of format version {version!r}; this version of shoestring reads "
                f"{self.version}. Upgrade shoestring. {self.remedy}",
                file=path,
            )
        if document.get(CHECKSUM, found := _checksum(document)) != found:
            why = "its content has changed since it was saved"
            raise IntegrityError(f"{path} is damaged: {why}. {self.remedy}")
        return document

    def write_config(self, folder: Path, config: dict[str, Any]) -> None:
        """Put a config in force, with its checksum."""
        head = {"format": self.format, "format_version": self.version}
        document = json.loads(_json(head | config))  # as it will be read
        write_json(folder / self.config, document | {CHECKSUM: _checksum(document)})


@dataclass(frozen=True, slots=True)
class Artifact:
    """A saved folder: its config, and its files by the names that they were saved under.

    IntegrityError for what is missing or damaged, StorageError for what may not be read.
    """

    kind: ArtifactKind
    folder: Path
    config: dict[str, Any]

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Around reading values of the config: one that is missing or of a wrong type is damage."""
        try:
            yield
        except _MALFORMED as error:
            if isinstance(error, ParameterError | FormatError):  # of another file or argument
                raise
            raise self.damaged(self.folder / self.kind.config, repr(error)) from error

    def damaged(self, file: Path, why: object) -> IntegrityError:
        """The error for a file that is not what was saved."""
        return IntegrityError(f"{file} is damaged: {why}. {self.kind.remedy}")

    def _checksums(self, name: str) -> dict[Path, int]:
        """The checksum of the file that was saved under a name, or of each in the folder."""
        with self.decoding():
            if not _SAVE.fullmatch(self.config["save"]):
                raise ValueError(f"it names {self.config['save']!r}, as no save is called")
            inside = self.folder / self.config["save"]
            files = {inside / file: noted for file, noted in self.config["files"].items()}
            if any(".." in file.parts or inside not in file.parents for file in files):
                raise ValueError(f"it lists files outside of {inside.name}")
        return {file: files[file] for file in files if inside / name in (file, *file.parents)}

    def __contains__(self, name: str) -> bool:
        return bool(self._checksums(name))

    def path(self, name: str) -> Path:
        """Where a file or folder is that was saved under a name."""
        if name not in self:
            raise self.damaged(self.folder / CONFIG, f"it does not list {name}")
        return self.folder / str(self.config["save"]) / name

    def array(
        self,
        name: str,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
        *,
        mode: Literal["r", "c"] = "r",
    ) -> NDArray[Any]:
        """Map an array into memory, as :func:`map_array`; one of some megabytes is compared."""
        array = map_array(self.path(name), dtype, shape, self.kind.remedy, mode=mode)
        if array.nbytes <= CHECKED:
            self.verified(name)
        return array

    def verified(self, name: str) -> Path:
        """Where a file or folder is, read once and compared with its checksums."""
        path = self.path(name)
        for file, noted in self._checksums(name).items():
            try:
                is_same = crc32_of(file) == noted
            except FileNotFoundError as error:
                raise IntegrityError(f"{file} is missing. {self.kind.remedy}") from error
            except OSError as error:
                raise unreadable(file, error) from error
            if not is_same:
                raise self.damaged(file, "its bytes have changed since it was saved")
        return path

    def data(self, name: str) -> bytes:
        """The bytes of a file, compared with its checksum."""
        return self.verified(name).read_bytes()

    def loaded_array(
        self, name: str, dtype: str | None = None, shape: tuple[int, ...] | None = None
    ) -> NDArray[Any]:
        """An array read into memory, compared with its checksum, and :func:`map_array`'s checks."""
        return np.array(map_array(self.verified(name), dtype, shape, self.kind.remedy))

    def strings(self, name: str) -> list[str]:
        """A JSON file that lists strings, compared with its checksum."""
        data = self.data(name)
        with self.decoding():
            found: list[str] = json.loads(data.decode("utf-8", "surrogatepass"))
            if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
                raise self.damaged(self.path(name), "it is no list of strings")
        return found


@dataclass(slots=True)
class ArtifactWriter:
    """One save: the caller writes files into its folder, and fills in the config."""

    folder: Path
    before: dict[str, Any]  # the config that is in force until the next one is; empty at first
    config: dict[str, Any]  # the next one

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write a .npy file; a mapped array is not copied."""
        np.save(self.folder / name, np.asarray(array, order="C"), allow_pickle=False)

    def strings(self, name: str, texts: list[str]) -> None:
        """Write strings as JSON."""
        text = json.dumps(texts, ensure_ascii=False)
        (self.folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))


def verify(folder: str | Path) -> None:
    """Compare every file of a saved folder, and of those in it, with its checksum; reads all.

    ParameterError or FormatError if nothing is saved there; IntegrityError names a file that is
    missing or has changed.
    """
    found: dict[str, Any] = {}
    with suppress(OSError, *_MALFORMED):
        found = dict(json.loads((Path(folder) / CONFIG).read_bytes()))
    kind = ArtifactKind(
        str(found.get("format")),
        "what shoestring saves",
        "verify",
        "Copy the folder again from where it is whole, or make it again.",
        found.get("format_version", 1),
    )
    artifact = kind.read(Path(folder))
    for name in artifact.config.get("files", {}):
        artifact.verified(name)


def _checksum(document: dict[str, Any]) -> int:
    """The checksum of a config that JSON has read, but for itself."""
    rest = {name: value for name, value in document.items() if name != CHECKSUM}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def crc32_of(path: Path, n_bytes: int = 1 << 62) -> int:
    """The checksum of a file, or of its first bytes."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe or device would be read for ever
        raise OSError(errno.EINVAL, "it is no regular file")
    found = 0
    with path.open("rb") as file:
        while data := file.read(min(CHUNK, n_bytes)):
            found, n_bytes = zlib.crc32(data, found), n_bytes - len(data)
    return found


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it, where the system lets it go."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # still mapped, on Windows
            path.unlink()


def _saves(folder: Path) -> list[Path]:
    """All that is called as the folder of a save, in force or not."""
    return [path for path in folder.iterdir() if _SAVE.fullmatch(path.name)]
