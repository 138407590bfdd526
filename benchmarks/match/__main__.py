"""All that is measured of matching: decipherment, audit, learning curves, matchers.

``python -m benchmarks.match`` runs the parts one after the other, each in a process of its own, as
``python -m benchmarks.match.PART`` does. With ``--json match.json`` each writes its figures beside
it, ``match-decipherment.json`` and so on. The curves and the matchers start from the base model
that ``python -m benchmarks.match.base`` makes in an hour; in full it all takes some five hours of
two cores, and goes on where it was interrupted.
"""

from __future__ import annotations

from benchmarks import parts

PARTS = ("decipherment", "audit", "curves", "matching")

if __name__ == "__main__":
    parts.run("benchmarks.match", PARTS, __doc__.splitlines()[0], "half an hour for all parts")
