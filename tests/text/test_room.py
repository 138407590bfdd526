"""The ground floor stays light."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys, shoestring.text
heavy = {"torch", "transformers", "sentence_transformers", "sklearn", "scipy", "pandas", "polars",
         "pyarrow", "tokenizers"}
print(*sorted(heavy & set(sys.modules)))
"""


def test_importing_the_room_loads_no_heavy_library():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
