"""Writes ``docs/results/`` and the pictures of the docs from the figures in benchmarks/results.

``python -m benchmarks.report``; nothing is measured here. Each verb says what its files say, in its
own ``page.py``: one page a room, and an index of their headings.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.classify import page as classify
from benchmarks.data import ROOT
from benchmarks.doctor import page as doctor
from benchmarks.grow import page as grow
from benchmarks.match import page as match
from benchmarks.neighbour import page as neighbour
from benchmarks.plan import page as plan
from benchmarks.reliability import page as reliability
from benchmarks.search import page as search
from benchmarks.tune import page as tune
from benchmarks.words import page as words

RESULTS = ROOT / "benchmarks" / "results"
PAGES = ROOT / "docs" / "results"
ROOMS = {
    "search": search,
    "words": words,
    "classify": classify,
    "match": match,
    "tune": tune,
    "grow": grow,
    "doctor": doctor,
    "plan": plan,
    "neighbour": neighbour,
    "reliability": reliability,
}


def read(name: str) -> dict[str, Any] | None:
    """The document of one committed result."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def pages() -> dict[str, str]:
    """All that the committed results say: the text of each page by its name."""
    said = "Written by `python -m benchmarks.report` from `benchmarks/results`."
    index = ["# Results", "", said, ""]
    found: dict[str, str] = {}
    for room, page in ROOMS.items():
        lines = page.sections(read)
        found[room] = "\n".join([f"# Results: {room}", "", said, "", *lines])
        index += [f"## [{room}]({room}.md)", ""]
        index += [f"- {line.removeprefix('## ')}" for line in lines if line.startswith("## ")]
        index += [""]
    return {"index": "\n".join(index), **found}


def main() -> None:
    """Write the pages and the pictures."""
    for room in (search, classify, match, tune, grow, doctor, plan):
        room.pictures(read, ROOT / "docs")
    for name, text in pages().items():
        (PAGES / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
