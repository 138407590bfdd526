"""Records: add, replace, delete, look up, find by token; one writer, many readers."""

import random
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shoestring.errors import BusyError, IntegrityError, ParameterError
from shoestring.search import store as store_module
from shoestring.search.store import AddReport, RecordStore, _batches
from shoestring.text import tokenize
from shoestring.types import Record

pytestmark = pytest.mark.usefixtures("no_fsync")

TEXTS = {
    "en": "How do I flatten a nested list?",
    "zh": "怎样展开嵌套的列表？",
    "ints": "12 4031 77 12",
    "cafe": "Café naïve Ελλάδα हिन्दी",
}


def records(texts: dict[str, str]) -> list[Record]:
    return [Record(id, text) for id, text in texts.items()]


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore.create(tmp_path / "index", {"scorer": "none"})


@pytest.fixture
def filled(store: RecordStore) -> RecordStore:
    store.add(records(TEXTS))
    return store


def found(store: RecordStore, query: str, limit: int = 10) -> list[str]:
    with store.snapshot() as snapshot:
        keys, _ = snapshot.candidates(tokenize(query), limit)
        return snapshot.ids(keys)


@pytest.mark.parametrize(
    ("query", "id"),
    [("FLATTEN", "en"), ("列表", "zh"), ("嵌", "zh"), ("4031", "ints"), ("naïve", "cafe")],
)
def test_every_script_and_integers_are_found(filled: RecordStore, query: str, id: str) -> None:
    assert found(filled, query) == [id]


def test_a_word_with_an_accent_is_found_without_it(filled: RecordStore) -> None:
    assert found(filled, "naive") == ["cafe"]


@pytest.mark.parametrize("query", ["", "?!", "NEAR(", '"', "a* OR b AND NOT c", "'; DROP TABLE x"])
def test_a_query_is_never_read_as_fts_syntax(filled: RecordStore, query: str) -> None:
    assert isinstance(found(filled, query), list)
    filled.verify()


def test_tokens_that_carry_quotes_are_quoted(filled: RecordStore) -> None:
    with filled.snapshot() as snapshot:
        keys, _ = snapshot.candidates(['fl"atten', 'x" OR "flatten'], 5)
        # FTS5 reads the second as the phrase: x, or, flatten.
        assert len(keys) == 0


def test_bm25_equals_the_formula(tmp_path: Path) -> None:
    texts = ["a b c", "a a d e f", "g h", "i j k l", "b m n"]
    store = RecordStore.create(tmp_path / "i")
    store.add(Record(str(i), text) for i, text in enumerate(texts))
    docs = [text.split() for text in texts]
    mean = np.mean([len(doc) for doc in docs])

    def bm25(doc: list[str], query: list[str]) -> float:
        total = 0.0
        for token in query:
            n = sum(token in other for other in docs)
            idf = np.log((len(docs) - n + 0.5) / (n + 0.5))
            tf = doc.count(token)
            total += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(doc) / mean))
        return total

    with store.snapshot() as snapshot:
        keys, scores = snapshot.candidates(["a", "m"], 10)
        want = {id: bm25(docs[int(id)], ["a", "m"]) for id in snapshot.ids(keys)}
    assert len(want) == 3
    np.testing.assert_allclose(scores, list(want.values()))
    assert all(a > b for a, b in pairwise(scores))


def test_equal_scores_are_ordered_by_key_and_cut_by_the_limit(store: RecordStore) -> None:
    store.add(Record(f"r{i}", "same words") for i in range(20))
    store.add(Record(f"other{i}", "something else") for i in range(30))
    with store.snapshot() as snapshot:
        keys, scores = snapshot.candidates(["same"], 7)
    assert keys.tolist() == list(range(1, 8)) and len(set(scores)) == 1


def test_no_tokens_or_no_limit_give_empty_arrays(filled: RecordStore) -> None:
    with filled.snapshot() as snapshot:
        for tokens, limit in (([], 5), (["flatten"], 0)):
            keys, scores = snapshot.candidates(tokens, limit)
            assert keys.dtype == np.int64 and scores.dtype == np.float64
            assert len(keys) == len(scores) == 0


def test_a_query_of_thousands_of_tokens_is_answered(filled: RecordStore) -> None:
    with filled.snapshot() as snapshot:
        keys, _ = snapshot.candidates([*(f"t{i}" for i in range(5000)), "flatten"], 5)
        assert snapshot.ids(keys) == ["en"]


def test_a_text_of_a_megabyte_is_kept_whole(store: RecordStore) -> None:
    text = "word " * 200_000 + "\0 needle 针"
    store.add([Record("long", text, fields={"a": "x"})])
    with store.snapshot() as snapshot:
        key = snapshot.keys_of(["long"])["long"]
        assert key is not None
        assert snapshot.texts([key]) == [text] and snapshot.records([key])[0].fields == {"a": "x"}
    assert found(store, "needle") == ["long"]


def test_look_ups_keep_the_order_and_the_repetitions(filled: RecordStore) -> None:
    with filled.snapshot() as snapshot:
        keys = [snapshot.keys_of(["zh", "en"])[id] for id in ("zh", "en", "zh")]
        assert snapshot.ids(keys) == ["zh", "en", "zh"]  # type: ignore[arg-type]
        assert snapshot.keys_of(["nobody", "\ud800"]) == {}
        with pytest.raises(IntegrityError, match="a record is not there"):
            snapshot.texts([999])


def test_look_ups_of_more_keys_than_sqlite_takes_variables(store: RecordStore) -> None:
    store.add(Record(f"r{i}", f"text {i}") for i in range(2_500))
    with store.snapshot() as snapshot:
        keys = np.random.default_rng(0).permutation(snapshot.pending_keys)
        assert snapshot.ids(keys) == [f"r{key - 1}" for key in keys]


@pytest.mark.parametrize("name", ["a b", "q?x=1", "#1", "100%25", "索引 目录"])
def test_paths_with_special_characters_work(tmp_path: Path, name: str) -> None:
    RecordStore.create(tmp_path / name).add(records(TEXTS))
    store = RecordStore.open(str(tmp_path / name))
    assert found(store, "flatten") == ["en"]
    store.delete(["en"])
    assert [file.name for file in tmp_path.iterdir()] == [name]


# --- adding and deleting


def test_a_duplicate_changes_nothing_and_is_named(filled: RecordStore) -> None:
    fresh = [Record(f"new{i}", "new text") for i in range(25)]
    with pytest.raises(ParameterError, match=r"\['zh'\].*on_duplicate='replace'"):
        filled.add([*fresh, Record("zh", "again")], batch_size=10)
    with filled.snapshot() as snapshot:
        assert len(snapshot) == len(TEXTS)
        assert snapshot.keys_of(["new0"]) == {}
    assert found(filled, "new") == []
    filled.verify()


def test_a_duplicate_within_the_input_is_found_across_batches(store: RecordStore) -> None:
    twice = [Record(str(i % 30), "text") for i in range(40)]
    with pytest.raises(ParameterError, match=r"'4', '... and 5 more'"):
        store.add(twice, batch_size=15 * 2)
    with store.snapshot() as snapshot:
        assert len(snapshot) == 0


def test_an_error_in_the_input_takes_back_what_was_added(filled: RecordStore) -> None:
    def broken():  # type: ignore[no-untyped-def]
        for i in range(25):
            yield Record(f"new{i}", "new")
        raise OSError("the file broke off")

    with pytest.raises(OSError, match="broke off"):
        filled.add(broken(), batch_size=10)
    with filled.snapshot() as snapshot:
        assert len(snapshot) == len(TEXTS)
    filled.verify()


def test_skip_and_replace_complete_what_was_interrupted(store: RecordStore) -> None:
    def interrupted():  # type: ignore[no-untyped-def]
        yield from (Record(f"r{i}", "text") for i in range(25))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.add(interrupted(), batch_size=10, on_duplicate="skip")
    with store.snapshot() as snapshot:
        assert len(snapshot) == 20
    again = [Record(f"r{i}", "text") for i in range(30)]
    assert store.add(again, on_duplicate="skip") == AddReport(added=10, replaced=0, skipped=20)


def test_skip_keeps_the_first_and_replace_the_last(store: RecordStore) -> None:
    batch = [Record("a", "one"), Record("b", "two"), Record("a", "three"), Record("a", "four")]
    assert store.add(batch, on_duplicate="skip") == AddReport(added=2, skipped=2)
    assert (found(store, "one"), found(store, "four")) == (["a"], [])
    assert store.add(batch, on_duplicate="replace") == AddReport(added=0, replaced=4)
    assert (found(store, "one"), found(store, "four")) == ([], ["a"])
    store.verify()


def test_a_replaced_record_gets_a_new_key_and_keys_are_never_used_twice(
    filled: RecordStore,
) -> None:
    with filled.snapshot() as snapshot:
        old = snapshot.keys_of(["cafe"])["cafe"]  # the largest
    filled.add([Record("cafe", "other")], on_duplicate="replace")
    with filled.snapshot() as snapshot:
        new = snapshot.keys_of(["cafe"])["cafe"]
    filled.delete(["cafe"])
    filled.add([Record("cafe", "third")])
    with filled.snapshot() as snapshot:
        newest = snapshot.keys_of(["cafe"])["cafe"]
    assert old is not None and new is not None and newest is not None
    assert old < new < newest


def test_deleted_records_are_gone(filled: RecordStore) -> None:
    assert filled.delete(["en", "zh", "en"]) == 2
    assert found(filled, "flatten") == []
    with filled.snapshot() as snapshot:
        assert len(snapshot) == 2 and snapshot.keys_of(["en"]) == {}
    filled.verify()


def test_deleting_what_is_not_there_deletes_nothing(filled: RecordStore) -> None:
    with pytest.raises(ParameterError, match=r"Got \['nobody', '\\ud800'\] instead"):
        filled.delete(["en", "nobody", "\ud800"])
    assert found(filled, "flatten") == ["en"]
    with pytest.raises(ParameterError, match="a list of ids"):
        filled.delete("zh")


def test_zero_records_and_empty_texts_are_fine(store: RecordStore) -> None:
    assert store.add([]) == AddReport(0, 0, 0)
    assert store.delete([]) == 0
    store.add([Record("empty", ""), Record("signs", "?!")])
    with store.snapshot() as snapshot:
        assert snapshot.texts(snapshot.pending_keys) == ["", "?!"]
    store.verify()


def test_long_texts_make_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoestring.search.store.BATCH_CHARACTERS", 100)
    records = [Record(str(i), "x" * 40) for i in range(7)]
    assert [len(batch) for batch in _batches(records, 2_000)] == [3, 3, 1]
    records = [Record(str(i), "x") for i in range(25)]
    assert [len(batch) for batch in _batches(records, 10)] == [10, 10, 5]


# --- one writer, many readers


def test_a_snapshot_does_not_change_while_a_writer_works(filled: RecordStore) -> None:
    with filled.snapshot() as before:
        keys = before.pending_keys
        filled.append(keys[:2], {"v": np.ones((2, 3), np.float32)})
        filled.add([Record("en", "replaced")], on_duplicate="replace")
        filled.delete(["zh"])
        assert before.view.arrays == {} and len(before) == 4 and len(before.keys) == 0
        assert before.texts(keys) == list(TEXTS.values())
        assert before.ids(before.candidates(["flatten"], 5)[0]) == ["en"]
    with filled.snapshot() as after:
        assert list(after.view.arrays) == ["v"] and len(after) == 3 and len(after.keys) == 0


def test_readers_in_threads_see_whole_batches_only(store: RecordStore) -> None:
    """Each batch holds ten records of one word; a reader must never find another number of them."""
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        reader = RecordStore.open(store.path)
        try:
            while not stop.is_set():
                with reader.snapshot() as snapshot:
                    n_found = len(snapshot.candidates(["batch"], 10_000)[0])
                    if n_found % 10 or n_found != len(snapshot):
                        wrong.append((n_found, len(snapshot)))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(0, 300, 10):
        store.add(Record(f"r{i}", "batch") for i in range(start, start + 10))
    for start in range(0, 150, 10):
        store.delete(f"r{i}" for i in range(start, start + 10))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT_S", 0.2)


@pytest.mark.usefixtures("impatient")
def test_one_of_two_writers_in_threads_is_refused(filled: RecordStore) -> None:
    said: list[str] = []

    def write(store: RecordStore) -> None:
        with pytest.raises(BusyError) as caught:
            store.add([Record("x", "x")])
        said.append(str(caught.value))

    with filled.writing():
        filled.delete(["en"])  # the writer itself may write
        for store in (filled, RecordStore.open(filled.path)):
            thread = threading.Thread(target=write, args=(store,))
            thread.start()
            thread.join()
        assert found(filled, "flatten") == []  # readers go on
    assert len(said) == 2
    assert all("being written by another process or thread" in text for text in said)
    filled.add([Record("x", "x")])


@pytest.mark.usefixtures("impatient")
def test_two_writers_in_processes_are_told_apart_and_a_killed_one_lets_go(
    filled: RecordStore,
) -> None:
    code = """
import sys, time
from shoestring.search.store import RecordStore
with RecordStore.open(sys.argv[1]).writing():
    print("writing", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(filled.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "writing\n"
        with pytest.raises(BusyError, match=r"by another process or thread; waited 0\.2 s"):
            filled.delete(["en"])
        assert found(filled, "flatten") == ["en"]
        child.kill()
    assert filled.delete(["en"]) == 1


def test_writers_in_threads_that_wait_for_each_other_all_succeed(store: RecordStore) -> None:
    def write(name: int) -> None:
        for i in range(5):
            store.add([Record(f"{name}-{i}", "text")])

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.snapshot() as snapshot:
        assert len(snapshot) == 20


# --- create, open, settings


def test_settings_are_kept(store: RecordStore) -> None:
    store.update_settings(model="迷你", k=3)
    kept = {"id": store.settings["id"], "scorer": "none", "model": "迷你", "k": 3}
    assert RecordStore.open(store.path).settings == kept


def test_create_refuses_what_is_there(filled: RecordStore, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="It holds an index"):
        RecordStore.create(filled.path)
    mine = tmp_path / "mine" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("all of it")
    with pytest.raises(ParameterError, match=r"It holds 'thesis\.txt'"):
        RecordStore.create(mine.parent)
    with pytest.raises(ParameterError, match="a new or empty folder"):
        RecordStore.create(mine)
    assert mine.read_text() == "all of it"
    assert found(filled, "flatten") == ["en"]


def test_a_create_that_was_killed_can_be_done_again(store: RecordStore) -> None:
    (store.path / "config.json").unlink()
    with pytest.raises(ParameterError, match="the folder of an index"):
        RecordStore.open(store.path)
    RecordStore.create(store.path, {"again": True}).add(records(TEXTS))
    assert RecordStore.open(store.path).settings["again"] is True


def test_open_of_nothing_says_how_to_build(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ParameterError, match="Build one: shoestring search build"):
            RecordStore.open(path)


def test_a_store_remembers_nothing_of_an_index_that_was_in_the_same_place(
    filled: RecordStore,
) -> None:
    with filled.snapshot() as snapshot:
        assert len(snapshot) == 4
    for file in sorted(filled.path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    RecordStore.create(filled.path).add([Record("only", "flatten")])  # one add, as before
    with filled.snapshot() as snapshot:
        assert snapshot.ids(snapshot.pending_keys) == ["only"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_a_random_history_leaves_no_file_open(store: RecordStore) -> None:
    rng = random.Random(0)
    n_open = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for step in range(20):
        store.add([Record(str(rng.randrange(10)), f"t{step}")], on_duplicate="replace")
        with store.snapshot() as snapshot:
            snapshot.candidates([f"t{step}"], 3)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == n_open
