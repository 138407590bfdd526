"""Labelled texts and pairs as token ids, as a dataset, and as batches for a model.

B texts or pairs in a batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from shoestring.models.frozen import FrozenBackbone
from shoestring.models.token_encoder import CHARACTERS_PER_TOKEN

if TYPE_CHECKING:
    from shoestring.tune.cache import OutputCache


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
    t = max(len(text.ids) for text in texts)
    ids = torch.full((len(texts), t), padding_id)
    mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, text in enumerate(texts):
        ids[i, : len(text.ids)] = torch.tensor(text.ids)
        mask[i, : len(text.ids)] = 1
        if text.segments is not None:
            segments[i, : len(text.ids)] = torch.tensor(text.segments)
    return ids, mask, segments


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
        batch: dict[str, Any] = {"labels": self._labels(rows)}
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
        special = torch.ones_like(ids)
        for i, text in enumerate(texts):
            special[i, : len(text.ids)] = torch.tensor(text.special)
        found = {"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special}
        return found if texts[0].segments is None else {**found, "token_type_ids": segments}

    def _labels(self, rows: list[int]) -> Tensor:
        labels = [self.examples.labels[row] for row in rows]
        return torch.tensor(labels, dtype=None if self.task == "classify" else torch.float32)
