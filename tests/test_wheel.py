"""The wheel, in a bare environment: what ``pip install`` gives a stranger."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = ["chain iterables into one", "flatten nested lists", "打开一个文件", "关闭文件"]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_wheel_in_a_bare_environment_searches(tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "bare")
    python = tmp_path / "bare" / "bin" / "python"
    try:
        run(python, "-m", "pip", "download", "--no-deps", "-d", tmp_path, "hatchling")
    except AssertionError as error:
        pytest.skip(f"needs a package registry: {error}")
    run(python, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "dist", ".")
    [wheel] = (tmp_path / "dist").glob("*.whl")
    run(python, "-m", "pip", "install", "-c", "constraints.txt", wheel)
    (tmp_path / "docs.jsonl").write_text(
        "".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(TEXTS))
    )
    shoestring = python.with_name("shoestring")
    run(shoestring, "search", "build", "docs.jsonl", "--out", "index", "--encoder", "lsa",
        "--calls", "0", cwd=tmp_path)  # fmt: skip
    for query, found in (("flatten lists", "1"), ("打開文件", "2")):  # traditional characters
        answer = json.loads(run(shoestring, "search", "query", "index", query, "--calls", "0",
                                "-k", "1", "--json", cwd=tmp_path))  # fmt: skip
        assert answer["hits"][0]["id"] == found
    code = "from shoestring import rerank; print(rerank('b', ['a', 'b c'], lambda p: [0] * len(p)))"
    assert "corpus_id" in run(python, "-c", code, cwd=tmp_path)
