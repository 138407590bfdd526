"""Cross-encoders as pair scorers that answer logits.

sentence-transformers applies a sigmoid to a cross-encoder of one label by default. It keeps the
order but saturates: far from 0 many pairs share a score to the last digit, and what is learned from
scores (search/) needs their differences. The classes here answer the logits.

B pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.errors import MissingExtraError, ParameterError
from shoestring.match.interaction import CHARACTERS_PER_TOKEN
from shoestring.match.throughput import Throughput
from shoestring.match.weights import weights_digest


class CrossEncoderScorer:
    """Any sentence-transformers ``CrossEncoder`` folder of one label, answering logits.

    Parameters
    ----------
    folder : str or Path
        A model that ``CrossEncoder`` loads.
    max_length : int, optional
        Tokens of a pair that are read. Default: the model's own.
    batch_size : int
        Pairs in one forward.

    Raises
    ------
    ParameterError
        If the model has several labels.
    """

    def __init__(
        self, folder: str | Path, max_length: int | None = None, batch_size: int = 32
    ) -> None:
        try:
            from sentence_transformers import CrossEncoder
            from torch.nn import Identity
        except ImportError:
            raise MissingExtraError(
                "sentence-transformers", extra="torch", purpose="the cross-encoder"
            ) from None
        self.folder, self.batch_size = Path(folder), batch_size
        model = CrossEncoder(str(folder), local_files_only=True, activation_fn=Identity())
        if model.config.num_labels != 1:
            hint = "Train it with num_labels=1, or wrap one column of it with score_with(fn)."
            want, got = "a cross-encoder of one label", f"{model.config.num_labels} labels"
            raise ParameterError.of("folder", "CrossEncoderScorer", want, got, hint)
        if max_length is not None:
            model.max_length = max_length
        self._model: Any = model
        self.max_length: int = model.max_length or 512
        self.name = f"cross-encoder:{weights_digest(self.folder)}:{self.max_length}"
        self.throughput = Throughput()

    @property
    def pairs_per_second(self) -> float:
        """Mean over every call so far; 0 before the first."""
        return self.throughput.pairs_per_second

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs: (B,) float32 logits. Texts are cut at 20 characters a token."""
        n = self.max_length * CHARACTERS_PER_TOKEN
        with self.throughput.timing(len(pairs)):
            cut = [(query[:n], text[:n]) for query, text in pairs]
            logits = self._model.predict(cut, batch_size=self.batch_size, show_progress_bar=False)
        return np.asarray(logits, np.float32).reshape(len(cut))

    def __repr__(self) -> str:
        return f"CrossEncoderScorer({self.folder.name!r}, max_length={self.max_length})"


FastCrossEncoder = CrossEncoderScorer
