"""What is promised of files in trouble: kills, races, damage; how often each promise was kept.

``python -m benchmarks.reliability`` kills 215 writers of search indexes, lets writers, readers and
copies race, and damages every kind of artifact; some ten minutes. The parts say what they count:
:mod:`~benchmarks.reliability.kills`, :mod:`~benchmarks.reliability.races`,
:mod:`~benchmarks.reliability.damage`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks import output
from benchmarks.reliability import damage, kills, races


def measure(parts: Sequence[str], quick: bool, seed: int) -> dict[str, Any]:
    """The rows of each part."""
    found: dict[str, Any] = {}
    if "kills" in parts:
        found["kills"] = kills.run(quick, seed)
    if "races" in parts:
        found["races"] = races.run(quick, seed)
    if "damage" in parts:
        found["damage"] = damage.run(quick, seed=seed)
    return found


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of one part as a Markdown table; lists are left out."""
    corner, *columns = [name for name, value in rows[0].items() if not isinstance(value, list)]
    cells = {row[corner]: [row[name] for name in columns] for row in rows}
    return output.markdown(corner, columns, cells)


def main() -> None:
    """Parse the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="kills,races,damage", help="separated by commas")
    output.options(parser, quick="a tenth of it, in about a minute")
    options = parser.parse_args()
    result = measure(options.parts.split(","), options.quick, options.seed)
    for part, rows in result.items():
        print("\n".join(["", part, "", *table(rows)]))
    output.write(result, options)


if __name__ == "__main__":
    main()
