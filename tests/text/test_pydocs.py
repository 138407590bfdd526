"""The corpus that every Python brings along."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoestring.errors import FormatError
from shoestring.text import pydocs
from shoestring.text.pydocs import known_items, python_docs
from shoestring.types import Record

DEFINITIONS = '''
"""This module says four words."""
import sys
sys.exit("a parsed module must not run")
class Public:
    """A class with enough words."""
    def method(self):
        r"""A method with \\d enough words."""
        def inner():
            """A hidden function with words."""
    def _private(self):
        """Private things are left out."""
    class Nested:
        """A nested class with words."""
if sys.platform:
    async def branch():
        """The first definition is kept."""
else:
    def branch():
        """The second definition is dropped."""
def short():
    """Too short."""
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "corpus_package"
    (folder / "tests").mkdir(parents=True)
    (folder / "__init__.py").write_text(DEFINITIONS)
    (folder / "broken.py").write_text("def (:\n")
    (folder / "中文.py").write_text('"""这 是 一个 模块 的 文档。"""\n', "utf-8")
    (folder / "_private.py").write_text('"""A private module with words."""\n')
    (folder / "tests" / "test_it.py").write_text('"""A test module with words."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.fixture(scope="module")
def standard_library():
    return list(python_docs())


def test_public_docstrings_come_under_dotted_names_and_nothing_runs(package):
    found = {record.id: record.text for record in pydocs.docstrings(package, "corpus_package")}
    assert list(found) == [
        "corpus_package",
        "corpus_package.Public",
        "corpus_package.Public.method",
        "corpus_package.Public.Nested",
        "corpus_package.branch",
        "corpus_package.中文",
    ]
    assert found["corpus_package.branch"] == "The first definition is kept."
    assert package.name not in sys.modules


def test_the_standard_library_has_thousands_of_texts_with_unique_ids(standard_library):
    ids = [record.id for record in standard_library]
    assert len(ids) > 4000
    assert len(set(ids)) == len(ids)
    assert "json.decoder.JSONDecoder.decode" in ids
    assert not any(part.startswith("_") for name in ids for part in name.split("."))


def test_the_corpus_is_the_same_at_every_call(standard_library):
    records = python_docs()
    assert [next(records) for _ in range(200)] == standard_library[:200]


def test_known_items_never_hold_their_question(standard_library):
    items = list(known_items(standard_library))
    assert len(items) > 1500
    assert len({item.question.casefold() for item in items}) == len(items)
    for item in items:
        assert len(item.question.split()) >= 4
        assert len(item.record.text.split()) >= 8
        assert item.question not in item.record.text


def test_a_question_that_two_texts_ask_is_left_out():
    rest = "It has a rest that is long enough to be found."
    records = [Record(str(i), f"Return the value here. {rest}") for i in range(2)]
    assert list(known_items(records)) == []
    assert [item.record for item in known_items(records[:1])] == [Record("0", rest)]


def test_a_library_without_source_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(pydocs.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FormatError, match=str(Path(tmp_path).name)):
        list(python_docs())
