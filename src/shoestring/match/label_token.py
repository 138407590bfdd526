"""One objective for labels and text: a masked-language model that predicts the label at [CLS].

Su (kexue.fm/archives/8213): the input is [CLS] a [SEP] b [SEP], the two swapped in half of the
cases; of the tokens 12 % become [MASK], 1.5 % stay and 1.5 % become a random
symbol, and all these are predicted; at [CLS] it is [YES] or [NO], or nothing for a pair without a
label. The loss is the mean cross-entropy of all that is predicted. Optional masks of n-grams
(team daniellibin, GAIIC 2021): spans of 1, 2, 3 symbols in 70, 20, 10 % of the cases, no 3 in
texts under 7 and no 2 under 4 symbols, the symbol after a span never masked.

Segment ids are all 0 in the post. Here 1 says that a symbol stands in both texts (the exact match
of Chen et al. 2017, arXiv 1704.00051), where the family has segments: from that a small model
learns to compare two texts with a few thousand labels. Other families go without.

Pairs with a label come several times in an epoch where there are few of them (:mod:`matcher`);
not so in the post, where one label in 21 pairs is one part in 80 of the loss.

A score is the logit of [YES] less that of [NO], the mean over both orders.

Letters: B pairs in a batch, T tokens, M predicted ones, V vocabulary.

Not covered: adversarial training, folds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from shoestring.match.symbols import SPECIAL
from shoestring.tune.mlm import LogitsOfSome
from shoestring.types import FloatArray

MASKED, KEPT, PREDICTED = 0.12, 0.135, 0.15  # cumulative shares
SPANS, CUT_OFFS = (0.7, 0.2, 0.1), (0, 4, 7)  # of n-grams; shortest text of each
NOTHING = -100  # the target of a token that is not predicted


class LabelToken(LogitsOfSome):
    """Mixed into a masked-language model that is trained on batches of :class:`JointBatches`."""

    config: Any
    answers = (SPECIAL.index("[NO]"), SPECIAL.index("[YES]"))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The loss of a batch, with scores (B,) in evaluation, where only [CLS] is predicted."""
        predicted = labels != NOTHING  # (B, T)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None and getattr(self.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = token_type_ids
        logits = self.logits_at(predicted, **inputs)  # (M, V)
        each = functional.cross_entropy(logits, labels[predicted], reduction="sum")
        loss = {"loss": each / max(1, len(logits))}
        no, yes = self.answers
        return loss if self.training else loss | {"logits": logits[:, yes] - logits[:, no]}  # type: ignore[attr-defined]


def with_label_token(model: Any) -> Any:
    """A masked-language model of transformers with this objective; it is saved as it was."""
    family = type(model)
    if not isinstance(model, LabelToken):
        model.__class__ = type(family.__name__, (LabelToken, family), {})
    return model


def joined(a: list[int], b: list[int], ids: Mapping[str, int], max_length: int) -> list[int]:
    """[CLS] a [SEP] b [SEP], the longer text cut so that it has at most ``max_length`` tokens."""
    room = max_length - 3
    n_a = min(len(a), max(room // 2, room - len(b)))
    end = [ids["[SEP]"]]
    return [ids["[CLS]"], *a[:n_a], *end, *b[: room - n_a], *end]


def mask_draws(n: int, rng: np.random.Generator, ngrams: bool) -> FloatArray:
    """A number in [0, 1) for each of the n symbols of a text, to be compared with the shares."""
    if not ngrams:
        return rng.random(n)
    shares = np.array([s for s, least in zip(SPANS, CUT_OFFS, strict=True) if n >= least])
    sizes = np.arange(1, len(shares) + 1)
    # A span and the symbol after it are a renewal: this rate of starts gives the share predicted.
    rate = PREDICTED / (1 - PREDICTED) / float(sizes @ shares / shares.sum())
    draws, at = np.ones(n), 0
    while at < n:
        if rng.random() < rate:
            size = int(rng.choice(sizes, p=shares / shares.sum()))
            draws[at : at + size] = PREDICTED * rng.random()
            at += size
        at += 1
    return draws


class JointBatches:
    """Numbers of pairs to a batch: swapped and masked anew in each ``epoch``, which is set outside.

    Pairs that are ``held_out`` are as they are, and only their label is predicted. The labels are
    1, 0 and NaN for none.
    """

    def __init__(
        self, a: Sequence[list[int]], b: Sequence[list[int]], labels: FloatArray,
        ids: Mapping[str, int], max_length: int, *, held_out: Collection[int] = (), seed: int = 0,
        ngrams: bool = False,
    ) -> None:  # fmt: skip
        self.a, self.b, self.labels, self.ids, self.max_length = a, b, labels, ids, max_length
        self.held_out, self.seed, self.ngrams, self.epoch = held_out, seed, ngrams, 0

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each pair."""
        pairs = zip(self.a, self.b, strict=True)
        return [min(len(a) + len(b) + 3, self.max_length) for a, b in pairs]

    def __call__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Ids, mask and segments, and labels that are -100 where nothing is predicted (B, T)."""
        trains = numbers[0] not in self.held_out
        rng = np.random.default_rng([self.seed, self.epoch, *numbers])
        rows, targets, padding = [], [], self.ids["[PAD]"]
        for number in numbers:
            a, b = self.a[number], self.b[number]
            if trains and rng.random() < 0.5:
                a, b = b, a
            row = joined(a, b, self.ids, self.max_length)
            row, target = self._masked(row, rng) if trains else (row, [NOTHING] * len(row))
            if not np.isnan(self.labels[number]):
                target[0] = LabelToken.answers[int(self.labels[number])]
            rows.append(torch.tensor(row))
            targets.append(torch.tensor(target))
        ids, labels = pad_sequence(rows, True, padding), pad_sequence(targets, True, NOTHING)
        segments = pad_sequence([torch.tensor(self.segments(row.tolist())) for row in rows], True)
        found = {"input_ids": ids, "attention_mask": (ids != padding).long()}
        return found | {"token_type_ids": segments, "labels": labels}

    def segments(self, row: list[int]) -> list[int]:
        """1 for each symbol that stands in both texts of a row, 0 for all others."""
        end = row.index(self.ids["[SEP]"])
        both = {*row[1:end]} & {*row[end + 1 : -1]} - {self.ids["[MASK]"], self.ids["[UNK]"]}
        return [int(i in both) for i in row]

    def _masked(self, row: list[int], rng: np.random.Generator) -> tuple[list[int], list[int]]:
        ids, end = np.array(row), row.index(self.ids["[SEP]"])
        sides = (slice(1, end), slice(end + 1, len(row) - 1))
        draws = np.ones(len(row))
        for side in sides:
            draws[side] = mask_draws(side.stop - side.start, rng, self.ngrams)
        targets = np.where(draws < PREDICTED, ids, NOTHING)
        if len(self.ids) > len(SPECIAL):  # a random symbol is a real one
            symbols = rng.integers(len(SPECIAL), len(self.ids), len(row))
            ids = np.where((draws >= KEPT) & (draws < PREDICTED), symbols, ids)
        return np.where(draws < MASKED, self.ids["[MASK]"], ids).tolist(), targets.tolist()
