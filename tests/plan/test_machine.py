import json
from collections import Counter

import numpy as np
import pytest
import torch
from tests.plan.conftest import made_up

from shoestring.errors import ParameterError
from shoestring.plan import machine
from shoestring.plan.trace import Operator

CALIBRATE = machine.calibrate  # before a fixture replaces it
MM = Operator("mm", "float32", 100 * 200 * 300, (100, 200, 300))
ADD = Operator("add", "float32", 12_000, (12_000,))
VIEW = Operator("view", "float32", 0, (0,))


def test_time_is_the_sum_over_the_operators():
    on = made_up(mac_s=1e-9, byte_s=1e-8, overhead_s=1e-5)
    expected = 2 * 100 * 200 * 300 * 1e-9 + 3 * 12_000 * 1e-8 + 9 * 1e-5
    found = on.seconds(Counter({MM: 2, ADD: 3, VIEW: 4}), False)
    assert found == pytest.approx(expected)


def test_an_operator_that_was_not_timed_counts_as_an_addition_of_as_many_bytes():
    on = made_up()
    unknown = ADD._replace(name="unheard_of")
    assert on.seconds({unknown: 1}, True) == on.seconds({ADD: 1}, True)


def test_between_the_points_of_a_grid_a_rate_is_between_theirs():
    on = made_up()
    rows = on.rates["mm/float32"]
    for row, rate in zip(rows, np.geomspace(1e-9, 1e-11, len(rows)), strict=True):
        row[-1] = rate
    small, between, large, huge = (
        on._rate(MM._replace(point=point))
        for point in ((16, 32, 32), (50, 32, 32), (128, 32, 32), (1 << 20, 1 << 20, 1 << 20))
    )
    assert small > between > large
    assert huge == pytest.approx(1e-11)


def test_what_was_measured_is_remembered_and_measured_again_where_it_is_damaged(
    monkeypatch, capsys
):
    measured = []

    def calibrate():
        measured.append(made_up(mac_s=1e-9 / (1 + len(measured))))
        return measured[-1]

    monkeypatch.setattr(machine, "calibrate", calibrate)
    first = machine.measure_machine()
    assert "Measuring this machine, once" in capsys.readouterr().err
    assert machine.measure_machine() == first
    assert len(measured) == 1
    assert capsys.readouterr().err == ""
    assert machine.measure_machine(again=True) != first
    machine._path().write_text("{", "utf-8")
    machine.measure_machine()
    assert len(measured) == 3
    machine._path().write_text(json.dumps({"processor": "another format"}), "utf-8")
    machine.measure_machine()
    assert len(measured) == 4


def test_threads_and_processors_are_remembered_apart(monkeypatch):
    one = machine._path()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert machine._path() != one


def test_a_folder_that_cannot_be_written_loses_only_the_memory(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert machine.measure_machine().processor == "made up"


def test_a_wrong_argument_is_refused():
    with pytest.raises(ParameterError, match="again"):
        machine.measure_machine(again="yes")


def test_calibration_fills_every_table_with_times_above_zero(monkeypatch):
    monkeypatch.setattr(
        machine, "GRIDS", {k: tuple((32, 64) for _ in a) for k, a in machine.GRIDS.items()}
    )
    monkeypatch.setattr(machine, "SIZES", (1 << 12, 1 << 13))
    monkeypatch.setattr(machine, "LEAST_S", 0.0)
    monkeypatch.setattr(machine, "FITTED", ((32, 1, 1, 4), (64, 2, 2, 8)))
    monkeypatch.setattr(machine, "CHECKS", ((32, 2, 1, 8),))
    found = CALIBRATE()
    names = {*machine.GRIDS, *machine.CALLS, "attention_backward"}
    assert set(found.rates) == {f"{name}/{dtype}" for name in names for dtype in machine.DTYPES}
    assert min(row[-1] for rows in found.rates.values() for row in rows) > 0
    assert [len(rows) for rows in (found.rates["mm/float32"], found.rates["add/float32"])] == [8, 3]
    assert found.error >= 0
    assert json.loads(json.dumps(found.summary))["threads"] == torch.get_num_threads()
