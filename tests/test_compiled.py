"""Compiled code runs where numba has no place to keep it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

import shoestring
from shoestring import compiled

PACKAGE = Path(shoestring.__file__).parent

EVERY_ROOM = """
search build texts.csv --out index --encoder lsa
search query index 打开 -k 1 --calls 0 --json
search check index
classify fit texts.csv --out model --encoder lsa --random 0
classify predict model texts.csv
classify eval model texts.csv
words train texts.csv --out vectors --neurons 32 --active 4 --window 3 --min-count 1
words neighbours vectors red -k 2
""".strip().splitlines()

RUN_THEM = """
import json, sys
from shoestring.cli import main
for line in json.loads(sys.argv[1]):
    sys.argv = ["shoestring", *line.split()]
    try:
        main()
    except SystemExit as left:
        assert not left.code, line
print("all ran")
"""


def test_every_room_works_where_neither_the_package_nor_the_home_can_be_written(tmp_path):
    """A file stands where numba's folder would be: that stops root too, as no permission does."""
    copy = shutil.copytree(
        PACKAGE, tmp_path / "lib" / "shoestring", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in {path.parent for path in copy.rglob("*.py")}:
        (folder / "__pycache__").write_text("")
    rows = [("open", "open the file"), ("red", "a red hat"), ("red", "打开 红色 的 帽子")] * 8
    lines = [f"{label},{text} {n}" for n, (label, text) in enumerate(rows)]
    (tmp_path / "texts.csv").write_text("\n".join(["label,text", *lines]), "utf-8")
    settings = {"PYTHONPATH": str(copy.parent), "HOME": os.devnull}
    settings |= {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_THEM, json.dumps(EVERY_ROOM)],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        encoding="utf-8",
        timeout=500,
    )
    assert done.stdout.endswith("all ran\n"), done.stderr[-3000:]


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """numba finds no folder but one it is told."""
    from numba.core import caching

    monkeypatch.setattr(
        caching.CacheImpl, "_locator_classes", [caching.CacheImpl._locator_classes[0]]
    )
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return tmp_path


def twice(x):
    return 2 * x


def kernel():
    return compiled.njit(nogil=True, cache=True)(twice)


def test_without_a_place_it_is_compiled_anew(nowhere):
    assert kernel()(2) == 4


def test_without_a_home_no_folder_of_that_name_is_made(nowhere, monkeypatch):
    import pwd

    from numba.core import caching

    from shoestring.tune.cache import default_folder

    for name in ("HOME", "XDG_CACHE_HOME", "SHOESTRING_OUTPUTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda user: {}[user])
    everywhere = [*caching.CacheImpl._locator_classes, caching.UserWideCacheLocator]
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", everywhere)
    monkeypatch.chdir(nowhere)
    assert kernel()(2) == 4
    assert not list(nowhere.iterdir())
    assert default_folder().parent == Path(tempfile.gettempdir())


def test_a_full_disk_keeps_nothing_and_stops_nothing(nowhere, largest_file, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(nowhere))
    function = kernel()
    with largest_file(0):
        assert function(2) == 4
    assert not list(nowhere.rglob("*.nbi"))
