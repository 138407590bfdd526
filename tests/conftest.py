"""What every test stands on. Nothing heavy is imported here: collecting the tests stays quick."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: on a busy machine more are slower
os.environ.pop("TOKENIZERS_PARALLELISM", None)

import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("house", deadline=None)  # a busy machine is not a bug
if "CI" not in os.environ:  # where hypothesis has a profile of its own: no deadline, no chance
    settings.load_profile("house")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets, which are not part of the repository."""
    folder = Path(os.environ.get("SHOESTRING_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real data sets are not here: set SHOESTRING_DATA to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def outputs_of_backbones_stay_here(tmp_path_factory):
    """Not in the cache folder of whoever runs the tests."""
    os.environ["SHOESTRING_OUTPUTS"] = str(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(autouse=True)
def notes_of_cut_texts_begin_anew():
    """Each is said once in a process."""
    if "shoestring.models.token_encoder" in sys.modules:
        sys.modules["shoestring.models.token_encoder"]._TOLD.clear()


@pytest.fixture
def largest_file():
    """A function of bytes: within it no file grows beyond them, as on a full disk.

    Within it alone: what the tests print may go to a longer file.
    """
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Run ``shoestring``: exit code, standard output, standard error."""
    from shoestring import cli

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["shoestring", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as left:
            warnings.simplefilter("default")  # as it is outside of the tests
            cli.main()
        return left.value.code, *capsys.readouterr()

    return main
