"""What every artifact folder promises, held over each room's kind by one suite.

A kind joins by a :class:`Kept` in :data:`KEPT`: how to save content 0 or 1 to a folder, and how to
read back something that tells the two apart.
"""

import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from shoestring.artifacts import (
    CONFIG,
    ArtifactKind,
    digest,
    libraries_writing,
    map_array,
    pieces,
    verify,
    write_json,
    write_npy_header,
    written_aside,
    written_whole,
)
from shoestring.errors import (
    FormatError,
    IntegrityError,
    ParameterError,
    ShoestringError,
    StorageError,
)

SAMPLE = ArtifactKind("sample", "a sample", "Sample.save", "Make it again.", 2)


@pytest.fixture(autouse=True)
def flushed(monkeypatch):
    """Inodes of what was flushed to the disk: noted, and not done, as it takes long."""
    found = set()
    monkeypatch.setattr(os, "fsync", lambda number: found.add(os.fstat(number).st_ino))
    return found


@dataclass
class Kept:
    """One kind of folder under test."""

    kind: Callable[[], ArtifactKind]
    save: Callable[[Path, int], Any]
    load: Callable[[Path], Any]


def save_sample(folder, content):
    with SAMPLE.saving(folder) as writer:
        writer.array("rows.npy", np.full((3, 2), content))
        (writer.folder / "names.json").write_text(json.dumps([content]))
        (writer.folder / "model" / "deep").mkdir(parents=True)
        (writer.folder / "model" / "deep" / "weights.bin").write_bytes(bytes([content]))
        writer.config["content"] = np.int64(content)


def load_sample(folder):
    artifact = SAMPLE.read(folder)
    return (
        artifact.config["content"],
        artifact.loaded_array("rows.npy").tolist(),
        json.loads(artifact.data("names.json")),
        (artifact.path("model") / "deep" / "weights.bin").read_bytes(),
    )


def lsa():
    from shoestring.models.lsa import KIND, LsaEncoder

    texts = [["red hat", "blue shoe"], ["红鞋 一双", "蓝帽 一顶", "old coat"]]

    def load(folder):
        return LsaEncoder.load(folder).encode(["red 红鞋", "blue"]).tolist()

    return Kept(lambda: KIND, lambda f, i: LsaEncoder(2).fit(texts[i]).save(f), load)


def overlap_index():
    from shoestring.overlap import OverlapIndex
    from shoestring.overlap.postings import KIND

    def save(folder, content):
        index = OverlapIndex(16)
        index.add([[1, 2], [3, 4], [content + 4]])
        index.delete(content)
        index.save(folder)

    def load(folder):
        return [found.tolist() for found in OverlapIndex.open(folder).search([[1, 2, 4]], 3)]

    return Kept(lambda: KIND, save, load)


@cache
def classifiers():
    from shoestring.classify import AnalyticSoftmax, TextClassifier

    texts, labels = ["red hat", "blue shoe", "红鞋 一双", "blue hat"] * 3, ["aabb" * 3, "cddc" * 3]
    return [
        TextClassifier("lsa", head=AnalyticSoftmax(0.1, n_jobs=1)).fit(texts, list(each))
        for each in labels
    ]


def classifier():
    from shoestring.classify import TextClassifier
    from shoestring.classify.saving import KIND

    def load(folder):
        loaded = TextClassifier.load(folder)
        return loaded.predict_proba(["red shoe"]).tolist()

    return Kept(lambda: KIND, lambda folder, i: classifiers()[i].save(folder), load)


def binary_vectors():
    from shoestring.words.table import KIND, CodeTable

    def save(folder, content):
        activations = np.random.default_rng(content).random((2, 16), np.float32)
        words, counts = ["红", f"word {content}"], np.array([3, 1])
        CodeTable.of_activations(words, activations, 3, counts).save(folder)

    def load(folder):
        table, _ = CodeTable.load(folder)
        return table.words, table.codes.tolist(), table.activations.tolist()

    return Kept(lambda: KIND, save, load)


def encoded_corpus():
    from shoestring.words.corpus import _ENCODED, EncodedCorpus, encode_corpus

    def load(folder):
        corpus = EncodedCorpus.open(folder)
        return corpus.words, corpus.ids.tolist(), corpus.offsets.tolist(), corpus.counts.tolist()

    def save(folder, content):
        encode_corpus([["a red hat", "红 帽 a"], ["one blue shoe"]][content], folder, min_count=1)

    return Kept(lambda: _ENCODED, save, load)


def weighting():
    from safetensors.numpy import save as serialised

    from shoestring.match.interaction import Weighting
    from shoestring.tune.config import LADDER, SIDE

    def save(folder, content):
        importance = np.full((1, 4), content, np.float32)
        weights = {"head.importance.weight": importance, "head.scale": np.ones(3, np.float32)}
        with LADDER.saving(folder) as writer:
            (writer.folder / SIDE).write_bytes(serialised(weights))
            writer.config |= {"ladder": {"pairs": "late"}, "with_side": False}
            writer.config |= {"backbone": "minilm", "backbone_digest": "0"}

    return Kept(lambda: LADDER, save, lambda f: Weighting.load(f).importance.tolist())


KEPT = {
    "sample": lambda: Kept(lambda: SAMPLE, save_sample, load_sample),
    "lsa": lsa,
    "overlap index": overlap_index,
    "classifier": classifier,
    "binary vectors": binary_vectors,
    "encoded corpus": encoded_corpus,
    "weighting": weighting,
}


@pytest.fixture(params=KEPT)
def kept(request):
    return KEPT[request.param]()


@pytest.fixture
def folder(tmp_path, kept):
    """A folder with content 0."""
    kept.save(tmp_path / "it", 0)
    return tmp_path / "it"


@pytest.fixture
def contents(tmp_path_factory, kept):
    """What is loaded of content 0 and of content 1."""
    found = []
    for content in (0, 1):
        folder = tmp_path_factory.mktemp("content")
        kept.save(folder, content)
        found.append(kept.load(folder))
    assert found[0] != found[1]
    return found


def files_in(folder):
    """All files below a folder, with their bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def unsealed(folder):
    """The config of a folder without its checksum, to be changed."""
    config = json.loads((folder / CONFIG).read_bytes())
    del config["crc32"]
    return config


def names_in_force(folder):
    return {CONFIG, json.loads((folder / CONFIG).read_bytes())["save"]}


# ---- saving and reading


def test_what_is_saved_over_another_takes_its_place_and_leaves_nothing(kept, folder, contents):
    assert kept.load(folder) == contents[0]
    for content in (1, 0, 1):
        kept.save(folder, content)
        assert kept.load(folder) == contents[content]
        assert names_in(folder) == names_in_force(folder)
    assert kept.kind().is_saved(folder) and not kept.kind().is_saved(folder.parent)


def test_all_that_is_in_force_was_flushed_to_the_disk(folder, flushed):
    assert {path.stat().st_ino for path in (folder, *folder.rglob("*"))} <= flushed


FOREIGN = [
    "arrays/measurements.npy",
    "encoder-notes/today.txt",
    "token-table.csv",
    "rows.npy",
    "save-2/notes.txt",
    "shoestring-save/notes.txt",
    "shoestring-save-2.npy",
    "config.json.bak",
    "config.json.part.txt",
    "model/notes.txt",
]


def test_files_of_others_beside_ours_stay(kept, folder, contents):
    next_name = "shoestring-save-2"  # the one that the next save would give
    for name in [*FOREIGN, next_name]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    for content in (1, 0):
        kept.save(folder, content)
        assert kept.load(folder) == contents[content]
    for name in [*FOREIGN, next_name]:
        assert (folder / name).read_text() == f"mine: {name}"
    assert names_in(folder) == names_in_force(folder) | {
        name.partition("/")[0] for name in [*FOREIGN, next_name]
    }


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_somebody_else_is_refused_and_stays(kept, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = files_in(tmp_path)
    with pytest.raises(ParameterError, match=r"It holds '.*', for example; choose another\."):
        kept.save(tmp_path, 0)
    with pytest.raises(ParameterError, match="must be a new or empty folder"):
        kept.save(tmp_path / name, 0)
    with pytest.raises(ShoestringError, match=r"must be|There is no"):
        kept.load(tmp_path)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("other", KEPT)
def test_one_kind_is_not_saved_over_another_nor_read_as_it(kept, folder, other):
    other = KEPT[other]()
    if other.kind().format == kept.kind().format:
        return
    before = files_in(folder)
    for use in (lambda: other.save(folder, 1), lambda: other.load(folder)):
        with pytest.raises(FormatError) as found:
            use()
        assert str(found.value) == (
            f"{folder / CONFIG}: this is not the config.json of {other.kind().what}. "
            "Name another folder."
        )
    assert files_in(folder) == before


# ---- killed, and a full disk


class Killed(BaseException):
    """The process is gone."""


def break_at(monkeypatch, number, error, forever):
    """Let a step that the disk is asked for fail, and all after it where ``forever``.

    Returns how many there were until then, as a function.
    """
    steps = itertools.count()

    def stepped(name, original):
        def step(*arguments, **named):
            at = next(steps)
            if at == number or (forever and at > number):
                raise error
            return original(*arguments, **named)

        return step

    for name in ("fsync", "replace", "unlink", "rmdir", "mkdir"):
        monkeypatch.setattr(os, name, stepped(name, getattr(os, name)))
    return lambda: next(steps)


def steps_of(save):
    """Save again and again, broken at each step in turn until it ends well."""
    for number in itertools.count():
        if save(number):
            assert number > 8
            return


@pytest.mark.parametrize("is_first", [False, True])
def test_a_save_that_is_killed_leaves_the_old_one_or_the_new_one(
    kept, tmp_path, contents, monkeypatch, is_first
):
    def save(number):
        folder = tmp_path / str(number)
        if not is_first:
            kept.save(folder, 0)
        (tmp_path / "mine.txt").write_text("mine")
        ended = False
        with monkeypatch.context() as patch:
            break_at(patch, number, Killed(), forever=True)
            try:
                kept.save(folder, 1)
                ended = True
            except Killed:
                pass
        if is_first and not ended and not (folder / CONFIG).exists():
            with pytest.raises(ShoestringError):
                kept.load(folder)
        else:
            assert kept.load(folder) in contents[ended or is_first :]
        kept.save(folder, 1)  # nothing is left of it then
        assert kept.load(folder) == contents[1]
        assert names_in(folder) == names_in_force(folder)
        return ended

    steps_of(save)


def test_a_step_that_the_disk_refuses_is_one_sentence_and_the_old_one_stays(
    kept, tmp_path, contents, monkeypatch
):
    def save(number):
        folder, error = tmp_path / str(number), OSError(errno.ENOSPC, "No space left on device")
        kept.save(folder, 0)
        with monkeypatch.context() as patch:
            n_steps = break_at(patch, number, error, forever=False)
            try:
                kept.save(folder, 1)
            except StorageError as found:
                assert "No space left on device" in str(found) and "\n" not in str(found)
                assert kept.load(folder) in contents
                assert names_in(folder) == names_in_force(folder)
                return False
        assert kept.load(folder) == contents[1]  # where a file could not be removed: the next time
        kept.save(folder, 1)
        assert names_in(folder) == names_in_force(folder)
        return n_steps() <= number

    steps_of(save)


def test_a_full_disk_is_one_sentence_and_the_old_one_stays(kept, folder, contents, largest_file):
    before = files_in(folder)
    for size in (0, 10, 90):
        with largest_file(size), pytest.raises(StorageError, match=r"cannot be written: .*safe\."):
            kept.save(folder, 1)
        assert files_in(folder) == before
    assert kept.load(folder) == contents[0]


# ---- damage


def test_a_changed_byte_is_found_in_every_checksummed_file(kept, folder):
    artifact = kept.kind().read(folder)
    for name in artifact.config["files"]:
        if "/" in name:
            continue
        path = folder / artifact.config["save"] / name
        whole = path.read_bytes()
        assert artifact.verified(name) == path
        for at in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(IntegrityError, match=f"{path.name} is damaged: its bytes have"):
                artifact.verified(name)
        path.write_bytes(whole[:-1])
        with pytest.raises(IntegrityError, match=f"{path.name} is damaged"):
            kept.load(folder)
        path.unlink()
        with pytest.raises(IntegrityError, match=f"{path.name} is missing"):
            kept.load(folder)
        path.write_bytes(whole)
    kept.load(folder)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ("", IntegrityError, r"config\.json is damaged"),
        ("{", IntegrityError, r"config\.json is damaged"),
        ("[" * 100_000, IntegrityError, r"config\.json is damaged"),
        ("[]", FormatError, r"this is not the config\.json of"),
        ({"format": None}, FormatError, r"this is not the config\.json of"),
        ({"format_version": 99}, FormatError, r"version 99; this version of .* reads \d"),
        ({"format_version": []}, FormatError, r"version \[\]; this version of .* reads \d"),
    ],
)
def test_a_config_that_cannot_be_used_is_told_and_nothing_goes(kept, folder, change, error, says):
    config = unsealed(folder)
    text = change if isinstance(change, str) else json.dumps(config | change)
    (folder / CONFIG).write_text(text)
    before = files_in(folder)
    with pytest.raises(error, match=says):
        kept.load(folder)
    with pytest.raises(error, match=says) as found:
        kept.save(folder, 1)
    if error is IntegrityError:  # to save it again, as it says, would end here again
        assert str(found.value).endswith("Remove that folder first, or choose another.")
    assert files_in(folder) == before


def test_a_changed_setting_is_found(kept, folder):
    config = json.loads((folder / CONFIG).read_bytes())
    for change in ({"content": 2}, {"n_active": 2}, {"n_bits": 17}, {"files": {}}):
        (folder / CONFIG).write_text(json.dumps(config | change))
        says = r"config\.json is damaged: its content has changed since it was saved"
        for use in (kept.load, lambda folder: kept.save(folder, 1)):
            with pytest.raises(IntegrityError, match=says):
                use(folder)
    (folder / CONFIG).write_text(json.dumps(config, indent=7))
    kept.load(folder)


def test_verify_reads_all_and_names_what_has_changed(kept, folder):
    verify(folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-4] + bytes([whole[-4:][0] ^ 1]) + whole[-4:][1:])
        with pytest.raises(ShoestringError, match=path.name):
            verify(folder)
        path.unlink()
        with pytest.raises(ShoestringError, match=path.name):
            verify(folder)
        path.write_bytes(whole)
    verify(folder)
    with pytest.raises(ParameterError, match="the folder of what shoestring saves"):
        verify(folder / "none")


@pytest.mark.parametrize("part", ["../../mine.txt", "/dev/zero", "..", "deep/../../x"])
def test_a_stranger_cannot_have_files_elsewhere_read(tmp_path, part):
    save_sample(tmp_path / "it", 0)
    config = unsealed(tmp_path / "it")
    config["files"][f"model/{part}" if part[0] != "/" else part] = 1
    (tmp_path / "it" / CONFIG).write_text(json.dumps(config))
    says = r"config\.json is damaged: .* outside of shoestring-save-1"
    with pytest.raises(IntegrityError, match=says):
        SAMPLE.read(tmp_path / "it").verified("model")


def test_a_device_in_the_place_of_a_file_is_not_read_for_ever(sample):
    names = sample / "shoestring-save-1" / "names.json"
    names.unlink()
    names.symlink_to("/dev/zero")
    with pytest.raises(StorageError, match=r"names\.json cannot be read: it is no regular file"):
        load_sample(sample)


def test_a_stranger_cannot_have_files_elsewhere_written(kept, folder, contents):
    mine = folder.parent / "mine.txt"
    mine.write_text("mine")
    (folder / "config.json.part").symlink_to(mine)
    (folder / "shoestring-save-2").symlink_to(mine.parent)
    kept.save(folder, 1)
    assert kept.load(folder) == contents[1]
    assert mine.read_text() == "mine"


def test_an_array_that_says_it_has_terabytes_is_refused(tmp_path):
    for shape in ((1 << 40,), (1 << 40, 1 << 40), (10**30,), (-1,)):
        with (tmp_path / "x.npy").open("wb") as file:
            write_npy_header(file, "<i4", shape)
            file.write(bytes(100))
        with pytest.raises(IntegrityError, match=r"x\.npy is damaged"):
            map_array(tmp_path / "x.npy", None, None, "")


STRANGE = [
    {"save": name} for name in ("../mine", "/mine", "mine", "", ".", "..", 1, None, [], {})
] + [{"files": files} for files in (7, [], {}, {"../mine.txt": 1}, {"/mine.txt": 1}, {"": 1})]


@pytest.mark.parametrize("change", STRANGE)
def test_a_stranger_cannot_name_files_elsewhere(kept, folder, contents, change):
    mine = [folder.parent / "mine.txt", folder.parent / "mine" / "rows.npy", folder / "mine.txt"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    config = unsealed(folder)
    (folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(IntegrityError, match=r"config\.json is damaged"):
        kept.load(folder)
    kept.save(folder, 1)
    assert kept.load(folder) == contents[1]
    assert all(path.read_text() == "mine" for path in mine)


def test_a_folder_that_may_not_be_read_is_told(kept, folder, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    for use in (kept.load, lambda folder: kept.save(folder, 1)):
        with pytest.raises(StorageError, match=r"config\.json cannot be read: Permission denied"):
            use(folder)


# ---- the kind and its writer


@pytest.fixture
def sample(tmp_path):
    save_sample(tmp_path / "it", 0)
    return tmp_path / "it"


def test_an_error_of_the_caller_leaves_what_was_there(sample):
    before = files_in(sample)
    with pytest.raises(RuntimeError), SAMPLE.saving(sample) as writer:
        (writer.folder / "names.json").write_bytes(b"half")
        raise RuntimeError
    assert files_in(sample) == before


def test_rows_may_be_written_before_their_number_is_known(tmp_path):
    with (tmp_path / "rows.npy").open("wb") as file:
        write_npy_header(file, "<i4", (0,))
        file.write(np.arange(5, dtype="<i4").tobytes())
        file.seek(0)
        write_npy_header(file, "<i4", (5,))
    assert np.load(tmp_path / "rows.npy").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(4, 6)[:, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.empty((0, 4), np.float32),
        np.empty((4, 0), bool),
        np.array(3.5),
        np.array([np.void(b"ab"), np.void(b"cd")]),
    ],
)
def test_an_array_of_any_layout_comes_back(tmp_path, array):
    with SAMPLE.saving(tmp_path) as writer:
        writer.array("a.npy", array)
    artifact = SAMPLE.read(tmp_path)
    for found in (artifact.array("a.npy"), artifact.loaded_array("a.npy")):
        assert found.dtype == array.dtype and found.shape == array.shape
        assert found.tobytes() == array.tobytes()


def test_another_version_is_not_read(sample):
    config = unsealed(sample)
    assert config["format_version"] == 2
    write_json(sample / CONFIG, config | {"format_version": 3})
    assert SAMPLE.is_saved(sample)
    with pytest.raises(FormatError, match=r"version 3; .* reads 2\. Upgrade shoestring"):
        SAMPLE.read(sample)
    with pytest.raises(KeyError, match="mine"):
        SAMPLE.read(sample / "none", missing=KeyError("mine"))


def test_what_a_config_lacks_is_damage_and_a_parameter_error_passes(sample):
    artifact = SAMPLE.read(sample)
    says = r"config\.json is damaged: KeyError\('width'\)"
    with pytest.raises(IntegrityError, match=says), artifact.decoding():
        artifact.config["width"]
    with pytest.raises(ParameterError, match="as it is"), artifact.decoding():
        raise ParameterError("as it is")
    assert "rows.npy" in artifact and "width" not in artifact


# ---- files


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.int32).reshape(3, 4))
    return tmp_path / "x.npy"


@pytest.mark.parametrize("mode", ["r", "c"])
def test_an_array_is_mapped_and_its_file_never_changes(array, mode):
    before = array.read_bytes()
    mapped = map_array(array, "<i4", (3, 4), "", mode=mode)
    assert isinstance(mapped, np.memmap)
    if mode == "c":
        mapped[0, 0] = 9
    assert array.read_bytes() == before
    assert map_array(array, None, None, "").tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize("want", [("<i8", (3, 4)), ("<i4", (12,)), ("<f4", None), (None, (4, 3))])
def test_another_array_than_it_must_be_is_told(array, want):
    with pytest.raises(IntegrityError, match=r"x.npy holds <i4 \(3, 4\) but must hold .*again\."):
        map_array(array, *want, "Make it again.")


def test_an_array_that_is_cut_off_or_has_a_changed_header_is_told_or_whole(array):
    whole = array.read_bytes()
    for length in range(len(whole)):
        array.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match=r"x\.npy is damaged: .* Make it again\."):
            map_array(array, "<i4", (3, 4), "Make it again.")
    for at, bit in itertools.product(range(128), (1, 4, 64)):
        array.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        with suppress(IntegrityError):
            assert map_array(array, "<i4", (3, 4), "").shape == (3, 4)


def test_an_array_that_is_gone_is_damage_and_a_folder_in_its_place_unreadable(tmp_path):
    with pytest.raises(IntegrityError, match=r"is missing\. Make it again"):
        map_array(tmp_path / "x.npy", None, None, "Make it again.")
    (tmp_path / "x.npy").mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        map_array(tmp_path / "x.npy", None, None, "")


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    write_json(tmp_path / "x.json", {"红": [np.float32(0.5), "\udc80"]})
    before = files_in(tmp_path)
    assert json.loads((tmp_path / "x.json").read_bytes())["红"] == [0.5, "\udc80"]
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), written_aside(tmp_path / "x.json") as file:
            file.write(b"half")
            raise error
    assert files_in(tmp_path) == before


def test_a_digest_tells_arrays_apart_in_any_layout(monkeypatch):
    array = np.arange(60).reshape(6, 10)
    want = digest("x", array)
    assert digest("x", np.asfortranarray(array)) == want
    assert want not in (digest("x", array.T), digest("x", array.astype(np.int32)), digest(array))
    monkeypatch.setattr("shoestring.artifacts.CHUNK", 100)
    assert len(list(pieces(array))) == 6


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
def test_a_library_that_meets_a_full_disk_is_one_sentence(write, tmp_path, largest_file):
    folder = tmp_path / "model"
    with largest_file(100_000), pytest.raises(StorageError) as found, written_whole(folder):
        write(folder)
    assert str(found.value).startswith(f"{folder} cannot be written: ")
    assert "Free some space" in str(found.value) and "\n" not in str(found.value)
    assert not folder.exists()


def test_other_errors_of_libraries_stay_as_they_are(tmp_path):
    for error in (RuntimeError("shapes do not fit"), ValueError("no"), StorageError("as it is")):
        with pytest.raises(type(error)) as found, libraries_writing(tmp_path):
            raise error
        assert found.value is error


def test_what_a_library_wrote_is_flushed_and_readable_as_the_folder_is(tmp_path, flushed):
    with written_whole(folder := tmp_path / "model"):
        by_safetensors(folder)
        (folder / "inner").mkdir()
        save_file(WEIGHTS, folder / "inner" / "model.safetensors")
    with written_aside(tmp_path / "ours") as file:
        file.write(b"x")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {(tmp_path / "ours").stat().st_mode}
    assert {path.stat().st_ino for path in (tmp_path / "model").rglob("*")} <= flushed
    assert len(files) == 2
    shutil.rmtree(tmp_path / "model")
