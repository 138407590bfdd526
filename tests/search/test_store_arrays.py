"""Arrays beside the records: appended, replaced, compacted, and what a reader sees of them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from shoestring.errors import IntegrityError, ShapeError, StorageError
from shoestring.search.arrays import map_rows
from shoestring.search.snapshot import Snapshot
from shoestring.search.store import RecordStore
from shoestring.types import IntArray, Record

pytestmark = pytest.mark.usefixtures("no_fsync")


def vectors(keys: IntArray) -> np.ndarray:
    """Rows (N, 3) that say whose they are."""
    return np.stack([keys, keys * 2, keys * 3], axis=1).astype(np.float32)


def add(store: RecordStore, *ids: str) -> IntArray:
    """Add records and return their keys."""
    store.add([Record(id, f"text {id}") for id in ids])
    with store.snapshot() as snapshot:
        keys = snapshot.keys_of(ids)
        return np.array([keys[id] for id in ids])


def append(store: RecordStore, *ids: str) -> IntArray:
    keys = add(store, *ids)
    store.append(keys, {"v": vectors(keys)})
    return keys


def scale(store: RecordStore, by: float) -> None:
    """Replace the array by a multiple of it, and say so."""
    with store.snapshot() as snapshot:
        rows = by * vectors(snapshot.view.row_keys)
    store.replace({"v": rows.astype(np.float32)}, attrs={"scale": by})


def live(snapshot: Snapshot, name: str = "v") -> np.ndarray:
    parts = list(snapshot.view.live_rows(name)) if name in snapshot.view.arrays else []
    return np.concatenate(parts) if parts else np.empty((0, 3), np.float32)


def assert_whole(snapshot: Snapshot) -> None:
    """Every live record is either in the arrays, with its own row, or waits for them."""
    by = snapshot.view.attrs.get("scale", 1.0)
    np.testing.assert_array_equal(live(snapshot), by * vectors(snapshot.keys))
    keys = snapshot.all_keys
    assert (np.diff(keys) > 0).all() and len(keys) == len(snapshot)
    assert len(snapshot.ids(keys)) == len(keys)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore.create(tmp_path / "index")


@pytest.fixture
def filled(store: RecordStore) -> RecordStore:
    append(store, *"abcdefgh")
    return store


def array_files(store: RecordStore) -> dict[str, int]:
    """Names and sizes."""
    return {f.name: f.stat().st_size for f in sorted((store.path / "arrays").iterdir())}


def array_file(store: RecordStore) -> Path:
    return next((store.path / "arrays").glob("*-v.rows"))


def test_arrays_come_back_as_they_were_and_read_only(store: RecordStore) -> None:
    keys = add(store, *"abcde")
    given = {
        "wide": np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32),
        "half": np.arange(10, dtype=np.float16).reshape(5, 2)[:, ::-1],
        "bits": np.array([True, False, True, True, False]),
        "bytes": np.asfortranarray(np.arange(20, dtype=np.uint8).reshape(5, 4)),
        "big": np.arange(5, dtype=">i4"),
        "nothing": np.empty((5, 0), np.float32),
    }
    store.append(keys[:2], {name: array[:2] for name, array in given.items()})
    store.append(keys[2:], {name: array[2:] for name, array in given.items()})
    with RecordStore.open(store.path).snapshot() as snapshot:
        np.testing.assert_array_equal(snapshot.keys, keys)
        for name, array in given.items():
            found = snapshot.view.arrays[name]
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
            assert name == "nothing" or not found.flags.writeable


def test_deleted_and_replaced_rows_are_masked(filled: RecordStore) -> None:
    filled.delete(["a", "c"])
    filled.add([Record("h", "other")], on_duplicate="replace")
    with filled.snapshot() as snapshot:
        assert snapshot.view.deleted.tolist() == [True, False, True, *4 * [False], True]
        assert snapshot.ids(snapshot.keys) == list("bdefg")
        assert snapshot.ids(snapshot.pending_keys) == ["h"]
        assert_whole(snapshot)
    filled.verify()


def test_new_records_wait_and_are_appended_without_touching_the_others(
    filled: RecordStore,
) -> None:
    before = array_file(filled).read_bytes()
    append(filled, "x", "y")
    with filled.snapshot() as snapshot:
        assert len(snapshot.view.row_keys) == 10
        assert_whole(snapshot)
    assert array_file(filled).read_bytes()[: len(before)] == before
    filled.verify()


def test_arrays_are_put_in_force_beside_those_that_stay(filled: RecordStore) -> None:
    filled.delete(["b"])
    bias = np.arange(8, dtype=np.float32)
    filled.replace({"bias": bias}, attrs={"anchors": ["a query", "一个问题"]})
    append(filled, "x")  # says nothing of the bias
    with filled.snapshot() as snapshot:
        assert snapshot.view.attrs == {"anchors": ["a query", "一个问题"]}
        assert snapshot.view.arrays["bias"].tolist() == [*range(8), 0]
        assert_whole(snapshot)
    filled.replace({}, attrs={"mean": np.ones(2)})
    with filled.snapshot() as snapshot:
        assert [*snapshot.view.arrays] == ["v", "bias"]
        assert snapshot.view.attrs == {"mean": [1, 1]}
        assert_whole(snapshot)
    filled.verify()


def test_compact_leaves_no_row_of_a_deleted_record(filled: RecordStore) -> None:
    append(filled, "x")
    assert filled.compact() == 0
    filled.delete(["b"])
    add(filled, "waiting")
    size = array_file(filled).stat().st_size
    assert filled.compact() == 1
    with filled.snapshot() as snapshot:
        assert not snapshot.view.deleted.any() and len(snapshot.view.row_keys) == 8
        assert len(snapshot.pending_keys) == 1
        assert_whole(snapshot)
    assert array_file(filled).stat().st_size == size - 12
    filled.verify()


def test_compact_of_nothing_is_nothing(store: RecordStore) -> None:
    add(store, "a")
    assert store.compact() == 0
    with store.snapshot() as snapshot:
        store.append(snapshot.pending_keys, {"v": vectors(snapshot.pending_keys)})
    append(store, "b")
    store.delete(["a", "b"])
    assert store.compact() == 2
    with store.snapshot() as snapshot:
        assert len(snapshot) == len(snapshot.view.row_keys) == 0
    append(store, "c")
    store.verify()


def test_discarded_arrays_make_all_records_wait(filled: RecordStore) -> None:
    filled.delete(["a"])
    filled.discard_arrays()
    with filled.snapshot() as snapshot:
        assert snapshot.view.arrays == {} and len(snapshot.pending_keys) == 7
    keys = snapshot.pending_keys
    filled.append(keys, {"other": np.ones(len(keys))})
    filled.verify()
    assert sorted(name[17:] for name in array_files(filled)) == ["keys.rows", "other.rows"]


def test_arrays_that_do_not_fit_leave_the_index_as_it_was(filled: RecordStore) -> None:
    first, second = add(filled, "x", "y")
    before = array_files(filled)
    for keys, rows in (
        ([first], np.ones((1, 4), "f4")),
        ([first], np.ones((1, 3))),
        ([first, second], np.ones((3, 3), "f4")),
    ):
        with pytest.raises(ShapeError, match="'v' of"):
            filled.append(keys, {"v": rows})
    with pytest.raises(ShapeError, match="'bias' has 7 rows for 8"):
        filled.replace({"bias": np.ones(7)}, attrs={})
    with pytest.raises((TypeError, ValueError)):
        filled.replace({}, attrs={"x": float("nan")})
    assert array_files(filled) == before
    with filled.snapshot() as snapshot:
        assert_whole(snapshot)
    filled.verify()


# --- readers, and files that are no longer in force


def test_files_that_are_not_in_force_go_and_others_stay(filled: RecordStore) -> None:
    folder, before = filled.path / "arrays", array_files(filled)
    (folder / "0123456789abcdef-v.rows").write_bytes(b"left by a killed process")
    (folder / "notes.txt").write_bytes(b"the user's")
    with array_file(filled).open("ab") as file:
        file.write(b"rows that were never committed")
    with filled.snapshot() as snapshot:
        assert_whole(snapshot)
    filled.compact()  # as every change of arrays does
    assert array_files(filled) == {**before, "notes.txt": 10}
    scale(filled, 2.0)
    assert len(array_files(filled)) == 3


def test_an_append_overwrites_what_was_never_committed(filled: RecordStore) -> None:
    with array_file(filled).open("ab") as file:
        file.write(b"x" * 100)
    append(filled, "x")
    with filled.snapshot() as snapshot:
        assert_whole(snapshot)
    assert array_file(filled).stat().st_size == 9 * 12


def test_a_snapshot_outlives_the_files_it_has_mapped(filled: RecordStore) -> None:
    with filled.snapshot() as old:
        append(filled, "x")
        scale(filled, 3.0)
        filled.delete(["a"])
        filled.compact()
        filled.discard_arrays()
        assert len(old.keys) == 8
        assert_whole(old)


def test_a_reader_that_races_with_a_replacement_tries_again(
    filled: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a reader's look at the database and at the folder its files are removed."""
    writer, n_mapped = RecordStore.open(filled.path), 0

    def late(*arguments: object) -> np.ndarray:
        nonlocal n_mapped
        n_mapped += 1
        if n_mapped == 1:
            scale(writer, 2.0)
        return map_rows(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("shoestring.search.snapshot.map_rows", late)
    with RecordStore.open(filled.path).snapshot() as snapshot:
        assert snapshot.view.attrs == {"scale": 2.0} and n_mapped > 3
        assert_whole(snapshot)


def test_readers_see_arrays_and_attributes_of_one_moment(filled: RecordStore) -> None:
    wrong: list[object] = []
    stop = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            try:
                with RecordStore.open(filled.path).snapshot() as snapshot:
                    seen.add(snapshot.view.uid)
                    assert_whole(snapshot)
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(1, 25):
        scale(filled, float(turn))
        filled.discard_arrays() if turn % 5 == 0 else filled.compact()
        with filled.snapshot() as snapshot:
            keys = snapshot.pending_keys
            by = snapshot.view.attrs.get("scale", 1.0)
        if len(keys):
            filled.append(keys, {"v": (by * vectors(keys)).astype(np.float32)})
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(seen) > 1


# --- damage


@pytest.mark.parametrize("how", ["truncated", "empty", "missing"])
def test_a_damaged_array_is_named_and_can_be_mended(filled: RecordStore, how: str) -> None:
    path = array_file(filled)
    data = path.read_bytes()
    path.unlink()  # others may have it mapped
    if how != "missing":
        path.write_bytes(data[:-1] if how == "truncated" else b"")
    broken = RecordStore.open(filled.path)
    for fails in (broken.snapshot, broken.verify, broken.compact):
        with pytest.raises(IntegrityError, match=r"-v\.rows is .*search build .* --resume"):
            fails()
    broken.discard_arrays()
    with broken.snapshot() as snapshot:
        keys = snapshot.pending_keys
        assert len(keys) == 8
    broken.append(keys, {"v": vectors(keys)})
    with broken.snapshot() as snapshot:
        assert_whole(snapshot)
    broken.verify()


def test_an_array_that_cannot_be_read_is_a_storage_error(
    filled: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "memmap", fails)
    with pytest.raises(StorageError, match=r"\.rows cannot be read: Permission denied"):
        RecordStore.open(filled.path).snapshot()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_appending_does_not_hold_files_open(filled: RecordStore) -> None:
    n_open = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for i in range(20):
        append(filled, f"n{i}")
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= n_open + 4
