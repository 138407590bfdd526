"""How much of pseudonymised text anybody can read who has public text and no key.

Secret and public texts become symbols (:mod:`~shoestring.match.symbols`), each counted once however
often it stands there, and :func:`~shoestring.match.decipher.decipher` finds which symbol each
number stands for.

Not covered: numbers that stand for other units than the public text's (pieces of words), and keys
that give one number to several symbols or several numbers to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from shoestring.checks import checked_seed, checked_texts
from shoestring.errors import ParameterError
from shoestring.match.symbols import split_symbols, unit_of
from shoestring.types import IntArray

if TYPE_CHECKING:
    from shoestring.match.decipher import Decipherment, TokenCounts

N_SECRET, N_PUBLIC = 1_500, 2_500  # most frequent symbols of either side that are compared


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
    symbols : list of str
        Of the secret texts; ``assignment[i]`` of the decipherment is about ``symbols[i]``.
    public_symbols : list of str
        ``public_symbols[assignment[i]]`` is what it stands for.
    decipherment : Decipherment

    Raises
    ------
    ParameterError
        If either side has no text, or a known symbol is in neither.
    """
    from shoestring.match.decipher import decipher

    seed = checked_seed("seed", seed, "decipher_texts")
    symbols, secret = _counted("secret_texts", secret_texts, N_SECRET)
    public_symbols, public = _counted("public_texts", public_texts, N_PUBLIC)
    pairs = _known_pairs(known or {}, symbols, public_symbols)
    return symbols, public_symbols, decipher(secret, public, known=pairs, seed=seed)


def _counted(name: str, texts: Iterable[str], max_tokens: int) -> tuple[list[str], TokenCounts]:
    """The symbols of texts in the order in which they first come, and their counts."""
    from shoestring.match.decipher import count_tokens

    unique = list(dict.fromkeys(checked_texts(name, texts, "decipher_texts")))
    if not any(map(str.strip, unique)):
        raise ParameterError.of(name, "decipher_texts", "texts that are not all empty", unique)
    split = list(map(split_symbols, unique, repeat(unit_of(unique))))
    number = {symbol: i for i, symbol in enumerate(dict.fromkeys(chain.from_iterable(split)))}
    starts = np.cumsum([0, *map(len, split)])
    ids = np.fromiter(map(number.__getitem__, chain.from_iterable(split)), np.int64, starts[-1])
    return list(number), count_tokens(ids, starts, len(number), max_tokens)


def _known_pairs(
    known: Mapping[str, str], symbols: list[str], public_symbols: list[str]
) -> IntArray | None:
    """The known pairs (n, 2) as numbers of either side; None where there are none."""
    sides = [{s: i for i, s in enumerate(side)} for side in (symbols, public_symbols)]
    for pair in known.items():
        for side, symbol in zip(sides, pair, strict=True):
            if symbol not in side:
                want = "a table of symbols that the texts have"
                raise ParameterError.of("known", "decipher_texts", want, symbol)
    found = [(sides[0][a], sides[1][b]) for a, b in known.items()]
    return np.array(found, np.int64) if found else None
