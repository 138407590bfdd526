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

import argparse
from collections.abc import Callable
from itertools import chain
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.data import require
from benchmarks.match import corpora
from shoestring.match.audit import audit_texts
from shoestring.match.pairs import read_plain_texts
from shoestring.match.pseudonymise import pseudonymise_texts
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


def measured(secret: list[str], public: list[str], seed: int) -> dict[str, Any]:
    """One audit with the key of this seed: its figures, without texts and table."""
    numbers, key = pseudonymise_texts(secret, seed=seed)
    began = perf_counter()
    found = audit_texts(numbers, public, key=key, seed=seed)
    assert found.measured is not None
    return {
        "measured": round(found.measured, 4),
        "readable": round(found.readable, 4),
        "at best": round(found.at_best, 4),
        "agreement": round(found.agreement, 3),
        "failed": found.failed,
        "within the bar": abs(found.readable - found.measured) <= BAR,
        "seconds": round(perf_counter() - began, 1),
    }


def of_pair(name: str, keys: range, quick: bool) -> dict[str, Any]:
    """One secret side: each key, the controls, fewer texts."""
    secret, public = SECRET[name](), PUBLIC[name]()
    if quick:
        secret, public = secret[:5_000], public[::10]
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {"texts": len(secret)}
    figures |= {f"key {key}": measured(secret, public, key) for key in keys}
    figures["public shuffled"] = measured(secret, shuffled(public, 0), 0)
    figures["secret shuffled"] = measured(shuffled(secret, 0), public, 0)
    for size in SIZES.get(name, ()) if not quick else ():
        some = [secret[i] for i in rng.permutation(len(secret))[:size]]
        figures[f"{size} texts"] = measured(some, public, 0)
    return figures


def competition() -> dict[str, Any]:
    """The anonymised competition files as they are: no key, no labels."""
    public = PUBLIC["OPPO"]()
    found = {}
    for name in ("testA_20210228", "testB_20210317"):
        path = require(f"pairs/gaiic-track3-anon/gaiic_track3_round1_{name}.tsv.gz")
        said = audit_texts(read_plain_texts(path), public)
        found[name] = {"readable": round(said.readable, 4), "summary": said.summary}
        found[name]["table"] = said.table[:20]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="one key, 5,000 texts, a tenth of the public text: minutes")
    parser.add_argument("--only", nargs="+", choices=(*SECRET, "competition"), help="of the parts")
    given = parser.parse_args()
    result: dict[str, Any] = {}
    for name in given.only or (*SECRET, "competition"):
        keys = range(1 if given.quick else 3)
        found = competition() if name == "competition" else of_pair(name, keys, given.quick)
        result[name] = found
        output.show({f"{name}, {what}": figures for what, figures in found.items()})
        output.write(result, given)
