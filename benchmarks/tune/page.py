"""What benchmarks/results says of tune: the sections of docs/results/tune.md, and the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.output import Read, markdown, picture, ran, yes
from benchmarks.output import sections as of_parts

Document = dict[str, Any]
Lines = list[str]
FIGURES = {"standard library": "MRR@30"}  # of the others nDCG@10
COSTS = ("ten epochs, s", "resident above the backbone, MiB", "kept for backward, MiB")
COLOURS = {"head": "#9a9a9a", "ladder": "#1b7837", "lora": "#c51b7d", "full": "#5e3c99"}


def quality(document: Document) -> Lines:
    """Figures on the test halves."""
    tasks, means = document["tasks"], document["means"]
    methods = list(dict.fromkeys(name for task in tasks.values() for name in task["methods"]))
    rows = {
        f"{name} ({found['figure']})": [_mean(found["methods"].get(method)) for method in methods]
        for name, found in tasks.items()
    }
    controls = {
        name: ["; ".join(f"{what} {value:g}" for what, value in found["controls"].items())]
        for name, found in tasks.items()
    }
    return [
        "## Tuning: quality",
        "",
        f"`python -m benchmarks.tune.quality`: MiniLM, and a small BERT of `shoestring tune mlm` "
        f"for Chinese; best of {document['epochs']:g} epochs; ± half of the spread over the seeds, "
        f"as many as brackets say. {ran(document)}",
        "",
        *markdown("", methods, rows),
        "",
        *markdown(
            "mean over tasks, in the way that is best on what is held out",
            list(next(iter(means.values()))),
            {
                language: ["" if mean is None else f"{mean:.2f}" for mean in row.values()]
                for language, row in means.items()
            },
        ),
        "",
        *(
            f"- {bar}: {'not all runs are there' if holds is None else yes(holds)}"
            for bar, holds in document["bars"].items()
        ),
        "",
        *markdown("controls", [""], controls),
        "",
    ]


def _mean(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{row['mean']:.2f} ± {row['spread'] / 2:.2f} ({len(row['runs'])})"


def speed(document: Document) -> Lines:
    """Seconds and memory."""
    ways = document["ways"]
    columns = list(next(iter(ways.values())))
    bars = {
        name: [f"{bar['share']:.3f}", bar["bar"], yes(bar["holds"])]
        for name, bar in document["bars"].items()
    }
    answers = document["inference"]
    published = "; ".join(f"{name}: {share}" for name, share in document["published"].items())
    return [
        "## Tuning: time and memory",
        "",
        f"`python -m benchmarks.tune.speed`: MiniLM, banking77, batches of {document['batch']} "
        f"texts of at most {document['tokens']} tokens, medians of {document['turns']} turns. "
        f"{ran(document)}",
        "",
        *markdown("", columns, {way: list(row.values()) for way, row in ways.items()}),
        "",
        *markdown("the ladder's share", ["share", "bar", "holds"], bars),
        "",
        f"2,000 answers: {answers['ladder, s']} s with the ladder, {answers['backbone, s']} s with "
        f"the backbone alone. Published, memory saved of full fine-tuning's: {published}.",
        "",
    ]


def scale(document: Document) -> Lines:
    """A deep backbone within a few gigabytes."""
    return [
        "## Tuning: a large backbone",
        "",
        f"`python -m benchmarks.tune.scale`: {document['what']}. {ran(document)}",
        "",
        *markdown("", ["GiB at most", "seconds a step"], document["ways"]),
        "",
        f"In less than 8 GiB: {yes(document['ladder below 8 GiB'])}.",
        "",
    ]


def default_scorer(document: Document) -> Lines:
    """What ranks the standard library and other collections how well."""
    table, default = document["table"], document["ways"][document["default"]]
    learnt = {
        "documentation": f"the documentation of {len(document['packages'])} packages",
        "wikipedia": "the English Wikipedia",
    }
    collections = list(next(iter(table.values())))
    figures = {key: FIGURES.get(key, "nDCG@10") for key in collections}
    rows = {
        name + _shipped_as(name, document): [
            _with_interval(row[key], figures[key]) for key in collections
        ]
        for name, row in table.items()
    }
    return [
        "## Tuning: the default scorer",
        "",
        f"`python -m benchmarks.tune.default_scorer`: {document['lists']:,} lists of "
        f"{' and of '.join(learnt[source] for source in default['sources'])}; in brackets 95 % of "
        "the bootstrap of the difference from token interaction; elsewhere: all queries but the "
        f"library's. {ran(document)}",
        "",
        *markdown("", [f"{key}, {figure}" for key, figure in figures.items()], rows),
        "",
        *(f"- {bar}: {yes(holds)}" for bar, holds in document["bars"].items()),
        "",
    ]


def _shipped_as(way: str, document: Document) -> str:
    name = document["shipped"].get(way)
    if name is None:
        return ""
    return f" **({name}, the default)**" if way == document["default"] else f" **({name})**"


def _with_interval(cell: dict[str, Any], figure: str) -> str:
    text = f"{cell[figure]:.4f}"
    if "difference" in cell:
        low, high = cell["difference"]
        text += f" ({low:+.4f} to {high:+.4f}; {cell['questions']:,} questions)"
    return text


def sections(read: Read) -> Lines:
    """Those whose results are there."""
    parts = {
        "quality": quality, "speed": speed, "scale": scale, "default-scorer": default_scorer,
    }  # fmt: skip
    return of_parts(read, "tune", parts)


def pictures(read: Read, folder: Path) -> None:
    """The ladder; time and memory beside the others."""
    with picture(folder / "tune-ladder.svg", (6, 3.4)) as axes:
        _ladder(axes)
    if document := read("tune-speed"):
        with picture(folder / "tune-costs.svg", (9, 2.6), len(COSTS)) as panels:
            _costs(panels, document["ways"])


def _ladder(axes: Any) -> None:
    axes.set(xlim=(0, 10), ylim=(0, 7.2))
    axes.axis("off")
    names = ["embedding", "layers 1 to 3", "layers 4 to 6", "the last layers"]
    for k, name in enumerate(names):
        y = 0.4 + 1.6 * k
        _box(axes, (0.4, y), (3.6, 0.9), name, "#dddddd")
        if k:
            _box(axes, (7.2, y), (1.2, 0.9), "block", "#a6dba0")
            axes.annotate("", (2.2, y), (2.2, y - 0.7), arrowprops={"arrowstyle": "->"})
            axes.annotate("", (7.8, y), (7.8, y - 0.7), arrowprops={"arrowstyle": "->"})
        else:
            _box(axes, (7.2, y), (1.2, 0.9), "h₀", "#a6dba0")
        axes.annotate(
            "",
            (7.2, y + 0.45),
            (4.0, y + 0.45),
            arrowprops={"arrowstyle": "->", "color": "#1b7837"},
        )
        axes.text(5.6, y + 0.55, "Down, gate" if k else "Down", ha="center", color="#1b7837")
    axes.annotate("", (8.6, 6.6), (7.8, 6.1), arrowprops={"arrowstyle": "->"})
    axes.annotate("", (8.6, 6.7), (2.2, 6.1), arrowprops={"arrowstyle": "->"})
    axes.text(8.7, 6.5, "head")
    axes.text(2.2, 6.9, "frozen, computed once: no gradient", ha="center")


def _box(
    axes: Any, corner: tuple[float, float], size: tuple[float, float], text: str, colour: str
) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(corner, *size, facecolor=colour, edgecolor="black", linewidth=0.6))
    axes.text(corner[0] + size[0] / 2, corner[1] + size[1] / 2, text, ha="center", va="center")


def _costs(panels: Any, ways: dict[str, dict[str, float]]) -> None:
    names = list(ways)
    colours = [COLOURS[name.partition(",")[0]] for name in names]
    for axes, name in zip(panels, COSTS, strict=True):
        axes.barh(names[::-1], [ways[way][name] for way in names[::-1]], color=colours[::-1])
        axes.set_title(name, fontsize=9)
        if axes is not panels[0]:
            axes.set_yticklabels([])
