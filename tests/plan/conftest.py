"""Pricing needs transformers; nothing is measured but where a test says so."""

from itertools import product

import pytest

pytest.importorskip("transformers")

from shoestring.plan import machine
from shoestring.plan.machine import CALLS, DTYPES, GRIDS, Machine


def made_up(mac_s=1e-11, byte_s=1e-10, overhead_s=0.0):
    """A machine on which every multiply-add and every byte takes the same time."""
    axes = {**GRIDS, "attention_backward": GRIDS["attention"]}
    rates = {name: [[*point, mac_s] for point in product(*axes[name])] for name in axes}
    rates |= {name: [[1, byte_s], [1e9, byte_s]] for name in CALLS}
    tables = {f"{name}/{dtype}": rows for name, rows in rates.items() for dtype in DTYPES}
    return Machine("made up", 1, tables, 1e-9, [[1.0, overhead_s]] * 2, 0.1)


@pytest.fixture
def on():
    return made_up()


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch, tmp_path, on):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "calibrate", lambda: on)
