"""Where the real data sets and our own cache are; both stay outside git."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SHOESTRING_DATA", ROOT.parent / "shared" / "data"))
CACHE = Path(os.environ.get("SHOESTRING_CACHE", ROOT / ".cache"))


def require(relative: str) -> Path:
    """The path of a data file, or exit with the reason why this run is skipped."""
    path = DATA / relative
    if not path.exists():
        raise SystemExit(
            f"skipped: {relative} is not there. Set SHOESTRING_DATA to the folder that has it."
        )
    return path
