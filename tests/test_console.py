"""What commands print: one JSON document, or lines and tables for people."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import typer

from shoestring import console
from shoestring.console import (
    Command,
    Room,
    echo,
    emit,
    emit_json,
    emit_rows,
    resume_hint,
    shown,
    told,
    visible,
)
from shoestring.errors import FormatError, ParameterError

FOUND = {
    "n_texts": 12345,
    "accuracy": 0.81234567,
    "held_out": None,
    "seconds": {"reading_texts": 1.5, "deep": {"fit": 12345.678}},
    "标签": "[bold]红",
    "is_final": True,
}


def test_what_was_found_is_a_line_each_for_people(capsys):
    emit(FOUND, as_json=False)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "n texts                 12,345",
        "accuracy                0.8123",
        "seconds: reading texts  1.5",
        "seconds: deep: fit      1.235e+04",
        "标签                      [bold]红",
        "is final                True",
    ]
    assert err == ""
    emit({}, as_json=False)
    assert capsys.readouterr().out == ""


def test_json_is_one_document_with_all_that_was_found(capsys):
    emit(FOUND, as_json=True)
    out, _ = capsys.readouterr()
    assert json.loads(out) == FOUND and "红" in out
    rows = [{"word": "红", "score": None}]
    emit_rows(iter(rows), as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    emit_json({"score": np.float32(0.5), "n": np.int64(3)})
    assert json.loads(capsys.readouterr().out) == {"score": 0.5, "n": 3}


def test_a_table_has_a_column_for_each_name_and_brackets_are_no_markup(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"word_pair": "[red]x[/red]", "score": 0.25}, {"word_pair": "红", "score": None}]
    emit_rows(rows, as_json=False, numbered=True)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["word", "pair", "score"], ["1", "[red]x[/red]", "0.25"], ["2", "红", "-"]]
    emit_rows(rows, as_json=False)
    assert capsys.readouterr().out.splitlines()[1].split() == ["[red]x[/red]", "0.25"]
    emit_rows([], as_json=False)
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, "-"),
        (1234567, "1,234,567"),
        (True, "True"),
        (0.123456, "0.1235"),
        (float("nan"), "nan"),
        ("1234567", "1234567"),
    ],
)
def test_values_are_shown_for_people(value, want):
    assert shown(value) == want


# ---- what users gave is shown as it is

AS_THEY_ARE = ["list[int]", "[/INST]", "[/etc/passwd]", ":smile:", "[id]", "[bold]红[/bold]"]
AS_THEY_ARE += ["\\[x]", "👩\u200d👩\u200d👧"]
STEERING = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x9b31m": r"\x9b31m",
    "a\tb\nc\rd": r"a\tb\nc\rd",
    "\x00\x07\x08\x7f": r"\x00\x07\x08\x7f",
    "evil\u202etxt.exe\u2066": r"evil\u202etxt.exe\u2066",
    "a\u2028b": r"a\u2028b",
}


@pytest.mark.parametrize("text", AS_THEY_ARE)
def test_brackets_and_colons_are_shown_as_they_are(text, capsys):
    assert visible(text) == text
    emit_rows([{"id": text, "n": 1}, {"id": "x", "n": 2}], as_json=False, numbered=True)
    emit({text: text, "deep": {"x": text}}, as_json=False)
    echo(text, text)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:2]] == text.split()
    assert lines[3].split() == [text, text] and lines[5] == f"{text}\t{text}"


@pytest.mark.parametrize(("text", "seen"), STEERING.items())
def test_what_would_steer_the_terminal_is_made_visible_and_json_keeps_it(text, seen, capsys):
    emit_rows([{text: text}], as_json=False)
    emit({text: text}, as_json=False)
    echo("id", text, err=True)
    out, err = capsys.readouterr()
    assert out.splitlines()[1].strip() == seen and out.splitlines()[2] == f"{seen}  {seen}"
    assert err == f"id\t{seen}\n"
    emit_json([text])
    assert json.loads(capsys.readouterr().out) == [text]


def test_an_error_that_names_a_file_shows_its_name_as_it_is(run_command, tmp_path):
    for name in ["[/INST].csv", ":smile:[id].csv", "\x1b[31m\u202e.csv", "a\nb.csv"]:
        code, out, err = run_command("search", "build", tmp_path / name, "--out", tmp_path / "ix")
        assert (code, out) == (2, "")
        assert err == f"error: There is no file {visible(str(tmp_path / name))}. Check the path.\n"


@pytest.mark.parametrize("option", ["--[/x]", "--\x1b[31m", "-k=[red]x"])
def test_a_wrong_option_is_no_traceback_and_steers_nothing(run_command, option):
    code, out, err = run_command("search", "query", "[/INST]", ":smile:", option)
    assert (code, out) == (2, "") and "\x1b[31m" not in err and "Error" in err


def test_a_table_in_a_file_is_not_folded(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    emit_rows([{"id": "a" * 300, "text": "many words " * 40}], as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_numbers_that_json_cannot_say_are_null(capsys):
    found = {"a": float("nan"), "b": [np.float32("inf"), (1, 2)], "c": {"d": np.array([1, np.nan])}}
    emit_json(found)
    strict = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert strict == {"a": None, "b": [None, [1, 2]], "c": {"d": [1.0, None]}}


# ---- messages name the flags of the command that runs

room = Room()


@room.command(example="fit texts.csv --min-count 3")
def fit(
    source: str,
    out: str = "",
    min_count: int = 5,
    neurons: int = 4,
    k: int = typer.Option(10, "-k"),
    seed: int = 0,
    on_empty: str = "error",
    resume: bool = False,
    class_: str = typer.Option("", "--class"),
    label: str = "label",
) -> None:
    """Fit."""


@room.command(example="save")
def save(activations: bool = False, class_scatters: bool = False) -> None:
    """Save."""


def of(name, got, hint=""):
    return ParameterError.of(name, "The.owner", "right", got, hint)


IN_FLAGS = [
    (of("min_count", 0, "Pass 2."), "--min-count must be right. Got 0 instead. Pass 2."),
    (of("n_neurons", 4), "--neurons must be right. Got 4 instead."),
    (of("topn", 0), "-k must be right. Got 0 instead."),
    (of("random_state", -1), "--seed must be right. Got -1 instead."),
    (of("folder", "here"), "SOURCE must be right. Got 'here' instead."),  # by its value
    (of("records", None), "SOURCE must be right. Got None instead."),
    (of("label", "spam"), "--class must be right. Got 'spam' instead."),
    (of("label", "other"), "--label must be right. Got 'other' instead."),
    (of("head", "x"), "The 'head' parameter of The.owner must be right. Got 'x' instead."),
    (
        ParameterError.of("seed", "a run", "a number above 0, or None", 0),
        "--seed must be a number above 0. Got 0 instead.",
    ),
    (ParameterError.of("k", "a run", "None, or 1", 0), "-k must be 1. Got 0 instead."),
    ("The 'seed' parameter must be None where x.", "--seed must be None where x."),
    ("The 'min_count' parameter must let some pass.", "--min-count must let some pass."),
    ("Fill it in, or pass on_empty='skip'.", "Fill it in, or pass --on-empty skip."),
    ("Save them with activations=True.", "Save them with --activations."),  # of another command
    ("Go on (resume=True); seed=..., seed=[...].", "Go on (--resume); --seed SEED, --seed SEED."),
    ("Pass seed=None, or resume=False.", "Pass --seed none, or resume=False."),
    ("Lower min_count or n_neurons, not a_name.", "Lower --min-count or --neurons, not a_name."),
    # what users gave is theirs
    ("Got 'seed=5' and \"min_count\".", "Got 'seed=5' and \"min_count\"."),
    ("Open it: Model.load(folder, seed=...).", "Open it: Model.load(folder, seed=...)."),
    (FormatError("bad.", file="seed=3/min_count/seed=5.txt"), "seed=3/min_count/seed=5.txt: bad."),
    ("It's what the users' seed=3 says.", "It's what the users' --seed 3 says."),
    ("a\x1b[31m\nb", r"a\x1b[31m\nb"),
]  # fmt: skip


@pytest.fixture
def running(monkeypatch, request):
    """The command ``fit here --class spam`` is running, with more options."""
    from typer.testing import CliRunner

    monkeypatch.setattr(Command, "running", None)
    options = getattr(request, "param", [])
    done = CliRunner().invoke(room, ["fit", "here", "--class", "spam", *map(str, options)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("message", "want"), IN_FLAGS, ids=lambda value: str(value)[:40])
def test_a_message_names_flags_where_the_command_has_them(running, message, want):
    assert told(message) == want


def test_without_a_command_a_message_is_pythons(monkeypatch):
    monkeypatch.setattr(Command, "running", None)
    for message, _ in IN_FLAGS:
        assert told(message) == visible(str(message))


def test_a_huge_value_does_not_fill_the_screen(running):
    assert len(told(of("seed", "x" * 1_000_000, "y" * 1_000_000))) < 2_000
    assert len(told(FormatError("bad.", file="z" * 1_000_000))) < 2_000
    assert "type int" in str(of("seed", 10**10_000))


def test_the_advice_to_resume_is_given_where_something_waits(running, tmp_path, monkeypatch):
    def hint(**given):
        monkeypatch.setattr(Command.running, "params", given)
        return resume_hint()

    out = tmp_path / "out"
    assert hint(out=out, resume=False) == hint(out=out) == hint() == ""
    assert hint(out=None, resume=True) == ""
    out.mkdir()
    (out / "config.json").write_text("{}")  # of what is to be replaced
    assert hint(out=out, resume=False) == ""
    (tmp_path / "out.run").mkdir()
    (tmp_path / "out.run" / "run.json").write_text("{}")
    assert hint(out=out) == ""
    assert hint(out=out, resume=False).endswith("run again with --resume")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "records.sqlite").write_text("")
    assert hint(out=tmp_path / "index", resume=True).endswith("run again with --resume")


# ---- the help


def commands(command, path=("shoestring",)):
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


def every_command():
    from typer.main import get_command

    from shoestring.cli import app

    return list(commands(get_command(app)))


EVERY = {" ".join(path): (path, command) for path, command in every_command()}
LEAVES = [name for name, (_, command) in EVERY.items() if not hasattr(command, "commands")]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_help_ends_with_the_exit_codes_and_a_commands_has_an_example(run_command, name, flag):
    code, out, err = run_command(*name.split()[1:], flag)
    assert (code, err) == (0, "") and "Usage: " in out
    said = " ".join(out.split())
    assert said.endswith("Exit codes: 0 done, 2 bad input or damaged data, 130 interrupted.")
    assert ("Example: shoestring " in said) == (name in LEAVES)


@pytest.mark.parametrize("name", LEAVES)
def test_an_example_is_of_its_command_and_has_its_options(name):
    path, command = EVERY[name]
    words = shlex.split(re.search(r"Example: (.*)", command.epilog)[1])
    assert tuple(words[: len(path)]) == path
    with command.make_context(path[-1], words[len(path) :]):  # an error if one is wrong
        pass


@pytest.mark.parametrize(
    ("line", "completion"),
    [("shoestring sea", "search"), ("shoestring search query --cal", "--calls")],
)
def test_a_shell_can_complete_commands_and_options(line, completion):
    program = "import sys; sys.argv[0] = 'shoestring'; from shoestring.cli import main; main()"
    asked = {"_SHOESTRING_COMPLETE": "complete_bash", "COMP_WORDS": line}
    asked["COMP_CWORD"] = str(len(line.split()) - 1)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=True,
    )
    assert done.stdout.split() == [completion]


# ---- the streams


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    from shoestring import SearchIndex

    folder = tmp_path_factory.mktemp("streams") / "index"
    texts = [{"id": "标", "text": "打开 文件 é"}, {"id": "b", "text": "close it"}]
    SearchIndex.build(folder, texts, encoder="lsa", scorer="", progress=False)
    return folder


def called(line, index, **settings):
    """Exit code, output and errors of a line of bash, where S is shoestring and IX an index."""
    names = f'S() {{ {shlex.quote(sys.executable)} -m shoestring.cli "$@"; }}; IX={index}'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {names}; {line}"],
        env={**os.environ, **settings},
        cwd=index.parent,
        capture_output=True,
        timeout=120,
        check=False,
    )
    err = done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in err and "Exception ignored" not in err
    return done.returncode, done.stdout, err


NO_SPACE = "error: Standard output cannot be written: No space left on device.\n"
CLOSED = "Standard input is closed. Name a file"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("S search info $IX >/dev/full", 2, NO_SPACE),
        ("S search info $IX --json >/dev/full", 2, NO_SPACE),
        ("S search query $IX it --calls 0 >/dev/full", 2, NO_SPACE),
        ("S search info --help >/dev/full", 2, "No space left on device"),
        ("S search info none 2>/dev/full", 2, ""),
        ("S search info $IX >&- 2>&-", 0, ""),
        ("S search info none >&- 2>&- <&-", 2, ""),
        ("S search build - --out new <&-", 2, CLOSED),
        ("S classify fit - --out new <&-", 2, CLOSED),
        ("S words train - --out new <&-", 2, CLOSED),
        ("S search info $IX | true", 141, ""),
        ("S search info $IX --json | head -1", (0, 141), ""),
    ],
)
def test_a_stream_that_is_full_or_closed_is_one_sentence_or_none(index, line, code, says):
    found, _, err = called(line, index)
    assert found in (code if isinstance(code, tuple) else (code,))
    assert says in err if says else err == ""
    assert len(err.splitlines()) <= 1 and not (index.parent / "new").exists()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "gb18030", "utf-8"])
def test_what_an_encoding_cannot_say_is_replaced_and_json_stays_json(index, encoding):
    settings = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"}
    query = "S search query $IX 打开 -k 1 --calls 0"
    code, out, err = called(f"{query} --json", index, **settings)
    assert (code, err) == (0, "")
    assert json.loads(out.decode(encoding))["hits"][0]["id"] == "标"
    code, out, err = called(query, index, **settings)
    seen = "标" if encoding in ("gb18030", "utf-8") else r"\u6807"
    assert (code, err, seen in out.decode(encoding)) == (0, "", True)


def test_a_standard_input_that_never_ends_is_ended_by_ctrl_c_in_bounded_memory(tmp_path):
    """Read as it comes: the texts are in the index, whose rest is to be resumed."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    build = ["search", "build", "-", "--out", tmp_path / "ix", "--encoder", "lsa"]
    with subprocess.Popen(
        [sys.executable, "-m", "shoestring.cli", *build, "--on-duplicate", "skip"], **pipes
    ) as running:
        n = 0
        while not (tmp_path / "ix" / "records.sqlite").exists() or n < 100_000:
            running.stdin.write(b"".join(b"a text of number %d\n" % i for i in range(n, n + 1000)))
            n += 1000
        status = Path(f"/proc/{running.pid}/status")
        peak = re.search(r"VmHWM:\s*(\d+)", status.read_text())[1] if status.exists() else 0
        running.send_signal(signal.SIGINT)
        running.stdin.close()
        err = running.stderr.read().decode()
        assert running.wait(60) == 130
    assert int(peak) < 1 << 20  # kB
    assert "Traceback" not in err and err.splitlines()[-1].startswith("interrupted")


def test_every_shared_option_has_its_help():
    options = "Source Out OnDuplicate Encoder Minutes Jobs Resume Seed Json"
    shared = {name: getattr(console, name) for name in options.split()}
    for name, option in shared.items():
        assert get_args(option)[1].help, name
    assert all(console.READING.values())
    assert console.room_app("Helps.").info.help == "Helps."


@pytest.mark.parametrize("verb", ["search build", "search add", "search eval"])
@pytest.mark.parametrize("option", ["--on-bad", "--on-empty", "--format", "--encoding", "--label"])
def test_every_command_of_a_room_reads_with_the_same_options(verb, option):
    from typer.main import get_command

    from shoestring.cli import app

    command = get_command(app)
    for name in verb.split():
        command = command.commands[name]
    assert option in {flag for parameter in command.params for flag in parameter.opts}


def test_options_of_reading_come_in_one_mapping():
    found = []

    @console.reads("label")
    def command(source: str, reading: dict[str, object], json: bool = False) -> None:
        found.append((source, reading, json))

    given = dict.fromkeys(set(console.READING) - {"label"})
    command(source="-", **given)
    command(source="-", json=True, **(given | {"text": ["a", "b"], "delimiter": "tab"}))
    assert found == [("-", {}, False), ("-", {"text": ["a", "b"], "delimiter": "\t"}, True)]
