"""All that is measured of planning: counts, other counters, memory, time, attention.

``python -m benchmarks.plan`` runs the parts one after the other, each in a process of its own; in
full an hour and a half of a core, most of it timing. Set the threads with ``OMP_NUM_THREADS``; the
machine should have nothing else to do. ``peers`` shows the counters that are installed.
"""

from __future__ import annotations

from benchmarks import parts

PARTS = ("counts", "peers", "memory", "timing", "attention")

if __name__ == "__main__":
    parts.run("benchmarks.plan", PARTS, __doc__.splitlines()[0], "six minutes for all parts")
