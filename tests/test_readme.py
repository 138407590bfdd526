"""The README and the docs do what they say: their blocks run.

The convention is in CONTRIBUTING.md. No plugin: the two well-kept ones (sybil, pytest-examples)
leave console blocks and shared files to the caller, which is most of what is here.

Not covered: blocks inside lists or quotes (indented fences are shown, not run).
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoestring.errors import MissingExtraError

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("python", "console")

_NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
_FENCE = re.compile(r"(?P<fence>`{3,})(?P<language>[\w+-]*)(?P<info>.*)")
_TITLE = re.compile(r'title="([^"]+)"')


class AbsentExtraError(Exception):
    """A block needs an extra that is not installed."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it shows, its first line's number, its text."""

    language: str
    title: str | None
    line: int
    text: str


def read_blocks(markdown: str) -> Iterator[Block]:
    """The blocks that run, in order."""
    lines = iter(enumerate(markdown.splitlines(), 1))
    before = ""
    for number, line in lines:
        opening = _FENCE.fullmatch(line)
        if opening is None:
            before = line.strip() or before
            continue
        body = []
        for _, inside in lines:
            if inside.rstrip() == opening["fence"]:
                break
            body.append(inside)
        else:
            raise ValueError(f"line {number}: the block is never closed")
        title = _TITLE.search(opening["info"])
        if not _NOT_RUN.fullmatch(before):
            text = "".join(f"{line}\n" for line in body)
            yield Block(opening["language"], title and title[1], number + 1, text)
        before = line


def commands(block: Block) -> Iterator[str]:
    """The ``$ shoestring ...`` commands of a console block, with the lines they go on for."""
    lines = iter(block.text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line[2:]
        while command.endswith("\\"):
            command = f"{command[:-1]} {next(lines)}"
        if "shoestring" in command.split():
            yield command


def run_page(page: Path) -> int:
    """Run the blocks of a page in the working directory; return how many ran.

    Raises
    ------
    AbsentExtraError
        If a block needs an extra that is not installed.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    ran = 0
    for block in read_blocks(page.read_text(encoding="utf-8")):
        if block.title is not None:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            _run_python(page, block, namespace)
        elif block.language == "console":
            for command in commands(block):
                _run_command(f"{page.name}:{block.line}", command)
        else:
            continue
        ran += 1
    return ran


def _run_python(page: Path, block: Block, namespace: dict[str, object]) -> None:
    padded = "\n" * (block.line - 1) + block.text  # so that a traceback shows the page's own line
    try:
        exec(compile(padded, str(page), "exec"), namespace)
    except MissingExtraError as error:
        raise AbsentExtraError(str(error)) from error


def _run_command(where: str, command: str) -> None:
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join((scripts, os.environ["PATH"]))}
    done = subprocess.run(
        command,
        shell=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode and "pip install 'shoestring[" in said:
        raise AbsentExtraError(said.strip())
    assert done.returncode == 0, f"{where}: $ {command}\nexit code {done.returncode}\n{said}"


def has_blocks(page: Path) -> bool:
    return any(block.language in RUN for block in read_blocks(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "page", list(filter(has_blocks, PAGES)), ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        run_page(page)
    except AbsentExtraError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Write a page and run it in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(markdown):
        path = tmp_path / "page.md"
        path.write_text(markdown, encoding="utf-8")
        return run_page(path)

    return run


def test_blocks_share_names_files_and_the_folder(page, tmp_path):
    ran = page(
        '```json title="docs.jsonl"\n{"id": 1}\n```\n'
        "```python\nfrom pathlib import Path\ntext = Path('docs.jsonl').read_text()\n```\n"
        "```console\n$ test -e docs.jsonl && echo shoestring > said.txt\n```\n"
        "```python\nassert text == '{\"id\": 1}\\n'\n```\n"
    )
    assert ran == 4
    assert (tmp_path / "said.txt").exists()


def test_a_block_that_fails_names_the_line_of_its_page(page):
    with pytest.raises(ZeroDivisionError) as failure:
        page("# A page\n\n```python\nwhole = 1\nwhole / 0\n```\n")
    assert failure.traceback[-1].lineno + 1 == 5
    assert failure.traceback[-1].path.name == "page.md"


def test_a_warning_in_a_block_is_an_error(page):
    with pytest.raises(DeprecationWarning):
        page("```python\nimport warnings\nwarnings.warn('old', DeprecationWarning)\n```\n")


def test_a_command_that_fails_shows_what_it_said(page):
    with pytest.raises(AssertionError, match=r"page.md:2: \$ ls shoestring"):
        page("```console\n$ ls shoestring\nshoestring\n```\n")


def test_a_block_that_needs_an_extra_says_which(page):
    needs = "from shoestring.errors import MissingExtraError as E\n"
    with pytest.raises(AbsentExtraError, match=r"pip install 'shoestring\[torch\]'"):
        page(f"```python\n{needs}raise E('torch', extra='torch', purpose='this')\n```\n")


def test_a_block_marked_with_a_reason_does_not_run(page):
    ran = page(
        "<!-- not run: needs a key -->\n\n```python\n1 / 0\n```\n```text\n$ shoestring\n```\n"
    )
    assert ran == 0


def test_a_block_marked_without_a_reason_runs(page):
    with pytest.raises(ZeroDivisionError):
        page("<!-- not run -->\n```python\n1 / 0\n```\n")


def test_a_mark_counts_for_one_block():
    blocks = list(read_blocks("<!-- not run: slow -->\n```python\n1\n```\n```python\n2\n```\n"))
    assert [block.text for block in blocks] == ["2\n"]


def test_an_open_block_is_an_error():
    with pytest.raises(ValueError, match="line 3: the block is never closed"):
        list(read_blocks("\n\n```python\n1\n"))


def test_only_our_commands_run():
    (block,) = read_blocks(
        "```console\n$ make demo\nshoestring\n$ zcat a.gz | shoestring search build - \\\n"
        "    --out b\n$ pip install 'shoestring[torch]'\n```\n"
    )
    assert list(commands(block)) == ["zcat a.gz | shoestring search build -      --out b"]
