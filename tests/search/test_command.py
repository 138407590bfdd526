"""What the command line prints, and where."""

import json
import sys
import warnings
from pathlib import Path

import pytest

from shoestring import cli, score_with

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command: exit code, standard output, standard error."""
    scorer = score_with(lambda query, text: len(text), name="length", single=True)
    for module in ("index", "models"):
        monkeypatch.setattr(f"shoestring.search.{module}.load_scorer", lambda spec: scorer)

    def main(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["shoestring", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as left:
            warnings.simplefilter("default")  # as it is outside of the tests
            cli.main()
        return left.value.code, *capsys.readouterr()

    return main


def test_calls_that_pay_for_nothing_are_a_note_on_standard_error(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    docs, asked = tmp_path / "docs.txt", tmp_path / "asked.txt"
    docs.write_text("red hat\nblue hat\n帽\n", encoding="utf-8")
    asked.write_text("a warm hat\n")
    build = ("search", "build", "--out", tmp_path / "index", "--json")
    named = ("--encoder", "lsa", "--scorer", "here", "--calls", 9)
    code, out, err = run(*build, docs, *named)
    assert (code, json.loads(out)["scores_paid"]) == (0, 0)
    assert "note: 0 of 3 texts looked at begin with a sentence of 3 tokens" in err
    code, out, err = run(*build, "--resume", "--queries", asked, "--calls", 9)
    assert (code, json.loads(out)["scores_paid"]) == (0, 3)
    assert "note:" not in err


def test_texts_without_a_word_exit_with_one_sentence_and_no_folder(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    docs = tmp_path / "docs.txt"
    docs.write_text("?!\n。。\n", encoding="utf-8")
    build = ("search", "build", docs, "--out", tmp_path / "index", "--encoder", "lsa")
    code, out, err = run(*build)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: DOCS must be texts")
    assert not (tmp_path / "index").exists()


def test_compact_frees_the_room_of_deleted_texts_and_check_finds_damage(
    run, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    docs, index = tmp_path / "docs.csv", tmp_path / "index"
    docs.write_text("id,text\n1,red hat\n2,blue hat\n3,old shoe\n", encoding="utf-8")
    assert run("search", "build", docs, "--out", index, "--encoder", "lsa")[0] == 0
    code, out, _ = run("search", "delete", index, "1", "2")
    assert (code, out.split()) == (0, ["deleted", "2"])
    assert json.loads(run("search", "info", index, "--json")[1])["deleted_rows"] == 2
    before = json.loads(run("search", "info", index, "--json")[1])["bytes"]
    removed = json.loads(run("search", "compact", index, "--json")[1])
    assert removed["removed_rows"] == 2 and removed["bytes"] < before
    assert json.loads(run("search", "query", index, "shoe", "--calls", 0, "--json")[1])["hits"]
    code, out, _ = run("search", "check", index)
    assert code == 0 and "sound" in out
    next((index / "arrays").glob("*-vectors.rows")).write_bytes(b"")
    code, out, err = run("search", "check", index)
    assert (code, out) == (2, "")
    assert "vectors.rows is damaged" in err and "--resume" in err
