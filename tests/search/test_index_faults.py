"""What can go wrong around the engine: scorers, input, damage, kill -9. The index works afterwards.

Run as a program this file is a build that a test kills; every pair it pays for goes to a log first.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoestring import SearchIndex, artifacts, score_with
from shoestring.artifacts import ArtifactKind
from shoestring.errors import (
    FormatError,
    IntegrityError,
    ParameterError,
    ScorerError,
    ShoestringError,
    ShoestringWarning,
    StorageError,
)
from shoestring.models import LsaEncoder
from shoestring.search import database
from shoestring.search.score_cache import ScoreCache
from shoestring.search.snapshot import Snapshot

no_fsync = pytest.mark.usefixtures("no_fsync")

BATCH = 4
KILLED_CALLS = 300  # of each life
ITEMS = [
    {"id": f"r{i}", "text": f"{colour} {thing} number{i}"}
    for i, (colour, thing) in enumerate(
        (colour, thing)
        for colour in ("red", "blue", "green", "white", "black", "brown")
        for thing in (
            "hat",
            "shoe",
            "sock",
            "scarf",
            "glove",
            "belt",
            "coat",
            "shirt",
            "cap",
            "tie",
        )
    )
]


def closeness(query: str, text: str) -> float:
    return len(set(query) & set(text)) + len(text) / 100


class Faulty:
    """A function on batches of pairs that keeps account, and breaks when told to."""

    def __init__(self, fault: str = "", after: int = 10**9) -> None:
        self.fault, self.after = fault, after
        self.answered: Counter[tuple[str, str]] = Counter()
        self.n_batches = 0

    def __call__(self, pairs: list[tuple[str, str]]) -> list[float]:
        self.n_batches += 1
        scores = [closeness(*pair) for pair in pairs]
        if self.n_batches > self.after:
            if self.fault == "raises":
                raise ConnectionError("the service is away")
            return scores[:-1] if self.fault == "length" else [float("nan")] * len(scores)
        self.answered.update(pairs)
        return scores

    @property
    def scorer(self) -> Any:
        return score_with(self, name="closeness", max_batch=BATCH)


def build(path: Path, records: Any = ITEMS, scorer: Any = None, **options: Any) -> SearchIndex:
    options = {"encoder": "lsa", "progress": False} | options
    if isinstance(records, list):
        records = [
            {"id": str(n), "text": r} if isinstance(r, str) else r for n, r in enumerate(records, 1)
        ]
    return SearchIndex.build(path, records, scorer=scorer, **options)


def assert_works(path: Path, n_records: int = len(ITEMS)) -> None:
    index = SearchIndex.open(path)
    hits = index.query("a white scarf", k=100, calls=0)
    assert len(hits) == len(index) == n_records
    if n_records == len(ITEMS):
        assert hits[0].text.startswith("white scarf") or any(hit.exact for hit in hits)


# --- scorers that fail

FAULTS = {
    "raises": "raised ConnectionError on 4 pairs: the service is away",
    "length": "answered 3 scores for 4 pairs",
    "nan": "answered nan for 4 of 4 pairs",
}


@no_fsync
@pytest.mark.parametrize(
    ("fault", "after"), [("raises", 0), ("raises", 11), ("length", 11), ("nan", 11)]
)
def test_a_scorer_that_fails_in_a_build_loses_nothing_that_it_answered(
    tmp_path: Path, fault: str, after: int
) -> None:
    path, broken = tmp_path / "index", Faulty(fault, after)
    with pytest.raises(ScorerError, match=FAULTS[fault]) as caught:
        build(path, scorer=broken.scorer, calls=600)
    assert "\n" not in str(caught.value)
    assert_works(path)
    with ScoreCache(path) as cache:
        assert cache.count() == broken.answered.total()
        assert cache.count() >= 3 * after
    whole = Faulty()
    index = build(path, None, whole.scorer, resume=True, calls=600)
    paid = whole.answered + broken.answered
    assert max(paid.values()) == 1
    assert index.info()["scores_paid"] == paid.total()
    assert index.info()["anchor_queries"] > 10


@no_fsync
@pytest.mark.parametrize("fault", FAULTS)
def test_a_scorer_that_fails_in_a_query_loses_nothing_that_it_answered(
    tmp_path: Path, fault: str
) -> None:
    path, broken = tmp_path / "index", Faulty(fault, after=0)
    index = build(path, scorer=broken.scorer)
    with pytest.raises(ScorerError, match=r"answered|raised"):
        index.query("a white scarf", calls=120)
    broken.after = broken.n_batches + 2  # in the midst of a round
    with pytest.warns(ShoestringWarning, match=r"rests on the 8 of 120 calls .* ask again") as said:
        hits = index.query("a white scarf", calls=120)
    assert Path(said[0].filename) == Path(__file__)
    kept = broken.answered.total()
    assert hits.calls == kept == 2 * BATCH
    assert hits.error and FAULTS[fault].split()[0] in hits.error
    assert sum(hit.exact for hit in hits) == kept
    assert {hit.score for hit in hits if hit.exact} == {
        closeness(*pair) for pair in broken.answered
    }
    with pytest.raises(ScorerError):  # nothing more is answered
        index.query("a white scarf", calls=120)
    assert_works(path)
    broken.after = 10**9
    hits = index.query("a white scarf", calls=60)
    assert hits.calls == 60 - kept and hits.error is None
    assert max(broken.answered.values()) == 1
    assert [hit.score for hit in hits] == sorted(
        (closeness("a white scarf", item["text"]) for item in ITEMS), reverse=True
    )[:10]


@no_fsync
def test_a_scorer_that_finds_all_alike_is_searched_in_peace(tmp_path: Path) -> None:
    for score in (0.0, -3.0, 1e9):
        scorer = score_with(lambda q, t, score=score: score, name=f"{score}", single=True)
        for calls in (0, 300):
            index = build(tmp_path / f"{score}{calls}", scorer=scorer, calls=calls)
            hits = index.query("a white scarf", k=60, calls=30)
            assert len({hit.id for hit in hits}) == 60
            assert all(np.isfinite(hit.score) for hit in hits)
            np.testing.assert_allclose([hit.score for hit in hits], score, rtol=2e-3, atol=1e-5)


REJECTS = {
    "beyond float32": (-1e39, 1.0),
    "the least float": (-sys.float_info.max, 1.0),
    "usual": (-1e9, 1.0),
    "small": (-2_000.0, 1.0),
    "tiny scores": (-1.0, 1e-6),
}


@no_fsync
@pytest.mark.parametrize("anchor_calls", [0, 600])
@pytest.mark.parametrize(("reject", "scale"), REJECTS.values(), ids=REJECTS)
def test_a_huge_reject_leaves_the_ranking_of_the_others(
    tmp_path: Path, reject: float, scale: float, anchor_calls: int
) -> None:
    """Every third text is rejected; what is asked for is as if it scored a little less instead."""
    asked: dict[float, list[str]] = {}
    for low in (-scale, reject):
        seen = asked[low] = []

        def judge(query: str, text: str, low: float = low, seen: list[str] = seen) -> float:
            seen.append(text)
            is_bad = int(text.rpartition("number")[2]) % 3 == 0
            return low if is_bad else scale * closeness(query, text)

        scorer = score_with(judge, name="judge", single=True)
        index = build(tmp_path / f"{low}", scorer=scorer, calls=anchor_calls)
        seen.clear()
        index.query("a white scarf", calls=30)
    ranked = sorted(ITEMS, key=lambda item: -judge("a white scarf", item["text"]))
    best = {item["text"] for item in ranked[:20]}
    found, want = (len(best & set(seen)) for seen in (asked[reject], asked[-scale]))
    assert found >= want - 2 and want >= 10
    truth = [judge("a white scarf", item["text"]) for item in ranked]
    assert [hit.score for hit in index.query("a white scarf", k=60, calls=60)] == truth
    assert all(np.isfinite(hit.score) for hit in index.query("a green belt", k=60, calls=0))


@no_fsync
@pytest.mark.parametrize(
    "scores",
    [
        (-1e39, 1.0),
        (1e300, 1.0),
        (1e300, -1e300),
        (sys.float_info.max, -sys.float_info.max),
        (1e39, 1e38, 1e37, 0.0),
        (5e-324, 0.0),
        (-1e39, -1e20, 1.0, 2.0),
    ],
)
@pytest.mark.parametrize("anchor_calls", [0, 300])
def test_scores_of_any_size_are_searched_in_peace(
    tmp_path: Path, scores: tuple[float, ...], anchor_calls: int
) -> None:
    def judge(query: str, text: str) -> float:
        return scores[(len(query) + int(text.rpartition("number")[2])) % len(scores)]

    scorer = score_with(judge, name="judge", single=True)
    index = build(tmp_path / "index", scorer=scorer, calls=anchor_calls)
    for calls in (1, 4, 30, 60):
        hits = index.query("a white scarf", k=60, calls=calls)
        assert len(hits) == 60 and sum(hit.exact for hit in hits) == calls
        assert all(np.isfinite(hit.score) for hit in hits)
    want = sorted((judge("a white scarf", item["text"]) for item in ITEMS), reverse=True)
    assert [hit.score for hit in hits] == want


NO_NUMBERS = (np.nan, np.inf)


@no_fsync
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("vectors", "item_bias", "residuals") for value in NO_NUMBERS),
        ("vectors", 1e38),
    ],
)
def test_numbers_that_cannot_be_are_named_as_damage(
    tmp_path: Path, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoestring.search.store.CHECKED", 0)  # as of an array of gigabytes
    path, faulty = tmp_path / "index", Faulty()
    build(path, scorer=faulty.scorer, calls=400)
    file = next((path / "arrays").glob(f"*{name}*"))
    numbers = np.fromfile(file, np.float32)
    numbers[7] = value
    numbers.tofile(file)
    index = SearchIndex.open(path, scorer=faulty.scorer)
    said = r"(vectors\.rows is damaged:|array of the index) .*search build \.\.\. --resume"
    with pytest.raises(IntegrityError, match=said):
        index.query("a white scarf", k=60, calls=30)


# --- a paid service


def flaky(n_answers: int, problem: Any = None) -> tuple[Any, list[str]]:
    """A function of one pair that answers so often, and then raises or answers nothing."""
    answered: list[str] = []

    def judge(query: str, text: str) -> Any:
        if len(answered) >= n_answers:
            if isinstance(problem, Exception):
                raise problem
            return problem
        answered.append(text)
        return closeness(query, text)

    return judge, answered


@no_fsync
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("problem", [ConnectionError("quota"), None, "very relevant", float("nan")])
def test_no_answer_of_a_service_is_lost_when_it_fails(
    tmp_path: Path, problem: Any, threads: int
) -> None:
    judge, answered = flaky(19, problem)
    scorer = score_with(judge, name="judge", single=True, threads=threads)
    index = build(tmp_path / "index", scorer=scorer)
    with pytest.warns(ShoestringWarning, match="rests on the 19 of 50 calls"):
        hits = index.query("a white scarf", calls=50, max_rounds=1)
    assert hits.error and "judge" in hits.error and hits.calls == len(answered) == 19
    with ScoreCache(index.path) as cache:
        assert cache.count() == 19
    again = index.query("a white scarf", k=60, calls=0)
    assert sum(hit.exact for hit in again) == 19
    with pytest.raises(ScorerError):
        build(tmp_path / "other", scorer=score_with(judge, name="judge", single=True), calls=50)


@no_fsync
@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_batch_answers_is_kept_where_it_fails_for_one_pair(
    tmp_path: Path, threads: int
) -> None:
    def judge(pairs: list[tuple[str, str]]) -> list[float | None]:
        return [None if "7" in text else closeness(query, text) for query, text in pairs]

    scorer = score_with(judge, name="judge", max_batch=50, threads=threads)
    index = build(tmp_path / "index", scorer=scorer)
    with pytest.warns(ShoestringWarning, match="judge answered nan for"):
        hits = index.query("a white scarf", calls=50, max_rounds=1)
    n_failed = 50 - hits.calls
    assert 0 < n_failed < 50
    with ScoreCache(index.path) as cache:
        assert cache.count() == hits.calls


@no_fsync
def test_threads_do_not_change_the_answer(tmp_path: Path) -> None:
    answers = []
    for threads in (1, 5):
        scorer = score_with(closeness, name="s", single=True, threads=threads)
        index = build(tmp_path / str(threads), scorer=scorer, calls=120)
        hits = index.query("a white scarf", calls=30)
        assert hits.calls == 30
        answers.append([(hit.id, hit.score, hit.exact) for hit in hits])
    assert answers[0] == answers[1]


# --- what was paid for cannot be kept


@no_fsync
def test_a_full_disk_stops_no_query(tmp_path: Path, largest_file: Any) -> None:
    path, faulty = tmp_path / "index", Faulty()
    index = build(path, scorer=faulty.scorer)
    paid = index.query("a white scarf", calls=20)
    before = (path / "scores.sqlite").read_bytes()
    with largest_file(1):
        again = index.query("a white scarf", calls=0)
        with pytest.warns(ShoestringWarning, match="7 scores could not be kept: scores.sqlite"):
            other = index.query("a blue hat", calls=7)
    assert [hit.score for hit in again] == [hit.score for hit in paid]
    assert other.calls == 7 and sum(hit.exact for hit in other) == 7
    assert (path / "scores.sqlite").read_bytes() == before


@no_fsync
def test_a_query_that_costs_nothing_does_not_open_the_ledger_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(tmp_path / "index", scorer=Faulty().scorer)
    (tmp_path / "index" / "scores.sqlite").unlink()

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("opened for writing")

    monkeypatch.setattr("shoestring.search.score_cache.connect_for_writing", refused)
    assert len(index.query("a white scarf", calls=0)) == 10
    index.info()
    assert not (tmp_path / "index" / "scores.sqlite").exists()


# --- queries of any length


@no_fsync
@pytest.mark.parametrize("words", [150_000, 300_000])
def test_a_long_query_is_searched_for_by_its_beginning(tmp_path: Path, words: int) -> None:
    faulty = Faulty()
    index = build(tmp_path / "index", scorer=faulty.scorer)
    tail = " ".join(f"w{i}" for i in range(words))
    if words == 300_000:
        tail = "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(words))
    query, said = f"white scarf {tail}", r"The query has [\d,]+ characters; .* the first 10,000"
    with pytest.warns(ShoestringWarning, match=said), counted_tokens() as tokens:
        hits = index.query(query, k=3, calls=4)
    assert hits[0].text.startswith("white scarf")
    assert max(tokens) <= 512
    assert {asked for asked, _ in faulty.answered} == {query}  # the scorer gets all of it


@contextmanager
def counted_tokens() -> Iterator[list[int]]:
    """How many words BM25 is asked for."""
    found: list[int] = []
    candidates = Snapshot.candidates

    def count(self: Snapshot, tokens: Any, limit: int) -> Any:
        found.append(len(tokens))
        return candidates(self, tokens, limit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshot, "candidates", count)
        yield found


# --- input


@no_fsync
@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent.jsonl", None, StorageError, "absent.jsonl"),
        ("empty.jsonl", "", FormatError, "no records"),
        ("columns.jsonl", '{"body": "x"}\n', FormatError, r"columns.jsonl:1: no column 'text'"),
        ("broken.jsonl", '{"text": "x"}\n{"te\n', FormatError, r"broken.jsonl:2"),
        ("latin.txt", b"caf\xe9 au lait\n", FormatError, r"latin.txt:1"),
    ],
)
def test_a_source_that_cannot_be_read_is_named_and_the_next_build_goes_on(
    tmp_path: Path, name: str, content: Any, error: type[ShoestringError], message: str
) -> None:
    path, source = tmp_path / "index", tmp_path / name
    if content is not None:
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        build(path, source)
    build(path, ITEMS, resume=True)
    assert_works(path)
    with pytest.raises(error, match=message):
        SearchIndex.open(path).add(source)
    assert_works(path)


@no_fsync
def test_no_records_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no records"):
        build(tmp_path / "index", [])
    assert not (tmp_path / "index").exists()  # nothing half-written: the next try may use the name
    (tmp_path / "index").mkdir()
    with pytest.raises(FormatError, match="no records"):
        build(tmp_path / "index", [])
    assert not list((tmp_path / "index").iterdir())
    build(tmp_path / "index", ITEMS)
    with pytest.raises(ParameterError, match="'records' parameter"):
        build(tmp_path / "other", None)


WORDLESS = ["?!", "🙂🙂", "——。"]


@no_fsync
@pytest.mark.parametrize("on_duplicate", ["error", "replace"])
def test_texts_of_which_none_has_a_word_are_refused_and_leave_nothing(
    tmp_path: Path, on_duplicate: str
) -> None:
    message = (
        r"'texts' .* a letter or digit .* Got \['\?!', '🙂🙂', '——。'\] .* Name another encoder"
    )
    path, mine = tmp_path / "index", tmp_path / "mine"
    mine.mkdir()
    (mine / "scores.sqlite").write_bytes(b"")  # kept from an index before
    for folder in (path, mine):
        with pytest.raises(ParameterError, match=message) as caught:
            build(folder, WORDLESS, on_duplicate=on_duplicate)
        assert "\n" not in str(caught.value)
    assert not path.exists()
    assert [file.name for file in mine.iterdir()] == ["scores.sqlite"]
    for folder in (path, mine):
        build(folder)
        assert_works(folder)


FOREIGN = [
    "arrays/measurements.npy",
    "arrays/00000001-mine.npy",
    "encoder/notes.txt",
    "encoder/deep/vocabulary-1.json",
    "encoder",
    "encoder-notes/today.txt",
    "token-table.csv",
    "records.sqlite.bak",
    "index.json",
]


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE addresses (name TEXT)")
    connection.close()


@no_fsync
@pytest.mark.parametrize("name", [*FOREIGN, "records.sqlite"])
@pytest.mark.parametrize("records", [ITEMS, [""], [{"id": "a", "text": "x"}] * 2, WORDLESS])
def test_files_of_others_are_refused_and_stay(tmp_path: Path, name: str, records: Any) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True, parents=True)
    write = other_database if name == "records.sqlite" else lambda path: path.write_text("mine")
    write(mine)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(ParameterError, match=r"It holds .*; choose another folder"):
        build(tmp_path, records)
    assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}


@no_fsync
@pytest.mark.parametrize("name", FOREIGN)
def test_files_that_others_put_into_a_refused_build_stay(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "index" / name

    def records() -> Any:
        yield {"id": "a", "text": "x"}
        mine.parent.mkdir(exist_ok=True, parents=True)
        mine.write_text("mine")
        yield {"id": "a", "text": "y"}

    with pytest.raises(ParameterError, match="'a'"):
        build(tmp_path / "index", records())
    found = [str(p.relative_to(tmp_path / "index")) for p in tmp_path.rglob("*") if p.is_file()]
    assert found == [name] and mine.read_text() == "mine"


@no_fsync
@pytest.mark.parametrize("word", ["hat", "帽", "7"])
def test_texts_without_a_word_are_noted_and_found_where_the_scorer_is_asked(
    tmp_path: Path, word: str
) -> None:
    path, said = tmp_path / "index", "4 of 5 new texts without a letter or digit: .*'——。'"
    with pytest.warns(ShoestringWarning, match=said) as noted:
        index = build(path, [*WORDLESS, word, "?!"], Faulty().scorer)
    assert len(noted) == 1
    assert index.query(word, k=1, calls=0)[0].text == word
    with pytest.warns(ShoestringWarning, match="No word of the query is in the index; only the"):
        hits = index.query("🙂", k=1, calls=5)
    assert (hits[0].text, hits[0].exact, hits.calls) == ("🙂🙂", True, 4)
    with pytest.warns(ShoestringWarning, match=r"1 of 2 new texts without .*: \['…'\]") as noted:
        index.add([{"id": "a", "text": "…"}, {"id": "b", "text": "unheard-of"}])
    assert Path(noted[0].filename) == Path(__file__)  # the user's line
    with pytest.warns(ShoestringWarning, match="No word of the query is in the index"):
        assert not len(index.query("…", k=10, calls=0))


@no_fsync
def test_calls_that_no_anchor_query_can_be_paid_with_are_noted(tmp_path: Path) -> None:
    short, faulty = [{"id": f"{i}", "text": f"two w{i}"} for i in range(200)], Faulty()
    said = r"0 of 128 texts looked at begin with a sentence of 3 tokens, .* queries=\[\.\.\.\]"
    with pytest.warns(ShoestringWarning, match=said) as noted:
        index = build(tmp_path / "index", short, faulty.scorer, calls=40)
    assert Path(noted[0].filename) == Path(__file__)  # the user's line
    for options in ({"calls": 40}, {"minutes": 1.0}):
        with pytest.warns(ShoestringWarning, match=r"0 of 2 queries have any text, .* queries=\["):
            build(index.path, None, faulty.scorer, resume=True, queries=["", " "], **options)
    assert faulty.answered.total() == 0
    build(index.path, None, faulty.scorer, resume=True, queries=["a red hat"], calls=40)
    assert faulty.answered.total() == 40


@no_fsync
@pytest.mark.filterwarnings("ignore:No word of the query is in the index")
def test_duplicate_ids_are_named_replaced_or_skipped(tmp_path: Path) -> None:
    path, again = tmp_path / "index", [{"id": "r3", "text": "purple umbrella"}]
    with pytest.raises(ParameterError, match="r3"):
        build(path, ITEMS + again)
    index = build(path, ITEMS, resume=True)
    with pytest.raises(ParameterError, match="r3"):
        index.add(again)
    assert_works(path)
    assert index.add(again, on_duplicate="skip").skipped == 1
    assert not any("purple" in h.text for h in index.query("purple umbrella", k=1, calls=0))
    assert index.add(again, on_duplicate="replace").replaced == 1
    assert index.query("purple umbrella", k=1, calls=0)[0].id == "r3"
    build(tmp_path / "skip", ITEMS + again, on_duplicate="skip")
    assert_works(tmp_path / "skip")


@no_fsync
def test_parameters_out_of_range_are_refused(tmp_path: Path) -> None:
    index = build(tmp_path / "index")
    for arguments, message in [
        (("",), "'text' parameter"),
        ((" \t\n",), "'text' parameter"),
        (("half \ud83d",), "UTF-8"),
        ((None,), "'text' parameter"),
        (("hat", 0), "'k' parameter"),
        (("hat", -1), "'k' parameter"),
        (("hat", 5, -1), "'calls' parameter"),
        (("hat", 5, 2.5), "'calls' parameter"),
    ]:
        with pytest.raises(ParameterError, match=message):
            index.query(*arguments)
    for options in ({"calls": -1}, {"minutes": 0}, {"minutes": -2.0}, {"minutes": float("nan")}):
        with pytest.raises(ParameterError, match=next(iter(options))):
            build(tmp_path / "other", **options)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ParameterError, match="index"):
        build(tmp_path / "index")
    with pytest.raises(ParameterError, match="index"):
        SearchIndex.open(tmp_path / "nowhere")
    assert_works(tmp_path / "index")


@no_fsync
def test_a_query_of_signs_alone_or_of_unknown_words_is_answered(tmp_path: Path) -> None:
    index = build(tmp_path / "index", scorer=Faulty().scorer, calls=200)
    for query in ("?!", "zzz qqq", "nul \0 in it", '"quoted" AND (NEAR*', "红色", "w " * 5_000):
        with pytest.warns(ShoestringWarning, match="No word of the query is in the index") as said:
            hits = index.query(query, k=60, calls=5)
        assert len(hits) == 60 and hits.calls == 5
        assert len(said) == 1 and Path(said[0].filename) == Path(__file__)
    index.query("a hat 红色", calls=0)  # one word is known


@no_fsync
def test_a_text_of_a_megabyte_is_kept_whole(tmp_path: Path) -> None:
    long = "umbrella " + "white scarf " * 90_000
    scorer = Faulty().scorer
    index = build(tmp_path / "index", [*ITEMS, {"id": "long", "text": long}], scorer, calls=400)
    hits = index.query("umbrella", k=61, calls=61)
    assert len(hits) == 61 and hits[0].text == long  # the longest pleases this scorer most


# --- damage


@no_fsync
def test_another_format_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path)
    config = path / "config.json"
    before = config.read_text()
    written = json.loads(before)
    config.write_text(json.dumps(written | {"format_version": 999}))
    for action in (lambda: SearchIndex.open(path), lambda: build(path, ITEMS, resume=True)):
        with pytest.raises(FormatError, match="999"):
            action()
    config.write_text(before)
    assert_works(path)


def files_of_arrays(path: Path) -> list[Path]:
    return sorted([*(path / "arrays").iterdir(), *path.glob("encoder/*/*")])


@no_fsync
@pytest.mark.parametrize(
    ("encoder", "name"),
    [("lsa", name) for name in ("vectors", "residuals", "idf", "vocabulary")]
    + [("words", name) for name in ("vectors", "vocabulary", "codes", "activations")],
)
def test_a_truncated_file_is_named_and_a_resumed_build_mends_it_for_nothing(
    tmp_path: Path, encoder: str, name: str
) -> None:
    path, faulty = tmp_path / "index", Faulty()
    index = build(path, scorer=faulty.scorer, calls=400, encoder=encoder)
    want = index.query("a white scarf", calls=0)
    paid = faulty.answered.total()
    damaged = [file for file in files_of_arrays(path) if name in file.name][-1]  # in force
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(IntegrityError, match=damaged.name) as caught:
        SearchIndex.open(path).query("a white scarf", calls=0)
    assert "\n" not in str(caught.value)
    build(path, None, faulty.scorer, resume=True, encoder="auto")
    assert faulty.answered.total() == paid
    hits = SearchIndex.open(path).query("a white scarf", calls=0)
    assert [hit.id for hit in hits] == [hit.id for hit in want]
    np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in want], atol=1e-4)


# --- stopped before the end


@no_fsync
@pytest.mark.filterwarnings("ignore:1 of 6?1 new texts without a word that the word codes know")
@pytest.mark.parametrize("encoder", ["lsa", "words"])
@pytest.mark.parametrize(
    "stage", ["models.fit_encoder", "store.RecordStore.fill", "index.score_anchors"]
)
def test_a_build_stopped_at_any_stage_says_so_and_takes_more(
    tmp_path: Path, stage: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, faulty = tmp_path / "index", Faulty()
    with monkeypatch.context() as patch:

        def stop(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(f"shoestring.search.{stage}", stop)
        with pytest.raises(KeyboardInterrupt):
            build(path, scorer=faulty.scorer, calls=300, encoder=encoder)
    index = SearchIndex.open(path, scorer=faulty.scorer)
    if stage == "index.score_anchors":
        assert_works(path)
        assert index.query("a white scarf", calls=12).calls == 12
        assert index.query("a white scarf", calls=12).calls == 0
    else:
        with pytest.warns(ShoestringWarning, match="60 texts have no vectors yet .* --resume"):
            assert not index.query("a white scarf", calls=12)
    index.add([{"id": "new", "text": "purple umbrella"}])
    assert index.query("purple umbrella", k=1, calls=0)[0].id == "new"
    index = build(path, None, faulty.scorer, resume=True, calls=300, encoder="auto")
    assert index.info()["records_without_vectors"] == 0
    assert index.info()["encoder"] == encoder
    assert index.info()["anchor_queries"] > 5
    assert index.info()["scores_paid"] == faulty.answered.total()
    assert max(faulty.answered.values()) == 1


@no_fsync
@pytest.mark.parametrize("encoder", ["lsa", "words"])
@pytest.mark.parametrize("by", ["add", "resume"])
def test_a_kill_in_the_first_save_of_an_encoder_is_mended_by_what_comes_next(
    tmp_path: Path, encoder: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, faulty = tmp_path / "index", Faulty()
    with monkeypatch.context() as patch:
        write_config = ArtifactKind.write_config

        def killed(kind: ArtifactKind, folder: Path, config: dict[str, Any]) -> None:
            if folder.name != "encoder":
                return write_config(kind, folder, config)
            patch.setattr(artifacts, "remove", lambda _: None)  # nobody is left to do it
            raise KeyboardInterrupt

        patch.setattr(ArtifactKind, "write_config", killed)
        with pytest.raises(KeyboardInterrupt):
            build(path, scorer=faulty.scorer, encoder=encoder)
    assert [file.name for file in (path / "encoder").iterdir()] == ["shoestring-save-1"]
    if by == "add":
        index = SearchIndex.open(path, scorer=faulty.scorer)
        index.add([{"id": "new", "text": "a purple scarf"}])
    else:
        index = build(path, None, faulty.scorer, resume=True, encoder="auto")
    assert index.info()["records_without_vectors"] == 0
    assert index.query("a white scarf", k=1, calls=0)


# --- kill -9


def build_slowly(path: Path, log: Path) -> None:
    """A build whose scorer notes a batch before it answers, as a paid service would."""
    database.SYNCHRONOUS = "OFF"  # what a killed process wrote is not lost
    os.fsync = lambda descriptor: None
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def score(pairs: list[tuple[str, str]]) -> list[float]:
        os.write(descriptor, ("\n" + json.dumps(pairs)).encode())  # ends one that was cut short
        time.sleep(0.002)
        return [closeness(*pair) for pair in pairs]

    scorer = score_with(score, name="closeness", max_batch=BATCH)
    build(path, ITEMS, scorer, resume=True, calls=KILLED_CALLS)


def kill_builds(path: Path, log: Path, n_kills: int, seed: int) -> None:
    rng = random.Random(seed)
    LsaEncoder().fit(["scikit-learn is imported once, not in every life"])
    n_killed = 0
    log.touch()
    for _ in range(n_kills):
        child = os.fork()
        if child == 0:
            try:
                build_slowly(path, log)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if rng.random() < 0.7:  # while it pays; else before
            n_before, deadline = log.stat().st_size, time.monotonic() + 30
            while log.stat().st_size == n_before and time.monotonic() < deadline:
                time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or status == 0, "the build failed by itself"
        n_killed += os.WIFSIGNALED(status)
        if (path / "config.json").is_file():
            SearchIndex.open(path).query("a white scarf", calls=0)
    build_slowly(path, log)
    assert_works(path)
    with ScoreCache(path) as cache:
        n_kept = cache.count()
    print(json.dumps({"killed": n_killed, "paid": n_paid(log), "kept": n_kept}))


def n_paid(log: Path) -> int:
    """Pairs of the whole lines: who is killed while noting a batch has not answered it."""
    return sum(len(json.loads(line)) for line in log.read_text().splitlines() if line[-2:] == "]]")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the builds that it kills")
def test_builds_killed_at_random_moments_pay_for_one_batch_too_many_at_most(
    tmp_path: Path,
) -> None:
    command = [sys.executable, __file__, str(tmp_path / "index"), str(tmp_path / "log"), "10", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] >= 5
    assert told["kept"] <= told["paid"] <= told["kept"] + BATCH * told["killed"]
    assert told["kept"] > KILLED_CALLS  # lives that were cut short paid for some of it
    index = SearchIndex.open(tmp_path / "index")
    assert index.info()["anchor_queries"] >= 15
    assert index.info()["records_without_vectors"] == 0
    assert len(index) == len(ITEMS)


if __name__ == "__main__":
    kill_builds(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
