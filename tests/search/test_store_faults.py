"""What can go wrong outside: read-only folders, full disks, damaged files, other versions."""

import errno
import json
import mmap  # noqa: F401 (numpy imports it late, when nobody may read the library any more)
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from shoestring.errors import FormatError, IntegrityError, StorageError
from shoestring.search.score_cache import ScoreCache
from shoestring.search.store import RecordStore
from shoestring.types import Record

pytestmark = pytest.mark.usefixtures("no_fsync")


def fill(path: Path) -> RecordStore:
    store = RecordStore.create(path)
    store.add(Record(f"r{i}", f"text number {i}") for i in range(20))
    with store.snapshot() as snapshot:
        keys = snapshot.pending_keys
    store.append(keys, {"v": np.ones((20, 3), np.float32)})
    with ScoreCache(path) as cache:
        cache.put("s", "q", [1], [0.5])
    return store


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return fill(tmp_path / "index")


def assert_answers(path: Path) -> None:
    with RecordStore.open(path).snapshot() as snapshot:
        assert len(snapshot.keys) == 20
        assert snapshot.ids(snapshot.candidates(["17"], 5)[0]) == ["r17"]


# --- read-only


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write in the folder; root, whom permissions do not bind, becomes someone else."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may look into, which those of pytest are not."""
    if not hasattr(os, "geteuid"):
        pytest.skip("needs POSIX permissions")
    folder = Path(tempfile.mkdtemp(prefix="shoestring-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_index_answers_and_refuses_to_change(shared: Path) -> None:
    store = fill(shared / "index")
    with read_only(store.path):
        assert_answers(store.path)
        for write in (
            lambda: store.add([Record("new", "x")]),
            lambda: store.delete(["r1"]),
            lambda: store.append([21], {"v": np.ones(1)}),
            lambda: store.update_settings(a=1),
            lambda: RecordStore.create(store.path / "inside"),
        ):
            with pytest.raises(StorageError, match=r"index\S* cannot be"):
                write()
        with ScoreCache(store.path) as cache:
            assert cache.read_only
            assert cache.get("s", "q", [1, 2]).tolist()[:1] == [0.5]
            assert cache.put("s", "q", [2], [0.5]) is False
    with ScoreCache(store.path) as cache:
        assert cache.put("s", "q", [2], [0.5]) is True
    store.add([Record("new", "x")])
    store.verify()


def test_a_read_only_folder_without_a_ledger_has_an_empty_one(shared: Path) -> None:
    with read_only(shared), ScoreCache(shared) as cache:
        assert cache.put("s", "q", [1], [1]) is False
        assert cache.count() == 0 and list(cache.rows("s")) == []
        assert np.isnan(cache.get("s", "q", [1])).all()


def test_a_read_only_index_that_was_not_closed_says_to_copy_it(shared: Path) -> None:
    store = fill(shared / "index")
    with store.writing():
        store.add([Record("new", "x")])
        shutil.copytree(store.path, shared / "copy", ignore=shutil.ignore_patterns("*-shm"))
    with read_only(shared / "copy"), pytest.raises(StorageError, match="Copy the folder to where"):
        RecordStore.open(shared / "copy")
    with RecordStore.open(shared / "copy").snapshot() as snapshot:  # the log is read after all
        assert len(snapshot) == 21


def test_an_index_that_is_being_written_can_be_read_by_others(shared: Path) -> None:
    store = fill(shared / "index")
    with store.writing():
        store.add([Record("new", "x")])
        with read_only(store.path), RecordStore.open(store.path).snapshot() as snapshot:
            assert len(snapshot) == 21


# --- a full disk


FILL_THE_DISK = """
import sys
from pathlib import Path
import numpy as np
from shoestring.errors import StorageError
from shoestring.search.score_cache import ScoreCache
from shoestring.search.store import RecordStore
from shoestring.types import Record

import resource
def limit(size):

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

path, how = Path(sys.argv[1]), sys.argv[2]
store = RecordStore.create(path)
store.add(Record(f"r{i}", f"text number {i}") for i in range(20))
keys = range(1, 21)
store.append(keys, {"v": np.ones((20, 3), np.float32)})
cache = ScoreCache(path)
cache.put("s", "q", [1], [0.5])
if how == "limit":
    limit(600_000)
else:
    (path.parent / "ballast").write_bytes(b"x" * 1_000_000)

rng = np.random.default_rng(0)
long = lambda: " ".join(map(str, rng.integers(1 << 40, size=500)))
def write(name, act):
    try:
        act()
    except StorageError as error:
        print(name, error)
    else:
        sys.exit(f"{name} did not fill the disk")

many = [Record(f"n{i}", long()) for i in range(300)]
write("add", lambda: store.add(many))
write("add in batches", lambda: store.add(many, batch_size=5))
write("replace", lambda: store.replace({"w": np.ones((20, 20_000))}, attrs={}))
write("pay", lambda: cache.put("s", "q", range(200_000), range(200_000)))
cache.close()

with store.snapshot() as snapshot:
    assert len(snapshot.keys) == 20 and list(snapshot.view.arrays) == ["v"]
    print("left over", len(snapshot.pending_keys))
    assert snapshot.ids(snapshot.candidates(["17"], 5)[0]) == ["r17"]
with ScoreCache(path) as cache:
    assert cache.get("s", "q", [1]).tolist() == [0.5] and cache.count() == 1
if how == "limit":
    limit(resource.RLIM_INFINITY)
else:
    (path.parent / "ballast").unlink()
store.add([Record("after", "x")])
store.verify()
names = [p.name for p in (path / "arrays").iterdir()]
assert sorted(name[17:] for name in names) == ["keys.rows", "v.rows"], names
print("whole")
"""


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs POSIX limits")
def test_files_that_may_not_grow_leave_the_index_as_it_was(tmp_path: Path) -> None:
    said = run([sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "index"), "limit"])
    assert "left over 0" in said and said.endswith("whole\n")


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    """On a file system of 3 MB of its own, which only a process that may mount can have."""
    mount = "mount -t tmpfs -o size=3m none"
    if subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} '{tmp_path}'"], capture_output=True
    ).returncode:
        pytest.skip("may not mount a small file system")
    run_it = f'{mount} "$1" && exec "$2" -c "$3" "$1/index" disk'
    said = run(
        ["unshare", "-m", "sh", "-c", run_it, "sh", str(tmp_path), sys.executable, FILL_THE_DISK]
    )
    assert "database or disk is full" in said or "No space left on device" in said
    assert said.endswith("whole\n")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_failing_write_of_an_array_or_the_settings_changes_nothing(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    before, settings = sorted(store.path.rglob("*")), store.settings

    def fails(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match=os.strerror(code)):
        store.replace({"w": np.ones(20)}, attrs={})
    with pytest.raises(StorageError, match=os.strerror(code)):
        store.update_settings(k=5)
    monkeypatch.undo()
    assert sorted(store.path.rglob("*")) == before
    assert store.settings == settings
    assert_answers(store.path)


# --- damage and other versions


def test_a_database_that_is_none_is_named(store: RecordStore) -> None:
    (store.path / "records.sqlite").write_bytes(b"no database" * 1000)
    for act in (lambda: RecordStore.open(store.path), store.snapshot, lambda: store.add([])):
        with pytest.raises(IntegrityError, match=r"records\.sqlite is damaged.*search build"):
            act()


def test_a_database_that_is_missing_is_named(store: RecordStore) -> None:
    (store.path / "records.sqlite").unlink()
    for act in (lambda: RecordStore.open(store.path), lambda: store.delete(["r1"])):
        with pytest.raises(
            IntegrityError, match=r"records\.sqlite is damaged: the file is missing"
        ):
            act()


def test_a_database_with_damaged_pages_is_found(store: RecordStore) -> None:
    path = store.path / "records.sqlite"
    data = bytearray(path.read_bytes())
    for start in range(8192, len(data), 4096):
        data[start : start + 4096] = os.urandom(4096)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"records\.sqlite is damaged"):
        RecordStore.open(store.path).verify()


def test_a_database_cut_short_is_found(store: RecordStore) -> None:
    path = store.path / "records.sqlite"
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(IntegrityError, match=r"records\.sqlite is damaged"):
        RecordStore.open(store.path).verify()


def test_verify_notices_tokens_that_do_not_belong_to_the_records(store: RecordStore) -> None:
    with store.writing() as connection:
        connection.execute("DELETE FROM fulltext WHERE rowid = 3")
        connection.execute("INSERT INTO deleted VALUES (4)")
    with pytest.raises(
        IntegrityError,
        match="the words are not those of the records; the rows are not those of the records",
    ):
        RecordStore.open(store.path).verify()


@pytest.mark.parametrize("version", [0, 1, None])
def test_an_index_of_another_version_says_which(store: RecordStore, version: object) -> None:
    path = store.path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "format_version": version}))
    with pytest.raises(FormatError, match=rf"format version {version}; .* reads 3\. Upgrade"):
        RecordStore.open(store.path)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ('{"format": ', IntegrityError, "is damaged"),
        ("\x00\xff", IntegrityError, "is damaged"),
        ("[]", FormatError, "not the config.json of a search index"),
        ('{"model_type": "bert"}', FormatError, "not the config.json of a search index"),
    ],
)
def test_a_config_that_is_not_ours_is_named(
    store: RecordStore, text: str, error: type[Exception], says: str
) -> None:
    (store.path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(error, match=r"config\.json.*" + says):
        RecordStore.open(store.path)


def test_a_snapshot_that_is_closed_says_so_and_not_that_the_index_is_damaged(
    store: RecordStore,
) -> None:
    snapshot = store.snapshot()
    snapshot.close()
    snapshot.close()
    with pytest.raises(Exception, match="closed database"):
        snapshot.texts([1])
