"""Scores against SciPy's and by hand, the usual files, and what is said of damaged ones."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from shoestring.errors import FormatError, NotFittedError, ParameterError
from shoestring.words.evaluate import (
    evaluate,
    evaluate_at,
    known_form,
    rank_correlations,
    read_similarity,
)
from shoestring.words.vectors import BinaryVectors
from shoestring.words.word2vec_io import write_vectors

RNG = np.random.default_rng(0)
WORDS = ["the", "bank", "banks", "river", "money", "boat", "市场", "河"]
ACTIVATIONS = RNG.normal(size=(8, 40)).astype(np.float32)
CONTEXT = RNG.normal(size=(8, 40)).astype(np.float32)


@pytest.fixture
def vectors() -> BinaryVectors:
    return BinaryVectors.from_dense(
        WORDS, ACTIVATIONS, context=CONTEXT, n_neurons=None, n_active=8, window=5
    )


def judged(folder: Path, rows: list[tuple[str, str, float]]) -> Path:
    path = folder / "pairs.txt"
    path.write_text("".join(f"{a}\t{b}\t{score}\n" for a, b, score in rows), encoding="utf-8")
    return path


def random_pairs(n: int = 30) -> list[tuple[str, str, float]]:
    rng = np.random.default_rng(1)
    drawn = [rng.choice(WORDS, 2, replace=False).tolist() for _ in range(n)]
    return [(a, b, float(rng.integers(10))) for a, b in drawn]


def test_the_value_is_scipys_and_lies_in_its_interval(tmp_path, vectors):
    pairs = random_pairs()
    (row,) = evaluate(vectors, [judged(tmp_path, [*pairs, ("bank", "nowhere", 3.0)])])
    similarities = [vectors.similarity(a, b) for a, b, _ in pairs]
    assert row.spearman == pytest.approx(spearmanr(similarities, [s for *_, s in pairs]).statistic)
    assert row.low < row.spearman < row.high
    assert (row.n_pairs, row.n_covered) == (31, 30)


def test_rank_correlations_of_rows_with_ties_are_scipys():
    a, b = RNG.integers(0, 5, (4, 50)).astype(float), RNG.integers(0, 5, (4, 50)).astype(float)
    want = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert np.allclose(rank_correlations(a, b), want)


def test_the_interval_covers_the_true_correlation_about_as_often_as_it_says(tmp_path):
    class Noisy:
        def __contains__(self, word):
            return True

        def similarity(self, a, b):
            return float(a) + float(b)  # the score and the noise

    rng, hits = np.random.default_rng(2), 0
    for _ in range(40):
        numbers = rng.normal(size=(60, 2))
        rows = [(f"{a:.6f}", f"{b:.6f}", a) for a, b in numbers]
        (row,) = evaluate(Noisy(), [judged(tmp_path, rows)])
        hits += row.low < 0.69 < row.high  # Spearman's of two normals of correlation sqrt(1/2)
    assert 33 <= hits <= 40


def test_the_same_file_gives_the_same_interval(tmp_path, vectors):
    file = judged(tmp_path, random_pairs())
    assert evaluate(vectors, [file]) == evaluate(vectors, [file])


def test_two_pairs_or_constant_similarities_have_no_value(tmp_path, vectors):
    (few,) = evaluate(vectors, [judged(tmp_path, [("bank", "river", 1), ("the", "boat", 2)])])
    same = [("bank", "bank", 1), ("boat", "boat", 2), ("the", "the", 3)]
    (flat,) = evaluate(vectors, [judged(tmp_path, same)])
    assert [few.spearman, few.low, flat.spearman, flat.high] == [None] * 4


def test_words_are_looked_up_as_written_then_as_a_text_folds_them(vectors):
    assert known_form(vectors, "Bank") == "Bank"  # BinaryVectors fold for themselves
    assert known_form({"bank": 1, "市场": 2}, "BANK") == "bank"
    assert known_form({"bank": 1}, "river bank") is None


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        ("tiger\tcat\t7.35\r\n", ("tiger", "cat", 7.35)),
        ("小心 谨慎 4.0 4 4 4 \n", ("小心", "谨慎", 4.0)),
        ("# a comment\ntiger\tcat\t7.35\n", ("tiger", "cat", 7.35)),
        ("word1\tword2\tPOS\tSimLex999\nold\tnew\tA\t1.58\n", ("old", "new", 1.58)),
        ("\ufeffNew York\tcity\t3\n", ("New York", "city", 3.0)),
    ],
)
def test_the_usual_files_of_pairs_are_read(tmp_path, lines, want):
    path = tmp_path / "pairs.txt"
    path.write_text(lines, encoding="utf-8")
    assert read_similarity(path) == [want]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a\tb\t1\na\tb\n", ":2: a judgement must be two words and a score"),
        ("# nothing\n", "there are no judgements in it"),
        ("a\tb\tnan\n", "there are no judgements in it"),
    ],
)
def test_damaged_judgements_are_one_sentence(tmp_path, content, says):
    path = tmp_path / "pairs.txt"
    path.write_text(content)
    with pytest.raises(FormatError, match=says):
        read_similarity(path)


def test_nothing_to_score_on_is_refused(vectors):
    with pytest.raises(ParameterError, match="name a file"):
        evaluate(vectors, [])


def test_files_are_scored_by_cosine_and_folders_by_their_codes(tmp_path, vectors):
    file = judged(tmp_path, random_pairs())
    write_vectors(tmp_path / "dense.txt", WORDS, ACTIVATIONS)
    vectors.export(tmp_path / "codes.txt")
    vectors.save(tmp_path / "folder")
    vectors.save(tmp_path / "small", activations=False)
    (dense,) = evaluate_at(tmp_path / "dense.txt", [file])
    gensim = pytest.importorskip("gensim.models", reason="the peer of this format")
    peer = gensim.KeyedVectors.load_word2vec_format(tmp_path / "dense.txt")
    (theirs,) = evaluate(peer, [file])
    assert dense.spearman == pytest.approx(theirs.spearman, abs=1e-6)
    (ours,) = evaluate(vectors, [file])
    (row,) = evaluate_at(tmp_path / "folder", [file])
    assert (row.spearman, row.n_active) == (ours.spearman, 8)
    (row,) = evaluate_at(tmp_path / "codes.txt", [file])
    assert (row.spearman, row.n_active) == (ours.spearman, None)
    assert [r.n_active for r in evaluate_at(tmp_path / "folder", [file], [8, 4])] == [8, 4]
    with pytest.raises(NotFittedError, match="Another length of the codes needs"):
        evaluate_at(tmp_path / "small", [file], [4])


def test_the_real_files_are_read_whole(data_dir):
    english, chinese = data_dir / "wordsim" / "en", data_dir / "wordsim" / "zh"
    sizes = {path.name: len(read_similarity(path)) for path in english.iterdir()}
    assert sizes["EN-WS-353-ALL.txt"] == 353
    assert sizes["EN-MEN-TR-3k.txt"] == 3000
    assert [len(read_similarity(path)) for path in sorted(chinese.iterdir())] == [960, 240]
