"""What anchor scores teach: planted weights are found again."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.search import first_guess as first_guess_module
from shoestring.search.first_guess import ScoreModel
from shoestring.types import FloatArray

M, N = 24, 300
WEIGHTS = np.array([2.0, -1.0, 0.5])


def fit_score_model(
    scores: np.ndarray, features: Sequence[np.ndarray], direction: Sequence[float] = ()
) -> tuple[ScoreModel, FloatArray, FloatArray]:
    """As the module's, along the first feature where a test says nothing of the direction."""
    usual = np.zeros(features[0].shape[1])
    usual[: max(1, len(direction))] = direction or 1.0
    return first_guess_module.fit_score_model(scores, features, usual)


def planted(
    seed: int, noise: float = 0.3, bias_size: float = 1.0
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Scores (M, N), the cheap features of each query (N, 3), item biases (N,)."""
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(N, 3)).astype(np.float32) for _ in range(M)]
    item_bias = bias_size * rng.normal(size=N)
    scores = np.stack([7.0 + z @ WEIGHTS + item_bias for z in features])
    return scores + noise * rng.normal(size=scores.shape), features, item_bias


def sparse(scores: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    known = np.random.default_rng(seed).random(scores.shape) < share
    return np.where(known, scores, np.nan)


def test_planted_weights_and_biases_are_found() -> None:
    scores, features, item_bias = planted(0)
    model, found, residuals = fit_score_model(scores, features)
    np.testing.assert_allclose(model.weights[:3], WEIGHTS, atol=0.05)
    assert model.weights[3] == pytest.approx(1, abs=0.1)
    assert np.corrcoef(found, item_bias)[0, 1] > 0.99
    assert model.residual_variance == pytest.approx(0.09, rel=0.25)
    guess = model.guess(features[0], found)
    assert guess.dtype == np.float32
    assert np.corrcoef(guess, scores[0])[0, 1] > 0.98
    assert guess.mean() == pytest.approx(scores[0].mean(), abs=0.1)
    assert residuals.shape == (N, M) and residuals.dtype == np.float32
    assert residuals.var() == pytest.approx(model.residual_variance, rel=0.05)


def test_sparse_anchors_teach_what_dense_ones_do() -> None:
    scores, features, item_bias = planted(1)
    dense, _, dense_residuals = fit_score_model(scores, features)
    kept = sparse(scores, 0.3)
    models = [fit_score_model(sparse(scores, 0.3, seed), features)[0] for seed in range(6)]
    weights = np.mean([model.weights for model in models], axis=0)
    np.testing.assert_allclose(weights[:3], dense.weights[:3], atol=0.06)
    _, found, residuals = fit_score_model(kept, features)
    assert np.corrcoef(found, item_bias)[0, 1] > 0.95
    unknown = np.isnan(kept).T
    assert (residuals[unknown] == 0).all()
    assert np.corrcoef(residuals[~unknown], dense_residuals[~unknown])[0, 1] > 0.9


def test_a_bias_leaves_out_the_query_whose_score_it_explains() -> None:
    """Scores of noise alone: an item's mean explains each of them only if it contains it."""
    scores, features, _ = planted(2, noise=1.0, bias_size=0.0)
    noise = scores - 7.0 - np.stack([z @ WEIGHTS for z in features])
    model, item_bias, _ = fit_score_model(scores, features)
    assert abs(model.weights[3]) < 0.5  # with its own score in the mean it would be near 1 / shrink
    assert model.residual_variance == pytest.approx(noise.var(), rel=0.03)
    means = noise.mean(axis=0)
    assert np.abs(item_bias).mean() < 0.8 * np.abs(means).mean()  # shrunk towards nothing


def test_two_queries_that_disagree_do_not_explain_each_other() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(2, 500))
    features = [np.zeros((500, 1), np.float32)] * 2
    model, _, _ = fit_score_model(scores, features)
    assert model.residual_variance > 0.9 * scores.var()


def test_a_constant_column_gets_no_weight() -> None:
    scores, features, _ = planted(4)
    wider = [np.hstack([z, np.full((N, 1), 3.0, np.float32)]) for z in features]
    plain, _, _ = fit_score_model(scores, features)
    model, _, _ = fit_score_model(scores, wider)
    assert model.weights[3] == 0
    np.testing.assert_allclose(np.delete(model.weights, 3), plain.weights, atol=1e-6)
    assert model.constant == pytest.approx(plain.constant, abs=1e-5)


def test_equal_columns_share_a_weight() -> None:
    scores, features, _ = planted(5)
    twice = [np.hstack([z, z[:, :1]]) for z in features]
    model, _, _ = fit_score_model(scores, twice, [1.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(model.weights[[0, 3]], 1.0, atol=0.05)


def test_one_anchor_bends_the_weights_to_its_own() -> None:
    scores, features, _ = planted(6, bias_size=0.2)
    model, item_bias, residuals = fit_score_model(scores[:1], features[:1])
    share = model.weights[1:3] / WEIGHTS[1:]  # the first is along the usual direction
    assert model.weights[0] == pytest.approx(WEIGHTS[0], abs=0.1)
    assert ((share > 0.3) & (share < 0.8)).all()  # about half: it is one query of many
    assert model.weights[3] == 0  # its own score is all that could speak for an item
    assert np.isfinite(item_bias).all() and residuals.shape == (N, 1)


def test_few_scores_bend_the_guess_little_and_many_make_it_their_own() -> None:
    """Promising items alone, with noise: ridge regression of them would take any direction."""
    scores, features, _ = planted(7, noise=3.0, bias_size=0.0)
    usual, away = [1.0, 0.0, 0.0], []
    for n_scores in (5, 40, N):
        kept = np.full(scores.shape, np.nan)
        for row, known, z in zip(kept, scores, features, strict=True):
            best = np.argsort(-z[:, 0])[:n_scores]
            row[best] = known[best]
        weights = fit_score_model(kept[:4], features[:4], usual)[0].weights[:3]
        away.append(float(np.linalg.norm(weights[1:]) / np.linalg.norm(weights)))
    assert away == sorted(away)
    assert away[0] < 0.1 and away[2] > 0.3  # the planted weights are at 0.49


def test_a_scorer_that_dislikes_the_usual_direction_is_believed() -> None:
    scores, features, _ = planted(8)
    model, _, _ = fit_score_model(scores, features, [-1.0, 0.0, 0.0])
    np.testing.assert_allclose(model.weights[:3], WEIGHTS, atol=0.1)


def test_loadings_say_how_much_the_weights_of_queries_differ() -> None:
    rng = np.random.default_rng(9)
    features = [rng.normal(size=(N, 2)).astype(np.float32) for _ in range(M)]
    own = [np.array([2.0, -1.0 + rng.normal()]) for _ in range(M)]
    scores = np.stack([z @ w for z, w in zip(features, own, strict=True)])
    scores += rng.normal(size=scores.shape)
    model, _, residuals = fit_score_model(scores, features)
    covariance = model.residual_variance * model.loadings @ model.loadings.T
    assert covariance[1, 1] == pytest.approx(1.0, abs=0.5)
    assert covariance[0, 0] < 0.05
    assert residuals.var() == pytest.approx(1.0, abs=0.1)  # around each query's own line


def test_one_query_leaves_more_open_than_many() -> None:
    scores, features, _ = planted(9, bias_size=0.0)
    few, many = (fit_score_model(scores[:m], features[:m])[0] for m in (1, M))
    few_open, many_open = (np.trace(t.loadings[:3] @ t.loadings[:3].T) for t in (few, many))
    assert many_open < 0.8 * few_open


def test_deviations_are_centred_columns_of_the_features() -> None:
    loadings = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    model = ScoreModel(np.zeros(3), 0.0, 1.0, loadings)
    features = np.array([[1, 0], [3, 1]], np.float32)
    columns = model.deviations(features, np.ones(2, np.float32))
    np.testing.assert_allclose(columns, [[-1, -1], [1, 1]])


def test_a_scorer_that_is_a_line_itself_is_taken_for_one() -> None:
    scores, features, _ = planted(10, noise=0.0, bias_size=0.0)
    model, _, _ = fit_score_model(scores, features)
    np.testing.assert_allclose(model.weights[:3], WEIGHTS, atol=0.05)
    assert np.isfinite(model.loadings).all() and model.residual_variance < 1e-3


def test_equal_scores_teach_a_constant() -> None:
    features = [np.ones((5, 2), np.float32)] * 2
    model, item_bias, residuals = fit_score_model(np.full((2, 5), 4.0), features)
    assert model.constant == 4 and not model.weights.any()
    assert model.residual_variance == 1e-12
    assert not item_bias.any() and not residuals.any()


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 1))
def test_the_order_of_the_items_does_not_matter(seed: int, share: float) -> None:
    scores, features, _ = planted(seed)
    scores = sparse(scores, share)
    order = np.random.default_rng(seed).permutation(N)
    model, item_bias, residuals = fit_score_model(scores, features)
    moved, moved_bias, moved_residuals = fit_score_model(
        scores[:, order], [z[order] for z in features]
    )
    np.testing.assert_allclose(moved.weights, model.weights, atol=1e-4)
    assert moved.residual_variance == pytest.approx(model.residual_variance, rel=1e-4)
    np.testing.assert_allclose(moved_bias, item_bias[order], atol=1e-4)
    np.testing.assert_allclose(moved_residuals, residuals[order], atol=1e-3)


def test_a_guess_is_the_line_it_says() -> None:
    model = ScoreModel(np.array([2.0, -1.0, 10.0]), 0.5, 1.0, np.zeros((3, 1)))
    features = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    guess = model.guess(features, np.array([0, 0, 0.1], np.float32))
    np.testing.assert_allclose(guess, [2.5, -0.5, 1.5], atol=1e-6)
