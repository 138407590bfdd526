"""All that is measured of tuning: time and memory, quality, a large backbone.

``python -m benchmarks.tune`` runs the parts one after the other, each in a process of its own, as
``python -m benchmarks.tune.PART`` does. With ``--json tune.json`` each writes its figures beside
it, ``tune-speed.json`` and so on. In full it takes hours; quality goes on where it was interrupted.
"""

from __future__ import annotations

from benchmarks import parts

PARTS = ("speed", "quality", "scale")

if __name__ == "__main__":
    parts.run("benchmarks.tune", PARTS, __doc__.splitlines()[0], "an hour for all parts")
