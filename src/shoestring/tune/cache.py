"""What a frozen backbone makes of texts, computed once and kept on the disk.

A backbone without dropout gives the same outputs every epoch, in every run. They are kept text by
text without padding, bfloat16 (or int8 with a scale for each token and layer), in one file that
only grows, and are mapped into memory. An entry is written after what it points to is on the disk:
a run that is killed leaves a cache that can be used. The folder has a part for each backbone,
tokenizer, layers and kind of number, named by a digest of these: outputs of another backbone cannot
be taken for those of this one.

Any number of runs may read a cache, and go on with what they have opened when it makes room for
another; one at a time adds to it, and the others compute what is not there. What does not fit in
the budget, or on the disk, is computed again whenever it is asked for.

Letters: K outputs, B texts, T tokens, D width.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shoestring.artifacts import ASIDE, written_aside
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.models.frozen import BackboneOutputs, FrozenBackbone
from shoestring.models.token_encoder import batches_by_length
from shoestring.tune.locking import locked
from shoestring.tune.tokens import Tokens, padded

KINDS = ("bfloat16", "int8")
ENTRY = np.dtype([("key", "V16"), ("start", "<i8"), ("n_tokens", "<i8")])
TOKENS_AT_ONCE = 512  # in one forward
STATES, ENTRIES, ABOUT, LOCK = "states.bin", "entries.bin", "about.json", "lock"
VERSION = 1


def default_folder() -> Path:
    """Where outputs are kept if nobody says otherwise."""
    named, users = os.environ.get("SHOESTRING_OUTPUTS"), os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    return (Path(users) if users else Path.home() / ".cache") / "shoestring" / "outputs"


class OutputCache:
    """Outputs of a backbone, by the token ids of a text.

    Parameters
    ----------
    backbone : FrozenBackbone
    layers : sequence of int
        Which outputs beside the embedding, from 0.
    folder : str or Path, optional
        Of all caches; by default in the user's cache folder.
    budget_bytes : int
        On the disk, for all of the folder; the parts of other backbones that were used the longest
        ago go first. 0: nothing is kept, all is computed when it is asked for.
    kind : {"bfloat16", "int8"}
    """

    def __init__(
        self, backbone: FrozenBackbone, layers: Sequence[int], folder: str | Path | None = None,
        budget_bytes: int = 0, kind: str = "bfloat16",
    ) -> None:  # fmt: skip
        if kind not in KINDS:
            raise ParameterError.of("kind", "OutputCache", f"one of {KINDS}", kind)
        self.backbone, self.layers, self.kind = backbone, tuple(layers), kind
        self.budget_bytes = budget_bytes
        self.shape = len(self.layers) + 1, backbone.width  # K, D
        about = {
            "version": VERSION, "backbone": backbone.digest, "layers": self.layers,
            "computed_in": str(backbone.dtype), "kind": kind,
        }  # fmt: skip
        self._about = json.dumps(about, sort_keys=True)
        key = hashlib.blake2b(self._about.encode(), digest_size=8).hexdigest()
        self.root = default_folder() if folder is None else Path(folder)
        self.folder = self.root / key
        self._places: dict[bytes, tuple[int, int]] = {}
        self._file: BinaryIO | None = None
        self._map: NDArray[np.uint8] | None = None
        self.computed = 0  # texts that were run through the backbone
        if budget_bytes:
            with suppress(OSError):  # what cannot be kept is said when it is to be
                self._make()
            self._load()

    @property
    def bytes_per_token(self) -> int:
        """That a token takes on the disk."""
        k, d = self.shape
        return k * d * 2 if self.kind == "bfloat16" else k * (d + 4)

    def __contains__(self, text: Tokens) -> bool:
        return _key(text) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def fill(self, texts: Sequence[Tokens]) -> Iterator[int]:
        """Compute and keep what is not there, as far as the budget goes; yields texts done.

        A caller may stop at any point. ShoestringWarning if another run adds at the time, or the
        disk is full.
        """
        if not self.budget_bytes:
            return
        try:
            lock = self._claim()
        except OSError as error:
            self._say_unkept(error)
            return
        if lock is None:
            warnings.warn(
                f"Another run adds to {self.folder}: what it has not kept yet is computed again "
                "in every epoch of this one. Wait for it, or name another folder.",
                ShoestringWarning,
                stacklevel=2,
            )
            return
        with lock:
            yield from self._filled(texts)

    def _filled(self, texts: Sequence[Tokens]) -> Iterator[int]:
        first = {_key(text): text for text in texts}
        missing = [text for key, text in first.items() if key not in self._places]
        for batch in batches_by_length([len(text.ids) for text in missing], TOKENS_AT_ONCE):
            sizes = [len(missing[i].ids) * self.bytes_per_token + ENTRY.itemsize for i in batch]
            try:
                room = self._room(sum(sizes))
                n_fitting = int(np.searchsorted(np.cumsum(sizes), room, side="right"))
                chosen = [missing[i] for i in batch[:n_fitting]]
                if not chosen:
                    return
                self._append(chosen, self._packed(self._computed(chosen), chosen))
            except OSError as error:
                self._say_unkept(error)
                return
            yield len(chosen)

    def _say_unkept(self, error: OSError) -> None:
        warnings.warn(
            f"The outputs of the backbone cannot be kept in {self.folder} "
            f"({error.strerror or error}); those that are not there are computed again. "
            "Free some space, or name another folder.",
            ShoestringWarning,
            stacklevel=4,
        )

    def read(self, texts: Sequence[Tokens]) -> BackboneOutputs:
        """The outputs of B texts, padded: from the disk, or computed."""
        places = [self._places.get(_key(text)) for text in texts]
        found = [None if place is None else self._kept(*place) for place in places]
        absent = [i for i, array in enumerate(found) if array is None]
        if absent:
            chosen = [texts[i] for i in absent]
            for i, array in zip(absent, self._packed(self._computed(chosen), chosen), strict=True):
                found[i] = array
        read = self.padded((self._unpacked(array) for array in found if array is not None), texts)
        self._drop_pages()
        return read

    def padded(self, outputs: Iterable[Tensor], texts: Sequence[Tokens]) -> BackboneOutputs:
        """Outputs (K, T, D) of each text, together."""
        (k, d), t = self.shape, max(len(text.ids) for text in texts)
        together = np.zeros((k, len(texts), t, d), np.int16)  # bits of bfloat16: numpy has none
        mask, content = np.zeros((2, len(texts), t), np.bool_)
        for i, (text, states) in enumerate(zip(texts, outputs, strict=True)):
            n = len(text.ids)
            together[:, i, :n] = states.cpu().view(torch.int16).numpy()
            mask[i, :n] = True
            content[i, :n] = np.logical_not(text.special)
        states = torch.from_numpy(together).view(torch.bfloat16)
        device = self.backbone.device
        return BackboneOutputs(
            states.to(device), torch.from_numpy(mask).to(device),
            torch.from_numpy(content).to(device),
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the file: what is asked for later is computed."""
        file = getattr(self, "_file", None)
        self._places, self._map, self._file = {}, None, None
        if file is not None:
            file.close()

    # ---- numbers ----

    def _computed(self, texts: Sequence[Tokens]) -> Tensor:
        """Run texts through the backbone: (K, B, T, D)."""
        self.computed += len(texts)
        batch = padded(texts, self.backbone.padding_id)
        ids, mask, segments = (x.to(self.backbone.device) for x in batch)
        apart = all(text.segments is None for text in texts)
        outputs = self.backbone.outputs(ids, mask, self.layers, None if apart else segments)
        return outputs.to("cpu")

    def _packed(self, outputs: Tensor, texts: Sequence[Tokens]) -> list[NDArray[np.uint8]]:
        """The bytes of each text's outputs, without padding."""
        rows = (outputs[:, i, : len(text.ids)].contiguous() for i, text in enumerate(texts))
        if self.kind == "bfloat16":
            return [row.bfloat16().view(torch.uint8).numpy().ravel() for row in rows]
        found = []
        for row in rows:
            largest = row.float().abs().amax(-1, keepdim=True).clamp_min(1e-12)
            numbers = (row.float() / largest * 127).round().to(torch.int8)
            parts = numbers.numpy().view(np.uint8).ravel(), largest.numpy().view(np.uint8).ravel()
            found.append(np.concatenate(parts))
        return found

    def _unpacked(self, array: NDArray[np.uint8]) -> Tensor:
        """Outputs (K, T, D) bfloat16 from their bytes."""
        k, d = self.shape
        flat = torch.from_numpy(np.array(array))
        if self.kind == "bfloat16":
            return flat.view(torch.bfloat16).reshape(k, -1, d)
        t = len(array) // (k * (d + 4))
        numbers = flat[: k * t * d].view(torch.int8).reshape(k, t, d)
        largest = flat[k * t * d :].view(torch.float32).reshape(k, t, 1)
        return (numbers * (largest / 127)).bfloat16()

    # ---- the disk ----

    def _make(self) -> None:
        """Make the folder, which says what it is of."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / ABOUT
        if not about.exists():
            about.write_text(self._about, "utf-8")
        os.utime(about)

    def _load(self) -> bool:
        """Read the entries whose states are there; whether these are all."""
        file, states = self.folder / ENTRIES, self.folder / STATES
        self.close()
        try:
            self._file = states.open("rb")  # of which the entries are, whatever its name becomes
            entries = np.fromfile(file, ENTRY, file.stat().st_size // ENTRY.itemsize)
            n_file, now = file.stat().st_size, os.fstat(self._file.fileno())
            if not os.path.samestat(now, states.stat()):
                return self._load()
        except OSError:
            return not file.exists()
        n_bytes = now.st_size
        starts, n_tokens = entries["start"], entries["n_tokens"]
        sound = (n_tokens > 0) & (n_tokens <= n_bytes // self.bytes_per_token)
        sound[sound] &= starts[sound] <= n_bytes - n_tokens[sound] * self.bytes_per_token
        sound &= starts >= 0
        for entry in entries[sound]:
            self._places[bytes(entry["key"])] = int(entry["start"]), int(entry["n_tokens"])
        return bool(sound.all()) and n_file % ENTRY.itemsize == 0

    def _kept(self, start: int, n_tokens: int) -> NDArray[np.uint8] | None:
        """The bytes of an entry, mapped; None if they cannot be."""
        end = start + n_tokens * self.bytes_per_token
        try:
            if self._map is None or end > len(self._map):
                assert self._file is not None
                self._map = np.memmap(self._file, np.uint8, "r")
        except (OSError, ValueError):
            self._places = {}
            return None
        return self._map[start:end] if end <= len(self._map) else None

    def _drop_pages(self) -> None:
        """Give the pages that were read back: they stay in the system's cache, not in ours."""
        mapped = getattr(self._map, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def _claim(self) -> BinaryIO | None:
        """The lock of who adds, with what is there read under it; None if another has it."""
        self._make()
        lock = locked(self.folder / LOCK)
        if lock is None:
            return None
        try:
            if not self._load():  # cut off or damaged: what is sound is kept, and nothing else
                entries = np.zeros(len(self._places), ENTRY)
                for i, (key, place) in enumerate(self._places.items()):
                    entries[i] = np.void(key), *place
                with written_aside(self.folder / ENTRIES) as file:
                    file.write(entries.tobytes())
        except BaseException:
            lock.close()
            raise
        return lock

    def _append(self, texts: Sequence[Tokens], arrays: Sequence[NDArray[np.uint8]]) -> None:
        """Add to the states, and when they are on the disk to the entries."""
        states, per_token = self.folder / STATES, self.bytes_per_token
        sound = max((start + n * per_token for start, n in self._places.values()), default=0)
        entries = np.zeros(len(texts), ENTRY)
        with states.open("r+b" if states.exists() else "wb") as file:
            file.seek(sound)  # over what a killed run has left
            for i, (text, array) in enumerate(zip(texts, arrays, strict=True)):
                entries[i] = np.void(_key(text)), file.tell(), len(text.ids)
                file.write(array.tobytes())
            file.flush()
            os.fsync(file.fileno())
        if self._file is None:
            self._file = states.open("rb")
        with (self.folder / ENTRIES).open("ab") as file:
            file.truncate(file.tell() // ENTRY.itemsize * ENTRY.itemsize)
            file.write(entries.tobytes())
        for entry in entries:
            self._places[bytes(entry["key"])] = int(entry["start"]), int(entry["n_tokens"])

    def _room(self, wanted: int) -> int:
        """Bytes that may be added; older caches that nobody adds to go as far as it is wanted."""
        others = sorted(
            (path for path in self.root.iterdir() if path != self.folder and _is_ours(path)),
            key=_used,
        )
        room = self.budget_bytes - _size(self.folder) - sum(map(_size, others))
        for other in others:
            if room >= wanted:
                break
            with suppress(OSError):
                lock = locked(other / LOCK)
                if lock is not None:
                    room += _size(other)
                    shutil.rmtree(other, ignore_errors=True)
                    lock.close()
        return room

    def __del__(self) -> None:
        self.close()


def _key(text: Tokens) -> bytes:
    segments = [] if text.segments is None else [-1, *text.segments]
    numbers = np.array([*text.ids, *segments], np.int32)
    return hashlib.blake2b(numbers.tobytes(), digest_size=16).digest()


def _is_ours(folder: Path) -> bool:
    """Whether it is a cache of outputs, and nothing else of somebody."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return False
    return ABOUT in names and names <= {ABOUT, LOCK, STATES, ENTRIES, ENTRIES + ASIDE}


def _size(folder: Path) -> int:
    with suppress(OSError):  # it may go while we look
        return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return 0


def _used(folder: Path) -> float:
    with suppress(OSError):
        return (folder / ABOUT).stat().st_mtime
    return 0.0
