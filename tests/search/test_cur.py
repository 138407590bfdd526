"""The mathematics of cur.py, held to the published formula and to textbook refits."""

import numpy as np
import pytest
from benchmarks.search.anncur import anncur_estimate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from shoestring.errors import ParameterError, ShapeError
from shoestring.search.cur import (
    GaussianWeights,
    Rounds,
    top_rows,
)

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25)


def low_rank(rng: np.random.Generator, n_rows: int, n_items: int, rank: int) -> np.ndarray:
    return rng.normal(size=(n_rows, rank)) @ rng.normal(size=(rank, n_items))


def noisy_scores(seed: int, n_queries: int, n_items: int) -> np.ndarray:
    """Scores (n_queries, n_items): ten large directions, and noise."""
    rng = np.random.default_rng(seed)
    return low_rank(rng, n_queries, n_items, 10) + rng.normal(size=(n_queries, n_items))


# --- one shot


@few
@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_pinv_is_the_published_formula(seed: int, n_anchors: int, n_asked: int) -> None:
    rng = np.random.default_rng(seed)
    R = rng.normal(size=(n_anchors, 20))
    items = rng.choice(20, n_asked, replace=False)
    C = rng.normal(size=n_asked)
    want = C @ np.linalg.pinv(R[:, items]) @ R
    estimate = anncur_estimate(C, R, items)
    np.testing.assert_allclose(estimate, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize(
    ("method", "strength", "tolerance"), [("pinv", 0.0, 1e-9), ("ridge", 1e-10, 1e-5)]
)
def test_a_matrix_of_exactly_low_rank_is_restored(
    method: str, strength: float, tolerance: float
) -> None:
    rng = np.random.default_rng(0)
    scores = low_rank(rng, 41, 300, rank=5)
    R, truth = scores[:40], scores[40]
    items = np.arange(0, 300, 30)  # ten items for five directions
    estimate = anncur_estimate(truth[items], R, items, method=method, strength=strength)  # type: ignore[arg-type]
    assert np.abs(estimate - truth).max() < tolerance * np.abs(truth).max()


def relative_errors(method: str, n_asked: int) -> float:
    scores = noisy_scores(3, 112, 600)
    R, tests = scores[:100], scores[100:]
    rng = np.random.default_rng(4)
    errors = []
    for truth in tests:
        items = rng.choice(600, n_asked, replace=False)
        estimate = anncur_estimate(truth[items], R, items, method=method)  # type: ignore[arg-type]
        errors.append(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))
    return float(np.mean(errors))


def test_pinv_blows_up_where_the_items_are_as_many_as_the_anchors() -> None:
    assert relative_errors("pinv", 100) > 5 * relative_errors("pinv", 30)
    assert relative_errors("pinv", 100) > 5 * relative_errors("pinv", 400)


@pytest.mark.parametrize("method", ["ridge", "svd"])
def test_ridge_and_svd_do_not_blow_up(method: str) -> None:
    at_30, at_100, at_400 = (relative_errors(method, n) for n in (30, 100, 400))
    assert at_100 < 1.1 * at_30
    assert at_400 < 1.1 * at_100
    assert at_100 < 0.1 * relative_errors("pinv", 100)


def test_wrong_shapes_and_methods_are_named() -> None:
    with pytest.raises(ShapeError, match=r"2,.*for 3 anchor items"):
        anncur_estimate([1.0, 2.0], np.eye(3), [0, 1, 2])
    with pytest.raises(ParameterError, match=r"'pinv', 'ridge' or 'svd'\. Got 'qr'"):
        anncur_estimate([1.0], np.eye(3), [0], method="qr")  # type: ignore[arg-type]


# --- the posterior


def ridge_refit(
    features: np.ndarray, scores: np.ndarray, prior_variance: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the weights from all data at once, in precision form."""
    covariance = np.linalg.inv(features.T @ features / noise + np.diag(1 / prior_variance))
    return covariance @ features.T @ scores / noise, covariance


@st.composite
def splits(draw: st.DrawFn) -> list[np.ndarray]:
    """Forty rows, in any order, cut anywhere."""
    order = np.random.default_rng(draw(seeds)).permutation(40)
    cuts = sorted(draw(st.sets(st.integers(1, 39), max_size=6)))
    return np.split(order, cuts)


@few
@given(seeds, splits())
def test_batches_give_the_ridge_regression_and_evidence_of_all_data_however_split(
    seed: int, batches: list[np.ndarray]
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 7))
    prior_variance, noise = rng.uniform(0.1, 3, size=7), rng.uniform(0.05, 2)
    scores = features @ rng.normal(size=7) + rng.normal(size=40)
    posterior = GaussianWeights(prior_variance, noise)
    for rows in batches:
        posterior.observe(features[rows], scores[rows])
    mean, covariance = ridge_refit(features, scores, prior_variance, noise)
    np.testing.assert_allclose(posterior.mean, mean, atol=1e-8)
    np.testing.assert_allclose(posterior.covariance, covariance, atol=1e-8)
    marginal = features @ np.diag(prior_variance) @ features.T + noise * np.eye(40)
    evidence = multivariate_normal(np.zeros(40), marginal).logpdf(scores)
    assert posterior.log_evidence == pytest.approx(evidence, abs=1e-7)


def test_hundred_batches_of_few_directions_stay_with_the_refit() -> None:
    """What a long search does: many batches, far more scores than directions."""
    rng = np.random.default_rng(0)
    features = low_rank(rng, 800, 64, rank=12) + 0.1 * rng.normal(size=(800, 64))
    scores = rng.normal(size=800)
    posterior = GaussianWeights(np.ones(64), 0.3)
    for rows in np.split(np.arange(800), 100):
        posterior.observe(features[rows], scores[rows])
    mean, _ = ridge_refit(features, scores, np.ones(64), 0.3)
    np.testing.assert_allclose(posterior.mean, mean, atol=1e-8)


def strength_weights(rounds: Rounds) -> np.ndarray:
    evidence = np.array([posterior.log_evidence for posterior in rounds.posteriors])
    weights = np.exp(evidence - evidence.max())
    return weights / weights.sum()


def test_evidence_picks_the_strength_that_made_the_scores() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 20))
    for place, strength in enumerate((0.01, 1.0, 100.0)):
        truth = features @ (np.sqrt(strength) * rng.normal(size=20)) + 0.3 * rng.normal(size=400)
        rounds = Rounds(
            features,
            np.zeros(400),
            np.ones(20),
            noise=0.09,
            strengths=(0.01, 1.0, 100.0),
        )
        np.testing.assert_allclose(strength_weights(rounds), 1 / 3)
        rows = np.arange(100)
        rounds.observe(rows, truth[rows])
        assert strength_weights(rounds)[place] > 0.9


# --- the rounds


@few
@given(st.lists(st.integers(-3, 3), max_size=40), st.integers(-1, 45))
def test_top_rows_equal_a_full_sort_where_the_lower_row_wins_ties(
    values: list[int], n_rows: int
) -> None:
    want = sorted(range(len(values)), key=lambda i: (-values[i], i))[: max(0, n_rows)]
    assert top_rows(np.array(values, dtype=np.float32), n_rows).tolist() == want


@few
@given(seeds, st.integers(1, 30), st.integers(1, 9), st.floats(0, 0.9))
def test_rounds_never_propose_a_scored_or_deleted_row_and_end_with_the_exact_top(
    seed: int, n_items: int, batch: int, dead_share: float
) -> None:
    rng = np.random.default_rng(seed)
    deleted = rng.random(n_items) < dead_share
    truth = rng.integers(0, 4, size=n_items).astype(np.float64)  # many ties
    rounds = Rounds(
        rng.normal(size=(n_items, 3)).astype(np.float32),
        np.zeros(n_items, np.float32),
        np.ones(3),
        noise=0.1,
        deleted=deleted,
    )
    seen: list[int] = []
    while len(rounds.propose(1)):
        rows = rounds.propose(batch)
        assert len(rows) == min(batch, (~deleted).sum() - len(seen))
        assert not deleted[rows].any() and not set(rows.tolist()) & set(seen)
        seen += rows.tolist()
        rounds.observe(rows, truth[rows])
    assert len(rounds.propose(5)) == 0
    live = np.flatnonzero(~deleted)
    want = sorted(live.tolist(), key=lambda row: (-truth[row], row))
    rows, scores, exact = rounds.ranking(n_items + 5)
    assert rows.tolist() == want
    assert exact.all() and scores.tolist() == truth[want].tolist()


def test_the_deleted_rows_are_the_callers_own() -> None:
    deleted = np.zeros(4, dtype=bool)
    rounds = Rounds(np.eye(4), np.zeros(4), np.ones(4), 0.1, deleted=deleted)
    rounds.observe(np.array([1]), np.array([1.0]))
    assert not deleted.any()


def test_scores_paid_for_replace_estimates_and_stand_before_them() -> None:
    guess = np.array([5.0, 4.0, 3.0, 2.0])
    rounds = Rounds(np.eye(4), guess, np.full(4, 1e-9), noise=1.0)
    rows, scores, exact = rounds.ranking(3)
    assert rows.tolist() == [0, 1, 2] and scores.tolist() == [5, 4, 3] and not exact.any()
    rounds.observe(np.array([0, 3]), np.array([-7.5, -9.25]))
    rows, scores, exact = rounds.ranking(4)
    assert rows.tolist() == [0, 3, 1, 2]
    assert exact.tolist() == [True, True, False, False]
    assert scores[:2].tolist() == [-7.5, -9.25]
    np.testing.assert_allclose(scores[2:], [4, 3], atol=1e-6)


def test_an_equal_estimate_leaves_the_lower_row_first() -> None:
    rounds = Rounds(np.ones((6, 1)), np.zeros(6), np.ones(1), noise=0.1)
    assert rounds.propose(4).tolist() == [0, 1, 2, 3]
    rounds.observe(np.array([4]), np.array([1.0]))
    assert rounds.propose(3).tolist() == [0, 1, 2]


def test_what_was_observed_moves_the_estimates_of_alike_items() -> None:
    features = np.repeat(np.eye(2), 5, axis=0)  # five items of a kind, five of another
    rounds = Rounds(features, np.zeros(10), np.ones(2), noise=0.01)
    rounds.observe(np.array([0, 9]), np.array([-2.0, 3.0]))
    assert set(rounds.propose(4).tolist()) == {5, 6, 7, 8}
    np.testing.assert_allclose(rounds.estimate[[1, 5]], [-2, 3], atol=0.05)


def recall(found: np.ndarray, truth: np.ndarray, k: int = 10) -> float:
    return len(set(found[:k].tolist()) & set(np.argsort(-truth)[:k].tolist())) / k


def one_shot(R: np.ndarray, truth: np.ndarray, n_asked: int, budget: int, seed: int) -> float:
    """Random items first, then the best of the estimate: the published use of a budget."""
    items = np.random.default_rng(seed).choice(R.shape[1], n_asked, replace=False)
    estimate = anncur_estimate(truth[items], R, items, method="ridge")
    estimate[items] = -np.inf
    paid = np.concatenate([items, np.argsort(-estimate)[: budget - n_asked]])
    return recall(paid[np.argsort(-truth[paid])], truth)


def in_rounds(R: np.ndarray, truth: np.ndarray, n_rounds: int, budget: int) -> float:
    features, level = R.T - R.mean(), R.mean(axis=0)
    variance = np.full(len(R), 1 / np.square(features).sum(axis=1).mean())
    rounds = Rounds(features, level, variance * R.var(), R.var() / 3, strengths=(0.3, 1, 3))
    for _ in range(n_rounds):
        rows = rounds.propose(budget // n_rounds)
        rounds.observe(rows, truth[rows])
    return recall(rounds.ranking(10)[0], truth)


def test_rounds_beat_one_shot_at_the_same_budget() -> None:
    """Forty directions of falling size, and noise: what few scores cannot settle."""
    rng = np.random.default_rng(11)
    sizes = np.arange(1, 41) ** -0.5
    scores = (rng.normal(size=(64, 40)) * sizes) @ rng.normal(size=(40, 600))
    scores += 0.5 * rng.normal(size=scores.shape)
    R, tests = scores[:40], scores[40:]
    best_one_shot = max(
        np.mean([one_shot(R, truth, n_asked, 60, seed) for seed, truth in enumerate(tests)])
        for n_asked in (20, 30, 40)
    )
    adaptive = np.mean([in_rounds(R, truth, 10, 60) for truth in tests])
    two_rounds = np.mean([in_rounds(R, truth, 2, 60) for truth in tests])
    assert adaptive > best_one_shot + 0.1
    assert adaptive > two_rounds + 0.05
