"""Arrays beside the records: generations, segments, and what a reader sees of them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shoestring.errors import IntegrityError, ParameterError, ShapeError, StorageError
from shoestring.search import arrays as arrays_module
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
        return np.array([snapshot.key_of(id) for id in ids])


def append(store: RecordStore, *ids: str) -> IntArray:
    keys = add(store, *ids)
    store.append_segment(keys, {"v": vectors(keys)})
    return keys


def assert_whole(snapshot: Snapshot) -> None:
    """Every live record is either in the arrays, with its own row, or waits for them."""
    rows = [row for segment in snapshot.segments for row in segment.live_chunks("v")]
    found = np.concatenate([np.empty((0, 3), np.float32), *rows])
    np.testing.assert_array_equal(found, vectors(snapshot.keys))
    keys = np.concatenate([snapshot.keys, snapshot.pending_keys])
    assert len(set(keys.tolist())) == len(keys) == len(snapshot)
    assert len(snapshot.ids(keys)) == len(keys)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore.create(tmp_path / "index", tokenize=str.split)


@pytest.fixture
def published(store: RecordStore) -> RecordStore:
    keys = add(store, *"abcdefgh")
    store.publish(keys, {"v": vectors(keys)}, attrs={"anchors": ["a query", "一个问题"]})
    return store


def array_files(store: RecordStore) -> list[str]:
    return sorted(file.name for file in (store.path / "arrays").iterdir())


def test_arrays_come_back_as_they_were_and_read_only(store: RecordStore) -> None:
    keys = add(store, *"abcde")[::-1].copy()
    given = {
        "f32": np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32),
        "f16": np.arange(10, dtype=np.float16).reshape(5, 2)[:, ::-1],
        "bits": np.array([True, False, True, True, False]),
        "u8": np.asfortranarray(np.arange(20, dtype=np.uint8).reshape(5, 4)),
        "big": np.arange(5, dtype=">i4"),
        "nothing": np.empty((5, 0), np.float32),
    }
    assert store.publish(keys, given) == 1
    with RecordStore.open(store.path).snapshot() as snapshot:
        (segment,) = snapshot.segments
        assert segment.alive is None
        np.testing.assert_array_equal(snapshot.keys, keys)
        for name, array in given.items():
            assert segment.arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(segment.arrays[name], array)
            assert not segment.arrays[name].flags.writeable
        assert not snapshot.keys.flags.writeable


def test_pieces_are_written_one_below_the_other(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays_module, "COPY_BYTES", 30)  # two rows and a half
    keys = add(store, *"abcdefg")
    store.publish(keys, {"v": (vectors(part) for part in (keys[:3], keys[3:3], keys[3:]))})
    with store.snapshot() as snapshot:
        assert_whole(snapshot)


def test_attributes_change_with_the_arrays_and_stay_when_not_given(published: RecordStore) -> None:
    attrs = {"anchors": ["a query", "一个问题"]}
    append(published, "x")
    with published.snapshot() as snapshot:
        assert (snapshot.generation, snapshot.attrs) == (2, attrs)
    keys = add(published, "y")
    published.append_segment(keys, {"v": vectors(keys)}, attrs={"anchors": []})
    with published.snapshot() as snapshot:
        assert snapshot.attrs == {"anchors": []}


def test_deleted_and_replaced_rows_are_masked(published: RecordStore) -> None:
    published.delete(["a", "c"])
    published.add([Record("h", "other")], on_duplicate="replace")
    with published.snapshot() as snapshot:
        (segment,) = snapshot.segments
        assert segment.alive is not None
        assert segment.alive.tolist() == [False, True, False, True, True, True, True, False]
        assert snapshot.ids(snapshot.keys) == list("bdefg")
        assert snapshot.ids(snapshot.pending_keys) == ["h"]
        assert_whole(snapshot)
    published.verify()


def test_new_records_wait_and_are_appended_without_touching_the_others(
    published: RecordStore,
) -> None:
    before = array_files(published)
    append(published, "x", "y")
    with published.snapshot() as snapshot:
        assert [len(segment.keys) for segment in snapshot.segments] == [8, 2]
        assert_whole(snapshot)
    assert set(before) < set(array_files(published))
    published.verify()


def test_many_small_segments_stay_few(published: RecordStore) -> None:
    for i in range(40):
        append(published, f"n{i}")
        if i % 7 == 0:
            published.delete([f"n{i}"])
    with published.snapshot() as snapshot:
        assert len(snapshot.segments) <= 6
        assert len(snapshot.keys) == 8 + 40 - 6
        assert_whole(snapshot)
    published.verify()


def test_compact_leaves_one_segment_without_dead_rows(published: RecordStore) -> None:
    append(published, "x")
    published.delete(["b"])
    add(published, "waiting")
    published.compact()
    with published.snapshot() as snapshot:
        (segment,) = snapshot.segments
        assert segment.alive is None and len(segment.keys) == 8
        assert snapshot.attrs["anchors"] and len(snapshot.pending_keys) == 1
        assert_whole(snapshot)
    published.verify()


def test_compact_of_nothing_is_nothing(store: RecordStore) -> None:
    add(store, "a")
    store.compact()
    with store.snapshot() as snapshot:
        assert snapshot.segments == () and len(snapshot.pending_keys) == 1


def test_keys_deleted_while_their_arrays_were_computed_are_masked(store: RecordStore) -> None:
    first, second = add(store, "a", "b"), add(store, "c", "d")
    store.delete(["a", "c"])
    store.publish(first, {"v": vectors(first)})
    store.append_segment(second, {"v": vectors(second)})
    with store.snapshot() as snapshot:
        assert snapshot.ids(snapshot.keys) == ["b", "d"]
        assert_whole(snapshot)
    store.verify()


def test_discarded_arrays_make_all_records_wait(published: RecordStore) -> None:
    published.delete(["a"])
    published.discard_arrays()
    with published.snapshot() as snapshot:
        assert snapshot.segments == () and len(snapshot.pending_keys) == 7
    keys = snapshot.pending_keys
    published.append_segment(keys, {"other": np.ones(len(keys))})
    published.verify()


@pytest.mark.parametrize(
    ("keys", "arrays", "error", "says"),
    [
        ([1, 1], {"v": np.ones((2, 3))}, ParameterError, "distinct integers"),
        ([1.5], {"v": np.ones((1, 3))}, ParameterError, "distinct integers"),
        ([[1]], {"v": np.ones((1, 3))}, ParameterError, "one dimension"),
        ([0], {"v": np.ones((1, 3))}, ParameterError, "keys of this index, from 1 to 8"),
        ([9], {"v": np.ones((1, 3))}, ParameterError, "keys of this index"),
        ([1], {"v": np.ones((2, 3))}, ShapeError, "'v' has 2 rows for 1 keys"),
        ([1, 2], {"v": [np.ones((1, 3))]}, ShapeError, "'v' has 1 rows for 2 keys"),
        ([1, 2], {"v": [np.ones((1, 3)), np.ones((1, 4))]}, ShapeError, "pieces of array 'v'"),
        ([1, 2], {"v": [np.ones((1, 3)), np.ones((1, 3), int)]}, ShapeError, "must agree"),
        ([1], {"../v": np.ones(1)}, ParameterError, "named by a-z"),
        ([1], {"keys": np.ones(1)}, ParameterError, "not 'keys'"),
        ([1], {"v": np.array([object()])}, ParameterError, "numbers with a row for each key"),
        ([1], {"v": np.array(3.0)}, ParameterError, "numbers with a row for each key"),
    ],
)
def test_arrays_that_do_not_fit_leave_the_index_as_it_was(
    published: RecordStore, keys: object, arrays: dict, error: type[Exception], says: str
) -> None:
    before = array_files(published)
    with pytest.raises(error, match=says):
        published.publish(keys, arrays)  # type: ignore[arg-type]
    assert array_files(published) == before
    with published.snapshot() as snapshot:
        assert snapshot.generation == 1
        assert_whole(snapshot)


def test_a_segment_that_is_not_like_the_others_is_refused(published: RecordStore) -> None:
    keys = add(published, "x")
    before = array_files(published)
    for arrays, says in (
        ({"w": np.ones((1, 3), np.float32)}, r"in force, \['v'\]. Got \['w'\] instead"),
        ({}, "in force"),
        ({"v": np.ones((1, 4), np.float32)}, "must be <f4 .3,."),
        ({"v": np.ones((1, 3))}, "must be <f4"),
    ):
        with pytest.raises((ParameterError, ShapeError), match=says):
            published.append_segment(keys, arrays)
    with pytest.raises(ParameterError, match="keys of records without arrays"):
        published.append_segment([2], {"v": np.ones((1, 3), np.float32)})
    published.delete(["b"])
    with pytest.raises(ParameterError, match="keys of records without arrays"):
        published.append_segment([2], {"v": np.ones((1, 3), np.float32)})
    assert array_files(published) == before
    published.verify()


def test_attributes_that_json_cannot_say_leave_the_index_as_it_was(published: RecordStore) -> None:
    before = array_files(published)
    for attrs in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(ParameterError, match="what JSON can say"):
            published.publish([1], {"v": np.ones((1, 3))}, attrs=attrs)
    assert array_files(published) == before


# --- readers and the files of older generations


def test_old_files_go_but_those_of_the_generation_before_stay(published: RecordStore) -> None:
    published.publish([1], {"v": np.ones((1, 3))})
    assert [name[:8] for name in array_files(published)] == ["00000001"] * 2 + ["00000002"] * 2
    published.publish([2], {"v": np.ones((1, 3))})
    assert [name[:8] for name in array_files(published)] == ["00000002"] * 2 + ["00000003"] * 2
    (published.path / "arrays" / "00000009-v.npy").write_bytes(b"left by a killed process")
    (published.path / "arrays" / "00000003-v.npy.part").write_bytes(b"also")
    published.collect_garbage()
    assert [name[:8] for name in array_files(published)] == ["00000002"] * 2 + ["00000003"] * 2


def test_a_snapshot_outlives_the_files_it_has_mapped(published: RecordStore) -> None:
    with published.snapshot() as old:
        for key in (1, 2, 3):
            published.publish([key], {"v": np.zeros((1, 3))})
        assert old.generation == 1 and len(old.keys) == 8
        assert_whole(old)


def test_a_reader_that_races_with_the_collection_tries_again(
    published: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a reader's look at the database and at the folder its generation is forgotten."""
    writer, opened = RecordStore.open(published.path), 0
    real = arrays_module.open_segment

    def late(*arguments: object) -> object:
        nonlocal opened
        opened += 1
        if opened == 1:
            for key in (5, 6):
                writer.publish([key], {"v": vectors(np.array([key]))})
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("shoestring.search.generations.open_segment", late)
    with RecordStore.open(published.path).snapshot() as snapshot:
        assert (snapshot.generation, snapshot.keys.tolist(), opened) == (3, [6], 2)


def test_readers_see_one_generation_whole_while_arrays_are_published(
    published: RecordStore,
) -> None:
    wrong: list[object] = []
    stop = threading.Event()
    n_seen: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            try:
                with RecordStore.open(published.path, tokenize=str.split).snapshot() as snapshot:
                    values = {float(s.arrays["v"][0, 0]) for s in snapshot.segments}
                    n_seen.add(snapshot.generation)
                    if values != {float(snapshot.attrs["value"])}:
                        wrong.append((values, snapshot.attrs))
            except Exception as error:
                wrong.append(error)

    def publish(value: int) -> None:
        rows = np.full((8, 3), value, np.float32)
        published.publish(range(1, 9), {"v": rows}, attrs={"value": value})

    publish(0)
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for value in range(1, 25):
        publish(value)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(n_seen) > 1


# --- damage


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()  # others may have it mapped
    if how != "missing":
        cut = {"truncated": data[:-1], "cut in the header": data[:20], "empty": b""}
        path.write_bytes(cut.get(how, b"x" * len(data)))


@pytest.fixture(params=["truncated", "cut in the header", "empty", "overwritten", "missing"])
def broken(published: RecordStore, request: pytest.FixtureRequest) -> Iterator[RecordStore]:
    damaged(published.path / "arrays" / "00000001-v.npy", request.param)
    yield RecordStore.open(published.path, tokenize=str.split)


def test_a_damaged_array_is_named_and_can_be_mended(broken: RecordStore) -> None:
    for fails in (broken.snapshot, broken.verify, broken.compact):
        with pytest.raises(IntegrityError, match=r"00000001-v\.npy .*search build .* --resume"):
            fails()
    broken.discard_arrays()
    with broken.snapshot() as snapshot:
        keys = snapshot.pending_keys
        assert len(keys) == 8
    broken.publish(keys, {"v": vectors(keys)})
    with broken.snapshot() as snapshot:
        assert_whole(snapshot)
    broken.verify()


@pytest.mark.parametrize("other", [np.ones((8, 3)), np.ones((8, 4), np.float32)])
def test_an_array_of_another_shape_or_type_is_named(
    published: RecordStore, other: np.ndarray
) -> None:
    path = published.path / "arrays" / "00000001-v.npy"
    path.unlink()
    np.save(path, other)
    with pytest.raises(
        IntegrityError, match=r"00000001-v\.npy holds .* but must hold <f4 \(8, 3\)"
    ):
        RecordStore.open(published.path).snapshot()


def test_an_array_that_cannot_be_read_is_a_storage_error(
    published: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(np.lib.format, "open_memmap", fails)
    with pytest.raises(StorageError, match=r"\.npy cannot be read: Permission denied"):
        RecordStore.open(published.path).snapshot()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_appending_does_not_hold_files_open(published: RecordStore) -> None:
    n_open = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for i in range(20):
        append(published, f"n{i}")
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= n_open + 2 * 6


def test_merged_segments_keep_every_array_of_several(store: RecordStore) -> None:
    for start in range(0, 8, 2):
        store.add([Record(str(i), f"text {i}") for i in range(start, start + 2)])
        with store.snapshot() as snapshot:
            keys = snapshot.pending_keys
        store.append_segment(keys, {"wide": vectors(keys), "narrow": keys.astype(np.float32)})
    with store.snapshot() as snapshot:
        assert len(snapshot.segments) < 4
        wide = np.concatenate([segment.arrays["wide"] for segment in snapshot.segments])
        narrow = np.concatenate([segment.arrays["narrow"] for segment in snapshot.segments])
        np.testing.assert_array_equal(wide, vectors(snapshot.keys))
        np.testing.assert_array_equal(narrow, snapshot.keys.astype(np.float32))
