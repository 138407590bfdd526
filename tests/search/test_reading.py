"""Files into an index: its columns are kept, its ids do not depend on where a text stands."""

import json

import pytest

from shoestring import SearchIndex, score_with
from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.search.evaluate import evaluate, read_qrels
from shoestring.search.store import AddReport
from shoestring.text.records import content_id
from shoestring.types import Record

pytestmark = pytest.mark.usefixtures("no_fsync")


def build(path, records, **options):
    options = {"scorer": None, "encoder": "lsa", "progress": False} | options
    return SearchIndex.build(path / "index", records, **options)


def held(index):
    """Ids and texts in the order in which they came."""
    with index.snapshot() as snapshot:
        keys = snapshot.all_keys
        return dict(zip(snapshot.ids(keys), snapshot.texts(keys), strict=True))


def by_content(*texts):
    return {content_id(text): text for text in texts}


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


# --- ids


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("on_duplicate", ["error", "replace", "skip"])
def test_a_second_file_without_ids_replaces_nothing(tmp_path, write, on_duplicate, as_list):
    first, second = ["red shoes", "蓝色的帽子"], ["green tea", "red shoes", "咖啡"]
    a, b = (write(f"{n}.txt", "\n".join(texts)) for n, texts in enumerate((first, second)))
    index = build(tmp_path, first if as_list else a)
    report = index.add(second if as_list else b, on_duplicate=on_duplicate)
    assert report == index.last_add == AddReport(added=2, skipped=1)
    assert held(index) == by_content("red shoes", "蓝色的帽子", "green tea", "咖啡")


def test_a_resumed_build_adds_what_is_new_and_says_what_is_not(tmp_path, write):
    index = build(tmp_path, write("a.txt", "red shoes\nblue hat\n"))
    index = build(tmp_path, write("b.txt", "green tea\nblue hat\n"), resume=True)
    assert index.last_add == AddReport(added=1, skipped=1)
    assert held(index) == by_content("red shoes", "blue hat", "green tea")


def test_a_text_that_is_twice_in_a_file_is_stored_once(tmp_path, write):
    index = build(tmp_path, write("a.txt", "red shoes\nblue hat\nred shoes\n"))
    assert index.last_add == AddReport(added=2, skipped=1)
    assert held(index) == by_content("red shoes", "blue hat")


def test_a_users_own_ids_are_duplicates_as_before(tmp_path):
    index = build(tmp_path, [{"id": "a", "text": "red shoes"}])
    same = [{"id": "a", "text": "red shoes"}]
    with pytest.raises(ParameterError, match="ids are new"):
        index.add(same)
    assert index.add(same, on_duplicate="replace") == AddReport(replaced=1)
    assert index.add([Record("b", "red shoes")]) == AddReport(added=1)


def test_the_id_of_a_content_is_short_and_the_same_for_ever():
    assert content_id("red shoes") == "5knn3od6ybkk"
    assert content_id("红鞋") == content_id("红鞋") != content_id("红帽")
    assert len({content_id(str(n)) for n in range(10_000)}) == 10_000


# --- columns


def test_the_columns_of_the_build_are_those_of_what_is_added(tmp_path, write):
    path = write("a.csv", "sku,title,id\n007,red shoes,1\n008,蓝色的帽子,2\n")
    index = build(tmp_path, path, text="title", id="sku")
    more = write("b.jsonl", json.dumps({"title": "red boots", "sku": "007", "text": "no"}))
    for opened in (index, SearchIndex.open(index.path)):
        assert opened.add(more, on_duplicate="replace") == AddReport(replaced=1)
    assert held(index) == {"007": "red boots", "008": "蓝色的帽子"}
    other = write("c.csv", "sku,body\n9,tea\n")
    with pytest.raises(FormatError, match="no column 'title'"):
        index.add(other)
    assert index.add(other, text="body") == AddReport(added=1)
    assert index.add([Record("10", "milk")]) == AddReport(added=1)  # it says itself what is what
    again = build(tmp_path, write("d.csv", "title,sku\nmilk,10\nbread,11\n"), resume=True)
    assert again.last_add == AddReport(added=1, skipped=1)


def test_several_columns_are_kept_too(tmp_path, write):
    index = build(tmp_path, write("a.csv", "q,a\nwhat?,that\n"), text=["q", "a"])
    index.add(write("b.csv", "q,a\nwho?,me\n"))
    assert list(held(index).values()) == ["what? that", "who? me"]


def test_the_command_reads_with_the_same_options(tmp_path, write, run_command):
    docs = tmp_path / "docs.csv"
    docs.write_bytes("nr;frage;antwort\n1;怎样;打开\n2;;\n3;x\n4;a;b\n".encode("gb18030"))
    index = tmp_path / "index"
    columns = ("--text", "frage", "--text", "antwort", "--id", "nr")
    bad = ("--encoding", "gb18030", "--on-empty", "skip", "--on-bad", "skip")
    call = ("search", "build", docs, "--out", index, "--encoder", "lsa", "--scorer", "")
    code, out, err = run_command(*call, *columns, *bad, "--json")
    assert (code, json.loads(out)["records"], json.loads(out)["added"]) == (0, 2, 2)
    assert "note: 1 bad row was skipped, the first: " in err and "docs.csv:4: 2 fields" in err
    more = write("more.txt", "nr:frage:antwort\n4:c:d\n5:e:f\n")
    options = ("--format", "csv", "--delimiter", ":", "--on-duplicate", "skip")
    code, out, err = run_command("search", "add", index, more, *options)
    assert (code, out.split()) == (0, ["added", "1", "replaced", "0", "skipped", "1"])
    assert "note: 1 skipped: already in the index" in err
    assert held(SearchIndex.open(index)) == {"1": "怎样 打开", "4": "a b", "5": "e f"}


# --- judgements


@pytest.mark.parametrize(
    "content",
    [
        "q1\tred shoes\t1\nq2 \t b\t0\n",
        "query\ttext\tgrade\nq1\tred shoes\t1\nq2\tb\t0\n",
        "查询\t文本\t等级\nq1\tred shoes\t1\nq2\tb\t0\n",
        "\ufeffquery-id\tcorpus-id\tscore\r\nq1\tred shoes\t1\r\n\r\nq2\tb\t0",
    ],
)
def test_judgements_are_read_with_or_without_a_header(write, content):
    assert read_qrels(write("q.tsv", content)) == {"q1": {"red shoes": 1}, "q2": {"b": 0}}


def test_judgements_of_trec_are_read(write):
    assert read_qrels(write("q", "1 0 d1 2\n1 0 d2 -1\n")) == {"1": {"d1": 2, "d2": -1}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("q1\td1\thigh\nq1\td2\t1\n", ":1: a judgement must be .* If it is a header, remove it"),
        ("q1\td1\nq1\td2\t1\n", ":1: a judgement must be"),
        ("q1\td1\t1.5\n", ":1: a judgement must be"),
        ("q1\td1\t1\nquery\ttext\tgrade\n", r":2: a judgement .* Got 'query.*grade'\.$"),
        ("\n", "no judgements"),
    ],
)
def test_a_first_line_that_is_no_header_is_not_dropped(write, content, says):
    with pytest.raises(FormatError, match=says):
        read_qrels(write("q.tsv", content))


def test_judged_texts_that_are_not_in_the_index_are_noted(tmp_path):
    pytest.importorskip("ir_measures")
    scorer = score_with(lambda query, text: len(text), name="length", single=True)
    index = build(tmp_path, [Record("007", "red shoes"), Record("8", "hat")], scorer=scorer)
    queries = [Record("1", "red"), Record("2", "hat")]
    with pytest.warns(ShoestringWarning) as noted:
        judged = {"1": {"7": 1, "8": 0}, "3": {"8": 1}}
        evaluate(index, queries, judged, calls=[1], progress=False)
    assert [str(note.message) for note in noted] == [
        "1 of 2 judged texts, '7' for example, are not in the index.",
        "1 of 2 judged queries have no text.",
    ]
    assert evaluate(index, queries, {"1": {"007": 1}}, calls=[1], progress=False).rows
