"""How much of pseudonymised text anybody can read who has public text and no key.

Secret and public texts become symbols (:mod:`~shoestring.match.symbols`), each text counted once
however often it is there, and :func:`~shoestring.match.decipher.decipher` finds which symbol each
number stands for. Without the key the share read right is estimated from the confidences of several
perturbed starts, and a slice of the public text, deciphered with the rest, says what this public
text could do at best.

Not covered: numbers that stand for other units than the public text's (pieces of words), and keys
that give one number to several symbols or several numbers to one.

V different symbols of a side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shoestring.artifacts import written_aside
from shoestring.checks import checked_path, checked_seed, checked_texts
from shoestring.errors import FormatError, ParameterError
from shoestring.match.pseudonymise import Key
from shoestring.match.symbols import split_symbols, unit_of
from shoestring.text.files import read_rows
from shoestring.types import FloatArray, IntArray

if TYPE_CHECKING:
    from shoestring.match.decipher import Decipherment, TokenCounts

N_SECRET, N_PUBLIC = 1_500, 2_500  # most frequent symbols of either side that are compared
N_STARTS, PERTURBATION = 3, 0.3
FAILED = 0.1  # agreement under which nothing was found
KEPT = 500  # symbols that stay where rare ones are merged
N_SHOWN = 10


@dataclass(frozen=True)
class Audit:
    """What :func:`audit` found; shares are of the running text."""

    readable: float  # estimated without the key
    measured: float | None  # by the key
    at_best: float  # of a slice of the public text, by the rest of it
    agreement: float  # of both sides' contexts; under ``FAILED`` nothing was found
    table: list[tuple[str, str, float]]  # number, symbol, confidence, by frequency
    lines: list[tuple[str, str]]  # some texts as read and, by the key, as they are
    remedies: dict[str, float]  # share that is still read

    @property
    def summary(self) -> str:
        """One sentence for those who decide."""
        if self.agreement < FAILED:
            return (
                "Deciphering failed: nobody reads these texts with this public text alone, which "
                f"reads {self.at_best:.0%} of a part of itself; other public text may do better."
            )
        by_key = self.measured is not None
        share = f"{self.measured if by_key else self.readable:.0%}"
        how = "measured with the key" if by_key else "estimated without the key"
        return (
            f"Anybody with public text like this reads {share} of these texts ({how}), without "
            "a key: treat them as plain text."
        )


@dataclass(frozen=True)
class _Side:
    symbols: list[str]
    shares: FloatArray  # (V,) of the running text
    counts: TokenCounts


def _counted(name: str, texts: Iterable[str], most: int) -> _Side:
    """Count the symbols of texts, numbered in the order in which they first come."""
    from shoestring.match.decipher import count_tokens

    unique = list(dict.fromkeys(checked_texts(name, texts, "match")))
    split = list(map(split_symbols, unique, repeat(unit_of(unique))))
    index = {symbol: i for i, symbol in enumerate(dict.fromkeys(chain.from_iterable(split)))}
    if not index:
        raise ParameterError.of(name, "match", "texts that are not all empty", unique)
    starts = np.cumsum([0, *map(len, split)])
    ids = np.fromiter(map(index.__getitem__, chain.from_iterable(split)), np.int64, starts[-1])
    counts = count_tokens(ids, starts, len(index), most)
    return _Side(list(index), np.bincount(ids) / len(ids), counts)


def _deciphered(
    secret: _Side,
    public: _Side,
    known: Mapping[str, str] | None,
    seed: int,
    perturbation: float = 0.0,
) -> Decipherment:
    from shoestring.match.decipher import decipher

    pairs = [*(known or {}).items()]
    for side, symbols in zip((secret, public), zip(*pairs, strict=True), strict=False):
        if strange := {*symbols} - {*side.symbols}:
            want = "a table of symbols that the texts have"
            raise ParameterError.of("known", "match", want, min(strange))
    indices = [(secret.symbols.index(a), public.symbols.index(b)) for a, b in pairs]
    return decipher(
        secret.counts,
        public.counts,
        known=np.array(indices, np.int64) if pairs else None,
        seed=checked_seed("seed", seed, "match"),
        perturbation=perturbation,
    )


def decipher_texts(
    secret_texts: Iterable[str],
    public_texts: Iterable[str],
    known: Mapping[str, str] | None = None,
    *,
    seed: int = 0,
) -> tuple[list[str], list[str], Decipherment]:
    """Find which public symbol each symbol of the secret texts stands for.

    Parameters
    ----------
    secret_texts : iterable of str
        Numbers between blanks.
    public_texts : iterable of str
        Plain text of the same language and, best, on the same matters.
    known : mapping of str to str, optional
        Numbers whose symbols are known.
    seed : int

    Returns
    -------
    symbols, public_symbols : list of str
        Of either side: ``symbols[i]`` stands for ``public_symbols[decipherment.assignment[i]]``.
    decipherment : Decipherment
    """
    secret = _counted("secret_texts", secret_texts, N_SECRET)
    public = _counted("public_texts", public_texts, N_PUBLIC)
    return secret.symbols, public.symbols, _deciphered(secret, public, known, seed)


def audit(
    secret_texts: Iterable[str],
    public_texts: Iterable[str],
    *,
    key: Key | None = None,
    known: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Audit:
    """Measure how much of pseudonymised texts anybody can read.

    Parameters
    ----------
    secret_texts, public_texts : iterable of str
        As for :func:`decipher_texts`.
    key : Key, optional
        With it shares are measured too, and some lines are shown as they are read.
    known : mapping of str to str, optional
        Numbers whose symbols anybody knows.
    seed : int
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Audit
    """
    texts = list(dict.fromkeys(checked_texts("secret_texts", secret_texts, "match")))
    open_texts = np.array(list(dict.fromkeys(public_texts)), object)
    secret = _counted("secret_texts", texts, N_SECRET)
    public = _counted("public_texts", open_texts, N_PUBLIC)
    starts = [
        _deciphered(secret, public, known, seed + i, PERTURBATION * (i > 0))
        for i in range(N_STARTS)
    ]
    found = starts[0]
    ...
