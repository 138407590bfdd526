"""``shoestring classify`` as a function, and word vectors."""

import os
from functools import partial

import pytest
from tests.classify.topics import CHINESE, topics

from shoestring import BinaryVectors


@pytest.fixture
def run(monkeypatch, run_command):
    """Run a command: exit code, standard output, standard error."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return partial(run_command, "classify")


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """Word vectors of both languages on the disk."""
    folder = tmp_path_factory.mktemp("words") / "vectors"
    corpus = topics(300, stray=0)[0] + topics(300, of=CHINESE, stray=0)[0]
    settings = {"n_neurons": 64, "n_active": 8, "window": 5, "min_count": 1}
    BinaryVectors(**settings).fit(corpus).save(folder)
    return str(folder)
