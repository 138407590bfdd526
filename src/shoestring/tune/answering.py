"""Answers of a ladder to texts or pairs of any number, without a dataset or a Trainer.

Where two texts are read apart, the backbone reads each different text of a call once, and a pair
costs the side network alone.

B texts or pairs, T tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shoestring.text.batches import batches_by_length
from shoestring.tune.cache import OutputCache
from shoestring.tune.examples import Collate, Examples, Reader
from shoestring.tune.heads import Read
from shoestring.tune.ladder import Ladder
from shoestring.tune.tokens import Tokens, tokenised

TEXTS_AT_ONCE = 4_096  # tokenised and read: bounds the memory of a call
TOKENS_AT_ONCE = 4_096  # in one forward


class Answers:
    """Asks a ladder.

    Parameters
    ----------
    ladder : Ladder
        In evaluation mode.
    cache_bytes : int
        For outputs of the backbone that are kept on the disk between runs.
    """

    def __init__(self, ladder: Ladder, cache_bytes: int = 0) -> None:
        self.ladder = ladder
        self._cache = OutputCache(ladder.backbone, ladder.layers, budget_bytes=cache_bytes)

    @torch.inference_mode()
    def logits(
        self, first: Sequence[str], second: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Logits of B texts or pairs: (B, C), (B,) for numbers."""
        parts = []
        for start in range(0, len(first), TEXTS_AT_ONCE):
            chosen = slice(start, start + TEXTS_AT_ONCE)
            parts.append(self._block(first[chosen], None if second is None else second[chosen]))
        n = self.ladder.settings.n_labels
        return np.concatenate(parts) if parts else np.empty((0, n)[: 1 + (n > 1)], np.float32)

    def _block(self, first: Sequence[str], second: Sequence[str] | None) -> NDArray[np.float32]:
        examples, source = self._examples(first, second)
        backbone, settings = self.ladder.backbone, self.ladder.settings
        collate = Collate(examples, settings.task, source, backbone.padding_id)
        lengths = [len(text.ids) for text in examples.first]
        if examples.second is not None:
            lengths = [n + len(b.ids) for n, b in zip(lengths, examples.second, strict=True)]
        logits: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(first)
        for rows in batches_by_length(lengths, TOKENS_AT_ONCE):
            batch = collate([{"rows": [row]} for row in rows])
            batch.pop("labels")
            found = self.ladder(**batch)["logits"].float().cpu().numpy()
            for row, answer in zip(rows, found, strict=True):
                logits[row] = answer
        return np.stack(logits)

    def _examples(
        self, first: Sequence[str], second: Sequence[str] | None
    ) -> tuple[Examples, Reader]:
        backbone, settings = self.ladder.backbone, self.ladder.settings
        n, units = settings.max_length, [[row] for row in range(len(first))]
        labels = [0.0 if settings.n_labels == 1 else 0] * len(first)
        if second is None or settings.pairs == "joint":
            return Examples(tokenised(backbone, first, second, n), None, labels, units), self._cache
        a, b = (_once(texts, backbone, n) for texts in (first, second))
        return Examples(a, b, labels, units), _Held(self._cache, [*a, *b])


class _Held:
    """Outputs of the texts of a call, each read once."""

    def __init__(self, cache: OutputCache, texts: Sequence[Tokens]) -> None:
        self._cache = cache
        different = list({tuple(text.ids): text for text in texts}.values())
        self._held: dict[tuple[int, ...], torch.Tensor] = {}
        for rows in batches_by_length([len(text.ids) for text in different], TOKENS_AT_ONCE):
            chosen = [different[row] for row in rows]
            outputs = cache.read(chosen).outputs
            for i, text in enumerate(chosen):
                self._held[tuple(text.ids)] = outputs[:, i, : len(text.ids)].clone()

    def read(self, texts: Sequence[Tokens]) -> Read:
        """As :meth:`OutputCache.read`."""
        return self._cache.padded([self._held[tuple(text.ids)] for text in texts], texts)


def _once(texts: Sequence[str], backbone: Any, max_length: int) -> list[Tokens]:
    different = list(dict.fromkeys(texts))
    found = dict(zip(different, tokenised(backbone, different, None, max_length), strict=True))
    return [found[text] for text in texts]
