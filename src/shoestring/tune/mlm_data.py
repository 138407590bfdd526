"""The text of masked-language modelling: tokenizer, token ids on the disk, blocks, masks.

The same text gives the same WordPiece tokenizer: the trainer of ``tokenizers`` numbers the letters
inside words in the random order of a hash table and breaks ties between merges by these numbers;
here they are given to it in sorted order.

The ids of all documents are one vector, with [SEP] behind each document. Block i is [CLS], ids
i (T - 2) to (i + 1) (T - 2) of that vector, [SEP] (RoBERTa's FULL-SENTENCES, arXiv 1907.11692), so
that nothing is padding; what is left at the end, less than a block, is not used.

15 % of the tokens that are not special are masked anew in each epoch: 80 % of those become [MASK],
10 % a random token, 10 % stay (BERT, arXiv 1810.04805). They are masked one by one, not by whole
words, by transformers' collator. Its generator is seeded for each batch by the seed, the epoch and
the numbers of the blocks, so that a resumed training has the same masks.

Letters: B blocks in a batch, T tokens of a block, V vocabulary.

Not covered: byte-level and unigram tokenizers; sampling languages; dropping duplicates.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import BertWordPieceTokenizer, Tokenizer

from shoestring.artifacts import write_npy_header, written_aside
from shoestring.errors import ParameterError
from shoestring.jobs import Clock
from shoestring.text.corpus import Corpus, affordable_fraction, drawn, note_share
from shoestring.text.documents import Document

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
SAMPLE_BYTES = 32 << 20  # of text that a tokenizer is trained on
SAMPLE_CHARS = 1 << 20  # longest piece of a document in the sample
FOR_READING = 0.5  # of the time left
LEAST_TIMED = 1 << 21  # bytes; less text is read at once


def sample_texts(corpus: Corpus, seed: int, clock: Clock, *, progress: bool = True) -> list[str]:
    """Draw documents, or pieces of long ones, at random: about :data:`SAMPLE_BYTES` of text.

    All of the corpus is read for it; BudgetError if the time left does not suffice.
    """
    if corpus.text_bytes > LEAST_TIMED:
        affordable_fraction(corpus, lambda document: None, clock)
    pieces = (
        text[start : start + SAMPLE_CHARS]
        for document in corpus.read("vocabulary", progress=progress)
        for text in ["\n".join(_paragraphs(document))]
        for start in range(0, len(text), SAMPLE_CHARS)
    )
    first = next(pieces, None)
    if first is None:
        want = "files with text in them"
        raise ParameterError.of("corpus", "tune mlm", want, str(corpus.files[0]))
    found, left = [], 2 * SAMPLE_BYTES
    for piece in drawn(chain([first], pieces), SAMPLE_BYTES / max(1, corpus.text_bytes), seed):
        found.append(piece)
        left -= len(piece.encode())
        if left <= 0:
            break
    return found or [first]


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


def write_ids(
    corpus: Corpus, tokenizer: Tokenizer, path: Path, clock: Clock, seed: int = 0, *,
    progress: bool = True,
) -> None:  # fmt: skip
    """Write the ids of all documents into a .npy file, whole or not at all.

    Where a half of the time left is too short for that, those of a random share, with a note.
    """
    separator = SPECIAL_IDS["[SEP]"]
    tokenizer.encode_special_tokens = True  # a text with "[SEP]" in it has no separator there
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)  # without offsets
    fraction = 1.0
    if corpus.text_bytes > LEAST_TIMED:
        fraction = affordable_fraction(corpus, lambda d: encode(_paragraphs(d)), clock, FOR_READING)
    if fraction < 1:
        note_share(fraction, "the documents were read")
    n_tokens = 0
    with written_aside(path) as file:
        write_npy_header(file, np.int32, (0,))
        documents = drawn(corpus.read("tokens", progress=progress), fraction, seed)
        for document in documents:
            encodings = encode(_paragraphs(document), add_special_tokens=False)
            found = [number for encoding in encodings for number in encoding.ids]
            if found:
                file.write(np.array([*found, separator], np.int32).data)
                n_tokens += len(found) + 1
        file.seek(0)
        write_npy_header(file, np.int32, (n_tokens,))


def _paragraphs(document: Document) -> list[str]:
    """Lone surrogates of JSON, which are no Unicode, are replaced."""
    return [text.encode("utf-8", "replace").decode("utf-8") for text in document]


class Blocks:
    """Blocks of T tokens out of a vector of ids (n_tokens,), between [CLS] and [SEP]."""

    def __init__(self, ids: NDArray[Any], length: int) -> None:
        self.ids, self.length = ids, length

    def __len__(self) -> int:
        return len(self.ids) // (self.length - 2)

    def rows(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Some of the blocks (B, T); n blocks are numbered from 0, and again from n."""
        size = self.length - 2
        found = np.empty((len(numbers), self.length), np.int64)
        found[:, 0], found[:, -1] = SPECIAL_IDS["[CLS]"], SPECIAL_IDS["[SEP]"]
        for row, number in zip(found, numbers, strict=True):
            start = number % len(self) * size
            row[1:-1] = self.ids[start : start + size]
        return found


class MaskingCollator:
    """Numbers of blocks to a batch with masks.

    Masks are drawn anew for each ``epoch``, which is set from outside, but for those of the
    ``held_out`` blocks.
    """

    def __init__(
        self, blocks: Blocks, tokenizer: Tokenizer, held_out: Sequence[int], seed: int
    ) -> None:
        from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)
        self.blocks, self.epoch = blocks, 0
        self._held_out, self._seed = set(held_out), seed
        self._masking = DataCollatorForLanguageModeling(wrapped, seed=seed)
        self._masking.create_rng()

    def __call__(self, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """Ids, and labels that are -100 where nothing is asked (B, T)."""
        epoch = 0 if numbers[0] % len(self.blocks) in self._held_out else self.epoch
        state = np.random.SeedSequence([self._seed, epoch, *numbers]).generate_state(1)
        self._masking.generator.manual_seed(int(state[0]))
        ids = torch.from_numpy(self.blocks.rows(numbers))
        special = ids < len(SPECIAL_IDS)
        ids, labels = self._masking.torch_mask_tokens(ids, special_tokens_mask=special)
        return {"input_ids": ids, "labels": labels}
