"""Writes ``docs/results.md`` and ``docs/recall.svg`` from the figures in benchmarks/results.

``python -m benchmarks.report``; nothing is measured here. The files are what the commands write
with ``--json`` (``benchmarks.output``); of the two oldest, that of scoring has neither commit nor
Python, and that of the store neither commit nor machine.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.data import ROOT

RESULTS = ROOT / "benchmarks" / "results"
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
    "cross-encoder": "a trained cross-encoder",
    "token-interaction": "token interaction, the default scorer",
}
PLOTTED = "cross-encoder"


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


def read(name: str) -> dict[str, Any] | None:
    """The document of one committed result."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def mean(tables: dict[str, dict[str, list[float]]]) -> dict[str, list[float]]:
    """The mean over the collections, way by way."""
    ways = next(iter(tables.values()))
    return {way: np.mean([t[way] for t in tables.values()], axis=0).tolist() for way in ways}


def table(title: str, ways: dict[str, list[float]], fractions: list[float]) -> list[str]:
    """One Markdown table."""
    head = " | ".join(f"{fraction:.1%}" for fraction in fractions)
    lines = [f"### {title}", "", f"| way | {head} |", "|---|" + "---|" * len(fractions)]
    for way, recalls in ways.items():
        lines.append(f"| {way} | " + " | ".join(f"{value:.3f}" for value in recalls) + " |")
    return [*lines, ""]


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
        "rules beside it are k-means medoids of their vectors, each farthest from those before, "
        "and (*answered*) those nearest to any text. "
        f"{document['seeds']} seeds, {document['seeds of the choice']} for which queries to take; "
        f"{document['machine']}, "
        f"Python {document['python']}, commit {document['commit']}.",
        "",
    ]
    for title, columns, rows in tables(document):
        lines += [f"### anchors: {title}", ""]
        lines += [f"| anchors | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
        lines += [""]
    return lines


def first_stage_section(document: dict[str, Any]) -> list[str]:
    """What text codes find as the first stage of a search, on every collection."""
    lines = [
        "## Word codes as a first stage",
        "",
        "`python -m benchmarks.words.first_stage`: the judged texts of four collections among the "
        f"first 100 and 10; milliseconds of one thread; {document['seeds']} seeds of the codes; "
        f"{document['machine']}, load average {document['load average']} before the run, "
        f"Python {document['python']}, commit {document['commit']}.",
        "",
    ]
    for name, found in document["collections"].items():
        columns = list(dict.fromkeys(key for row in found["ways"].values() for key in row))
        lines += [f"### {name}: {found['texts']:,} texts, {found['queries']} queries", ""]
        lines += [f"| way | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for way, row in found["ways"].items():
            cells = (f"{row[column]:,.4g}" if column in row else "" for column in columns)
            lines.append(f"| {way} | {' | '.join(cells)} |")
        lines += [""]
    return lines


def plot(document: dict[str, Any], scorer: str) -> None:
    """Recall against calls, mean over the collections."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "shoestring"  # the same file for the same figures
    from matplotlib import pyplot as plt
    from matplotlib.ticker import PercentFormatter

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    recalls = mean(document["recall"][scorer])
    for way, (label, colour, style) in SHOWN.items():
        shares = [100 * fraction for fraction in document["fractions"]]
        axes.plot(shares, recalls[way], style, color=colour, label=label, marker="o", markersize=3)
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
    figure.savefig(ROOT / "docs" / "recall.svg", metadata={"Date": None})


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


def page() -> str:
    """All that the committed results say."""
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.report` from `benchmarks/results`.",
        "",
    ]
    if read(f"search-{PLOTTED}"):
        lines += ["![Recall against calls](recall.svg)", ""]
    for scorer in TITLES:
        document = read(f"search-{scorer}")
        if document:
            lines += search_section(scorer, document)
    document = read("anchors-per-call")
    if document:
        lines += anchors_section(document)
    document = read("words-first-stage")
    if document:
        lines += first_stage_section(document)
    for name in FIGURES:
        document = read(name)
        if document:
            lines += figures_section(name, document)
    return "\n".join(lines)


def main() -> None:
    """Write the page and the picture."""
    document = read(f"search-{PLOTTED}")
    if document:
        plot(document, PLOTTED)
    (ROOT / "docs" / "results.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
