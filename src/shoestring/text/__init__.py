"""Texts in: records, documents, tokens, words and sentences.

Importing this room loads no heavy library: pyarrow and pandas come in where they are used.
"""

from __future__ import annotations

from shoestring.text.documents import read_documents
from shoestring.text.pydocs import KnownItem, known_items, python_docs
from shoestring.text.records import read_records
from shoestring.text.segmentation import Lexicon, split_words
from shoestring.text.sentences import split_first_sentence, split_sentences
from shoestring.text.tokens import FTS5_TOKENIZER, tokenize

__all__ = [
    "FTS5_TOKENIZER",
    "KnownItem",
    "Lexicon",
    "known_items",
    "python_docs",
    "read_documents",
    "read_records",
    "split_first_sentence",
    "split_sentences",
    "split_words",
    "tokenize",
]
