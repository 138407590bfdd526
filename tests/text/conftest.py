"""What the tests of reading share: files and standard input of given content."""

from __future__ import annotations

import io
import sys

import pytest


@pytest.fixture
def write(tmp_path):
    """A function: write a file and return its path."""

    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.fixture
def stdin(monkeypatch):
    """A function: put content on standard input and return its name."""

    def feed(content: str | bytes) -> str:
        content = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return "-"

    return feed
