"""Files of other tools in and out, and what is said of those that are damaged."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shoestring.errors import (
    FormatError,
    ParameterError,
    ShoestringWarning,
    StorageError,
)
from shoestring.words.word2vec_io import FORMATS, read_vectors, write_vectors

WORDS = ["the", "市场", "new_york", "café", "<num>"]
DENSE = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
CODES = (DENSE > 0).astype(np.uint8)


def written(folder: Path, format: str, values=DENSE, words=WORDS) -> Path:
    path = folder / "vectors"
    write_vectors(path, words, values, format)
    return path


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("values", [DENSE, CODES], ids=["dense", "codes"])
def test_what_is_written_is_read_again(tmp_path, format, values):
    read = read_vectors(written(tmp_path, format, values))
    assert read.words == WORDS
    assert read.vectors.dtype == np.float32
    assert (read.vectors == values).all()


@settings(max_examples=25)
@given(
    values=arrays(np.float32, (3, 2), elements=st.floats(-(2.0**99), 2.0**99, width=32)),
    words=st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=3, unique=True),
)
@pytest.mark.parametrize("format", FORMATS)
def test_any_words_and_numbers_come_back_or_are_refused(tmp_path_factory, format, values, words):
    try:
        path = written(tmp_path_factory.mktemp("any"), format, values, words)
    except ParameterError:
        assert any(blank in word for word in words for blank in " \t\r\n\v\f")
        return
    read = read_vectors(path)
    assert read.words == words
    assert np.array_equal(read.vectors, values)


@pytest.mark.parametrize("format", FORMATS)
def test_gzipped_files_are_read(tmp_path, format):
    path = written(tmp_path, format)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert (read_vectors(packed).vectors == DENSE).all()


@pytest.mark.parametrize("format", FORMATS)
def test_gensim_reads_what_we_write_and_we_what_gensim_writes(tmp_path, format):
    models = pytest.importorskip("gensim.models", reason="the peer of this format")
    path, binary = written(tmp_path, format), format != "word2vec"
    theirs = models.KeyedVectors.load_word2vec_format(path, binary=binary)
    assert theirs.index_to_key == WORDS
    assert (theirs.vectors == DENSE).all()
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary)
    ours = read_vectors(tmp_path / "theirs")
    assert ours.words == WORDS
    assert (ours.vectors == DENSE).all()


def test_glove_has_no_header_and_words_with_blanks(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the 0.5 -1.5\n. . . 1 2e-1\n12 3 4\n", encoding="utf-8")
    read = read_vectors(path)
    assert read.words == ["the", ". . .", "12"]
    assert np.allclose(read.vectors, [[0.5, -1.5], [1, 0.2], [3, 4]])


def test_the_c_programs_line_feeds_in_binary_files_are_no_part_of_words(tmp_path):
    path = tmp_path / "c.bin"
    rows = [w.encode() + b" " + row.tobytes() for w, row in zip(WORDS, DENSE, strict=True)]
    path.write_bytes(b"5 7\n" + b"\n".join(rows) + b"\n")
    read = read_vectors(path)
    assert read.words == WORDS
    assert (read.vectors == DENSE).all()


def test_a_word_that_comes_again_keeps_its_first_vector(tmp_path):
    path = tmp_path / "twice.txt"
    path.write_text("3 1\na 2\nb 3\na 4\n", encoding="utf-8")
    with pytest.warns(ShoestringWarning, match="1 of 3 words are passed over: 1 that came before"):
        read = read_vectors(path)
    assert read.words == ["a", "b"]
    assert read.vectors.tolist() == [[2], [3]]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "content", [b"2 2\nthe 1 2\nred 3 4\n", b"the 1 2\nred 3 4\n", "的 1 2\n红 3 4\n".encode()]
)
def test_a_mark_at_the_start_is_no_part_of_the_header_or_word(tmp_path, content, packed):
    path, plain = tmp_path / "marked.txt", tmp_path / "plain.txt"
    pack = gzip.compress if packed else bytes
    path.write_bytes(pack(b"\xef\xbb\xbf" + content))
    plain.write_bytes(content)
    assert read_vectors(path).words == read_vectors(plain).words
    assert read_vectors(path).words[0] in ("the", "的")


BAD = [
    (b"caf\xe9 1 2\n", "1 not UTF-8"),  # Latin-1
    (b" 1 2\n", "1 blank"),
    (b"red 9 9\n", "1 that came before"),
    (b"odd nan 2\n", "1 with numbers that are not finite"),
    (b"odd 1e999 2\n", "1 with numbers that are not finite"),
]


@pytest.mark.parametrize(("line", "says"), BAD)
def test_a_bad_word_in_text_is_passed_over_and_counted(tmp_path, line, says):
    path = tmp_path / "v.txt"
    path.write_bytes("4 2\nred 1 2\n鞋 3 4\n".encode() + line + b"hat 5 6\n")
    with pytest.warns(ShoestringWarning, match=f"1 of 4 words are passed over: {says}; .*line 4"):
        read = read_vectors(path)
    assert read.words == ["red", "鞋", "hat"]
    assert read.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_bad_words_in_binary_are_passed_over_and_counted(tmp_path):
    words = [b"red", b"caf\xe9", b"", "鞋".encode(), b"red", b"hat", b"coat"]
    rows = np.arange(14, dtype="<f4").reshape(7, 2)
    path = tmp_path / "v.bin"
    body = [word + b" " + row.tobytes() for word, row in zip(words, rows, strict=True)]
    path.write_bytes(b"7 2\n" + b"".join(body))
    with pytest.warns(ShoestringWarning, match="3 of 7 words are passed over.*first word 2"):
        read = read_vectors(path)
    assert read.words == ["red", "鞋", "hat", "coat"]
    assert read.vectors.tolist() == rows[[0, 3, 5, 6]].tolist()


def test_a_file_in_another_encoding_is_refused_not_read_in_part(tmp_path):
    path = tmp_path / "gb.txt"
    path.write_bytes("the 1 2\n市场 1 2\n红色 3 4\n冬天 5 6\n".encode("gb18030"))
    with pytest.raises(
        FormatError, match=r"most of its 4 words are bad: 3 not UTF-8; first line 2"
    ):
        read_vectors(path)


@pytest.mark.parametrize("format", FORMATS)
def test_a_limit_reads_the_first_words_as_gensims_does(tmp_path, format):
    path = written(tmp_path, format)
    for limit in (1, 3, np.int64(5), 99):
        read = read_vectors(path, limit=limit)
        assert read.words == WORDS[:limit]
        assert (read.vectors == DENSE[:limit]).all()
    for limit in (0, -1, True, 1.5, "3"):
        with pytest.raises(ParameterError, match="'limit'"):
            read_vectors(path, limit=limit)
    gensim = pytest.importorskip("gensim.models", reason="the peer")
    binary = format == "word2vec-binary"
    peer = gensim.KeyedVectors.load_word2vec_format(str(path), binary=binary, limit=3)
    assert peer.index_to_key == read_vectors(path, limit=3).words


def test_a_limit_does_not_read_what_is_behind_it(tmp_path):
    path = tmp_path / "cut.txt"
    path.write_bytes(b"1000 2\nred 1 2\nhat 3 4\ncoat 5")
    assert read_vectors(path, limit=2).words == ["red", "hat"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"2 3\na 1 2 3\nb 1 2\n", ":3: a vector of 2 numbers, where 3 must follow"),
        (b"2 3\na 1 2 3\nb 1 2 3 4\n", None),  # the word is 'b 1', as in GloVe
        (b"3 3\na 1 2 3\nb 1 2 3\n", "2 vectors, where the header promises 3"),
        (b"1 3\na 1 2 3\nb 1 2 3\n", "2 vectors, where the header promises 1"),
        (b"99999999 300\na 1 2 3\n", ":2: a vector of 3 numbers, where 300 must follow"),
        (b"99999999 3\na 1 2 3\n", "1 vectors, where the header promises 99999999"),
        (b"0 3\n", "the header promises 0 vectors of width 3"),
        (b"a 1 2\nb 1 x\n", ":2: a vector of 0 numbers"),
        (b"b 1 nan\n", "most of its 1 words are bad: 1 with numbers that are not finite"),
        (b"\xff\xfe 1 2\n", "most of its 1 words are bad: 1 not UTF-8; first line 1"),
        (b"It was the best of times,\nit was the worst of times.\n", "no word vectors"),
    ],
)
def test_a_damaged_text_file_is_one_sentence_with_its_line(tmp_path, content, says):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    if says is None:
        assert read_vectors(path).words == ["a", "b 1"]
        return
    with pytest.raises(FormatError) as failure:
        read_vectors(path)
    assert says in str(failure.value)
    assert str(path) in str(failure.value)


@pytest.mark.parametrize("n_lost", [20, 60, 130])
@pytest.mark.parametrize("format", FORMATS)
def test_a_truncated_file_is_never_read_as_less(tmp_path, format, n_lost):
    path = written(tmp_path, format)
    path.write_bytes(path.read_bytes()[:-n_lost])
    with pytest.raises(FormatError, match=str(path)):
        read_vectors(path)


def test_a_binary_file_that_is_longer_than_its_header_says_is_refused(tmp_path):
    path = written(tmp_path, "word2vec-binary")
    path.write_bytes(path.read_bytes().replace(b"5 7\n", b"4 7\n", 1))
    with pytest.raises(FormatError, match="more than the 4 vectors of width 7"):
        read_vectors(path)


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    path = tmp_path / "lies.bin"
    path.write_bytes(b"1000000 60000\n" + bytes(10_000))
    tracemalloc.start()
    with pytest.raises(FormatError):
        read_vectors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(StorageError, match="There is no file"):
        read_vectors(tmp_path / "none.txt")


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="'word2vec' or 'word2vec-binary'"):
        write_vectors(tmp_path / "v", WORDS, DENSE, "glove")
    assert not list(tmp_path.iterdir())
