"""``shoestring classify`` as a function."""

import os
from functools import partial

import pytest


@pytest.fixture
def run(monkeypatch, run_command):
    """Run a command: exit code, standard output, standard error."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return partial(run_command, "classify")
