"""How much of pseudonymised text anybody can read who has public text and no key.

Texts become symbols (:mod:`~shoestring.match.symbols`), each text counted once however often it is
there, and :mod:`~shoestring.match.decipher` finds which symbol each number stands for. Without the
key the share read right is estimated from the confidence of each symbol, which rests on how alike
both sides' contexts are (perturbed starts say no more: docs/log.md); a slice of the public text,
deciphered with the rest of it, says what this public text could do at best.

Not covered: numbers that stand for other units than the public text's (pieces of words), and keys
that give one number to several symbols or several numbers to one.

V different symbols of a side.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import compress, count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shoestring.artifacts import written_aside
from shoestring.checks import checked_path, checked_seed, checked_texts
from shoestring.errors import FormatError, ParameterError
from shoestring.match.decipher import (
    PUBLIC_TOKENS,
    SECRET_TOKENS,
    Decipherment,
    TokenCounts,
    count_tokens,
    decipher,
)
from shoestring.match.pseudonymise import Key
from shoestring.match.symbols import split_symbols, unit_of, with_parts
from shoestring.text.files import read_rows

Row = tuple[str, str, float]  # number, symbol, confidence

FAILED = 0.1  # share readable under which nothing was found
PARTS = (4, 16)  # of the texts, each with a key of its own
N_KEPT = 500  # numbers that stay where rare ones are merged
N_LINES = 10


@dataclass(frozen=True)
class Audit:
    """What :func:`audit_texts` found; shares are of the running text."""

    readable: float  # estimated without the key
    measured: float | None  # by the key
    at_best: float  # of a slice of the public text, by the rest of it
    agreement: float  # of both sides' contexts
    table: list[Row]  # by frequency
    lines: list[tuple[str, str]]  # some texts by the key, and as they are read
    remedies: dict[str, float]  # what would help, and the share that is still read

    @property
    def failed(self) -> bool:
        """Whether nothing was found, as far as can be told without the key."""
        return self.readable < FAILED

    @property
    def summary(self) -> str:
        """One sentence for those who decide."""
        if self.failed:
            return (
                f"Deciphering failed: with this public text alone some {self.readable:.0%} can be "
                f"read, where it reads {self.at_best:.0%} of a part of itself; other public text "
                "may do better."
            )
        share, how = self.readable, "estimated without the key"
        if self.measured is not None:
            share, how = self.measured, "measured with the key"
        helps = "".join(f"; with {name} {left:.0%}" for name, left in self.remedies.items())
        return (
            f"Anybody with public text like this reads {share:.0%} of these texts ({how}){helps}."
        )


class _Side(NamedTuple):
    symbols: list[str]  # that are kept, the most frequent first
    counts: TokenCounts


def _counted(name: str, texts: Iterable[str], most: int, unit: str = "") -> _Side:
    """Count the symbols of texts, in one pass that keeps only their numbers."""
    unique = list(dict.fromkeys(checked_texts(name, texts, "match")))
    unit, number = unit or unit_of(unique), defaultdict[str, int](count().__next__)
    ids, ends = array("q"), [0]
    for text in unique:
        ids.extend(map(number.__getitem__, split_symbols(text, unit)))
        ends.append(len(ids))
    if not ids:
        raise ParameterError.of(name, "match", "texts that are not all empty", unique)
    counts, symbols = count_tokens(np.array(ids), np.array(ends), most), list(number)
    return _Side([symbols[i] for i in counts.tokens], counts)


def _secret(texts: Iterable[str]) -> _Side:
    return _counted("texts", texts, SECRET_TOKENS, "integers")


def _public(texts: Iterable[str]) -> _Side:
    return _counted("public", with_parts(checked_texts("public", texts, "match")), PUBLIC_TOKENS)


def _deciphered(
    secret: _Side, public: _Side, known: Mapping[str, str] | None, seed: int
) -> Decipherment:
    seed = checked_seed("seed", seed, "match")
    if not isinstance(known, Mapping | None):
        raise ParameterError.of("known", "match", "a mapping of numbers to symbols", known)
    rows, columns = ({s: i for i, s in enumerate(side.symbols)} for side in (secret, public))
    named = [(str(a), str(b)) for a, b in (known or {}).items()]
    pairs = [(rows[a], columns[b]) for a, b in named if a in rows and b in columns]
    if known and len({column for _, column in pairs}) < max(1, len(pairs)):
        want = "a table of symbols that the texts have, each once"
        raise ParameterError.of("known", "match", want, named[0])
    known_ids = np.array(pairs, np.int64) if pairs else None
    return decipher(secret.counts, public.counts, known=known_ids, seed=seed)


def decipher_texts(
    texts: Iterable[str],
    public: Iterable[str],
    known: Mapping[str, str] | None = None,
    *,
    seed: int = 0,
) -> tuple[list[str], list[str], Decipherment]:
    """Find which public symbol each symbol of secret texts stands for.

    Parameters
    ----------
    texts : iterable of str
        Numbers between blanks.
    public : iterable of str
        Plain text of the same language and, best, on the same matters.
    known : mapping of str to str, optional
        Numbers whose symbols are known.
    seed : int

    Returns
    -------
    symbols, public_symbols : list of str
        The most frequent ones of either side, in that order: ``symbols[i]`` stands for
        ``public_symbols[decipherment.assignment[i]]``.
    decipherment : Decipherment
    """
    secret, other = _secret(texts), _public(public)
    return secret.symbols, other.symbols, _deciphered(secret, other, known, seed)


def table_of(symbols: list[str], public_symbols: list[str], found: Decipherment) -> list[Row]:
    """The rows (number, symbol, confidence) of what :func:`decipher_texts` found."""
    found_of = zip(symbols, found.assignment, found.confidence, strict=True)
    return [(number, public_symbols[j], round(float(p), 4)) for number, j, p in found_of if j >= 0]


def write_table(rows: Iterable[Row], path: str | Path) -> None:
    """Write rows as number TAB symbol TAB confidence."""
    with written_aside(checked_path("out", path, "match align")) as file:
        file.write("".join("\t".join(map(str, row)) + "\n" for row in rows).encode())


def read_table(path: str | Path) -> dict[str, str]:
    """Read number TAB symbol, and whatever follows, of each line."""
    names, table = ["number", "symbol", "confidence"], dict[str, str]()
    for _, row in read_rows(checked_path("known", path, "match"), names, without_header=names):
        if isinstance(row, FormatError):
            raise row
        table |= {row["number"]: row["symbol"]} if row else {}
    return table


def audit_texts(
    texts: Iterable[str],
    public: Iterable[str],
    known: Mapping[str, str] | None = None,
    *,
    key: Key | None = None,
    remedies: bool = False,
    seed: int = 0,
) -> Audit:
    """Measure how much of pseudonymised texts anybody can read.

    Parameters
    ----------
    texts, public, known, seed
        As for :func:`decipher_texts`.
    key : Key, optional
        With it the share is measured too, and some lines are shown as they are read.
    remedies : bool
        Whether to find what would help.
    """
    texts = list(dict.fromkeys(checked_texts("texts", texts, "match")))
    public = list(dict.fromkeys(checked_texts("public", public, "match")))
    secret, other = _secret(texts), _public(public)
    if not isinstance(key, Key | None):
        raise ParameterError.of("key", "match", "a Key", key)
    true = {} if key is None else {str(number): symbol for symbol, number in key.numbers.items()}
    if key and (strange := next((number for number in secret.symbols if number not in true), "")):
        raise ParameterError.of("key", "match", "the key of these texts", strange)
    if key and not {*true.values()} & {*other.symbols}:
        raise ParameterError.of("public", "match", f"{key.unit} as the key's", public[0])
    read = _deciphered(secret, other, known, seed)
    table = table_of(secret.symbols, other.symbols, read)
    # a slice of the public text as the secret side, and what it can be read by
    rng = np.random.default_rng(seed)
    share = min(0.5, secret.counts.n_running / other.counts.n_running)
    is_planted = rng.random(len(public)) < share
    is_planted[0], is_planted[-1] = True, False
    planted = _counted("public", compress(public, is_planted), SECRET_TOKENS)
    rest = _public(compress(public, ~is_planted))
    of_rest = _deciphered(planted, rest, None, seed)
    shown = [texts[i] for i in rng.permutation(len(texts))[:N_LINES]]
    return Audit(
        readable=_share_read(secret, other, read, {}),
        measured=_share_read(secret, other, read, true) if key else None,
        at_best=_share_read(planted, rest, of_rest, {s: s for s in planted.symbols}),
        agreement=read.agreement,
        table=table,
        lines=_lines(shown, table, key) if key else [],
        remedies=_remedies(texts, secret, other, true, seed) if remedies else {},
    )


def _share_read(
    secret: _Side, public: _Side, found: Decipherment, true: Mapping[str, str]
) -> float:
    """The share of the running text that is right: by the key, or else as the confidence has it."""
    right = found.confidence
    if true:
        names = [*public.symbols, ""]  # of -1 too
        answers = zip(secret.symbols, found.assignment, strict=True)
        right = np.array([true.get(number) == names[j] for number, j in answers])
    return float(secret.counts.counts / secret.counts.n_running @ right)


def _lines(texts: list[str], table: list[Row], key: Key) -> list[tuple[str, str]]:
    """Texts as they are, and as they are read, with _ for what is unsure."""
    read = {number: symbol for number, symbol, confidence in table if confidence >= 0.5}
    between = "" if key.unit == "characters" else " "
    shown = (between.join(read.get(number, "_") for number in text.split()) for text in texts)
    return list(zip(key.decode(texts), shown, strict=True))


def _remedies(
    texts: list[str], secret: _Side, public: _Side, true: Mapping[str, str], seed: int
) -> dict[str, float]:
    """The share that is still read after each change: measured, or else estimated."""
    kept = {*secret.symbols[:N_KEPT]}
    changed = {
        f"a key for each {1 / n:.0%} of the texts": texts[: -(-len(texts) // n)] for n in PARTS
    }
    changed[f"one number for all but the {N_KEPT} most frequent"] = [
        " ".join(number if number in kept else "0" for number in text.split()) for text in texts
    ]
    shares = {}
    for name, some in changed.items():
        side = _secret(some)
        shares[name] = _share_read(side, public, _deciphered(side, public, None, seed), true)
    return shares
