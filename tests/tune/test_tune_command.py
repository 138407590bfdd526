"""``shoestring tune``: what it makes and prints, and the one sentence that bad input gets."""

import csv
import errno
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from filelock import FileLock
from transformers import AutoModel

from shoestring.errors import ParameterError
from shoestring.jobs import _KIND as RUN
from shoestring.jobs import Clock
from shoestring.match.scorer import load_scorer
from shoestring.tune import job, trainer
from shoestring.tune.cache import OutputCache
from shoestring.tune.ladder import Ladder
from shoestring.tune.predict import logits_of
from shoestring.tune.trainer import Checkpoints

WORDS = {"io": "open close read write file", "lists": "sort list join split chain"}
D, LAYERS, R = 32, 3, 4
QUICK = ("--reduction", R, "--epochs", 1, "--batch-size", 16)
pytestmark = [
    # peft 0.21 asks transformers 5.23 for a name that is to go
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]


def texts(n=40, seed=0, words=WORDS):
    rng = np.random.default_rng(seed)
    names = list(words)
    return [
        (" ".join(rng.choice(words[names[i % 2]].split(), 3 + i % 4)), names[i % 2])
        for i in range(n)
    ]


def queries(n=12, texts_of_each=3):
    """Queries with a right text and wrong ones."""
    rng, rows = np.random.default_rng(0), []
    for i in range(n):
        of, other = list(WORDS.values())[:: 1 if i % 2 else -1]
        query = " ".join(rng.choice(of.split(), 4))
        for j in range(texts_of_each):
            text = " ".join(rng.choice((other if j else of).split(), 4))
            rows += [(query, text, int(not j))]
    return rows


def written(path, rows, names=("text", "label")):
    """A csv or jsonl file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows([names, *rows])
        else:
            lines = (dict(zip(names, row, strict=True)) for row in rows)
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return path


@pytest.fixture
def run(run_command, saved):
    """Run a command beside the tiny BERT: exit code, standard output, standard error."""

    def main(*arguments):
        more = ()
        if arguments[0] in ("classify", "score") and "--backbone" not in arguments:
            more = "--backbone", saved("bert")
        return run_command("tune", *arguments, *more)

    return main


@pytest.fixture
def source(tmp_path):
    return written(tmp_path / "texts.csv", texts())


@pytest.fixture
def pairs(tmp_path):
    return written(tmp_path / "pairs.csv", queries(), ("a", "b", "label"))


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
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


def bits(folder):
    ladder = Ladder.from_pretrained(folder, dtype="float32")
    return ladder.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- what they do ----


@pytest.mark.parametrize(
    ("method", "given", "want"),
    [("ladder", None, "16"), ("head", None, "16"), ("full", None, None), ("head", "512", "512")],
)
def test_little_stays_in_memory_where_the_backbone_only_reads(
    run, source, tmp_path, monkeypatch, method, given, want
):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "")  # taken back after the test, whatever the run sets
    if given is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, given)
    returned = []
    monkeypatch.setattr(job, "return_freed_memory", lambda: returned.append(True))
    assert run("classify", source, "--out", tmp_path / "m", "--method", method, *QUICK)[0] == 0
    assert os.environ.get(name) == want
    assert len(returned) == (method != "full")


@pytest.mark.parametrize("method", ["ladder", "head", "lora", "full"])
def test_every_method_makes_a_folder_and_the_same_report(run, source, tmp_path, saved, method):
    if method == "lora":
        pytest.importorskip("peft")
    out = tmp_path / "m"
    code, said, err = run("classify", source, "--out", out, "--method", method, *QUICK, "--json")
    assert code == 0, err
    report = json.loads(said)
    assert {name: type(value) for name, value in report.items()} == {
        "folder": str, "method": str, "backbone": str, "train_examples": int,
        "held_out_examples": int, "held_out": dict, "epochs": float, "steps": int,
        "trained_parameters": int, "step_ms": float, "seconds": dict,
    }  # fmt: skip
    assert (report["folder"], report["method"]) == (str(out), method)
    assert (report["train_examples"], report["held_out_examples"]) == (36, 4)
    assert (report["epochs"], report["steps"]) == (1.0, 3)
    assert report["held_out"].keys() == {"loss", "accuracy", "macro_f1"}
    phases = {"reading", "loading", "training", "evaluation"}
    assert phases <= report["seconds"].keys() <= phases | {"outputs"}
    assert ("outputs" in report["seconds"]) == (method in ("ladder", "head"))
    assert names(tmp_path) == ["m", "texts.csv"]
    ladder = Ladder.from_pretrained(out)
    assert ladder.settings.labels == ("io", "lists")
    assert (ladder.side is not None) == (method == "ladder")


def test_a_report_is_lines_for_people(run, source, tmp_path):
    code, out, _ = run("classify", source, "--out", tmp_path / "m", "--method", "head", *QUICK)
    assert code == 0
    lines = {
        name.strip(): value
        for name, value in (line.rsplit(maxsplit=1) for line in out.splitlines())
    }
    assert lines["train examples"] == "36"
    assert 0 <= float(lines["held out: accuracy"]) <= 1
    assert "seconds: training" in lines
    assert "inference overhead" not in lines  # None


def test_a_model_is_learnt_and_predicts_what_the_ladder_says(run, tmp_path):
    source = written(tmp_path / "t.jsonl", texts(60))
    held_out = written(tmp_path / "e.jsonl", texts(20, seed=5))
    more = ("--eval", held_out, "--epochs", 6, "--batch-size", 8, "--reduction", R, "--json")
    more += ("--learning-rate", 3e-3, "--seed", 2)
    code, out, err = run("classify", source, "--out", tmp_path / "m", *more)
    assert code == 0, err
    report = json.loads(out)
    assert (report["train_examples"], report["held_out_examples"]) == (60, 20)
    assert report["held_out"]["accuracy"] >= 0.9
    asked = [text for text, _ in texts(20, seed=5)]
    path = written(tmp_path / "new.csv", [(f"x{i}", text) for i, text in enumerate(asked)],
                   ("id", "text"))  # fmt: skip
    code, out, _ = run("predict", tmp_path / "m", path, "--json")
    logits = logits_of(Ladder.from_pretrained(tmp_path / "m"), asked)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = json.loads(out)
    assert [row["id"] for row in rows] == [f"x{i}" for i in range(20)]
    assert [row["label"] for row in rows] == [("io", "lists")[i] for i in logits.argmax(1)]
    np.testing.assert_allclose([row["probability"] for row in rows], p.max(1), atol=1e-5)
    truth = [label for _, label in texts(20, seed=5)]
    right = np.mean([row["label"] == label for row, label in zip(rows, truth, strict=True)])
    assert right == pytest.approx(report["held_out"]["accuracy"], abs=0.051)
    lines = run("predict", tmp_path / "m", path)[1].splitlines()
    assert lines[0].split("\t") == ["x0", rows[0]["label"], f"{rows[0]['probability']:.4f}"]


def test_a_scorer_is_tuned_on_lists_and_loaded(run, pairs, tmp_path):
    code, out, err = run("score", pairs, "--out", tmp_path / "s", *QUICK, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["train_lists"], report["held_out_lists"]) == (11, 1)
    assert "train_examples" not in report
    assert report["held_out"].keys() == {"loss", "average_precision", "auc", "accuracy"}
    asked = [(a, b) for a, b, _ in queries()]
    scores = load_scorer(tmp_path / "s").predict(asked)
    columns = ("--text", "a", "--second", "b")
    code, out, _ = run("predict", tmp_path / "s", pairs, *columns, "--json")
    rows = json.loads(out)
    assert list(rows[0]) == ["id", "score"]
    np.testing.assert_allclose([row["score"] for row in rows], scores, atol=0.03, rtol=0.03)


@pytest.mark.parametrize(
    "options",
    [
        ("--pairs", "joint"), ("--pairs", "late"), ("--task", "regress"), ("--layers", "0,2"),
        ("--method", "head"), ("--method", "full"), ("--method", "full", "--pairs", "apart"),
    ],
    ids=lambda options: " ".join(map(str, options)),
)  # fmt: skip
def test_scorers_of_every_kind_answer(run, pairs, tmp_path, options):
    code, _, err = run("score", pairs, "--out", tmp_path / "s", *QUICK, *options)
    assert code == 0, err
    scores = load_scorer(tmp_path / "s").predict([(a, b) for a, b, _ in queries()])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    "options", [(), ("--pairs", "joint"), ("--method", "lora", "--pairs", "apart")], ids=" ".join
)
def test_classes_of_pairs_are_tuned(run, tmp_path, options):
    rows = [(a, b, ("no", "yes")[y]) for a, b, y in queries()]
    path = written(tmp_path / "p.csv", rows, ("text", "other", "label"))
    code, out, err = run(
        "classify", path, "--second", "other", "--out", tmp_path / "m", *QUICK, *options
    )
    assert code == 0, err
    code, out, _ = run("predict", tmp_path / "m", path, "--second", "other")
    assert {line.split("\t")[1] for line in out.splitlines()} <= {"no", "yes"}


def test_chinese_texts_columns_and_labels(run, tmp_path, save_tiny):
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = save_tiny(tmp_path / "模型", "bert")
    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"打开关闭文件排序列表单词"]
    tokenizer = Tokenizer(models.WordLevel({s: i for i, s in enumerate(signs)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = [(text.replace(" ", ""), label) for text, label in texts(
        60, words={"文件": "打 开 关 闭 文", "列表": "排 序 列 表 单"}
    )]  # fmt: skip
    path = written(tmp_path / "数据.jsonl", rows, ("正文", "类别"))
    columns = ("--text", "正文", "--backbone", folder, "--reduction", R, "--batch-size", 8)
    more = ("--label", "类别", "--epochs", 8, "--learning-rate", 3e-3, "--json")
    code, out, err = run("classify", path, "--out", tmp_path / "梯子", *columns, *more)
    assert code == 0, err
    assert json.loads(out)["held_out"]["accuracy"] >= 0.8
    asked = written(tmp_path / "问.jsonl", [("打开文",), ("排序列表",)], ("正文",))
    _, out, _ = run("predict", tmp_path / "梯子", asked, "--text", "正文")
    assert [line.split("\t")[1] for line in out.splitlines()] == ["文件", "列表"]


def test_texts_come_from_standard_input(run, tmp_path, monkeypatch):
    lines = "".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in texts())
    stdin = io.TextIOWrapper(io.BytesIO(lines.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    code, _, err = run("classify", "-", "--out", tmp_path / "m", "--method", "head", *QUICK)
    assert code == 0, err
    assert names(tmp_path) == ["m"]


def test_the_same_seed_gives_the_same_bits(run, source, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert run("classify", source, "--out", tmp_path / name, *QUICK, "--seed", seed)[0] == 0
    a, b, c = (bits(tmp_path / name) for name in "abc")
    assert same(a, b)
    assert not same(a, c)


def test_outputs_are_kept_for_the_next_run(run, source, tmp_path, monkeypatch):
    computed, real = [], OutputCache._computed

    def spied(self, texts):
        computed.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(OutputCache, "_computed", spied)
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path / "cache"))
    code, _, err = run("classify", source, "--out", tmp_path / "a", *QUICK)
    assert code == 0
    assert re.search(r"outputs of \d+ texts: \d+ MiB in .*cache", err)
    n = len(computed)
    assert n == len({text for text, _ in texts()})
    assert run("classify", source, "--out", tmp_path / "b", *QUICK, "--epochs", 2)[0] == 0
    assert len(computed) == n


def test_a_tuned_folder_is_replaced(run, source, tmp_path):
    out = tmp_path / "m"
    run("classify", source, "--out", out, *QUICK)
    assert run("classify", source, "--out", out, *QUICK, "--method", "head")[0] == 0
    assert Ladder.from_pretrained(out).side is None
    assert len(names(out)) == 2


def test_longer_texts_are_a_note(run, tmp_path):
    rows = [("open file " * 40, "io"), *texts(10)]
    path = written(tmp_path / "t.csv", rows)
    code, _, err = run("classify", path, "--out", tmp_path / "m", "--method", "head", *QUICK)
    assert code == 0
    assert "note: 1 of 11 texts (9 %) are longer than the 40 tokens" in err
    assert err.count("longer than") == 1


def test_a_disk_that_fills_while_caching_is_a_note(run, source, tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OutputCache, "_keep", full)
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path / "cache"))
    code, _, err = run("classify", source, "--out", tmp_path / "m", *QUICK)
    assert code == 0
    assert "note: The outputs of the backbone cannot be kept in" in err
    assert "No space left on device" in err


@pytest.mark.parametrize("method", ["ladder", "full"])
def test_a_disk_without_room_for_a_checkpoint_is_one_sentence(
    run, source, tmp_path, largest_file, method, saved
):
    saved("bert")  # before the limit
    options = ("--method", method, *QUICK)
    with largest_file(10_000):
        code, out, err = run("classify", source, "--out", tmp_path / "m", *options)
    assert (code, out) == (2, "")
    assert "m.run cannot be written: " in err and "Traceback" not in err
    assert not (tmp_path / "m").exists() and not (tmp_path / "m.run").exists()


def test_standard_error_is_free_of_the_lines_of_others(run, source, tmp_path):
    _, _, err = run("classify", source, "--out", tmp_path / "m", "--method", "full", *QUICK)
    for line in re.split(r"[\r\n]+", err.strip()):
        assert re.match(r"(note: |\d+ steps of|outputs of|steps:|$)", line), line


# ---- interruptions ----


@pytest.fixture
def interrupted(run, source, tmp_path, monkeypatch):
    """A run that Ctrl-C ended in its second epoch: its options."""
    real = Checkpoints.on_step_end

    def on_step_end(self, args, state, control, **more):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, args, state, control, **more)

    monkeypatch.setattr(Checkpoints, "on_step_end", on_step_end)
    options = ("classify", source, "--out", tmp_path / "m", *QUICK, "--epochs", 3)
    done = run(*options)
    monkeypatch.setattr(Checkpoints, "on_step_end", real)
    return options, done


def test_an_interrupted_run_goes_on_and_leaves_nothing_aside(run, interrupted, tmp_path):
    options, (code, out, err) = interrupted
    assert (code, out) == (130, "")
    assert "run again with --resume" in err
    assert names(tmp_path) == ["m.run", "texts.csv"]
    kept = json.loads((tmp_path / "m.run" / "run.json").read_text())
    assert kept["used_s"] > 0
    code, out, err = run(*options, "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["steps"] == 9
    assert names(tmp_path) == ["m", "texts.csv"]


def test_an_interrupted_run_is_not_begun_anew_by_accident(run, interrupted, tmp_path):
    options, _ = interrupted
    fails(run(*options), "An interrupted training is in", "m.run", "--resume")
    fails(run(*options, "--resume", "--seed", 7), "had seed 0, not 7")
    fails(run(*options, "--resume", "--reduction", 8), "had reduction 4, not 8")
    written(tmp_path / "texts.csv", texts(seed=9))
    fails(run(*options, "--resume"), "had texts", "Pass the same texts and settings")
    assert names(tmp_path) == ["m.run", "texts.csv"]


def test_two_runs_do_not_train_one_folder(run, interrupted, tmp_path):
    options, _ = interrupted
    lock = FileLock(tmp_path / "m.run" / "lock")
    with lock:
        fails(run(*options, "--resume"), "Another process is working on", str(tmp_path / "m"))
    assert run(*options, "--resume")[0] == 0
    assert names(tmp_path) == ["m", "texts.csv"]


def test_a_backbone_in_the_folder_that_is_replaced_is_refused(run, source, tmp_path):
    out = tmp_path / "m"
    assert run("classify", source, "--out", out, "--method", "full", *QUICK)[0] == 0
    inside = out / "shoestring-save-1" / "backbone"
    more = ("--backbone", inside, *QUICK)
    fails(run("classify", source, "--out", out, *more), "--backbone must be ", "which is replaced")
    assert inside.exists()
    opened = Ladder.from_pretrained(out)
    with pytest.raises(ParameterError, match="which is replaced"):
        opened.save_pretrained(out)
    assert run("classify", source, "--out", tmp_path / "other", *more)[0] == 0


def test_labels_that_tell_nothing_are_said_and_the_loss_chooses(run, tmp_path, monkeypatch):
    fitted, by = job.fit, []

    def fit(*given, **more):
        by.extend(of for of in given if isinstance(of, trainer.Measure))
        return fitted(*given, **more)

    monkeypatch.setattr(job, "fit", fit)
    rows = [(a, b, min(score, 0.5)) for a, b, score in queries()]
    pairs = written(tmp_path / "pairs.csv", rows, ("a", "b", "label"))
    options = ("--eval", pairs, "--epochs", 3, *QUICK[:2], "--batch-size", 16)
    code, said, err = run("score", pairs, "--out", tmp_path / "m", *options, "--json")
    assert code == 0, err
    assert "all right or all wrong" in err
    assert "the epoch of the least loss is kept" in err
    held_out = json.loads(said)["held_out"]
    assert held_out["average_precision"] is held_out["auc"] is None
    assert held_out["loss"] > 0
    assert [measure.best for measure in by] == ["loss"]


def test_another_file_to_measure_on_is_another_setting(run, source, tmp_path, monkeypatch):
    held_out = written(tmp_path / "e.csv", texts(8, seed=3))
    options = ("classify", source, "--out", tmp_path / "m", "--eval", held_out, *QUICK)

    def stopped(*given, **_):
        clock, kept = given[5:7]
        kept.keep(clock)
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "fit", stopped)
    assert run(*options)[0] == 130
    written(held_out, texts(8, seed=4))  # the same name, other texts
    fails(run(*options, "--resume"), "had texts", "Pass the same texts and settings")


def test_resume_without_an_interrupted_run_begins(run, source, tmp_path):
    code, _, err = run("classify", source, "--out", tmp_path / "m", *QUICK, "--resume")
    assert code == 0, err


def kept(file):
    return file.exists() and json.loads(file.read_text())["progress"]


def test_a_run_that_was_killed_goes_on(run, saved, source, tmp_path):
    options = [
        "classify", source, "--out", tmp_path / "m", "--reduction", R, "--epochs", 100_000,
        "--batch-size", 2, "--minutes", 10, "--backbone", saved("bert"),
    ]  # fmt: skip
    program = [sys.executable, "-m", "shoestring.cli", "tune", *map(str, options)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    file, until = tmp_path / "m.run" / "run.json", time.monotonic() + 240
    try:
        while not kept(file) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        process.kill()
        _, err = process.communicate()
    assert kept(file), err.decode()
    document = json.loads(file.read_text())
    RUN.write_config(file.parent, {**document, "used_s": 60.0 * 10 - 2})  # of ten minutes
    code, out, err = run(*options, "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["steps"] >= document["progress"]["steps"]
    assert names(tmp_path) == ["m", "texts.csv"]


# ---- bad input ----


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", "body,label\nopen,a\n", ("t.csv:", "no column 'text'", "'body', 'label'")),
        ("t.csv", "text,topic\nopen,a\n", ("t.csv:", "no column 'label'", "'text', 'topic'")),
        ("t.csv", "", ("t.csv", "no records")),
        ("t.csv", "text,label\n", ("t.csv", "no records")),
        ("t.csv", "text,label\nopen,a\nread,a\n", ("at least two classes. Got ['a']",)),
        ("t.csv", "text,label\nopen,a\n", ("at least two classes. Got ['a']",)),
        ("t.csv", "text,label\nopen,a\n ,b\n", ("t.csv:3", "an empty text")),
        ("t.csv", "text,label\nopen,a\nread,\n", ("t.csv:3: no value", "'label'")),
        ("t.jsonl", '{"text": "open", "label": "a"}\n{"text": \n', ("t.jsonl:2:", "broken JSON")),
        ("t.jsonl", '{"text": "打开", "label": null}\n', ("t.jsonl:1: no value",)),
    ],
)
def test_classify_refuses_a_bad_file_with_one_sentence(run, tmp_path, name, content, says):
    (tmp_path / name).write_text(content, "utf-8")
    fails(run("classify", tmp_path / name, "--out", tmp_path / "m", "--json"), *says)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("a,b\nx,y\n", (), ("no column 'label'",)),
        ("a,label\nx,1\n", (), ("no column 'b'",)),
        ("b,label\nx,1\n", (), ("no column 'a'",)),
        ("a,b,label\nx,y,\n", (), (":2: no value in the column 'label'",)),
        ("a,b,label\nx,y,1\nx,z,yes\n", (), ("record 2 has 'yes'", "must be a number")),
        ("a,b,label\nx,y,1\nx,z,是\n", ("--task", "regress"), ("record 2 has '是'",)),
        ("a,b,label\nx,y,1\nx,z,nan\n", (), ("record 2 has 'nan'",)),
        ("a,b,label\nx,y,5\nx,z,0\n", (), ("record 1 has '5'", "from 0 to 1. Divide them")),
        ("a,b,label\nx,y,-1\nx,z,0\n", (), ("record 1 has '-1'",)),
        ("a,b,label\nx,y,1\nz,z,1\n", (), ("all labels are 1: there is nothing to learn",)),
        ("a,b,label\nx,y,1\n", (), ("all labels are 1",)),
        ("a,b,label\nx,y,1\nx,z,0\n", (), ("at least two",)),  # one query
        ("", (), ("no records",)),
    ],
)
def test_score_refuses_a_bad_file_with_one_sentence(run, tmp_path, content, options, says):
    (tmp_path / "p.csv").write_text(content, "utf-8")
    fails(run("score", tmp_path / "p.csv", "--out", tmp_path / "s", *options), *says)
    assert names(tmp_path) == ["p.csv"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--method", "adapter"), ("--method must be ", "'ladder'", "'adapter'")),
        (("--layers", "nonsense"), ("--layers must be ", "such as 1,3,5", "'nonsense'")),
        (("--layers", "0,1,,2"), ("--layers must be ", "such as 1,3,5")),
        (("--layers", "0,7"), ("--layers must be ", "from 0 to 2")),
        (("--layers", "0,1"), ("--layers must be ", "the last one, 2")),
        (("--reduction", 1), ("--reduction must be ", "at least 2")),
        (("--reduction", 3), ("3",)),  # 2 heads, width 32: cannot be divided
        (("--max-length", 2), ("--max-length must be ", "at least 4")),
        (("--minutes", 0), ("--minutes must be ", "a number above 0. Got 0")),
        (("--minutes", "nan"), ("--minutes must be ", "a number above 0. Got nan")),
        (("--epochs", 0), ("--epochs must be ", "above 0")),
        (("--epochs", "nan"), ("--epochs must be ",)),
        (("--epochs", "inf"), ("--epochs must be ",)),
        (("--batch-size", 0), ("--batch-size must be ", "at least 1")),
        (("--learning-rate", 0), ("--learning-rate must be ", "above 0")),
        (("--learning-rate", "inf"), ("--learning-rate must be ",)),
        (("--seed", -1), ("--seed must be ",)),
        (("--on-empty", "keep"), ("--on-empty must be ",)),
        (("--eval", "none.csv"), ("none.csv",)),
        (("--backbone", "no-such-model"), ("no model folder no-such-model",)),
        (("--second", "other"), ("no column 'other'",)),
        (("--pairs", "joint"), ("--pairs must be ", "no second text. Got 'joint'", "--second")),
        (("--pairs", "late", "--second", "text"), ("--pairs must be ", "'joint' or 'apart'")),
    ],
    ids=lambda value: " ".join(map(str, value)) if value[0].startswith("--") else "",
)  # fmt: skip
def test_options_that_cannot_be_are_refused(run, source, tmp_path, options, says):
    fails(run("classify", source, "--out", tmp_path / "m", *options), *says)
    assert names(tmp_path) == ["texts.csv"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--task", "nonsense"), ("--task must be ", "'score'", "'nonsense'")),
        (("--pairs", "nonsense"), ("--pairs must be ", "'apart'")),
        (("--task", "regress", "--pairs", "late"), ("--pairs must be ", "'joint' or 'apart'")),
        (("--task", "regress", "--pairs", "none"), ("--pairs must be ",)),
    ],
)
def test_score_refuses_tasks_and_pairs_that_cannot_be(run, pairs, tmp_path, options, says):
    fails(run("score", pairs, "--out", tmp_path / "s", *QUICK, *options), *says)
    assert names(tmp_path) == ["pairs.csv"]


def test_a_label_that_was_never_trained_on_is_named(run, source, tmp_path):
    held_out = written(tmp_path / "e.csv", [("open", "io"), ("打开", "动物")])
    fails(
        run("classify", source, "--out", tmp_path / "m", "--eval", held_out),
        "record 2 has the held-out label '动物', which is not among the 2",
    )
    assert names(tmp_path) == ["e.csv", "texts.csv"]


def test_a_bad_label_of_the_second_file_is_named_by_that_file(run, pairs, tmp_path):
    rows = [("x", "y", "1"), ("x", "z", "yes")]
    held_out = written(tmp_path / "e.csv", rows, ("a", "b", "label"))
    fails(run("score", pairs, "--out", tmp_path / "s", "--eval", held_out), "e.csv: record 2 has")


def test_a_second_file_of_the_same_queries_is_measured_on(run, pairs, tmp_path):
    held_out = written(tmp_path / "e.csv", queries()[:6], ("a", "b", "label"))
    options = ("--eval", held_out, *QUICK, "--json")
    code, out, err = run("score", pairs, "--out", tmp_path / "s", *options)
    assert code == 0, err
    assert json.loads(out)["held_out_lists"] == 2


@pytest.mark.parametrize("method", ["ladder", "head"])
def test_a_backbone_without_states_of_its_layers_is_refused(
    run, source, tmp_path, monkeypatch, method
):
    real = AutoModel.from_pretrained

    def silent(*arguments, **more):
        model = real(*arguments, **more)
        forward = model.forward

        def without(input_ids=None, attention_mask=None, **options):
            found = forward(input_ids, attention_mask)
            found.hidden_states = None
            return found

        model.forward = without
        return model

    monkeypatch.setattr(AutoModel, "from_pretrained", silent)
    fails(
        run("classify", source, "--out", tmp_path / "m", "--method", method),
        "an attention mask and gives the outputs of all its layers",
    )
    assert names(tmp_path) == ["texts.csv"]


def test_minutes_that_are_too_few_say_what_fits_and_leave_nothing(run, source, tmp_path):
    more = ("--minutes", 0.0005, "--reduction", R)  # 30 ms
    fails(run("classify", source, "--out", tmp_path / "m", *more), "Pass --minutes")
    assert names(tmp_path) == ["texts.csv"]


def test_the_minutes_count_from_when_the_command_began(run, source, tmp_path, monkeypatch):
    earlier = SimpleNamespace(monotonic=lambda: time.monotonic() - 3600)  # importing torch
    monkeypatch.setattr("shoestring.tune.command.time", earlier)
    more = ("--minutes", 30, *QUICK)
    said = "The minutes were over before the first step: ", "takes about 1:00:", "--minutes"
    fails(run("classify", source, "--out", tmp_path / "m", *more), *said)


@pytest.fixture
def slow_steps(monkeypatch):
    """Each forward takes two seconds of the command's clock."""
    real, now = Ladder.forward, SimpleNamespace(s=0.0)

    @functools.wraps(real)
    def slow(self, *inputs, **more):
        now.s += 2.0
        return real(self, *inputs, **more)

    monkeypatch.setattr(Ladder, "forward", slow)
    slow_clock = functools.partial(Clock, now=lambda: now.s)
    monkeypatch.setattr("shoestring.jobs.Clock", lambda minutes, began: slow_clock(minutes))


MINUTES = ("--reduction", R, "--batch-size", 1, "--minutes")  # an epoch takes 1.2


def test_minutes_for_a_part_of_an_epoch_give_a_model(run, source, tmp_path, slow_steps):
    code, out, err = run("classify", source, "--out", tmp_path / "m", *MINUTES, 0.6, "--json")
    assert code == 0, err
    steps = json.loads(out)["steps"]
    assert 5 <= steps < 18
    assert f"{steps / 36:.2g} of the examples were used, drawn at random" in err
    assert Ladder.from_pretrained(tmp_path / "m").settings.n_labels == 2


def test_minutes_for_a_few_steps_say_what_fits_and_leave_nothing(run, source, tmp_path, slow_steps):
    failed = run("classify", source, "--out", tmp_path / "m", *MINUTES, 0.2)
    fails(failed, "One epoch takes", "of 36")
    assert names(tmp_path) == ["texts.csv"]


def test_folders_of_other_files_are_refused_before_anything_is_read(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for verb in ("classify", "score"):
        fails(run(verb, tmp_path / "no.csv", "--out", tmp_path / "mine"), "It holds 'thesis.txt'")
    (tmp_path / "file").write_text("mine")
    fails(run("classify", tmp_path / "no.csv", "--out", tmp_path / "file"), "file")
    assert names(tmp_path) == ["file", "mine"]
    assert names(tmp_path / "mine") == ["thesis.txt"]


def test_a_folder_that_cannot_be_made_is_one_sentence(run, source):
    fails(run("classify", source, "--out", source / "m", *QUICK), "m")


def test_a_folder_beside_it_that_is_somebody_elses_stays(run, source, tmp_path):
    (tmp_path / "m.run").mkdir()
    (tmp_path / "m.run" / "thesis.txt").write_text("mine")
    run("classify", source, "--out", tmp_path / "m", *QUICK)
    assert (tmp_path / "m.run" / "thesis.txt").exists()


@pytest.mark.parametrize("verb", ["classify", "score"])
def test_a_training_that_diverges_is_not_saved_as_if_it_were_fine(
    run, source, pairs, tmp_path, verb
):
    options = ("--out", tmp_path / "m", *QUICK, "--learning-rate", 1e38)
    code, out, err = run(verb, source if verb == "classify" else pairs, *options)
    assert "Traceback" not in err
    if code == 0:
        weights = Ladder.from_pretrained(tmp_path / "m").state_dict().values()
        assert all(weight.isfinite().all() for weight in weights)
    else:
        fails((code, out, err))


def test_standard_input_that_cannot_be_read_or_is_empty_is_named(run, tmp_path, monkeypatch):
    for stdin, said in ((None, "closed"), (io.TextIOWrapper(io.BytesIO()), "no records")):
        monkeypatch.setattr(sys, "stdin", stdin)
        fails(run("score", "-", "--out", tmp_path / "s"), said)
    assert names(tmp_path) == []


def test_files_that_are_not_there_are_named(run, tmp_path):
    fails(run("classify", tmp_path / "no.csv", "--out", tmp_path / "m"), "There is no file")
    fails(run("score", tmp_path / "no.csv", "--out", tmp_path / "m"), "There is no file")
    fails(run("predict", tmp_path / "none", tmp_path / "no.csv"), "none")
    assert names(tmp_path) == []


def test_predict_refuses_what_does_not_suit_the_model(run, source, pairs, tmp_path):
    run("classify", source, "--out", tmp_path / "m", "--method", "head", *QUICK)
    run("score", pairs, "--out", tmp_path / "s", "--method", "head", *QUICK)
    second = ("--text", "a", "--second", "b")
    fails(run("predict", tmp_path / "m", pairs, *second), "left out for a model of single texts")
    fails(run("predict", tmp_path / "s", source), "the column of second texts")
    fails(run("predict", tmp_path / "s", source, *second), "no column")
    fails(run("predict", tmp_path / "m", tmp_path / "no.csv"), "There is no file")
    (tmp_path / "m" / "shoestring-save-1" / "side.safetensors").write_bytes(b"broken")
    fails(run("predict", tmp_path / "m", source), "side.safetensors is damaged")
