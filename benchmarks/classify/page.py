"""The page ``docs/results/classify.md`` and its picture: ``benchmarks.report``.

A part that has not run is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.classify.quality import EXPANDED, FIGURES, PLAIN, SHUFFLED, TUNED
from benchmarks.output import Read, markdown, picture, ran, yes

Document = dict[str, Any]
Lines = list[str]
LEFT = ("LDA (svd)", "ridge on the same moments", EXPANDED, TUNED)  # labels that stand left
BELOW = ("LDA (lsqr, Ledoit-Wolf)", TUNED)
COLOURS = {PLAIN: "#0f766e", EXPANDED: "#0f766e", TUNED: "#b45309"}


def sections(read: Read) -> Lines:
    """All that there is."""
    return output.sections(read, "classify", SECTIONS)


def quality(document: Document) -> Lines:
    """Accuracy on every set, and the means."""
    sets = document["sets"]
    lines = [
        "## Classification: accuracy and calibration",
        "",
        "`python -m benchmarks.classify.quality`: MiniLM's vectors of the English sets; TF-IDF and "
        "SVD of the Chinese ones, and of those that say so. Log-loss in nats; ECE in 15 bins; "
        f"seconds to fit and be ready, with one thread. {ran(document)}",
        "",
    ]
    for bar, found in document["bars"].items():
        value = ", ".join(f"{name} {v}" for name, v in found.items() if name != "holds")
        lines += [f"- {bar}: {value}: {yes(found['holds'])}"]
    rows = {way: [row.get(f, "") for f in FIGURES] for way, row in document["means"].items()}
    lines += ["", "### means over the sets", "", *markdown("", list(FIGURES), rows), ""]
    for figure in FIGURES:
        ways = [w for w, row in document["means"].items() if figure in row]
        rows = {
            f"{name} ({found['classes']} of {found['train']:,})": [
                f"{found['ways'][way][figure]:.4g}" for way in ways
            ]
            for name, found in sets.items()
        }
        title = f"### {figure} by set (classes of training rows)"
        lines += [title, "", *markdown("", ways, rows), ""]
    return lines


def speed(document: Document) -> Lines:
    """Seconds and memory."""
    stream = ", ".join(f"{name} {value:g}" for name, value in document["streamed"].items())
    return [
        "## Classification: speed and memory",
        "",
        f"`python -m benchmarks.classify.speed`: {document['features']} features, "
        f"{document['classes']} classes, float32. {ran(document)}",
        "",
        f"{document['streamed samples']:,} samples streamed: {stream}.",
        "",
        *(f"- {bar}: {yes(holds)}" for bar, holds in document["bars"].items()),
        "",
        *_beside(document["beside peers"], "float32"),
        *_beside(document["beside peers, float64"], "float64"),
    ]


def _beside(peers: Document, dtype: str) -> Lines:
    """A table of seconds in memory."""
    rows = {
        way: [seconds, peers["times the seconds of ours"].get(way, 1)]
        for way, seconds in peers["seconds"].items()
    }
    return [
        f"### {peers['samples']:,} samples in memory, {dtype}, medians of {peers['turns']} turns",
        "",
        *markdown("", ["seconds", "times the seconds of ours"], rows),
        "",
    ]


def exactness(document: Document) -> Lines:
    """Differences from exact arithmetic."""
    table = document["difference of the coefficients"]
    columns = list(next(iter(table.values())))
    logits = document["largest error of a logit"]
    streams = document["streaming covariance"]
    return [
        "## Classification: exactness",
        "",
        f"`python -m benchmarks.classify.exactness`: {document['samples']:,} samples, "
        f"{document['features']} features, {document['classes']} classes; "
        f"{document['partitions of each kind']} random orders and partitions of each kind; the "
        "largest relative difference of a coefficient from 80-bit arithmetic. Within 1e-9: "
        f"{yes(document['within 1e-09'])}. {ran(document)}",
        "",
        *markdown("", columns, {kind: list(row.values()) for kind, row in table.items()}),
        "",
        "### largest error of a logit of the published code",
        "",
        *_table(logits),
        "",
        "### covariance within the classes, streamed",
        "",
        *_table(streams),
        "",
    ]


def incremental(document: Document) -> Lines:
    """Accuracy as classes come."""
    table = document["accuracy by classes so far"]
    columns = [n for n in next(iter(table.values())) if int(n) in (10, 30, 50, 100, 150)]
    rows = {way: [row[n] for n in columns] for way, row in table.items()}
    return [
        "## Classification: classes that come ten at a time",
        "",
        "`python -m benchmarks.classify.incremental`: CLINC150, each sample seen once, "
        f"{document['orders']} orders; accuracy on the classes so far. {ran(document)}",
        "",
        *markdown("classes so far", list(map(str, columns)), rows),
        "",
    ]


def rejection(document: Document) -> Lines:
    """Texts of no class."""
    lines = [
        "## Classification: texts of no known class",
        "",
        f"`python -m benchmarks.classify.rejection`: CLINC150, {document['known']:,} texts of its "
        f"classes and {document['of none']:,} of none. {ran(document)}",
        "",
    ]
    for name, part in document.items():
        if isinstance(part, dict) and "at a rate of" in part:
            areas = {way: [area] for way, area in part["area under ROC"].items()}
            lines += [f"### {name}", "", *markdown("", ["area under ROC"], areas), ""]
            lines += [*_table(part["at a rate of"]), ""]
    return lines


def _table(table: dict[str, dict[str, Any]]) -> Lines:
    columns = list(next(iter(table.values())))
    return markdown("", columns, {name: list(row.values()) for name, row in table.items()})


def pictures(read: Read, folder: Path) -> None:
    """Accuracy against fit time, the means over the sets."""
    document = read("classify-quality")
    if not document:
        return
    means = {
        w: r for w, r in document["means"].items() if w not in (SHUFFLED, "most frequent class")
    }
    with picture(folder / "classify-accuracy.svg", (7, 3.6)) as axes:
        for way, row in means.items():
            ours = way in (PLAIN, EXPANDED)
            colour = COLOURS.get(way, "#64748b")
            axes.scatter(
                row["seconds"], row["accuracy"], s=60 if ours else 30, color=colour, zorder=3
            )
            x, y = -7 if way in LEFT else 7, -12 if way in BELOW else 9 if way == EXPANDED else 3
            axes.annotate(
                way, (row["seconds"], row["accuracy"]), xytext=(x, y), textcoords="offset points",
                color=colour, weight="bold" if ours else "normal", ha="right" if x < 0 else "left",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("seconds to fit, mean over the sets (two cores)")
        axes.set_ylabel("accuracy, %")
        axes.margins(x=0.25, y=0.12)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


SECTIONS: dict[str, Callable[[Document], Lines]] = {
    "quality": quality,
    "speed": speed,
    "exactness": exactness,
    "incremental": incremental,
    "rejection": rejection,
}
