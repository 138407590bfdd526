"""What the losses of a run say: settled early at a constant, diverged late, jumped at a seam.

On the losses, and on their medians over a fiftieth of the run:

    diverged        the last median is above the lowest by a tenth of all that was won, and by 2 %
    settled early   or it is less than 2 % below that after a tenth of the run
    spike           before its lowest median, a loss is above the median before it by half of what
                    was won, and by 5 %
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import median_filter

from shoestring.checks import checked_path
from shoestring.doctor.remedy import Fault
from shoestring.errors import FormatError
from shoestring.text.files import read_rows

LEAST = 10


def read_curve(log: str | Path) -> list[Fault]:
    """Read the losses of a log and say what is wrong with the run.

    Parameters
    ----------
    log : str or Path
        JSON lines with ``loss`` and maybe ``step``, or transformers' trainer_state.json.

    Raises
    ------
    FormatError
        If it is neither, or has fewer than ten losses.
    StorageError
        If it cannot be read.
    """
    path = checked_path("log", log, "read_curve")
    rows: list[Any] = []
    for _, row in read_rows(path, ("loss",), format="json"):
        if isinstance(row, FormatError):
            raise row
        history = (row or {}).get("log_history", [row])
        rows += history if isinstance(history, list) else []
    given = [row for row in rows if isinstance(row, dict) and type(row.get("loss")) in (int, float)]
    if len(given) < LEAST:
        raise FormatError(
            f"has {len(given)} losses; there must be at least {LEAST}, as 'loss' in JSON lines or "
            "in a trainer_state.json.",
            file=path,
        )
    steps = [f"step {row.get('step', number)}" for number, row in enumerate(given)]
    losses = np.array([row["loss"] for row in given], dtype=float)
    losses = np.where(np.isfinite(losses), losses, math.inf)
    smooth = median_filter(losses, len(losses) // 50 * 2 + 1, mode="nearest")
    low, early = int(smooth.argmin()), len(smooth) // 10
    won, last = float(smooth[0] - smooth[low]), float(smooth[-1])
    found = []
    most = float(smooth[low] + max(0.1 * won, 0.02 * abs(smooth[low])))
    least = 0.98 * float(smooth[early])
    if not last <= most:
        advice = f"Go back before {steps[low]}, with a lower learning rate or more warm-up."
        found.append(Fault("diverged", steps[low], last, most, advice))
    elif last > least:
        advice = "Run shoestring doctor on the model: its layers may pass nothing on."
        found.append(Fault("settled early", steps[early], last, least, advice))
    before = smooth[: max(1, low)]
    bars = before + np.maximum(0.5 * won, 0.05 * np.abs(before))
    at = int((losses[1 : len(bars) + 1] - bars).argmax())
    if losses[at + 1] > bars[at]:
        advice = "Warm up again where batch, length or model change; carry Adam's moments along."
        found.append(Fault("spike", steps[at + 1], float(losses[at + 1]), float(bars[at]), advice))
    return found
