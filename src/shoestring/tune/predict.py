"""Answers of a ladder to any number of texts or pairs, and a ladder as a pair scorer for search.

The backbone reads each different text of a block once; where two texts are read apart, a pair costs
the side network alone.

B texts or pairs, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from shoestring.checks import checked_pairs, checked_path
from shoestring.errors import ParameterError
from shoestring.models.token_encoder import batches_by_length
from shoestring.text.records import Reading, read_texts
from shoestring.tune.cache import OutputCache
from shoestring.tune.examples import tokenised
from shoestring.tune.ladder import Ladder

TEXTS_AT_ONCE = 1_024  # in a block, whose outputs are held: 400 MB of MiniLM's at the most
TOKENS_AT_ONCE = 4_096  # in one forward
RECORDS_AT_ONCE = 1_024  # of a file


@torch.inference_mode()
def logits_of(
    ladder: Ladder, first: Sequence[str], second: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Logits of B texts or pairs: (B, C), (B,) for numbers; the ladder is in evaluation mode."""
    backbone, settings = ladder.backbone, ladder.settings
    logits = np.empty((len(first), settings.n_labels), np.float32)
    for start in range(0, len(first), TEXTS_AT_ONCE):
        block = [x[start : start + TEXTS_AT_ONCE] for x in (first, second) if x is not None]
        if settings.pairs == "joint" and len(block) == 2:
            sides = [tokenised(backbone, block[0], block[1], settings.max_length)]
        else:
            sides = [tokenised(backbone, texts, None, settings.max_length) for texts in block]
        every = [text for side in sides for text in side]
        outputs = OutputCache(backbone, ladder.layers, every, None, TOKENS_AT_ONCE)
        for _ in outputs.fill():
            pass
        lengths = [sum(len(text.ids) for text in row) for row in zip(*sides, strict=True)]
        for rows in batches_by_length(lengths, TOKENS_AT_ONCE):
            read = [outputs.read([side[row] for row in rows]) for side in sides]
            found = ladder(**dict(zip(("first", "second"), read, strict=False)))
            answers = found.logits.float().cpu().numpy().reshape(len(rows), -1)
            logits[start + np.array(rows)] = answers
    return logits if settings.n_labels > 1 else logits[:, 0]


class LadderScorer:
    """A pair scorer, from a folder of ``shoestring tune score`` or ``Ladder.save_pretrained``.

    Parameters
    ----------
    folder : str or Path
    backbone : str or Path, optional
        The backbone's folder, if it has moved.

    Attributes
    ----------
    name : str
        Kind, digest of side network and backbone, and ``max_length``.

    Raises
    ------
    ParameterError
        If the folder's task is not to score or compare pairs.
    FormatError, IntegrityError
        As :meth:`Ladder.from_pretrained`.
    """

    def __init__(self, folder: str | Path, backbone: Any = None) -> None:
        self.folder = checked_path("folder", folder, "LadderScorer")
        self.ladder = Ladder.from_pretrained(folder, backbone)
        settings = self.ladder.settings
        if settings.pairs == "none" or settings.n_labels != 1:
            want = "a ladder that scores pairs (shoestring tune score)"
            raise ParameterError.of("folder", "LadderScorer", want, settings.task)
        self.max_length = settings.max_length
        self.name = f"ladder:{self.ladder.digest}:{self.ladder.backbone.digest}:{self.max_length}"

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs (query, text): (B,) float32, higher is more alike.

        ParameterError if they are no pairs of str; the message names the first that is none.
        """
        pairs = checked_pairs("pairs", pairs, "LadderScorer.predict")
        queries, texts = [query for query, _ in pairs], [text for _, text in pairs]
        scores: NDArray[np.float32] = logits_of(self.ladder, queries, texts)
        return scores

    def __repr__(self) -> str:
        return f"LadderScorer({self.folder.name!r}, max_length={self.max_length})"


def predictions(
    folder: Path, source: str, *, second: str | None, **reading: Unpack[Reading]
) -> Iterator[dict[str, Any]]:
    """The answers of a tuned model to the texts or pairs of a file, one after the other."""
    ladder = Ladder.from_pretrained(folder)
    config = ladder.settings
    if (config.pairs == "none") != (second is None):
        want = "left out for a model of single texts" if second else "the column of second texts"
        raise ParameterError.of("second", "tune predict", want, second)
    records = read_texts(source, second=second, **reading)
    while batch := list(islice(records, RECORDS_AT_ONCE)):
        others = None if second is None else [str(other) for _, other in batch]
        logits = logits_of(ladder, [record.text for record, _ in batch], others)
        for (record, _), row in zip(batch, logits, strict=True):
            if config.n_labels == 1:
                yield {"id": record.id, "score": float(row)}
                continue
            p = softmax(row.astype(np.float64))
            best = int(p.argmax())
            label = config.labels[best] if config.labels else str(best)
            yield {"id": record.id, "label": label, "probability": round(float(p[best]), 6)}
