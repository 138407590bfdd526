"""What users do wrong or by chance with ``shoestring classify``, and what becomes of it."""

import json

import pytest
from tests.classify.test_classify_command import PLAIN, fails, names, written
from tests.classify.topics import HashedWords, classifier, contents, topics

from shoestring.classify import TextClassifier
from shoestring.classify.job import evaluate_on

TEXTS, LABELS = topics()


@pytest.fixture
def source(tmp_path):
    return written(tmp_path / "texts.csv", TEXTS, LABELS)


@pytest.mark.parametrize("empty", ["", " "])
def test_a_row_of_a_csv_without_its_label_is_refused(run, tmp_path, empty):
    path = written(tmp_path / "t.csv", TEXTS, [*LABELS[:-1], empty])
    fails(run("fit", path, "--out", tmp_path / "m", *PLAIN), "t.csv", "'label'")


def test_a_fit_that_cannot_be_solved_leaves_nothing(run, tmp_path):
    path = written(tmp_path / "t.csv", ["cat fur", "bank coin"], ["a", "b"])
    fails(run("fit", path, "--out", tmp_path / "m", *PLAIN), "needs a class with samples that diff")
    assert names(tmp_path) == ["t.csv"]


def test_a_forgetting_that_leaves_nothing_to_solve_changes_nothing(run, source, tmp_path):
    run("fit", source, "--out", tmp_path / "m", *PLAIN)
    before = contents(tmp_path / "m")
    rest = written(tmp_path / "rest.csv", TEXTS[2:], LABELS[2:])
    fails(run("forget", tmp_path / "m", rest), "needs a class with samples that differ")
    assert contents(tmp_path / "m") == before


def test_a_seed_below_zero_is_refused(run, source, tmp_path):
    fails(run("fit", source, "--out", tmp_path / "m", *PLAIN, "--seed", -1), "-1")


def test_the_empty_folder_that_one_is_in_can_be_named(run, source, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run("fit", source, "--out", ".", *PLAIN)[0] == 0


def test_folders_with_and_without_texts_are_merged(run, source, tmp_path):
    run("fit", source, "--out", tmp_path / "a", *PLAIN)
    run("fit", source, "--out", tmp_path / "b", *PLAIN, "--keep-texts")
    done = run("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c", "--json")
    assert json.loads(done[1])["texts"] == 240


def test_explain_refuses_no_classes(run, source, tmp_path):
    run("fit", source, "--out", tmp_path / "m", *PLAIN)
    fails(run("explain", tmp_path / "m", "cat", "-n", 0), "0")


def test_eval_knows_classes_that_are_numbers(source, tmp_path):
    numbers = [(2, 10)[label == "animal"] for label in LABELS]
    made = classifier().fit(TEXTS, numbers)
    made.save(tmp_path / "m")
    path = written(tmp_path / "n.csv", TEXTS, numbers)
    found = evaluate_on(tmp_path / "m", str(path), text="text", label="label", reject_at=None)
    assert found["of_known_classes"] == len(TEXTS)
    assert found["accuracy"] == made.score(TEXTS, numbers)


def test_explain_writes_json_of_classes_that_are_numbers(run, tmp_path):
    classifier().fit(TEXTS, [int(label == "animal") for label in LABELS]).save(tmp_path / "m")
    code, out, _ = run("explain", tmp_path / "m", "cat dog", "--json")
    assert (code, json.loads(out)["label"]) == (0, 1)


def test_an_encoder_that_the_command_line_cannot_have_is_said_so(run, source, tmp_path):
    classifier(HashedWords()).fit(TEXTS, LABELS).save(tmp_path / "m")
    assert TextClassifier.load(tmp_path / "m", encoder=HashedWords()).n_learnt == 120
    fails(run("predict", tmp_path / "m", source), "command line")


def test_rows_without_a_text_are_skipped_where_that_is_asked_for(run, tmp_path):
    path = written(tmp_path / "t.csv", [*TEXTS, " "], [*LABELS, "animal"])
    fails(run("fit", path, "--out", tmp_path / "m", *PLAIN), "t.csv", "empty text")
    skipped = run("fit", path, "--out", tmp_path / "m", "--on-empty", "skip", "--json", *PLAIN)
    assert json.loads(skipped[1])["texts"] == len(TEXTS)
    for verb in ("add", "forget", "eval", "predict"):
        fails(run(verb, tmp_path / "m", path), "t.csv", "empty text")
        done = run(verb, tmp_path / "m", path, "--on-empty", "skip", "--json")
        found = json.loads(done[1])
        assert len(found) == len(TEXTS) if verb == "predict" else found["texts"]
    fails(run("eval", tmp_path / "m", path, "--on-empty", "drop"), '"error" or "skip"')
