"""Paid scores: kept, found again, never mixed up."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from shoestring.errors import IntegrityError, ParameterError, ShapeError
from shoestring.search.score_cache import ScoreCache
from shoestring.search.store import RecordStore
from shoestring.text.records import text_digests

pytestmark = pytest.mark.usefixtures("no_fsync")


def test_digests_are_the_same_for_ever_and_follow_the_text_alone() -> None:
    assert text_digests([]).shape == (0,)
    digests = text_digests(["", "a text", "一段文字", "a text"])
    assert digests.dtype == np.int64
    assert digests[1] == digests[3] and len(set(digests.tolist())) == 3
    assert digests[:2].tolist() == [
        -5426141060434712860,
        5830437876521264211,
    ]  # printf 'a text' | b2sum -l 64
    text_digests(["half a pair \ud83d"])


def test_scores_come_back_to_the_bit_and_the_unknown_is_nan(tmp_path: Path) -> None:
    digests = text_digests(f"text {i}" for i in range(50))
    scores = np.random.default_rng(0).normal(size=50) * 1e-300
    with ScoreCache(tmp_path) as cache:
        assert cache.put("s", "q", digests[::2], scores[::2])
    with ScoreCache(tmp_path) as cache:
        found = cache.get("s", "q", digests)
        np.testing.assert_array_equal(found[::2], scores[::2])
        assert np.isnan(found[1::2]).all()
        assert cache.get("s", "q", []).shape == (0,)


def test_scorers_and_queries_are_kept_apart(tmp_path: Path) -> None:
    digests = text_digests(["a", "b"])
    with ScoreCache(tmp_path) as cache:
        cache.put("one", "q", digests, [1, 2])
        cache.put("two", "q", digests, [3, 4])
        cache.put("one", "问", digests[:1], [5])
        assert cache.get("one", "q", digests).tolist() == [1, 2]
        assert cache.get("two", "q", digests).tolist() == [3, 4]
        assert cache.get("one", "问", digests[:1]).tolist() == [5]
        assert np.isnan(cache.get("three", "q", digests)).all()
        assert np.isnan(cache.get("one", "nobody asked", digests)).all()
        assert cache.count() == 5
        cache.put("one", "q", digests[:1], [9])  # paid for again: the newer holds
        assert cache.get("one", "q", digests).tolist() == [9, 2]


@pytest.mark.parametrize("n_asked", [10, 3000])
def test_a_long_row_is_found_whichever_way_it_is_read(tmp_path: Path, n_asked: int) -> None:
    digests = text_digests(map(str, range(4000)))
    with ScoreCache(tmp_path) as cache:
        cache.put("s", "q", digests[:2000], np.arange(2000))
        found = cache.get("s", "q", digests[1995 : 1995 + n_asked])
    assert found[:5].tolist() == list(range(1995, 2000)) and np.isnan(found[5:]).all()


def test_rows_give_everything_of_a_scorer_in_the_order_of_the_queries(tmp_path: Path) -> None:
    digests = text_digests(["a", "b", "c"])
    with ScoreCache(tmp_path) as cache:
        cache.put("s", "z", digests, [1, 2, 3])
        cache.put("other", "only theirs", digests, [0, 0, 0])
        cache.put("s", "a", digests[:1], [4])
        rows = list(cache.rows("s"))
        assert list(cache.rows("nobody")) == []
    assert [query for query, _, _ in rows] == ["z", "a"]
    order = np.argsort(digests)
    np.testing.assert_array_equal(rows[0][1], digests[order])
    np.testing.assert_array_equal(rows[0][2], np.array([1.0, 2, 3])[order])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    with ScoreCache(tmp_path) as cache:
        with pytest.raises(ParameterError, match="must be finite numbers"):
            cache.put("s", "q", [1, 2], [0.5, bad])
        with pytest.raises(ShapeError, match="must be as many"):
            cache.put("s", "q", [1, 2], [0.5])
        assert cache.count() == 0


def test_the_ledger_of_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="the folder of an index"):
        ScoreCache(tmp_path / "nowhere")


def test_scores_are_kept_while_a_long_build_holds_the_index(tmp_path: Path) -> None:
    store = RecordStore.create(tmp_path / "index")
    with store.writing(), ScoreCache(store.path) as cache:
        assert cache.put("s", "q", [1], [0.5])


def test_threads_and_ledgers_share_what_they_pay_for(tmp_path: Path) -> None:
    wrong: list[object] = []
    with ScoreCache(tmp_path) as one, ScoreCache(tmp_path) as two:

        def pay(name: int, cache: ScoreCache) -> None:
            try:
                for i in range(15):
                    cache.put(f"s{name}", f"q{i}", [i, i + 1], [name, i])
                    found = cache.get(f"s{name}", f"q{i}", [i, i + 1])
                    if found.tolist() != [name, i]:
                        wrong.append(found)
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=pay, args=(n, (one, two)[n % 2])) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert one.count() == two.count() == 4 * 15 * 2


def test_what_was_put_is_there_after_a_kill(tmp_path: Path) -> None:
    code = """
import sys
from shoestring.search.score_cache import ScoreCache
cache = ScoreCache(sys.argv[1])
for i in range(1_000_000):
    cache.put("s", f"q{i}", range(i, i + 20), range(20))
    print(i, flush=True)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(10):
            child.stdout.readline()
        child.kill()
        last = max(int(line) for line in ["9", *child.stdout.read().split("\n")[:-1]] if line)
    with ScoreCache(tmp_path) as cache:
        for i in range(last + 1):
            assert cache.get("s", f"q{i}", range(i, i + 20)).tolist() == list(range(20))
        assert cache.count() in ((last + 1) * 20, (last + 2) * 20)


def test_a_damaged_ledger_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "scores.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(IntegrityError, match=r"scores\.sqlite is damaged.*Move it elsewhere"):
        ScoreCache(tmp_path)
