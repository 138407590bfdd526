"""Writes ``docs/results.md`` and its picture from the figures in benchmarks/results.

``python -m benchmarks.report``; nothing is measured here. Each verb says what its files say, in its
own ``page.py``.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.classify import page as classify
from benchmarks.data import ROOT
from benchmarks.search import page as search
from benchmarks.tune import page as tune
from benchmarks.words import page as words

RESULTS = ROOT / "benchmarks" / "results"


def read(name: str) -> dict[str, Any] | None:
    """The document of one committed result."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def page() -> str:
    """All that the committed results say."""
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.report` from `benchmarks/results`.",
        "",
    ]
    rooms = (search, words, classify, tune)
    return "\n".join([*lines, *(line for room in rooms for line in room.sections(read))])


def main() -> None:
    """Write the page and the pictures."""
    search.pictures(read, ROOT / "docs")
    classify.pictures(read, ROOT / "docs")
    tune.pictures(read, ROOT / "docs")
    (ROOT / "docs" / "results.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
