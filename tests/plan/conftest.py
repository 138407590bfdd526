"""Pricing needs transformers; nothing is measured but where a test says so."""

import math

import pytest

pytest.importorskip("transformers")

from shoestring.plan import machine
from shoestring.plan.machine import CALLS, DTYPES, GRIDS, Machine


def made_up(mac_s=1e-11, byte_s=1e-10, overhead_s=0.0):
    """A machine on which every multiply-add and every byte takes the same time."""
    points = {kind: math.prod(map(len, axes)) for kind, axes in GRIDS.items()}
    return Machine(
        "made up",
        1,
        {f"{kind}/{dtype}": [mac_s] * n for kind, n in points.items() for dtype in DTYPES},
        {f"{name}/{d}": [[1, byte_s], [1e9, 1e9 * byte_s]] for name in CALLS for d in DTYPES},
        [1.0, 1.0],
        [overhead_s, overhead_s],
        1e-9,
        0.1,
    )


@pytest.fixture
def on():
    return made_up()


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch, tmp_path, on):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "calibrate", lambda: on)
