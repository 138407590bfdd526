r"""How good scores of pairs are: splits without leakage, figures, the score that means "match".

Pairs that share a text are one component of a graph whose nodes are the texts; a text stands for
all that differ from it in capital letters and white space only. A split by pairs leaks: a text of
the test half was read, with a label, in training. Splits, leakage and bootstrap go by components.

Letters: N pairs.

Not covered: texts that are nearly the same; a third way of the split (split a half again).
"""

from __future__ import annotations

import warnings

import numpy as np

from shoestring.checks import checked_number, checked_seed
from shoestring.errors import ShoestringWarning
from shoestring.match.pairs import Pairs
from shoestring.types import IntArray


def split_by_components(pairs: Pairs, share: float = 0.1, seed: int = 0) -> tuple[Pairs, Pairs]:
    """Split pairs so that no text is on both sides.

    Parameters
    ----------
    pairs : Pairs
    share : float
        Of the pairs, to be held out, in (0, 1).
    seed : int

    Returns
    -------
    tuple of Pairs
        To train on, held out. Components larger than the held-out part may be are trained on; where
        so little is left that the held-out part is smaller than asked for, a warning says so.

    Examples
    --------
    >>> pairs = Pairs.of([("a", "b", 1), ("B", "c", 0), ("x", "y", 1), ("p", "q", 0)])
    >>> train, held_out = split_by_components(pairs, share=0.5)
    >>> len(held_out), leakage(train, held_out)["texts"]
    (2, 0)
    """
    owner = "split_by_components"
    share = checked_number("share", share, owner, "a number in (0, 1)", above=0, most=1 - 1e-9)
    groups = components(pairs)
    sizes = np.bincount(groups)
    room = n_wanted = max(1, round(share * len(pairs)))
    chosen = np.zeros(len(sizes), np.bool_)
    for group in np.random.default_rng(checked_seed("seed", seed, owner)).permutation(len(sizes)):
        if sizes[group] <= room and sizes[group] < len(pairs):
            chosen[group], room = True, room - sizes[group]
    if room > n_wanted / 2:
        largest = f"one component of texts has {sizes.max(initial=0):,} of all {len(pairs):,} pairs"
        message = f"Only {n_wanted - room:,} pairs are held out of {n_wanted:,}: {largest}."
        warnings.warn(message, ShoestringWarning, stacklevel=2)
    held_out = chosen[groups]
    return pairs[~held_out], pairs[held_out]


def components(pairs: Pairs) -> IntArray:
    """The component (N,) of each pair, numbered from 0: pairs that texts connect share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known: dict[str, int] = {}
    a, b = ([known.setdefault(_key(t), len(known)) for t in side] for side in (pairs.a, pairs.b))
    edges = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(len(known),) * 2)
    of_text = connected_components(edges, directed=False)[1]
    return np.unique(of_text[a], return_inverse=True)[1].astype(np.int64)


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def leakage(train: Pairs, test: Pairs) -> dict[str, int]:
    """How many texts and unordered pairs of the test half are in training, counted once each.

    "touched_pairs" are pairs of the test half with at least one text that is in training.

    Examples
    --------
    >>> leakage(Pairs.of([("a", "b")]), Pairs.of([("B", "A"), ("b", "c"), ("x", "y")]))
    {'texts': 2, 'pairs': 1, 'touched_pairs': 2}
    """
    seen, tested = ([(_key(a), _key(b)) for a, b in pairs.both] for pairs in (train, test))
    texts = {text for pair in seen for text in pair}
    return {
        "texts": len(texts & {text for pair in tested for text in pair}),
        "pairs": len({frozenset(pair) for pair in seen} & {frozenset(pair) for pair in tested}),
        "touched_pairs": sum(a in texts or b in texts for a, b in tested),
    }
