"""Several writers, readers and copies of one search index at a time: what is counted is trouble.

Writers: each add must succeed or say that the index is busy before anything is in, and at the end
every record must be there once, with its vector. Readers: an index that was open while another
process changed or rebuilt it must answer what one answers that is opened then. Copies must pass
``search check``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoestring import SearchIndex, score_with
from shoestring.errors import BusyError, ShoestringError

QUERIES = ("red hat", "blue crystal", "绿色 的 帽子")
ADDS = """
import sys
from shoestring import SearchIndex
from shoestring.errors import BusyError
index, n_busy = SearchIndex.open(sys.argv[1]), 0
for i in range(int(sys.argv[3])):
    try:
        index.add([{"id": f"{sys.argv[2]}-{i}", "text": f"red crystal {sys.argv[2]} {i}"}])
    except BusyError:
        n_busy += 1
print(n_busy)
"""


def rows(n_texts: int, word: str = "red") -> list[dict[str, str]]:
    """Texts in English and Chinese."""
    return [{"id": str(i), "text": f"{word} hat {i} 绿色 的 帽子 {i % 7}"} for i in range(n_texts)]


SCORER = score_with(
    lambda query, text: len(set(query.split()) & set(text.split())) + len(text) / 100,
    name="shared words",
    single=True,
)
OTHER = score_with(lambda query, text: -len(text), name="shortest", single=True)


def build(path: Path, records: Any, **options: Any) -> SearchIndex:
    """A small index on lexical vectors."""
    options = {"scorer": SCORER, "encoder": "lsa", "progress": False} | options
    return SearchIndex.build(path, records, **options)


def outcome(scenario: str, tries: int, failed: int, busy: int, wrong: int) -> dict[str, Any]:
    """A row: tries, those that failed with another error than BusyError, wrong results."""
    return {"scenario": scenario, "tries": tries, "failed": failed, "busy": busy, "wrong": wrong}


def n_wrong(path: Path, n_records: int) -> int:
    """Records too many, too few or without a vector; or one, if the index is damaged."""
    index = SearchIndex.open(path)
    try:
        index.check()
    except ShoestringError:
        return 1
    return abs(len(index) - n_records) + int(index.info()["records_without_vectors"])


def in_threads(works: list[Callable[[], None]]) -> tuple[int, int]:
    """Run at once; how many failed, and how many of the adds were told that it is busy."""
    failed: list[Exception] = []
    busy: list[Exception] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BusyError as error:
            busy.append(error)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(failed), len(busy)


def adding_processes(folder: Path, n_adds: int) -> dict[str, Any]:
    """Two processes that add a record at a time."""
    path = folder / "processes"
    build(path, rows(50))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ADDS, str(path), name, str(n_adds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    said = [child.communicate()[0] for child in children]
    failed = sum(child.returncode != 0 for child in children)
    busy = sum(int(text or 0) for text in said)
    wrong = n_wrong(path, 50 + 2 * n_adds - busy)
    return outcome("two processes add", 2 * n_adds, failed, busy, wrong)


def adding_threads(folder: Path, n_adds: int, one_object: bool) -> dict[str, Any]:
    """Eight threads that add a record at a time."""
    name = "one object" if one_object else "objects of their own"
    index = build(folder / name, rows(50))

    def add(number: int, i: int) -> Callable[[], None]:
        mine = index if one_object else SearchIndex.open(index.path)
        return lambda: void(
            mine.add([{"id": f"{number}-{i}", "text": f"red crystal {number} {i}"}])
        )

    failed = busy = 0
    for i in range(n_adds):
        found = in_threads([add(number, i) for number in range(8)])
        failed, busy = failed + found[0], busy + found[1]
    wrong = n_wrong(index.path, 50 + 8 * n_adds - failed - busy)
    return outcome(f"eight threads add through {name}", 8 * n_adds, failed, busy, wrong)


def void(_: object) -> None:
    """Forget a result."""


def adds_beside_rebuilds(folder: Path, n_adds: int) -> dict[str, Any]:
    """Adds beside builds that go on with the index and its paid scores."""
    index = build(folder / "rebuilds", rows(50))

    def rebuild() -> None:
        for turn in range(n_adds // 4):
            build(index.path, rows(50, "blue"), resume=True, on_duplicate="replace", calls=turn)

    def add() -> None:
        mine = SearchIndex.open(index.path)
        for i in range(n_adds):
            mine.add([{"id": f"n{i}", "text": f"red crystal {i}"}])

    failed, busy = in_threads([rebuild, add])
    wrong = n_wrong(index.path, 50 + n_adds) if not failed and not busy else 0
    return outcome("adds beside rebuilds", n_adds + n_adds // 4, failed, busy, wrong)


def rebuilt(path: Path, turn: int) -> None:
    """Another index in the same place."""
    path.rename(path.with_name(f"{path.name}-{turn}"))
    build(path, rows(40 + turn % 5, "blue crystal"), calls=20)


def added(path: Path, turn: int) -> None:
    """Other texts under the same ids, then the rows of the old ones go."""
    other = SearchIndex.open(path)
    other.add(rows(20, f"blue crystal {turn}"), on_duplicate="replace")
    other.compact()


CHANGES: dict[str, Callable[[Path, int], object]] = {
    "the folder is rebuilt": rebuilt,
    "the encoder changes": lambda path, turn: build(
        path, None, resume=True, encoder=str(path.with_name(f"vectors{turn % 2}"))
    ),
    "the scorer changes": lambda path, turn: build(
        path, None, resume=True, scorer=(OTHER, SCORER)[turn % 2], calls=20
    ),
    "it is calibrated": lambda path, turn: SearchIndex.open(path, scorer=SCORER).calibrate(
        20, seed=turn
    ),
    "texts are replaced": added,
}


def stale_reader(folder: Path, name: str, n_turns: int) -> dict[str, Any]:
    """An index that stays open beside one that is opened after each change."""
    from shoestring.words import BinaryVectors

    path = folder / name.replace(" ", "-")
    index = build(path, rows(60), calls=20)
    for number in range(2 if "encoder" in name else 0):
        sentences = [f"the {row['text']} and the other" for row in rows(60)]
        made = BinaryVectors(n_neurons=40 + 40 * number, n_active=4, random_state=0)
        made.fit(sentences).save(path.with_name(f"vectors{number}"))
    tries = failed = wrong = 0
    for turn in range(n_turns):
        answers(index)
        CHANGES[name](path, turn)
        tries += 1
        try:
            found = answers(index)
            fresh = SearchIndex.open(path, scorer=SCORER)
            wrong += found != answers(fresh, calls=0)
        except Exception:
            failed += 1
    return outcome(f"a reader while {name}", tries, failed, 0, wrong)


def answers(index: SearchIndex, calls: int = 3) -> list[Any]:
    """What an index answers, once it has paid for a few scores."""
    for query in QUERIES:
        index.query(query, calls=calls)
    found = [index.query(query, k=20, calls=0) for query in QUERIES]
    return [[(hit.id, hit.text, hit.score, hit.exact) for hit in hits] for hits in found]


def copies(folder: Path, n_copies: int) -> dict[str, Any]:
    """Copies of an index that another thread changes all the time."""
    index, stop = build(folder / "copied", rows(50)), threading.Event()

    def change() -> None:
        writer, turn = SearchIndex.open(index.path), 0
        while not stop.is_set():
            turn += 1
            writer.add(
                [{"id": f"{turn}-{i}", "text": f"red crystal {turn} {i}"} for i in range(20)]
            )
            writer.delete([f"{turn}-{i}" for i in range(0, 20, 2)])
            if turn % 3 == 0:
                writer.compact()

    wrong: list[int] = []

    def copy() -> None:
        try:
            for number in range(n_copies):
                made = index.copy(folder / f"copy{number}")
                wrong.append(n_wrong(made.path, len(made)))
                made.query("red crystal", calls=0)
                shutil.rmtree(made.path)
        finally:
            stop.set()

    failed, busy = in_threads([change, copy])
    return outcome("copies of an index in use", n_copies, failed, busy, sum(wrong))


def run(quick: bool, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each scenario."""
    n = 5 if quick else 20
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        plans: list[Callable[[], dict[str, Any]]] = [
            lambda: adding_processes(folder, 2 * n),
            lambda: adding_threads(folder, n // 4, True),
            lambda: adding_threads(folder, n // 4, False),
            lambda: adds_beside_rebuilds(folder, n),
            *(lambda change=change: stale_reader(folder, change, n) for change in CHANGES),  # type: ignore[misc]
            lambda: copies(folder, n),
        ]
        for plan in plans:
            found.append(plan())
            print(found[-1], file=sys.stderr, flush=True)
    return found
