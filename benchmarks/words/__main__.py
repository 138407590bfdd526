"""All that is measured of word vectors: speed and memory, the index, quality, the first stage.

``python -m benchmarks.words`` runs the parts one after the other, each in a process of its own, as
``python -m benchmarks.words.PART`` does. With ``--json words.json`` each writes its figures beside
it, ``words-speed.json``, ``words-overlap.json`` and so on: in ``benchmarks/results`` they are what
``python -m benchmarks.report`` reads. In full it takes some hours, most of them quality; a part
that fails does not keep the others from running.
"""

from __future__ import annotations

from benchmarks import parts

PARTS = ("speed", "overlap", "quality", "first_stage", "hashing")

if __name__ == "__main__":
    parts.run("benchmarks.words", PARTS, __doc__.splitlines()[0], "some minutes for all parts")
