"""What the figures of the words benchmark are held against, read from its document.

Three questions. Few bytes: is the mean over the sets at 16 bytes a word and less at least that of
the best of all ways to make word2vec, trained on the same text, binary? In context: is WiC's
accuracy on the dev half at least 3 points above that of the word alone? By size: from which corpus
on is the published rule as good as the rule of counts?
"""

from __future__ import annotations

from typing import Any

OURS = "counts, of 400"  # the default rule
FEW_BYTES = 16
POINTS = 3.0
Row = dict[str, Any]


def few_bytes(by_bytes: dict[str, dict[Any, Any]], ours: str = OURS) -> list[Row]:
    """For each size of at most 16 bytes: ours, the best binary word2vec, whether the bar holds."""
    rows = []
    for column, scores in by_bytes.get(ours, {}).items():
        peers = {
            name: row[column]["mean"]
            for name, row in by_bytes.items()
            if name.startswith("word2vec") and column in row
        }
        if int(column) <= FEW_BYTES and peers:
            best = max(peers, key=lambda name: peers[name])
            rows.append(
                {
                    "bytes": int(column),
                    "ours": scores["mean"],
                    "word2vec": peers[best],
                    "way": best,
                    "holds": scores["mean"] >= peers[best],
                }
            )
    return rows


def in_context(table: dict[str, dict[str, float]]) -> list[Row]:
    """For each code: WiC's dev accuracy alone and in context, the gain, whether the bar holds."""
    rows = []
    for name, scores in table.items():
        alone, with_context = scores["WiC dev, static"], scores["WiC dev, in context"]
        gain = round(with_context - alone, 1)
        rows.append(
            {
                "codes": name,
                "static": alone,
                "in context": with_context,
                "gain": gain,
                "holds": gain >= POINTS,
            }
        )
    return rows


def caught_up(by_size: dict[str, dict[str, Any]]) -> str | None:
    """The smallest corpus on which the published rule is at least as good; None: on none of them.

    ``by_size`` has the corpora in ascending order. The published rule counts with whichever of its
    settings is the best there.
    """
    published = [row for name, row in by_size.items() if name.startswith("published")]
    for tokens, scores in by_size.get("counts", {}).items():
        means = [row[tokens]["mean"] for row in published if tokens in row]
        if means and max(means) >= scores["mean"]:
            return tokens
    return None


def sentences(language: str, part: dict[str, Any]) -> list[str]:
    """The three answers in plain words, of what one language has."""
    said = [
        f"{row['bytes']} bytes a word: ours {row['ours']}, the best binary word2vec "
        f"{row['word2vec']} ({row['way'].removeprefix('word2vec ')}): "
        f"{_holds(row['holds'], 'at least that of word2vec')}"
        for row in few_bytes(part.get("by stored bytes", {}))
    ]
    said += [
        f"WiC dev, {row['codes']}: {row['static']} alone, {row['in context']} in context, "
        f"{row['gain']:+} points: {_holds(row['holds'], f'at least {POINTS:g} points')}"
        for row in in_context(part.get("in context", {}))
    ]
    by_size = part.get("by corpus size", {})
    if by_size:
        where = caught_up(by_size)
        largest = list(by_size["published"])[-1]
        said.append(
            f"the published rule has not caught up with the rule of counts at {largest} tokens"
            if where is None
            else f"the published rule is as good as the rule of counts from {where} tokens on"
        )
    return [f"{language}: {sentence}" for sentence in said]


def _holds(holds: bool, bar: str) -> str:
    return f"the bar, {bar}, {'holds' if holds else 'DOES NOT HOLD'}"
