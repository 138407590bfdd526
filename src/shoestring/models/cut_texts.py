"""Texts that are longer than a model reads: counted where they are cut, said once for a job."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from shoestring.errors import ShoestringWarning

LEAST_SHARE = 0.01  # of the texts; what is less is not worth a note
SPLIT = "Split long texts into passages first, or name a model that reads more."

_Counts = dict[tuple[str, int, str, str], list[int]]  # model, length, what, hint: cut and all
_JOB: ContextVar[_Counts | None] = ContextVar("job", default=None)


@contextmanager
def one_cut_note() -> Iterator[None]:
    """Around a job: a ShoestringWarning at its end says what each of its models cut.

    A job inside another one is part of that. Nothing is said of a single text, such as a query, nor
    of a few among many.
    """
    if _JOB.get() is not None:
        yield
        return
    counts: _Counts = {}
    token = _JOB.set(counts)
    try:
        yield
    finally:
        _JOB.reset(token)
    said = set()
    for (model, max_length, what, hint), (n_cut, n_texts) in counts.items():
        if n_texts < 2 or n_cut <= LEAST_SHARE * n_texts or model in said:
            continue
        said.add(model)
        warnings.warn(
            f"{n_cut:,} of {n_texts:,} {what} ({100 * n_cut / n_texts:.0f} %) are longer than the "
            f"{max_length} tokens that {model} reads: the rest of them is not seen. {hint}",
            ShoestringWarning,
            stacklevel=3,
        )


def are_cut(encodings: Sequence[Any], n_chars: Iterable[int], most: int) -> list[bool]:
    """Whether tokenizers cut a text of so many characters, of which it got ``most``."""
    return [bool(e.overflowing) or n > most for e, n in zip(encodings, n_chars, strict=True)]


def count_cut(
    cut: Sequence[bool], model: str, max_length: int, what: str = "texts", hint: str = SPLIT
) -> None:
    """Count texts, or pairs, for the job in hand: True where one is longer than ``max_length``."""
    job = _JOB.get()
    if job is not None:
        counts = job.setdefault((model, max_length, what, hint), [0, 0])
        counts[0] += sum(cut)
        counts[1] += len(cut)
