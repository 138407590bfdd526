"""``shoestring classify`` as a function."""

import os
import sys
import warnings

import pytest

from shoestring import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command: exit code, standard output, standard error."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["shoestring", "classify", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as left:
            warnings.simplefilter("default")  # as it is outside of the tests
            cli.main()
        return left.value.code, *capsys.readouterr()

    return main
