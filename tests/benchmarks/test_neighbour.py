"""The benchmark on busy cores: its fair share, and a run on toys."""

import pytest
from benchmarks.neighbour import __main__ as neighbour
from benchmarks.neighbour import page


@pytest.mark.parametrize(
    ("own", "loops", "cores", "fair"),
    [(2, 2, 2, 2), (1, 2, 2, 1.5), (2, 8, 2, 5), (1.5, 0, 2, 1), (2, 0, 1, 2), (1, 0, 1, 1)],
)
def test_all_who_are_busy_get_as_much_of_the_cores(own, loops, cores, fair) -> None:
    assert neighbour.fair_share(own, loops, cores) == fair


def test_a_run_has_a_row_for_each_job_and_neighbourhood(capsys) -> None:
    found = neighbour.measure({"fit": 200}, n_texts=0, turns=1, loops=(1,), seed=0)
    beside = [row["beside"] for row in found["rows"]]
    assert beside[:3] == ["quiet", "1 loops", "bound to one core"]
    assert ("in a group of one core" in beside) == (not found["skipped"])
    assert all(row["s"] > 0 and row["cpu_s"] > 0 for row in found["rows"])
    document = {**found, "machine": "a toy"}
    lines = page.sections({"neighbour": document}.get)
    assert sum(line.startswith("| fit, ") for line in lines) == len(beside)
    assert page.sections({}.get) == []


def test_loops_are_there_and_gone() -> None:
    with neighbour.busy_loops(2) as loops:
        assert [loop.poll() for loop in loops] == [None, None]
    assert all(loop.poll() is not None for loop in loops)


def test_a_job_that_fails_ends_the_run() -> None:
    with pytest.raises(SystemExit), neighbour.worker(["nothing", ".", "1", "0"], None):
        pass
