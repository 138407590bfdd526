"""All that is measured of growing: coverage, folders, training.

``python -m benchmarks.grow`` runs the parts one after the other, each in a process of its own; in
full some two hours of a core, most of them training, which goes on where it was interrupted.
"""

from __future__ import annotations

from benchmarks import parts

PARTS = ("coverage", "folders", "training")

if __name__ == "__main__":
    parts.run("benchmarks.grow", PARTS, __doc__.splitlines()[0], "ten minutes for all parts")
