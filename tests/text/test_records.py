"""Records of every source; one clear sentence for every bad one."""

from __future__ import annotations

import gzip
import io
import json
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.errors import FormatError, ParameterError, ShoestringError, StorageError
from shoestring.text.files import decoded, rows_of
from shoestring.text.records import read_records
from shoestring.types import Record

RECORDS = [
    Record("a1", 'two lines\nand a "quote", here', "en"),
    Record("b2", "怎样打开\u2028文件？", "zh"),
]
ROWS = [{"id": r.id, "text": r.text, "label": r.label} for r in RECORDS]


def as_jsonl() -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def as_table(delimiter: str) -> str:
    import csv

    out = io.StringIO()
    writer = csv.DictWriter(out, ["label", "text", "id"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


CONTENTS = {
    "jsonl": as_jsonl,
    "ndjson": as_jsonl,
    "csv": lambda: as_table(","),
    "tsv": lambda: as_table("\t"),
}


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", CONTENTS)
def test_every_text_format_gives_the_same_records(write, ending, packed, bom):
    content = bom + CONTENTS[ending]().encode()
    name = f"x.{ending.upper()}.gz" if packed else f"x.{ending}"
    path = write(name, gzip.compress(content) if packed else content)
    assert list(read_records(path)) == RECORDS


def test_parquet_gives_the_same_records(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    assert list(read_records(tmp_path / "x.parquet")) == RECORDS


def test_frames_lists_generators_and_records_give_the_same_records():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for source in (
        pandas.DataFrame(ROWS),
        polars.DataFrame(ROWS),
        ROWS,
        (row for row in ROWS),
        RECORDS,
    ):
        assert list(read_records(source)) == RECORDS


def test_lines_and_strings_get_their_position_as_id(write):
    path = write("x.txt", "first\u2028line\r\n第二行\n")
    assert list(read_records(path)) == [Record("1", "first\u2028line"), Record("2", "第二行")]
    assert list(read_records(["first", "第二"])) == [Record("1", "first"), Record("2", "第二")]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (as_jsonl().encode(), RECORDS),
        (b'\n {"text": "a"}\n', [Record("1", "a")]),
        ("一\nb\n".encode(), [Record("1", "一"), Record("2", "b")]),
    ],
)
def test_standard_input_is_sniffed(stdin, content, records):
    stdin(content)
    assert list(read_records("-")) == records


def test_columns_can_be_named(write):
    path = write("x.csv", "sku,title,kind\n7,红鞋,shoe\n")
    assert list(read_records(path, "title", "sku", "kind")) == [Record("7", "红鞋", "shoe")]


def test_integer_ids_become_text_also_from_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": [7, 8], "text": ["a", "b"], "label": [1, None]})
    assert [r.id for r in read_records(frame)] == ["7", "8"]
    assert [r.label for r in read_records(frame)] == ["1.0", None]


def test_empty_texts_can_be_skipped_and_positions_stay(write):
    path = write("x.txt", "a\n\n \u3000\nb\n")
    assert list(read_records(path, on_empty="skip")) == [Record("1", "a"), Record("4", "b")]


def test_a_text_of_several_megabytes_is_kept_whole(write):
    text = "长文 text " * 400_000
    for ending, content in (("jsonl", json.dumps({"text": text})), ("csv", f'text\n"{text}"\n')):
        assert next(read_records(write(f"x.{ending}", content))).text == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_what_json_can_write_comes_back(texts):
    texts = [text for text in texts if text.strip()] or ["x"]
    lines = "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts)
    stream = io.BufferedReader(io.BytesIO(lines.encode()))
    with decoded(stream, "x") as text:
        assert [row["text"] for _, row in rows_of(text, None, ("text",))] == texts


@pytest.mark.parametrize("ending", ["jsonl", "csv", "txt.gz", "parquet"])
def test_memory_is_bounded_while_reading(tmp_path, ending):
    texts = [f"{i} " + "text 文本 " * 20 for i in range(20_000)]  # 4 MB as str at least
    path = tmp_path / f"x.{ending}"
    if ending == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": texts}), path, row_group_size=2_000)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    elif ending == "csv":
        path.write_text("text\n" + "\n".join(texts), "utf-8")
    else:
        path.write_bytes(gzip.compress("\n".join(texts).encode()))
    del texts
    tracemalloc.start()
    assert sum(1 for _ in read_records(path)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("name", "content", "where", "says"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"text": oops}\n', ":2:10:", "broken JSON"),
        ("x.jsonl", b'{"text": "a"} {"text": "b"}\n', ":1:15:", "broken JSON"),
        ("x.jsonl", b'{"text": "a"}\n["b"]\n', ":2:", "a JSON list, not an object"),
        ("x.jsonl", b"[" * 100_000 + b"\n", ":1:", "JSON beyond limits"),
        ("x.jsonl", b'{"text": ' + b"1" * 5000 + b"}\n", ":1:", "JSON beyond limits"),
        (
            "x.jsonl",
            b'{"body": "a", "n": 1}\n',
            ":1:",
            "no column 'text'. Name one of: 'body', 'n'",
        ),
        ("x.jsonl", b'{"text": "a"}\n{"text": null}\n', ":2:", "an empty text"),
        ("x.jsonl", b'{"text": 12}\n', ":1:", "holds 12 of type int. It must be text"),
        ("x.jsonl", b'{"text": "a\\u0000b"}\n', ":1:", "NUL character"),
        ("x.jsonl", b'{"text": "\\ud800"}\n', ":1:", "half a surrogate pair"),
        ("x.jsonl", b'{"text": "a", "id": null}\n', ":1:", "no value in the id column 'id'"),
        (
            "x.jsonl",
            b'{"text": "a", "id": 1.5}\n',
            ":1:",
            "column 'id' holds 1.5 of type float. An",
        ),
        (
            "x.jsonl",
            b'{"text": "a", "id": true}\n',
            ":1:",
            "column 'id' holds True of type bool. An",
        ),
        ("x.jsonl", b'{"text": "a"}\n{"text": "b", "id": 1}\n', ":2:", "Give all one"),
        ("x.jsonl", b'{"text": "a", "id": 1}\n{"text": "b"}\n', ":2:", "no column 'id'"),
        ("x.jsonl", b"", ":", "no records"),
        ("x.csv", b"", ":", "no records"),
        ("x.csv", b"id,text\n", ":", "no records"),
        ("x.csv", b"id,text\n1,a\n\n2,b,c\n", ":4:", "3 fields where the header has 2"),
        ("x.csv", b'id,text\n1,"a\nb"\n2\n', ":4:", "1 fields where the header has 2"),
        ("x.csv", b'id,text\n1,"never closed\n2,b\n', ":2:", "broken quoting"),
        ("x.csv", b"text,text\na,b\n", ":1:", "the header names 'text' twice"),
        ("x.csv", b"id;body\n1;a\n", ":2:", "Name one of: 'id', 'body'"),
        ("x.tsv", b"id\ttext\n1\ta\tb\n", ":2:", "3 fields"),
        ("x.csv", b"text\na\n \nb\n", ":3:", "an empty text in the column 'text'"),
        ("x.txt", b"a\n\xe7\x94\xb2x\xe9\n", ":2:3:", "not UTF-8 (byte 0xe9)"),
        ("x.txt", "中文\n".encode("gb18030"), ":1:1:", "encoding='gb18030'"),
        ("x.txt", "abc\n".encode("utf-16-le"), ":1:", "the file is UTF-16"),
        ("x.txt.gz", gzip.compress(os.urandom(9999).hex().encode())[:-900], ":", "damaged or cut"),
        ("x.txt.gz", b"\x1f\x8bno gzip at all\n", ":", "damaged or cut"),
        ("x.parquet", b"PAR1 nonsense", ":", "damaged or no parquet"),
        ("x.parquet", b"", ":", "damaged or no parquet"),
    ],
)
def test_bad_content_is_named_with_file_and_place(write, name, content, where, says):
    path = write(name, content)
    with pytest.raises(FormatError) as caught:
        list(read_records(path))
    message = str(caught.value)
    assert message.startswith(f"{path}{where} ")
    assert says in message
    assert "\n" not in message


def test_a_parquet_file_cut_short_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(5_000)]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3] + b"\xff" * 200 + whole[len(whole) // 3 + 200 :])
    with pytest.raises(FormatError, match=r"x\.parquet"):
        list(read_records(path))


@pytest.mark.parametrize("name", ["x", "x.pdf", "x.gz", ".jsonl", "x.xlsx"])
def test_an_unknown_ending_is_refused(write, name):
    with pytest.raises(FormatError, match=r"\.jsonl \.ndjson \.json \.csv .* format='txt'"):
        list(read_records(write(name, "red shoes\n")))


def test_what_cannot_be_opened_is_named_at_the_call(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(StorageError, match="There is no file"):
        read_records(tmp_path / "missing.jsonl")
    with pytest.raises(StorageError, match="is a folder"):
        read_records(tmp_path / "folder.txt")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(write):
    path = write("x.txt", "a")
    os.chmod(path, 0)  # noqa: PTH101
    with pytest.raises(StorageError, match="permissions"):
        read_records(path)


@pytest.mark.parametrize("source", [b"x.txt", {"text": "a"}, 5, None])
def test_a_source_of_the_wrong_kind_is_refused_at_the_call(source):
    with pytest.raises(ParameterError, match="'source'"):
        read_records(source)


@pytest.mark.parametrize("names", [{"text": None}, {"text": 5}, {"id": 5}, {"on_empty": "drop"}])
def test_a_bad_parameter_is_refused_at_the_call(names):
    with pytest.raises(ParameterError, match=next(iter(names))):
        read_records(["a"], **names)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (["a", 5], "item 2 is of type int"),
        ([{"text": "a"}, {"text": " "}], "item 2: an empty text"),
        ([Record("1", "")], "item 1: an empty text"),
        ([], "no records"),
        ([{"text": float("nan")}], "an empty text"),
    ],
)
def test_a_bad_item_is_named_by_its_position(items, says):
    with pytest.raises(FormatError, match=says):
        list(read_records(items))


def test_missing_values_of_frames_are_found():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for missing in (None, float("nan"), pandas.NA, pandas.NaT):
        frame = pandas.DataFrame({"text": pandas.Series(["a", missing], dtype=object)})
        with pytest.raises(FormatError, match="item 2: an empty text"):
            list(read_records(frame))
    with pytest.raises(FormatError, match="item 2: an empty text"):
        list(read_records(polars.DataFrame({"text": ["a", None]})))
    with pytest.raises(ParameterError, match="collect"):
        read_records(polars.LazyFrame({"text": ["a"]}))


def test_records_before_the_fault_are_read(write):
    reading = read_records(write("x.jsonl", '{"text": "a"}\nbroken\n'))
    assert next(reading) == Record("1", "a")
    with pytest.raises(ShoestringError):
        next(reading)
