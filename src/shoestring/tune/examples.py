"""Labelled texts and pairs as a dataset, and batches of them for a model.

B texts or pairs in a batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from shoestring.models.frozen import BackboneOutputs
from shoestring.tune.tokens import Tokens, padded


@dataclass(frozen=True)
class Examples:
    """N texts or pairs with their labels; a dataset of the plain ``Trainer``.

    Parameters
    ----------
    first : list of Tokens
        The texts, or both texts of each pair in one.
    second : list of Tokens or None
        The second texts, where two are read apart.
    labels : list
        Numbers of classes, or numbers.
    units : list of lists of int
        What comes together: each example alone, or all pairs of one query.
    """

    first: list[Tokens]
    second: list[Tokens] | None
    labels: list[Any]
    units: list[list[int]]

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, i: int) -> dict[str, Any]:
        rows = self.units[i]
        longest = max((self.first[row].ids for row in rows), key=len)
        return {"rows": rows, "input_ids": longest}  # the ids: by length they are put together

    @cached_property
    def grouped(self) -> bool:
        """Whether pairs come by their queries."""
        return any(len(unit) > 1 for unit in self.units)

    def part(self, units: Sequence[int]) -> Examples:
        """Some of them."""
        return Examples(self.first, self.second, self.labels, [self.units[i] for i in units])

    def texts(self) -> list[Tokens]:
        """All that the backbone will read."""
        rows = [row for unit in self.units for row in unit]
        seconds = [] if self.second is None else [self.second[row] for row in rows]
        return [self.first[row] for row in rows] + seconds


class Reader(Protocol):
    """Gives the outputs of a frozen backbone."""

    def read(self, texts: Sequence[Tokens]) -> BackboneOutputs:
        """Of B texts, padded."""
        ...


class Collate:
    """Makes batches: outputs of the frozen backbone, or ids for one that is trained.

    Parameters
    ----------
    examples : Examples
    task : str
    source : OutputCache, or what reads like one, or None
        None: ids.
    padding_id : int
    """

    def __init__(
        self, examples: Examples, task: str, source: Reader | None, padding_id: int
    ) -> None:
        self.examples, self.task, self.source = examples, task, source
        self.padding_id = padding_id

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch for ``Ladder.forward``."""
        examples = self.examples
        rows = [row for item in items for row in item["rows"]]
        batch: dict[str, Any] = {"labels": self._labels(rows)}
        if examples.grouped:
            numbers = [n for n, item in enumerate(items) for _ in item["rows"]]
            batch["groups"] = torch.tensor(numbers)
        batch |= self._texts([examples.first[row] for row in rows], "")
        if examples.second is not None:
            batch |= self._texts([examples.second[row] for row in rows], "second_")
        return batch

    def _texts(self, texts: list[Tokens], name: str) -> dict[str, Any]:
        if self.source is not None:
            return {name.rstrip("_") or "first": self.source.read(texts)._asdict()}
        ids, mask, segments = padded(texts, self.padding_id)
        special = torch.ones_like(ids)
        for i, text in enumerate(texts):
            special[i, : len(text.ids)] = torch.tensor(text.special)
        found = {"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special}
        if texts[0].segments is not None:
            found["token_type_ids"] = segments
        return {name + key: value for key, value in found.items()}

    def _labels(self, rows: list[int]) -> Tensor:
        labels = [self.examples.labels[row] for row in rows]
        if self.task != "tokens":
            return torch.tensor(labels, dtype=None if self.task == "classify" else torch.float32)
        t = max(map(len, labels))
        return torch.tensor([[*row, *[-100] * (t - len(row))] for row in labels])
