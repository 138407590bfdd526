"""Files of text as one corpus: told from others, read within minutes, sampled to fit."""

import gzip
import io
import os

import pytest

from shoestring.errors import BudgetError, ParameterError
from shoestring.jobs import Clock
from shoestring.progress import Progress
from shoestring.text.corpus import COMPRESSION, Corpus, affordable_fraction, drawn

LINES = ["the rain falls on the hill", "今天早上山上下起了大雨"] * 500


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(LINES), "utf-8")
    (tmp_path / "b.txt").write_text("\n".join(reversed(LINES)), "utf-8")
    return Corpus.of([tmp_path])


class Time:
    """A clock that a test moves on by hand."""

    def __init__(self):
        self.now = 0.0

    def clock(self, minutes):
        return Clock(minutes, now=lambda: self.now)


def test_all_documents_of_all_files_are_read_in_order(corpus):
    want = [[line] for line in [*LINES, *reversed(LINES)]]
    assert list(corpus.read("text", progress=False)) == want


@pytest.mark.parametrize("change", ["size", "time", "name", "column", "more"])
def test_other_text_has_another_identity(corpus, tmp_path, change):
    before, file = corpus.identity(), tmp_path / "a.txt"
    assert Corpus.of([tmp_path]).identity() == before
    if change == "size":
        file.write_text("rain")
    elif change == "time":
        os.utime(file, ns=(0, 0))
    elif change == "name":
        file.rename(tmp_path / "c.txt")
    elif change == "more":
        (tmp_path / "c.txt").write_text("")
    options = {"column": {"text": "body"}}.get(change, {})
    assert Corpus.of([tmp_path], **options).identity() != before


def test_compressed_files_have_more_text_than_bytes(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("\n".join(LINES).encode()))
    (tmp_path / "b.txt").write_text("rain")
    corpus = Corpus.of([tmp_path])
    assert corpus.text_bytes == COMPRESSION * (corpus.n_bytes - 4) + 4


def test_the_bar_ends_at_the_size_of_the_files(tmp_path, monkeypatch):
    bars = []

    class Bar(Progress):
        def __init__(self, *_, **settings):
            super().__init__(**settings | {"disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr("shoestring.text.corpus.Progress", Bar)
    data = b'{"text": "one two"}\n' * 1000
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(data))
    for name in ("a.txt", "b.jsonl"):
        (tmp_path / name).write_bytes(data)
    corpus = Corpus.of([tmp_path])
    reading = corpus.read("rain")
    next(reading), next(reading)
    assert 0 < bars[0].n <= len(data)
    assert len(list(reading)) == 2998 and bars[0].n == corpus.n_bytes


def test_the_fraction_of_the_documents_that_fits(corpus):
    time = Time()

    def process(document):
        time.now += 0.1  # 2,000 documents: 200 seconds, of which 50 are a quarter

    assert affordable_fraction(corpus, process, time.clock(None)) == 1
    assert time.now == 0  # nothing is timed where there is no limit
    assert affordable_fraction(corpus, process, time.clock(60)) == 1
    time.now = 0
    fraction = affordable_fraction(corpus, process, time.clock(200 / 60), share=0.25)
    assert fraction == pytest.approx(0.25, abs=0.03)  # the lines are not all of one length
    time.now = 0
    with pytest.raises(BudgetError, match=r"Reading 1% of 0\.1 MB takes .* or fewer files"):
        affordable_fraction(corpus, process, time.clock(0.05), share=0.25)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_timed_as_it_can_be_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    corpus = Corpus((tmp_path / "pipe",))
    assert affordable_fraction(corpus, lambda document: None, Clock(1)) == 1


def test_a_larger_fraction_has_all_of_a_smaller_one():
    few, more = (list(drawn(range(10_000), fraction, 3, 1)) for fraction in (0.1, 0.3))
    assert set(few) < set(more) and 900 < len(few) < 1_100
    assert list(drawn(range(10_000), 0.1, 3, 2)) != few  # each file has its own sample
    assert list(drawn(range(5), 1.0, 0)) == [0, 1, 2, 3, 4]


def test_no_files_is_a_sentence():
    with pytest.raises(ParameterError, match="at least one file"):
        Corpus.of([])
