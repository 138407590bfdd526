"""SCWS and WiC: which codes are compared, and where the threshold comes from."""

import gzip

import numpy as np
import pytest
from benchmarks.words.in_context import (
    ContextPair,
    Occurrence,
    best_threshold,
    read_scws,
    read_wic,
    scores,
)

from shoestring import BinaryVectors

WORDS = ["the", "bank", "banks", "river", "money", "boat", "市场", "河"]
SCWS = "1\tbank\tn\tBoat\tn\tby the <b> bank </b> we sat\ta <b>boat</b> .\t2.5\t1\t4\n"
WIC = "bank\tN\t1-0\tThe banks lend .\tBank of the river .\n"


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    rows, context = rng.normal(size=(2, 8, 40))
    return BinaryVectors.from_dense(
        WORDS, rows, context=context, n_neurons=None, n_active=8, window=5
    )


def test_scws_and_wic_are_read(tmp_path):
    packed = tmp_path / "ratings.txt.gz"
    packed.write_bytes(gzip.compress(SCWS.encode()))
    a = Occurrence("by the ", "bank", " we sat", "bank")
    assert read_scws(packed) == [ContextPair(a, Occurrence("a ", "boat", " .", "Boat"), 2.5)]
    (tmp_path / "x.data.txt").write_text(WIC)
    (tmp_path / "x.gold.txt").write_text("T\n")
    (pair,) = read_wic(tmp_path / "x.data.txt")
    assert pair.a == Occurrence("The", "banks", "lend .", "bank")
    assert pair.b == Occurrence("", "Bank", "of the river .", "bank")
    assert pair.score == 1


def test_a_word_in_its_sentence_is_scored_by_the_code_of_that_sentence(tmp_path, vectors):
    texts = ["Money . The <b>bank</b> has money", "the river <b>Banks</b> , boat and 河 . No more"]
    lines = [f"{i}\tbank\tn\tbank\tn\t{texts[0]}\t{texts[1]}\t{i}\t0\n" for i in range(3)]
    path = tmp_path / "scws.txt"
    path.write_text("".join(lines), encoding="utf-8")
    seen = []
    similarity = vectors.similarity
    vectors.similarity = lambda a, b: seen.append((a, b)) or similarity(a, b) + len(seen)
    assert list(scores(vectors, path)) == ["static", "in context"]
    codes = [
        vectors.in_context(["the", "bank", "has", "money"], 1),
        vectors.in_context(["the", "river", "banks", "boat", "and", "河"], 2),
    ]
    pairs = [pair for pair in seen if not isinstance(pair[0], str)]
    assert len(pairs) == 3
    assert all((got == want).all() for got, want in zip(pairs[0], codes, strict=True))


def test_the_best_threshold_is_the_best_of_all():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        values = rng.integers(0, 6, 12) / 5
        same = rng.random(12) < 0.5
        t = best_threshold(values, same)
        best = max(((values >= u) == same).mean() for u in np.linspace(-2, 3, 301))
        assert ((values >= t) == same).mean() == best
