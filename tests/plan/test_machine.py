import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.plan.conftest import made_up

from shoestring.errors import ParameterError
from shoestring.plan import machine
from shoestring.plan.trace import Operator

CALIBRATE = machine.calibrate  # before a fixture replaces it
MM = Operator("mm", (1, 100, 200, 300), 440_000, "float32")
ADD = Operator("add", None, 12_000, "float32")
VIEW = Operator("view", None, 0, "float32")


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
    rates = np.geomspace(1e-9, 1e-11, len(on.mac_s["mm/float32"]))
    on = replace(on, mac_s={**on.mac_s, "mm/float32": rates.tolist()})
    small = on._rate("mm/float32", (16, 32, 32))
    large = on._rate("mm/float32", (128, 32, 32))
    assert small > on._rate("mm/float32", (50, 32, 32)) > large
    assert on._rate("mm/float32", (1 << 20, 1 << 20, 1 << 20)) == pytest.approx(1e-11)


def test_a_causal_kernel_takes_about_half_as_long():
    on = made_up()
    kernel = Operator("attention", (12, 8192, 64, 8192), 1, "float32")
    ratio = on.seconds({kernel._replace(is_causal=True): 1}, False) / on.seconds({kernel: 1}, False)
    assert 0.5 < ratio < 0.55


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
    assert set(found.byte_s) == {f"{n}/{d}" for n in machine.CALLS for d in machine.DTYPES}
    assert min(map(min, found.mac_s.values())) > 0
    assert min(min(seconds) for _, seconds in found.byte_s.values()) > 0
    assert found.error >= 0
    assert json.loads(json.dumps(found.summary))["threads"] == torch.get_num_threads()
