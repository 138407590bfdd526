"""The sections of ``docs/results/search.md`` on search, and its picture; see ``benchmarks.report``.

The files are what the commands write with ``--json`` (``benchmarks.output``); of the two oldest,
that of scoring has neither commit nor Python, and that of the store neither commit nor machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import Read, markdown, picture, ran, yes

SHOWN = {
    "ours, 32 anchors": ("shoestring, 32 anchor queries", "#00796b", "-"),
    "ours, no anchors": ("shoestring, no anchors", "#00796b", ":"),
    "vectors, then rerank": ("vectors, then rerank", "#c62828", "-"),
    "BM25, then rerank": ("BM25, then rerank", "#ef6c00", "-"),
    "ANNCUR, ridge": ("ANNCUR, ridge", "#5e35b1", "--"),
    "ANNCUR, as published": ("ANNCUR, as published", "#5e35b1", "-"),
    "random": ("random texts", "#9e9e9e", ":"),
}
TITLES = {
    "judge": "a judge near the vectors",
    "cross-encoder": "a scorer far from the vectors",
    "token-interaction": "token interaction, untrained",
}
FIGURES = {
    "scoring": (
        "Pairs a second of a cross-encoder",
        "`python -m benchmarks.search.scoring`, beside `CrossEncoder.predict` with its defaults:",
    ),
    "store-speed": (
        "Records into the store, and queries of it",
        "`python -m benchmarks.search.store_speed`, beside nothing:",
    ),
}


def mean(tables: dict[str, dict[str, list[float]]]) -> dict[str, list[float]]:
    """The mean over the collections, way by way."""
    ways = next(iter(tables.values()))
    return {way: np.mean([t[way] for t in tables.values()], axis=0).tolist() for way in ways}


def table(title: str, ways: dict[str, list[float]], fractions: list[float]) -> list[str]:
    """Recalls by share of the calls."""
    columns = [f"{fraction:.1%}" for fraction in fractions]
    rows = {way: [f"{value:.3f}" for value in recalls] for way, recalls in ways.items()}
    return [f"### {title}", "", *markdown("way", columns, rows), ""]


def search_section(scorer: str, document: dict[str, Any]) -> list[str]:
    """What one scorer's run says."""
    tables = document["recall"][scorer]
    items = ", ".join(f"{name} {document['items'][scorer][name]:,}" for name in tables)
    lines = [
        f"## Search with {TITLES[scorer]}",
        "",
        f"`python -m benchmarks.search --scorers {scorer}`: recall of the scorer's own top 10 by "
        f"calls as a share of the texts ({items}); {document['seeds']} seeds, "
        f"{document['machine']}, "
        f"Python {document['python']}, commit {document['commit']}. The calls are a query's own; "
        "those of the anchors are spent once for all queries: 32 a text, or as the row says.",
        "",
        *table("mean over the collections", mean(tables), document["fractions"]),
    ]
    if judged := document.get("nDCG"):
        columns = list(next(iter(judged.values())))
        rows = {name: list(judged[name].values()) for name in tables}
        lines += ["How well each judges, nDCG@10:", "", *markdown("texts", columns, rows), ""]
    for name, ways in tables.items():
        lines += table(name, ways, document["fractions"])
    return lines


def anchors_section(document: dict[str, Any]) -> list[str]:
    """What anchor scores buy for their calls."""
    from benchmarks.search.anchors_per_call import tables

    lines = [
        "## Anchors for their calls",
        "",
        "`python -m benchmarks.search.anchors_per_call`: the recall of the tables above, for an "
        "index whose anchors took so many calls for each of its texts, once for all queries. "
        "*Full*: as many anchor queries as calls a text, each scored with every text. *Sparse*: "
        "32 (12 and 25 for a quarter and half a call a text), each with its most promising texts. "
        "*Shuffled*: full, with the scores of other texts. The queries are chosen at random; the "
        "rules beside it are the library's own (*covering*: each brings the others nearest to a "
        "chosen one), k-means medoids of their vectors, each farthest from those before, "
        "and (*answered*) those nearest to any text. "
        f"{document['seeds']} seeds, {document['seeds of the choice']} for which queries to take; "
        f"{document['machine']}, "
        f"Python {document['python']}, commit {document['commit']}.",
        "",
    ]
    for title, columns, rows in tables(document):
        lines += [f"### anchors: {title}", "", *markdown("anchors", columns, rows), ""]
    return lines


def plot(document: dict[str, Any], scorer: str, file: Path) -> None:
    """Recall against calls, mean over the collections."""
    from matplotlib.ticker import PercentFormatter

    recalls = mean(document["recall"][scorer])
    shares = [100 * fraction for fraction in document["fractions"]]
    with picture(file, (7, 4.2)) as axes:
        for way, (label, colour, style) in SHOWN.items():
            line = {"color": colour, "label": label, "marker": "o", "markersize": 3}
            axes.plot(shares, recalls[way], style, **line)
        axes.set(
            xscale="log",
            ylim=(0, 1.02),
            xlabel="calls of the cross-encoder, % of the texts",
            ylabel="recall of its own top 10",
        )
        axes.set_xticks(shares, [f"{share:g} %" for share in shares])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper left")


def figures_section(name: str, document: dict[str, Any]) -> list[str]:
    """What a benchmark of single figures says, as it wrote it."""
    title, text = FIGURES[name]
    return [
        f"## {title}",
        "",
        text,
        "",
        "```json",
        json.dumps(document, indent=1, ensure_ascii=False),
        "```",
        "",
    ]


def start_section(document: dict[str, Any]) -> list[str]:
    """How soon a query on the command line answers."""
    rows = {
        f"query, {way}" if "holds" in found else way: [found["seconds"], found["cpu seconds"]]
        for way, found in document["ways"].items()
    }
    holds = all(found.get("holds", True) for found in document["ways"].values())
    return [
        "## How soon a query on the command line answers",
        "",
        "`python -m benchmarks.search.start`: a whole process, the least of nine runs; *a "
        f"CrossEncoder*: a script that loads one with sentence-transformers. {ran(document)}",
        "",
        *markdown("process", ["seconds", "CPU seconds"], rows),
        "",
        f"- a query in {document['bar']} s: {yes(holds)}",
        "",
    ]


def sections(read: Read) -> list[str]:
    """All that there is."""
    lines: list[str] = []
    if any(read(f"search-{scorer}") for scorer in TITLES):
        lines += ["![Recall against calls](../recall.svg)", ""]
    for scorer in TITLES:
        document = read(f"search-{scorer}")
        if document:
            lines += search_section(scorer, document)
    document = read("anchors-per-call")
    if document:
        lines += anchors_section(document)
    if document := read("search-start"):
        lines += start_section(document)
    for name in FIGURES:
        document = read(name)
        if document:
            lines += figures_section(name, document)
    return lines


def pictures(read: Read, folder: Path) -> None:
    """Write what the page shows."""
    for scorer in TITLES:  # the first that has run
        if document := read(f"search-{scorer}"):
            plot(document, scorer, folder / "recall.svg")
            break
