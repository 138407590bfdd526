r"""A text as symbols, the units that pseudonymised text has a number for; the vocabulary of them.

"characters": each character, a run of white space as one blank; for Chinese. "words": runs of
letters and digits, and every other character that is no white space, each; for English. "integers":
pseudonymised text, numbers between blanks. All are in lower case, as pretrained models read them.

A matcher has special tokens, then symbols by descending count: ties by first occurrence make text
and its pseudonymised form the same ids. Rare symbols are [UNK], unless a pretrained model knows
them: those come last, whether the texts have them or not. [NO] and [YES] are what a model predicts
at [CLS].

Not covered: what the white space between words was, capital letters, accents apart from letters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from shoestring.errors import ParameterError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[NO]", "[YES]")
MIN_COUNT = 5
UNITS = ("characters", "words", "integers")
_WORD = re.compile(r"\w+|[^\w\s]")
_INTEGER = re.compile(r"[0-9]+")
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PART = re.compile(r"\w+(?: +\w+)*")
_LETTERS = re.compile(r"[^\W\d_]+")


def split_symbols(text: str, unit: str) -> list[str]:
    """The symbols of a text; ParameterError if one of integers has something else.

    Examples
    --------
    >>> split_symbols("打开 WiFi", "characters")
    ['打', '开', ' ', 'w', 'i', 'f', 'i']
    >>> split_symbols("Don't panic!", "words")
    ['don', "'", 't', 'panic', '!']
    """
    if unit == "words":
        return _WORD.findall(text.lower())
    if unit == "characters":
        return list(" ".join(text.lower().split()))
    symbols = text.split()
    if others := [symbol for symbol in symbols if not _INTEGER.fullmatch(symbol)]:
        hint = "Pseudonymise all texts, or none."
        raise ParameterError.of("texts", "match", "all text or all integers", others[0], hint)
    return symbols


def with_parts(texts: Iterable[str]) -> list[str]:
    """Public texts, each once, then their parts between punctuation marks, each once.

    Long public text is compared with short secret ones, whose edges are like those of the parts.

    Examples
    --------
    >>> with_parts(["Yes, of course.", "Yes, of course."])
    ['Yes, of course.', 'Yes', 'of course']
    """
    whole = list(dict.fromkeys(texts))
    return whole + list(dict.fromkeys(part for text in whole for part in _PART.findall(text)))


def unit_of(texts: Sequence[str]) -> str:
    """The unit that fits texts: what the first thousand of them are."""
    sample = "\n".join(texts[:1_000])
    symbols = sample.split()
    if symbols and all(map(_INTEGER.fullmatch, symbols)):
        return "integers"
    others, n_ideographs = _IDEOGRAPH.subn(" ", sample)
    return "characters" if n_ideographs > len(_LETTERS.findall(others)) else "words"


def count_symbols(texts: Iterable[str], unit: str) -> Counter[str]:
    """How often each symbol occurs, in the order of first occurrence."""
    return Counter(symbol for text in texts for symbol in split_symbols(text, unit))


@dataclass(frozen=True)
class SymbolVocabulary:
    """Tokens in the order of their ids, of texts in a unit; such as "words"."""

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
        patterns = {"characters": ".", "words": r"\w+|[^\w\s]", "integers": r"\S+"}
        tokenizer = Tokenizer(models.WordLevel(self.ids, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Sequence([*blanks, normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Split(
            Regex(patterns[self.unit]), "removed", invert=True
        )
        tokenizer.add_special_tokens(sorted(SPECIAL, key=self.ids.__getitem__))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[(name, self.ids[name]) for name in ("[CLS]", "[SEP]")],
        )
        return tokenizer
