"""Splits without leakage, figures of scores, the score that means "match"."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarks.data import DATA
from benchmarks.match import corpora
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from shoestring.cli import app
from shoestring.errors import ParameterError, ShoestringError, ShoestringWarning
from shoestring.match.baselines import train_baseline
from shoestring.match.evaluate import (
    components,
    figures,
    leakage,
    split_by_components,
    threshold,
)
from shoestring.match.pairs import Pairs


def random_pairs(n: int, n_texts: int, seed: int = 0) -> Pairs:
    numbers = np.random.default_rng(seed).integers(n_texts, size=(n, 2))
    return Pairs.of([(f"text {a}", f"text {b}", int(a + b) % 2) for a, b in numbers])


@pytest.mark.parametrize("seed", range(5))
def test_no_text_is_on_both_sides_and_no_pair_is_lost(seed: int) -> None:
    pairs = random_pairs(400, 900, seed)
    train, held_out = split_by_components(pairs, 0.2, seed)
    assert leakage(train, held_out) == {"texts": 0, "pairs": 0, "rows": 0}
    assert len(held_out) == 80
    assert sorted(train.both + held_out.both) == sorted(pairs.both)


def test_components_are_those_of_a_search_through_the_graph() -> None:
    pairs = random_pairs(60, 70)
    parent = {text: text for pair in pairs.both for text in pair}

    def root(text: str) -> str:
        return text if parent[text] == text else root(parent[text])

    for a, b in pairs.both:
        parent[root(a)] = root(b)
    found = components(pairs)
    same = np.array([[root(a) == root(b) for b in pairs.a] for a in pairs.a])
    assert ((found[:, None] == found) == same).all()


def test_the_same_seed_holds_out_the_same_pairs_and_another_seed_others() -> None:
    pairs = random_pairs(400, 900)
    first, again, other = (split_by_components(pairs, 0.2, seed)[1].both for seed in (1, 1, 2))
    assert first == again != other


def test_a_giant_component_is_told_and_trained_on() -> None:
    star = Pairs.of([("hub", f"text {n}", n % 2) for n in range(95)])
    rest = Pairs.of([(f"a{n}", f"b{n}", n % 2) for n in range(5)])
    with pytest.warns(ShoestringWarning, match="95 of all 100 pairs"):
        train, held_out = split_by_components(star + rest, 0.2)
    assert len(train) == 95 and len(held_out) == 5


def test_where_all_pairs_are_connected_nothing_is_held_out() -> None:
    with pytest.warns(ShoestringWarning, match="Only 0 pairs are held out of 1"):
        train, held_out = split_by_components(Pairs.of([("a", "b", 1), ("b", "c", 0)]))
    assert len(train) == 2 and len(held_out) == 0


def test_leakage_sees_pairs_in_either_order_and_other_writing() -> None:
    train = Pairs.of([("Turn it  on", "turn it off", 0)])
    test = Pairs.of([("turn it off", "turn it on", 0), ("turn it on", "new", 1), ("x", "y", 1)])
    with pytest.warns(ShoestringWarning, match="2 of these 3 pairs .* 1 as the same pair"):
        assert leakage(train, test) == {"texts": 2, "pairs": 1, "rows": 2}


@pytest.mark.parametrize(
    ("train", "test", "least", "most"),
    [
        (f"{corpora.OPPO}/train-100k.txt.gz", f"{corpora.OPPO}/dev.txt", 2_134, 2_134),
        (f"{corpora.OPPO}/train-100k.txt.gz", f"{corpora.OPPO}/dev-clean.txt", 0, 0),
        ("pairs/afqmc/train.txt.gz", "pairs/atec/atec_nlp_sim_train.tsv.gz", 13_000, 13_500),
    ],
)
def test_the_leakage_of_public_files_is_found(train: str, test: str, least: int, most: int) -> None:
    if not (DATA / train).exists():
        pytest.skip("the public pairs are not there (SHOESTRING_DATA)")
    seen, asked = (Pairs.of(corpora.pairs(name, int("atec" in name))) for name in (train, test))
    with pytest.warns(ShoestringWarning, match="trained on"):
        assert least <= leakage(seen, asked)["pairs"] <= most


# ---- figures


def judged(n: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normal scores, the higher where the label is 1."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(np.float64)
    return rng.normal(size=n) + apart * labels, labels, np.arange(n)


def test_figures_of_a_small_case_equal_those_counted_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    labels = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    found = figures(scores, labels, np.arange(6))
    assert found["auc"] == pytest.approx(8 / 9)  # one of nine pairs of labels is in wrong order
    brier = np.mean((scores - labels) ** 2)
    assert found["calibration_as_it_is"]["brier"] == pytest.approx(brier)


def test_figures_with_ties_equal_those_of_scikit_learn() -> None:
    scores, labels, groups = judged(200, 1.0)
    found = figures(scores.round(), labels, groups)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores.round()))


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_scores_of_any_scale_have_the_same_figures(scale: float) -> None:
    scores, labels, groups = judged(300, 1.5)
    found, scaled = (figures(x, labels, groups) for x in (scores, scores * scale))
    for name in ("auc", "accuracy", "f1"):
        assert found[name] == pytest.approx(scaled[name])


def test_cross_validated_probabilities_mean_what_they_say() -> None:
    scores, labels, groups = judged(4_000, 1.5)
    found = figures(5 * scores + 3, labels, groups)  # far too sure
    assert found["calibration_as_it_is"]["error"] > 0.2
    assert found["calibration_cross_validated"]["error"] < 0.04


def test_an_interval_is_wider_where_pairs_come_in_groups() -> None:
    scores, labels, _ = judged(100, 1.0)
    copies = [np.repeat(values, 9) for values in (scores, labels)]
    groups = np.repeat(np.arange(100), 9)
    apart, together = (figures(*copies, by)["auc_interval"] for by in (np.arange(900), groups))
    assert np.ptp(together) > 2 * np.ptp(apart)


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 2, 1], [0, 1, np.nan, 1]])
@pytest.mark.parametrize("of", [figures, threshold])
def test_labels_that_cannot_tell_are_an_error(of: Callable[..., object], labels: list[int]) -> None:
    with pytest.raises(ParameterError, match="two of each"):
        of(np.arange(4.0), np.array(labels, np.float64), np.arange(4))


# ---- the threshold


def test_the_threshold_holds_on_new_pairs_where_the_lucky_one_does_not() -> None:
    def true_precision(at: float) -> float:
        hits, others = 0.4 * norm.sf(at - 2.0), 0.6 * norm.sf(at)
        return float(hits / (hits + others))

    held = lucky = 0
    for seed in range(30):
        scores, labels, groups = judged(1_500, 2.0, seed)
        found = threshold(scores, labels, groups, precision=0.9)
        held += true_precision(found["threshold"]) >= 0.9
        assert found["precision"] > 0.9
        order = np.argsort(-scores)
        precisions = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
        lucky += true_precision(scores[order][np.flatnonzero(precisions >= 0.9)[-1]]) >= 0.9
    assert held >= 27 and lucky <= 21


def test_the_interval_of_a_threshold_has_it_and_is_the_same_again() -> None:
    case = judged(1_500, 2.0)
    found = threshold(*case, precision=0.9)
    for name in ("threshold", "precision", "recall"):
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high and low < high
    assert threshold(*case, precision=0.9) == found


def test_a_precision_out_of_reach_says_what_is_in_reach() -> None:
    case = judged(400, 0.5)
    with pytest.raises(ParameterError, match="at most 0") as told:
        threshold(*case, precision=0.99)
    most = float(re.search(r"at most (\d\.\d+)", str(told.value))[1])
    assert threshold(*case, precision=most - 0.001)["precision"] > most


# ---- the commands


def test_eval_and_threshold_print_json_and_tell_of_leakage(tmp_path: Path) -> None:
    rows = [(f"a {n}", f"a {n}" if n % 2 else f"b {n}", n % 2) for n in range(200)]
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a}\t{b}\t{label}\n" for a, b, label in rows), encoding="utf-8")
    trained = ["match", "train", str(file), "--out", str(tmp_path / "overlap")]
    CliRunner().invoke(app, [*trained, "--method", "overlap"])
    command = ["match", "eval", str(tmp_path / "overlap"), str(file), "--json"]
    found = CliRunner().invoke(app, command)
    assert json.loads(found.stdout)["auc"] == 1.0 and "leakage" not in found.stdout
    with pytest.warns(ShoestringWarning, match="as the same pair"):
        found = CliRunner().invoke(app, [*command, "--train", str(file)])
    assert json.loads(found.stdout)["leakage"]["rows"] == 200
    found = CliRunner().invoke(app, [*command[:1], "threshold", *command[2:], "--precision", "0.9"])
    assert json.loads(found.stdout)["threshold"] == 1.0


@pytest.mark.parametrize(
    ("content", "fault"),
    [("", "no records"), ("x\ty\n", "label"), ("x\ty\t2\n", "'2'"), ("x\ty\t1\n" * 3, "0 zeros")],
)
@pytest.mark.parametrize("name", ["eval", "threshold"])
def test_bad_pairs_are_told(tmp_path: Path, name: str, content: str, fault: str) -> None:
    train_baseline(random_pairs(20, 30), tmp_path / "overlap", "overlap")
    file = tmp_path / "pairs.tsv"
    file.write_text(content, encoding="utf-8")
    found = CliRunner().invoke(app, ["match", name, str(tmp_path / "overlap"), str(file)])
    assert isinstance(found.exception, ShoestringError) and fault in str(found.exception)


def test_a_folder_that_is_no_matcher_is_told(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("x\ty\t1\n", encoding="utf-8")
    found = CliRunner().invoke(app, ["match", "eval", str(tmp_path), str(file)])
    assert isinstance(found.exception, ShoestringError)


def test_the_smallest_component_is_held_out_where_all_are_large() -> None:
    pairs = Pairs.of([("a", "b"), ("b", "c"), ("c", "d"), ("x", "y"), ("y", "z")])
    train, held_out = split_by_components(pairs, share=0.1)
    assert held_out.both == [("x", "y"), ("y", "z")] and len(train) == 3
