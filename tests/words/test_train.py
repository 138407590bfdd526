"""Training from text: the time limit, the run folder, what is left of an interrupted run."""

import json

import pytest

from shoestring import BinaryVectors, jobs
from shoestring.errors import BudgetError, ParameterError, ShoestringError
from shoestring.words import counts_rule, published
from shoestring.words import train as train_module
from shoestring.words.published import PublishedTraining
from shoestring.words.train import RULES, run_settings

from .conftest import SETTINGS


@pytest.fixture
def file(tmp_path, texts):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def eager(monkeypatch):
    """Everything is kept at once, not after a minute."""
    monkeypatch.setattr(published, "SAVE_S", 0.0)
    monkeypatch.setattr(train_module, "SAVE_S", 0.0)
    monkeypatch.setattr(jobs, "SAVING_SHARE", 1e9)


def interrupted(monkeypatch, rule, vectors, texts, **options):
    """Train until Ctrl-C comes in the middle."""

    def stop(*arguments, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if rule == "counts":
            patched.setattr(counts_rule, "spherical_kmeans", stop)
        else:
            advance = PublishedTraining.advance
            left = [2]

            def advance_twice(self):
                left[0] -= 1
                return advance(self) if left[0] >= 0 else stop()

            patched.setattr(PublishedTraining, "advance", advance_twice)
        with pytest.raises(KeyboardInterrupt):
            vectors.fit(texts, **options)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["file", "texts"])
def test_an_interrupted_training_goes_on_to_the_same_vectors(
    tmp_path, file, texts, monkeypatch, eager, rule, kind
):
    source = [file] if kind == "file" else texts
    vectors = BinaryVectors(rule=rule, **SETTINGS)
    want = BinaryVectors(rule=rule, **SETTINGS).fit(source)
    interrupted(monkeypatch, rule, vectors, source, checkpoint=tmp_path / "v")
    document = json.loads((tmp_path / "v.run" / "run.json").read_text())
    assert document["settings"] == run_settings(vectors.get_params())
    with pytest.raises(ParameterError, match="had random_state 0, not 1"):
        BinaryVectors(rule=rule, random_state=1, **SETTINGS).fit(source, checkpoint=tmp_path / "v")
    if kind == "texts" and rule == "published":
        with pytest.raises(ParameterError, match="was on other texts"):
            vectors.fit(source[::-1], checkpoint=tmp_path / "v")
    vectors.fit(source, checkpoint=tmp_path / "v")
    assert (vectors.activations_ == want.activations_).all()
    assert not (tmp_path / "v.run").exists()


def test_text_that_was_read_is_not_read_again(tmp_path, file, monkeypatch, eager):
    vectors = BinaryVectors(**SETTINGS)
    interrupted(monkeypatch, "counts", vectors, [file], checkpoint=tmp_path / "v")
    with monkeypatch.context() as patched:
        patched.setattr("shoestring.words.corpus.encode_corpus", None)
        vectors.fit([file], checkpoint=tmp_path / "v")
    assert len(vectors) == 32


def test_a_short_training_that_is_interrupted_leaves_nothing(tmp_path, file, monkeypatch):
    vectors = BinaryVectors(**SETTINGS)
    interrupted(monkeypatch, "counts", vectors, [file], checkpoint=tmp_path / "v")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_an_error_leaves_nothing_behind(tmp_path, file):
    for params, texts in (({"window": 99}, file), ({}, ["too short"])):
        with pytest.raises(ShoestringError):
            BinaryVectors(**{**SETTINGS, **params}).fit(texts, checkpoint=tmp_path / "v")
        assert not (tmp_path / "v.run").exists()


@pytest.mark.parametrize("rule", RULES)
def test_minutes_that_do_not_suffice_say_what_would(rule, texts):
    with pytest.raises(BudgetError, match=r"Pass (more )?--minutes"):
        BinaryVectors(rule=rule, **SETTINGS).fit(texts, minutes=1e-9)
    with pytest.raises(ParameterError, match="minutes"):
        BinaryVectors(rule=rule, **SETTINGS).fit(texts, minutes=-1)


def test_time_that_an_interrupted_run_has_used_counts(tmp_path, texts, monkeypatch, eager):
    vectors = BinaryVectors(rule="published", **SETTINGS)
    run = tmp_path / "v.run"
    interrupted(monkeypatch, "published", vectors, texts, checkpoint=tmp_path / "v")
    document = json.loads((run / "run.json").read_text())
    del document["crc32"]
    (run / "run.json").write_text(json.dumps({**document, "used_s": 3600.0}))
    with pytest.warns(match="minutes were over"):
        vectors.fit(texts, checkpoint=tmp_path / "v", minutes=59)
