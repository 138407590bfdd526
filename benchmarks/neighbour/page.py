"""The page of results on busy cores; see ``benchmarks.report``."""

from __future__ import annotations

from typing import Any

from benchmarks.models import page as kernels
from benchmarks.output import Read, markdown, ran, yes

BAR = 1.3


def table(document: dict[str, Any]) -> list[str]:
    """One row for each job and neighbourhood, as it is printed and as it is kept."""
    columns = ["s", "CPU s", "s over quiet", "fair", "over fair", f"at most {BAR}"]
    rows = {}
    for row in document["rows"]:
        figures = [f"{row[name]:.2f}" for name in ("s", "cpu_s", "over_quiet", "fair", "over_fair")]
        holds = yes(row["over_fair"] <= BAR) if row["beside"] != "quiet" else ""
        rows[f"{row['job']}, {row['beside']}"] = [*figures, holds]
    return markdown("job, beside it", columns, rows)


def sections(read: Read) -> list[str]:
    """What the committed runs say."""
    document = read("neighbour")
    return [*(_busy(document) if document else []), *kernels.sections(read)]


def _busy(document: dict[str, Any]) -> list[str]:
    lines = [
        "## Time on cores that others want as well", "",
        f"`python -m benchmarks.neighbour`; {ran(document)} {document['jobs']}", "",
        "Busy loops are processes of equal priority. Fair: (p + L) / C, at least 1, for L loops on "
        "C cores and a job that keeps p threads busy when quiet (its CPU seconds over its "
        f"seconds). Medians of {document['turns']} turns.", "",
    ]  # fmt: skip
    skipped = [f"Skipped: {name}, as {why}." for name, why in document["skipped"].items()]
    return [*lines, *table(document), "", *skipped, *([""] if skipped else [])]
