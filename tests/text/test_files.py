"""Files as people have them: told by their content, in any encoding, with rows that are bad."""

import gzip
import json
import sys
import tracemalloc
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.errors import FormatError, ParameterError, ShoestringWarning, StorageError
from shoestring.text import files
from shoestring.text.files import likely_encoding
from shoestring.text.records import read_records
from shoestring.types import Record

SHOES = [Record("A1", "red shoes, size 4"), Record("B2", "打开文件；再关上")]
ROWS = [{"id": record.id, "text": record.text} for record in SHOES]


def table(delimiter: str) -> str:
    quoted = [f'{r["id"]}{delimiter}"{r["text"]}"' for r in ROWS]
    return "\n".join([f"id{delimiter}text", *quoted]) + "\n"


CONTENTS = {
    "comma": table(","),
    "semicolon": table(";"),
    "tab": table("\t"),
    "bar": table("|"),
    "json lines": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS),
    "json lines after blank ones": "\n \n" + "".join(json.dumps(row) + "\n" for row in ROWS),
    "array": json.dumps(ROWS),
    "array over lines": json.dumps(ROWS, indent=2, ensure_ascii=False),
    "array, its bracket alone": "[\n" + ",\n".join(json.dumps(row) for row in ROWS) + "\n]\n",
    "objects over lines": "\n".join(json.dumps(row, indent=1) for row in ROWS),
}
TABLES = list(CONTENTS)[:4]


# --- told by their content


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("where", ["standard input", "data.bin", "ending"])
def test_what_is_certain_is_told_by_the_content(write, stdin, kind, where, packed):
    content = CONTENTS[kind].encode()
    content = gzip.compress(content) if packed else content
    name = where if where == "data.bin" else "x.csv" if kind in TABLES else "x.json"
    source = stdin(content) if where == "standard input" else write(name, content)
    assert list(read_records(source)) == SHOES


@pytest.mark.parametrize("kind", ["array", "array over lines", "objects over lines"])
def test_json_over_lines_is_read_from_files_of_lines_too(write, kind):
    assert list(read_records(write("x.jsonl", CONTENTS[kind]))) == SHOES


@pytest.mark.parametrize("mark", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_mark_tells_the_encoding(write, kind, mark):
    name = "x.csv" if kind in TABLES else "x.json"
    assert list(read_records(write(name, CONTENTS[kind].encode(mark)))) == SHOES


def test_parquet_is_told_by_its_first_bytes_and_not_read_from_a_pipe(tmp_path, stdin):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.data")
    assert list(read_records(tmp_path / "x.data")) == SHOES
    content = (tmp_path / "x.data").read_bytes()
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    with pytest.raises(FormatError, match="Name the file"):
        list(read_records(tmp_path / "x.gz"))


def test_lines_that_look_like_no_table_are_texts(write, stdin):
    lines = ["id, please", "[INST] 打开 [/INST]", "a;b;c", "{x}"]
    want = [Record(str(n), line) for n, line in enumerate(lines, start=1)]
    for source in (stdin("\n".join(lines)), write("x.txt", "\n".join(lines))):
        assert list(read_records(source)) == want


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "txt"])
def test_a_format_that_is_named_wins(write, stdin, format):
    content = {"csv": "a\n1\n", "tsv": "a\tb\n1\t2\n", "jsonl": '{"a": "1"}', "txt": "[{}]"}[format]
    column = "text" if format == "txt" else "a"
    for source in (stdin(content), write("x.dat", content), write("x.parquet", content)):
        found = [r.text for r in read_records(source, column, format=format)]
        assert found == ["[{}]" if format == "txt" else "1"]


def test_an_array_may_hold_texts(write):
    assert [r.text for r in read_records(write("x.json", '["red", "红"]'))] == ["red", "红"]


def test_json_over_lines_is_read_whatever_is_in_it(write, monkeypatch):
    monkeypatch.setattr(files, "_PIECE", 7)
    texts = ["", "é" * 30, "[{", 'quo"ted\\', "红" * 50, "\u2028"]
    rows = [
        {"text": f"{n}{text}", "more": [n, {"a": None}, -1.5e3]} for n, text in enumerate(texts)
    ]
    for content in (json.dumps(rows), json.dumps(rows, indent=3, ensure_ascii=False)):
        found = [r.text for r in read_records(write("x.json", content))]
        assert found == [row["text"] for row in rows]


@pytest.mark.parametrize(
    ("content", "where", "says"),
    [
        ('[{"text": "a"},\n {"text": oops}]', ":2:", "broken JSON (Expecting value)"),
        ('[{"text": "a"},\n {"text": "b"}', ":2:", "it ends before the array does"),
        ('[{"text": "a"},\n {"text": "b', ":2:", "broken JSON (Unterminated"),
        ('[{"text": "a"}]\n{"text": "b"}', ":1:15:", "broken JSON (Expecting value)"),
        ('[{"text": "a"},\n 5]', ":2:", "a JSON int, not an object"),
        ('{"text":\n 5}', ":1:", "broken JSON"),
        ('[{"text":\n 5}]', ":1:", "holds 5 of type int"),
        ("[" + '{"a":' * 100_000, ":1:", "JSON beyond limits"),
        ("[]", ":", "no records"),
    ],
)
def test_bad_json_is_named_with_its_line(write, content, where, says):
    path = write("x.json", content)
    with pytest.raises(FormatError) as caught:
        list(read_records(path))
    assert str(caught.value).startswith(f"{path}{where}") and says in str(caught.value)


# --- tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_that_nobody_asked_for_may_be_unnamed_or_twice_there(write, delimiter):
    lines = [["v1", "v2", "x", "x", "", ""], ["ham", "go there", "", "", "", ""]]
    path = write("spam.csv", "\n".join(delimiter.join(line) for line in lines))
    found = list(read_records(path, text="v2", label="v1"))
    assert found == [Record("1", "go there", "ham")]
    with pytest.raises(FormatError, match=r"spam\.csv:1: the header names 'x' twice"):
        list(read_records(path, text="x"))


def test_a_column_that_is_twice_there_is_refused_in_frames_and_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([["a", "b", "c"]], columns=["text", "text", "other"])
    with pytest.raises(FormatError, match="names 'text' twice"):
        list(read_records(frame))
    assert next(read_records(frame, text="other")).text == "c"


def test_a_delimiter_that_is_named_wins(write):
    path = write("x.csv", "text:n\nred, blue; green:1\n")
    assert next(read_records(path, delimiter=":")).text == "red, blue; green"
    with pytest.raises(ParameterError, match=r"'delimiter' .* one character. Got '::'"):
        read_records(path, delimiter="::")


def test_several_columns_are_joined_by_a_blank(write):
    path = write("x.csv", 'title,body\nRed,"shoes, new"\n,only body\n红,\n')
    found = [r.text for r in read_records(path, text=["title", "body"])]
    assert found == ["Red shoes, new", "only body", "红"]
    with pytest.raises(FormatError, match="no column 'tag'"):
        list(read_records(path, text=["title", "tag"]))
    for names in ([], [5], None):
        with pytest.raises(ParameterError, match="'text'"):
            read_records(path, text=names)


# --- encodings

CHINESE, TAIWAN = "怎样打开文件\n营业时间\n", "怎樣打開檔案\n營業時間\n"
WRITTEN = [
    (CHINESE, "gb18030", "gb18030"),
    (CHINESE, "gbk", "gb18030"),
    (TAIWAN, "big5", "big5"),
    (TAIWAN, "gb18030", "gb18030"),
    ("déjà vu, où est le café?\nGrüße aus Köln\n", "latin-1", "cp1252"),
    ("ファイルを開く方法\n営業時間\n", "shift_jis", "shift_jis"),
    ("파일을 여는 방법\n영업 시간\n", "euc_kr", "euc_kr"),
    ("как открыть файл\nгде находится банк\n", "cp1251", "cp1251"),
]


@pytest.mark.parametrize(("text", "encoding", "likely"), WRITTEN)
@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_the_advice_for_another_encoding_works(write, text, encoding, likely, ending):
    content = text if ending == "txt" else f"text\n{text}".replace(", ", " ")
    path = write(f"x.{ending}", content.encode(encoding))
    with pytest.raises(FormatError, match=f"It looks like {likely}: encoding=.{likely}.") as found:
        list(read_records(path))
    assert "iconv" not in str(found.value)
    want = content.splitlines()[ending == "csv" :]
    assert [r.text for r in read_records(path, encoding=likely)] == want


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_any_encoding_can_be_named(write, encoding, kind):
    content = CONTENTS[kind]
    if encoding == "cp037":  # of a mainframe, where a byte 10 is no line feed
        content = content.replace("打开文件；再关上", "open")
    name = "x.csv" if kind in TABLES else "x.json"
    found = list(read_records(write(name, content.encode(encoding)), encoding=encoding))
    assert [r.id for r in found] == ["A1", "B2"] and found[0] == SHOES[0]


def test_text_in_the_encoding_that_was_not_named_is_refused_with_its_line(write):
    path = write("x.txt", "a\n红\n".encode())
    with pytest.raises(FormatError, match=r":2:1: not ASCII \(byte 0xe7\). If it is in another"):
        list(read_records(path, encoding="ascii"))
    path = write("y.txt", "红a\n".encode("utf-16")[:-1])
    with pytest.raises(FormatError, match="not UTF-16"):
        list(read_records(path))


def test_a_bad_unit_of_utf_16_is_told(write):
    content = "a\nb".encode("utf-16") + b"\x00\xdc" + "c\n红\n".encode("utf-16-le")
    path = write("x.txt", content)
    with pytest.raises(FormatError, match=r"x\.txt: not UTF-16 \(.* Name another"):
        list(read_records(path))


def test_a_long_line_of_blanks_keeps_the_numbers_of_the_lines_that_follow(write):
    for encoding in ("utf-8", "utf-16"):
        path = write("x.jsonl", (" " * 70_000 + '\n{"text": 5}\n').encode(encoding))
        with pytest.raises(FormatError, match=r"x\.jsonl:2: .* of type int"):
            list(read_records(path))


@pytest.mark.parametrize("encoding", ["klingon", "", "base64", "rot13", 5, "a\0b", "红"])
def test_an_encoding_that_there_is_not_is_refused_at_the_call(write, encoding):
    with pytest.raises(ParameterError, match=r"'encoding' .* such as gb18030, big5, utf-16"):
        read_records(write("x.txt", "a"), encoding=encoding)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_likely_encoding_or_none(sample):
    assert likely_encoding(sample) in (None, *files.ENCODINGS)


# --- bad rows, blank lines


def test_blank_lines_of_text_are_passed_over_and_keep_their_numbers(write, stdin):
    content = "\na\n\n \u3000\n乙\n\n"
    for source in (write("x.txt", content), stdin(content)):
        assert list(read_records(source)) == [Record("2", "a"), Record("5", "乙")]


BAD = {
    "x.jsonl": b'{"text": "a"}\n{"text": oops}\n[1]\n\xff\n{"text": 5}\n{"t": ""}\n{"text": "b"}\n',
    "x.csv": b'text,n\na,1\nx\n"a"b",2\n\xff,3\nx,y,z\n,\nq\nb,2\n',
    "x.json": b'[{"text": "a"}, 5, [], {"t": 1}, {"text": {}},{"text": "a\\u0000"}, {"text": "b"}]',
    "x.txt": b"a\n\xff\xfe1\n\xe4\n\x00\na\x00\n\xf1\nb\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_skipped_and_counted(write, name):
    path = write(name, BAD[name])
    with pytest.warns(
        ShoestringWarning, match=r"^5 bad rows were skipped, the first: .*:\d"
    ) as said:
        found = [r.text for r in read_records(path, on_bad="skip", on_empty="skip")]
    assert found == ["a", "b"] and len(said) == 1
    with pytest.raises(FormatError):
        list(read_records(path, on_empty="skip"))


def test_where_all_rows_are_bad_the_first_is_named(write):
    path = write("x.csv", "id,body\n1,a\n2,b\n")
    with pytest.raises(FormatError, match=r"all 2 .* \(the first: .*:2: no column 'text'"):
        list(read_records(path, on_bad="skip"))


def test_a_quote_that_is_never_closed_is_no_bad_row(write):
    path = write("x.csv", 'text\na\n"b\n' + "c\n" * 9)
    with pytest.raises(FormatError, match=r"x\.csv:3: broken quoting"):
        list(read_records(path, on_bad="skip"))


@pytest.mark.parametrize("options", [{}, {"on_bad": "error"}])
def test_the_first_bad_row_stops_where_none_is_to_be_skipped(options):
    reading = read_records([{"text": "a"}, 5], **options)
    assert next(reading).text == "a"
    with pytest.raises(FormatError, match="item 2 is of type int"):
        next(reading)


def test_what_is_missing_is_empty():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    texts = ["a", None, float("nan"), pandas.NA, pandas.NaT, " ", "b"]
    frame = pandas.DataFrame({"text": pandas.Series(texts, dtype=object)})
    rows = [{"text": text} for text in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in (frame, rows, polars.DataFrame({"text": ["a", None, "", "b"]})):
            assert [r.text for r in read_records(source, on_empty="skip")] == ["a", "b"]


@pytest.mark.parametrize("label", [["x", "y"], {"x": 1}, {"x"}, (), b"x"])
def test_a_label_that_is_a_list_is_refused(label):
    for column in (None, "label"):
        with pytest.raises(FormatError, match=r"item 1: column 'label' holds .* one label"):
            list(read_records([{"text": "t", "label": label}], label=column))


# --- bounds


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.csv", "x.txt.gz"])
def test_a_line_or_record_is_bounded(write, monkeypatch, name):
    monkeypatch.setattr(files, "MAX_RECORD", 5_000)
    long = "长 text " * 2_000
    contents = {
        "x.txt": f"a\n{long}\n",
        "x.jsonl": f'{{"text": "a"}}\n{{"text": "{long}"}}\n',
        "x.csv": 'text,b\na,b\n"' + "x\n" * 4_000,
        "x.txt.gz": f"a\n{long}\n",
    }
    content = contents[name].encode()
    path = write(name, gzip.compress(content) if name.endswith(".gz") else content)
    reading = read_records(path)
    assert next(reading).text == "a"
    with pytest.raises(FormatError, match=r":(2|3): a line or record of more than"):
        next(reading)
    if name == "x.txt":  # where lines are not those of bytes
        path = write("y.txt", content.decode().encode("utf-16"))
        with pytest.raises(FormatError, match=r":2: a line or record of more than"):
            list(read_records(path))


def test_a_line_without_end_in_a_small_gzip_costs_no_memory(write):
    packed = gzip.compress(b"a" * 200_000_000, 1)
    path = write("x.txt.gz", packed)
    tracemalloc.start()
    with pytest.raises(FormatError, match="more than 64 MiB"):
        list(read_records(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000_000


# --- standard input, names


def test_standard_input_that_is_closed_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(StorageError, match="Standard input is closed"):
        read_records("-")


@pytest.mark.parametrize("path", ["a\0b.txt", "a\ud800.txt", "x" * 5_000 + ".txt"])
def test_a_name_that_cannot_be_one_is_refused(path):
    with pytest.raises(StorageError):
        read_records(path)


# --- what else people have


def test_a_table_in_a_txt_is_told_by_its_header(write):
    content = "id\ttext\n1\t怎样打开文件\n2\ta, b\n"
    want = [Record("1", "怎样打开文件"), Record("2", "a, b")]
    for encoding in ("utf-8", "utf-16"):  # the "Unicode text" of spreadsheets
        assert list(read_records(write("x.txt", content.encode(encoding)))) == want
    path = write("x.txt", content)
    assert next(read_records(path, format="txt")).text == "id\ttext"
    assert next(read_records(write("y.txt", '["a quote", he said]\n'), format="txt"))


@pytest.mark.parametrize("line", ["{x} is a set", "[INST] open [/INST]", "text; or not", "texts"])
def test_a_txt_that_only_looks_like_something_else_is_text(write, line):
    assert next(read_records(write("x.txt", line + "\nmore, text\n"))).text == line


def test_blanks_around_the_names_of_columns_do_not_count(write):
    path = write("x.csv", "id , text\n1, a\n")
    assert list(read_records(path)) == [Record("1", " a")]


def test_few_accents_among_letters_are_not_taken_for_chinese(write):
    for text in ("où est le café à côté de l'hôtel?", "Grüße aus Köln", "¿Dónde está el año?"):
        assert likely_encoding(text.encode("latin-1")) == "cp1252"


def test_what_comes_through_a_named_pipe_is_told_by_its_content(tmp_path):
    import os
    import threading

    pipe = tmp_path / "pipe"
    try:
        os.mkfifo(pipe)
    except (AttributeError, OSError):
        pytest.skip("this system has no named pipes")
    writer = threading.Thread(target=pipe.write_bytes, args=(table(";").encode(),))
    writer.start()
    assert list(read_records(pipe)) == SHOES
    writer.join()


def test_a_file_of_nothing_but_blanks_has_no_records(write):
    path = write("x.jsonl.gz", gzip.compress(b" " * 10_000_000 + b"\n" * 10_000))
    tracemalloc.start()
    with pytest.raises(FormatError, match="no records"):
        list(read_records(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000


def test_a_nan_of_any_width_is_missing():
    numpy = pytest.importorskip("numpy")
    rows = [{"text": numpy.float32("nan")}, {"text": "a", "label": numpy.float16("nan")}]
    assert list(read_records(rows, on_empty="skip")) == [Record("2", "a")]
