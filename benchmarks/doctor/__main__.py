"""All that is measured of the doctor: prediction, faults, deviations, a deep stack's training.

``python -m benchmarks.doctor`` runs the parts one after the other, each in a process of its own; in
full some two hours of a core, mostly training, which goes on where it was interrupted.
"""

from __future__ import annotations

from benchmarks import parts

PARTS = ("prediction", "faults", "head", "deviation", "training")

if __name__ == "__main__":
    parts.run("benchmarks.doctor", PARTS, __doc__.splitlines()[0], "some minutes for all parts")
