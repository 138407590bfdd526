"""The outputs of a frozen backbone for known texts, computed once and kept in one file.

A backbone without dropout gives the same outputs every epoch, in every run. All texts are known
before training, so the file has a known layout: text after text in the order in which they are
computed, without padding, each bfloat16 (K, T, D). It is mapped into memory; beside it a JSON file
says how many texts are complete, written after their states are on the disk, so that a run that is
killed leaves a cache that the next one continues. The name is a digest of backbone, tokenizer,
layers and texts: outputs of another backbone cannot be taken for those of this one, and runs on the
same texts share a file. Two runs that fill one file at once write the same numbers.

Texts beyond the budget, or that the disk had no room for, are computed whenever they are read.

Not covered: removing files of old runs. The folder may be deleted at any time.

Letters: K outputs, B texts, T tokens, D width.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shoestring.artifacts import digest, write_json
from shoestring.errors import ShoestringWarning
from shoestring.models.frozen import BackboneOutputs, FrozenBackbone
from shoestring.models.token_encoder import batches_by_length
from shoestring.tune.examples import Tokens, padded

TOKENS_AT_ONCE = 512  # in one forward
NOTED_EVERY_S = 2.0  # what a killed run may lose


def default_folder() -> Path:
    """Where outputs are kept: SHOESTRING_OUTPUTS, or the user's cache folder."""
    named, users = os.environ.get("SHOESTRING_OUTPUTS"), os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    with suppress(RuntimeError):  # a user without a home
        return (Path(users) if users else Path.home() / ".cache") / "shoestring" / "outputs"
    return Path(tempfile.gettempdir()) / "shoestring-outputs"


class OutputCache:
    """Outputs of a backbone, by the token ids of a text.

    Of its ``layers``, from 0, and of the embedding. ``texts`` will be read again and again; any
    other text is computed when it is read. ``budget_bytes`` are the disk space for their outputs;
    None: in memory, without a file.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        layers: Sequence[int],
        texts: Sequence[Tokens] = (),
        budget_bytes: int | None = 0,
        tokens_at_once: int = TOKENS_AT_ONCE,
    ) -> None:
        self.backbone, self.layers = backbone, tuple(layers)
        self.shape = len(self.layers) + 1, backbone.width  # K, D
        self.bytes_per_token = 2 * self.shape[0] * self.shape[1]
        # the layout: each different text once, shortest first
        different = list({_key(text): text for text in texts}.values())
        lengths = [len(text.ids) for text in different]
        batches = list(batches_by_length(lengths, tokens_at_once))
        self._order = [different[row] for batch in batches for row in batch]
        self._batch_ends = np.cumsum([0, *map(len, batches)])
        sizes = [len(text.ids) * self.bytes_per_token for text in self._order]
        self._ends = np.cumsum([0, *sizes])
        self._rows = {_key(text): row for row, text in enumerate(self._order)}
        budget = self.n_bytes if budget_bytes is None else budget_bytes
        self.n_fitting = int(np.searchsorted(self._ends, budget, side="right")) - 1
        self.n_kept = 0  # texts that are complete, of the order in which they are computed
        self.computed = 0  # texts that were run through the backbone
        self.file: Path | None = None
        self._states: Any = None  # (bytes,) uint8, mapped or in memory
        if budget_bytes is None:
            self._states = np.empty(self.n_bytes, np.uint8)
        elif self.n_fitting:
            of = backbone.digest, str(self.layers), str(backbone.dtype), str(tokens_at_once)
            self.file = default_folder() / f"{digest(*of, *map(_key, self._order))}.states"
            self.n_kept = min(self._noted(), self.n_fitting)

    @property
    def n_bytes(self) -> int:
        """Size of the outputs of all texts."""
        return int(self._ends[-1])

    @property
    def missing_bytes(self) -> int:
        """Size of what :meth:`fill` computes."""
        return int(self._ends[self.n_fitting] - self._ends[self.n_kept])

    def byte_s(self, now: Callable[[], float]) -> float:
        """Seconds that :meth:`fill` takes a byte, measured on some of its batches."""
        n, ends = len(self._batch_ends) - 1, self._batch_ends
        batches = [self._order[ends[i] : ends[i + 1]] for i in (n // 6, n // 2, n - 1 - n // 6)]
        self._packed(batches[1])  # warms up
        began = now()
        n_bytes = sum(len(row) for texts in batches for row in self._packed(texts))
        return (now() - began) / n_bytes

    def __contains__(self, text: Tokens) -> bool:
        return self._rows.get(_key(text), self.n_kept) < self.n_kept

    def fill(self) -> Iterator[int]:
        """Compute what is not there, as far as the budget goes; yields numbers of texts done.

        A caller may stop at any point. ShoestringWarning if the disk is full.
        """
        noted_at = time.monotonic()
        try:
            for end in self._batch_ends[1:]:
                chosen = self._order[self.n_kept : min(end, self.n_fitting)]
                if not chosen:
                    continue
                self._keep(self._packed(chosen))
                self.n_kept += len(chosen)
                if time.monotonic() - noted_at > NOTED_EVERY_S:
                    self._note()
                    noted_at = time.monotonic()
                yield len(chosen)
        except OSError as error:
            warnings.warn(
                f"The outputs of the backbone cannot be kept in {default_folder()} "
                f"({error.strerror or error}); those that are not there are computed again in "
                "every epoch. Free some space, or name another folder (SHOESTRING_OUTPUTS).",
                ShoestringWarning,
                stacklevel=2,
            )
        finally:
            with suppress(OSError):
                self._note()

    def read(self, texts: Sequence[Tokens]) -> BackboneOutputs:
        """The outputs of B texts, padded: kept ones, or computed."""
        absent = [text for text in texts if text not in self]
        computed = iter(self._packed(absent) if absent else ())
        (k, d), t = self.shape, max(len(text.ids) for text in texts)
        together = np.zeros((k, len(texts), t, d), np.int16)  # bits of bfloat16: numpy has none
        mask, content = np.zeros((2, len(texts), t), np.bool_)
        for i, text in enumerate(texts):
            n = len(text.ids)
            states = self._kept(self._rows[_key(text)]) if text in self else next(computed)
            together[:, i, :n] = states.view(np.int16).reshape(k, n, d)
            mask[i, :n] = True
            content[i, :n] = np.logical_not(text.special)
        self._drop_pages()
        device = self.backbone.device
        return BackboneOutputs(
            torch.from_numpy(together).view(torch.bfloat16).to(device),
            *(torch.from_numpy(which).to(device) for which in (mask, content)),
        )

    def _packed(self, texts: Sequence[Tokens]) -> list[NDArray[np.uint8]]:
        """Run texts through the backbone: the bytes of each one's outputs, without padding."""
        outputs = self._computed(texts).bfloat16()
        rows = (outputs[:, i, : len(text.ids)].contiguous() for i, text in enumerate(texts))
        return [row.view(torch.uint8).numpy().ravel() for row in rows]

    def _computed(self, texts: Sequence[Tokens]) -> Tensor:
        self.computed += len(texts)
        batch = padded(texts, self.backbone.padding_id)
        ids, mask, segments = (x.to(self.backbone.device) for x in batch)
        apart = all(text.segments is None for text in texts)
        return self.backbone.outputs(ids, mask, self.layers, None if apart else segments).cpu()

    # ---- the file ----

    def _keep(self, arrays: Sequence[NDArray[np.uint8]]) -> None:
        start, data = int(self._ends[self.n_kept]), np.concatenate(arrays)
        if self.file is None:
            self._states[start : start + len(data)] = data
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.seek(start)  # over what a killed run has left
            file.write(data.data)

    def _note(self) -> None:
        """Put the states on the disk, then the number of texts."""
        if self.file is None or not self.n_kept:
            return
        with self.file.open("rb") as file:
            os.fsync(file.fileno())
        write_json(self.file.with_suffix(".json"), {"n_texts": self.n_kept})

    def _noted(self) -> int:
        """Texts that an earlier run has kept; 0 if that cannot be told."""
        assert self.file is not None
        try:
            n = int(json.loads(self.file.with_suffix(".json").read_bytes())["n_texts"])
            there = int(np.searchsorted(self._ends, self.file.stat().st_size, side="right")) - 1
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return max(0, min(n, there))

    def _kept(self, row: int) -> NDArray[np.uint8]:
        start, end = self._ends[row : row + 2]
        if self._states is None or end > len(self._states):
            assert self.file is not None
            self._states = np.memmap(self.file, np.uint8, "r")
        kept: NDArray[np.uint8] = self._states[start:end]
        return kept

    def _drop_pages(self) -> None:
        """Release the mapped pages: they stay in the system's cache, not in our memory."""
        mapped = getattr(self._states, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _key(text: Tokens) -> bytes:
    segments = [] if text.segments is None else [-1, *text.segments]
    numbers = np.array([*text.ids, *segments], np.int32)
    return hashlib.blake2b(numbers.tobytes(), digest_size=16).digest()
