"""An encoder of texts by word codes: trained on the very texts, or on others.

A code of a text is that of :meth:`shoestring.words.BinaryVectors.encode`: search keeps it packed,
a classifier takes its bits as a vector. What they need beside it is settled here: how to train on
few and short texts, and a folder of half the size, because codes of texts need the words'
activations as targets alone.

Windows are wide (:data:`WINDOW`): words of one subject should be alike, not only words that can
stand in each other's place. On four collections that found more (docs/log.md).

Not covered: training further as texts are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_items, checked_path, checked_seed, checked_texts
from shoestring.errors import ParameterError
from shoestring.overlap.codes import PackedArray
from shoestring.words.corpus import encode_corpus
from shoestring.words.table import CodeTable
from shoestring.words.train import train_table
from shoestring.words.vectors import BinaryVectors

N_NEURONS, N_ACTIVE = 400, 50  # 50 bytes a text
WINDOW = 31  # tokens, at most the longest sentence
FEW_TEXTS = 1_000  # in fewer every word counts, else those that occur twice


class TextCodes:
    """Texts to codes, by words with their activations.

    Examples
    --------
    >>> texts = ["red shoes and a red hat", "a hat of wool", "warm shoes of wool"] * 3
    >>> encoder = TextCodes.fit(texts)
    >>> encoder.codes(["a red hat", "?"]).shape, encoder.encode(["a red hat"]).shape
    ((2, 50), (1, 400))
    """

    def __init__(self, table: CodeTable) -> None:
        self.table = table

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int = 0) -> TextCodes:
        """Train word vectors on texts by the rule of counts.

        Some thousand texts take seconds. A FormatError or ParameterError says that there is too
        little to learn from: no word, no sentence of three words, no two words that stand together
        more often than by chance.
        """
        texts = checked_texts("texts", texts, "TextCodes.fit")
        checked_seed("seed", seed, "TextCodes.fit")
        documents = ({"text": text} for text in texts)  # a text that is a file's name stays a text
        least = 1 if len(texts) < FEW_TEXTS else 2
        corpus = encode_corpus(documents, min_count=least)
        longest = corpus.longest_sentence - 1 + corpus.longest_sentence % 2  # odd
        window = max(3, min(WINDOW, longest))
        vectors = BinaryVectors(N_NEURONS, N_ACTIVE, window, random_state=seed)
        return cls(train_table(corpus, vectors.get_params()).for_texts())

    def codes(self, texts: Sequence[str]) -> PackedArray:
        """Packed codes of texts: uint8 (N, ceil(K / 8)); without a known word there is no bit."""
        items = checked_items("texts", texts, "TextCodes", "a list of texts")
        return self.table.codes_of_texts(items)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Their bits as vectors (N, K) of unit length; zero where no word is known."""
        bits = self.table.unpacked(self.codes(texts)).astype(np.float32)
        return bits / np.float32(np.sqrt(self.table.n_active))

    @property
    def n_dims(self) -> int:
        """K, the bits of a code."""
        return self.table.n_neurons

    def save(self, folder: str | Path) -> None:
        """Save what codes of texts need, as :meth:`shoestring.words.BinaryVectors.save` does."""
        self.table.for_texts().save(checked_path("folder", folder, "TextCodes.save"), {})

    @classmethod
    def load(cls, folder: str | Path) -> TextCodes:
        """Open saved word vectors, as ``BinaryVectors.load``; they must have their activations."""
        table, _ = CodeTable.load(checked_path("folder", folder, "TextCodes.load"))
        if table.activations is None:
            hint = "Save them with activations=True, or train them again."
            want = "the folder of word vectors with their activations"
            raise ParameterError.of("folder", "TextCodes.load", want, str(folder), hint)
        return cls(table)
