"""What an audit says without the key beside what the key says.

``python -m benchmarks.match.audit``.

Four secret sides against public text of other sources, each with three keys: OPPO's questions to an
assistant, AFQMC's questions to a bank (the public side without ATEC, which shares texts with it),
reviews of hotels (without all reviews), Quora's questions by words. Bar: the estimate within 5
points of the measured share. Controls: the symbols of the public or of the secret side shuffled
over all its texts; the audit has to say that it failed. Then the share by number of texts, from
which ``match pseudonymise`` tells what a stranger could read, and the anonymised competition files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import chain
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.match import corpora
from shoestring.match.audit import FAILED, audit
from shoestring.match.pseudonymise import pseudonymise
from shoestring.match.symbols import split_symbols, unit_of

Texts = Callable[[], list[str]]

BAR = 0.05
SIZES = {"OPPO": (2_000, 5_000, 20_000, 50_000), "Quora": (5_000, 20_000)}


def _both(pairs: list[corpora.Pair]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(pair[:2] for pair in pairs)))


SECRET: dict[str, Texts] = {
    "OPPO": lambda: _both(corpora.oppo("train-100k")),
    "AFQMC": lambda: list(dict.fromkeys(corpora.afqmc())),
    "hotels": lambda: list(dict.fromkeys(corpora.hotels())),
    "Quora": lambda: _both(corpora.quora("dev")),
}
PUBLIC: dict[str, Texts] = {
    "OPPO": lambda: corpora.chinese("wiki", "reviews", "titles", *corpora.QUESTIONS),
    "AFQMC": lambda: corpora.chinese("wiki", "reviews", "titles", "lcqmc", "paws"),
    "hotels": lambda: corpora.chinese("wiki", "titles", *corpora.QUESTIONS),
    "Quora": corpora.english,
}


def shuffled(texts: list[str], seed: int) -> list[str]:
    """The symbols of texts, put anywhere: the lengths and all counts stay."""
    unit = unit_of(texts)
    split = [split_symbols(text, unit) for text in texts]
    symbols = np.array(list(chain.from_iterable(split)), object)
    np.random.default_rng(seed).shuffle(symbols)
    ends = np.cumsum([len(text) for text in split])
    between = "" if unit == "characters" else " "
    return [between.join(part) for part in np.split(symbols, ends[:-1])]


def measured(
    secret: list[str], public: list[str], seed: int, remedies: bool = False
) -> dict[str, Any]:
    """One audit with the key of this seed: its figures without texts and table."""
    numbers, key = pseudonymise(secret, seed=seed)
    began = perf_counter()
    found = audit(numbers, public, key=key, remedies=remedies, seed=seed)
    figures = {n: v for n, v in asdict(found).items() if n not in ("table", "lines")}
    return {**figures, "failed": found.agreement < FAILED, "seconds": perf_counter() - began}
