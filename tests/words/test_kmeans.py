"""Spherical k-means and the activations that come of it."""

import numpy as np
import pytest

from shoestring.words.kmeans import spherical_kmeans, standard_activations, unit_rows


def clusters(n_clusters=5, n_each=40, width=16, spread=0.05, seed=0):
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((width, width)))[0][:n_clusters]
    points = np.repeat(directions, n_each, axis=0)
    points = points + spread * rng.standard_normal(points.shape)
    return unit_rows(points[rng.permutation(len(points))]), directions


def test_every_planted_direction_has_a_centre():
    vectors, directions = clusters()
    centres = spherical_kmeans(vectors, n_centres=15, seed=0)
    assert ((directions @ centres.T).max(axis=1) > 0.98).all()


def test_a_step_never_makes_the_fit_worse():
    vectors = unit_rows(np.random.default_rng(0).standard_normal((500, 8)))
    fits = [
        (vectors @ spherical_kmeans(vectors, 20, seed=3, n_steps=n).T).max(axis=1).mean()
        for n in (0, 1, 3, 10)
    ]
    assert fits == sorted(fits)
    assert fits[-1] > fits[0] + 0.01


def test_the_same_seed_gives_the_same_centres_and_another_one_others():
    vectors, _ = clusters(spread=0.5)
    first, again, other = (spherical_kmeans(vectors, 7, seed).tobytes() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("n_centres", [1, 200, 500])
def test_there_are_as_many_unit_centres_as_asked_for(n_centres):
    vectors, _ = clusters()
    centres = spherical_kmeans(vectors, n_centres, seed=0)
    assert centres.shape == (n_centres, 16)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)


def test_a_centre_that_lost_its_vectors_takes_one_that_is_far():
    same = np.repeat(np.eye(4, dtype=np.float32)[:1], 50, axis=0)
    vectors = np.concatenate([same, np.eye(4, dtype=np.float32)[1:]])
    centres = spherical_kmeans(vectors, n_centres=4, seed=0)
    assert np.allclose((vectors @ centres.T).max(axis=1), 1)


def test_rows_of_zeros_count_for_nothing():
    vectors, _ = clusters()
    with_zeros = np.concatenate([vectors, np.zeros((9, 16), np.float32)])
    centres = spherical_kmeans(vectors, 6, seed=0)
    assert np.array_equal(centres, spherical_kmeans(with_zeros, 6, seed=0))
    activations = np.full((len(with_zeros), 6), np.nan, dtype=np.float32)
    standard_activations(with_zeros, centres, out=activations)
    assert not activations[len(vectors) :].any()
    assert np.allclose(activations[: len(vectors)].std(axis=0), 1, atol=1e-3)


def test_standard_activations_equal_their_definition():
    vectors = unit_rows(np.random.default_rng(0).standard_normal((300, 8)) + 0.5)
    centres = spherical_kmeans(vectors, 10, seed=0)
    nearness = vectors.astype(np.float64) @ centres.T
    expected = (nearness - nearness.mean(axis=0)) / nearness.std(axis=0)
    activations = np.empty((300, 10), dtype=np.float32)
    standard_activations(vectors, centres, out=activations)
    assert np.allclose(activations, expected, atol=1e-3)
