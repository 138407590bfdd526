"""The vocabulary of a matcher: special tokens, then symbols by descending count.

Numbering by count, ties by first occurrence, makes text and its pseudonymised form the same ids.
Rare symbols are [UNK], unless a pretrained model knows them: those come last, whether the texts
have them or not. [NO] and [YES] are what a model predicts at [CLS].

Letters: V tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from shoestring.match.symbols import split_symbols

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[NO]", "[YES]")
MIN_COUNT = 5


def count_symbols(texts: Iterable[str], unit: str) -> Counter[str]:
    """How often each symbol occurs, in the order of first occurrence."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split_symbols(text, unit))
    return counts


@dataclass(frozen=True)
class SymbolVocabulary:
    """Tokens in the order of their ids, of texts in a unit; see :mod:`shoestring.match.symbols`."""

    tokens: Sequence[str]
    unit: str

    @classmethod
    def of(
        cls, texts: Iterable[str], unit: str, pad_id: int = 0, tokenizer: Any = None
    ) -> SymbolVocabulary:
        """Of texts, and of a model that reads them by name; [PAD] gets the id that it has there."""
        special = list(SPECIAL)
        special[0], special[pad_id] = special[pad_id], special[0]
        ranked = count_symbols(texts, unit).most_common()  # ties stay in their order
        symbols = [symbol for symbol, n in ranked if n >= MIN_COUNT]
        pieces = {} if tokenizer is None else tokenizer.get_vocab()
        known = (p for p in sorted(pieces, key=pieces.__getitem__) if split_symbols(p, unit) == [p])
        return cls(list(dict.fromkeys([*special, *symbols, *known])), unit)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token."""
        return {token: number for number, token in enumerate(self.tokens)}

    @property
    def symbols(self) -> Sequence[str]:
        """Tokens that are not special."""
        return self.tokens[len(SPECIAL) :]

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of texts, without special tokens."""
        ids, unknown = self.ids, self.ids["[UNK]"]
        return [[ids.get(s, unknown) for s in split_symbols(text, self.unit)] for text in texts]

    def tokenizer(self) -> Any:
        """The same as a ``tokenizers.Tokenizer``, for a folder of transformers."""
        blanks = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
        pattern = r"\w+|[^\w\s]" if self.unit == "words" else r"\S+"
        pattern = "." if self.unit == "characters" else pattern
        tokenizer = Tokenizer(models.WordLevel(self.ids, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Sequence([*blanks, normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        tokenizer.add_special_tokens(sorted(SPECIAL, key=self.ids.__getitem__))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[(name, self.ids[name]) for name in ("[CLS]", "[SEP]")],
        )
        return tokenizer
