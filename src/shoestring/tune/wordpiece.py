"""A WordPiece tokenizer for one's own text: the same text gives the same tokenizer.

The trainer of ``tokenizers`` numbers the letters inside words in the random order of a hash table
and breaks ties between merges by these numbers; here they are given to it in sorted order.

Not covered: byte-level and unigram tokenizers.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import BertWordPieceTokenizer, Tokenizer

from shoestring.errors import ParameterError

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""BERT's special tokens, under the names that transformers has for them."""

SPECIAL_IDS = {name: number for number, name in enumerate(SPECIAL.values())}

COVERAGE = 0.9995  # of the characters; rarer ones are unknown, as for SentencePiece


def train_tokenizer(texts: Sequence[str], vocabulary: int, *, lower_case: bool) -> Tokenizer:
    """Train at most so many pieces, special ones included, with BERT's normaliser; accents stay."""
    rules = {"strip_accents": False, "lowercase": lower_case}
    tokenizer = BertWordPieceTokenizer(**rules)
    alphabet, inner = _alphabet(texts, tokenizer.normalizer)
    tokenizer.train_from_iterator(
        texts,
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[*SPECIAL.values(), *(f"##{char}" for char in inner)],
        show_progress=False,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
    )
    pieces = tokenizer.get_vocab()
    if len(pieces) > vocabulary:
        want = f"at least {len(pieces):,}, the characters of this text"
        raise ParameterError.of("vocabulary", "tune mlm", want, vocabulary)
    # Build it again: the letters inside words are not special tokens.
    return Tokenizer.from_str(BertWordPieceTokenizer(pieces, **rules).to_str())


def _alphabet(texts: Sequence[str], rules: Any) -> tuple[list[str], list[str]]:
    """The most frequent characters, nearly all of the text; those of them inside words."""
    counts: Counter[str] = Counter()
    pairs: set[tuple[str, str]] = set()
    for text in texts:
        normal = rules.normalize_str(text)
        counts.update(normal)
        pairs.update(pairwise(normal))
    for char in [char for char in counts if char.isspace()]:
        del counts[char]
    ranked = sorted(counts, key=lambda char: (-counts[char], char))
    covered = np.cumsum([counts[char] for char in ranked])
    alphabet = ranked[: 1 + int(np.searchsorted(covered, COVERAGE * counts.total()))]
    # BERT's pre-tokeniser makes each punctuation mark a word of its own
    in_words = {
        char
        for char in counts
        if char not in string.punctuation and not unicodedata.category(char).startswith("P")
    }
    inner = {b for a, b in pairs if a in in_words and b in in_words}
    return alphabet, sorted(inner & set(alphabet))
