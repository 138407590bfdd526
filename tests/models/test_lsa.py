"""Lexical vectors for any language."""

from __future__ import annotations

import numpy as np
import pytest

from shoestring.errors import NotFittedError, ParameterError
from shoestring.models.lsa import LsaEncoder
from shoestring.text import tokenize
from shoestring.types import TextEncoder

TEXTS = [
    "how do I open a file",
    "read a file line by line",
    "flatten a nested list",
    "sort a list of lists",
    "怎样打开文件",
    "按行读取文件",
    "怎样展平嵌套的列表",
    "给列表排序",
    "12 4031 77",
    "4031 9 12",
]


@pytest.fixture
def encoder():
    return LsaEncoder(n_components=6).fit(TEXTS)


def test_vectors_equal_scikit_learn_on_the_same_tokens(encoder):
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    counts = TfidfVectorizer(analyzer=tokenize, sublinear_tf=True).fit_transform(TEXTS)
    expected = normalize(TruncatedSVD(6, random_state=0).fit_transform(counts))
    np.testing.assert_allclose(np.abs(encoder.encode(TEXTS)), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("kind", ["chinese", "english", "mixed"])
def test_encoding_is_what_scikit_learn_does_with_the_same_weights(kind, tmp_path):
    """Repeated words, unknown words, long texts: without scikit-learn, before and after saving."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    rng = np.random.default_rng(0)
    words = {
        "chinese": list("的一是不了人我在有他这中大来上"),
        "english": ["a", "red", "Blue", "hat2"],
    }
    words["mixed"] = words["chinese"] + words["english"]
    joined = "" if kind == "chinese" else " "
    texts = [joined.join(rng.choice(words[kind], rng.integers(1, 60))) for _ in range(300)]
    encoder = LsaEncoder(20).fit(texts)
    encoder.save(tmp_path)
    tfidf = TfidfVectorizer(analyzer=tokenize, sublinear_tf=True).fit(texts)
    assert tfidf.vocabulary_ == encoder.vocabulary_
    asked = [*texts, texts[0] + " zzz 猫", "", "zzz"]
    expected = normalize(tfidf.transform(asked) @ encoder.components_.T)
    np.testing.assert_allclose(encoder.encode(asked), expected, atol=1e-6)
    assert np.array_equal(LsaEncoder.load(tmp_path).encode(asked), encoder.encode(asked))


def test_a_text_has_the_same_bits_alone_and_among_others(encoder):
    among = encoder.encode([*TEXTS, *TEXTS[::-1]])
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.array_equal(among[: len(TEXTS)], alone)
    assert np.array_equal(among[len(TEXTS) :], alone[::-1])


@pytest.mark.parametrize("texts", [["red shoes", "blue hat"], ["手机很好", "电池很差"]])
def test_repeated_texts_give_no_dimensions_of_rounding(texts):
    encoder = LsaEncoder(128).fit(texts * 20)
    assert encoder.n_dims == 2
    likeness = encoder.encode(texts) @ encoder.encode(texts).T
    np.testing.assert_allclose(likeness, np.eye(2), atol=0.1)


def test_components_take_two_bytes_on_disk_of_a_bounded_number_of_terms(tmp_path, monkeypatch):
    from shoestring.models import lsa

    monkeypatch.setattr(lsa, "MAX_NUMBERS", 40 * 50)
    texts = [f"often word{i} word{i + 1}" for i in range(500)]
    encoder = LsaEncoder(40).fit(texts)
    encoder.save(tmp_path)
    assert encoder.components_.shape == (40, 50)
    sizes = [path.stat().st_size for path in tmp_path.glob("*/components*")]
    assert sizes == [128 + 2 * 40 * 50]


@pytest.mark.parametrize("bad", [[None], [float("nan")], ["a", 3], ["\ud800"], {"a": 1}, 7, None])
def test_what_is_no_list_of_texts_is_refused(encoder, bad):
    for method in (encoder.fit, encoder.encode, encoder.transform):
        with pytest.raises(ParameterError, match="'texts' parameter of LsaEncoder"):
            method(bad)


@pytest.mark.parametrize(("query", "nearest"), [("nested list", 2), ("打开文件", 4), ("77", 8)])
def test_a_query_finds_its_text_in_every_language(query, nearest):
    encoder = LsaEncoder(n_components=len(TEXTS)).fit(TEXTS)
    assert np.argmax(encoder.encode(TEXTS) @ encoder.encode([query])[0]) == nearest


def test_rows_have_unit_length_and_unknown_texts_are_zero(encoder):
    vectors = encoder.encode([*TEXTS, "zzz", "？", ""])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors[: len(TEXTS)], axis=1), 1, atol=1e-5)
    assert not vectors[len(TEXTS) :].any()
    assert encoder.encode([]).shape == (0, encoder.n_dims)


def test_the_same_seed_gives_the_same_vectors():
    first, second = (LsaEncoder(4, random_state=3).fit_transform(TEXTS) for _ in range(2))
    assert np.array_equal(first, second)


def test_few_texts_give_few_dimensions():
    assert LsaEncoder(128).fit(["红 鞋", "blue hat"]).n_dims == 2
    assert LsaEncoder(128).fit(["one"]).encode(["one"]).tolist() == [[1.0]]


def test_scikit_learn_clones_it_and_it_is_a_text_encoder(encoder):
    from sklearn.base import clone

    assert clone(encoder).get_params() == encoder.get_params()
    assert isinstance(encoder, TextEncoder)


def test_saved_and_loaded_gives_the_same_vectors(encoder, tmp_path):
    encoder.save(tmp_path / "a" / "lsa")
    loaded = LsaEncoder.load(tmp_path / "a" / "lsa")
    assert np.array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))
    assert loaded.get_params() == encoder.get_params()


@pytest.mark.parametrize("n_components", [0, 1.5])
def test_a_bad_parameter_is_refused_at_fit(n_components):
    with pytest.raises(ParameterError, match="n_components"):
        LsaEncoder(n_components).fit(TEXTS)


@pytest.mark.parametrize("texts", [[], ["", "。"]])
def test_texts_without_terms_are_refused(texts):
    with pytest.raises(ParameterError, match="no term"):
        LsaEncoder().fit(texts)


def test_one_string_is_no_sequence_of_texts(encoder):
    for method in (encoder.fit, encoder.encode):
        with pytest.raises(ParameterError, match="a list of texts"):
            method("abc")


def test_use_before_fit_is_refused(tmp_path):
    for use in (lambda e: e.encode(["a"]), lambda e: e.n_dims, lambda e: e.save(tmp_path)):
        with pytest.raises(NotFittedError):
            use(LsaEncoder())
    with pytest.raises(ParameterError):
        LsaEncoder().set_params(width=3)
