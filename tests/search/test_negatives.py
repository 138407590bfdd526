"""Hard negatives are wrong texts that the first stage likes, and nothing else."""

import json

import pytest

from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.search import SearchIndex
from shoestring.search.negatives import write_negatives
from shoestring.types import Record

THINGS = ("card", "loan", "转账", "transfer", "fee")
TEXTS = [f"{thing} number {n}: what it costs" for thing in THINGS for n in range(12)]
QRELS = {"q1": {"1": 1, "2": 2, "3": 0}, "q2": {"25": 1}, "q3": {"gone": 1}, "q4": {"4": 0}}
QUERIES = [Record(f"q{n}", f"{thing} costs") for n, thing in enumerate(THINGS, start=1)]


@pytest.fixture
def index(tmp_path, no_fsync):
    records = [Record(str(n), text) for n, text in enumerate(TEXTS, start=1)]
    path = tmp_path / "index"
    return SearchIndex.build(path, records, scorer=None, encoder="lsa", progress=False)


@pytest.fixture
def write(index, tmp_path):
    out = tmp_path / "pairs.jsonl"

    def pairs(queries=QUERIES, **options):
        count = write_negatives(index, queries, QRELS, out, **options)
        lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        assert len(lines) == count
        return lines

    return pairs


def test_right_texts_come_with_wrong_ones_that_look_like_them(write, monkeypatch):
    monkeypatch.setattr("shoestring.search.negatives.DEPTH", 10)
    pairs = write(n=3)
    of_first = [pair for pair in pairs if pair["a"] == "card costs"]
    assert [pair["b"] for pair in of_first if pair["label"]] == [TEXTS[0], TEXTS[1]]
    wrong = [pair["b"] for pair in of_first if not pair["label"]]
    assert len(set(wrong)) == 6
    assert not {TEXTS[0], TEXTS[1], TEXTS[2]} & set(wrong)  # judged ones are never drawn
    assert all(text.startswith("card") for text in wrong)  # there are nine more of them
    assert {pair["a"] for pair in pairs} == {"card costs", "loan costs"}
    assert all(set(pair) == {"a", "b", "label"} for pair in pairs)


def test_the_same_seed_draws_the_same(write):
    drawn = [write(seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_queries_without_right_texts_are_refused_and_what_was_there_stays(write):
    before = write()
    with pytest.raises(ParameterError, match="right text that is in the index"):
        write(QUERIES[2:])
    with pytest.raises(ParameterError, match="at least 1"):
        write(n=0)
    assert write() == before


def test_the_command_writes_what_tuning_reads(index, tmp_path):
    from typer.testing import CliRunner

    from shoestring.cli import app

    queries, qrels = tmp_path / "q.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        "".join(json.dumps({"id": q.id, "text": q.text}) + "\n" for q in QUERIES), "utf-8"
    )
    qrels.write_text(
        "".join(f"{q}\t{t}\t{g}\n" for q, row in QRELS.items() for t, g in row.items()), "utf-8"
    )
    out = tmp_path / "pairs.jsonl"
    call = ["search", "negatives", index.path, queries, qrels, "--out", out, "-n", 2, "--json"]
    with pytest.warns(ShoestringWarning, match="1 of 6 judged texts, 'gone' for example"):
        done = CliRunner().invoke(app, [str(part) for part in call])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"pairs": 9, "file": str(out)}
    assert len(out.read_text("utf-8").splitlines()) == 9
