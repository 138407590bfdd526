import numpy as np
import pytest
from scipy.optimize import quadratic_assignment

from shoestring.match import decipher as method
from shoestring.match.decipher import Decipherment, TokenCounts, count_tokens

N = 60
LENGTH = 10


def texts_of_chain(n_texts: int, seed: int, of_chain: int = 0) -> np.ndarray:
    """Texts (n_texts, LENGTH) of a Markov chain over N tokens, the same chain for each seed."""
    chain = np.random.default_rng(of_chain)
    steps = chain.dirichlet(np.full(N, 0.1), size=N) * 0.8 + 0.2 * chain.dirichlet(np.full(N, 0.3))
    generator = np.random.default_rng(seed)
    texts = np.zeros((n_texts, LENGTH), np.int64)
    for i in range(1, LENGTH):
        cumulated = steps[texts[:, i - 1]].cumsum(1)
        texts[:, i] = (cumulated < generator.random((n_texts, 1)) * cumulated[:, -1:]).sum(1)
    return texts


def counted(texts: np.ndarray, max_tokens: int = N) -> TokenCounts:
    starts = np.arange(0, texts.size + 1, LENGTH)
    return count_tokens(texts.ravel(), starts, max_tokens)


def decipher(secret: TokenCounts, public: TokenCounts, known=None, seed: int = 0) -> Decipherment:
    """By tokens, where the method has places; -1 for those that are not kept."""
    places = np.full((2, N), -1)
    for row, side in zip(places, (secret, public), strict=True):
        row[side.tokens] = np.arange(len(side.tokens))
    if known is not None:
        known = np.stack([row[of] for row, of in zip(places, known.T, strict=True)], axis=1)
    found = method.decipher(secret, public, known=known, seed=seed)
    tokens = np.append(public.tokens, -1)
    kept = places[0] >= 0
    at, k = places[0][kept], found.candidates.shape[1]
    by_token = Decipherment(
        np.full(N, -1), np.zeros(N), np.full((N, k), -1), np.zeros((N, k)), found.agreement
    )
    by_token.assignment[kept] = tokens[found.assignment[at]]
    by_token.confidence[kept] = found.confidence[at]
    by_token.candidates[kept] = tokens[found.candidates[at]]
    by_token.weights[kept] = found.weights[at]
    return by_token


PUBLIC = texts_of_chain(4_000, seed=1)
SECRET = texts_of_chain(2_000, seed=2)
KEY = np.random.default_rng(3).permutation(N)  # the secret token of each token


def share_right(found: np.ndarray, texts: np.ndarray, key: np.ndarray = KEY) -> float:
    return float((found[key[texts]] == texts).mean())


def test_a_planted_renaming_is_found_as_by_scipys_graph_matching():
    secret, public = counted(KEY[SECRET]), counted(PUBLIC)
    found = decipher(secret, public)
    assert share_right(found.assignment, SECRET) > 0.95
    n = min(len(secret.tokens), len(public.tokens))
    weights = [np.sqrt(side.bigrams[0][:n, :n] / side.counts.sum()) for side in (secret, public)]
    guess = np.eye(n) * 0.5 + 0.5 / n
    faq = quadratic_assignment(
        *weights, options={"rng": np.random.default_rng(0), "maximize": True, "P0": guess}
    )
    same = public.tokens[faq["col_ind"]] == found.assignment[secret.tokens[:n]]
    assert np.average(same, weights=secret.counts[:n]) > 0.9


def test_another_key_changes_nothing():
    public = counted(PUBLIC)
    plain, renamed = decipher(counted(SECRET), public), decipher(counted(KEY[SECRET]), public)
    assert (renamed.assignment[KEY] == plain.assignment).all()
    np.testing.assert_allclose(renamed.confidence[KEY], plain.confidence, atol=1e-4)


def test_known_pairs_are_kept_and_sure_though_they_are_wrong():
    known = np.array([[KEY[5], 6], [KEY[6], 5], [KEY[7], 7]])
    found = decipher(counted(KEY[SECRET]), counted(PUBLIC), known=known)
    assert found.assignment[known[:, 0]].tolist() == [6, 5, 7]
    assert (found.candidates[known[:, 0], 0] == known[:, 1]).all()
    assert (found.confidence[known[:, 0]] > 0.9).all()


def test_known_pairs_help_where_little_text_is_there():
    few = SECRET[:40]
    secret, public = counted(KEY[few]), counted(PUBLIC)
    tokens = np.arange(15)
    known = np.stack([KEY[tokens], tokens], axis=1)
    others = few[few >= 15]
    without, found = decipher(secret, public), decipher(secret, public, known=known)
    assert share_right(found.assignment, others) > share_right(without.assignment, others)


@pytest.mark.parametrize("side", ["secret", "public"])
def test_a_shuffled_side_fails_and_says_so(side):
    shuffled = np.random.default_rng(0).permuted(SECRET.ravel()).reshape(SECRET.shape)
    public = counted(PUBLIC)
    secret = counted(KEY[SECRET])
    worked = decipher(secret, public)
    failed = decipher(counted(KEY[shuffled]), public) if side == "secret" else decipher(
        secret, counted(shuffled)
    )  # fmt: skip
    assert failed.agreement < worked.agreement * 0.6
    assert failed.confidence.mean() < worked.confidence.mean() * 0.7


def test_the_first_candidate_is_the_assigned_one_and_weights_sum_to_one():
    found = decipher(counted(KEY[SECRET], 40), counted(PUBLIC))
    kept = found.assignment >= 0
    assert 30 < kept.sum() <= 40
    assert (found.candidates[kept, 0] == found.assignment[kept]).all()
    np.testing.assert_allclose(found.weights[kept].sum(1), 1)
    assert (found.weights[~kept] == 0).all()
    assert (found.candidates[~kept] == -1).all()
    assert (found.confidence[~kept] == 0).all()


def test_the_same_seed_gives_the_same_answer():
    sides = counted(KEY[SECRET[:300]]), counted(PUBLIC)
    first, again = (decipher(*sides, seed=4) for _ in range(2))
    assert (first.assignment == again.assignment).all()
    assert (first.confidence == again.confidence).all()


@pytest.mark.parametrize("side", ["secret", "public"])
def test_a_tiny_side_is_no_error(side):
    tiny, other = counted(SECRET[:1]), counted(PUBLIC)
    found = decipher(tiny, other) if side == "secret" else decipher(other, tiny)
    assert (found.assignment >= 0).sum() <= LENGTH
    assert np.isfinite(found.confidence).all()
    assert np.isfinite(found.weights).all()


def test_one_text_of_one_token_is_no_error():
    lone = count_tokens(np.array([0]), np.array([0, 1]))
    assert method.decipher(lone, lone).assignment.tolist() == [0]


def test_counts_are_those_of_a_loop():
    ids, starts = np.array([3, 1, 3, 1, 1, 0, 3]), np.array([0, 4, 4, 7])
    counts = count_tokens(ids, starts)
    assert counts.tokens.tolist() == [3, 1, 0]  # 3 is as frequent, and more often second last
    next_to = np.zeros((4, 4))
    further = np.zeros((4, 4))
    for low, high in ((0, 4), (4, 7)):
        for i in range(low, high):
            if i + 1 < high:
                next_to[ids[i], ids[i + 1]] += 1
            if i + 2 < high:
                further[ids[i], ids[i + 2]] += 1
    kept = np.ix_(counts.tokens, counts.tokens)
    assert (counts.bigrams[0] == next_to[kept]).all()
    assert (counts.bigrams[1] == further[kept]).all()
    assert counts.positions.sum(0).tolist() == [2, 2, 2, 2]
