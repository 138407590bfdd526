"""Folders that libraries write: whole, readable by others, a full disk in one sentence."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from shoestring.artifacts import libraries_writing, written_aside, written_by
from shoestring.errors import StorageError

WEIGHTS = {"w": np.zeros(2**18, np.float32)}


def by_safetensors(folder):
    folder.mkdir()
    save_file(WEIGHTS, folder / "model.safetensors")


def by_torch(folder):
    torch = pytest.importorskip("torch")
    folder.mkdir()
    torch.save(torch.zeros(2**18), folder / "model.pt")


def by_hand(folder):
    folder.mkdir()
    (folder / "config.json").write_bytes(bytes(10**6))


@pytest.mark.parametrize("write", [by_safetensors, by_torch, by_hand])
def test_a_disk_that_is_full_is_one_sentence_and_leaves_nothing(write, tmp_path, largest_file):
    folder = tmp_path / "model"
    with largest_file(100_000), pytest.raises(StorageError) as found:
        written_by(write, folder)
    assert str(found.value).startswith(f"{folder} cannot be written: ")
    assert "Free some space" in str(found.value) and "\n" not in str(found.value)
    assert not folder.exists()


def test_other_errors_of_libraries_stay_as_they_are(tmp_path):
    for error in (RuntimeError("shapes do not fit"), ValueError("no"), StorageError("as it is")):
        with pytest.raises(type(error)) as found, libraries_writing(tmp_path):
            raise error
        assert found.value is error


def test_files_may_be_read_by_whom_the_folder_may_be(tmp_path):
    def write(folder):
        by_safetensors(folder)
        (folder / "inner").mkdir()
        save_file(WEIGHTS, folder / "inner" / "model.safetensors")

    written_by(write, tmp_path / "model")
    with written_aside(tmp_path / "ours") as file:
        file.write(b"x")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {(tmp_path / "ours").stat().st_mode}
    assert len(files) == 2
