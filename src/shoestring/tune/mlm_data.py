"""The text of masked-language modelling: token ids on the disk, blocks, masks.

The ids of all documents are one vector, with [SEP] behind each document. Block i is [CLS], ids
i (T - 2) to (i + 1) (T - 2) of that vector, [SEP] (RoBERTa's FULL-SENTENCES, arXiv 1907.11692), so
that nothing is padding; what is left at the end, less than a block, is not used.

15 % of the tokens that are not special are masked anew in each epoch: 80 % of those become [MASK],
10 % a random token, 10 % stay (BERT, arXiv 1810.04805). They are masked one by one, not by whole
words, by transformers' collator; its generator starts anew at each batch from the seed, the epoch
and the numbers of the blocks, so that training that was interrupted goes on with the same masks.

Letters: B blocks in a batch, T tokens of a block, V vocabulary.

Not covered: sampling languages; dropping duplicates; two processes on one folder.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from shoestring.artifacts import map_array, sync_folder, written_aside
from shoestring.errors import BudgetError, StorageError
from shoestring.jobs import Clock
from shoestring.text.documents import read_documents
from shoestring.tune.mlm_tokenizer import n_ids, special_ids

SAMPLE_BYTES = 32 << 20  # of text that a tokenizer is trained on
SAMPLE_CHARS = 1 << 20  # of a document
BATCH_CHARS = 1 << 20  # that become tokens at a time
PACKED = 3  # times smaller is a file that is packed
KEPT_EVERY_S, PROBE_S = 10.0, 2.0
IDS, PLACE = "ids.npy", "ids.json"
COUNTED = 1 << 24  # ids at a time


@dataclass(frozen=True)
class Corpus:
    """Files that are read as documents.

    Parameters
    ----------
    files : tuple of Path
    text : str
        Column of the text, for records.
    wrapped : bool
        In plain text a paragraph ends at an empty line.
    """

    files: tuple[Path, ...]
    text: str = "text"
    wrapped: bool = False

    @property
    def n_bytes(self) -> int:
        """Of the files, as they are on the disk."""
        return sum(file.stat().st_size for file in self.files)

    def documents(self, on_bytes: Callable[[int], object]) -> Iterator[str]:
        """The text of each document, paragraphs on lines of their own."""
        for file in self.files:
            reading = read_documents(file, self.text, wrapped=self.wrapped, on_bytes=on_bytes)
            with closing(reading) as documents:
                for paragraphs in documents:  # lone surrogates of JSON are no Unicode
                    yield "\n".join(paragraphs).encode("utf-8", "replace").decode("utf-8")

    def to_dict(self) -> dict[str, Any]:
        """What tells it from others: names, sizes and times of the files, how they are read."""
        stats = [(str(file.resolve()), file.stat()) for file in self.files]
        files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
        return {"files": files, "text": self.text, "wrapped": self.wrapped}


def sampled(corpus: Corpus, seed: int, clock: Clock, bar: Any) -> list[str]:
    """Documents, or pieces of large ones, drawn at random: about :data:`SAMPLE_BYTES` at the most.

    BudgetError if the minutes are not enough for reading.
    """
    packed = (file.stat().st_size for file in corpus.files if file.suffix in (".gz", ".zip"))
    share = SAMPLE_BYTES / max(1, corpus.n_bytes + (PACKED - 1) * sum(packed))
    draw, left = np.random.default_rng(seed).random, 2 * SAMPLE_BYTES
    found: list[str] = []
    first = ""
    read = Reading(corpus, clock, bar)
    for text in corpus.documents(read.more):
        for start in range(0, len(text), SAMPLE_CHARS):
            piece = text[start : start + SAMPLE_CHARS]
            first = first or piece
            if (share >= 1 or draw() < share) and left > 0:
                found.append(piece)
                left -= len(piece.encode())
        read.check_time("")
    return found or [first] * bool(first)


class Reading:
    """How much of a corpus has been read, and whether there is time for all of it."""

    def __init__(self, corpus: Corpus, clock: Clock, bar: Any) -> None:
        self.total, self.clock, self.bar = corpus.n_bytes, clock, bar
        self.n, self.began = 0, time.monotonic()

    def more(self, n_bytes: int) -> None:
        """So many bytes more have been read."""
        self.n += n_bytes
        self.bar.update(n_bytes)  # which does not count where it is not shown

    def check_time(self, kept: str) -> None:
        """BudgetError if the text cannot be read within the minutes; ``kept`` ends its message."""
        seconds, left_s = time.monotonic() - self.began, self.clock.left_s
        if (seconds < PROBE_S and left_s > 0) or not self.n:
            return
        needed = seconds * (self.total - self.n) / self.n
        if needed > left_s or left_s <= 0:
            fitting = min(self.total, self.n * (1 + max(0.0, left_s) / seconds))
            raise BudgetError(
                f"The minutes are enough to read {fitting / 1e6:,.1f} of {self.total / 1e6:,.1f} "
                "MB, without training. Pass more than "
                f"{(self.clock.used_s + needed) * 1.1 / 60:.2g} minutes, or less text{kept}."
            )


def write_ids(
    corpus: Corpus, tokenizer: Tokenizer, folder: Path, clock: Clock, bar: Any
) -> NDArray[Any]:
    """The ids of all documents in a .npy file; what was interrupted goes on.

    Parameters
    ----------
    corpus : Corpus
    tokenizer : tokenizers.Tokenizer
    folder : Path
        Where ``ids.npy`` is or will be.
    clock : Clock
    bar : tqdm
        Told of bytes.

    Returns
    -------
    uint16 or int32 array (n_tokens,)
        Mapped from the disk.

    Raises
    ------
    BudgetError
        If the minutes are not enough for all of the text.
    StorageError
        If the disk is full; what was written is kept.
    """
    path, place = folder / IDS, folder / PLACE
    if not path.exists():
        part = path.with_name(IDS + ".part")
        try:
            _append(corpus, tokenizer, part, place, clock, bar)
            part.replace(path)
            sync_folder(folder)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"{part} cannot be written: {error.strerror or error}. Free some space and run "
                "again; what was read is kept."
            ) from error
        with suppress(OSError):
            place.unlink()
    return map_array(path, _dtype(tokenizer).str, None, "Remove that folder and train again.")


def _append(
    corpus: Corpus, tokenizer: Tokenizer, part: Path, place: Path, clock: Clock, bar: Any
) -> None:
    done, n_tokens = json.loads(place.read_bytes()) if place.exists() and part.exists() else (0, 0)
    dtype, separator = _dtype(tokenizer), special_ids(tokenizer, part)["[SEP]"]
    tokenizer.encode_special_tokens = True  # a text with "[SEP]" in it has no separator there
    read, kept = Reading(corpus, clock, bar), time.monotonic()
    with part.open("r+b" if done else "w+b") as file:
        _write_header(file, dtype, n_tokens)
        file.truncate(file.tell() + n_tokens * dtype.itemsize)
        file.seek(0, os.SEEK_END)
        state = done, n_tokens
        try:
            for texts in _batches(corpus.documents(read.more), done):
                ids = _ids(tokenizer, texts, separator)
                file.write(np.asarray(ids, dtype).data)
                state = state[0] + len(texts), state[1] + len(ids)
                if time.monotonic() - kept > KEPT_EVERY_S:
                    kept = _keep(file, place, state)
                read.check_time("; what was read is kept")
        except (KeyboardInterrupt, BudgetError):
            _keep(file, place, state)
            raise
        _write_header(file, dtype, state[1])
        file.flush()
        os.fsync(file.fileno())


def _ids(tokenizer: Tokenizer, texts: list[str], separator: int) -> list[int]:
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)  # without offsets
    found: list[int] = []
    for encoding in encode(texts, add_special_tokens=False):
        if encoding.ids:
            found += encoding.ids
            found.append(separator)
    return found


def _dtype(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype("<u2" if n_ids(tokenizer) <= 1 << 16 else "<i4")


def _write_header(file: BinaryIO, dtype: np.dtype[Any], length: int) -> None:
    """Of a .npy file; numpy leaves room, so that it is as long for any length."""
    file.seek(0)
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)


def _keep(file: BinaryIO, place: Path, state: tuple[int, int]) -> float:
    """Note how many documents and tokens are on the disk."""
    file.flush()
    os.fsync(file.fileno())
    with written_aside(place) as noted:
        noted.write(json.dumps(state).encode())
    return time.monotonic()


def _batches(documents: Iterator[str], skipped: int) -> Iterator[list[str]]:
    batch: list[str] = []
    n_chars = 0
    for number, text in enumerate(documents):
        if number < skipped:
            continue
        batch.append(text)
        n_chars += len(text)
        if n_chars >= BATCH_CHARS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch


class Blocks:
    """Blocks of T tokens out of a vector of ids.

    Parameters
    ----------
    ids : (n_tokens,) array
    length : int
        T.
    first, last : int
        Ids of [CLS] and [SEP].
    """

    def __init__(self, ids: NDArray[Any], length: int, first: int, last: int) -> None:
        self.ids, self.length, self._ends = ids, length, (first, last)

    def __len__(self) -> int:
        return len(self.ids) // (self.length - 2)

    def rows(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Some of the blocks (B, T); n of them are numbered from 0, and again from n."""
        size = self.length - 2
        found = np.empty((len(numbers), self.length), np.int64)
        found[:, 0], found[:, -1] = self._ends
        for row, number in zip(found, numbers, strict=True):
            place = number % len(self)
            row[1:-1] = self.ids[place * size : (place + 1) * size]
        return found

    def counts(self, vocab_size: int) -> NDArray[np.int64]:
        """How often each token occurs (V,)."""
        found = np.zeros(vocab_size, np.int64)
        for start in range(0, len(self.ids), COUNTED):
            found += np.bincount(self.ids[start : start + COUNTED], minlength=vocab_size)
        return found


class Masking:
    """Numbers of blocks to a batch with masks.

    Parameters
    ----------
    blocks : Blocks
    tokenizer : transformers.PreTrainedTokenizerFast
    held_out : sequence of int
        Blocks whose masks are the same in every epoch.
    seed : int
    """

    def __init__(self, blocks: Blocks, tokenizer: Any, held_out: Sequence[int], seed: int) -> None:
        from transformers import DataCollatorForLanguageModeling

        self.blocks, self.epoch = blocks, 0
        self._held_out, self._seed = set(held_out), seed
        self._special = torch.tensor(tokenizer.all_special_ids)
        self._masking = DataCollatorForLanguageModeling(tokenizer, seed=seed)
        self._masking.create_rng()

    def __call__(self, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """Ids, and labels that are -100 where nothing is asked (B, T)."""
        numbers = [int(number) for number in numbers]
        epoch = 0 if numbers[0] % len(self.blocks) in self._held_out else self.epoch
        state = np.random.SeedSequence([self._seed, epoch, *numbers]).generate_state(1)
        self._masking.generator.manual_seed(int(state[0]))
        ids = torch.from_numpy(self.blocks.rows(numbers))
        special = torch.isin(ids, self._special)
        ids, labels = self._masking.torch_mask_tokens(ids, special_tokens_mask=special)
        return {"input_ids": ids, "labels": labels}


class Numbers(torch.utils.data.Dataset):  # type: ignore[misc]
    """Numbers of blocks as a dataset."""

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> int:
        return int(self.numbers[i])
