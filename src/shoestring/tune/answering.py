"""Answers of a ladder to texts or pairs of any number, without a dataset or a Trainer.

Where two texts are read apart, the backbone reads each different text of a call once, and a pair
costs the side network alone; of late ladders not even that, but a product of their tokens' vectors.

B texts or pairs, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shoestring.models.frozen import BackboneOutputs
from shoestring.models.token_encoder import batches_by_length
from shoestring.tune.cache import OutputCache
from shoestring.tune.examples import Collate, Examples, Reader
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
    """

    def __init__(self, ladder: Ladder) -> None:
        self.ladder = ladder
        self._cache = OutputCache(ladder.backbone, ladder.layers)  # which keeps nothing

    @torch.inference_mode()
    def logits(
        self, first: Sequence[str], second: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Logits of B texts or pairs: (B, C), (B,) for numbers."""
        parts = []
        for start in range(0, len(first), TEXTS_AT_ONCE):
            chosen = slice(start, start + TEXTS_AT_ONCE)
            others = None if second is None else second[chosen]
            if others is not None and self.ladder.settings.pairs == "late":
                parts.append(self._late(first[chosen], others))
            else:
                parts.append(self._block(first[chosen], others))
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

    def _late(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
        """Scores of pairs, by vectors that are made once of each different text."""
        ladder = self.ladder
        texts = list(dict.fromkeys([*first, *second]))
        tokens = tokenised(ladder.backbone, texts, None, ladder.settings.max_length)
        held: dict[str, tuple[Tensor, Tensor]] = {}
        for rows in batches_by_length([len(text.ids) for text in tokens], TOKENS_AT_ONCE):
            read = self._cache.read([tokens[row] for row in rows])
            vectors, importance = ladder.late_vectors(read)
            for i, row in enumerate(rows):
                content = read.content[i]
                held[texts[row]] = vectors[i, content], importance[i, content]
        scores = np.empty(len(first), np.float32)
        lengths = [len(held[a][0]) + len(held[b][0]) for a, b in zip(first, second, strict=True)]
        for rows in batches_by_length(lengths, TOKENS_AT_ONCE):
            sides = [[held[texts[row]] for row in rows] for texts in (first, second)]
            (a, b), (content_a, content_b) = zip(
                *(_together([vectors for vectors, _ in side]) for side in sides), strict=True
            )
            importance, _ = _together([logits for _, logits in sides[0]])
            scores[rows] = ladder.head(a, b, content_a, content_b, importance)[:, 0].cpu()
        return scores

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
        self._held: dict[tuple[int, ...], Tensor] = {}
        for rows in batches_by_length([len(text.ids) for text in different], TOKENS_AT_ONCE):
            chosen = [different[row] for row in rows]
            outputs = cache.read(chosen).outputs
            for i, text in enumerate(chosen):
                self._held[tuple(text.ids)] = outputs[:, i, : len(text.ids)].clone()

    def read(self, texts: Sequence[Tokens]) -> BackboneOutputs:
        """As :meth:`OutputCache.read`."""
        return self._cache.padded([self._held[tuple(text.ids)] for text in texts], texts)


def _together(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of several texts, padded, and where they are."""
    lengths = torch.tensor([len(part) for part in parts], device=parts[0].device)
    rows = pad_sequence(parts, batch_first=True)
    if not rows.shape[1]:  # texts without tokens
        rows = rows.new_zeros((len(parts), 1, *rows.shape[2:]))
    return rows, torch.arange(rows.shape[1], device=lengths.device) < lengths.unsqueeze(1)


def _once(texts: Sequence[str], backbone: Any, max_length: int) -> list[Tokens]:
    different = list(dict.fromkeys(texts))
    found = dict(zip(different, tokenised(backbone, different, None, max_length), strict=True))
    return [found[text] for text in texts]
