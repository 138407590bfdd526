"""How soon a query on the command line answers: ``python -m benchmarks.search.start``.

The docstrings of the standard library, an index of each kind; ``shoestring search query`` alone in
a process, some times. Beside it Python that does nothing, and a script that loads a cross-encoder
with sentence-transformers, which is what a reranking command without us begins with. Seconds of the
wall clock and of the processor, the least of all runs; run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import output

HEAVY = ("torch", "transformers", "sklearn", "scipy.stats", "pandas", "numba")
KINDS = ("lsa", "minilm")
BAR = 1.0  # seconds
QUERY = "how do I flatten nested lists"
COMMAND = "from shoestring.cli import main; main()"
PEER = "from sentence_transformers import CrossEncoder; CrossEncoder({folder!r})"
HOW = "import sys, atexit; atexit.register(lambda: print([m for m in {heavy} if m in sys.modules]))"


def quickest(code: str, arguments: list[str], n_runs: int) -> dict[str, float]:
    """The least seconds of a process, by the wall clock and by the processor."""
    walls, cpus = [], []
    for _ in range(n_runs):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
        walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(sum(getattr(after, n) - getattr(before, n) for n in ("ru_utime", "ru_stime")))
    return {"seconds": round(min(walls), 2), "cpu seconds": round(min(cpus), 2)}


def main() -> None:
    """Build, ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="two runs of each")
    options = parser.parse_args()
    from shoestring.models.backbone import model_folder
    from shoestring.text import python_docs

    n_runs = 2 if options.quick else 9
    found = {"python": quickest("", [], n_runs)}
    with TemporaryDirectory() as folder:
        docs = Path(folder) / "docs.jsonl"
        rows = [json.dumps({"id": one.id, "text": one.text}) for one in python_docs()]
        docs.write_text("\n".join(rows), "utf-8")
        for kind in KINDS:
            index = Path(folder) / kind
            build = ["search", "build", str(docs), "--encoder", kind, "--out", str(index)]
            subprocess.run([sys.executable, "-c", COMMAND, *build], check=True)
            ask = ["search", "query", str(index), QUERY, "--calls", "0", "--json"]
            found[kind] = quickest(COMMAND, ask, n_runs)
            code = f"{HOW.format(heavy=HEAVY)}; {COMMAND}"
            told = subprocess.run(
                [sys.executable, "-c", code, *ask], capture_output=True, text=True
            )
            found[kind]["heavy modules"] = told.stdout.splitlines()[-1]
            found[kind]["holds"] = found[kind]["seconds"] <= BAR
    found["a CrossEncoder"] = quickest(PEER.format(folder=str(model_folder(None))), [], n_runs)
    output.show(found)
    output.write({"bar": BAR, "ways": found}, options)


if __name__ == "__main__":
    main()
