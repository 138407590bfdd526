"""Figures of answers, counted by hand."""

import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch import nn

from shoestring.tune.metrics import (
    NAMES,
    can_be_told,
    quality,
    trained_parameters,
)


def test_classes_by_hand():
    logits = np.array([[2.0, 1, 0], [0, 3, 1], [5, 0, 0], [0, 0, 1], [1, 0, 0]])
    found = quality("classify", logits, np.array([0, 1, 1, 2, 0]))
    # found 0 1 0 2 0; F1 of 0: p 2/3, r 1 -> 0.8; of 1: p 1, r 1/2 -> 2/3; of 2: 1
    assert found["accuracy"] == pytest.approx(4 / 5)
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 1) / 3)


def test_a_class_that_is_never_answered_counts_as_zero():
    found = quality("classify", np.array([[1.0, 0], [1, 0]]), np.array([0, 1]))
    assert found == {"accuracy": 0.5, "macro_f1": pytest.approx((2 / 3 + 0) / 2)}


def test_numbers_by_hand():
    truth = np.array([1.0, 2, 3, 4])
    found = quality("regress", np.array([1.0, 2, 4, 3]), truth)
    assert found["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found["pearson"] == pytest.approx(0.8)
    curved = quality("regress", truth**3, truth)
    assert curved["spearman"] == pytest.approx(1)
    assert 0.9 < curved["pearson"] < 0.999


def test_equal_answers_have_no_correlation():
    found = quality("regress", np.array([1.0, 1]), np.array([1.0, 2]))
    assert found == {"spearman": 0.0, "pearson": 0.0}


@pytest.mark.parametrize(
    ("task", "answers", "labels"),
    [
        ("regress", [1.0, 2], [3.0, 3]), ("regress", [1.0], [2.0]), ("score", [1.0, -1], [0.0, 0]),
        ("score", [1.0, -1], [1.0, 0.6]),
    ],
)  # fmt: skip
def test_labels_of_one_kind_tell_nothing(task, answers, labels):
    found = quality(task, np.array(answers), np.array(labels))
    assert not can_be_told(task, np.array(labels))
    assert found.pop("accuracy", 0.5) == 0.5
    assert all(map(math.isnan, found.values()))


@pytest.mark.parametrize("task", NAMES)
def test_answers_that_are_no_numbers_are_not_better_than_others(task):
    logits = np.array([[math.nan, 1.0], [0.0, 1.0]])
    answers = logits[:, 0] if task in ("regress", "score") else logits
    found = quality(task, answers, np.array([0, 1]))
    assert tuple(found) == NAMES[task]
    assert all(map(math.isnan, found.values()))


def test_scores_by_hand():
    scores, labels = np.array([3.0, 1, 0.5, -2, -3]), np.array([1.0, 0, 0.9, 0.5, 0])
    found = quality("score", scores, labels)  # right: the first and the third
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["auc"] == pytest.approx(5 / 6)
    assert found["accuracy"] == pytest.approx(4 / 5)


def test_figures_are_plain_floats():
    for task in ("regress", "score"):
        found = quality(task, np.float32([1, 2, 3]), np.float32([0, 1, 1]))
        assert {type(value) for value in found.values()} == {float}
    found = quality("classify", np.eye(3, dtype=np.float32), np.arange(3))
    assert {type(value) for value in found.values()} == {float}


def test_trained_parameters_are_those_with_gradients():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    assert trained_parameters(model) == 4 + 8 + 2
