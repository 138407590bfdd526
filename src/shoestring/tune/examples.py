"""Labelled texts and pairs as examples: labels as numbers, token ids, the split, batches.

B texts or pairs in a batch, T tokens.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.models import unknown_share
from shoestring.models.backbone import MAX_UNKNOWN, shown_name
from shoestring.models.frozen import FrozenBackbone
from shoestring.models.token_encoder import CHARACTERS_PER_TOKEN, SPLIT, note_cut
from shoestring.text.records import Labelled
from shoestring.tune.config import LadderConfig

if TYPE_CHECKING:
    from shoestring.tune.cache import OutputCache

HELD_OUT, MOST_HELD_OUT = 0.1, 2_000
LONGER = "Tune with a larger max_length (--max-length) if what tells them apart comes later."


# ---- labels ----


def label_numbers(
    config: LadderConfig, column: str, *files: tuple[str, Labelled]
) -> tuple[LadderConfig, list[Any]]:
    """Turn the labels of one or two files into numbers; the config gets its classes.

    The files are names with their content: the one to train on, and the one that is held out. The
    config's task says what labels are: names of classes, or numbers. FormatError or ParameterError
    if a label is no number, out of range or of an unknown class; if all are the same.
    """
    (name, data), *others = files
    if config.task in ("regress", "score"):
        parts = [_numbers(config.task, column, *file) for file in files]
        if min(parts[0]) == max(parts[0]):
            raise FormatError(
                f"all labels are {parts[0][0]:g}: there is nothing to learn. Add others.", file=name
            )
        return config, [number for part in parts for number in part]
    classes = sorted(set(data.labels))
    if len(classes) < 2:
        raise ParameterError.of("label", "tune", "a column of at least two classes", classes)
    places = {label: place for place, label in enumerate(classes)}
    for other_name, other in others:
        for number, label in enumerate(other.labels, start=1):
            if label not in places:
                raise FormatError(
                    f"record {number} has the held-out label {label!r}, which is not among the "
                    f"{len(classes)} that are trained on. Add texts of it to {name}, or leave it "
                    "out.",
                    file=other_name,
                )
    config = replace(config, n_labels=len(classes), labels=tuple(classes))
    return config, [places[label] for _, part in files for label in part.labels]


def _numbers(task: str, column: str, name: str, data: Labelled) -> list[float]:
    want, hint = "a finite number", "Tune with classify for names."
    if task == "score":
        want, hint = "a number from 0 to 1", "Divide them, or pass --task regress."
    numbers = []
    for number, label in enumerate(data.labels, start=1):
        value = math.nan
        with suppress(ValueError):
            value = float(label)
        if not (0 <= value <= 1 if task == "score" else math.isfinite(value)):
            where = f"record {number} has {label!r} in the column {column!r}"
            raise FormatError(f"{where}; it must be {want}. {hint}", file=name)
        numbers.append(value)
    return numbers


# ---- token ids ----


class Tokens(NamedTuple):
    """One text, or two in one."""

    ids: list[int]
    special: list[int]  # 1 where a token is special
    segments: list[int] | None  # of two texts in one: 0 and 1


def tokenised(
    backbone: FrozenBackbone, texts: Sequence[str], seconds: Sequence[str] | None, max_length: int
) -> list[Tokens]:
    """Texts, or pairs as one text, cut at ``max_length`` tokens and at the backbone's own limit.

    A text without any token becomes the padding id, so that there is something to read.
    """
    n = min(max_length, backbone.max_length)
    tokenizer = backbone.tokenizer
    tokenizer.enable_truncation(n)
    cut = n * CHARACTERS_PER_TOKEN
    try:
        if seconds is None:
            encodings = tokenizer.encode_batch([text[:cut] for text in texts])
        else:
            pairs = zip(texts, seconds, strict=True)
            encodings = tokenizer.encode_batch([(a[:cut], b[:cut]) for a, b in pairs])
    finally:
        tokenizer.no_truncation()
    found = []
    for encoding in encodings:
        ids, special = list(encoding.ids), list(encoding.special_tokens_mask)
        segments = None if seconds is None else list(encoding.type_ids)
        if not ids:
            ids, special, segments = [backbone.padding_id], [1], None if segments is None else [0]
        found.append(Tokens(ids, special, segments))
    return found


def padded(texts: Sequence[Tokens], padding_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and segments, int64 (B, T) each."""
    ids = _padded([text.ids for text in texts], padding_id)
    mask = _padded([[1] * len(text.ids) for text in texts], 0)
    segments = _padded([text.segments or [0] * len(text.ids) for text in texts], 0)
    return ids, mask, segments


def _padded(rows: Sequence[list[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


@dataclass(frozen=True)
class Examples:
    """N examples, a dataset of the plain ``Trainer``: example i is a list of row numbers."""

    first: list[Tokens]  # the text of each row, or both texts of a pair in one
    second: list[Tokens] | None  # the second texts, where both are read apart
    labels: list[Any]  # of each row: the number of its class, or a number
    groups: list[list[int]]  # rows of each example: one row, or all pairs of one query

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, i: int) -> list[int]:
        return self.groups[i]

    @cached_property
    def are_lists(self) -> bool:
        """Whether an example has several pairs, of one query."""
        return any(len(group) > 1 for group in self.groups)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each example's longest text."""
        return [max(len(self.first[row].ids) for row in group) for group in self.groups]

    def part(self, chosen: Sequence[int]) -> Examples:
        """Some of them."""
        return replace(self, groups=[self.groups[i] for i in chosen])

    def texts(self) -> list[Tokens]:
        """All that the backbone will read."""
        rows = [row for group in self.groups for row in group]
        seconds = [] if self.second is None else [self.second[row] for row in rows]
        return [self.first[row] for row in rows] + seconds


def examples_of(
    data: Labelled, n_train: int, labels: Sequence[Any], backbone: FrozenBackbone,
    config: LadderConfig,
) -> Examples:  # fmt: skip
    """Tokenise texts or pairs; ShoestringWarning for what the backbone does not know.

    The first ``n_train`` are trained on; others are those of a file that is held out.
    """
    n = config.max_length
    if data.seconds is not None and config.pairs in ("joint", "none"):
        first, second = tokenised(backbone, data.texts, data.seconds, n), None
    else:
        first = tokenised(backbone, data.texts, None, n)
        second = None if data.seconds is None else tokenised(backbone, data.seconds, None, n)
    most = min(n, backbone.max_length)
    n_full = sum(len(text.ids) == most for text in (*first, *(second or [])))
    name = shown_name(backbone.folder) if backbone.folder else "the backbone"
    hint = SPLIT if most == backbone.max_length else LONGER
    note_cut(n_full, len(first) + len(second or []), name, most, hint)
    share = unknown_share([*data.texts, *(data.seconds or [])], backbone.folder)
    if share > MAX_UNKNOWN:
        warnings.warn(
            f"{backbone.name} does not know {share:.0%} of these texts. Name a backbone that does "
            "(--backbone FOLDER), or make one from your own texts (shoestring tune mlm).",
            ShoestringWarning,
            stacklevel=3,
        )
    # pairs of a query are one example where most queries have right and wrong texts
    parts = [_queries(data.texts, part) for part in (range(n_train), range(n_train, len(data)))]
    mixed = [query for query in parts[0] if 0 < sum(labels[row] > 0 for row in query) < len(query)]
    is_of_lists = config.task == "score" and data.seconds is not None
    if is_of_lists and sum(map(len, mixed)) > 0.5 * n_train:
        return Examples(first, second, list(labels), [query for part in parts for query in part])
    return Examples(first, second, list(labels), [[row] for row in range(len(data))])


def _queries(queries: Sequence[str], rows: Sequence[int]) -> list[list[int]]:
    """Rows of the same first text together."""
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(queries[row], []).append(row)
    return list(found.values())


def split(
    examples: Examples, n_train: int, has_held_out: bool, seed: int
) -> tuple[Examples, Examples]:
    """Training and held-out examples: those of the second file, or a tenth at random."""
    n = len(examples)
    if has_held_out:
        train = [i for i in range(n) if examples.groups[i][0] < n_train]
        return examples.part(train), _by_length(examples.part(range(len(train), n)))
    if n < 2:
        what = "queries" if examples.are_lists else "examples"
        raise ParameterError.of("source", "tune", f"a file of at least two {what}", n)
    order = np.random.default_rng(seed).permutation(n).tolist()
    n_held_out = max(1, min(MOST_HELD_OUT, int(HELD_OUT * n)))
    return examples.part(sorted(order[n_held_out:])), _by_length(examples.part(order[:n_held_out]))


def drawn(examples: Examples, share: float, seed: int) -> Examples:
    """A random share of them, at least one, in their order."""
    n = len(examples)
    order = np.random.default_rng(seed).permutation(n).tolist()
    return examples.part(sorted(order[: max(1, int(share * n))]))


def _by_length(examples: Examples) -> Examples:
    """Batches in this order have little padding."""
    return examples.part(sorted(range(len(examples)), key=examples.lengths.__getitem__))


# ---- batches ----


@dataclass(frozen=True)
class Collate:
    """Makes batches: outputs of the frozen backbone, or ids for one that is trained."""

    examples: Examples
    task: str
    source: OutputCache | None  # None: ids
    padding_id: int = 0

    def __call__(self, items: Sequence[list[int]]) -> dict[str, Any]:
        """A batch for ``Ladder.forward``, of the rows of some examples."""
        examples = self.examples
        rows = [row for group in items for row in group]
        dtype = None if self.task == "classify" else torch.float32
        labels = torch.tensor([examples.labels[row] for row in rows], dtype=dtype)
        batch: dict[str, Any] = {"labels": labels}
        if examples.are_lists:
            numbers = [n for n, group in enumerate(items) for _ in group]
            batch["groups"] = torch.tensor(numbers)
        for name, texts in (("first", examples.first), ("second", examples.second)):
            if texts is None:
                continue
            chosen = [texts[row] for row in rows]
            if self.source is not None:
                batch[name] = self.source.read(chosen)._asdict()  # a dict: the Trainer moves it
            else:
                prefix = "" if name == "first" else "second_"
                batch |= {prefix + key: value for key, value in self._ids(chosen).items()}
        return batch

    def _ids(self, texts: list[Tokens]) -> dict[str, Tensor]:
        ids, mask, segments = padded(texts, self.padding_id)
        special = _padded([text.special for text in texts], 1)
        found = {"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special}
        return found if texts[0].segments is None else {**found, "token_type_ids": segments}
