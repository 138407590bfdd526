"""``shoestring classify``: what it prints, where, and the one sentence that bad input gets."""

import csv
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.classify.topics import (
    CHINESE,
    THREE,
    assert_alike,
    assert_same_bits,
    classifier,
    contents,
    topics,
)

from shoestring.classify import AnalyticSoftmax, TextClassifier
from shoestring.classify.job import evaluate_on, fit_to_folder
from shoestring.jobs import Clock

PLAIN = ("--encoder", "lsa", "--random", 0)
TEXTS, LABELS = topics(150, of=THREE)
NEW, NEW_LABELS = topics(60, seed=9, of=THREE)


def written(path, texts, labels, names=("text", "label")):
    """A csv or jsonl file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows([names, *zip(texts, labels, strict=True)])
        else:
            rows = (dict(zip(names, row, strict=True)) for row in zip(texts, labels, strict=True))
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


@pytest.fixture
def source(tmp_path):
    return written(tmp_path / "texts.csv", TEXTS, LABELS)


@pytest.fixture
def new(tmp_path):
    return written(tmp_path / "new.csv", NEW, NEW_LABELS)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    made = classifier()
    source = written(folder / "texts.csv", TEXTS, LABELS)
    fit_to_folder(made, str(source), folder / "m", Clock(), text="text", label="label")
    return folder / "m"


@pytest.fixture
def model(fitted, tmp_path):
    """A folder that may be changed: a copy."""
    shutil.copytree(fitted, tmp_path / "m")
    return tmp_path / "m"


def fails(done, *said):
    """One sentence on standard error, nothing on standard output, exit code 2."""
    code, out, err = done
    assert (code, out) == (2, ""), done
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    for words in said:
        assert words in last, last


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- what they do ----


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_fit_makes_the_same_classifier_as_the_class(run, tmp_path, ending):
    path = written(tmp_path / f"texts.{ending}", TEXTS, LABELS)
    out = tmp_path / "m"
    code, said, _ = run("fit", path, "--out", out, *PLAIN, "--json")
    assert code == 0
    found = json.loads(said)
    left = {name: found.pop(name) for name in list(found) if name.startswith("left_out")}
    settled = tuple(found.pop(name) for name in ("shrinkage", "temperature", "label_noise"))
    assert 0 < found.pop("folder_mb") < 1
    assert found == {
        "texts": 150, "classes": 3, "encoder": "lsa", "random_features": 0, "folder": str(out),
    }  # fmt: skip
    made, loaded = classifier().fit(TEXTS, LABELS), TextClassifier.load(out)
    assert_alike(loaded, made, NEW)
    head = loaded.head
    assert settled == (head.shrinkage_, head.temperature_, head.label_noise_)
    assert left == {
        "left_out" + ("" if name == "n" else f"_{name}"): value
        for name, value in loaded.head.report().items()
    }
    assert names(tmp_path) == ["m", path.name]


def test_fit_takes_random_features_and_columns(run, tmp_path):
    path = written(tmp_path / "t.csv", TEXTS, LABELS, ("body", "topic"))
    columns = ("--text", "body", "--label", "topic", "--json", "--encoder", "lsa")
    more = ("--random", 30)
    _, out, _ = run("fit", path, "--out", tmp_path / "a", *columns, *more, "--seed", 3)
    assert json.loads(out)["random_features"] <= 30
    head = AnalyticSoftmax.load(tmp_path / "a")
    assert (head.expansion, head.n_random, head.random_state) == ("auto", 30, 3)


def test_the_same_seed_gives_the_same_classifier(run, source, tmp_path):
    random = ("--encoder", "lsa", "--random", 20)
    for name, seed, jobs in (("a", 5, 1), ("b", 5, 2), ("c", 6, 1)):
        seeds = ("--seed", seed, "--jobs", jobs)
        assert run("fit", source, "--out", tmp_path / name, *random, *seeds)[0] == 0
    a, b, c = (TextClassifier.load(tmp_path / name) for name in "abc")
    assert_same_bits(a, b, NEW)
    assert np.abs(a.predict_proba(NEW) - c.predict_proba(NEW)).max() > 1e-6


def test_fit_reads_chinese(run, tmp_path):
    path = written(tmp_path / "t.jsonl", *topics(of=CHINESE))
    code, _, err = run("fit", path, "--out", tmp_path / "m", "--random", 0)  # encoder: auto
    assert code == 0
    assert "note: MiniLM " in err
    asked = written(tmp_path / "a.jsonl", ["猫和狗的毛", "银钱与股市"], ["", ""])
    _, out, _ = run("predict", tmp_path / "m", asked)
    assert [line.split("\t")[1] for line in out.splitlines()[1:]] == ["动物", "金融"]


def test_add_and_forget_change_the_classifier_as_the_class_does(run, model, new):
    made = TextClassifier.load(model)
    code, out, _ = run("add", model, new, "--json")
    assert (code, json.loads(out)["texts"]) == (0, 210)
    assert_same_bits(TextClassifier.load(model), made.partial_fit(NEW, NEW_LABELS), NEW)
    code, out, _ = run("forget", model, new, "--json")
    assert (code, json.loads(out)["texts"]) == (0, 150)
    assert_same_bits(TextClassifier.load(model), made.forget(NEW, NEW_LABELS), NEW)
    code, out, _ = run("add", model, new)
    assert (code, out.splitlines()[0].split()) == (0, ["texts", "210"])


def test_refine_says_its_steps_and_add_that_they_are_gone(run, model, source, new):
    made = TextClassifier.load(model).refine(TEXTS, LABELS)
    code, out, _ = run("refine", model, source, "--json")
    assert code == 0
    assert json.loads(out).get("newton_steps") == made.head.report().get("steps")
    assert_same_bits(TextClassifier.load(model), made, NEW)
    unknown = written(new.parent / "unknown.csv", NEW, ["another"] * len(NEW))
    fails(run("refine", model, unknown), "'y' parameter of AnalyticSoftmax.refine", "another")


def test_merge_makes_a_new_classifier_and_leaves_the_others(run, model, new, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    run("add", other, new)
    before = contents(model), contents(other)
    code, out, _ = run("merge", model, other, "--out", tmp_path / "whole", "--json")
    assert (code, json.loads(out)["texts"]) == (0, 150 + 210)
    made = TextClassifier.load(model).merge(TextClassifier.load(other))
    assert_same_bits(TextClassifier.load(tmp_path / "whole"), made, NEW)
    assert (contents(model), contents(other)) == before


def test_predict_prints_a_label_and_its_probability_for_each_text(run, model, tmp_path):
    made = TextClassifier.load(model)
    rows = [{"id": f"x{i}", "text": text} for i, text in enumerate(NEW)]
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    p, labels = made.predict_proba(NEW).max(axis=1), made.predict(NEW)
    code, out, _ = run("predict", model, path, "--json")
    assert code == 0
    assert json.loads(out) == [
        {"id": f"x{i}", "label": labels[i], "probability": round(float(p[i]), 6)} for i in range(60)
    ]
    lines = run("predict", model, path)[1].splitlines()
    assert lines[0] == "id\tlabel\tprobability"
    assert lines[1:] == [f"x{i}\t{labels[i]}\t{p[i]:.3f}" for i in range(60)]
    lines = run("predict", model, path, "--with-text")[1].splitlines()
    assert lines[0] == "id\tlabel\tprobability\ttext"
    assert lines[1:] == [f"x{i}\t{labels[i]}\t{p[i]:.3f}\t{NEW[i]}" for i in range(60)]


ODD_IDS = ["a\tb", "c\nd", 'say "hi"', "e\r\nf", "猫\u2028狗", "007", "-"]


def test_rows_are_read_back_whatever_the_ids_and_texts_hold(run, model, tmp_path):
    rows = [{"id": id_, "text": f"cat fur {id_}"} for id_ in ODD_IDS]
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = run("predict", model, path, "--with-text")
    found = list(csv.DictReader(io.StringIO(out, newline=""), dialect="excel-tab"))
    assert [row["id"] for row in found][:3] == ODD_IDS[:3]
    assert len(found) == len(rows)
    assert "\u2028" not in out
    _, out, _ = run("predict", model, path, "--with-text", "--json")
    assert [(row["id"], row["text"]) for row in json.loads(out)] == [
        tuple(r.values()) for r in rows
    ]


def test_predict_reads_standard_input_and_more_than_a_batch(model):
    program = [sys.executable, "-m", "shoestring.cli", "classify", "predict", str(model), "-"]
    texts = NEW * 20
    done = subprocess.run(
        [*program, "--json"], input="\n".join(texts).encode(), capture_output=True
    )
    found = json.loads(done.stdout)
    assert [row["id"] for row in found] == [str(i) for i in range(1, 1201)]
    assert [row["label"] for row in found] == TextClassifier.load(model).predict(NEW).tolist() * 20


def test_what_is_of_no_class_is_none_or_a_dash(run, model, tmp_path):
    asked = written(tmp_path / "asked.csv", [*NEW, "qwop"], [*NEW_LABELS, ""])
    answers = TextClassifier.load(model).predict([*NEW, "qwop"], reject_at=0.2).tolist()
    assert 0 < answers.count(None) < 61
    _, out, _ = run("predict", model, asked, "--reject-at", 0.2, "--json")
    assert [row["label"] for row in json.loads(out)] == answers
    _, out, _ = run("predict", model, asked, "--reject-at", 0.2)
    shown = ["-" if answer is None else answer for answer in answers]
    assert [line.split("\t")[1] for line in out.splitlines()[1:]] == shown


def test_eval_measures_what_was_left_out(run, model, tmp_path):
    from sklearn.metrics import f1_score, log_loss

    made = TextClassifier.load(model)
    asked, truth = topics(60, seed=9, of=THREE, stray=0.8)
    new = written(tmp_path / "new.csv", asked, truth)
    found = json.loads(run("eval", model, new, "--json")[1])
    assert (found["texts"], found["of_known_classes"]) == (60, 60)
    assert found["accuracy"] == pytest.approx(made.score(asked, truth))
    assert 0.5 < found["accuracy"] < 1
    assert found["macro_f1"] == pytest.approx(f1_score(truth, made.predict(asked), average="macro"))
    assert found["log_loss"] == pytest.approx(log_loss(truth, made.predict_proba(asked)))
    unknown = written(tmp_path / "u.csv", [*asked, "qwop qwop"], [*truth, "zoo"])
    found = json.loads(run("eval", model, unknown, "--reject-at", 0.1, "--json")[1])
    assert (found["texts"], found["of_known_classes"]) == (61, 60)
    none = [answer is None for answer in made.predict([*asked, "qwop qwop"], reject_at=0.1)]
    assert found["rejected"] == pytest.approx(np.mean(none))
    assert found["rejected_of_known"] == pytest.approx(np.mean(none[:-1]))
    rows = run("eval", model, new)[1].splitlines()
    assert rows[0].split() == ["texts", "60"]
    assert rows[2].split() == ["accuracy", f"{made.score(asked, truth):.4g}"]


# ---- bad input ----


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text,topic\ncat,a\ndog,b\n", ("t.csv:", "no column 'label'", "'text', 'topic'")),
        ("text,label\ncat,a\ndog,a\n", ("at least two classes. Got ['a']",)),
        ("text,label\ncat,a\n ,b\n", ("t.csv:3", "an empty text")),
        ("text,label\ncat,a\ndog, \n", ("t.csv", "'label'")),
        ("text,label\n?,a\n!,b\n", ("a letter or digit",)),
    ],
)
def test_fit_refuses_a_bad_file_with_one_sentence(run, tmp_path, content, says):
    (tmp_path / "t.csv").write_text(content)
    fails(run("fit", tmp_path / "t.csv", "--out", tmp_path / "m", *PLAIN, "--json"), *says)
    assert names(tmp_path) == ["t.csv"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--minutes", 1e-6), "Pass --minutes"),
        (("--seed", -1), "-1"),
        (("--encoder", "tf-idf"), "tf-idf"),
        (("--encoder", "no/folder"), "no/folder"),
        (("--random", -5), "--random must be "),
        (("--jobs", 0), "--jobs must be "),
    ],
)
def test_fit_refuses_options_that_cannot_be(run, source, tmp_path, options, says):
    fails(run("fit", source, "--out", tmp_path / "m", *PLAIN, *options), says)
    assert names(tmp_path) == ["texts.csv"]


def test_files_and_folders_that_are_not_there_are_named(run, model, source, tmp_path):
    fails(run("fit", tmp_path / "no.csv", "--out", tmp_path / "o"), "There is no file", "no.csv")
    for verb in ("add", "forget", "predict", "eval"):
        fails(run(verb, tmp_path / "none", source), "none")
        fails(run(verb, model, tmp_path / "no.csv"), "There is no file")
    assert names(tmp_path) == ["m", "texts.csv"]


def test_forgetting_what_was_never_seen_leaves_every_byte(run, model, source, tmp_path):
    before = contents(model)
    foreign = written(tmp_path / "f.csv", ["cat dog"] * 60, ["animal"] * 60)
    fails(run("forget", model, foreign), "cannot have been learned")
    unknown = written(tmp_path / "u.csv", ["cat dog"], ["zoo"])
    fails(run("forget", model, unknown, "--json"), "there is no class 'zoo'")
    fails(run("forget", model, source), "needs samples of at least two classes")
    fails(run("add", model, written(tmp_path / "b.csv", ["cat"], ["a"], ("x", "y"))), "b.csv")
    assert contents(model) == before


def test_a_folder_of_other_files_is_refused_before_anything_is_read(run, model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    fails(run("merge", model, model, "--out", tmp_path / "mine"), "It holds 'thesis.txt'")
    fails(run("fit", tmp_path / "no.csv", "--out", tmp_path / "mine"), "It holds 'thesis.txt'")
    assert contents(tmp_path / "mine") == {"thesis.txt": b"mine"}


def test_merge_refuses_one_classifier_and_other_encoders(run, model, new, tmp_path):
    fails(run("merge", model, "--out", tmp_path / "w"), "the folders of two classifiers or more")
    run("fit", new, "--out", tmp_path / "other", *PLAIN)
    fails(run("merge", model, tmp_path / "other", "--out", tmp_path / "w"), "classif")
    head = tmp_path / "head"
    AnalyticSoftmax().fit(np.eye(4)[[0, 1, 2, 3]], list("aabb")).save(head)
    fails(run("merge", model, head, "--out", tmp_path / "w"), "fitted to vectors, not to texts")
    assert not (tmp_path / "w").exists()


def test_eval_knows_classes_that_are_numbers(source, tmp_path):
    numbers = [(2, 10)[label == "animal"] for label in LABELS]
    made = classifier().fit(TEXTS, numbers)
    made.save(tmp_path / "m")
    path = written(tmp_path / "n.csv", TEXTS, numbers)
    found = evaluate_on(tmp_path / "m", str(path), text="text", label="label", reject_at=None)
    assert found["of_known_classes"] == len(TEXTS)
    assert found["accuracy"] == made.score(TEXTS, numbers)


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
    fails(run("eval", tmp_path / "m", path, "--on-empty", "drop"), "'error' or 'skip'")
