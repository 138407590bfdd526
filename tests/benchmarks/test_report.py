"""The page of results says what the committed files say."""

import json
from pathlib import Path

import pytest

from benchmarks import output, report


@pytest.mark.parametrize("name", ["index", *report.ROOMS])
def test_a_page_of_results_is_what_the_committed_files_say(name: str) -> None:
    committed = (report.PAGES / f"{name}.md").read_text("utf-8")
    assert committed == report.pages()[name], "run python -m benchmarks.report"


def test_files_of_the_old_and_the_new_form_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = report.read("search-cross-encoder")
    for name in ("scoring", "store-speed"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"seed": 0, "machine": "old"}))
    (tmp_path / "search-cross-encoder.json").write_text(json.dumps(old))
    new = {**old, **output.provenance(), "seed": 0, "commit": "new"}
    new["recall"] = {"token-interaction": old["recall"]["cross-encoder"]}
    new["items"] = {"token-interaction": old["items"]["cross-encoder"]}
    (tmp_path / "search-token-interaction.json").write_text(json.dumps(new))
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    page = report.pages()["search"]
    assert page.count("| ours, 32 anchors |") == 2 * (1 + len(old["recall"]["cross-encoder"]))
    assert f"commit {old['commit']}." in page and "commit new." in page
    assert page.count('"machine": "old"') == 2
