"""Texts to ids: what is counted, chosen, joined and written, and what is refused."""

from __future__ import annotations

import gc
import gzip
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.errors import (
    BudgetError,
    FormatError,
    ParameterError,
    ShoestringWarning,
    StorageError,
)
from shoestring.jobs import Clock
from shoestring.text.segmentation import split_words
from shoestring.words import corpus as corpus_module
from shoestring.words.corpus import (
    EncodedCorpus,
    choose_vocabulary,
    corpus_of,
    encode_corpus,
)

ENGLISH = [
    "The cat sat on the mat. The dog sat, too!",
    "New York has 8 million people. Who has seen New York?",
    "In New York the cat is out.",
]
CHINESE = ["我爱北京。北京很大！", "你在北京吗？我在北京。", "北京2008年。"]


def sentences_of(corpus, unknown=None):
    """The sentences as words, read back from ids and offsets."""
    names = [*corpus.words, unknown]
    parts = np.split(corpus.ids, corpus.offsets[1:-1])
    return [[names[i] for i in part] for part in parts]


def encoded_alike(a, b):
    return (
        a.words == b.words
        and a.counts.tolist() == b.counts.tolist()
        and a.ids.tolist() == b.ids.tolist()
        and a.offsets.tolist() == b.offsets.tolist()
    )


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE, ENGLISH + CHINESE])
def test_ids_and_offsets_are_the_sentences_of_words(texts):
    corpus = encode_corpus(texts, min_count=1)
    sentences = [sentence for text in texts for sentence in split_words(text)]
    assert sentences_of(corpus) == sentences
    counts = Counter(word for sentence in sentences for word in sentence)
    assert dict(zip(corpus.words, corpus.counts.tolist(), strict=True)) == counts
    assert corpus.words == sorted(counts, key=lambda word: (-counts[word], word))
    assert (corpus.ids.dtype, corpus.offsets.dtype, corpus.counts.dtype) == ("i4", "i8", "i8")
    assert (corpus.offsets[0], corpus.offsets[-1]) == (0, corpus.n_tokens)
    assert len(corpus.offsets) == len(sentences) + 1
    assert corpus.longest_sentence == max(map(len, sentences))


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abc中"), max_size=5), min_size=1), st.integers(1, 4))
def test_rare_words_keep_their_place_as_minus_one(sentences, min_count):
    counts = Counter(word for sentence in sentences for word in sentence)
    if max(counts.values(), default=0) < min_count:
        return
    corpus = encode_corpus(sentences, min_count=min_count)
    expected = [[w if counts[w] >= min_count else None for w in s] for s in sentences if s]
    assert sentences_of(corpus) == expected


@pytest.mark.parametrize("seed", [0, 1])
def test_many_small_parts_encode_as_one(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    texts = [
        " ".join(f"w{'x' * int(i)}" for i in rng.integers(0, 30, rng.integers(1, 40))) + ". 中国人"
        for _ in range(50)
    ]
    whole = encode_corpus(texts, min_count=2)
    monkeypatch.setattr(corpus_module, "PART_TOKENS", 100)
    assert encoded_alike(whole, encode_corpus(texts, min_count=2))


def test_a_fault_in_one_of_the_files_leaves_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("one two")
    (tmp_path / "b.txt").write_bytes(b"one\n\xff")
    with pytest.raises(FormatError, match=r"b\.txt:2:1: not UTF-8") as raised:
        encode_corpus(tmp_path, tmp_path / "out")
    assert raised.value.line == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_all_kinds_of_sources_encode_alike(tmp_path):
    pd = pytest.importorskip("pandas")
    texts = ENGLISH + CHINESE
    records = [{"text": text} for text in texts]
    lines = "\n".join(json.dumps(record) for record in records)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.txt").write_text("\n".join(texts), encoding="utf-8")
    tokens = [sentence for text in texts for sentence in split_words(text)]
    (tmp_path / "tokens").write_text("\n".join(map(" ".join, tokens)), encoding="utf-8")
    sources = [
        iter(texts),
        str(tmp_path / "a.txt"),
        [tmp_path / "a.txt"],
        tokens,
        map(tuple, tokens),
    ]
    expected = encode_corpus(texts, min_count=2)
    assert all(encoded_alike(encode_corpus(source, min_count=2), expected) for source in sources)
    for source in (records, pd.DataFrame(records), tmp_path / "a.jsonl.gz"):
        assert encoded_alike(encode_corpus(source, min_count=2), expected)
    by_user = encode_corpus(tmp_path / "tokens", min_count=2, segmented=True)
    assert encoded_alike(by_user, expected)


def test_the_most_frequent_words_are_skipped():
    corpus = encode_corpus(ENGLISH, min_count=2, skip_top=1)
    assert "new" in corpus.words
    assert "the" not in corpus.words
    assert sentences_of(corpus)[0] == [None, "cat", "sat", None, None, None]


def test_words_that_a_full_table_forgot_are_counted_from_where_they_come_back(monkeypatch):
    monkeypatch.setattr(corpus_module, "MAX_WORDS", 3)
    monkeypatch.setattr(corpus_module, "PART_TOKENS", 4)
    sentences = [["a", "b", "a", "b", "x", "y"], ["a", "u", "v", "x"], ["b", "x", "a", "w", "x"]]
    corpus = encode_corpus(sentences, min_count=2)
    assert corpus.words == ["a", "b", "x"]
    assert corpus.counts.tolist() == [4, 3, 2]
    assert corpus.ids.tolist() == [0, 1, 0, 1, -1, -1, 0, -1, -1, -1, 1, 2, 0, -1, 2]


def test_a_corpus_opens_again_as_it_was(tmp_path):
    written = encode_corpus(ENGLISH, tmp_path / "new" / "corpus", min_count=1)
    opened = EncodedCorpus.open(str(tmp_path / "new" / "corpus"))
    assert encoded_alike(written, opened)
    assert isinstance(opened.ids, np.memmap)
    for name in ("longest_sentence", "segmented", "folder"):
        assert getattr(opened, name) == getattr(written, name)
    assert [path.name for path in tmp_path.rglob("*") if "part" in path.name] == []
    files = sorted(path.name for path in (tmp_path / "new" / "corpus").rglob("*.*"))
    assert files == ["config.json", "counts.npy", "ids.npy", "offsets.npy", "vocabulary.json"]


def test_a_corpus_without_a_folder_is_removed_with_its_last_reference():
    corpus = encode_corpus(ENGLISH, min_count=1)
    folder = corpus.folder
    assert folder.is_dir()
    del corpus
    gc.collect()
    assert not folder.exists()


def test_what_a_killed_encoding_left_behind_does_not_hinder(tmp_path):
    folder = tmp_path / "corpus"
    program = (
        "import os, sys\nfrom shoestring.words.corpus import encode_corpus\n"
        "def texts():\n    yield 'one two'\n    os._exit(9)\n"
        "encode_corpus(texts(), sys.argv[1], min_count=1)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=False)
    assert done.returncode == 9
    with pytest.raises(ParameterError, match="the folder of an encoded corpus"):
        EncodedCorpus.open(folder)
    assert encode_corpus(["one two"], folder, min_count=1).n_tokens == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("source", "parameters", "error", "message"),
    [
        ([], {}, ParameterError, "There are no texts to read"),
        ([" ", "..."], {}, FormatError, "There is no word in the text"),
        ([[]], {}, FormatError, "There is no word in the text"),
        ([["a"], "b"], {}, FormatError, "item 2 must be a list of tokens, each a str. Got 'b'"),
        ([["a", 3]], {}, FormatError, "item 1 must be a list of tokens, each a str"),
        ([["a", ["b"]]], {}, FormatError, "item 1 must be a list of tokens, each a str"),
        ([{"body": "x"}], {}, FormatError, "item 1: no column 'text'. Name one of: 'body'"),
        (7, {}, ParameterError, "Got an object of type int instead"),
        (["a b"], {"min_count": 2}, ParameterError, "most frequent word, 'a', occurs 1 times"),
        (["a"], {"segmented": True, "lexicon": ["中国"]}, ParameterError, "must be None"),
        ([["a"]], {"lexicon": ["中国"]}, ParameterError, "the lexicon would do nothing"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    tmp_path, source, parameters, error, message
):
    with pytest.raises(error, match=message):
        encode_corpus(source, tmp_path / "out", **parameters)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_file_is_not_taken_for_a_text(tmp_path):
    (tmp_path / "a.txt").write_text("one two")
    with pytest.raises(ParameterError, match=r"is the name of a file.* give Path objects"):
        encode_corpus([str(tmp_path / "a.txt")])


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus_module, "write_npy_header", full)
    with pytest.raises(StorageError, match=r"cannot be written: No space left on device\. Free"):
        encode_corpus(ENGLISH, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_of_many_words_needs_little_memory(tmp_path):
    """250,000 tokens, a text at a time: what is held is less than 4 bytes a token."""
    program = (
        "import sys, tracemalloc\nfrom shoestring import artifacts\n"
        "from shoestring.words import corpus as module\n"
        "from shoestring.words.corpus import encode_corpus\n"
        "module.PART_TOKENS, artifacts.CHUNK = 1 << 14, 1 << 14\n"
        "texts = (f'{chr(97 + i % 26)} b c d. ' * 25 for i in range(2_500))\n"
        "encode_corpus(['warm up'], min_count=1)\n"
        "tracemalloc.start()\n"
        "corpus = encode_corpus(texts, sys.argv[1])\n"
        "print(corpus.n_tokens, tracemalloc.get_traced_memory()[1])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    n_tokens, peak = map(int, done.stdout.split())
    assert n_tokens == 250_000
    assert peak < 700_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join((ENGLISH + CHINESE) * 50), encoding="utf-8")
    return path


READING = {"min_count": 1, "segmented": False, "lexicon": None}


def of_run(file, folder, clock=None, **options):
    return corpus_of([file], folder, clock or Clock(), **{**READING, **options})


def test_what_an_interrupted_run_read_is_not_read_again(file, tmp_path, monkeypatch):
    first = of_run(file, tmp_path / "run", lexicon=["北京"])
    monkeypatch.setattr(corpus_module, "encode_corpus", None)
    again = of_run(file, tmp_path / "run", lexicon=["北京"], progress=True)
    assert encoded_alike(first, again)
    assert corpus_of(again, None, Clock()) is again


@pytest.mark.parametrize("change", ["file", "option", "size", "damage", "cut short"])
def test_other_text_other_options_and_what_is_not_whole_are_read(file, tmp_path, change):
    first = of_run(file, tmp_path / "run")
    before = first.words, first.ids.tolist()
    options = {}
    if change == "file":
        file.write_text("a new text " * 9)
    elif change == "option":
        options = {"min_count": 115}
    elif change == "size":
        options = {"vocab_size": 7}
    elif change == "damage":
        ids = next((tmp_path / "run").glob("*/*/ids.npy"))
        ids.write_bytes(ids.read_bytes()[:-5])
    else:
        next((tmp_path / "run").glob("*/config.json")).unlink()
    want = of_run(file, None, **options)
    assert encoded_alike(of_run(file, tmp_path / "run", **options), want)
    assert (before == (want.words, want.ids.tolist())) == (change in ("damage", "cut short"))


def test_texts_in_memory_are_encoded_each_time(tmp_path):
    one, other = (corpus_of(t, tmp_path, Clock(), **READING) for t in (ENGLISH, CHINESE))
    assert one.words != other.words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "texts", "lists"])
def test_a_sample_of_the_documents_is_drawn_and_a_larger_one_contains_it(file, kind):
    texts = [f"w{'x' * i} ." for i in range(300)]
    file.write_text("\n".join(texts))
    sources = {"file": file, "texts": texts, "lists": [text.split() for text in texts]}

    def drawn(fraction, seed=0):
        return encode_corpus(sources[kind], min_count=1, sample_fraction=fraction, seed=seed)

    few, more, every = (drawn(fraction) for fraction in (0.2, 0.5, 1.0))
    assert set(few.words) < set(more.words) < set(every.words)
    assert len(every.offsets) == 301
    assert len(few.offsets) == pytest.approx(60, rel=0.3)
    assert len(more.offsets) == pytest.approx(150, rel=0.2)
    assert drawn(0.2).words == few.words != drawn(0.2, seed=1).words


def test_a_sample_without_a_word_says_so(file):
    file.write_text("a single line")
    with pytest.raises(FormatError, match=r"no word in the documents that were drawn, 0\.001 of"):
        encode_corpus(file, sample_fraction=0.001)


def test_minutes_read_a_sample_that_is_kept_for_the_run(file, tmp_path):
    seconds = iter(range(10**6))

    def clock(minutes):  # every look at it takes a second
        return Clock(minutes, now=lambda: next(seconds))

    with pytest.warns(ShoestringWarning, match=r"of the documents were read, drawn at random"):
        some = of_run(file, tmp_path / "run", clock=clock(20), seed=1)
    assert 0 < some.n_tokens < of_run(file, None).n_tokens
    resumed = of_run(file, tmp_path / "run", seed=1)  # without a limit, as it was begun
    assert encoded_alike(resumed, some)
    with pytest.raises(BudgetError, match=r"Reading 1% of .* Pass --minutes .* or fewer files"):
        of_run(file, None, clock=clock(0.5))
    assert of_run(file, None, clock=clock(10_000)).n_tokens == of_run(file, None).n_tokens


def test_the_most_frequent_words_come_first_and_ties_in_alphabetical_order():
    counts = {"b": 3, "中": 3, "a": 3, "the": 9, "rare": 1, "Z": 3}
    assert choose_vocabulary(counts, min_count=2) == ["the", "Z", "a", "b", "中"]
    assert choose_vocabulary(counts, vocab_size=2) == ["the", "Z"]
    assert choose_vocabulary(counts, skip_top=2, vocab_size=2) == ["a", "b"]


def test_empty_and_endless_words_are_in_no_vocabulary():
    assert choose_vocabulary({"": 9, "x" * 256: 9, "x" * 255: 1}) == ["x" * 255]


def test_no_word_often_enough_names_the_most_frequent():
    with pytest.raises(ParameterError, match=r"the most frequent word, 'b', occurs 4 times"):
        choose_vocabulary({"a": 1, "b": 4}, min_count=5)


def test_every_word_left_out_is_said():
    with pytest.raises(ParameterError, match=r"No word is left of 2: .* or skip_top"):
        choose_vocabulary({"a": 1, "b": 4}, skip_top=2)
