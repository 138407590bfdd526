"""One index, many at a time: writers wait for each other, readers are never stale, copies whole."""

import os
import pickle
import shutil
import subprocess
import sys
import threading
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoestring import SearchIndex, score_with
from shoestring.errors import (
    BusyError,
    IntegrityError,
    ParameterError,
    ScorerError,
    ShoestringError,
    StorageError,
)
from shoestring.models import LsaEncoder
from shoestring.search import store as store_module
from shoestring.search.database import connect_for_writing
from shoestring.types import Hits

pytestmark = pytest.mark.usefixtures("no_fsync")

TEXTS = [
    f"{colour} {thing}" for colour in ("red", "blue", "绿 色") for thing in ("hat", "shoe", "帽子")
]


def shared_words(query: str, text: str) -> float:
    return len(set(query.split()) & set(text.split())) + len(text) / 100


ROWS = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS, start=1)]
SCORER = score_with(shared_words, name="shared words", single=True)


def build(path: Path, records: Any = ROWS, **options: Any) -> SearchIndex:
    options = {"encoder": "lsa", "scorer": SCORER, "progress": False} | options
    return SearchIndex.build(path, records, **options)


def answers(hits: Hits) -> list[tuple[str, str, float, bool]]:
    return [(hit.id, hit.text, hit.score, hit.exact) for hit in hits]


def assert_fresh(index: SearchIndex, scorer: Any = SCORER) -> None:
    """An index that was open all along answers what one that is opened now does."""
    fresh = SearchIndex.open(index.path, scorer=scorer)
    for query in ("red hat", "a 帽子", "blue crystal"):
        index.query(query, k=50, calls=3)
        hits = index.query(query, k=50, calls=0)
        assert answers(hits) == answers(fresh.query(query, k=50, calls=0))
    info, now = index.info(), fresh.info()
    assert {**info, "bytes": 0} == {**now, "bytes": 0}


# --- several writers

ADD_ONE_BY_ONE = """
import os, sys
from shoestring import SearchIndex
os.fsync = lambda descriptor: None
index = SearchIndex.open(sys.argv[1])
for i in range(int(sys.argv[3])):
    index.add([{"id": f"{sys.argv[2]}-{i}", "text": f"red crystal number {i} 第 {i} 号"}])
"""


def assert_whole(path: Path, n_records: int) -> None:
    index = SearchIndex.open(path)
    index.check()
    assert len(index) == n_records
    assert index.info()["records_without_vectors"] == 0


def test_processes_that_add_at_once_all_succeed(tmp_path: Path) -> None:
    build(tmp_path / "index")
    command = [sys.executable, "-c", ADD_ONE_BY_ONE, str(tmp_path / "index")]
    children = [
        subprocess.Popen([*command, name, "15"], stderr=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    said = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert_whole(tmp_path / "index", len(TEXTS) + 30)


@pytest.mark.parametrize("same", [True, False])
def test_threads_that_add_at_once_all_succeed(tmp_path: Path, same: bool) -> None:
    index, failed = build(tmp_path / "index"), list[Exception]()

    def add(name: int) -> None:
        mine = index if same else SearchIndex.open(index.path)
        try:
            for i in range(4):
                mine.add([{"id": f"{name}-{i}", "text": f"text {i} of {name}"}])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(daemon=True, target=add, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert_whole(index.path, len(TEXTS) + 32)


@pytest.mark.filterwarnings("ignore::shoestring.errors.ShoestringWarning")
def test_a_resumed_build_beside_adds_and_deletes_leaves_a_whole_index(tmp_path: Path) -> None:
    index, failed = build(tmp_path / "index"), list[Exception]()
    vectors = word_vectors(index)

    def rebuild() -> None:
        try:
            for encoder in (str(vectors), "lsa") * 3:
                build(index.path, None, resume=True, encoder=encoder, calls=5)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(daemon=True, target=rebuild)
    thread.start()
    other = SearchIndex.open(index.path)
    for i in range(12):
        other.add([{"id": f"n{i}", "text": f"new text {i}"}])
        other.delete([f"n{i}"])
    thread.join()
    assert failed == []
    assert_whole(index.path, len(TEXTS))


@pytest.mark.parametrize("on_duplicate", ["error", "replace", "skip"])
def test_a_busy_index_takes_nothing_and_the_same_add_succeeds_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_duplicate: Any
) -> None:
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT_S", 0.2)
    index = build(tmp_path / "index")
    new, other = [{"id": "n", "text": "a new text"}], SearchIndex.open(index.path)
    with other._store.writing():
        thread_said: list[str] = []

        def add() -> None:
            with pytest.raises(BusyError) as caught:
                index.add(new, on_duplicate=on_duplicate)
            thread_said.append(str(caught.value))

        thread = threading.Thread(daemon=True, target=add)
        thread.start()
        thread.join()
        assert "waited 0.2 s for it. Nothing was changed" in thread_said[0]
        assert len(index) == len(TEXTS)
    assert index.add(new, on_duplicate=on_duplicate).added == 1
    assert_whole(index.path, len(TEXTS) + 1)


def state_of(path: Path) -> tuple[Any, ...]:
    index = SearchIndex.open(path)
    with index.snapshot() as snapshot:
        return index.info(), snapshot.ids(snapshot.all_keys), sorted(path.rglob("*.rows"))


@pytest.mark.parametrize("on_duplicate", ["error", "replace", "skip"])
@pytest.mark.parametrize("fault", ["encoder", "disk", "interrupt"])
def test_an_add_that_fails_in_its_vectors_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, on_duplicate: Any
) -> None:
    index = build(tmp_path / "index")
    before = state_of(index.path)
    new = [{"id": f"n{i}", "text": f"new text {i}"} for i in range(60)]
    with monkeypatch.context() as patch:

        def fails(*_: object) -> Any:
            raise {
                "encoder": ScorerError("the encoder failed"),
                "disk": OSError(28, "No space left on device"),
                "interrupt": KeyboardInterrupt(),
            }[fault]

        if fault == "disk":
            patch.setattr(os, "fsync", fails)
        else:
            patch.setattr(LsaEncoder, "encode", fails)
        with pytest.raises((ShoestringError, KeyboardInterrupt)) as caught:
            index.add(new, on_duplicate=on_duplicate)
    assert isinstance(caught.value, StorageError) == (fault == "disk")
    assert state_of(index.path) == before
    assert index.add(new, on_duplicate="error").added == 60  # never its own duplicate
    assert_whole(index.path, len(TEXTS) + 60)


def test_an_add_of_many_batches_is_all_or_nothing(tmp_path: Path) -> None:
    index = build(tmp_path / "index")
    before = state_of(index.path)

    def records() -> Any:
        yield from ({"id": f"n{i}", "text": f"new text {i}"} for i in range(4_500))
        yield {"id": "1", "text": "the id of another"}

    with pytest.raises(ParameterError, match="ids are new"):
        index.add(list(records()))
    assert state_of(index.path) == before
    assert index.add(list(records()), on_duplicate="skip").added == 4_500
    assert_whole(index.path, len(TEXTS) + 4_500)


FILL_THE_DISK = """
import resource, sys
from shoestring import SearchIndex
from shoestring.errors import StorageError
index = SearchIndex.open(sys.argv[1])
index.query("red hat", calls=0)
size = max(path.stat().st_size for path in index.path.rglob("*") if path.is_file())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, resource.RLIM_INFINITY))
many = [{"id": f"n{i}", "text": f"crystal {i} " * 100} for i in range(1_000)]
try:
    index.add(many)
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_an_add_to_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    index = build(tmp_path / "index")
    before = state_of(index.path)
    command = [sys.executable, "-c", FILL_THE_DISK, str(index.path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "cannot be" in done.stdout, done.stdout + done.stderr
    now = state_of(index.path)
    assert now[1:] == before[1:] and now[0]["records"] == before[0]["records"]
    index.add([{"id": "n", "text": "after it"}])
    assert_whole(index.path, len(TEXTS) + 1)


def test_two_builds_of_one_folder_at_once_make_one_index(tmp_path: Path) -> None:
    outcomes: list[object] = []

    def run(name: str) -> None:
        try:
            outcomes.append(len(build(tmp_path / "index", [f"{name} text {i}" for i in range(9)])))
        except ParameterError as error:
            outcomes.append("It holds an index" in str(error))

    threads = [
        threading.Thread(daemon=True, target=run, args=(name,)) for name in ("one", "two", "three")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [9, True, True]
    assert_whole(tmp_path / "index", 9)


# --- readers


def rebuild(index: SearchIndex) -> None:
    shutil.rmtree(index.path)
    build(index.path, [f"crystal {text} {i}" for i, text in enumerate(TEXTS * 3)], calls=60)


def restore(index: SearchIndex) -> None:
    """An older copy comes back and goes another way for as many changes."""
    copy, n_changes = index.path.with_name("copy"), 3
    index.copy(copy)
    for i in range(n_changes):
        index.add([{"id": f"n{i}", "text": f"red thing {i}"}])
    index.query("red hat", calls=0)  # what is remembered is of this one
    shutil.rmtree(index.path)
    other = SearchIndex.open(copy)
    for i in range(n_changes):
        other.add([{"id": f"m{i}", "text": f"blue crystal {i}"}])
    copy.rename(index.path)


CHANGES = {
    "rebuilt": rebuild,
    "restored": restore,
    "encoder": lambda index: build(index.path, None, resume=True, encoder=str(word_vectors(index))),
    "scorer": lambda index: build(index.path, None, resume=True, scorer="minilm", calls=20),
    "calibrated": lambda index: SearchIndex.open(index.path, scorer=SCORER).calibrate(calls=40),
    "compacted": lambda index: SearchIndex.open(index.path).compact(),
    "refitted": lambda index: refit(index),
}


def word_vectors(index: SearchIndex) -> Path:
    from shoestring.words import BinaryVectors

    folder = index.path.with_name("vectors")
    sentences = [f"the {text} and the {other}" for text in TEXTS for other in TEXTS]
    BinaryVectors(random_state=0).fit(sentences, progress=False).save(folder)
    return folder


def refit(index: SearchIndex) -> None:
    """The fitted encoder is damaged and made again, of other texts and another width."""
    rows = [{"id": row["id"], "text": f"{row['text']} crystal"} for row in ROWS]
    SearchIndex.open(index.path).add(rows, on_duplicate="replace")
    for file in (index.path / "encoder").glob("*/*.npy"):
        file.write_bytes(b"")
    build(index.path, None, resume=True, encoder="auto")


@pytest.mark.filterwarnings("ignore::shoestring.errors.ShoestringWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_an_open_index_answers_as_a_fresh_one_after_another_process_changed_it(
    tmp_path: Path, change: str
) -> None:
    index = build(tmp_path / "index", calls=40)
    index.delete([index.query("red hat", k=1, calls=0)[0].id])
    by_name = change == "scorer"
    if by_name:
        pytest.importorskip("ctranslate2")
        build(index.path, None, resume=True, scorer="minilm-weighted", calls=20)
        index = SearchIndex.open(index.path)
    for query in ("red hat", "a 帽子", "blue crystal"):
        index.query(query, calls=0)
    CHANGES[change](index)
    assert_fresh(index, scorer=None if by_name else SCORER)


@pytest.mark.filterwarnings("ignore::shoestring.errors.ShoestringWarning")
def test_readers_beside_rebuilds_never_mix_vectors_and_encoders(tmp_path: Path) -> None:
    """Vectors of another width at each turn; a query sees one index, or says that there is none."""
    index = build(tmp_path / "index")
    stop, wrong = threading.Event(), list[str]()
    answered = threading.Barrier(3, timeout=100)  # both readers have answered before the first

    def read(reader: SearchIndex) -> None:
        reader.query("red hat", k=3, calls=0)
        answered.wait()
        while not stop.is_set():
            try:
                hits = reader.query("red hat", k=3, calls=0)
                if len(hits) not in (0, 3):
                    wrong.append(str(hits))
            except ShoestringError as error:
                if (
                    "cannot" not in str(error)
                    and "missing" not in str(error)
                    and "must be" not in str(error)
                ):
                    wrong.append(str(error))
            except Exception as error:
                wrong.append(repr(error))

    readers = [SearchIndex.open(index.path) for _ in range(2)]
    threads = [threading.Thread(daemon=True, target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    answered.wait()
    for turn in range(8):
        index.path.rename(tmp_path / f"old{turn}")
        build(index.path, [f"{text} {turn}" for text in TEXTS][: 4 + turn % 3])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_encoder_that_makes_other_vectors_than_the_index_has_is_said(tmp_path: Path) -> None:
    index = build(tmp_path / "index")
    shutil.rmtree(index.path / "encoder")
    LsaEncoder(2).fit(TEXTS).save(index.path / "encoder")
    with pytest.raises(IntegrityError, match=r"makes other vectors .* search build .* --resume"):
        index.query("red hat", calls=0)


# --- copies


def test_a_copy_is_whole_and_goes_its_own_way(tmp_path: Path) -> None:
    index = build(tmp_path / "index", calls=40)
    index.delete(["1"])
    copy = index.copy(tmp_path / "deep" / "副本")
    assert answers(copy.query("red hat", calls=5)) == answers(index.query("red hat", calls=5))
    copy.check()
    copy.add([{"id": "n", "text": "of the copy"}])
    index.add([{"id": "m", "text": "of the index"}, {"id": "n", "text": "again"}])
    assert (len(index), len(copy)) == (len(TEXTS) + 1, len(TEXTS))
    for each in (index, copy):
        assert_whole(each.path, len(each))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "index"]


@pytest.mark.parametrize("where", ["mine", "index", "file.txt", "index/encoder/inside"])
def test_a_copy_goes_to_a_new_or_empty_folder_alone(tmp_path: Path, where: str) -> None:
    index = build(tmp_path / "index")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    (tmp_path / "file.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ParameterError):
        index.copy(tmp_path / where)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "empty").mkdir()
    assert len(index.copy(tmp_path / "empty")) == len(TEXTS)


def test_copies_of_an_index_that_changes_all_the_time_are_whole(tmp_path: Path) -> None:
    index, stop, failed = build(tmp_path / "index"), threading.Event(), list[Exception]()

    def change() -> None:
        writer = SearchIndex.open(index.path, scorer=SCORER)
        turn = 0
        try:
            while not stop.is_set():
                turn += 1
                writer.add([{"id": f"{turn} {i}", "text": f"text {turn} {i}"} for i in range(20)])
                writer.delete([f"{turn} {i}" for i in range(0, 20, 2)])
                if turn % 3 == 0:
                    writer.compact()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(daemon=True, target=change)
    thread.start()
    for turn in range(10):
        copy = index.copy(tmp_path / f"copy{turn}")
        copy.check()
        assert copy.info()["records_without_vectors"] == 0
        copy.query("text red", k=5, calls=0)
    stop.set()
    thread.join()
    assert failed == []


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = build(tmp_path / "index")
    before = sorted(path for path in tmp_path.rglob("*") if "sqlite-" not in path.name)

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match="No space left"):
        index.copy(tmp_path / "copy")
    assert sorted(path for path in tmp_path.rglob("*") if "sqlite-" not in path.name) == before


@pytest.mark.parametrize("table", ["records", "fulltext"])
def test_tables_that_contradict_each_other_are_an_integrity_error(
    tmp_path: Path, table: str
) -> None:
    """As in a copy whose files are of different moments."""
    index = build(tmp_path / "index")
    connection = connect_for_writing(index.path / "records.sqlite")
    if table == "records":
        connection.execute("DELETE FROM records WHERE key = 1")
    else:
        connection.execute("INSERT INTO fulltext (rowid, tokens) VALUES (999, 'red hat')")
    connection.close()
    with pytest.raises(IntegrityError, match="search copy INDEX TO"):
        index.query("red hat", k=50, calls=0)


# --- other processes


def ask(index: SearchIndex) -> list[tuple[str, str, float, bool]]:
    return answers(index.query("red hat", calls=0))


@pytest.mark.parametrize("by_name", [True, False])
def test_a_pickled_index_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_name: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    build(Path("index"), scorer=None if by_name else SCORER)
    index = SearchIndex.open("index", scorer=None if by_name else SCORER)
    (tmp_path / "elsewhere").mkdir()
    data = pickle.dumps(index)
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = pickle.loads(data)
    assert [hit.id for hit in again.query("red hat", calls=0)]
    if not by_name:
        assert all(hit.exact for hit in again.query("red hat", calls=50))


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_children_answer_with_an_index_that_was_used(tmp_path: Path, how: str) -> None:
    if how == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork")
    index = build(tmp_path / "index")
    want = ask(index)
    with index.models.lock, index._store.writing():  # another thread's, for the child
        pool = get_context(how).Pool(1)
        try:
            assert pool.apply_async(ask, (index,)).get(timeout=60) == want
        finally:
            pool.terminate()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_uses_the_index_that_it_inherited(tmp_path: Path) -> None:
    index = build(tmp_path / "index")
    want = ask(index)
    locked, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with index.models.lock, index._store.writing():
            locked.set()
            forked.wait()

    thread = threading.Thread(daemon=True, target=hold)
    thread.start()
    locked.wait()
    child = os.fork()
    if child == 0:
        same = ask(index) == want
        index.add([{"id": "child", "text": "of the child"}])
        os._exit(0 if same else 1)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(index) == len(TEXTS) + 1


# --- input


@pytest.mark.parametrize(
    ("ids", "n_left"), [([1], 3), ([np.int64(1), 2], 2), (np.array([1, 2]), 2), (["c", "1"], 2)]
)
def test_integers_delete_as_they_were_added(tmp_path: Path, ids: Any, n_left: int) -> None:
    rows = [{"id": id, "text": f"text {id}"} for id in (1, np.int64(2), "c", "帽")]
    index = build(tmp_path / "index", rows)
    assert index.delete(ids) == 4 - n_left == 4 - len(index)


@pytest.mark.parametrize("ids", ["1", b"1", 1, None, [None], [1.0], [True], [["1"]], [b"1"], [{}]])
def test_what_is_no_list_of_ids_deletes_nothing(tmp_path: Path, ids: Any) -> None:
    index = build(tmp_path / "index")
    with pytest.raises(ParameterError, match=r"'ids' parameter of SearchIndex\.delete"):
        index.delete(ids)
    assert len(index) == len(TEXTS)


BAD = {
    "path": ["a\0b", "", None, 3, b"x"],
    "encoder": ["sentence-transformers/all-MiniLM-L6-v2", "LSA", "", None, 3, "x" * 5_000, "a\0b"],
    "scorer": ["cross-encoder/ms-marco-MiniLM-L6-v2", 3, "x" * 5_000, "a\0b", object, []],
    "calls": ["5", -1, 2.5, None, True],
    "minutes": ["x", 0, -1.0, float("nan"), float("inf"), True],
    "seed": [-1, "0", 1.5, None, True],
    "queries": ["abc", [1], [None], ["half \ud83d"], 5],
    "resume": ["x", None, 2],
    "progress": ["x", None],
    "on_duplicate": [3, None, "merge", ["skip"]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_bad_parameters_of_a_build_are_refused_before_a_text_is_read(
    tmp_path: Path, name: str, value: Any
) -> None:
    read = []

    def records() -> Any:
        read.append(1)
        yield {"id": "a", "text": "a text"}

    arguments = {"path": tmp_path / "index", "records": records()} | {name: value}
    with pytest.raises(ParameterError, match=f"'{name}' parameter of "):
        build(**arguments)
    assert not read and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["calls", "minutes", "seed", "queries", "progress"])
def test_bad_parameters_of_calibrate_and_add_are_refused(tmp_path: Path, name: str) -> None:
    index = build(tmp_path / "index")
    for value in BAD[name]:
        with pytest.raises(ParameterError, match=f"'{name}' parameter of SearchIndex.calibrate"):
            index.calibrate(**{"calls": 3, name: value})
    for option in ("on_duplicate", "progress"):
        for value in BAD[option]:
            with pytest.raises(ParameterError, match=f"'{option}' parameter of SearchIndex.add"):
                index.add(["a text"], **{option: value})
    assert index.info()["scores_paid"] == 0 and len(index) == len(TEXTS)


@pytest.mark.parametrize("path", ["x" * 5_000, "file.txt/index"])
def test_paths_that_cannot_be_are_errors_of_ours(tmp_path: Path, path: str) -> None:
    (tmp_path / "file.txt").write_text("mine")
    index = build(tmp_path / "index")
    for act in (
        lambda: build(tmp_path / path),
        lambda: build(tmp_path / path, resume=True),
        lambda: SearchIndex.open(tmp_path / path),
        lambda: index.copy(tmp_path / path),
    ):
        with pytest.raises(ShoestringError):
            act()


@pytest.mark.parametrize("stage", ["records", "fit", "encode", "disk"])
def test_a_build_that_fails_before_its_first_vectors_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise StorageError("it failed")

    def records() -> Any:
        yield from ({"id": f"{i}", "text": f"text {i}"} for i in range(5_000))
        if stage == "records":
            raise ValueError("the file broke off")

    options: dict[str, Any] = {"on_duplicate": "skip"}
    with monkeypatch.context() as patch:
        if stage == "fit":
            patch.setattr(LsaEncoder, "fit", fails)
        elif stage == "encode":
            patch.setattr(LsaEncoder, "encode", fails)
        elif stage == "disk":
            patch.setattr("shoestring.search.store.write_rows", fails)
        with pytest.raises((ShoestringError, ValueError)):
            build(tmp_path / "index", records(), **options)
    assert list(tmp_path.iterdir()) == []
    build(tmp_path / "index")


def test_a_relative_model_folder_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(tmp_path / "index", calls=0)
    monkeypatch.chdir(word_vectors(index).parent)
    build(tmp_path / "other", encoder="vectors")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    build(tmp_path / "other", None, resume=True, encoder=str(tmp_path / "vectors"))
    assert SearchIndex.open(tmp_path / "other").info()["encoder"] == str(tmp_path / "vectors")
