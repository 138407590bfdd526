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

from shoestring.checks import checked_path
from shoestring.doctor.remedy import Fault
from shoestring.errors import FormatError
from shoestring.text.files import read_rows
from shoestring.types import FloatArray

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
    steps = [row.get("step", number) for number, row in enumerate(given)]
    return _faults(steps, np.array([row["loss"] for row in given], dtype=float))


def _faults(steps: list[Any], losses: FloatArray) -> list[Fault]:
    losses = np.where(np.isfinite(losses), losses, math.inf)
    wide = len(losses) // 50 * 2 + 1
    edges = np.pad(losses, wide // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(edges, wide), -1)
    low, early = int(smooth.argmin()), len(smooth) // 10
    won, last = float(smooth[0] - smooth[low]), float(smooth[-1])
    found = []
    bar = float(smooth[low] + max(0.1 * won, 0.02 * abs(smooth[low])))
    if not last <= bar:
        advice = f"Go back before step {steps[low]}, with a lower learning rate or more warm-up."
        found.append(Fault("diverged", f"step {steps[low]}", last, bar, advice))
    elif last > (bar := 0.98 * float(smooth[early])):
        advice = "Run shoestring doctor on the model: its layers may pass nothing on."
        found.append(Fault("settled early", f"step {steps[early]}", last, bar, advice))
    before = smooth[: max(1, low)]
    bars = before + np.maximum(0.5 * won, 0.05 * np.abs(before))
    jumps = losses[1 : len(bars) + 1] - bars
    at = int(jumps.argmax())
    if jumps[at] > 0:
        advice = "Warm up again where batch, length or model change; carry Adam's moments along."
        place = f"step {steps[at + 1]}"
        found.append(Fault("spike", place, float(losses[at + 1]), float(bars[at]), advice))
    return found
