"""Texts as the token ids that a backbone reads.

B texts, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from shoestring.models.frozen import FrozenBackbone
from shoestring.models.token_encoder import CHARACTERS_PER_TOKEN


class Tokens(NamedTuple):
    """One text, or two in one."""

    ids: list[int]
    special: list[int]  # 1 where a token is special
    segments: list[int] | None  # of two texts in one: 0 and 1
    cut: bool = False  # whether it was longer


def tokenised(
    backbone: FrozenBackbone, texts: Sequence[str], seconds: Sequence[str] | None, max_length: int
) -> list[Tokens]:
    """Texts, or pairs as one text, cut at ``max_length`` tokens and at what the backbone reads.

    A text without any token is the tokenizer's padding id, so that there is something to read.
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
        found.append(Tokens(ids, special, segments, bool(encoding.overflowing)))
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
