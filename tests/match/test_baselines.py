"""The floor of every matcher: overlap, BM25, boosted trees on features of overlap."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from shoestring.artifacts import verify
from shoestring.errors import ParameterError, ShoestringError
from shoestring.match.baselines import METHODS, load_baseline, train_baseline
from shoestring.match.pairs import Pairs
from shoestring.match.scorer import load_scorer, scorer_name
from shoestring.match.symbols import split_symbols

WORDS = [
    "open",
    "close",
    "light",
    "lamp",
    "door",
    "window",
    "music",
    "song",
    "play",
    "stop",
    "please",
    "now",
    "the",
    "a",
    "of",
    "to",
]


def made_pairs(n: int = 300, seed: int = 0) -> Pairs:
    """A text and one with some of its words replaced; the same if few were."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        words = rng.choice(WORDS, size=rng.integers(2, 8)).tolist()
        n_new = int(rng.integers(0, len(words)))
        other = rng.permutation([*words[n_new:], *rng.choice(WORDS, n_new).tolist()]).tolist()
        rows.append((" ".join(words), " ".join(other), int(n_new < len(words) / 3)))
    rows += [(a.upper(), f" {b}", label) for a, b, label in rows[: n // 10]]  # the same symbols
    return Pairs.of(rows)


def renamed(pairs: Pairs, seed: int = 1) -> Pairs:
    """The pairs with each symbol as a random number."""
    numbers = np.random.default_rng(seed).permutation(len(WORDS)) + 100
    of = dict(zip(WORDS, map(str, numbers), strict=True))
    sides = [
        [" ".join(of[s] for s in split_symbols(text, "words")) for text in side]
        for side in (pairs.a, pairs.b)
    ]
    return Pairs(*sides, pairs.labels)


@pytest.mark.parametrize("method", METHODS)
def test_pseudonymised_text_has_the_scores_of_its_plain_text_to_the_bit(
    tmp_path: Path, method: str
) -> None:
    train, test = made_pairs(), made_pairs(seed=1)
    scores = []
    for name, seen, asked in (("plain", train, test), ("ids", renamed(train), renamed(test))):
        train_baseline(seen, tmp_path / name, method)
        scores.append(load_baseline(tmp_path / name).predict(asked.both))
    assert np.array_equal(*scores) and len(np.unique(scores[0])) > 5


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_baseline_is_found_by_its_folder_and_known_by_its_name(
    tmp_path: Path, method: str
) -> None:
    train_baseline(made_pairs(), tmp_path / "one", method)
    train_baseline(made_pairs(), tmp_path / "again", method)
    train_baseline(made_pairs(seed=2), tmp_path / "other", method)
    one, again, other = (load_scorer(tmp_path / name) for name in ("one", "again", "other"))
    assert scorer_name(one) == scorer_name(again) != scorer_name(other)
    verify(tmp_path / "one")


def test_overlap_is_the_jaccard_index_of_symbols(tmp_path: Path) -> None:
    train_baseline(Pairs.of([("打开灯", "关灯")]), tmp_path / "overlap", "overlap")
    scorer = load_baseline(tmp_path / "overlap")
    found = scorer.predict([("打开灯", "开灯"), ("灯灯", "灯"), ("a", "b"), ("", "")])
    assert found == pytest.approx([2 / 3, 1, 0, 0])


def test_bm25_equals_its_formula(tmp_path: Path) -> None:
    texts = Pairs.of([("open the door", "close the door"), ("open it", "play a song")])
    train_baseline(texts, tmp_path / "bm25", "bm25")
    a, b = "the door the door", "close the new door door door"
    n_texts, mean_length, n_with = 4, 11 / 4, {"the": 2, "door": 2, "close": 1, "new": 0}

    def one_way(asked: str, found: str) -> float:
        total, words = 0.0, found.split()
        for word in set(asked.split()):
            idf = math.log(1 + (n_texts - n_with[word] + 0.5) / (n_with[word] + 0.5))
            count = words.count(word)
            size = 1.2 * (1 - 0.75 + 0.75 * len(words) / mean_length)
            total += idf * count * 2.2 / (count + size)
        return total

    found = load_baseline(tmp_path / "bm25").predict([(a, b)])
    assert found[0] == pytest.approx(one_way(a, b) + one_way(b, a))


def test_saved_trees_answer_as_scikit_learn_does(tmp_path: Path) -> None:
    pairs = made_pairs()
    train_baseline(pairs, tmp_path / "trees", "boosting", seed=3)
    scorer = load_baseline(tmp_path / "trees")
    x = scorer.features(pairs.both)
    assert x.shape == (330, 9) and np.isfinite(x).all()
    again = HistGradientBoostingClassifier(
        max_iter=300, max_leaf_nodes=16, early_stopping=True, random_state=3
    ).fit(x, pairs.labels)
    assert scorer.predict(pairs.both) == pytest.approx(again.decision_function(x))


def test_boosting_learns_from_the_labelled_pairs_among_all(tmp_path: Path) -> None:
    pairs, new = made_pairs(1_000), made_pairs(seed=1)
    pairs.labels[::2] = np.nan
    report = train_baseline(pairs, tmp_path / "trees")
    found = load_baseline(tmp_path / "trees").predict(new.both)
    assert report["train_pairs"] == 550
    assert ((found > 0) == new.labels).mean() > 0.85


def test_features_do_not_grow_without_bound(tmp_path: Path) -> None:
    train_baseline(made_pairs(), tmp_path / "trees")
    long = "open " * 100_000
    assert np.isfinite(load_baseline(tmp_path / "trees").predict([(long, long + "door")])).all()


@pytest.mark.parametrize(
    ("labels", "method", "fault"),
    [
        (1.0, "boosting", "at least two of each"),
        (math.nan, "boosting", "0 zeros"),
        (1.0, "svm", "svm"),
    ],
)
def test_what_cannot_be_trained_is_told_and_nothing_is_written(
    tmp_path: Path, labels: float, method: str, fault: str
) -> None:
    pairs = made_pairs(20)
    pairs.labels[:] = labels
    with pytest.raises(ParameterError, match=fault):
        train_baseline(pairs, tmp_path / "out", method)
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    train_baseline(made_pairs(), tmp_path / "trees")
    file = tmp_path / "trees" / "config.json"
    file.write_bytes(file.read_bytes().replace(b"0.", b"1.", 1))
    with pytest.raises(ShoestringError, match=r"config\.json is damaged"):
        load_scorer(tmp_path / "trees").predict([("open", "close")])
