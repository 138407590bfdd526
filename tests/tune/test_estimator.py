"""A ladder with the methods of scikit-learn."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import shoestring
from shoestring.errors import ParameterError, ShapeError
from shoestring.tune import Ladder, LadderClassifier
from shoestring.tune.predict import logits_of

WORDS = {"io": "open close read write file", "lists": "sort list join split chain"}
RNG = np.random.default_rng(0)
LABELS = ["lists", "io"] * 30
TEXTS = [" ".join(RNG.choice(WORDS[label].split(), 4)) for label in LABELS]


@pytest.fixture(scope="module")
def settings(saved):
    return {
        "backbone": str(saved("bert")),
        "epochs": 6,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "seed": 3,
    }


@pytest.fixture(scope="module")
def model(settings, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SHOESTRING_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        return LadderClassifier(**settings).fit(TEXTS, LABELS)


def test_it_learns_and_its_probabilities_are_those_of_its_answers(model):
    assert model.classes_.tolist() == ["io", "lists"]
    p = model.predict_proba(TEXTS)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (model.predict(TEXTS) == model.classes_[p.argmax(axis=1)]).all()
    assert model.score(TEXTS, LABELS) > 0.8
    assert model.report_["steps"] == 6 * 7  # 54 of 60 texts, 8 at a time
    assert model.predict_proba([]).shape == (0, 2)


def test_it_is_the_package_s_and_clones(model, settings):
    assert shoestring.LadderClassifier is LadderClassifier
    assert clone(model).get_params() == model.get_params()
    assert settings.items() <= model.get_params().items()


def test_the_same_seed_gives_the_same_model_and_classes_may_be_numbers(model, settings):
    numbers = [10 + (label == "lists") for label in LABELS]
    again = LadderClassifier(**settings).fit(TEXTS, numbers)
    assert again.classes_.tolist() == [10, 11]
    assert again.predict_proba(TEXTS).tolist() == model.predict_proba(TEXTS).tolist()


def test_its_model_is_saved_as_any_ladder(model, tmp_path):
    model.model_.save_pretrained(tmp_path / "ladder")
    ladder = Ladder.from_pretrained(tmp_path / "ladder")
    assert ladder.settings.labels == ("io", "lists")
    logits = logits_of(ladder, TEXTS)
    assert (logits.argmax(axis=1) == model.predict_proba(TEXTS).argmax(axis=1)).all()


@pytest.mark.parametrize(
    ("changes", "texts", "labels", "said"),
    [
        ({"reduction": 1}, TEXTS, LABELS, "'reduction'"),
        ({"epochs": 0}, TEXTS, LABELS, "'epochs'"),
        ({}, "open the file", LABELS, "'texts'.*a list of texts"),
        ({}, [*TEXTS[:-1], None], LABELS, "'texts'.*a list of texts"),
        ({}, TEXTS, LABELS[:-1], "60 texts and 59 labels"),
        ({}, TEXTS, ["io"] * 60, "'labels'.*at least two classes"),
        ({}, None, LABELS, "'texts'.*a list of texts"),
        ({}, TEXTS, None, "'labels'.*a sequence of labels"),
        ({}, TEXTS, "io" * 30, "'labels'.*a sequence of labels"),
        ({}, TEXTS, [*LABELS[:-1], None], "'labels'.*Got None instead. That is item 60"),
        ({}, TEXTS, [*LABELS[:-1], float("nan")], "'labels'.*Got nan instead. That is item 60"),
        ({}, TEXTS, [["io"]] * 60, "'labels'.*That is item 1"),
        ({}, TEXTS, ["\ud83d", *LABELS[1:]], "'labels'.*That is item 1"),
        ({}, [], [], "'texts'.*at least one"),
        ({"seed": -1}, TEXTS, LABELS, "'seed'.*-1"),
        ({"seed": 1 << 40}, TEXTS, LABELS, "'seed'"),
        ({"reduction": "8"}, TEXTS, LABELS, "'reduction'.*Got '8'"),
        ({"reduction": True}, TEXTS, LABELS, "'reduction'"),
        ({"layers": 5}, TEXTS, LABELS, "'layers'"),
        ({"layers": ["a"]}, TEXTS, LABELS, "'layers'"),
        ({"learning_rate": float("nan")}, TEXTS, LABELS, "'learning_rate'"),
        ({"learning_rate": "fast"}, TEXTS, LABELS, "'learning_rate'"),
        ({"epochs": "x"}, TEXTS, LABELS, "'epochs'"),
        ({"batch_size": 2.5}, TEXTS, LABELS, "'batch_size'"),
        ({"max_length": None}, TEXTS, LABELS, "'max_length'"),
    ],
)
def test_what_cannot_be_is_one_sentence(settings, changes, texts, labels, said):
    with pytest.raises((ParameterError, ShapeError), match=said):
        LadderClassifier(**{**settings, **changes}).fit(texts, labels)


@pytest.mark.parametrize("minutes", [0, -1, "x", float("nan"), [1]])
def test_minutes_that_cannot_be_are_refused(settings, minutes):
    with pytest.raises(ParameterError, match="'minutes'"):
        LadderClassifier(**settings).fit(TEXTS, LABELS, minutes=minutes)


def test_numbers_of_numpy_are_as_good(settings):
    given = {**settings, "epochs": np.float32(1), "batch_size": np.int64(8), "seed": np.int8(3)}
    given |= {"layers": np.array([1, 2])}
    model = LadderClassifier(**given).fit(np.array(TEXTS), np.array(LABELS))
    assert model.predict(np.array(TEXTS[:2])).shape == (2,)


def test_what_is_asked_is_checked(model):
    assert model.predict([]).shape == (0,)
    for texts in (None, "one text", 5, [None], [float("nan")], [["a"]], ["\ud83d"]):
        with pytest.raises(ParameterError, match="'texts'"):
            model.predict(texts)
    with pytest.raises(ShapeError, match="a label for each text"):
        model.score(TEXTS, LABELS[:-1])
    with pytest.raises(ParameterError, match="'labels'"):
        model.score(TEXTS, None)


def test_a_fit_that_fails_leaves_what_was_there(model):
    with pytest.raises(ParameterError):
        model.fit(TEXTS, ["a"] * 60)
    assert model.predict(TEXTS[:1]).tolist()[0] in ("io", "lists")


def test_it_answers_after_fit_alone(settings):
    with pytest.raises(shoestring.errors.NotFittedError, match="not fitted yet"):
        LadderClassifier(**settings).predict(TEXTS)
    with pytest.raises(NotFittedError):
        LadderClassifier(**settings).predict(TEXTS)
