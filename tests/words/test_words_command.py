"""``shoestring words``: what it prints, where, and the one sentence that bad input gets."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from shoestring import BinaryVectors, jobs
from shoestring.words import counts_rule, published
from shoestring.words import train as train_module
from shoestring.words.published import PublishedTraining
from shoestring.words.train import RULES
from shoestring.words.word2vec_io import read_vectors

from .conftest import SETTINGS

SMALL = ("--neurons", 32, "--active", 6, "--window", 5, "--min-count", 1, "--epochs", 3)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, run_command):  # type: ignore[no-untyped-def]
    """Run a command: exit code, standard output, standard error."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return partial(run_command, "words")


@pytest.fixture
def corpus(tmp_path: Path, texts: list[str]) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """Vectors on the disk, not to be changed."""
    path = tmp_path_factory.mktemp("words") / "vectors"
    BinaryVectors(**SETTINGS).fit(texts).save(path)
    return path


def fails(done: tuple[object, str, str], *said: str) -> None:
    """One sentence on standard error, nothing on standard output, exit code 2."""
    code, out, err = done
    assert (code, out) == (2, ""), done
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    for words in said:
        assert words in last


@pytest.mark.parametrize("rule", [(), ("--rule", "published")])
def test_train_says_the_cost_and_makes_the_same_vectors_as_the_class(run, corpus, tmp_path, rule):
    code, out, err = run("train", corpus, "--out", tmp_path / "v", *SMALL, *rule, "--json")
    assert code == 0
    assert json.loads(out) == {
        "words": 32, "neurons": 32, "active": 6, "bytes_a_word": 4, "codes_mb": 0.0,
        "folder": str(tmp_path / "v"),
    }  # fmt: skip
    assert ("about" in err) == bool(rule)  # the cost of what may take hours
    named = {"rule": rule[1]} if rule else {}
    want = BinaryVectors(**SETTINGS, **named).fit([corpus])
    assert (BinaryVectors.load(tmp_path / "v").codes_ == want.codes_).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "v"]


@pytest.mark.parametrize("rule", RULES)
def test_the_same_seed_gives_the_same_bits(run, corpus, tmp_path, rule):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run("train", corpus, "--out", tmp_path / name, *SMALL, "--rule", rule, "--seed", seed)
    a, b, c = (BinaryVectors.load(tmp_path / name) for name in "abc")
    assert a.activations_.tobytes() == b.activations_.tobytes() != c.activations_.tobytes()


def test_train_reads_chinese_with_a_lexicon_or_segmented(run, tmp_path):
    lines = ["市场 银行 价格 股票 贸易 市场", "银行 市场 股票 价格 贸易 银行"] * 20
    (tmp_path / "cut.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "plain.txt").write_text("\n".join(lines).replace(" ", ""), encoding="utf-8")
    (tmp_path / "lexicon.txt").write_text("市场\n银行\n价格\n股票\n贸易\n", encoding="utf-8")
    small = ("--neurons", 5, "--active", 2, "--window", 5, "--json")
    run("train", tmp_path / "cut.txt", "--out", tmp_path / "a", "--segmented", *small)
    lexicon = ("--lexicon", tmp_path / "lexicon.txt")
    run("train", tmp_path / "plain.txt", "--out", tmp_path / "b", *lexicon, *small)
    for name in ("a", "b"):
        code, out, _ = run("neighbours", tmp_path / name, "市场", "-k", 9, "--json")
        assert code == 0
        assert {row["word"] for row in json.loads(out)} == {"银行", "价格", "股票", "贸易"}


def test_neighbours_similar_and_context_print_what_the_class_says(run, folder):
    v = BinaryVectors.load(folder)
    want = [{"word": word, "similarity": s} for word, s in v.most_similar("cat", topn=3)]
    _, out, _ = run("neighbours", folder, "cat", "-k", 3, "--json")
    assert json.loads(out) == want
    _, out, _ = run("neighbours", folder, "cat", "-k", 3)
    assert [line.split()[1] for line in out.splitlines()[1:]] == [row["word"] for row in want]
    _, out, _ = run("similar", folder, "cat", "猫", "--json")
    assert json.loads(out) == {"words": ["cat", "猫"], "similarity": v.similarity("cat", "猫")}
    assert float(run("similar", folder, "cat", "猫")[1]) == pytest.approx(
        v.similarity("cat", "猫"), abs=5e-4
    )
    sentence = "Money. The cat sat on the bank."
    _, out, _ = run("context", folder, sentence, "cat", "-k", 2, "--json")
    found = v.most_similar_in_context(sentence, "cat", 2)
    assert [row["word"] for row in json.loads(out)] == [word for word, _ in found]


def test_the_weight_of_the_context_is_chosen_when_asking_or_when_training(
    run, folder, corpus, tmp_path
):
    sentence = "The cat bank coin money loan sat"
    zero = run("context", folder, sentence, "cat", "--context-weight", 0, "--json")[1]
    assert zero == run("neighbours", folder, "cat", "--json")[1]
    much = run("context", folder, sentence, "cat", "--context-weight", 9, "--json")[1]
    assert much not in (zero, run("context", folder, sentence, "cat", "--json")[1])
    run("train", corpus, "--out", tmp_path / "v", *SMALL, "--context-weight", 9)
    assert run("context", tmp_path / "v", sentence, "cat", "--json")[1] == much
    fails(run("context", folder, sentence, "cat", "--context-weight", -1), "at least 0. Got -1.0")


def test_eval_scores_folders_and_files_at_several_lengths(run, folder, tmp_path):
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("cat\tdog\t9\ncat\tbank\t1\n猫\t狗\t8\n猫\t银\t2\nzzz\tcat\t3\n", "utf-8")
    code, out, _ = run("eval", folder, pairs, pairs, "--active", "6,2", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["n_active"] for row in rows] == [6, 6, 2, 2]
    assert (rows[0]["n_pairs"], rows[0]["n_covered"]) == (5, 4)
    exported = tmp_path / "codes.txt"
    run("export", folder, "--out", exported)
    _, out, _ = run("eval", exported, pairs, "--json")
    assert json.loads(out)[0] == rows[0] | {"n_active": None}
    _, out, _ = run("eval", folder, pairs)
    assert out.splitlines()[1].split()[:2] == ["pairs.txt", "6"]


@pytest.mark.parametrize("format", ["word2vec", "word2vec-binary"])
def test_export_writes_codes_or_activations(run, folder, tmp_path, format):
    v = BinaryVectors.load(folder)
    code, out, _ = run("export", folder, "--out", tmp_path / "x", "--format", format, "--json")
    assert (code, json.loads(out)["words"]) == (0, 32)
    read = read_vectors(tmp_path / "x")
    assert read.words == v.index_to_key
    assert (read.vectors == v[v.index_to_key]).all()
    run("export", folder, "--out", tmp_path / "y", "--format", format, "--activations")
    assert (read_vectors(tmp_path / "y").vectors == v.activations_[32:]).all()


def test_binarise_makes_vectors_of_a_glove_file(run, tmp_path):
    rng = np.random.default_rng(0)
    words = [f"w{chr(97 + i)}" for i in range(20)]
    rows = (f"{word} {' '.join(map(str, rng.normal(size=8)))}" for word in words)
    (tmp_path / "glove.txt").write_text("\n".join(rows))
    made = ("--out", tmp_path / "v", "--neurons", 10, "--active", 3, "--json")
    code, out, _ = run("binarise", tmp_path / "glove.txt", *made)
    assert (code, json.loads(out)["bytes_a_word"]) == (0, 2)
    assert BinaryVectors.load(tmp_path / "v").in_context(["wa", "wb"], 0).sum() == 3


def test_no_colour_where_no_color_is_set(run, folder, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("neighbours", folder, "cat")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR")
    assert "\x1b[" not in run("neighbours", folder, "cat")[1]


@pytest.mark.parametrize(("rule", "other"), [("published", "n_epochs"), ("counts", "random_state")])
def test_an_interrupted_training_waits_to_be_resumed_and_ends_as_an_uninterrupted_one(
    run, corpus, tmp_path, monkeypatch, rule, other
):
    train = ("train", corpus, "--out", tmp_path / "v", *SMALL, "--rule", rule, "--json")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(published, "SAVE_S", 0.0)
        patched.setattr(train_module, "SAVE_S", 0.0)
        patched.setattr(jobs, "SAVING_SHARE", 1e9)
        patched.setattr(PublishedTraining, "save", stop)
        patched.setattr(counts_rule, "spherical_kmeans", stop)
        code, out, err = run(*train)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].endswith("run again with --resume")
    assert [path.name for path in tmp_path.iterdir() if "v" in path.name] == ["v.run"]
    fails(run(*train), "An interrupted training is in", "--resume")
    option = {"n_epochs": "--epochs", "random_state": "--seed"}[other]
    fails(run(*train, "--resume", option, 4), f"had {option} ", "not 4")
    code, out, _ = run(*train, "--resume")
    assert (code, json.loads(out)["words"]) == (0, 32)
    want = BinaryVectors(rule=rule, **SETTINGS).fit([corpus])
    assert (BinaryVectors.load(tmp_path / "v").activations_ == want.activations_).all()
    assert not (tmp_path / "v.run").exists()


@pytest.mark.slow
def test_ctrl_c_ends_a_training_with_130_and_its_run_folder(tmp_path, corpus):
    program = [sys.executable, "-m", "shoestring.cli", "words", "train", corpus]
    long = ("--out", tmp_path / "v", *SMALL, "--epochs", 40_000, "--rule", "published")
    process = subprocess.Popen(
        [*map(str, [*program, *long])], stderr=subprocess.PIPE, encoding="utf-8"
    )
    seen = ""
    while "training:" not in seen:
        seen += process.stderr.read(1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].endswith("run again with --resume")
    assert (tmp_path / "v.run" / "run.json").exists()


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"", (), "no word"),
        (b"a b c d e f\n", ("--active", 33), "must be an int in [1, 32]. Got 33"),
        (b"a b c d e f\n", ("--seed", -1), "must be an int in [0, "),
        (b"a b c d e f\n", ("--minutes", 0), "--minutes must be a number above 0. Got 0"),
        (b"a b c d e f\n", ("--minutes", 1e-6), "minutes"),
        (b"a b c d e f\n", ("--min-count", 9), "the most frequent word, 'a', occurs 1 times"),
        (b"a b c d e f\n", ("--rule", "oja"), "'counts' or 'published'. Got 'oja'"),
        (b"a b c d e f\n", ("--learning-rate", "0"), "a number above 0. Got 0.0"),
        (b"a b c d e f\n", ("--skip-top", "-1"), "an int of at least 0. Got -1"),
        (b"a b c d e f\n", ("--lexicon", "none.txt"), "There is no file none.txt"),
        (b"fine\n\xff\xfe\n", (), "corpus.txt:2:1: not UTF-8"),
        (b"GIF89a\x00\x00\x01", (), "corpus.txt"),
    ],
)
def test_train_refuses_bad_input_with_one_sentence(run, tmp_path, content, options, says):
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    fails(run("train", path, "--out", tmp_path / "v", *SMALL, *options), says)
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.skipif(os.name != "posix", reason="reads a pipe")
@pytest.mark.parametrize("more", [(), ("--minutes", "9")])
def test_standard_input_is_read_once_and_whole(corpus, tmp_path, more):
    program = [sys.executable, "-m", "shoestring.cli", "words", "train", "-", "--json"]
    options = map(str, ("--out", tmp_path / "v", *SMALL, *more))
    done = subprocess.run([*program, *options], input=corpus.read_bytes(), capture_output=True)
    assert json.loads(done.stdout)["words"] == 32, done.stderr
    want = BinaryVectors(**SETTINGS).fit([corpus])
    assert (BinaryVectors.load(tmp_path / "v").activations_ == want.activations_).all()


def test_train_refuses_a_folder_of_other_files_before_it_starts(run, corpus, tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "mine.txt").write_text("x")
    fails(run("train", corpus, "--out", tmp_path / "v", *SMALL), "It holds 'mine.txt'")
    fails(run("train", tmp_path / "none.txt", "--out", tmp_path / "w"), "There is no file")


def test_unknown_words_and_folders_are_one_sentence(run, folder, tmp_path):
    near = "The nearest spellings are 'cat'"
    fails(run("neighbours", folder, "catt"), "'catt' is none of the 32", near)
    fails(run("similar", folder, "cat", "catt"), near)
    fails(run("context", folder, "the catt sat", "catt"), near)
    fails(
        run("context", folder, "the cat sat", "dog"), "WORD must be a word of the sentence", "'sat'"
    )
    fails(run("neighbours", tmp_path / "none", "cat"), "Train some: shoestring words train")
    fails(run("neighbours", folder, "cat", "-k", 0), "an int in [1, ")
    fails(
        run("export", folder, "--out", tmp_path / "x", "--format", "glove"),
        "'word2vec' or 'word2vec-binary'",
    )


def test_damaged_vectors_are_one_sentence(run, folder, tmp_path):
    BinaryVectors.load(folder).save(tmp_path / "v")
    (codes,) = (tmp_path / "v").glob("*/codes*")
    codes.write_bytes(codes.read_bytes()[:-9])
    fails(run("neighbours", tmp_path / "v", "cat"), codes.name, "is damaged", "train the vectors")
    (tmp_path / "v.txt").write_text("2 3\na 1 2 3\nb 1 2\n")
    (tmp_path / "pairs.txt").write_text("a\tb\t1\n")
    fails(run("eval", tmp_path / "v.txt", tmp_path / "pairs.txt"), "v.txt:3: a vector of 2 numbers")
    fails(run("binarise", tmp_path / "v.txt", "--out", tmp_path / "w"), "v.txt:3")


def test_eval_refuses_what_it_cannot_score(run, folder, tmp_path):
    fails(run("eval", folder), "name a file of judgements")
    fails(run("eval", folder, tmp_path / "none"), "There is no file")
    fails(run("eval", folder, tmp_path / "none", "--active", "a"), "whole numbers separated")


TEXT = "the red shoes are very nice and the blue hat is cold in the long winter of the north"
JSON_LINES = "".join(json.dumps({"text": TEXT, "id": i}) + "\n" for i in range(9))
TABLE = "id,text\n" + "".join(f"{i},{TEXT}\n" for i in range(9))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "records", "-"])
@pytest.mark.parametrize("content", [JSON_LINES, "[" + ",".join(JSON_LINES.split("\n")[:-1]) + "]"])
def test_keys_of_json_are_no_words(tmp_path, name, content):
    check_words(tmp_path, name, content, {"text", "id"})


def test_headers_are_no_words(tmp_path):
    check_words(tmp_path, "-", TABLE, {"text", "id"})


def check_words(folder, name, content, wrong):
    """Train on a file or a pipe: the words are those of the text."""
    if name != "-":
        (folder / name).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "shoestring.cli", "words", "train", name, "--out", "v", *OPTIONS],
        input=content.encode(),
        capture_output=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = set(BinaryVectors.load(folder / "v"))
    assert words == set(TEXT.split())
    assert not words & wrong


OPTIONS = "--neurons 8 --active 2 --window 5 --min-count 1".split()  # noqa: SIM905


def test_a_limit_reads_the_first_words_of_a_file(run, tmp_path):
    (tmp_path / "v.txt").write_text("3 2\nred 1.5 2\n鞋 3 4\nhat 5 6\n", encoding="utf-8")
    small = ("--neurons", 2, "--active", 1, "--limit")
    code, _, _ = run("binarise", tmp_path / "v.txt", "--out", tmp_path / "v", *small, 2)
    assert code == 0
    assert list(BinaryVectors.load(tmp_path / "v")) == ["red", "鞋"]
    fails(run("binarise", tmp_path / "v.txt", "--out", tmp_path / "w", *small, 0), "Got 0")
