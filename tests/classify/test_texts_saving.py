"""A classifier of texts that was saved is the same after loading with its encoder."""

import json
import shutil

import numpy as np
import pytest
from tests.classify.test_texts import NEEDS_MINILM, READABLE
from tests.classify.topics import (
    CHINESE,
    HashedWords,
    assert_same_bits,
    classifier,
    contents,
    topics,
)

from shoestring.classify import AnalyticSoftmax, TextClassifier
from shoestring.errors import FormatError, IntegrityError, ParameterError

TEXTS, LABELS = topics()
NEW, NEW_LABELS = topics(60, seed=9)


@pytest.fixture
def saved(tmp_path):
    """A folder with LSA."""
    classifier().fit(TEXTS, LABELS).save(tmp_path / "saved")
    return tmp_path / "saved"


def encoders(folder):
    return {name: data for name, data in contents(folder).items() if "/encoder/" in name}


@pytest.mark.parametrize("of", ["English", "Chinese"])
def test_a_loaded_classifier_gives_the_same_bits(of, tmp_path):
    texts, labels = topics(of=CHINESE) if of == "Chinese" else (TEXTS, LABELS)
    made = classifier().fit(texts, labels)
    made.save(tmp_path)
    loaded = TextClassifier.load(tmp_path)
    assert_same_bits(loaded, made, texts)
    assert loaded.encoder_name == "lsa"


@NEEDS_MINILM
def test_minilm_is_not_copied(tmp_path):
    made = classifier("minilm").fit(*READABLE)
    made.save(tmp_path)
    assert sum(map(len, contents(tmp_path).values())) < 40_000_000  # its weights are 90 MB
    assert not encoders(tmp_path)
    assert_same_bits(TextClassifier.load(tmp_path), made, READABLE[0])


def test_an_encoder_of_ones_own_must_be_passed_again(tmp_path):
    made = classifier(HashedWords()).fit(TEXTS, LABELS)
    made.save(tmp_path)
    with pytest.raises(ParameterError, match=r"In Python: TextClassifier\.load\(folder, encoder="):
        TextClassifier.load(tmp_path)
    assert_same_bits(TextClassifier.load(tmp_path, encoder=HashedWords()), made, NEW)


def test_a_loaded_classifier_goes_on_learning_forgetting_and_merging(saved):
    made, loaded = classifier().fit(TEXTS, LABELS), TextClassifier.load(saved)
    other = TextClassifier.load(saved)
    for each in (made, loaded):
        each.partial_fit(NEW, ["weather"] * len(NEW)).forget(TEXTS[:9], LABELS[:9]).merge(other)
    assert_same_bits(loaded, made, NEW)
    assert loaded.n_learnt == 2 * len(TEXTS) + len(NEW) - 9


@pytest.mark.parametrize("encoder", ["lsa", "words", "a folder"])
def test_a_save_elsewhere_copies_the_encoder(encoder, words, tmp_path):
    if encoder == "a folder":  # word vectors, which are gone afterwards
        encoder = str(shutil.copytree(words, tmp_path / "words"))
    made = classifier(encoder).fit(TEXTS, LABELS)
    made.save(tmp_path / "a")
    TextClassifier.load(tmp_path / "a").save(tmp_path / "b")
    assert encoders(tmp_path / "a")
    for folder in {tmp_path / "a", tmp_path / encoder}:
        shutil.rmtree(folder, ignore_errors=True)
    loaded = TextClassifier.load(tmp_path / "b")
    assert_same_bits(loaded, made, NEW)
    assert loaded.encoder_name == encoder


def test_labels_that_are_numbers_stay_numbers(tmp_path):
    numbers = [i % 2 + 7 for i in range(len(TEXTS))]
    made = classifier(HashedWords()).fit(TEXTS, numbers)
    made.save(tmp_path)
    loaded = TextClassifier.load(tmp_path, encoder=HashedWords())
    assert_same_bits(loaded, made, NEW)
    loaded.forget(TEXTS[:2], numbers[:2])
    assert loaded.n_learnt == len(TEXTS) - 2


def test_the_head_opens_from_the_folder_of_texts(saved):
    made = TextClassifier.load(saved)
    head = AnalyticSoftmax.load(saved)
    np.testing.assert_array_equal(
        head.predict_proba(made.encode(NEW)), made.predict_proba(NEW), strict=True
    )


def test_a_folder_without_texts_is_refused_with_one_sentence(tmp_path):
    head = AnalyticSoftmax().fit(HashedWords().encode(TEXTS), LABELS)
    head.save(tmp_path)
    with pytest.raises(FormatError, match=r"fitted to vectors, not to texts\. Open it with Ana"):
        TextClassifier.load(tmp_path)


def test_an_encoder_that_the_config_does_not_list_is_named(saved):
    config = json.loads((saved / "config.json").read_bytes())
    config["files"] = {n: c for n, c in config["files"].items() if not n.startswith("encoder/")}
    del config["crc32"]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(IntegrityError, match="does not list encoder"):
        TextClassifier.load(saved)


def test_a_save_after_another_has_replaced_the_folder_has_its_encoder(tmp_path):
    classifier().fit(TEXTS, LABELS).save(tmp_path)
    loaded = TextClassifier.load(tmp_path)
    classifier().fit(NEW, NEW_LABELS).save(tmp_path)
    loaded.save(tmp_path)
    assert TextClassifier.load(tmp_path).encoder_.vocabulary_ == loaded.encoder_.vocabulary_


@pytest.mark.parametrize("texts", [{}, {"vectors": 3, "examples": 4}])
def test_a_config_whose_texts_are_damaged_is_refused(texts, tmp_path):
    classifier().fit(TEXTS, LABELS).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"texts": texts}))
    with pytest.raises(IntegrityError, match="config"):
        TextClassifier.load(tmp_path)
