"""The page ``docs/results/grow.md`` and the picture of the training curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.output import Read, markdown, picture, ran, yes

Document = dict[str, Any]
Lines = list[str]


def sections(read: Read) -> Lines:
    """All that there is."""
    return output.sections(read, "grow", SECTIONS)


def coverage(document: Document) -> Lines:
    """Families and axes."""
    cells = document["cells"]
    axes = list(next(iter(cells.values())))
    rows = {family: list(found.values()) for family, found in cells.items()}
    return [
        "## Growing: which axis of which family is exact",
        "",
        "`python -m benchmarks.grow.coverage`: largest difference of the answers in float64, and "
        f"in float32 relative to the largest answer, over {document['batches']} batches. "
        f"{ran(document)}",
        "",
        *markdown("family", axes, rows),
        "",
        *(f"- {name}, by its own account: {claim}" for name, claim in document["peers"].items()),
        "",
    ]


def folders(document: Document) -> Lines:
    """Seconds and bytes."""
    lines = [
        "## Growing: checkpoints",
        "",
        "`python -m benchmarks.grow.folders`: MiniLM, BERT of 110 to 340 million, Llama of 1.4 to "
        f"3.1 billion in bfloat16. {ran(document)}",
        "",
    ]
    for name, part in document["parts"].items():
        rows = {key: [value] for key, value in part.items()}
        lines += [f"### {name}", "", *markdown("", ["figure"], rows), ""]
    return lines


def training(document: Document) -> Lines:
    """What growing saves."""
    lines = [
        "## Growing: what it saves",
        "",
        "`python -m benchmarks.grow.training`: operations saved to the last loss of training from "
        f"scratch, the small phase counted; {document['seeds']} seeds, "
        f"{document['flops']:.1e} operations a run. {ran(document)}",
        "",
    ]
    for axis, part in document["axes"].items():
        columns = ("last loss", "saved", "mean", "interval")
        rows = {arm: [found[c] for c in columns] for arm, found in part["arms"].items()}
        lines += [f"### {axis}", "", *markdown("arm", columns, rows), ""]
        if "depth" in axis:
            ours, bars = part["arms"]["ours"], document["bars"]
            holds = ours["mean"] >= bars["depth"]
            holds &= ours["interval"][0] >= bars["depth, lower end"]
            lines += [f"- at least 30 %, and 20 % at the lower end: {yes(holds)}", ""]
    return lines


SECTIONS = {"coverage": coverage, "folders": folders, "training": training}


def pictures(read: Read, docs: Path) -> None:
    """The curves of the first seed."""
    document = read("grow-training")
    if document is None:
        return
    shown = document["axes"]
    with picture(docs / "grow-training.svg", (9, 3.4), len(shown), squeeze=False) as places:
        for place, (axis, part) in zip(places[0], shown.items(), strict=True):
            for arm, points in part["curves"].items():
                place.plot(*zip(*points, strict=True), label=arm, linewidth=1.2)
            place.set(title=axis, xlabel="operations", ylabel="loss (nats)")
            place.set_ylim(top=min(points[4][1] for points in part["curves"].values()))
            place.legend(fontsize=7)
