"""The classify benchmark: its own arithmetic, its bars; its page says what its files say."""

import numpy as np
import pytest
from benchmarks.classify import data, exactness, page, quality

from benchmarks import output

RAN = {**output.provenance(), "seed": 0}


def test_the_exact_coefficients_are_those_of_the_closed_form():
    X, y = exactness.sample("plain", np.random.default_rng(0))
    found = exactness.plain().fit(X, y).coef_
    assert exactness.difference(found, exactness.exact(X, y)) < 1e-10


@pytest.mark.parametrize("way", list(exactness.WAYS))
def test_each_way_to_learn_ends_with_the_same_samples(way):
    rng = np.random.default_rng(1)
    X, y = exactness.sample("plain", rng)
    learnt = exactness.WAYS[way](X, y, rng)
    assert learnt.moments_.sizes.tolist() == np.bincount(y).tolist()


def test_the_streaming_peer_loses_counts_in_mini_batches():
    X, y = exactness.sample("plain", np.random.default_rng(2))
    assert exactness.deep_slda(X, y, 1)[1] == 1.0
    assert exactness.deep_slda(X, y, 32)[1] < 0.6


def test_a_bar_holds_up_to_its_figure():
    accuracies = {
        quality.TUNED: 90.0, quality.PLAIN: 87.5, quality.EXPANDED: 89.4, quality.REFINED: 89.0
    }  # fmt: skip
    table = {way: {"accuracy": a, "ECE": 0.03, "seconds": 1.0} for way, a in accuracies.items()}
    table[quality.TUNED]["seconds"] = 5.0
    sets = {"worse": {"ways": table}, "better": {"ways": table | {quality.TUNED: {"accuracy": 80}}}}
    held = {bar: found["holds"] for bar, found in quality.held(table, sets).items()}
    assert list(held.values()) == [True, True, True, True, False, True, True, True]
    table[quality.REFINED] = {"accuracy": 87.4, "ECE": 0.04, "seconds": 1.1}
    held = quality.held(table, sets)
    below, times, *_, mean, ece = (found["holds"] for found in held.values())
    assert not any((below, times, mean, ece))
    assert next(iter(held.values())) == {"the most below": 2.6, "set": "worse", "holds": False}


def classes_apart(apart):
    """Normal samples and the logits of the closed form, less those of the first class."""
    rng = np.random.default_rng(0)
    y = np.arange(500) % 3
    X = rng.normal(size=(500, 4)) + apart * rng.normal(size=(3, 4))[y]
    return X, y, less_the_first(exactness.plain().fit(X, y).decision_function(X))


def less_the_first(logits):
    return logits - logits[:, :1]


@pytest.mark.parametrize("apart", [0.5, 3.0])
def test_the_published_code_without_a_degree_of_freedom_is_the_closed_form(apart):
    X, y, expected = classes_apart(apart)
    coef, intercept = exactness.published(X, y, ddof=0)
    found = less_the_first(X @ coef.T + intercept)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_the_published_code_errs_more_the_farther_apart_the_classes():
    errors = []
    for apart in (0.3, 1.0, 10.0, 100.0):
        X, y, right = classes_apart(apart)
        coef, intercept = exactness.published(X, y)
        errors.append(np.abs(less_the_first(X @ coef.T + intercept) - right).max())
    assert (np.diff(errors) > 0).all()
    assert errors[0] < 0.1
    assert errors[-1] > 100


def test_ridge_equals_that_of_scikit_learn_on_one_hot_classes():
    from sklearn.datasets import load_wine
    from sklearn.linear_model import Ridge

    from shoestring import AnalyticSoftmax

    X, y = load_wine(return_X_y=True)
    coef, intercept = quality.ridge(AnalyticSoftmax().fit(X, y).moments_, 0.1 * len(X))
    expected = Ridge(0.1 * len(X)).fit(X, np.eye(3)[y])
    np.testing.assert_allclose(coef, expected.coef_, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(intercept, expected.intercept_, rtol=1e-8, atol=1e-9)


def test_figures_are_measured_on_the_test_half():
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=300)
    X = (np.eye(3)[y] * 4 + rng.normal(size=(300, 3))).astype(np.float32)
    task = data.Vectors(data.Task("made", "en", [], []), X[:200], y[:200], X[200:], y[200:], X[:0])
    right = quality.measured(quality.WAYS[quality.PLAIN], task, 0)
    chance = quality.measured(quality.WAYS["most frequent class"], task, 0)
    assert right["accuracy"] > 90 > 60 > chance["accuracy"]
    assert right["log-loss"] < 0.3 < 1.0 < chance["log-loss"]
    assert set(right) == set(quality.FIGURES)


def test_what_gives_a_newsgroup_away_is_dropped():
    message = (
        "From: me\nNewsgroups: sci.space\n\nIn article <1> he wrote:\n> up\nDown it is.\n--\nMe"
    )
    assert data._body(message) == "Down it is."


def test_halves_have_all_rows_once_and_the_same_ones_again():
    rows = [(str(i), "a") for i in range(100)]
    train, test = data.halves(rows)
    assert sorted(train + test) == sorted(rows) and len(test) == 20
    assert data.halves(rows) == (train, test)


def test_the_page_says_what_the_files_say():
    ways = {
        way: {"accuracy": 91.25, "log-loss": 0.3, "ECE": 0.012, "seconds": 1.5}
        for way in (quality.PLAIN, quality.EXPANDED, quality.TUNED)
    }
    found = {"language": "en", "train": 10_003, "test": 9, "classes": 77, "ways": ways}
    document = {**RAN, "sets": {"banking77": found}}
    document["means"] = ways
    document["bars"] = {"plain: a bar": {"below": 2.25, "holds": True}}
    rejection = {
        **RAN, "known": 4_500, "of none": 1_000,
        "plain": {
            "area under ROC": {"random": 0.5},
            "at a rate of": {"5%": {"known rejected": 0.052, "others rejected": 0.889}},
        },
    }  # fmt: skip
    files = {"classify-quality": document, "classify-rejection": rejection}
    text = "\n".join(page.sections(files.get))
    assert "- plain: a bar: below 2.25: yes" in text
    assert "| banking77 (77 of 10,003) | 91.25 | 91.25 | 91.25 |" in text
    assert "| random | 0.5 |" in text
    assert "| 5% | 0.052 | 0.889 |" in text


def test_quick_runs_take_small_sets(monkeypatch):
    asked = []
    monkeypatch.setattr(quality, "measure", lambda options: asked.append(options.tasks))
    monkeypatch.setattr("sys.argv", ["quality", "--quick"])
    quality.main()
    assert asked == [["CR", "ATIS", "hotel", "TNEWS"]]
    assert set(asked[0]) <= set(data.TASKS)
