"""What was written is read back, and what is damaged is told in one sentence."""

import json

import numpy as np
import pytest

from shoestring.artifacts import map_array
from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError
from shoestring.text.numbered import checked_config

REMEDY = "Make it again."


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(12, dtype=np.int32).reshape(3, 4))
    return path


@pytest.mark.parametrize("mode", ["r", "c"])
def test_an_array_is_mapped_and_its_file_never_changes(array, mode):
    before = array.read_bytes()
    mapped = map_array(array, "<i4", (3, 4), REMEDY, mode=mode)
    assert isinstance(mapped, np.memmap)
    assert mapped.tolist() == np.arange(12).reshape(3, 4).tolist()
    if mode == "c":
        mapped[0, 0] = 9
    assert array.read_bytes() == before
    assert map_array(array, None, None, REMEDY).shape == (3, 4)


def test_an_array_without_rows_is_mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.empty((0, 4), np.float32))
    assert map_array(tmp_path / "x.npy", "<f4", (0, 4), REMEDY).shape == (0, 4)


@pytest.mark.parametrize("want", [("<i8", (3, 4)), ("<i4", (12,)), ("<i4", None), (None, (4, 3))])
def test_another_array_than_it_must_be_is_told(array, want):
    if want == ("<i4", None):
        want = ("<f4", None)
    with pytest.raises(IntegrityError, match=r"x.npy holds <i4 \(3, 4\) but must hold .*again\."):
        map_array(array, *want, REMEDY)


@pytest.mark.parametrize("n_bytes", [0, 5, 70, 175])
def test_an_array_that_is_cut_off_is_told(array, n_bytes):
    array.write_bytes(array.read_bytes()[:n_bytes])
    with pytest.raises(IntegrityError, match=r"x\.npy is damaged: .* Make it again\."):
        map_array(array, "<i4", (3, 4), REMEDY)


def test_an_array_that_is_gone_is_damage_unless_it_may_be(tmp_path):
    with pytest.raises(IntegrityError, match=r"is missing\. Make it again"):
        map_array(tmp_path / "x.npy", "<i4", (3, 4), REMEDY)
    with pytest.raises(FileNotFoundError):
        map_array(tmp_path / "x.npy", "<i4", (3, 4), REMEDY, may_be_gone=True)


def test_a_folder_where_the_array_should_be_cannot_be_read(tmp_path):
    (tmp_path / "x.npy").mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        map_array(tmp_path / "x.npy", "<i4", (3, 4), REMEDY)


def read(folder, **options):
    return checked_config(folder, "thing", (1, 2), what="a thing", remedy=REMEDY, **options)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ('{"format": "thing", "format_ver', IntegrityError, "is damaged: .* Make it again"),
        ("[]", FormatError, "this is not the config.json of a thing"),
        ('{"format": "other"}', FormatError, "this is not the config.json of a thing"),
        ('{"format": "thing", "format_version": 3}', FormatError, "version 3; .* reads 1 and 2"),
        ('{"format": "thing"}', FormatError, "version None; .* Upgrade shoestring. Make it again"),
    ],
)
def test_a_config_that_cannot_be_used_is_told(tmp_path, content, error, says):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(error, match=says):
        read(tmp_path)


def test_a_config_of_any_readable_version_is_read_and_a_missing_one_is_the_callers(tmp_path):
    for version in (1, 2):
        document = {"format": "thing", "format_version": version, "more": [1]}
        (tmp_path / "config.json").write_text(json.dumps(document))
        assert read(tmp_path) == document
    with pytest.raises(ParameterError, match="no such thing"):
        read(tmp_path / "none", missing=ParameterError("no such thing"))
    with pytest.raises(ParameterError, match="no such thing"):
        read(tmp_path / "config.json", missing=ParameterError("no such thing"))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
