"""Files of running text: what a document is in each kind, and what is refused."""

from __future__ import annotations

import gzip
import json

import pytest

from shoestring.errors import FormatError, ParameterError, StorageError
from shoestring.text import documents as documents_module
from shoestring.text.documents import read_documents, text_files

WIKI = """<doc id="1" url="https://en.wikipedia.org/wiki?curid=1" title="Salt &amp; pepper">
Salt &amp; pepper

They are <br>used &lt;often&gt;.
History.
</doc>
<doc id="2" url="u" title="Stub">
Stub



</doc>
<doc id="3" url="u" title="Category:Spices">
Category:Spices

Pages about spices are here.
</doc>
<doc id="4" url="u" title="分類:香料">
分類:香料

香料的頁面。
</doc>
<doc id="5" url="u" title="Star Trek: Picard">
It has no title line.
</doc>
<doc id="6" url="u" title="花椒">
花椒

花椒是一种香料。
"""
ARTICLES = [
    ["They are  used <often>.", "History."],
    ["It has no title line."],
    ["花椒是一种香料。"],
]


def test_a_line_is_a_document_and_an_empty_one_is_none(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\ufeffOne. Two.\n\n  \n第二行。\r\nlast", encoding="utf-8")
    assert list(read_documents(file)) == [["One. Two."], ["第二行。"], ["last"]]


@pytest.mark.parametrize("name", ["wiki_00", "wiki.txt", "wiki.gz", "wiki.txt.gz"])
def test_wikiextractors_articles_without_titles_stubs_and_categories(tmp_path, name):
    file = tmp_path / name
    data = WIKI.encode()
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(read_documents(file)) == ARTICLES


@pytest.mark.parametrize("column", ["text", "body"])
def test_records_are_documents_and_empty_ones_are_skipped(tmp_path, column):
    file = tmp_path / "a.jsonl"
    lines = [json.dumps({column: text}, ensure_ascii=False) for text in ("One.\nTwo", " ", "三。")]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert list(read_documents(file, column)) == [["One.\nTwo"], ["三。"]]


def test_a_record_without_the_column_is_named_with_its_line(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "one"}\n{"body": "two"}\n', encoding="utf-8")
    with pytest.raises(FormatError, match=r"a\.jsonl:2: no text in the column 'text'"):
        list(read_documents(file))


@pytest.mark.parametrize("text", ["ab cd " * 40, "中文" * 60, "é" * 77, "x" * 130, "é中" * 16])
def test_a_line_without_end_is_cut_between_words_or_characters(tmp_path, monkeypatch, text):
    monkeypatch.setattr(documents_module, "MAX_LINE", 16)
    file = tmp_path / "text8"
    for end in ("", "\nend"):
        file.write_text(text + end, encoding="utf-8")
        pieces = [piece for (piece,) in read_documents(file)]
        assert end or max(map(len, pieces)) <= 16
        if end:
            assert pieces.pop() == "end"
        words = " ".join(pieces).split() if " " in text else ["".join(pieces)]
        assert words == text.split()


def test_folders_are_read_in_the_order_of_names_without_hidden_files(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/b/c", ".git/config", "a/.DS_Store"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    found = text_files([tmp_path, str(tmp_path / "b.txt")])
    names = [file.relative_to(tmp_path).as_posix() for file in found]
    assert names == ["a/b/c", "a/z.txt", "b.txt", "b.txt"]


def test_no_paths_are_refused():
    with pytest.raises(ParameterError, match=r"There are no files to read\. Name at least one"):
        text_files([])


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(StorageError, match=r"has no files\. Name another one\."):
        text_files([tmp_path])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"There is no file .*b\.txt\. Check the path\."):
        text_files([tmp_path / "b.txt"])


@pytest.mark.parametrize("name", ["picture.png", "picture.gz"])
def test_a_file_that_is_not_text_is_named_with_the_byte(tmp_path, name):
    data = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" * 99
    file = tmp_path / name
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(FormatError, match=rf"{name}: not text \(a NUL byte at byte 8\)\. Leave"):
        list(read_documents(file))


def test_a_single_byte_that_is_not_utf8_is_named_with_line_and_column(tmp_path):
    file = tmp_path / "latin.txt"
    file.write_bytes("one\ncafé".encode("latin-1"))
    with pytest.raises(
        FormatError, match=r"latin\.txt:2:4: not UTF-8 \(byte 0xe9\)\. .*: convert it"
    ):
        list(read_documents(file))


def test_utf_16_is_told_by_its_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes("文".encode("utf-16"))
    assert list(read_documents(tmp_path / "a.txt")) == [["文"]]


def test_a_gzip_file_that_was_cut_off_is_named(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one two\n" * 99_999)[:-50])
    with pytest.raises(FormatError, match=r"a\.gz: the gzip data is damaged or cut off"):
        list(read_documents(tmp_path / "a.gz"))


ROWS = [{"text": "The red shoes.", "id": 1}, {"text": "鞋很好看", "id": 2}]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


@pytest.mark.parametrize("name", ["a.html", "a.HTM", "a.php", "page", "a.html.gz"])
@pytest.mark.parametrize("page", ["<!DOCTYPE html>\n<p>鞋", "\n<html><p>鞋", "\ufeff<html>"])
def test_a_page_is_refused_as_its_tags_are_no_words(tmp_path, name, page):
    packed = gzip.compress if name.endswith(".gz") else bytes
    (tmp_path / name).write_bytes(packed(page.encode()))
    with pytest.raises(FormatError, match=f"{name}:1: HTML or XML, whose tags would become words"):
        list(read_documents(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.json", LINES),
        ("lines", LINES),
        ("lines", '\n{"text": ""}\n\n{"text": null}\n' + LINES),
        ("array.data", json.dumps(ROWS, indent=1)),
        ("marked.log", "\ufeff" + LINES),
        ("table.export", "id,text\n1,The red shoes.\n2,鞋很好看\n"),
        ("table", '"id";"text"\n1;"The red shoes."\n2;鞋很好看\n'),
    ],
)
def test_of_records_only_the_text_is_read_whatever_the_name(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert list(read_documents(tmp_path / name)) == [[row["text"]] for row in ROWS]


@pytest.mark.parametrize(
    "line", ['{"text" is a word', "{{Infobox}} of a page", "text", "[1] A note", "<b>bold</b> text"]
)
def test_running_text_that_only_looks_like_records_stays_text_in_a_txt_file(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"{line}\nmore\n", encoding="utf-8")
    assert list(read_documents(tmp_path / "a.txt")) == [[line], ["more"]]
    if not line.startswith('{"'):
        (tmp_path / "a").write_text(f"{line}\nmore\n", encoding="utf-8")
        assert list(read_documents(tmp_path / "a")) == [[line], ["more"]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "<?xml version='1.0'?>\n<page><text>a</text></page>",
            "HTML or XML, whose tags would become words",
        ),
        ('{"text": " "}\n{"body": "a"}\n', "2: no text in the column 'text': {'body': 'a'}"),
        ('{"text": ["a"]}\n', "1: no text in the column 'text'"),
        ('{"text": "a"}\n{"text": \n', "broken JSON"),
    ],
)
def test_markup_and_records_that_cannot_be_read_are_refused_with_the_file(tmp_path, content, says):
    (tmp_path / "a").write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=says) as failure:
        list(read_documents(tmp_path / "a"))
    assert str(tmp_path / "a") in str(failure.value)


@pytest.mark.parametrize("wrong", [{"path": None}, {"path": "a\0b"}, {"text": 3}])
def test_what_no_file_or_column_can_be_is_one_sentence(tmp_path, wrong):
    with pytest.raises(ParameterError, match=f"'{next(iter(wrong))}' parameter of read_documents"):
        list(read_documents(**{"path": tmp_path / "none", **wrong}))
