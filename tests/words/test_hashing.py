"""The fly's hashes: scikit-learn's contract, the papers' rules, the same bits for any threads."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from shoestring.errors import ParameterError
from shoestring.overlap import OverlapIndex
from shoestring.words import BioHash, FlyHash, SignHash
from shoestring.words.bioword import BioWord, Neurons
from shoestring.words.hashing import learn

DIGITS = load_digits().data
HASHES = [SignHash(16), FlyHash(64, 4), BioHash(64, 4, n_epochs=2)]
NAMES = [type(hash_).__name__ for hash_ in HASHES]


def bits(codes, n_bits):
    return np.unpackbits(codes, axis=1, bitorder="little", count=n_bits)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([SignHash(8), FlyHash(8, 2), BioHash(8, 2, n_epochs=1)])
def test_the_contract_of_scikit_learn_is_kept(estimator, check):
    check(estimator)


@pytest.mark.parametrize("hash_", HASHES, ids=NAMES)
def test_codes_have_the_same_bits_for_any_number_of_threads(hash_):
    one, four = (
        type(hash_)(**hash_.get_params() | {"n_jobs": n}).fit_transform(DIGITS[:700])
        for n in (1, 4)
    )
    assert np.array_equal(one, four)
    assert len(np.unique(one, axis=0)) > 300


@pytest.mark.parametrize("hash_", HASHES, ids=NAMES)
def test_an_index_finds_near_samples_by_their_codes(hash_):
    codes = hash_.fit_transform(DIGITS[:500])
    index = OverlapIndex(hash_.n_bits)
    index.add(codes)
    metric = "hamming" if isinstance(hash_, SignHash) else "overlap"
    ids, _ = index.search(codes, n=10, metric=metric)
    distances = np.linalg.norm(DIGITS[:500, None] - DIGITS[ids], axis=2).mean()
    random = np.random.default_rng(0).integers(500, size=ids.shape)
    assert distances < 0.85 * np.linalg.norm(DIGITS[:500, None] - DIGITS[random], axis=2).mean()


def test_bits_of_hyperplanes_that_differ_are_the_angle():
    rows = np.random.default_rng(0).standard_normal((40, 12))
    hash_ = SignHash(4096).fit(np.concatenate([rows, -rows]))  # the mean is 0
    codes = bits(hash_.transform(rows), 4096)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    angles = np.arccos(np.clip(units @ units[0], -1, 1)) / np.pi
    np.testing.assert_allclose((codes != codes[0]).mean(axis=1), angles, atol=0.03)


def test_each_fly_neuron_sums_a_tenth_of_the_features_and_the_largest_sums_are_active():
    rows = np.random.default_rng(0).standard_normal((30, 50))
    hash_ = FlyHash(200, 8).fit(rows)
    assert set(np.unique(hash_.weights_)) == {0, 1}
    assert (hash_.weights_.sum(axis=1) == 5).all()
    sums = (rows - rows.mean(axis=0)) @ hash_.weights_.T
    largest = np.argsort(-sums, axis=1)[:, :8]
    active = [set(np.flatnonzero(code)) for code in bits(hash_.transform(rows), 200)]
    assert active == [set(row) for row in largest]


def scalar_step(weights, rows, rate):
    """Equation 1 of Ryali et al. with p = 2 and Delta = 0, summed over a mini-batch."""
    change = np.zeros_like(weights)
    for x in rows:
        products = [sum(w * v for w, v in zip(row, x, strict=True)) for row in weights]
        winner = products.index(max(products))
        for i in range(len(x)):
            change[winner, i] += x[i] - products[winner] * weights[winner, i]
    return weights + rate * change / np.abs(change).max()


def test_a_step_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    weights, rows = rng.standard_normal((5, 4)), rng.standard_normal((9, 4))
    found = learn(weights.astype(np.float32), rows.astype(np.float32), 0.1)
    np.testing.assert_allclose(found, scalar_step(weights, rows, 0.1), atol=1e-6)


def test_the_word_rule_is_this_rule_on_windows_of_words_that_are_equally_frequent():
    rng = np.random.default_rng(0)
    n_words, n_neurons = 6, 4
    windows = rng.integers(n_words, size=(20, 3)).astype(np.int32)
    windows[:, 1] += n_words  # the target, in its own block
    rows = np.zeros((20, 2 * n_words), np.float32)
    np.add.at(rows, (np.arange(20)[:, None], windows), 1)
    weights = rng.normal(0, 0.02, (2 * n_words, n_neurons)).astype(np.float32)
    rule = BioWord(Neurons.of(weights.copy()), np.ones(n_words, np.int64))
    rule.step(windows, 0.002)
    found = learn(np.ascontiguousarray(weights.T), rows, 0.002)
    np.testing.assert_allclose(rule.neurons.weights().T, found, atol=1e-8)


def nearness_to_winners(hash_, rows):
    inputs = hash_._inputs(rows)
    units = hash_.weights_ / np.linalg.norm(hash_.weights_, axis=1, keepdims=True)
    return (inputs @ units.T).max(axis=1).mean()


def test_learnt_neurons_come_nearer_to_the_samples_and_to_length_one():
    small = {"n_bits": 32, "n_active": 4, "batch_size": 100, "learning_rate": 0.1}
    before = BioHash(n_epochs=1, **small | {"learning_rate": 1e-9}).fit(DIGITS)
    after = BioHash(n_epochs=20, **small).fit(DIGITS)
    assert nearness_to_winners(after, DIGITS) > 1.3 * nearness_to_winners(before, DIGITS)
    winners = (after._inputs(DIGITS) @ after.weights_.T).argmax(axis=1)
    lengths = np.linalg.norm(after.weights_[np.bincount(winners, minlength=32) > 30], axis=1)
    assert len(lengths) > 5
    np.testing.assert_allclose(lengths, 1, atol=0.1)


def test_partial_fit_goes_on_from_what_was_learnt():
    hash_ = BioHash(32, 4, batch_size=200).partial_fit(DIGITS[:200])
    first, mean = hash_.weights_.copy(), hash_.mean_.copy()
    hash_.partial_fit(DIGITS[200:400])
    expected = learn(first, hash_._inputs(DIGITS[200:400]), hash_.learning_rate)
    assert np.array_equal(hash_.weights_, expected)
    assert np.array_equal(hash_.mean_, mean)


@pytest.mark.parametrize(
    ("hash_", "said"),
    [
        (SignHash(0), "'n_bits' parameter of SignHash"),
        (FlyHash(8, 8), "'n_active' parameter of FlyHash must be an int in [1, 7]. Got 8"),
        (BioHash(8, 2, n_epochs=0), "'n_epochs'"),
        (BioHash(8, 2, learning_rate=-1), "'learning_rate' parameter of BioHash must be"),
        (BioHash(8, 2, batch_size=0), "'batch_size'"),
        (BioHash(8, 2, random_state=-1), "'random_state'"),
    ],
)
def test_parameters_out_of_range_are_refused(hash_, said):
    with pytest.raises(ParameterError) as refused:
        hash_.fit(DIGITS[:20])
    assert said in str(refused.value)
