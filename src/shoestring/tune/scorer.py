"""A tuned model as a pair scorer for search and match.

B pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import ParameterError
from shoestring.models.throughput import Throughput
from shoestring.tune.answering import Answers
from shoestring.tune.ladder import Ladder


class LadderScorer:
    """Scores of a folder that ``shoestring tune score`` or ``Ladder.save_pretrained`` wrote.

    Parameters
    ----------
    folder : str or Path
    backbone : optional
        Where the backbone is now, if it has moved.

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
        self.folder = Path(folder)
        self.ladder = Ladder.from_pretrained(folder, backbone)
        settings = self.ladder.settings
        if settings.pairs == "none" or settings.n_labels != 1:
            want = "a ladder that scores pairs (shoestring tune score)"
            raise ParameterError.of("folder", "LadderScorer", want, settings.task)
        self.max_length = settings.max_length
        self.name = f"ladder:{self.ladder.digest}:{self.ladder.backbone.digest}:{self.max_length}"
        self.throughput = Throughput()
        self._answers = Answers(self.ladder)

    @property
    def pairs_per_second(self) -> float:
        """Mean over every call so far; 0 before the first."""
        return self.throughput.pairs_per_second

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs (query, text): (B,) float32, higher is more alike."""
        pairs = list(pairs)
        queries, texts = [query for query, _ in pairs], [text for _, text in pairs]
        with self.throughput.timing(len(pairs)):
            scores: NDArray[np.float32] = self._answers.logits(queries, texts)
        return scores

    def __repr__(self) -> str:
        return f"LadderScorer({self.folder.name!r}, max_length={self.max_length})"
