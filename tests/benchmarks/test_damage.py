"""No damage of an artifact goes unseen, and none takes the interpreter with it."""

import pytest
from benchmarks.reliability.damage import KINDS, run

QUICK = ("overlap index", "LSA encoder", "ladder's head")


def assert_no_fault(rows):
    faults = [f"{row['kind']}: {fault}" for row in rows for fault in row["faults"]]
    assert faults == []
    assert all(row["damages"] == row["same"] + row["refused"] > 20 for row in rows)


@pytest.mark.parametrize("kind", QUICK)
def test_damage_is_refused_or_changes_nothing(kind):
    assert_no_fault(run(quick=True, kinds=[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_much_damage_is_refused_or_changes_nothing(kind):
    assert_no_fault(run(quick=False, kinds=[kind]))
