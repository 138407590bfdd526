"""Columns that come back, conditions on them, many queries, records in and out."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from shoestring import Record, SearchIndex, score_with
from shoestring.errors import IntegrityError, ParameterError, ShoestringWarning

ROWS = [
    {"id": f"d{i}", "text": f"{word} number {i}", "lang": lang, "year": 2015 + i, "tags": ["x", i]}
    for i, (word, lang) in enumerate(
        [("shoes", "en"), ("Schuhe", "de"), ("鞋子", "zh"), ("shoes", "de"), ("hat", "en")] * 4
    )
]


@pytest.fixture
def scorer():
    asked = []

    def shared(pairs):
        asked.extend(text for _, text in pairs)
        return [len({*query.split()} & {*text.split()}) for query, text in pairs]

    found = score_with(shared, name="shared words")
    found.asked = asked
    return found


@pytest.fixture
def run(run_command):
    """What a command prints; or its error."""

    def output(*arguments, fails=False):
        code, out, err = run_command(*arguments)
        assert code == 2 * fails, err
        return err if fails else out

    return output


@pytest.fixture
def index(tmp_path, scorer):
    return SearchIndex.build(tmp_path / "i", ROWS, scorer=scorer, encoder="lsa", progress=False)


def test_other_columns_come_back(index):
    (hit,) = index.query("shoes number 3", k=1, calls=20)
    assert (hit.id, hit.text) == ("d3", "shoes number 3")
    assert hit.fields == {"lang": "de", "year": 2018, "tags": ["x", 3]}
    assert index.get(["d1"])[0].fields["lang"] == "de"


def test_hits_say_which_words_they_share(index):
    (hit,) = index.query("which 鞋子 number", k=1, calls=20)
    assert hit.words == ("鞋子", "number")


def test_a_condition_holds_before_any_call_is_paid(index, scorer):
    hits = index.query("shoes", k=5, calls=20, where="lang = 'de' and year < 2030")
    assert {hit.fields["lang"] for hit in hits} == {"de"}
    assert all(hit.exact for hit in hits)
    assert len(scorer.asked) == len([r for r in ROWS if r["lang"] == "de" and r["year"] < 2030])
    assert all(ROWS[int(text.split()[-1])]["lang"] == "de" for text in scorer.asked)


def test_what_was_paid_for_before_the_condition_teaches_but_is_no_answer(index, scorer):
    index.query("shoes", k=5, calls=20)
    n = len(scorer.asked)
    hits = index.query("shoes", k=20, calls=20, where={"lang": "zh"})
    assert len(scorer.asked) == n
    assert [hit.fields["lang"] for hit in hits] == ["zh"] * 4
    assert all(hit.exact for hit in hits)


def test_calls_go_again_to_what_meets_another_condition(index, scorer):
    index.query("shoes", k=2, calls=2, where={"lang": "de"})
    index.query("shoes", k=2, calls=2, where={"lang": "en"})
    index.query("shoes", k=2, calls=2, where={"lang": "en"})
    assert len(scorer.asked) == 4


def test_no_record_that_meets_it_is_told(index, scorer):
    with pytest.warns(ShoestringWarning, match="No record meets"):
        assert not len(index.query("shoes", where={"lang": "fr"}))
    assert not scorer.asked
    with pytest.raises(ParameterError, match="where"):
        index.query("shoes", where="lang = ")


def test_nothing_is_found_where_no_word_is_known_and_no_call_is_paid(index):
    with pytest.warns(ShoestringWarning, match="nothing is found"):
        assert not len(index.query("zzz", calls=0))


def test_fields_that_json_cannot_say(tmp_path):
    rows = [
        {"text": "one", "a": float("nan"), "b": np.float32(1.5), "c": {1, }, "d": "\ud800"},
        {"text": "two", "a": float("inf"), "b": np.arange(2), "c": (1, 2), "d": b"x"},
    ]  # fmt: skip
    index = SearchIndex.build(tmp_path / "i", rows, scorer=None, encoder="lsa", progress=False)
    found = [record.fields for record in index.records()]
    assert found[0] == {"b": 1.5, "c": "{1}", "d": "?"}
    assert found[1] == {"a": None, "b": [0, 1], "c": [1, 2], "d": "b'x'"}


def test_numbers_of_a_table_are_compared_as_numbers(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("text,year,zip\nred shoes,2019,01067\nblue shoes,2021,10115\n")
    index = SearchIndex.build(tmp_path / "i", file, scorer=None, encoder="lsa", progress=False)
    assert [r.text for r in index.records("year > 2020")] == ["blue shoes"]
    assert [r.text for r in index.records("zip = '01067'")] == ["red shoes"]


def test_few_candidates_are_the_most_promising(index, scorer):
    whole = index.query("shoes number 8", k=5, calls=0)
    few = index.query("shoes number 8", k=5, calls=0, candidates=5)
    assert [hit.id for hit in few] == [hit.id for hit in whole]
    hits = index.query("shoes number 8", k=3, calls=20, candidates=6)
    assert len(scorer.asked) == 6
    assert hits[0].id == "d8" and hits[0].exact
    hits = index.query("shoes number 8", k=3, calls=20, candidates=6, where={"lang": "zh"})
    assert {hit.fields["lang"] for hit in hits} == {"zh"}
    index.add([{"id": "new", "text": "shoes number 8 8"}])
    assert "new" in [hit.id for hit in index.query("shoes number 8", calls=20, candidates=3)]


def test_many_queries_are_the_single_ones(index):
    many = list(index.query_many(["shoes", "hat"], k=3, calls=5))
    again = [index.query(text, k=3, calls=5) for text in ("shoes", "hat")]
    assert [hits.hits for hits in many] == [hits.hits for hits in again]


def test_records_go_out_and_an_index_is_built_of_them_again(index, tmp_path, run):
    file = tmp_path / "all.jsonl"
    told = json.loads(run("search", "export", index.path, "--out", file, "--json"))
    assert told == {"records": 20, "file": str(file)}
    run("search", "build", file, "--out", tmp_path / "j", "--encoder", "lsa")
    one, other = (list(SearchIndex.open(path).records()) for path in (index.path, tmp_path / "j"))
    assert one == other == [Record(r["id"], r["text"], fields=r_fields(r)) for r in ROWS]


def r_fields(row):
    return {name: value for name, value in row.items() if name not in ("id", "text")}


def test_the_commands_list_get_and_filter(index, run):
    lines = run("search", "list", index.path, "--where", "year >= 2030", "-n", "2").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["d15", "d16"]
    assert json.loads(run("search", "get", index.path, "d4"))["year"] == 2019
    chinese = ("--where", "lang = 'zh'", "--calls", "0", "--json")
    found = json.loads(run("search", "query", index.path, "shoes", *chinese))
    assert {hit["fields"]["lang"] for hit in found["hits"]} == {"zh"}


def test_many_queries_on_the_command_line(index, tmp_path, run):
    queries = tmp_path / "q.jsonl"
    queries.write_text('{"id": "q1", "text": "shoes"}\n{"id": "q2", "text": "鞋子"}\n')
    ask = ("search", "query", index.path, "--queries", queries, "--calls", "0", "-k", "2")
    lines = [json.loads(line) for line in run(*ask).splitlines()]
    assert [(line["id"], len(line["hits"])) for line in lines] == [("q1", 2), ("q2", 2)]
    run(*ask, "--run", tmp_path / "run.txt")
    rows = [line.split() for line in (tmp_path / "run.txt").read_text().splitlines()]
    assert [row[0] for row in rows] == ["q1", "q1", "q2", "q2"]
    assert [row[2] for row in rows[2:]] == [hit["id"] for hit in lines[1]["hits"]]
    assert [row[3:] for row in rows[:2]] == [["1", "2", "shoestring"], ["2", "1", "shoestring"]]
    import ir_measures

    assert len(list(ir_measures.read_trec_run(str(tmp_path / "run.txt")))) == 4
    queries.write_text('{"id": "q 1", "text": "shoes"}\n')
    before = (tmp_path / "run.txt").read_text()
    assert "white space" in run(*ask, "--run", tmp_path / "run.txt", fails=True)
    assert (tmp_path / "run.txt").read_text() == before


def test_ids_that_are_not_there_are_named(index):
    with pytest.raises(ParameterError, match="nope"):
        index.get(["d1", "nope"])
    assert list(index.query_many([])) == []


@pytest.mark.parametrize("fields", ['{"lang": ', "[1]"])
def test_damaged_fields_are_told_in_a_sentence(index, fields):
    with closing(sqlite3.connect(index.path / "records.sqlite")) as connection, connection:
        connection.execute("UPDATE records SET fields = ?", (fields,))
    with pytest.raises(IntegrityError, match=r"records\.sqlite is damaged: fields of a record"):
        list(index.records())
