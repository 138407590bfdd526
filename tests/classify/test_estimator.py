"""The classifiers in scikit-learn's tools; what cannot be classified is refused in our words."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError as TheirNotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tests.classify.blobs import blobs
from tests.classify.topics import CHINESE, ENGLISH, HashedWords, classifier, topics

from shoestring.classify import AnalyticSoftmax, TextClassifier
from shoestring.errors import ParameterError, ShapeError, ShoestringError

TEXTS, LABELS = topics(90)


def lowered(texts):
    return [text.lower() for text in texts]


# ---- scikit-learn ----


def test_a_clone_has_the_parameters_and_nothing_learned():
    made = TextClassifier("lsa", head=AnalyticSoftmax(0.1)).fit(TEXTS, LABELS)
    copy = clone(made)
    assert repr(copy) == repr(made)
    assert (copy.encoder, copy.head.shrinkage) == ("lsa", 0.1)
    assert copy.head is not made.head
    with pytest.raises(TheirNotFittedError):
        copy.predict(TEXTS)


def test_a_head_is_shown_by_its_public_name():
    shown = "TextClassifier(encoder='lsa', head=AnalyticSoftmax(expansion='auto'))"
    assert repr(TextClassifier("lsa")) == shown


@pytest.mark.parametrize("of", [ENGLISH, CHINESE], ids=["English", "Chinese"])
@pytest.mark.parametrize("form", [list, np.array, pd.Series])
def test_texts_are_cross_validated(of, form):
    texts, labels = topics(90, of=of)
    made = TextClassifier("lsa", head=AnalyticSoftmax())
    scores = cross_val_score(made, form(texts), form(labels), cv=3)
    assert is_classifier(made)
    assert scores.min() > 0.8
    assert not hasattr(made, "encoder_")


def test_a_grid_reaches_the_encoder_and_the_head():
    grid = {"encoder": ["lsa", HashedWords()], "head__shrinkage": [0.1, "auto"]}
    made = TextClassifier(head=AnalyticSoftmax())
    search = GridSearchCV(made, grid, scoring="neg_log_loss", cv=3).fit(TEXTS, LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert best.head.shrinkage == search.best_params_["head__shrinkage"]
    assert best.score(TEXTS, LABELS) > 0.9


def test_a_pipeline_ends_in_a_classifier_of_texts():
    made = make_pipeline(FunctionTransformer(lowered), TextClassifier("lsa"))
    assert isinstance(made, Pipeline)
    made.set_params(textclassifier__head__expansion=None)
    assert made.fit(TEXTS, LABELS).score(TEXTS, LABELS) > 0.9
    assert made[-1].head.expansion is None


@pytest.mark.parametrize("name", ["foo", "head__foo", "encoder__foo", "foo__bar"])
def test_parameters_that_are_not_there_are_refused(name):
    with pytest.raises(ParameterError, match="foo"):
        TextClassifier("lsa").set_params(**{name: 1})


# ---- what cannot be ----


def test_no_text_gets_no_answer_of_the_right_shape():
    made = classifier().fit(TEXTS, LABELS)
    for none in ([], (), np.array([], dtype=str), pd.Series([], dtype=str)):
        assert made.predict(none).shape == made.predict(none, reject_at=0.1).shape == (0,)
        assert made.predict_proba(none).shape == (0, 2)
    assert made.predict([]).dtype == made.predict(TEXTS).dtype
    X, y = blobs(30)
    assert AnalyticSoftmax().fit(X, y).predict(X[:0]).shape == (0,)


BAD_TEXTS = {
    "None": [*TEXTS[:-1], None],
    "NaN": [*TEXTS[:-1], float("nan")],
    "bytes": [*TEXTS[:-1], b"cat"],
    "a number": [*TEXTS[:-1], 3],
    "half a character": [*TEXTS[:-1], "\ud800"],
    "a column": np.array(TEXTS)[:, None],
    "a frame": pd.DataFrame({"text": TEXTS}),
    "a text": "cat",
    "a dict": {"cat": 1},
    "no items": 3,
    "nothing": None,
}


@pytest.mark.parametrize("texts", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_no_list_of_texts_is_refused_and_changes_nothing(texts):
    made = classifier().fit(TEXTS, LABELS)
    before = made.predict_proba(TEXTS)
    for do in (made.fit, made.partial_fit, made.forget, made.score):
        with pytest.raises(ParameterError, match="'texts' parameter of TextClassifier"):
            do(texts, LABELS)
    for do in (made.predict, made.predict_proba, made.encode, made.begin):
        with pytest.raises(ParameterError, match="'texts' parameter of TextClassifier"):
            do(texts)
    np.testing.assert_array_equal(made.predict_proba(TEXTS), before)


BAD_LABELS = {
    "lists": [["p", "x"], ["n"]] * 45,
    "sets": [{"p"}, {"n"}] * 45,
    "None": [None] * 90,
    "NaN": [float("nan")] * 90,
    "some None": [*LABELS[:-1], None],
    "mixed": [*LABELS[:-1], 3],
    "numbers between": [0.5, 1.5] * 45,
    "half a character": ["\ud800", "a"] * 45,
    "one text": "pn" * 45,
    "nothing": None,
}


@pytest.mark.parametrize("labels", BAD_LABELS.values(), ids=BAD_LABELS)
@pytest.mark.parametrize("known", [False, True])
def test_what_is_no_label_is_refused_and_changes_nothing(labels, known):
    made = classifier()
    if known:
        made.fit(TEXTS, LABELS)
    for do in (made.fit, made.partial_fit):
        with pytest.raises(ParameterError):
            do(TEXTS, labels)
    assert hasattr(made, "encoder_") == known


def test_several_labels_a_text_are_pointed_to_the_docs():
    with pytest.raises(ParameterError, match=r"item 1\. For several labels a text, see docs"):
        classifier().fit(TEXTS, [["a", "b"]] * 90)


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix", "dia_matrix"])
def test_sparse_samples_are_refused_with_what_to_do(kind):
    X, y = blobs(30)
    made = getattr(sparse, kind)(X)
    clf = AnalyticSoftmax().fit(X, y)
    for do in (
        lambda: clf.fit(made, y),
        lambda: clf.partial_fit(made, y),
        lambda: clf.predict(made),
    ):
        with pytest.raises(ParameterError, match=r"takes no sparse X.*TruncatedSVD"):
            do()


BAD_SAMPLES = {
    "ragged": ([[1, 2], [3]], [0, 1]),
    "nothing": (None, None),
    "an object": (object(), [1]),
    "texts": ([["a"], ["b"]], [0, 1]),
    "one row": ([1, 2], [0, 1]),
    "no feature": (np.zeros((2, 0)), [0, 1]),
    "no sample": (np.zeros((0, 2)), []),
    "ragged labels": ([[1], [2]], [[0, 1], [1]]),
    "complex": ([[1j], [2]], [0, 1]),
}


@pytest.mark.parametrize(("X", "y"), BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_what_is_no_sample_is_refused_in_our_words(X, y):
    with pytest.raises(ShoestringError):
        AnalyticSoftmax().fit(X, y)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_random": 10**9, "expansion": "relu"}, {"shrinkage": [1]},
        {"n_jobs": 10**9}, {"priors": {0: 10**400, 1: 1}},
        {"expansion": np.ones(2)}, {"random_state": "x"},
    ],
)  # fmt: skip
def test_settings_that_no_machine_can_hold_are_refused(settings):
    with pytest.raises(ParameterError, match=next(iter(settings))):
        AnalyticSoftmax(**settings).fit([[1.0], [2.0]], [0, 1])


def test_other_arguments_are_checked_too(tmp_path):
    made = classifier().fit(TEXTS, LABELS)
    for do in (
        lambda: made.predict(["a"], "x"), lambda: made.predict(["a"], 1),
        lambda: made.save("\0"), lambda: TextClassifier.load(None), lambda: made.merge(3),
        lambda: made.head.merge(None), lambda: TextClassifier(5).fit(TEXTS, LABELS),
        lambda: TextClassifier("lsa", head=3).fit(TEXTS, LABELS),
        lambda: TextClassifier("a\0b").fit(TEXTS, LABELS),
    ):  # fmt: skip
        with pytest.raises(ParameterError):
            do()
    with pytest.raises(ShapeError):
        made.fit(TEXTS, LABELS[1:])


# ---- what is imported ----


FOREIGN = ("sklearn", "scipy.stats", "pandas", "torch")


@pytest.mark.parametrize(
    "command",
    [
        ["classify", "predict", "m", "asked.csv"],
        ["search", "query", "ix", "cat fur", "--calls", "0"],
    ],
    ids=" ".join,
)
def test_a_saved_model_answers_without_scikit_learn(tmp_path, command):
    classifier().fit(TEXTS, LABELS).save(tmp_path / "m")
    (tmp_path / "asked.csv").write_text("text\ncat fur\n")
    (tmp_path / "docs.csv").write_text("id,text\na,cat fur\nb,bank coin\n")
    main = "import sys\nfrom shoestring import cli\n"
    if command[0] == "search":
        build = ["search", "build", "docs.csv", "--out", "ix", "--encoder", "lsa"]
        program = f"{main}sys.argv[1:] = {build}\ncli.main()"
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    end = f"print([name for name in {FOREIGN} if name in sys.modules])"
    program = f"{main}sys.argv[1:] = {command}\ntry:\n    cli.main()\nfinally:\n    {end}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True)
    assert done.stdout.decode().splitlines()[-1] == "[]", done.stderr.decode()
    assert b"cat fur" in done.stdout or b"animal" in done.stdout
