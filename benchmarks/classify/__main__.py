"""All that is measured of the closed-form classifier: exactness, speed, quality, streams.

``python -m benchmarks.classify`` runs the parts one after the other, each in a process of its own,
as ``python -m benchmarks.classify.PART`` does. With ``--json classify.json`` each writes its
figures beside it, ``classify-speed.json`` and so on: in ``benchmarks/results`` they are what
``python -m benchmarks.report`` reads. In full it takes about an hour, with MiniLM's vectors of the
sets, which are kept outside git.
"""

from __future__ import annotations

from benchmarks import parts

PARTS = ("exactness", "speed", "quality", "incremental", "rejection")

if __name__ == "__main__":
    parts.run("benchmarks.classify", PARTS, __doc__.splitlines()[0], "some minutes for all parts")
