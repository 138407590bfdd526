"""Compiled code runs where numba has no place to keep it, and is kept where nobody else writes."""

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
classify fit texts.csv --out model --encoder lsa --expansion none
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
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    settings = {"PYTHONPATH": str(copy.parent), "HOME": os.devnull, "TMPDIR": str(temporary)}
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
    (kept,) = temporary.glob("shoestring-compiled-*")
    assert (kept.stat().st_mode & 0o777, any(kept.rglob("*.nbi"))) == (0o700, True)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """numba finds no folder but one it is told."""
    from numba.core import caching

    monkeypatch.setattr(
        caching.CacheImpl, "_locator_classes", [caching.CacheImpl._locator_classes[0]]
    )
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def twice(x):
    return 2 * x


def kernel():
    return compiled.njit(nogil=True, cache=True)(twice)


def own(folder):
    return folder / f"shoestring-compiled-{os.getuid()}"


def test_it_is_kept_in_a_folder_of_the_users_own(nowhere):
    assert kernel()(2) == 4
    assert list(own(nowhere).rglob("*.nbi")) and own(nowhere).stat().st_mode & 0o777 == 0o700
    assert numba.config.CACHE_DIR == ""  # of the whole process


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
    assert [folder.name for folder in nowhere.iterdir()] == [own(nowhere).name]
    assert default_folder().parent == nowhere


@pytest.mark.parametrize("made", ["open to others", "a link", "a file"])
def test_a_folder_that_others_could_have_filled_is_not_read(nowhere, made):
    (nowhere / "elsewhere").mkdir(mode=0o700)
    if made == "a link":
        own(nowhere).symlink_to(nowhere / "elsewhere")
    elif made == "a file":
        own(nowhere).write_text("")
    else:
        own(nowhere).mkdir()
        own(nowhere).chmod(0o777)
    assert kernel()(2) == 4
    assert not list(nowhere.rglob("*.nbi"))


def test_a_full_disk_keeps_nothing_and_stops_nothing(nowhere, largest_file):
    function = kernel()
    with largest_file(0):
        assert function(2) == 4
    assert not list(nowhere.rglob("*.nbi"))
