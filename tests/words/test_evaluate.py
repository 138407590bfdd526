"""Scores against SciPy's and by hand, the usual files, and what is said of damaged ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from shoestring.errors import FormatError, NotFittedError, ParameterError, StorageError
from shoestring.words.evaluate import best_threshold, evaluate, known_form, rank_correlations
from shoestring.words.interchange import WordVectors, write_vectors
from shoestring.words.judgements import ContextPair, Occurrence, read_in_context, read_similarity
from shoestring.words.opening import evaluate_at, open_vectors
from shoestring.words.vectors import BinaryVectors

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
    assert row.value == pytest.approx(spearmanr(similarities, [s for *_, s in pairs]).statistic)
    assert row.low < row.value < row.high
    assert (row.n_pairs, row.n_covered) == (31, 30)
    assert (row.measure, row.way) == ("spearman", "static")


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
        (row,) = evaluate(Noisy(), [judged(tmp_path, rows)], n_resamples=200)
        hits += row.low < 0.69 < row.high  # Spearman's of two normals of correlation sqrt(1/2)
    assert 33 <= hits <= 40


def test_the_same_seed_gives_the_same_interval(tmp_path, vectors):
    file = judged(tmp_path, random_pairs())
    assert evaluate(vectors, [file]) == evaluate(vectors, [file])
    assert evaluate(vectors, [file])[0].low != evaluate(vectors, [file], seed=1)[0].low


def test_two_pairs_or_constant_similarities_have_no_value(tmp_path, vectors):
    (few,) = evaluate(vectors, [judged(tmp_path, [("bank", "river", 1), ("the", "boat", 2)])])
    same = [("bank", "bank", 1), ("boat", "boat", 2), ("the", "the", 3)]
    (flat,) = evaluate(vectors, [judged(tmp_path, same)])
    assert [few.value, few.low, flat.value, flat.high] == [None] * 4


def test_words_are_looked_up_as_written_then_as_a_text_folds_them(vectors):
    assert known_form(vectors, "Bank") == "Bank"  # BinaryVectors fold for themselves
    assert known_form({"bank": 1, "市场": 2}, "BANK", "x") == "bank"
    assert known_form({"bank": 1}, "no", "bank") == "bank"
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
    (pair,) = read_similarity(path)
    assert (pair.a, pair.b, pair.score) == want


SCWS = "1\tbank\tn\tBoat\tn\tby the <b> bank </b> we sat\ta <b>boat</b> .\t2.5\t1\t4\n"
WIC = "bank\tN\t1-0\tThe banks lend .\tBank of the river .\n"


def wic(folder: Path, pairs: str, answers: str) -> Path:
    (folder / "x.gold.txt").write_text(answers)
    path = folder / "x.data.txt"
    path.write_text(pairs, encoding="utf-8")
    return path


def test_scws_and_wic_are_read(tmp_path):
    packed = tmp_path / "ratings.txt.gz"
    packed.write_bytes(gzip.compress(SCWS.encode()))
    a = Occurrence("by the ", "bank", " we sat", "bank")
    assert read_in_context(packed) == [ContextPair(a, Occurrence("a ", "boat", " .", "Boat"), 2.5)]
    (pair,) = read_in_context(wic(tmp_path, WIC, "T\n"))
    assert pair.a == Occurrence("The", "banks", "lend .", "bank")
    assert pair.b == Occurrence("", "Bank", "of the river .", "bank")
    assert pair.score is True


@pytest.mark.parametrize(
    ("read", "content", "says"),
    [
        (read_similarity, "a\tb\t1\na\tb\n", ":2: a judgement must be two words and a score"),
        (read_similarity, "# nothing\n", "there are no judgements in it"),
        (read_similarity, "a\tb\tnan\n", "there are no judgements in it"),
        (read_in_context, "1\ta\tn\tb\tn\tno mark\t<b>b</b>\t1\n", ":1: neither a line of SCWS"),
        (read_in_context, WIC, "x.gold.txt"),
    ],
)
def test_damaged_judgements_are_one_sentence(tmp_path, read, content, says):
    path = tmp_path / "x.data.txt"
    path.write_text(content)
    with pytest.raises((FormatError, StorageError), match=says):
        read(path)


@pytest.mark.parametrize(
    ("pairs", "answers", "says"),
    [
        (WIC, "T\nF\n", "1 pairs, but 2 answers"),
        (WIC, "yes\n", ":1: neither"),
        (WIC + WIC, "T\n", ":2: neither"),
        (WIC.replace("1-0", "1-9"), "T\n", ":1: neither"),
        (WIC + SCWS, "T\nF\n", ":2: neither"),
    ],
)
def test_wic_without_fitting_answers_is_one_sentence(tmp_path, pairs, answers, says):
    with pytest.raises(FormatError, match=says):
        read_in_context(wic(tmp_path, pairs, answers))


def test_a_word_in_its_sentence_is_scored_by_the_code_of_that_sentence(tmp_path, vectors):
    texts = ["Money . The <b>bank</b> has money", "the river <b>Banks</b> , boat and 河 . No more"]
    lines = [f"{i}\tbank\tn\tbank\tn\t{texts[0]}\t{texts[1]}\t{i}\t0\n" for i in range(3)]
    path = tmp_path / "scws.txt"
    path.write_text("".join(lines), encoding="utf-8")
    seen = []
    similarity = vectors.similarity
    vectors.similarity = lambda a, b: seen.append((a, b)) or similarity(a, b)
    static, contextual = evaluate(vectors, in_context=[path])
    assert (static.way, contextual.way) == ("static", "in context")
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


def test_a_threshold_is_never_chosen_on_the_pair_that_it_decides(tmp_path):
    class Chance:  # similarities that say nothing: the best threshold on all pairs does better
        def __contains__(self, word):
            return True

        def similarity(self, a, b):
            return float(a) - float(b)

    rng = np.random.default_rng(3)
    values = rng.random(400).round(3)
    lines = "".join(f"{v}\tN\t0-0\t{v} .\t0 .\n" for v in values)
    answers = rng.random(400) < 0.5
    file = wic(tmp_path, lines, "".join("FT"[int(a)] + "\n" for a in answers))
    (row,) = evaluate(Chance(), in_context=[file])
    t = best_threshold(values, answers)
    assert row.value < ((values >= t) == answers).mean()
    (tuned,) = evaluate(Chance(), in_context=[file], tune_on=file)
    assert tuned.value == ((values >= t) == answers).mean()


def test_nothing_to_score_on_and_scores_to_tune_on_are_refused(tmp_path, vectors):
    with pytest.raises(ParameterError, match="name a file"):
        evaluate(vectors)
    scws = tmp_path / "scws.txt"
    scws.write_text(SCWS)
    with pytest.raises(ParameterError, match="pairs with answers"):
        evaluate(vectors, in_context=[scws], tune_on=scws)


def test_dense_files_are_scored_by_cosine_and_files_of_codes_by_their_bits(tmp_path, vectors):
    file = judged(tmp_path, random_pairs())
    write_vectors(tmp_path / "dense.txt", WordVectors(WORDS, ACTIVATIONS))
    vectors.export(tmp_path / "codes.npz", "npz")
    vectors.save(tmp_path / "folder")
    (dense,) = evaluate_at(tmp_path / "dense.txt", similarity=[file])
    gensim = pytest.importorskip("gensim.models", reason="the peer of this format")
    peer = gensim.KeyedVectors.load_word2vec_format(tmp_path / "dense.txt")
    (theirs,) = evaluate(peer, [file])
    assert dense.value == pytest.approx(theirs.value, abs=1e-6)
    (ours,) = evaluate(vectors, [file])
    for path in ("codes.npz", "folder"):
        (row,) = evaluate_at(tmp_path / path, similarity=[file])
        assert (row.value, row.n_active) == (ours.value, 8)
    assert evaluate_at(tmp_path / "codes.npz", [8], similarity=[file]) == [row]
    with pytest.raises(NotFittedError, match="Another length of the codes needs"):
        evaluate_at(tmp_path / "codes.npz", [4], similarity=[file])
    top, _ = evaluate_at(tmp_path / "dense.txt", [8, 4], similarity=[file])  # flyvec's activations
    assert top.value == ours.value


def test_codes_with_different_numbers_of_active_bits_are_compared_bit_by_bit(tmp_path):
    codes = (ACTIVATIONS > 1).astype(np.uint8)  # as flyvec's, where equal activations fall out
    write_vectors(tmp_path / "codes.txt", WordVectors(WORDS, codes))
    opened = open_vectors(tmp_path / "codes.txt")
    assert opened.similarity("bank", "河") == (codes[1] == codes[7]).mean()


def test_the_real_files_are_read_whole(data_dir):
    english, chinese = data_dir / "wordsim" / "en", data_dir / "wordsim" / "zh"
    sizes = {path.name: len(read_similarity(path)) for path in [*english.iterdir()]}
    assert sizes["EN-WS-353-ALL.txt"] == 353
    assert sizes["EN-MEN-TR-3k.txt"] == 3000
    assert [len(read_similarity(path)) for path in sorted(chinese.iterdir())] == [960, 240]
    assert len(read_in_context(data_dir / "wordsim" / "scws" / "ratings.txt.gz")) == 2003
    assert len(read_in_context(data_dir / "wordsim" / "wic" / "dev.data.txt")) == 638
