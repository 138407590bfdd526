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
