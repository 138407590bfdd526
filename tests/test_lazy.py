"""A package names its public objects and imports none of their modules."""

import subprocess
import sys

import pytest

import shoestring
from shoestring.lazy import lazy_names

SAY_WHAT_IS_LOADED = """
import sys
import shoestring
before = "shoestring.types" in sys.modules
shoestring.Hit
print(before, "shoestring.types" in sys.modules)
"""


def test_a_home_is_imported_when_its_name_is_first_used() -> None:
    command = [sys.executable, "-c", SAY_WHAT_IS_LOADED]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "True"]


def test_a_name_that_is_none_of_them_is_an_attribute_error_of_the_package() -> None:
    with pytest.raises(AttributeError, match="module 'shoestring' has no attribute 'SearchIndx'"):
        shoestring.SearchIndx  # noqa: B018
    assert not hasattr(shoestring, "SearchIndx")


def test_dir_names_what_is_there_and_what_can_be_loaded() -> None:
    _, names_of, public = lazy_names("shoestring")
    assert public == sorted(public) == shoestring.__all__
    assert {*public, "__version__", "__doc__"} <= set(names_of())
