"""Text to random numbers and back: what is called anonymised text.

Each symbol (:mod:`~shoestring.match.symbols`) has one number wherever it stands, a substitution
cipher; :mod:`~shoestring.match.audit` says how much of it anybody can read. Back comes what symbols
keep: small letters, single blanks, and blanks between words.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.artifacts import written_aside
from shoestring.checks import checked_path, checked_seed, checked_texts
from shoestring.errors import ParameterError
from shoestring.match.pairs import read_cells
from shoestring.match.symbols import UNITS, split_symbols, unit_of
from shoestring.text.files import check_readable

_READ = {1_000: 0.0, 16_000: 0.4, 164_000: 0.83, 820_000: 0.91, 1_150_000: 0.94}
"""Share that public text alone reads of so many symbols: OPPO's questions (benchmarks.match)."""
_NO_KEY = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Key:
    """The number of each symbol, no number twice; ``unit`` is "characters" or "words"."""

    unit: str
    numbers: dict[str, int]

    def decode(self, texts: Iterable[str]) -> list[str]:
        """Turn numbers into text again."""
        symbols = {str(number): symbol for symbol, number in self.numbers.items()}
        between = "" if self.unit == "characters" else " "
        split = map(split_symbols, checked_texts("texts", texts, "match"), repeat("integers"))
        try:
            return [between.join(map(symbols.__getitem__, text)) for text in split]
        except KeyError as error:
            got = error.args[0]
            raise ParameterError.of("key", "match", "the key of these texts", got) from None

    @classmethod
    def load(cls, path: str | Path) -> Key:
        """Read a key that :func:`pseudonymise_file` has written."""
        check_readable(path := checked_path("key", path, "match"))
        with suppress(*_NO_KEY):
            found = json.loads(path.read_bytes())
            key = cls(found["unit"], {symbol: int(n) for symbol, n in found["numbers"].items()})
            if key.unit in UNITS[:2] and len({*key.numbers.values()}) == len(key.numbers):
                return key
        raise ParameterError.of("key", "match", "a file that match pseudonymise has written", path)


def pseudonymise_texts(
    texts: Iterable[str], key: Key | None = None, seed: int | None = None
) -> tuple[list[str], Key]:
    """Write texts as random numbers.

    Parameters
    ----------
    texts : iterable of str
    key : Key, optional
        Used, and extended by the symbols that it lacks. By default a new one is made.
    seed : int, optional
        For tests. By default nobody can foresee the numbers.

    Returns
    -------
    list of str, Key
        Numbers with blanks between them, and what turns them into text again.

    Examples
    --------
    >>> numbers, key = pseudonymise_texts(["打开wifi", "打开灯"], seed=0)
    >>> numbers
    ['50495 99347 55126 5307 33937 5307', '50495 99347 67014']
    >>> key.decode(numbers)
    ['打开wifi', '打开灯']
    """
    texts = checked_texts("texts", texts, "match")
    if not isinstance(key, Key | None):
        raise ParameterError.of("key", "match", "a Key", key)
    if (unit := unit_of(texts)) == "integers":
        raise ParameterError.of("texts", "match", "text, not numbers", texts[0])
    key = key or Key(unit, {})
    split = [split_symbols(text, key.unit) for text in texts]
    new = [s for s in dict.fromkeys(chain.from_iterable(split)) if s not in key.numbers]
    used = {*key.numbers.values()}
    free = [n for n in range(1, max(100_000, 10 * (len(new) + len(used)))) if n not in used]
    secret = seed is None
    chance = random.SystemRandom() if secret else random.Random(checked_seed("seed", seed, "match"))
    numbers = key.numbers | dict(zip(new, chance.sample(free, len(new)), strict=True))
    return [" ".join(str(numbers[s]) for s in text) for text in split], Key(key.unit, numbers)


def pseudonymise_file(
    source: str | Path, out: str | Path, key: str | Path, *, back: bool = False, **reading: Any
) -> dict[str, Any]:
    """Write records or pairs with numbers for their texts, or the other way round, as JSON lines.

    Other columns are kept. A key file that is missing is made, for its owner's eyes only.
    """
    out, key = checked_path("out", out, "match"), checked_path("key", key, "match")
    if out.suffix != ".jsonl" or out.resolve() == key.resolve():
        want = "a file that ends in .jsonl, other than the key"
        raise ParameterError.of("out", "match", want, out)
    rows, cells = read_cells(source, **reading)
    texts = [row[name] for row, name in cells]
    known = Key.load(key) if back or os.path.lexists(key) else None
    if known and back:
        texts = known.decode(texts)
    else:
        texts, known = pseudonymise_texts(texts, known)
        with written_aside(key) as file:  # before the texts, which are lost without it
            Path(file.name).chmod(0o600)
            file.write(json.dumps(asdict(known), ensure_ascii=False, indent=0).encode())
    for (row, name), text in zip(cells, texts, strict=True):
        row[name] = text
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    with written_aside(out) as file:
        file.write("".join(lines).encode("utf-8", "surrogatepass"))
    found = {"texts": len(texts), "symbols": len(known.numbers), "out": str(out)}
    if back:
        return found
    n = max(sum(len(text.split()) for text in {*texts}), 1)
    share = np.interp(np.log(n), np.log([*_READ]), [*_READ.values()])
    risk = (
        "A stranger with public text of the same kind and no key reads up to "
        f"{share:.0%} of so much text. A key for each field or period helps: see match audit."
    )
    return {**found, "risk": risk}
