"""The page of results on files in trouble; see ``benchmarks.report``."""

from __future__ import annotations

from typing import Any

from benchmarks.output import Read, ran
from benchmarks.reliability.__main__ import table

WHAT = {
    "kills": "Writers of a search index, killed (kill -9) at random moments, and opened again.",
    "races": "Several writers, readers and copies of one index at a time: what is counted is "
    "trouble.",
    "damage": "Every file of every kind of folder with a flipped bit, cut, emptied, removed or "
    "forged, and the folder asked. Other answers without a word, errors that are not ours and "
    "crashes are faults.",
}


def sections(read: Read) -> list[str]:
    """What the committed run says."""
    document: dict[str, Any] | None = read("reliability")
    if document is None:
        return []
    lines = []
    for part, what in WHAT.items():
        if part in document:
            lines += [f"## {part.capitalize()}", "", what, "", *table(document[part]), ""]
    return [f"`python -m benchmarks.reliability`; {ran(document)}", "", *lines]
