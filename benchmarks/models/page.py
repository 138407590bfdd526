"""What the committed run of ``benchmarks.models.kernels`` says; see ``benchmarks.report``."""

from __future__ import annotations

from typing import Any

from benchmarks.output import Read, markdown, ran


def table(document: dict[str, Any]) -> list[str]:
    """A row for each engine."""
    columns = ["texts a second", "beside two busy loops", "CPU ms for a text", "for a query"]
    columns += [f"of {document['k']} nearest kept", "s to the first vector", "MB installed"]
    digits = {"texts_per_s": 0, "texts_per_s_beside_2_loops": 0, "text_cpu_ms": 2}
    digits |= {"query_cpu_ms": 1, "kept": 3, "cold_s": 2, "installed_mb": 0}
    rows = {
        name: ["" if row[key] is None else f"{row[key]:,.{n}f}" for key, n in digits.items()]
        for name, row in document["engines"].items()
    }
    rows |= {f"{name}: {why}": [""] * len(columns) for name, why in document["skipped"].items()}
    return markdown("engine", columns, rows)


def sections(read: Read) -> list[str]:
    """BERT on a CPU: ours beside its peers."""
    document = read("kernels")
    if document is None:
        return []
    said = f"`python -m benchmarks.models.kernels`, {document['texts']:,} texts; {ran(document)}"
    head = ["## BERT on a CPU, beside its peers", "", said, ""]
    return [*head, *table(document), ""]
