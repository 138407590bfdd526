"""What users do wrong or by chance with a classifier of texts, and what becomes of it."""

import dataclasses
import json

import numpy as np
import pytest
from tests.classify.topics import HashedWords, assert_alike, classifier, kept, topics

from shoestring.classify import TextClassifier
from shoestring.errors import NotFittedError, ParameterError, ShapeError

TEXTS, LABELS = topics()
NEW, NEW_LABELS = topics(60, seed=9)


MISSED = pytest.fail.Exception


def test_lsa_of_other_texts_is_not_merged_where_it_knows_none_of_the_probe():
    ours, theirs = classifier().fit(TEXTS, LABELS), classifier().fit(NEW, NEW_LABELS)
    assert ours.encoder_.n_dims == theirs.encoder_.n_dims
    assert not np.allclose(ours.encode(NEW), theirs.encode(NEW), atol=1e-3)
    with pytest.raises(ParameterError):
        ours.merge(theirs)


@pytest.mark.parametrize(("keeps", "loads"), [("a", "ab"), ("b", "ab"), ("", "b"), ("a", "b")])
def test_a_loaded_classifier_without_kept_texts_merges(keeps, loads, tmp_path):
    both = []
    for name in "ab":
        made = classifier(HashedWords(), keep_texts=name in keeps).fit(TEXTS, LABELS)
        if name in loads:
            made.save(tmp_path / name)
            made = TextClassifier.load(tmp_path / name, encoder=HashedWords())
        both.append(made)
    assert both[0].merge(both[1]).n_learnt == 2 * len(TEXTS)


def test_begin_forgets_what_was_learnt():
    made = classifier(HashedWords()).fit(*topics(90, seed=5))
    made.begin(TEXTS)
    made.partial_fit(TEXTS, LABELS)
    assert_alike(made, classifier(HashedWords()).fit(TEXTS, LABELS), NEW)


def test_a_fit_that_fails_leaves_what_was_learnt():
    made = classifier().fit(TEXTS, LABELS)
    before = made.predict_proba(NEW)
    with pytest.raises(ParameterError):
        made.fit(NEW[:5], ["animal"] * 5)
    np.testing.assert_array_equal(made.predict_proba(NEW), before)


def test_of_two_copies_of_a_text_one_is_forgotten():
    made = classifier(HashedWords(), keep_texts=True).fit([*TEXTS, TEXTS[0]], [*LABELS, LABELS[0]])
    made.forget([TEXTS[0]], [LABELS[0]])
    assert len(kept(made)) == made.n_learnt == len(TEXTS)


def test_texts_that_were_never_learnt_cannot_be_forgotten():
    made = classifier(keep_texts=True).fit(*topics(600))
    with pytest.raises(ParameterError):
        made.forget(["paw paw paw horse"], ["animal"])


def test_examples_are_of_the_classes_that_are_explained():
    made = classifier(HashedWords()).fit(TEXTS, LABELS)
    made.keep_texts = True
    made.partial_fit(TEXTS[:2], LABELS[:2])
    said = made.explain("cat dog horse", n=2)
    assert said.label == said.nearest_mean == "animal"
    assert [near.label for near in said.examples] == ["animal"]


def test_an_explanation_of_nothing_is_refused():
    with pytest.raises(ParameterError, match="'n'"):
        classifier(HashedWords()).fit(TEXTS, LABELS).explain("cat", n=0)


def test_an_explanation_can_be_written_as_json_whatever_the_labels():
    made = classifier(HashedWords()).fit(TEXTS, [i % 2 for i in range(len(TEXTS))])
    assert json.loads(json.dumps(dataclasses.asdict(made.explain("cat"))))["label"] in (0, 1)


def test_nothing_learnt_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        TextClassifier("lsa").save(tmp_path / "a")


@pytest.mark.parametrize("n", [1, 3])
def test_score_refuses_labels_of_another_length(n):
    made = classifier(HashedWords()).fit(TEXTS, LABELS)
    with pytest.raises(ShapeError) as raised:
        made.score(NEW, NEW_LABELS[:n])
    assert "60 texts" in str(raised.value)


def test_a_save_after_another_has_replaced_the_folder_has_its_encoder(tmp_path):
    classifier().fit(TEXTS, LABELS).save(tmp_path)
    loaded = TextClassifier.load(tmp_path)
    classifier().fit(NEW, NEW_LABELS).save(tmp_path)
    loaded.save(tmp_path)
    assert TextClassifier.load(tmp_path).encoder_.vocabulary_ == loaded.encoder_.vocabulary_


def test_a_loaded_classifier_can_be_fitted_anew(tmp_path):
    classifier(HashedWords()).fit(TEXTS, LABELS).save(tmp_path)
    loaded = TextClassifier.load(tmp_path, encoder=HashedWords())
    assert_alike(loaded.fit(NEW, NEW_LABELS), classifier(HashedWords()).fit(NEW, NEW_LABELS), TEXTS)


@pytest.mark.parametrize("texts", [{"encoder": "lsa"}, {"vectors": 3, "examples": 4}])
def test_a_config_whose_texts_are_damaged_is_refused(texts, tmp_path):
    from shoestring.errors import IntegrityError

    classifier().fit(TEXTS, LABELS).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"texts": texts}))
    with pytest.raises(IntegrityError, match="config"):
        TextClassifier.load(tmp_path)
